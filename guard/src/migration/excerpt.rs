//! Lines of a file as a diagnostic may repeat them: without the content of constants and comments.
//!
//! Bodies and texts that are executed are constants too; what was screened of them is shown.

use std::ops::Range;

use super::finding::{Lines, Screening};
use super::lexer::Kind;
use super::source::Source;

/// Stands for a character that is not shown.
const HIDDEN: char = '·';

/// The lines of a screened text, with everything hidden that is nobody's business.
pub struct Excerpts<'a> {
    lines: Lines<'a>,
    text: &'a str,
    shown: Vec<Range<usize>>,
}

impl<'a> Excerpts<'a> {
    /// Prepares the lines of a text and its screening.
    ///
    /// ```
    /// use guard::migration::{Excerpts, screen};
    /// let text = "INSERT INTO a -- hunter2\nVALUES ('hunter2');";
    /// let excerpts = Excerpts::new(text, &screen(text));
    /// assert_eq!(excerpts.line(1), "INSERT INTO a");
    /// assert_eq!(excerpts.line(2), "VALUES ('·······');");
    /// ```
    #[must_use]
    pub fn new(text: &'a str, screening: &Screening) -> Self {
        let source = Source::file(text);
        let mut shown = screening.readable.clone();
        shown.extend(source.shown());
        shown.sort_unstable_by_key(|range| range.start);
        Self { lines: Lines::new(text), text, shown }
    }

    /// Returns line and column of a byte, both from 1, the column in characters.
    #[must_use]
    pub fn place(&self, at: usize) -> (usize, usize) {
        self.lines.place(at)
    }

    /// Returns a line, counted from 1, with as many characters up to each place as in the file.
    #[must_use]
    pub fn line(&self, number: usize) -> String {
        let range = self.lines.bytes_of(number);
        let mut out = String::new();
        let first = self.shown.partition_point(|shown| shown.end <= range.start);
        let mut ahead = self.shown[first..].iter().peekable();
        for (offset, character) in self.text[range.clone()].char_indices() {
            let at = range.start + offset;
            while ahead.next_if(|shown| shown.end <= at).is_some() {}
            let is_shown = ahead.peek().is_some_and(|shown| shown.start <= at);
            out.push(match character {
                '\t' => '\t',
                blank if blank.is_whitespace() => ' ',
                quote @ ('\'' | '$') => quote,
                plain if is_shown && !plain.is_control() => plain,
                _ => HIDDEN,
            });
        }
        out.trim_end_matches([HIDDEN, ' ']).to_owned()
    }
}

impl Source<'_> {
    /// Returns the bytes of the file that may be repeated: every token but constants.
    pub(super) fn shown(&self) -> Vec<Range<usize>> {
        let plain = self.tokens.iter().filter(|token| token.kind != Kind::Text);
        plain.map(|token| self.in_file(token.start)..self.in_file(token.end - 1) + 1).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::migration::screen;

    fn line(text: &str, number: usize) -> String {
        Excerpts::new(text, &screen(text)).line(number)
    }

    #[test]
    fn statements_are_shown_and_constants_and_comments_are_not() {
        assert_eq!(line("SELECT 'hunter2', a; -- hunter2", 1), "SELECT '·······', a;");
        assert_eq!(line("SELECT /* hunter2 */ a", 1), "SELECT ·· ······· ·· a");
        assert_eq!(line("SELECT 'ä', E'\\'x' AS \"ü\"", 1), "SELECT '·', ·'·'·' AS \"ü\"");
        let block = "DO $$ BEGIN\n  UPDATE a SET b = 'hunter2';\nEND $$";
        assert_eq!(line(block, 2), "  UPDATE a SET b = '·······';");
        assert_eq!(
            line("DO $$ BEGIN EXECUTE 'DROP TABLE a'; END $$", 1).matches("DROP").count(),
            1
        );
        assert_eq!(line("SELECT 1", 9), "");
    }
}
