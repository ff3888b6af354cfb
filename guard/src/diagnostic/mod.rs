//! Refusals and warnings: a stable code, the evidence and the next step.
//!
//! What a code means in general is data in the [catalogue](Code); what happened this time is a
//! [`Denial`] or a [`Warning`]. Both serialise as they appear in every JSON output of the project.
//! Nothing here prints, and nothing here maps a class to an exit status.

mod catalogue;

use std::fmt;

use serde::Serialize;

pub use catalogue::{Class, Code, Entry};

/// A refusal: what was found, what was expected, and what to do about it.
///
/// Holds no secret: callers put in only the part at fault, after [`shown`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Denial {
    code: Code,
    message: String,
    found: String,
    expected: String,
    #[serde(rename = "help")]
    next_step: String,
}

impl Denial {
    /// Builds a refusal whose next step is the catalogue's general way out.
    #[must_use]
    pub fn new(
        code: Code,
        message: impl Into<String>,
        found: impl Into<String>,
        expected: impl Into<String>,
    ) -> Self {
        Self {
            code,
            message: message.into(),
            found: found.into(),
            expected: expected.into(),
            next_step: code.entry().way_out.to_owned(),
        }
    }

    /// Replaces the general way out by one made for this case.
    #[must_use]
    pub fn help(mut self, next_step: impl Into<String>) -> Self {
        self.next_step = next_step.into();
        self
    }

    /// Returns the stable code.
    #[must_use]
    pub fn code(&self) -> Code {
        self.code
    }

    /// Returns the one-line summary of what was refused.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Returns what was found.
    #[must_use]
    pub fn found(&self) -> &str {
        &self.found
    }

    /// Returns what was expected instead.
    #[must_use]
    pub fn expected(&self) -> &str {
        &self.expected
    }

    /// Returns the next step for the person who reads this.
    #[must_use]
    pub fn next_step(&self) -> &str {
        &self.next_step
    }
}

impl fmt::Display for Denial {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { code, message, found, expected, .. } = self;
        write!(formatter, "{code}: {message} (found {found}, expected {expected})")
    }
}

impl std::error::Error for Denial {}

/// Something that did not lead to a refusal but that a person should know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Warning {
    code: Code,
    message: String,
    help: String,
}

impl Warning {
    /// Builds a warning whose help is the catalogue's general way out.
    #[must_use]
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), help: code.entry().way_out.to_owned() }
    }

    /// Returns the stable code.
    #[must_use]
    pub fn code(&self) -> Code {
        self.code
    }

    /// Returns the one-line summary.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Returns what to do about it.
    #[must_use]
    pub fn next_step(&self) -> &str {
        &self.help
    }
}

/// Longest piece of foreign text that a diagnostic repeats, in characters.
const SHOWN_LIMIT: usize = 80;

/// Returns foreign text as a diagnostic may repeat it: one line, printable, bounded.
///
/// Control characters would let a refused value rewrite the terminal or a log; they are escaped,
/// as is everything outside ASCII, where look-alike letters hide.
#[must_use]
pub fn shown(text: &str) -> String {
    let mut out = String::new();
    for (index, character) in text.chars().enumerate() {
        if index == SHOWN_LIMIT {
            out.push_str("[…]");
            break;
        }
        match character {
            ' '..='~' if character != '`' => out.push(character),
            other => out.extend(other.escape_unicode()),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_text_cannot_reach_the_terminal_raw() {
        assert_eq!(shown("a\u{1b}[31mb"), "a\\u{1b}[31mb");
        assert_eq!(shown("a\nb"), "a\\u{a}b");
        assert_eq!(shown("preview\u{ff0d}1"), "preview\\u{ff0d}1");
        assert!(shown(&"x".repeat(500)).len() < 100);
    }

    #[test]
    fn codes_are_unique_and_complete() {
        let mut seen = std::collections::BTreeSet::new();
        for code in Code::ALL {
            let entry = code.entry();
            assert!(seen.insert(code.id()), "{code} is used twice");
            assert!(code.id().len() == 6 && code.id().starts_with("SG"), "{code}");
            assert_eq!(Code::parse(code.id()), Some(*code));
            let texts = [entry.summary, entry.condition, entry.effect, entry.way_out];
            for text in texts.into_iter().chain([entry.bad, entry.good]) {
                assert!(!text.trim().is_empty(), "{code} lacks a text");
            }
            assert!(!entry.summary.ends_with('.'), "{code}: a summary is a fragment");
        }
    }

    #[test]
    fn a_code_is_found_in_any_case_and_only_whole() {
        assert_eq!(Code::parse("sg1001"), Some(Code::UnknownSlot));
        assert_eq!(Code::parse("SG100"), None);
        assert_eq!(Code::parse("SG10010"), None);
    }
}
