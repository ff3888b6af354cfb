//! What a run really does to a database, held against what the server itself says.

#![expect(clippy::unwrap_used, reason = "helpers of tests, outside of what the lint takes for one")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::time::Duration;

use fixtures::HazardCase;
use guard::diagnostic::Code;
use serde_json::Value;

use crate::support::hold::Hold;
use crate::support::run::assert_whole;
use crate::support::server::{Server, password};

/// The last version of the corpus that production has.
pub(crate) const DEPLOYED: i64 = 4;

/// Returns the migrations of the corpus that run, by version: name and text.
fn corpus() -> BTreeMap<i64, (String, String)> {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir(fixtures::hazard_migrations()).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if let Some(version) = name.strip_prefix('V').filter(|_| name.ends_with(".sql")) {
            let version = version.split('_').next().unwrap().parse().unwrap();
            all.insert(version, (name, fs::read_to_string(&path).unwrap()));
        }
    }
    all
}

fn write(server: &Server, up_to: i64) -> String {
    for (name, text) in corpus().range(..=up_to).map(|(_, file)| file) {
        server.place.write(&format!("previews/x/migrations/{name}"), 0o644, text);
    }
    server.place.text("previews/x/migrations")
}

pub(crate) fn texts(values: &Value, text: impl Fn(&Value) -> String) -> Vec<String> {
    values.as_array().unwrap().iter().map(text).collect()
}

pub(crate) fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

fn sorted(all: impl IntoIterator<Item = String>) -> Vec<String> {
    all.into_iter().collect::<BTreeSet<String>>().into_iter().collect()
}

/// Returns what a trace says about one migration, as the corpus writes it.
fn case_of(migration: &Value) -> HazardCase {
    let of_statements = |field: &str, shown: &dyn Fn(&Value) -> String| {
        let statements = migration["statements"].as_array().unwrap();
        sorted(statements.iter().flat_map(|one| texts(&one[field], shown)))
    };
    HazardCase {
        file: text(&migration["file"]),
        hazards: texts(&migration["hazards"], |hazard| {
            format!("{} {}", hazard["line"], text(&hazard["rule"]))
        }),
        locks: of_statements("locks", &|lock| {
            format!("{} {}", text(&lock["relation"]), text(&lock["mode"]))
        }),
        rewrites: of_statements("rewrites", &text),
        indexes: of_statements("indexes", &|index| text(&index["index"])),
    }
}

/// Returns the report of a trace of the whole corpus, on a database with what production has.
fn traced(server: &Server) -> Value {
    let migrations = write(server, DEPLOYED);
    server.migrate("apply", 1, &migrations).run().accepted();
    let migrations = write(server, i64::MAX);
    let outcome = server.migrate("trace", 1, &migrations).format("json").run();
    assert_eq!(outcome.status, Some(0), "{outcome:?}");
    outcome.objects().pop().unwrap()
}

/// Which weaker locks a statement takes on the way differs between versions of the server.
fn is_waited_for(lock: &str) -> bool {
    let weak = [" ACCESS SHARE", " ROW SHARE", " ROW EXCLUSIVE"];
    lock.ends_with("SHARE ROW EXCLUSIVE") || !weak.iter().any(|mode| lock.ends_with(mode))
}

#[test]
fn every_migration_of_the_corpus_does_what_is_expected() {
    let report = traced(&Server::new());
    let found: Vec<HazardCase> =
        report["migrations"].as_array().unwrap().iter().map(case_of).collect();
    let expected = fixtures::hazard_cases();
    assert!(expected.len() >= 40, "{}", expected.len());
    for (found, expected) in found.iter().zip(&expected) {
        let locks = found.locks.iter().filter(|lock| is_waited_for(lock)).cloned().collect();
        assert_eq!(HazardCase { locks, ..found.clone() }, *expected);
    }
    assert_eq!(found.len(), expected.len());
}

/// What the server says about its relations: number, name, kind, and where the rows are.
fn relations(server: &Server) -> Relations {
    let question = "SELECT c.oid, CASE n.nspname WHEN 'public' THEN '' ELSE n.nspname || '.' END || c.relname, \
         c.relkind, coalesce(pg_relation_filenode(c.oid), 0), coalesce(i.indrelid, c.oid) \
         FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
         LEFT JOIN pg_index i ON i.indexrelid = c.oid \
         WHERE n.nspname IN ('public', 'audit') AND c.relname NOT LIKE 'refinery%'";
    let answer = server.sql("app_preview_2", question);
    let row = |line: &str| {
        let parts: Vec<&str> = line.split('|').collect();
        let number = |index: usize| parts[index].parse::<u32>().unwrap();
        (number(0), (parts[1].to_owned(), parts[2].to_owned(), number(3), number(4)))
    };
    answer.lines().map(row).collect()
}

