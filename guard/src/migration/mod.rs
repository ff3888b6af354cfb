//! Screens the text of a migration for effects that leave the slot's own database.
//!
//! [`screen`] reads a text as the server would and returns every reason to refuse it. It decides by
//! allowlists: a kind of statement, a language or an extension that is not known is refused, and so
//! is a text that the grammar does not accept or a statement whose text nobody can know before it
//! runs. It does not judge how long a statement locks a table, and it cannot see what functions of
//! earlier migrations do, nor what a role may do; the rights of the slot's role stay necessary.
//!
//! The way of a text: `lexer` reads tokens and undoes every disguise, `split` finds statements,
//! `grammar` parses each one, `screener` walks over the nodes and asks the rules: `statements`,
//! `settings`, `functions`, `relations`, `extension`. Bodies (`routine`, `plpgsql`) and constant
//! texts that are executed go the same way again, with places that lead back to the file. Their
//! statements are handed out too ([`Embedded`]), for rules that are not ours.
//!
//! [`execution`] decides whether a text runs in one transaction or statement by statement (`alone`).
//!
//! ```
//! let screening = guard::migration::screen("CREATE TABLE a (id int);");
//! assert_eq!(screening.findings, []);
//! let screening = guard::migration::screen("DO $$ BEGIN EXECUTE 'DROP ' || 'DATABASE b'; END $$;");
//! assert_eq!(screening.findings[0].code.id(), "SG6201");
//! ```

mod alone;
mod constant;
mod cursor;
mod embedded;
mod excerpt;
mod execution;
mod exemption;
mod extension;
mod finding;
mod functions;
mod grammar;
mod kinds;
mod lexer;
mod names;
mod nesting;
mod pieces;
mod plpgsql;
mod relations;
mod routine;
mod screener;
mod settings;
mod source;
mod split;
mod statements;
mod strings;

pub use alone::Alone;
pub use cursor::Path as ObjectName;
pub use embedded::{Embedded, Runs, UNKNOWN_NAME};
pub use excerpt::Excerpts;
pub use execution::{Execution, Mode, Need, Step, execution, in_transaction};
pub use finding::{Class, Exempted, Finding, Screening};
pub use pieces::{Piece, pieces};
pub use relations::PROGRESS;

/// Returns every reason to refuse the text of a migration.
#[must_use]
pub fn screen(text: &str) -> Screening {
    screener::Screener::run(text)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::lexer::{self, Kind};
    use super::{Class, Screening, screen};

    /// Writes a text otherwise: letters of words in the other case, and something between tokens.
    fn respelled(text: &str, between: &str) -> Option<String> {
        let lexed = lexer::read(text, true);
        if !lexed.problems.is_empty() {
            return None;
        }
        let mut out = String::new();
        let mut end = 0;
        for token in &lexed.tokens {
            out.push_str(&text[end..token.start]);
            let part_of_operator = token.start == end && matches!(token.kind, Kind::Symbol(_));
            if token.start > end && !part_of_operator {
                out.push_str(between);
            }
            let written = &text[token.start..token.end];
            match token.kind {
                Kind::Word => out.extend(written.chars().map(other_case)),
                _ => out.push_str(written),
            }
            end = token.end;
        }
        out.push_str(&text[end..]);
        Some(out)
    }

    fn other_case(letter: char) -> char {
        if letter.is_ascii_lowercase() {
            letter.to_ascii_uppercase()
        } else {
            letter.to_ascii_lowercase()
        }
    }

    fn escapes(screening: &Screening) -> BTreeSet<&'static str> {
        let escapes = screening.findings.iter().filter(|finding| finding.class == Class::Escape);
        escapes.map(|finding| finding.code.id()).collect()
    }

    #[test]
    fn comments_blanks_and_capitals_change_nothing() {
        let mut tried = 0;
        for case in fixtures::hostile_migrations().into_iter().chain(fixtures::benign_migrations())
        {
            // A line break or comment between two strings would make one of them.
            for between in [" ", "\t ", "/* '; $$ /* */ -- */ ", "/**/ /* \" */ "] {
                let Some(other) = respelled(&case.text, between) else { continue };
                tried += 1;
                assert_eq!(escapes(&screen(&case.text)), escapes(&screen(&other)), "{other}");
            }
        }
        assert!(tried > 2000, "{tried}");
    }

    #[test]
    fn what_a_file_cannot_hold_is_judged_too() {
        for (text, code) in [
            ("\u{feff}SELECT 1", Some("SG6224")),
            ("SELECT 1\0", Some("SG6224")),
            ("-- a\rDROP DATABASE x", Some("SG6201")),
            ("SELECT 1;\r\n-- DROP DATABASE x\r\nSELECT 2;\r\n", None),
            ("SELECT\u{b}pg_reload_conf\u{c}()", Some("SG6204")),
        ] {
            let found = screen(text).findings.first().map(|finding| finding.code.id());
            assert_eq!(found, code, "{text:?}");
        }
    }

    #[test]
    fn what_is_too_deep_is_refused_and_what_is_long_is_not() {
        let deep = |open: &str, close: &str, times: usize| {
            let text = format!("SELECT {}1{}", open.repeat(times), close.repeat(times));
            screen(&text).findings.first().map(|finding| finding.code.id())
        };
        for (open, close) in [
            ("(", ")"),
            ("ARRAY[", "]"),
            ("CASE WHEN true THEN ", " END"),
            ("NOT ", ""),
            ("- ", ""),
            ("(SELECT ", ")"),
            ("1 + ", ""),
            ("f(", ")"),
        ] {
            assert_eq!(deep(open, close, 3), None, "{open}");
            assert_eq!(deep(open, close, 100_000), Some("SG6224"), "{open}");
        }
        let joins = format!("SELECT 1 FROM a {}", "JOIN b ON true ".repeat(100_000));
        assert_eq!(screen(&joins).findings.len(), 1);
        let rows = format!("INSERT INTO a VALUES {}(1, 'x')", "(1, 'x'), ".repeat(20_000));
        assert_eq!(screen(&rows).findings, []);
        let nested = (0..20).fold("SELECT 1".to_owned(), |text, depth| {
            format!("DO $a{depth}$ BEGIN EXECUTE $b{depth}${text}$b{depth}$; END $a{depth}$")
        });
        assert_eq!(screen(&nested).findings.len(), 1);
    }
}
