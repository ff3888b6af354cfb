//! Words of programs that are not ours, made fit to be shown and kept.
//!
//! What such a program knows it may say; a secret among it is hidden by its shape, which is all that
//! there is to go by.

use crate::environment::{looks_like_database_url, looks_secret};

const HIDDEN: &str = "(not shown)";

/// Returns a line as it may be shown: printable, short, and without what looks like a secret.
#[must_use]
pub fn plain_line(line: &str, longest: usize) -> String {
    let printable: String = line.chars().filter(|c| *c == '\t' || !c.is_control()).collect();
    let ends = |c: char| c.is_whitespace() || "\"'`=,;<>()[]{}".contains(c);
    let mut plain = String::new();
    for piece in printable.split_inclusive(ends) {
        let word = piece.trim_end_matches(ends);
        // An address is hidden whole: its password may hold any of the ends of a word.
        if looks_secret(word) || looks_like_database_url(word) || has_password(word) {
            plain.push_str(HIDDEN);
            plain.push_str(&piece[word.len()..]);
        } else {
            plain.push_str(piece);
        }
    }
    if plain.chars().count() > longest {
        plain = plain.chars().take(longest).chain("[…]".chars()).collect();
    }
    plain
}

fn has_password(word: &str) -> bool {
    let authority = word.split_once("://").map(|(_, rest)| rest);
    authority.and_then(|rest| rest.split_once('@')).is_some_and(|(user, _)| user.contains(':'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_looks_like_a_secret_is_hidden_and_the_rest_stays() {
        for (line, plain) in [
            ("key=sk_live_0123456789abcdef, done", "key=(not shown), done"),
            ("at postgresql://u:hunter2@127.0.0.1/x now", "at (not shown) now"),
            ("at https://u:hunter2@example.test/x", "at (not shown)"),
            ("GET /api/health 200", "GET /api/health 200"),
            ("https://example.test/a:b", "https://example.test/a:b"),
            ("a\u{1b}[31mb\tc", "a[31mb\tc"),
        ] {
            assert_eq!(plain_line(line, 100), plain);
        }
    }

    #[test]
    fn a_long_line_is_cut() {
        assert_eq!(plain_line("abcdef", 6), "abcdef");
        assert_eq!(plain_line("abcdefg", 6), "abcdef[…]");
    }
}
