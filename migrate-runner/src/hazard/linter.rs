//! The one place, with [`objects`] and [`rules`](super::rules), that knows the linter's library.
//!
//! Its interface is not promised to stay as it is. A text goes in; findings and what each statement
//! makes and touches come out, in bytes of that text.

use std::ops::Range;

use guard::diagnostic::Code;
use squawk_linter::{Linter, Rule, Version};
use squawk_syntax::{Parse, SourceFile};

use super::objects::{self, Deed};
use super::rules;

/// A text as the linter sees it.
pub(super) struct Linted {
    /// What each statement makes and touches, in order.
    pub(super) deeds: Vec<Deed>,
    /// What the rules say, in order.
    pub(super) findings: Vec<Finding>,
}

/// What one rule says.
pub(super) struct Finding {
    pub(super) code: Code,
    pub(super) rule: String,
    pub(super) bytes: Range<usize>,
    pub(super) message: String,
    pub(super) help: String,
}

/// How the statements would run in production.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mode {
    /// The major version of the server.
    pub(super) server: u32,
    /// Whether one transaction is around all of them.
    pub(super) in_transaction: bool,
}

/// Applies the rules to a text.
pub(super) fn lint(text: &str, mode: Mode) -> Linted {
    let parse: Parse<SourceFile> = SourceFile::parse(text);
    let mut linter = Linter::from(rules());
    linter.settings.assume_in_transaction = mode.in_transaction;
    if let Ok(version) = format!("{}.0", mode.server).parse::<Version>() {
        linter.settings.pg_version = version;
    }
    let findings = linter.lint(&parse, text).into_iter().filter_map(|violation| {
        let code = rules::code(violation.code)?;
        let own = code.entry().way_out;
        // The linter does not know in which mode our next migration runs; our words say both.
        let help = violation.help.filter(|_| code != Code::HazardIndex);
        Some(Finding {
            code,
            rule: violation.code.to_string(),
            bytes: without_end(text, violation.text_range.into()),
            message: one_line(&violation.message),
            help: help.map_or_else(|| own.to_owned(), |help| one_line(&help)),
        })
    });
    Linted { deeds: objects::deeds(&parse.syntax_node()), findings: findings.collect() }
}

/// A statement's own bytes include its semicolon, which nobody looks for.
fn without_end(text: &str, bytes: Range<usize>) -> Range<usize> {
    let shorter = text[bytes.clone()].trim_end_matches(|c: char| c == ';' || c.is_whitespace());
    bytes.start..bytes.start + shorter.len()
}

/// The rules that have a code.
fn rules() -> impl Iterator<Item = Rule> {
    let all = Linter::with_default_rules().rules;
    all.into_iter().filter(|rule| rules::code(*rule).is_some())
}

/// A message may repeat names, and a name may hold anything.
fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
