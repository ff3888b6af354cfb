//! Statements that the server refuses inside of a transaction.

use super::cursor::{Cursor, Path};

/// A statement that runs in no transaction but its own, and what it works on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Alone {
    /// `CREATE INDEX CONCURRENTLY`; an interruption leaves an invalid index.
    CreateIndex {
        /// The index; `None` leaves the name to the server.
        index: Option<Path>,
        /// Its table.
        table: Path,
    },
    /// `DROP INDEX CONCURRENTLY`; an interruption leaves an invalid index.
    DropIndex {
        /// The index.
        index: Path,
    },
    /// `REINDEX … CONCURRENTLY`; an interruption leaves invalid indexes with names of the server.
    Reindex {
        /// The index or the table; `None` for a whole schema or database.
        of: Option<Path>,
    },
    /// `DETACH PARTITION … CONCURRENTLY`; an interruption leaves a partition that is half detached.
    Detach {
        /// The partitioned table.
        parent: Path,
        /// Its partition.
        partition: Path,
    },
    /// `VACUUM`, which can simply run again.
    Vacuum {
        /// The tables that it names; none stands for every table.
        tables: Vec<Path>,
        /// Whether it passes over a table that is locked.
        skips_locked: bool,
    },
    /// Anything else that can simply run again: `REINDEX SCHEMA`, `CLUSTER` of every table.
    Again,
}

/// Reads a statement from its beginning; `None` when a transaction may hold it.
pub(super) fn of(statement: &Cursor<'_, '_>) -> Option<(Alone, String)> {
    let mut cursor = statement.clone();
    let verbs = ["create", "drop", "reindex", "vacuum", "repack", "cluster", "alter"];
    let verb = verbs.into_iter().find(|verb| cursor.eat(verb))?;
    let concurrently = || format!("`{} INDEX CONCURRENTLY`", verb.to_uppercase());
    match verb {
        "create" => Some((create_index(cursor)?, concurrently())),
        "drop" => Some((drop_index(cursor)?, concurrently())),
        "reindex" => reindex(cursor),
        "cluster" => cluster(cursor),
        "vacuum" => Some((vacuum(cursor), "`VACUUM`".to_owned())),
        "alter" => Some((detach(cursor)?, "`DETACH PARTITION … CONCURRENTLY`".to_owned())),
        _ => Some((Alone::Again, format!("`{}`", verb.to_uppercase()))),
    }
}

fn create_index(mut cursor: Cursor<'_, '_>) -> Option<Alone> {
    cursor.eat("unique");
    if !(cursor.eat("index") && cursor.eat("concurrently")) {
        return None;
    }
    if cursor.eat("if") {
        cursor.eat_any(&["not"]);
        cursor.eat_any(&["exists"]);
    }
    let index = if cursor.sees("on") { None } else { cursor.path() };
    cursor.eat("on");
    cursor.eat("only");
    Some(Alone::CreateIndex { index, table: cursor.path()? })
}

fn drop_index(mut cursor: Cursor<'_, '_>) -> Option<Alone> {
    if !(cursor.eat("index") && cursor.eat("concurrently")) {
        return None;
    }
    if cursor.eat("if") {
        cursor.eat("exists");
    }
    Some(Alone::DropIndex { index: cursor.path()? })
}

fn reindex(mut cursor: Cursor<'_, '_>) -> Option<(Alone, String)> {
    let in_options =
        cursor.clone().bracketed().is_some_and(|inner| inner.pieces().iter().any(turns_on));
    if cursor.sees_symbol(b'(') {
        cursor.skip();
    }
    let of_schema = cursor.sees("schema");
    let of_one = cursor.sees_any(&["index", "table"]);
    cursor.at += 1;
    if cursor.eat("concurrently") || in_options {
        let of = if of_one { cursor.path() } else { None };
        return Some((Alone::Reindex { of }, "`REINDEX CONCURRENTLY`".to_owned()));
    }
    of_schema.then(|| (Alone::Again, "`REINDEX SCHEMA`".to_owned()))
}

/// `CLUSTER` of everything opens a transaction for each table.
fn cluster(mut cursor: Cursor<'_, '_>) -> Option<(Alone, String)> {
    cursor.eat("verbose");
    if cursor.sees_symbol(b'(') {
        cursor.skip();
    }
    let of_all = cursor.is_done() || cursor.sees_symbol(b';');
    of_all.then(|| (Alone::Again, "`CLUSTER` of every table".to_owned()))
}

