//! Texts of which only names and values are not known: `format` with `%I` and `%L`.
//!
//! Whatever a variable holds, `%I` and `quote_ident` make one name of it and `%L` and
//! `quote_literal` one value. So the kind of the statement is known, and what it does too, if the
//! name stands where it can only be that of a table, column, index, constraint, sequence, trigger,
//! policy or new schema that is being defined. The list is short on purpose. What reads or writes
//! rows is not in it: a name without a schema may be a catalog's, and a view or function may be used
//! with somebody else's rights. What drops a table is not in it either.
//!
//! The table may still be the ledger: who runs the migration compares it before recording.

use std::ops::Range;

use super::cursor::Cursor;
use super::lexer::Kind;
use super::source::Source;
use super::split;

/// Stands for a name that is not known.
pub(super) const NAME: &str = "\"slotguard_unknown_name\"";

/// Stands for a value that is not known.
pub(super) const VALUE: &str = "'slotguard_unknown_value'";

/// How statements begin that define something, with the words behind which a name may be unknown.
#[rustfmt::skip]
const HEADS: &[(&[&str], &[&str])] = &[
    (&["create", "table"], &["table", "exists", "references", "like", "constraint", "partition of"]),
    (&["create", "unlogged", "table"], &["table", "exists", "references", "like", "constraint"]),
    (&["create", "temp", "table"], &["table", "exists", "like", "constraint"]),
    (&["create", "temporary", "table"], &["table", "exists", "like", "constraint"]),
    (&["alter", "table"], &["table", "exists", "only", "column", "constraint", "trigger", "references", "rename to", "attach partition", "detach partition"]),
    (&["create", "index"], &["index", "exists", "on", "only"]),
    (&["create", "unique", "index"], &["index", "exists", "on", "only"]),
    (&["alter", "index"], &["index", "exists", "rename to", "attach partition"]),
    (&["drop", "index"], &["index", "exists"]),
    (&["create", "sequence"], &["sequence", "exists"]),
    (&["alter", "sequence"], &["sequence", "exists", "rename to"]),
    (&["create", "trigger"], &["trigger", "on"]),
    (&["create", "or", "replace", "trigger"], &["trigger", "on"]),
    (&["create", "constraint", "trigger"], &["trigger", "on"]),
    (&["drop", "trigger"], &["trigger", "exists", "on"]),
    (&["create", "policy"], &["policy", "on"]),
    (&["drop", "policy"], &["policy", "exists", "on"]),
    (&["create", "schema"], &["schema", "exists"]),
    (&["comment", "on"], &["table", "column", "index", "sequence", "view", "constraint", "trigger", "policy", "on"]),
];

/// What may be done to a table whose name is not known.
const ACTIONS: &[&str] = &[
    "add", "drop", "alter", "rename", "enable", "disable", "force", "validate", "attach", "detach",
];

/// Says whether all that is unknown are names and values in places where they decide nothing.
///
/// `unknown` are the places of [`NAME`] and [`VALUE`] in `text`, which `source` is read from.
pub(super) fn are_decided(source: &Source<'_>, text: &str, unknown: &[Range<usize>]) -> bool {
    let statements = split::statements(source);
    unknown.iter().all(|hole| {
        let index = source.token_at(hole.start);
        let statement = statements.iter().find(|(start, end)| (*start..*end).contains(&index));
        let Some((start, end)) = statement else { return false };
        let statement = Cursor::new(source, *start, *end);
        stands_alone(source, text, index, hole) && is_decided(&statement, index)
    })
}

/// A name and a value are tokens of their own, whatever the real ones look like: nothing before or
/// behind them can run into them, and they are not within a string or a comment.
fn stands_alone(source: &Source<'_>, text: &str, index: usize, hole: &Range<usize>) -> bool {
    let bytes = text.as_bytes();
    let before = hole.start.checked_sub(1).map(|at| bytes[at]);
    let behind = bytes.get(hole.end).copied();
    let token = source.tokens.get(index);
    token.is_some_and(|token| (token.start, token.end) == (hole.start, hole.end))
        && before.is_none_or(|byte| byte.is_ascii_whitespace() || b"(,.".contains(&byte))
        && behind.is_none_or(|byte| byte.is_ascii_whitespace() || b"),.;(".contains(&byte))
}

fn is_decided(statement: &Cursor<'_, '_>, index: usize) -> bool {
    let Some((head, places)) = HEADS.iter().find(|(head, _)| begins(statement, head)) else {
        return false;
    };
    if statement.source.tokens[index].kind == Kind::Text {
        return is_plain_value(statement, head, index);
    }
    let path = path_around(statement, index);
    let placed = places.iter().any(|place| is_place(statement, head, place, &path));
    let altered = *head == ["alter", "table"];
    (placed || is_column(statement, head, &path)) && (!altered || acts_plainly(statement))
}