/// Runs a migration by hand, and has another session say which locks it holds before it commits.
fn observed(server: &Server, file: &str, sql: &str, old: &BTreeSet<u32>) -> HazardCase {
    let before = relations(server);
    let statements = format!("BEGIN;\n{}", sql.trim_end().trim_end_matches(';'));
    let session = Hold { slot: Some(2), database: "app_preview_2", statements: &statements };
    let held = session.during(server, |pid| server.sql("app_preview_2", &locks_of(pid)));
    server.sql("app_preview_2", &format!("SET ROLE slot_2; BEGIN;\n{sql}\n;COMMIT"));
    changed(server, file, (&before, &held), old)
}

/// The question for the locks that a session has, and for the one that it asks for.
fn locks_of(pid: u32) -> String {
    format!(
        "SELECT relation, upper(trim(regexp_replace(replace(mode, 'Lock', ''), '([A-Z])', ' \\1', 'g'))) \
         FROM pg_locks WHERE locktype = 'relation' AND pid = {pid}"
    )
}

type Relations = BTreeMap<u32, (String, String, u32, u32)>;

/// Says what is another since `before`, in the words of the corpus.
fn changed(
    server: &Server,
    file: &str,
    (before, held): (&Relations, &str),
    old: &BTreeSet<u32>,
) -> HazardCase {
    let after = relations(server);
    let lock = |line: &str| {
        let (number, mode) = line.split_once('|').unwrap();
        let number: u32 = number.parse().unwrap();
        let (name, ..) = before.get(&number).filter(|_| old.contains(&number))?;
        Some(format!("{name} {mode}"))
    };
    let is_anew = |number: &u32, file: u32| before.get(number).is_none_or(|then| then.2 != file);
    let anew =
        |kinds: &'static [&str], is_old: &dyn Fn(u32, u32) -> bool| {
            let anew = after.iter().filter(|(number, (_, kind, file, table))| {
                kinds.contains(&kind.as_str())
                    && *file > 0
                    && is_anew(number, *file)
                    && is_old(**number, *table)
            });
            sorted(anew.map(|(number, (name, ..))| {
                before.get(number).map_or(name, |then| &then.0).clone()
            }))
        };
    HazardCase {
        file: file.to_owned(),
        hazards: Vec::new(),
        locks: sorted(held.lines().filter_map(lock)),
        rewrites: anew(&["r", "m"], &|number, _| old.contains(&number)),
        indexes: anew(&["i"], &|_, table| old.contains(&table)),
    }
}

/// Migrations that no transaction may hold, and what stands in the way of each at the place where it
/// has its strongest locks or asks for them; with two, the second one is met when the first is gone.
const ALONE: &[(&str, &[&str])] = &[
    ("V61__orders_by_total.sql", &["LOCK TABLE orders IN ROW EXCLUSIVE MODE"]),
    ("V62__no_total_index.sql", &["LOCK TABLE orders IN ACCESS SHARE MODE"]),
    ("V63__reindexed_aside.sql", &["LOCK TABLE orders IN ROW EXCLUSIVE MODE"]),
    ("V64__lines_reindexed_aside.sql", &["LOCK TABLE order_lines IN ROW EXCLUSIVE MODE"]),
    ("V65__vacuumed.sql", &["LOCK TABLE orders IN SHARE UPDATE EXCLUSIVE MODE"]),
    ("V66__vacuumed_full.sql", &["LOCK TABLE orders IN ACCESS SHARE MODE"]),
    (
        "V67__detached_aside.sql",
        &[
            "LOCK TABLE ONLY events IN ACCESS SHARE MODE",
            "LOCK TABLE ONLY events_2026 IN ACCESS SHARE MODE",
        ],
    ),
];

/// Runs a migration by hand while somebody is in its way, and has another session say which locks it
/// has then or waits for.
fn observed_alone(
    server: &Server,
    (file, sql): (&str, &str),
    holds: &[&str],
    old: &BTreeSet<u32>,
) -> HazardCase {
    let before = relations(server);
    let database = "app_preview_2";
    let hold = |statement: &str| format!("BEGIN; {statement}");
    let held = std::thread::scope(|scope| {
        let start = || {
            scope.spawn(|| {
                server.cluster().run_sql_as("slot_2", &password(2), database, sql).unwrap()
            })
        };
        match *holds {
            [one] => {
                let statements = &hold(one);
                Hold { slot: None, database, statements }.during(server, |_| {
                    start();
                    standing(server)
                })
            }
            [first, second] => {
                let (first, second) = (&hold(first), &hold(second));
                Hold { slot: None, database, statements: second }.during(server, |_| {
                    let first = Hold { slot: Some(2), database, statements: first };
                    let held = first.during(server, |_| {
                        start();
                        standing(server)
                    });
                    format!("{held}\n{}", standing(server))
                })
            }
            _ => panic!("{holds:?}"),
        }
    });
    let mut seen = changed(server, file, (&before, held.trim()), old);
    // What it took besides is not all there at that moment.
    seen.locks.retain(|lock| is_waited_for(lock));
    seen
}

