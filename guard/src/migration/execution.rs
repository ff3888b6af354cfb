//! How a migration runs: in one transaction, or statement by statement.
//!
//! A file runs in one transaction unless it says otherwise or holds a statement that the server
//! refuses there. Such a statement alone decides only for files of its own kind: whoever mixes it
//! with others must say that the file needs no transaction, since a failure then leaves a part.

use serde::Serialize;

use super::alone::{self, Alone};
use super::cursor::{Cursor, place};
use super::exemption::marked;
use super::finding::{Finding, Found, Lines};
use super::lexer::Kind;
use super::pieces::{Piece, piece};
use super::source::{Comment, Source};
use super::split;
use crate::diagnostic::Code;

/// The comment in front of the first statement that says that a file needs no transaction.
const DIRECTIVE: &str = "no-transaction";

/// A text without any of these words runs in a transaction, and need not be read for that.
const WORDS: [&str; 6] = [DIRECTIVE, "concurrently", "vacuum", "repack", "cluster", "reindex"];

/// How a migration runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// In one transaction: all of it or nothing.
    Transaction,
    /// One statement after the other, each of which stays when a later one fails.
    Statements,
}

/// What a statement needs of whoever runs it by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Need {
    /// A transaction, which may be its own.
    Transaction,
    /// To be said again before each later statement: it changes a setting of the session.
    Repetition,
    /// No transaction at all.
    Solitude(Alone),
}

/// One statement of a migration that runs statement by statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step<'a> {
    /// The statement.
    pub piece: Piece<'a>,
    /// What it needs.
    pub need: Need,
}

/// How a migration runs, and why it cannot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Execution<'a> {
    /// How it runs.
    pub mode: Mode,
    /// Its statements; none when it runs in a transaction.
    pub steps: Vec<Step<'a>>,
    /// Why it cannot run that way.
    pub findings: Vec<Finding>,
}

/// Decides how a text runs; `declared` says that something beside the text, such as a file of the
/// directory's layout, declares that it needs no transaction.
///
/// ```
/// use guard::migration::{Mode, execution};
/// assert_eq!(execution("CREATE TABLE a ();", false).mode, Mode::Transaction);
/// assert_eq!(execution("CREATE INDEX CONCURRENTLY i ON a (b);", false).mode, Mode::Statements);
/// ```
#[must_use]
pub fn execution(text: &str, declared: bool) -> Execution<'_> {
    let plain = || Execution { mode: Mode::Transaction, steps: Vec::new(), findings: Vec::new() };
    let lower = text.to_ascii_lowercase();
    if !declared && !WORDS.iter().any(|word| lower.contains(word)) {
        return plain();
    }
    let source = Source::file(text);
    let declared = declared || source.comments.iter().any(|comment| says_so(&source, comment));
    let statements = split::statements(&source);
    let cursor = |(start, end): &(usize, usize)| Cursor::new(&source, *start, *end);
    if !declared && !statements.iter().any(|range| alone::of(&cursor(range)).is_some()) {
        return plain();
    }
    let lines = Lines::new(text);
    let judged: Vec<(Need, Option<Found>)> =
        statements.iter().map(|range| judge(&cursor(range), declared)).collect();
    let mut findings = Vec::new();
    let mut steps = Vec::new();
    for (numbered, (need, found)) in (1..).zip(statements).zip(judged) {
        steps.push(Step { piece: piece(text, &source, &lines, numbered), need });
        // One statement of a kind shows the mixture; every one would hide the others.
        let known = |code| findings.iter().any(|finding: &Finding| finding.code == code);
        findings.extend(
            found
                .filter(|found| found.code != Code::TransactionMixed || !known(found.code))
                .map(|found| found.placed(&lines)),
        );
    }
    Execution { mode: Mode::Statements, steps, findings }
}

/// Returns a text as it runs where there is always a transaction, with what cannot run there.
#[must_use]
pub fn in_transaction(text: &str) -> Execution<'_> {
    let source = Source::file(text);
    let lines = Lines::new(text);
    let alone = |range: (usize, usize)| {
        let cursor = Cursor::new(&source, range.0, range.1);
        let (_, what) = alone::of(&cursor)?;
        let found = Found { code: Code::NotInTransaction, at: cursor.place(), what };
        Some(found.placed(&lines))
    };
    let findings = split::statements(&source).into_iter().filter_map(alone).collect();
    Execution { mode: Mode::Transaction, steps: Vec::new(), findings }
}

/// Says whether a comment stands in front of everything and declares that no transaction is needed.
pub(super) fn says_so(source: &Source<'_>, comment: &Comment) -> bool {
    source.is_file()
        && comment.start < place(source, 0)
        && marked(source.comment(comment)).is_some_and(|text| text.trim() == DIRECTIVE)
}

fn judge(cursor: &Cursor<'_, '_>, declared: bool) -> (Need, Option<Found>) {
    let found = |code, what: &str| Some(Found { code, at: cursor.place(), what: what.to_owned() });
    if let Some((alone, what)) = alone::of(cursor) {
        let unnamed = matches!(alone, Alone::CreateIndex { index: None, .. });
        let found = if unnamed { found(Code::IndexUnnamed, &what) } else { None };
        return (Need::Solitude(alone), found);
    }
    if let Some(what) = bound(cursor) {
        return (Need::Transaction, found(Code::TransactionBound, what));
    }
    if cursor.sees_any(&["set", "reset"]) {
        return (Need::Repetition, None);
    }
    let mixed = if declared { None } else { found(Code::TransactionMixed, &first_word(cursor)) };
    (Need::Transaction, mixed)
}

