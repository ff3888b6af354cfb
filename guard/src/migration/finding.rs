//! What screening says: where, which code, and what was found. Never what a string contains.

use std::ops::Range;

use serde::Serialize;

use super::embedded::Embedded;
use crate::diagnostic::Code;

/// What kind of reason a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Class {
    /// The effect would leave the slot's own content, or nobody can tell that it does not.
    Escape,
    /// The text cannot run as a migration, or cannot be read.
    Syntax,
}

/// One reason to refuse a migration, and its place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The stable code.
    pub code: Code,
    /// What kind of reason it is.
    pub class: Class,
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
    /// What was found, in one line.
    pub message: String,
    /// What to do about it.
    pub help: String,
}

/// A finding that a reasoned comment in the migration exempts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Exempted {
    /// The stable code of what would have been found.
    pub code: Code,
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
    /// What would have been found.
    pub message: String,
    /// The reason as the comment gives it.
    pub reason: String,
}

/// What screening found in one text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Screening {
    /// Why the text is refused, in the order of places; empty when it may run.
    pub findings: Vec<Finding>,
    /// What would have been refused without an exemption.
    pub exempted: Vec<Exempted>,
    /// The statements that lie within others, in the order they were met.
    pub embedded: Vec<Embedded>,
    /// The bytes of bodies and executed texts that a diagnostic may repeat.
    pub(super) readable: Vec<Range<usize>>,
}

/// A finding before its byte is turned into a line and a column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) code: Code,
    pub(super) at: usize,
    pub(super) what: String,
}

impl Found {
    /// Returns the place and the words of a finding.
    pub(super) fn placed(self, lines: &Lines<'_>) -> Finding {
        let (line, column) = lines.place(self.at);
        let message = self.message();
        let help = self.code.entry().way_out.to_owned();
        Finding { code: self.code, class: class_of(self.code), line, column, message, help }
    }

    /// Returns the place and the words of an exempted finding.
    pub(super) fn exempted(self, lines: &Lines<'_>, reason: String) -> Exempted {
        let (line, column) = lines.place(self.at);
        Exempted { code: self.code, line, column, message: self.message(), reason }
    }

    fn message(&self) -> String {
        format!("{}: {}", self.code.entry().summary, self.what)
    }
}

fn class_of(code: Code) -> Class {
    match code {
        Code::NotInTransaction
        | Code::PsqlCommand
        | Code::CopyWithClient
        | Code::UnparsableText
        | Code::UnusableExemption
        | Code::TransactionMixed
        | Code::TransactionBound
        | Code::IndexUnnamed => Class::Syntax,
        _ => Class::Escape,
    }
}

/// Turns bytes into lines and columns.
pub(super) struct Lines<'a> {
    text: &'a str,
    starts: Vec<usize>,
}

impl<'a> Lines<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        let breaks = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        let starts = std::iter::once(0).chain(breaks.map(|(at, _)| at + 1)).collect();
        Self { text, starts }
    }

    pub(super) fn place(&self, at: usize) -> (usize, usize) {
        let at = self.text.floor_char_boundary(at);
        let line = self.starts.partition_point(|start| *start <= at);
        let start = self.starts[line - 1];
        (line, self.text[start..at].chars().count() + 1)
    }

    /// Returns the bytes of a line, without its end; none of a line that is not there.
    pub(super) fn bytes_of(&self, line: usize) -> Range<usize> {
        let start = self.starts.get(line.wrapping_sub(1)).copied().unwrap_or(self.text.len());
        let end = self.starts.get(line).map_or(self.text.len(), |next| next - 1);
        start..end.max(start)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_count_characters() {
        let lines = Lines::new("ä b\n\n c");
        for (at, place) in
            [(0, (1, 1)), (1, (1, 1)), (3, (1, 3)), (5, (2, 1)), (7, (3, 2)), (99, (3, 3))]
        {
            assert_eq!(lines.place(at), place, "{at}");
        }
    }
}