/// Waits until a session of the slot waits for a lock, and returns what it has and asks for.
fn standing(server: &Server) -> String {
    for _ in 0..1000 {
        let waiting = "SELECT pid FROM pg_locks WHERE NOT granted";
        if let Ok(pid) = server.sql("app_preview_2", waiting).trim().parse() {
            return server.sql("app_preview_2", &locks_of(pid)).trim().to_owned();
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("nobody waits");
}

#[test]
fn a_trace_agrees_with_what_another_session_sees() {
    let server = Server::new();
    let report = traced(&server);
    let all = corpus();
    for (_, (_, sql)) in all.range(..=DEPLOYED) {
        server.sql("app_preview_2", &format!("SET ROLE slot_2;\n{sql}"));
    }
    let old: BTreeSet<u32> = relations(&server).into_keys().collect();
    let migrations = report["migrations"].as_array().unwrap();
    assert_eq!(migrations.len(), all.range(DEPLOYED + 1..).count());
    for (migration, (_, (file, sql))) in migrations.iter().zip(all.range(DEPLOYED + 1..)) {
        let mut found = HazardCase { hazards: Vec::new(), ..case_of(migration) };
        match ALONE.iter().find(|(alone, _)| file == alone) {
            None => assert_eq!(found, observed(&server, file, sql, &old)),
            Some((_, holds)) => {
                found.locks.retain(|lock| is_waited_for(lock));
                assert_eq!(found, observed_alone(&server, (file, sql), holds, &old));
            }
        }
    }
}

/// Writes migrations into a worktree and returns their directory.
pub(crate) fn migrations(server: &Server, files: &[(&str, &str)]) -> String {
    for (name, text) in files {
        server.place.write(&format!("previews/x/migrations/{name}"), 0o644, text);
    }
    server.place.text("previews/x/migrations")
}

pub(crate) const USERS: (&str, &str) = (
    "V1__users.sql",
    "CREATE TABLE users (id int PRIMARY KEY, name text, secret text);\n\
     INSERT INTO users SELECT n, 'somebody' FROM generate_series(1, 100) n;\n",
);

/// Migrations beside their closest neighbour: what waits, and whether the table is written anew.
const NEIGHBOURS: &[(&str, &str, &str, bool)] = &[
    ("V2__a.sql", "ALTER TABLE users ADD a int DEFAULT 1", "reads-and-writes", false),
    ("V3__b.sql", "ALTER TABLE users ADD b float DEFAULT random()", "reads-and-writes", true),
    ("V4__c.sql", "ALTER TABLE users ALTER name TYPE varchar", "reads-and-writes", false),
    ("V5__d.sql", "ALTER TABLE users ALTER a TYPE bigint", "reads-and-writes", true),
    ("V6__e.sql", "ALTER TABLE users ALTER name SET STATISTICS 9", "schema-changes", false),
    ("V7__f.sql", "ALTER TABLE users ALTER name SET STORAGE MAIN", "reads-and-writes", false),
    ("V8__g.sql", "ALTER TABLE users ADD CHECK (a > 0) NOT VALID", "reads-and-writes", false),
    ("V9__h.sql", "ALTER TABLE users VALIDATE CONSTRAINT users_a_check", "schema-changes", false),
    ("V10__i.sql", "CREATE INDEX ON users (name)", "writes", false),
    ("V11__j.sql", "ANALYZE users", "schema-changes", false),
    ("V12__k.sql", "SELECT count(*) FROM users", "", false),
    ("V13__l.sql", "UPDATE users SET a = 2", "", false),
];

#[test]
fn close_neighbours_are_told_apart() {
    let server = Server::new();
    server.migrate("apply", 1, &migrations(&server, &[USERS])).run().accepted();
    let files: Vec<(&str, &str)> = NEIGHBOURS.iter().map(|(file, sql, ..)| (*file, *sql)).collect();
    let outcome = server.migrate("trace", 1, &migrations(&server, &files)).format("json").run();
    let report = outcome.objects().pop().unwrap();
    for ((file, _, waits, rewritten), migration) in
        NEIGHBOURS.iter().zip(report["migrations"].as_array().unwrap())
    {
        let felt =
            migration["feels"].as_array().unwrap().iter().find(|felt| felt["relation"] == "users");
        let found = felt.map_or(("", false), |felt| {
            (felt["waits"].as_str().unwrap(), felt["rewritten"].as_bool().unwrap())
        });
        assert_eq!((migration["file"].as_str().unwrap(), found), (*file, (*waits, *rewritten)));
    }
    // The check reads every row, and the update writes each.
    let rows = |index: usize| &report["migrations"][index]["statements"][0]["rows"][0];
    assert_eq!((&rows(7)["relation"], &rows(7)["scanned"]), (&"users".into(), &100.into()));
    assert_eq!(rows(11)["written"], 100);
}

const PENDING: &[(&str, &str)] = &[
    ("V2__token.sql", "ALTER TABLE users ADD COLUMN token uuid DEFAULT gen_random_uuid();\n"),
    (
        "V3__index.sql",
        "CREATE TABLE notes (user_id int);\nCREATE INDEX ON notes (user_id);\n\
         UPDATE users SET secret = 'hunter2' WHERE id < 10;\nCREATE INDEX users_name ON users (name);\n",
    ),
    ("V4__harmless.sql", "ALTER TABLE notes ADD COLUMN text text;\n"),
];

#[test]
fn the_report_is_for_people_for_reviewers_and_for_programs() {
    let server = Server::new();
    let shown = [(1, "human"), (2, "markdown"), (3, "json")].map(|(slot, format)| {
        let place = format!("previews/{slot}/migrations");
        let write = |files: &[(&str, &str)]| {
            for (name, text) in files {
                server.place.write(&format!("{place}/{name}"), 0o644, text);
            }
            server.place.text(&place)
        };
        server.migrate("apply", slot, &write(&[USERS])).run().accepted();
        let outcome = server.migrate("trace", slot, &write(PENDING)).format(format).run();
        assert_eq!(outcome.status, Some(0), "{outcome:#?}");
        assert!(!outcome.said().contains("hunter2"), "{outcome:#?}");
        outcome.snapshot(&server.redactor())
    });
    assert_whole("trace", &shown.join("\n"));
}

#[test]
fn a_trace_applies_and_leaves_its_report_and_denies_afterwards() {
    let server = Server::new();
    server.place.keep_artifacts(&server.place.text("artifacts"));
    server.migrate("apply", 1, &migrations(&server, &[USERS])).run().accepted();
    let directory = migrations(&server, PENDING);
    let run = |args: &[&str]| server.migrate("trace", 1, &directory).and(args).format("json").run();
    let outcome = run(&["--deny", "hazard"]);
    outcome.refused(Code::HazardRewrite);
    assert_eq!(server.versions("app_preview_1"), "1 2 3 4");
    let artifact = text(&outcome.objects().pop().unwrap()["artifact"]);
    let report = fs::read_to_string(format!("{artifact}/report.md")).unwrap();
    assert!(report.starts_with("## What production would feel"), "{report}");
    // Nothing is left to be denied.
    let again = &run(&["--deny", "hazard"]);
    assert_eq!(again.accepted().objects().pop().unwrap()["outcome"], "unchanged");
}

#[test]
fn what_production_has_already_is_applied_and_not_reported() {
    let server = Server::new();
    let directory = migrations(&server, &[&[USERS], PENDING].concat());
    let outcome =
        server.migrate("trace", 1, &directory).and(&["--deployed", "2"]).format("json").run();
    let report = outcome.objects().pop().unwrap();
    assert_eq!(server.versions("app_preview_1"), "1 2 3 4");
    let files: Vec<String> =
        report["migrations"].as_array().unwrap().iter().map(|one| text(&one["file"])).collect();
    assert_eq!(files, ["V3__index.sql", "V4__harmless.sql"]);
    // The table of V1 was there before, that of V3 was not.
    assert_eq!(case_of(&report["migrations"][0]).indexes, ["users_name"]);
    assert_eq!(case_of(&report["migrations"][1]).locks, [""; 0]);
}

#[test]
fn a_statement_that_fails_ends_a_trace_as_it_ends_a_run() {
    let server = Server::new();
    let files = [USERS, ("V2__a.sql", "ALTER TABLE users ADD a int; SELECT 1/0; SELECT 2;")];
    let directory = migrations(&server, &files);
    let denial = server.migrate("trace", 1, &directory).format("json").run();
    let denial = denial.denied(Code::MigrationFailed);
    assert!(text(&denial["found"]).contains("statement 2"), "{denial}");
    assert_eq!(server.versions("app_preview_1"), "1");
    let columns =
        "SELECT count(*) FROM pg_attribute WHERE attrelid = 'users'::regclass AND attname = 'a'";
    assert_eq!(server.sql("app_preview_1", columns).trim(), "0");
}
