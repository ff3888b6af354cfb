//! What a server refused, with all that it said: SQLSTATE, place, detail, hint.
//!
//! The driver's own message is only "db error".

use std::fmt::Write as _;

use guard::diagnostic::{Code, Denial, shown};
use tokio_postgres::Error;
use tokio_postgres::error::ErrorPosition;

/// Explains why a migration's text failed.
pub(crate) fn migration(file: &str, sql: &str, error: &Error) -> Denial {
    let Some(server) = error.as_db_error() else {
        return lost(file, error);
    };
    let mut found = String::new();
    if let Some(ErrorPosition::Original(position)) = server.position() {
        let (line, column) = line_and_column(sql, *position);
        let _ = write!(found, "line {line}, column {column}: ");
    }
    let _ = write!(found, "{} (SQLSTATE {})", shown(server.message()), server.code().code());
    for (what, text) in [
        ("detail", server.detail()),
        ("hint", server.hint()),
        ("where", server.where_().and_then(|text| text.lines().next())),
    ] {
        if let Some(text) = text {
            let _ = write!(found, "; {what}: {}", shown(text));
        }
    }
    Denial::new(
        Code::MigrationFailed,
        format!("the server refused `{file}`; its transaction was rolled back"),
        found,
        "a statement that the server accepts",
    )
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

/// Turns a position in characters, counted from 1, into line and column, counted from 1.
fn line_and_column(sql: &str, position: u32) -> (usize, usize) {
    let before: String = sql.chars().take(position.saturating_sub(1) as usize).collect();
    let line = 1 + before.matches('\n').count();
    let column = 1 + before.chars().rev().take_while(|c| *c != '\n').count();
    (line, column)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_count_characters_not_bytes() {
        assert_eq!(line_and_column("äö x", 4), (1, 4));
        assert_eq!(line_and_column("a\nbc\nd", 4), (2, 2));
        assert_eq!(line_and_column("a\nbc\nd", 6), (3, 1));
        assert_eq!(line_and_column("", 1), (1, 1));
    }
}