/// The options stand in brackets, or as words in front of the first table.
fn vacuum(mut cursor: Cursor<'_, '_>) -> Alone {
    let options = cursor.bracketed().map(Cursor::pieces).unwrap_or_default();
    let skips_locked = options.iter().any(|option| option.sees("skip_locked"));
    while cursor.eat_any(&["full", "freeze", "verbose", "analyze", "analyse"]) {}
    let listed = cursor.until(|cursor| cursor.sees_symbol(b';'));
    let table = |mut listed: Cursor<'_, '_>| {
        listed.eat("only");
        listed.path()
    };
    let tables = listed.pieces().into_iter().filter_map(table).collect();
    Alone::Vacuum { tables, skips_locked }
}

fn detach(mut cursor: Cursor<'_, '_>) -> Option<Alone> {
    if !cursor.eat("table") {
        return None;
    }
    if cursor.eat("if") {
        cursor.eat("exists");
    }
    cursor.eat("only");
    let parent = cursor.path()?;
    cursor.eat_symbol(b'*');
    if !(cursor.eat("detach") && cursor.eat("partition")) {
        return None;
    }
    let partition = cursor.path()?;
    cursor.sees("concurrently").then_some(Alone::Detach { parent, partition })
}

/// Says whether an option is `CONCURRENTLY`, not turned off.
fn turns_on(option: &Cursor<'_, '_>) -> bool {
    let mut option = option.clone();
    let off = |cursor: &Cursor<'_, '_>| {
        cursor.sees_any(&["false", "off"])
            || cursor.source.raw(&cursor.source.tokens[cursor.at]) == "0"
    };
    option.eat("concurrently") && (option.is_done() || !off(&option))
}

#[cfg(test)]
mod tests {
    use super::super::source::Source;
    use super::*;

    fn read(text: &str) -> Option<Alone> {
        let source = Source::file(text);
        of(&Cursor::new(&source, 0, source.tokens.len())).map(|(alone, _)| alone)
    }

    fn path(schema: Option<&str>, name: &str) -> Path {
        Path { schema: schema.map(ToOwned::to_owned), name: name.to_owned() }
    }

    #[test]
    fn what_a_statement_works_on_is_read_as_the_server_reads_it() {
        let index = |index, table| Some(Alone::CreateIndex { index, table });
        assert_eq!(
            read("CREATE unique INDEX CONCURRENTLY IF NOT EXISTS \"A b\" ON ONLY s.T (x)"),
            index(Some(path(None, "A b")), path(Some("s"), "t"))
        );
        assert_eq!(read("CREATE INDEX CONCURRENTLY ON t (x)"), index(None, path(None, "t")));
        let dropped = Alone::DropIndex { index: path(Some("s"), "i") };
        assert_eq!(read("DROP INDEX CONCURRENTLY IF EXISTS s.i"), Some(dropped));
        let detached = Alone::Detach { parent: path(None, "a"), partition: path(Some("s"), "b") };
        assert_eq!(read("ALTER TABLE a DETACH PARTITION s.b CONCURRENTLY"), Some(detached));
        for again in ["CLUSTER", "CLUSTER VERBOSE;", "REINDEX SCHEMA public"] {
            assert_eq!(read(again), Some(Alone::Again), "{again}");
        }
        for (reindex, of) in [
            ("REINDEX INDEX CONCURRENTLY s.i", Some(path(Some("s"), "i"))),
            ("REINDEX (CONCURRENTLY on) TABLE a", Some(path(None, "a"))),
            ("REINDEX (VERBOSE, CONCURRENTLY) TABLE CONCURRENTLY a", Some(path(None, "a"))),
            ("REINDEX SCHEMA CONCURRENTLY s", None),
        ] {
            assert_eq!(read(reindex), Some(Alone::Reindex { of }), "{reindex}");
        }
        for (vacuum, tables, skips_locked) in [
            ("VACUUM", vec![], false),
            ("VACUUM;", vec![], false),
            ("VACUUM a", vec![path(None, "a")], false),
            ("VACUUM FULL VERBOSE ANALYZE a (x, y);", vec![path(None, "a")], false),
            (
                "VACUUM (FULL, ANALYZE) ONLY s.a, \"B\" (x)",
                vec![path(Some("s"), "a"), path(None, "B")],
                false,
            ),
            ("VACUUM (SKIP_LOCKED, ANALYZE) a", vec![path(None, "a")], true),
        ] {
            assert_eq!(read(vacuum), Some(Alone::Vacuum { tables, skips_locked }), "{vacuum}");
        }
    }

    #[test]
    fn what_a_transaction_may_hold_is_told_apart() {
        for text in [
            "CREATE INDEX i ON a (concurrently)",
            "CREATE TABLE concurrently_made ()",
            "DROP INDEX i",
            "REINDEX TABLE a",
            "REINDEX (CONCURRENTLY false) TABLE a",
            "CLUSTER a USING i",
            "ALTER TABLE a DETACH PARTITION b",
            "ALTER TABLE a DETACH PARTITION b FINALIZE",
            "REFRESH MATERIALIZED VIEW CONCURRENTLY m",
            "SELECT 1",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
