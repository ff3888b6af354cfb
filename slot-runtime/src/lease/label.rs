//! What a person calls a holder or a purpose: one short line.

use std::fmt;

use guard::diagnostic::{Code, Denial};
use guard::environment::looks_like_database_url;
use serde::Serialize;

/// Longest label, in characters.
const LONGEST: usize = 120;

/// One line of 1 to 120 printable ASCII characters, such as `worker-3` or `pull request 41`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Label(String);

impl Label {
    /// Parses a label.
    ///
    /// # Errors
    /// Refuses one that is empty, too long, not printable, or a database URL; repeats nothing of it.
    pub fn parse(what: &str, text: &str) -> Result<Self, Denial> {
        let printable = |c: char| matches!(c, ' '..='~') && c != '`';
        let found = if text.trim().is_empty() {
            "nothing"
        } else if text.len() > LONGEST {
            "a longer text"
        } else if !text.chars().all(printable) || text.trim() != text {
            "another character, or a blank at an end"
        } else if looks_like_database_url(text) {
            "a database URL"
        } else {
            return Ok(Self(text.to_owned()));
        };
        Err(Denial::new(
            Code::LeaseLabel,
            format!("the {what} of a lease cannot be written down"),
            found,
            format!("1 to {LONGEST} printable ASCII characters on one line"),
        ))
    }

    /// Returns the label as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Label {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_is_one_short_printable_line() {
        for good in ["worker-3", "pull request 41", "feature/login", &"x".repeat(LONGEST)] {
            assert_eq!(Label::parse("owner", good).unwrap().as_str(), good);
        }
        let url = "postgresql://u:hunter2@127.0.0.1/x";
        for bad in ["", " ", "a\nb", "a\u{1b}[31m", "`a`", " a", "é", url, &"x".repeat(121)] {
            let denial = Label::parse("owner", bad).unwrap_err();
            assert_eq!(denial.code(), Code::LeaseLabel, "{bad:?}");
            assert!(!format!("{denial:?}").contains("hunter2"));
        }
    }
}