/// Names a statement by its first word; anything else could be a constant.
fn first_word(cursor: &Cursor<'_, '_>) -> String {
    match cursor.kind() {
        Some(Kind::Word) => {
            let word = cursor.source.raw(&cursor.source.tokens[cursor.at]);
            format!("`{} …`", word.to_uppercase())
        }
        _ => "a statement".to_owned(),
    }
}

/// Returns what a statement is when it means nothing to later ones outside of one transaction, or
/// outside of one session: a run that resumes has another one.
fn bound(cursor: &Cursor<'_, '_>) -> Option<&'static str> {
    let mut cursor = cursor.clone();
    let session = ["declare", "fetch", "move", "close", "prepare", "execute", "deallocate"];
    if cursor.sees_any(&session) {
        return Some("a cursor or a prepared statement");
    }
    if cursor.eat("lock") {
        return Some("`LOCK`");
    }
    if cursor.eat("set") {
        let local = cursor.sees_any(&["local", "constraints"]);
        return local.then_some("`SET LOCAL` or `SET CONSTRAINTS`");
    }
    let made = cursor.eat("create");
    let (mut into, start) = (cursor.clone(), cursor.at);
    cursor.eat_any(&["local", "global"]);
    if made && cursor.sees_any(&["temp", "temporary"]) {
        return Some("a temporary object");
    }
    let selects = start == into.at && into.find(|cursor| cursor.sees("into"));
    into.at += 1;
    into.eat_any(&["local", "global"]);
    (selects && into.sees_any(&["temp", "temporary"])).then_some("a temporary object")
}

#[cfg(test)]
mod tests {
    use super::*;

    const INDEX: &str = "CREATE INDEX CONCURRENTLY i ON a (b);";

    fn codes(text: &str, declared: bool) -> Vec<Code> {
        let execution = execution(text, declared);
        assert_eq!(execution.mode, Mode::Statements, "{text}");
        execution.findings.iter().map(|finding| finding.code).collect()
    }

    #[test]
    fn a_statement_or_a_declaration_decides() {
        for text in ["", "SELECT 'vacuum';", "-- concurrently\nSELECT 1;", "CREATE TABLE a ();"] {
            assert_eq!(execution(text, false).mode, Mode::Transaction, "{text}");
        }
        for text in [INDEX, "vacuum a", "-- slotguard: no-transaction\nSELECT 1;"] {
            assert_eq!(codes(text, false), [], "{text}");
        }
        assert_eq!(codes("CREATE TABLE a ();", true), []);
        let behind = "SELECT 1; -- slotguard: no-transaction\nSELECT 2;";
        assert_eq!(execution(behind, false).mode, Mode::Transaction);
    }

    #[test]
    fn a_mixture_must_be_declared() {
        let mixed = format!("SET lock_timeout = '1s'; {INDEX} DELETE FROM a; DELETE FROM b;");
        assert_eq!(codes(&mixed, false), [Code::TransactionMixed]);
        assert_eq!(codes(&mixed, true), []);
        assert_eq!(codes(&format!("-- slotguard: no-transaction\n{mixed}"), false), []);
        let settings = format!("SET lock_timeout = '1s'; {INDEX} RESET lock_timeout; VACUUM a;");
        assert_eq!(codes(&settings, false), []);
        let secret = execution("'hunter2'; VACUUM a;", false);
        assert_eq!(secret.findings[0].code, Code::TransactionMixed);
        assert!(!secret.findings[0].message.to_lowercase().contains("hunter2"));
    }

    #[test]
    fn what_ends_with_a_transaction_or_a_session_is_refused() {
        for bound in [
            "SET LOCAL lock_timeout = '1s'",
            "SET CONSTRAINTS ALL DEFERRED",
            "LOCK TABLE a",
            "CREATE TEMP TABLE b ()",
            "CREATE LOCAL TEMPORARY VIEW b AS SELECT 1",
            "SELECT 1 AS x INTO TEMP b",
            "PREPARE p AS SELECT 1",
            "DECLARE c CURSOR WITH HOLD FOR SELECT 1",
        ] {
            assert_eq!(
                codes(&format!("{bound}; {INDEX}"), true),
                [Code::TransactionBound],
                "{bound}"
            );
        }
        for free in ["SET lock_timeout = '1s'", "SELECT 1 INTO b", "CREATE TABLE temp_a ()"] {
            assert_eq!(codes(&format!("{free}; {INDEX}"), true), [], "{free}");
        }
    }

    #[test]
    fn an_index_that_a_run_makes_by_itself_has_a_name() {
        let unnamed = "CREATE INDEX CONCURRENTLY ON a (b);";
        assert_eq!(codes(unnamed, false), [Code::IndexUnnamed]);
        assert_eq!(codes(INDEX, false), []);
    }

    #[test]
    fn steps_say_what_each_statement_needs() {
        let text = format!("SET lock_timeout = '1s';\n{INDEX}\nDELETE FROM a;");
        let steps = execution(&text, true).steps;
        let needs: Vec<_> = steps.iter().map(|step| (&step.need, step.piece.line)).collect();
        assert_eq!((needs[0], needs[2]), ((&Need::Repetition, 1), (&Need::Transaction, 3)));
        assert!(matches!(needs[1], (Need::Solitude(Alone::CreateIndex { .. }), 2)));
    }
}