/// Says whether a name stands behind the words of a place, and is no call.
fn is_place(statement: &Cursor<'_, '_>, head: &[&str], place: &str, path: &Range<usize>) -> bool {
    let source = statement.source;
    let is = |back: usize, word: &str| {
        path.start
            .checked_sub(back)
            .is_some_and(|at| at >= statement.at && source.is_word(at, word))
    };
    // What a statement begins with names its object there, and something else further on, such as
    // the rows of `CREATE TABLE a AS TABLE b`; but a remark is on something.
    let at_head = path.start == statement.at + head.len();
    let fits = at_head == (head.last() == Some(&place) && place != "on");
    let nested = opening(statement, path.start).is_some();
    let may_nest = ["references", "like", "constraint"].contains(&place);
    let placed = match place.split_once(' ') {
        Some(("rename", "to")) => is(1, "to") && renames(statement, path.start),
        Some((first, second)) => is(1, second) && is(2, first),
        // In an expression it would be an operator.
        None if place == "like" => {
            let begins =
                [b'(', b','].iter().any(|symbol| source.is_symbol(path.start - 2, *symbol));
            is(1, place) && begins
        }
        None => is(1, place),
    };
    let lists = match place {
        "references" => true,
        "table" | "exists" => head[0] == "create" && head.contains(&"table"),
        "on" | "only" => head.contains(&"index"),
        _ => false,
    };
    let called = source.is_symbol(path.end, b'(') && !lists;
    placed && fits && (!nested || may_nest) && !called
}

/// Returns the tokens of the qualified name that a token belongs to.
fn path_around(statement: &Cursor<'_, '_>, index: usize) -> Range<usize> {
    let source = statement.source;
    let (mut start, mut end) = (index, index + 1);
    while start >= statement.at + 2
        && source.is_symbol(start - 1, b'.')
        && source.name(start - 2).is_some()
    {
        start -= 2;
    }
    while source.is_symbol(end, b'.') && source.name(end + 1).is_some() {
        end += 2;
    }
    start..end
}

fn begins(statement: &Cursor<'_, '_>, head: &[&str]) -> bool {
    let is = |(ahead, word): (usize, &&str)| statement.source.is_word(statement.at + ahead, word);
    head.iter().enumerate().all(is)
}

/// `RENAME TO`, or `RENAME [COLUMN | CONSTRAINT] name TO`, and not `OWNER TO`.
fn renames(statement: &Cursor<'_, '_>, name: usize) -> bool {
    let source = statement.source;
    let is = |back: usize, word: &str| {
        name.checked_sub(back).is_some_and(|at| at >= statement.at && source.is_word(at, word))
    };
    is(2, "rename")
        || is(3, "rename")
        || (is(4, "rename") && (is(3, "column") || is(3, "constraint")))
}

/// A column in a list of nothing but columns: of a key, of an index, of a reference.
fn is_column(statement: &Cursor<'_, '_>, head: &[&str], path: &Range<usize>) -> bool {
    let source = statement.source;
    let is_alone =
        path.len() == 1 && (source.is_symbol(path.end, b',') || source.is_symbol(path.end, b')'));
    let Some(open) = opening(statement, path.start).filter(|_| is_alone) else { return false };
    let listed = source.is_symbol(path.start - 1, b'(') || source.is_symbol(path.start - 1, b',');
    let behind_key = source.is_word(open - 1, "key") || source.is_word(open - 1, "unique");
    let mut list = path_around(statement, open - 1);
    if source.is_word(list.start - 1, "using") {
        list = path_around(statement, list.start - 2);
    }
    let behind = |word| list.start > statement.at && source.is_word(list.start - 1, word);
    let of_index = head.contains(&"index") && (behind("on") || behind("only"));
    listed && (behind_key || of_index || behind("references"))
}

/// Returns the bracket that a token lies directly within, unless it lies within none.
fn opening(statement: &Cursor<'_, '_>, index: usize) -> Option<usize> {
    let mut closed = 0_usize;
    for at in (statement.at + 1..index).rev() {
        match statement.source.tokens[at].kind {
            Kind::Symbol(b')') => closed += 1,
            Kind::Symbol(b'(') if closed == 0 => return Some(at),
            Kind::Symbol(b'(') => closed -= 1,
            _ => {}
        }
    }
    None
}

/// Says whether each action of `ALTER TABLE` is one of the list.
fn acts_plainly(statement: &Cursor<'_, '_>) -> bool {
    let mut actions = statement.clone();
    actions.at += 2;
    if actions.eat("if") {
        actions.eat("exists");
    }
    actions.eat("only");
    let named = actions.path().is_some();
    actions.eat_symbol(b'*');
    named && actions.pieces().iter().all(|action| action.sees_any(ACTIONS))
}

