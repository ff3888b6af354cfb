//! The statements of a text, as they are sent to the server one by one.

use super::finding::Lines;
use super::lexer::Kind;
use super::source::Source;
use super::split;

/// Longest statement that is repeated in a diagnostic, in characters.
const SUMMARY: usize = 100;

/// One statement of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece<'a> {
    /// The statement as it is written, without its semicolon.
    pub text: &'a str,
    /// Which statement of the text it is, from 1.
    pub number: usize,
    /// The line it begins in, from 1.
    pub line: usize,
    /// The column it begins at in characters, from 1.
    pub column: usize,
    /// Its beginning in one line, without comments and without the content of any constant.
    pub summary: String,
}

/// Returns the statements of a text, in order.
///
/// ```
/// let pieces = guard::migration::pieces("CREATE TABLE a ();\n-- two\nINSERT INTO a VALUES ('x;y');");
/// assert_eq!(pieces.len(), 2);
/// assert_eq!((pieces[1].line, pieces[1].column), (3, 1));
/// assert_eq!(pieces[1].text, "INSERT INTO a VALUES ('x;y')");
/// assert_eq!(pieces[1].summary, "INSERT INTO a VALUES ( '…' )");
/// ```
#[must_use]
pub fn pieces(text: &str) -> Vec<Piece<'_>> {
    let source = Source::file(text);
    let lines = Lines::new(text);
    let statements = split::statements(&source).into_iter();
    let numbered = (1..).zip(statements);
    numbered.map(|(number, range)| piece(text, &source, &lines, (number, range))).collect()
}

/// Returns a statement by its number and its range of tokens.
pub(super) fn piece<'a>(
    text: &'a str,
    source: &Source<'_>,
    lines: &Lines<'_>,
    (number, (start, end)): (usize, (usize, usize)),
) -> Piece<'a> {
    let (first, last) = (&source.tokens[start], &source.tokens[end - 1]);
    let (line, column) = lines.place(first.start);
    let text = &text[first.start..last.end];
    Piece { text, number, line, column, summary: summary(source, start, end) }
}

fn summary(source: &Source<'_>, start: usize, end: usize) -> String {
    let mut out = String::new();
    for token in &source.tokens[start..end] {
        let separator = if out.is_empty() { "" } else { " " };
        let raw = match token.kind {
            Kind::Text => "'…'",
            _ => source.raw(token),
        };
        if out.chars().count() + raw.chars().count() >= SUMMARY {
            out.push_str(" …");
            break;
        }
        out.push_str(separator);
        out.push_str(raw);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(text: &str) -> Vec<&str> {
        pieces(text).into_iter().map(|piece| piece.text).collect()
    }

    #[test]
    fn statements_end_where_the_server_ends_them() {
        assert_eq!(texts("SELECT 1; SELECT 2"), ["SELECT 1", "SELECT 2"]);
        assert_eq!(texts(" ; ;-- nothing\n/* ; */"), [""; 0]);
        assert_eq!(texts("SELECT ';' ; SELECT $$;$$"), ["SELECT ';'", "SELECT $$;$$"]);
        let rule = "CREATE RULE r AS ON INSERT TO a DO ALSO (DELETE FROM b; DELETE FROM c)";
        assert_eq!(texts(&format!("{rule};")), [rule]);
        let atomic = "CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1; SELECT 2; END";
        assert_eq!(texts(&format!("{atomic}; SELECT 3")), [atomic, "SELECT 3"]);
    }

    #[test]
    fn a_summary_holds_no_constant() {
        let text =
            "ALTER TABLE t /* hunter2 */ ADD c text DEFAULT 'hunter2' CHECK (c <> E'hunter\\62')";
        let summary = &pieces(text)[0].summary;
        assert!(!summary.contains("hunter"), "{summary}");
        assert!(summary.starts_with("ALTER TABLE t ADD c text DEFAULT '…'"), "{summary}");
        let long = format!("SELECT {}", "a, ".repeat(200));
        assert!(pieces(&long)[0].summary.chars().count() <= SUMMARY + 2);
    }
}
