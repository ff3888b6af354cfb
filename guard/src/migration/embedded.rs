//! The statements within bodies and executed texts, for whoever judges them by other rules.

use std::ops::Range;

use super::source::Source;

/// When a statement that lies within another one runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Runs {
    /// With the migration.
    Now,
    /// When somebody calls the routine that holds it.
    WhenCalled,
}

/// A statement within a body or an executed text, as the server gets it.
///
/// Its constants are empty ones of the same width and its comments are blank. A name that is not
/// known before the text runs is [`UNKNOWN_NAME`].
///
/// ```
/// let text = "DO $$ BEGIN EXECUTE 'DROP TABLE a'; END $$;";
/// let screening = guard::migration::screen(text);
/// let [embedded] = &screening.embedded[..] else { panic!() };
/// assert_eq!(embedded.text, "DROP TABLE a");
/// assert_eq!(&text[embedded.in_file(11..12)], "a");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Embedded {
    /// The statement, without its semicolon; a remark of squawk's in front of it is kept.
    pub text: String,
    /// When it runs.
    pub runs: Runs,
    /// Where each token lies: its first byte, and its bytes in the file.
    places: Vec<(usize, Range<usize>)>,
}

/// Stands in an [`Embedded`] for a name that is not known before it runs.
pub const UNKNOWN_NAME: &str = "slotguard_unknown_name";

/// How a comment begins that squawk reads; it is the one thing in a comment that matters here.
const REMARK: &str = "squawk-ignore";

impl Embedded {
    /// Takes the tokens from `start` to `end`, whose text is `canonical`.
    pub(super) fn new(
        source: &Source<'_>,
        canonical: &str,
        (start, end): (usize, usize),
        runs: Runs,
    ) -> Self {
        let front = remark(source, start);
        let first = source.tokens[start].start;
        let place = |token: &super::lexer::Token| {
            let file = source.in_file(token.start)..source.in_file(token.end - 1) + 1;
            (token.start - first + front.len(), file)
        };
        let places = source.tokens[start..end].iter().map(place).collect();
        Self { text: front + canonical, runs, places }
    }

    /// Returns the bytes of the file that a range of bytes of the statement comes from.
    ///
    /// What was put together from several constants lies at one place as a whole.
    #[must_use]
    pub fn in_file(&self, range: Range<usize>) -> Range<usize> {
        let token = |at: usize| {
            let index = self.places.partition_point(|(start, _)| *start <= at);
            self.places.get(index.saturating_sub(1)).map_or(0..0, |(_, file)| file.clone())
        };
        let (first, last) = (token(range.start), token(range.end.saturating_sub(1)));
        first.start..last.end.max(first.end)
    }

    /// Says whether it was put together from several constants.
    #[must_use]
    pub fn is_assembled(&self) -> bool {
        let first = self.start();
        self.places.len() > 1 && self.places.iter().all(|(_, file)| file.start == first)
    }

    /// Returns where it begins in the file.
    #[must_use]
    pub fn start(&self) -> usize {
        self.places.first().map_or(0, |(_, file)| file.start)
    }
}

/// Returns squawk's remark right in front of a statement as a line of its own.
fn remark(source: &Source<'_>, start: usize) -> String {
    let before = start.checked_sub(1).map_or(0, |index| source.tokens[index].end);
    let gap = before..source.tokens[start].start;
    let comment = source.comments.iter().rev().find(|comment| gap.contains(&comment.start));
    let text = comment.map(|comment| source.comment(comment).trim());
    let text = text.filter(|text| text.starts_with(REMARK));
    text.map_or_else(String::new, |text| format!("-- {text}\n"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::migration::screen;

    fn embedded(text: &str) -> Vec<(String, Runs)> {
        screen(text).embedded.into_iter().map(|one| (one.text, one.runs)).collect()
    }

    #[test]
    fn statements_of_bodies_and_executed_texts_are_handed_out() {
        let now = |text: &str| vec![(text.to_owned(), Runs::Now)];
        assert_eq!(embedded("DROP TABLE a"), []);
        assert_eq!(embedded("DO $$ BEGIN DROP TABLE a; END $$"), now("DROP TABLE a"));
        let into = "DO $$ DECLARE x int; BEGIN SELECT 1 INTO x FROM a; END $$";
        assert_eq!(embedded(into), now("SELECT 1        FROM a"));
        let named = "DO $$ BEGIN EXECUTE format('DROP INDEX %I', x); END $$";
        assert_eq!(embedded(named), now(&format!("DROP INDEX \"{UNKNOWN_NAME}\"")));
        let function = "CREATE FUNCTION f() RETURNS void LANGUAGE plpgsql AS \
                        $$ BEGIN EXECUTE 'DROP' || ' TABLE a'; END $$";
        assert_eq!(embedded(function), [("DROP TABLE a".to_owned(), Runs::WhenCalled)]);
    }

    #[test]
    fn places_lead_back_through_every_quote() {
        let text = "DO $$ BEGIN\n EXECUTE 'ALTER TABLE \"a''b\" DROP c'; END $$";
        let screening = screen(text);
        let statement = &screening.embedded[0];
        let at = statement.text.find("DROP").unwrap();
        assert_eq!(&text[statement.in_file(at..at + 6)], "DROP c");
        assert_eq!(statement.start(), text.find("ALTER").unwrap());
        assert!(!statement.is_assembled());
        let assembled = screen("DO $$ BEGIN EXECUTE 'DROP TABLE ' || 'a'; END $$");
        assert!(assembled.embedded[0].is_assembled());
    }

    #[test]
    fn a_remark_of_squawk_stays_in_front() {
        let text = "DO $$ BEGIN\n-- squawk-ignore ban-drop-table\nDROP TABLE a; END $$";
        assert_eq!(embedded(text)[0].0, "-- squawk-ignore ban-drop-table\nDROP TABLE a");
        let other = "DO $$ BEGIN\n-- hunter2\nDROP TABLE a; END $$";
        assert_eq!(embedded(other)[0].0, "DROP TABLE a");
        let screening = screen(text);
        let at = screening.embedded[0].text.find("DROP").unwrap();
        assert_eq!(&text[screening.embedded[0].in_file(at..at + 12)], "DROP TABLE a");
    }
}