/// A remark, a default, or the bound of a partition: nothing reads such a value as a name or a text.
fn is_plain_value(statement: &Cursor<'_, '_>, head: &[&str], index: usize) -> bool {
    let source = statement.source;
    let ends = index + 1 == statement.end
        || [b',', b')'].iter().any(|symbol| source.is_symbol(index + 1, *symbol));
    if head == ["comment", "on"] {
        return source.is_word(index - 1, "is") && ends;
    }
    let is_table = head.last() == Some(&"table");
    if is_table && source.is_word(index - 1, "default") {
        return ends || source.is_word(index + 1, "not");
    }
    let listed = source.is_symbol(index - 1, b'(') || source.is_symbol(index - 1, b',');
    let is_bound = |open: usize| {
        ["from", "to", "in"].iter().any(|word| source.is_word(open - 1, word))
            && (statement.at..open)
                .any(|at| source.is_word(at, "values") && at > 0 && source.is_word(at - 1, "for"))
    };
    is_table && listed && ends && opening(statement, index).is_some_and(is_bound)
}

#[cfg(test)]
mod tests {
    use crate::migration::screen;

    /// Each stands for statements that pass with names and values that are not known.
    const PASSING: &[&str] = &[
        "ALTER TABLE %I ADD COLUMN x int",
        "ALTER TABLE IF EXISTS ONLY public.%I DROP CONSTRAINT %I",
        "ALTER TABLE a ADD CONSTRAINT %I FOREIGN KEY (%I, b) REFERENCES %I (%I, c)",
        "ALTER TABLE a RENAME COLUMN %I TO %I",
        "CREATE TABLE %I (id int DEFAULT %L, CONSTRAINT %I UNIQUE (id))",
        "CREATE TABLE %I PARTITION OF %I FOR VALUES IN (%L, %L)",
        "CREATE INDEX %I ON %I.%I (%I, lower(b))",
        "CREATE TRIGGER %I BEFORE UPDATE ON %I FOR EACH ROW EXECUTE FUNCTION f()",
        "CREATE POLICY %I ON %I USING (true)",
        "CREATE SCHEMA %I",
        "COMMENT ON CONSTRAINT %I ON %I IS %L",
    ];

    /// What a variable may hold: the server writes unreserved key words without quotes.
    #[rustfmt::skip]
    const HELD: &[&str] = &[
        "a", "A b", "database", "role", "if", "begin", "concurrently", "system", "exclude", "only", "owner", "schema",
        "x\"; DROP DATABASE x; --", "$$", "U&", "e'", "/*", "--", "\\", "pg_read_file", "%I",
    ];

    fn as_the_server_quotes(held: &str) -> String {
        let is_reserved = ["only", "concurrently"].contains(&held);
        if held.bytes().all(|byte| byte.is_ascii_lowercase()) && !is_reserved {
            return held.to_owned();
        }
        format!("\"{}\"", held.replace('"', "\"\""))
    }

    fn executed(template: &str) -> String {
        let values = template.matches("%I").chain(template.matches("%L")).map(|_| ", v");
        let values: String = values.collect();
        format!("DO $b$ DECLARE v text; BEGIN EXECUTE format('{template}'{values}); END $b$")
    }

    #[test]
    fn what_passes_with_any_name_passes_with_each() {
        for template in PASSING {
            assert_eq!(screen(&executed(template)).findings, [], "{template}");
            for held in HELD {
                let value = if held.contains('\\') { "E'\\\\'" } else { "'x'" };
                let parts: Vec<&str> = template.split("%I").collect();
                let real = parts.join(&as_the_server_quotes(held)).replace("%L", value);
                assert_eq!(screen(&real).findings, [], "{real}");
            }
        }
    }

    #[test]
    fn a_word_less_and_nobody_can_tell() {
        for (template, other) in [
            ("ALTER TABLE %I ADD COLUMN x int", "ALTER %I a ADD COLUMN x int"),
            ("ALTER TABLE a RENAME TO %I", "ALTER TABLE a OWNER TO %I"),
            ("ALTER TABLE a RENAME TO %I", "ALTER TABLE a SET SCHEMA %I"),
            ("CREATE INDEX ON %I (a)", "CREATE INDEX ON a (%I(a))"),
            ("CREATE INDEX ON a (%I)", "CREATE INDEX ON a USING %I (a)"),
            ("ALTER TABLE a ADD UNIQUE (%I)", "ALTER TABLE a ADD CHECK (%I)"),
            ("COMMENT ON TABLE %I IS %L", "COMMENT ON TABLE a IS %I"),
            ("CREATE SCHEMA %I", "CREATE SCHEMA AUTHORIZATION %I"),
        ] {
            assert_eq!(screen(&executed(template)).findings, [], "{template}");
            let found = screen(&executed(other)).findings;
            assert_eq!(found.first().map(|finding| finding.code.id()), Some("SG6222"), "{other}");
        }
    }
}
