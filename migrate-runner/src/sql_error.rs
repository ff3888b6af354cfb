//! What a server refused, with all that it said: SQLSTATE, place, detail, hint.
//!
//! The driver's own message is only "db error".

use std::fmt::Write as _;

use guard::diagnostic::{Code, Denial, shown};
use guard::migration::Piece;
use tokio_postgres::Error;
use tokio_postgres::error::{DbError, ErrorPosition};

/// SQLSTATE of a statement that waited too long for a lock, or was told not to wait.
const LOCK_TIMEOUT: &str = "55P03";

/// Returns whether a statement did not get a lock in time.
pub(crate) fn is_lock_timeout(error: &Error) -> bool {
    error.code().is_some_and(|code| code.code() == LOCK_TIMEOUT)
}

/// Explains why a statement of a migration failed.
pub(crate) fn statement(file: &str, piece: &Piece<'_>, error: &Error) -> Denial {
    let Some(server) = error.as_db_error() else {
        return lost(file, error);
    };
    let (line, column) = match server.position() {
        Some(ErrorPosition::Original(position)) => place_in_file(piece, *position),
        _ => (piece.line, piece.column),
    };
    let words = words(server);
    failed(
        file,
        format!(
            "line {line}, column {column}: {words}; statement {}: {}",
            piece.number, piece.summary
        ),
    )
}

/// Explains what went wrong around the statements of a migration, such as at its commit.
pub(crate) fn between(file: &str, error: &Error) -> Denial {
    match error.as_db_error() {
        Some(server) => failed(file, format!("at its beginning or end: {}", words(server))),
        None => lost(file, error),
    }
}

fn failed(file: &str, found: String) -> Denial {
    Denial::new(
        Code::MigrationFailed,
        format!("the server refused `{}`; its transaction was rolled back", shown(file)),
        found,
        "a statement that the server accepts",
    )
}

/// Everything that the server says beside the place.
fn words(server: &DbError) -> String {
    let mut words = format!("{} (SQLSTATE {})", shown(server.message()), server.code().code());
    let calls = server.where_().and_then(calls);
    for (what, text) in
        [("detail", server.detail()), ("hint", server.hint()), ("where", calls.as_deref())]
    {
        if let Some(text) = text {
            let _ = write!(words, "; {what}: {}", shown(text));
        }
    }
    words
}

/// Returns the functions that were running, innermost first. The lines between them repeat SQL with
/// its constants, which are nobody's business.
fn calls(context: &str) -> Option<String> {
    let is_call = |line: &&str| line.starts_with("PL/pgSQL") || line.starts_with("SQL function");
    let calls: Vec<&str> = context.lines().filter(is_call).take(MOST_CALLS).collect();
    (!calls.is_empty()).then(|| calls.join(" < "))
}

/// Enough to find the place; a recursion may have thousands.
const MOST_CALLS: usize = 4;

/// Explains that a statement waited in vain for a lock, and for whom.
pub(crate) fn blocked(file: &str, denial: &Denial, blockers: Option<&str>) -> Denial {
    let who = blockers.map(|who| format!("; blocked by {who}")).unwrap_or_default();
    Denial::new(
        Code::MigrationBlocked,
        format!("`{}` waited in vain for a lock; it was rolled back", shown(file)),
        format!("{}{who}", denial.found()),
        "a lock that is free within the time of `--lock-timeout`",
    )
}

/// Explains that a migration that runs statement by statement did not come to its end.
pub(crate) fn failed_half_way(file: &str, found: &str) -> Denial {
    Denial::new(
        Code::StatementFailed,
        format!("the server refused a statement of `{}`; the ones before it stay", shown(file)),
        found,
        "a statement that the server accepts",
    )
}

/// Says of [`blocked`] that what ran before stays.
pub(crate) fn blocked_half_way(file: &str, denial: &Denial) -> Denial {
    let message = format!("`{}` waited in vain for a lock; what ran before stays", shown(file));
    Denial::new(denial.code(), message, denial.found(), denial.expected())
}

/// Explains that the connection broke while something was done.
pub(crate) fn lost(what: &str, error: &Error) -> Denial {
    let source = std::error::Error::source(error);
    let why = source.map_or_else(|| error.to_string(), ToString::to_string);
    Denial::new(
        Code::ServerUnreachable,
        format!("the connection was lost at `{what}`; what was not committed is rolled back"),
        shown(&why),
        "a connection that lasts",
    )
}

/// Turns a position in characters of a statement, counted from 1, into a place in its file.
fn place_in_file(piece: &Piece<'_>, position: u32) -> (usize, usize) {
    let before: String = piece.text.chars().take(position.saturating_sub(1) as usize).collect();
    let behind = before.chars().rev().take_while(|c| *c != '\n').count();
    match before.matches('\n').count() {
        0 => (piece.line, piece.column + behind),
        lines => (piece.line + lines, 1 + behind),
    }
}

#[cfg(test)]
mod tests {
    use guard::migration::pieces;

    use super::*;

    #[test]
    fn the_context_names_functions_and_repeats_no_sql() {
        let context = "SQL statement \"SELECT f('s3cret',\n 's3cret')\"\n\
                       PL/pgSQL function g() line 2 at PERFORM\nSQL function \"h\" statement 1";
        let expected = "PL/pgSQL function g() line 2 at PERFORM < SQL function \"h\" statement 1";
        assert_eq!(calls(context).as_deref(), Some(expected));
        assert_eq!(calls("SQL statement \"SELECT 1\""), None);
        assert_eq!(calls(&"PL/pgSQL\n".repeat(9)).unwrap().matches('<').count(), 3);
    }

    #[test]
    fn positions_count_characters_and_lead_to_the_file() {
        let text = "SELECT 1;\n  SELECT 'äö',\n x";
        let pieces = pieces(text);
        assert_eq!(place_in_file(&pieces[0], 1), (1, 1));
        assert_eq!(place_in_file(&pieces[1], 1), (2, 3));
        assert_eq!(place_in_file(&pieces[1], 12), (2, 14));
        assert_eq!(place_in_file(&pieces[1], 15), (3, 2));
    }
}
