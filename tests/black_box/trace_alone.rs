//! What a trace sees of migrations that run statement by statement.

#![expect(clippy::unwrap_used, reason = "helpers of tests, outside of what the lint takes for one")]

use std::io::{BufRead, BufReader};
use std::time::Duration;

use guard::diagnostic::Code;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::hold::Hold;
use crate::support::run::{Outcome, assert_whole};
use crate::support::server::Server;
use crate::trace::{USERS, migrations, text, texts};

const DATABASE: &str = "app_preview_1";

/// A database with a table of 100 rows and more beside it.
fn server(more: &str) -> Server {
    let server = Server::new();
    let files = [USERS, ("V2__more.sql", more)];
    server.migrate("apply", 1, &migrations(&server, &files)).run().accepted();
    server
}

fn trace(server: &Server, file: &str, more: &[&str]) -> Outcome {
    let directory = migrations(server, &[("V3__traced.sql", file)]);
    server.migrate("trace", 1, &directory).and(more).format("json").run()
}

/// Returns what a trace says of the one migration that it ran.
#[track_caller]
fn traced(server: &Server, file: &str) -> Value {
    let outcome = trace(server, file, &[]);
    report(&outcome)
}

#[track_caller]
fn report(outcome: &Outcome) -> Value {
    assert_eq!(outcome.status, Some(0), "{outcome:#?}");
    let report = outcome.objects().pop().unwrap();
    let migration = report["migrations"][0].clone();
    assert_eq!(migration["watched"], true, "{migration}");
    migration
}

/// Sums up a statement: locks that somebody waits for, and what it did.
fn sum(statement: &Value) -> Value {
    let waited = |locks: &Value| {
        let locks = locks.as_array()?.iter().filter(|lock| lock["waits"] != "nothing");
        Some(
            locks
                .map(|lock| format!("{} {}", text(&lock["relation"]), text(&lock["mode"])))
                .collect::<Vec<_>>(),
        )
    };
    let names = texts(&statement["indexes"], |index| text(&index["index"]));
    json!([
        waited(&statement["locks"]),
        statement["locks_unseen"],
        statement["rewrites"],
        names,
        statement["drops"]
    ])
}

/// The session that looks is never left behind.
fn assert_alone(server: &Server) {
    let question =
        "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'slotguard-trace'";
    for _ in 0..500 {
        if server.sql("postgres", question).trim() == "0" {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("the second session is still there");
}

const MORE: &str = "
    CREATE INDEX users_name ON users (name);
    CREATE TABLE other (n int);
    CREATE TABLE p (n int) PARTITION BY LIST (n);
    CREATE TABLE p1 PARTITION OF p FOR VALUES IN (1);
    CREATE TABLE p2 PARTITION OF p FOR VALUES IN (2);
    ALTER TABLE p2 ADD FOREIGN KEY (n) REFERENCES users;
    CREATE MATERIALIZED VIEW m AS SELECT * FROM users;
    CREATE SCHEMA \"Odd\";
    CREATE TABLE \"Odd\".\"Name\" (n int);
";

#[test]
fn each_kind_of_statement_is_seen_with_its_locks_and_what_it_did() {
    let server = server(MORE);
    let sue = |names: &[&str]| -> Vec<String> {
        names.iter().map(|name| format!("{name} SHARE UPDATE EXCLUSIVE")).collect()
    };
    let (users, none) = (sue(&["users"]), Vec::<String>::new());
    let both = sue(&["users", "users_name"]);
    let all = sue(&["users", "users_pkey", "users_name"]);
    let exclusive = vec!["users ACCESS EXCLUSIVE"];
    let detached = vec!["p SHARE UPDATE EXCLUSIVE", "p1 ACCESS EXCLUSIVE"];
    let with_keys = vec!["p SHARE UPDATE EXCLUSIVE", "p2 ACCESS EXCLUSIVE"];
    let keys = "those on tables that a foreign key of the partition refers to";
    let many = "it works on many tables, one behind the other";
    let short = "its lock timeout leaves no time for a look";
    let kind = "it works on something else than a table";
    let skips = "it passes over a table that is locked";
    let (rewritten, anew) = (vec!["users"], vec!["users_pkey", "users_name"]);
    #[rustfmt::skip]
    let cases = [
        ("CREATE INDEX CONCURRENTLY a ON users (id)", json!([users, null, none, ["a"], none])),
        // It is there already, so nothing is built; the lock is taken nevertheless.
        ("CREATE INDEX CONCURRENTLY IF NOT EXISTS a ON users (id)", json!([users, null, none, none, none])),
        // What the run itself made is nobody's business.
        ("DROP INDEX CONCURRENTLY a", json!([users, null, none, none, none])),
        ("DROP INDEX CONCURRENTLY IF EXISTS a", json!([none, null, none, none, none])),
        ("REINDEX INDEX CONCURRENTLY users_name", json!([both, null, none, ["users_name"], none])),
        // An index that was built anew is as old as it was.
        ("REINDEX INDEX CONCURRENTLY users_name", json!([both, null, none, ["users_name"], none])),
        ("REINDEX TABLE CONCURRENTLY users", json!([all, null, none, anew, none])),
        ("REINDEX SCHEMA CONCURRENTLY public", json!([null, many, none, ["users_pkey", "users_name"], none])),
        ("VACUUM (ANALYZE) users", json!([users, null, none, none, none])),
        ("VACUUM FULL users", json!([exclusive, null, rewritten, anew, none])),
        ("VACUUM other, users, other", json!([sue(&["other", "users"]), null, none, none, none])),
        ("VACUUM (SKIP_LOCKED) users", json!([null, skips, none, none, none])),
        ("VACUUM \"Odd\".\"Name\"", json!([sue(&["Odd.Name"]), null, none, none, none])),
        ("VACUUM", json!([null, many, none, none, none])),
        ("VACUUM p", json!([null, many, none, none, none])),
        ("CREATE INDEX CONCURRENTLY b ON m (id)", json!([null, kind, none, ["b"], none])),
        ("ALTER TABLE p DETACH PARTITION p1 CONCURRENTLY", json!([detached, null, none, none, none])),
        ("ALTER TABLE p DETACH PARTITION p2 CONCURRENTLY", json!([with_keys, keys, none, none, none])),
        ("DROP INDEX CONCURRENTLY users_name", json!([both, null, none, none, ["users_name"]])),
        ("SET lock_timeout = '900ms'; VACUUM users", json!([null, short, none, none, none])),
        ("SET lock_timeout = '0'; VACUUM users", json!([users, null, none, none, none])),
    ];
    // Names in another order are the same names.
    let sorted = |mut seen: Value| {
        for part in seen.as_array_mut().unwrap() {
            if let Some(names) = part.as_array_mut() {
                names.sort_by_key(ToString::to_string);
            }
        }
        seen
    };
    let directory = server.place.text("previews/x/migrations");
    for (number, (sql, _)) in (3..).zip(&cases) {
        server.place.write(&format!("previews/x/migrations/V{number}__a.sql"), 0o644, sql);
    }
    let outcome = server.migrate("trace", 1, &directory).format("json").run();
    assert_eq!(outcome.status, Some(0), "{outcome:#?}");
    let report = outcome.objects().pop().unwrap();
    for (index, (sql, expected)) in cases.into_iter().enumerate() {
        let migration = &report["migrations"][index];
        let statement = migration["statements"].as_array().unwrap().last().unwrap();
        assert_eq!(sorted(sum(statement)), sorted(expected), "{sql}: {migration}");
    }
    // The rows of a table are read for its index, and for that only.
    let rows = |index: usize| report["migrations"][index]["statements"][0]["rows"].clone();
    assert_eq!((&rows(0)[0]["relation"], &rows(0)[0]["written"]), (&json!("users"), &json!(0)));
    assert!(rows(0)[0]["scanned"].as_u64().unwrap() >= 100, "{}", rows(0));
    assert_eq!(rows(3), json!([]));
    assert_alone(&server);
}

const MIXED: &str = "-- slotguard: no-transaction
SET statement_timeout = '10min';
ALTER TABLE users ALTER id TYPE bigint;
ALTER TABLE users ALTER name TYPE varchar;
CREATE TABLE notes (user_id int);
CREATE INDEX CONCURRENTLY users_secret ON users (secret);
CREATE INDEX CONCURRENTLY notes_user ON notes (user_id);
UPDATE users SET secret = 'hunter2' WHERE id < 10;
VACUUM;
";

#[test]
fn a_file_of_both_kinds_is_reported_statement_by_statement() {
    let server = Server::new();
    let shown = [(1, "human"), (2, "markdown"), (3, "json")].map(|(slot, format)| {
        let place = format!("previews/{slot}/migrations");
        server.place.write(&format!("{place}/{}", USERS.0), 0o644, USERS.1);
        let directory = server.place.text(&place);
        server.migrate("apply", slot, &directory).run().accepted();
        server.place.write(&format!("{place}/V2__mixed.sql"), 0o644, MIXED);
        let outcome = server.migrate("trace", slot, &directory).format(format).run();
        assert_eq!(outcome.status, Some(0), "{outcome:#?}");
        assert!(!outcome.said().contains("hunter2"), "{outcome:#?}");
        outcome.snapshot(&server.redactor())
    });
    assert_whole("trace-alone", &shown.join("\n"));
    assert_alone(&server);
}

#[test]
fn what_an_earlier_run_did_is_said_to_be_unknown() {
    let server = server("INSERT INTO users VALUES (101, 'twice'), (102, 'twice')");
    let text = "CREATE INDEX CONCURRENTLY users_secret ON users (secret);\n\
                CREATE UNIQUE INDEX CONCURRENTLY users_name ON users (name);";
    server.sql(DATABASE, "UPDATE users SET name = 'n' || id WHERE id <= 100");
    trace(&server, text, &[]).denied(Code::StatementFailed);
    server.sql(DATABASE, "DELETE FROM users WHERE id > 101");
    let migration = traced(&server, text);
    let earlier = json!([{
        "number": 1, "line": 1, "column": 1,
        "summary": "CREATE INDEX CONCURRENTLY users_secret ON users ( secret )"
    }]);
    assert_eq!(migration["earlier"], earlier);
    let statements = migration["statements"].as_array().unwrap();
    assert_eq!((statements.len(), &statements[0]["number"]), (1, &json!(2)));
    let seen = json!([["users SHARE UPDATE EXCLUSIVE"], null, [], ["users_name"], []]);
    assert_eq!(sum(&statements[0]), seen);
    assert_alone(&server);
}

#[test]
fn people_and_reviewers_are_told_what_an_earlier_run_did() {
    let server = Server::new();
    let shown = [(1, "human"), (2, "markdown")].map(|(slot, format)| {
        let (place, database) =
            (format!("previews/{slot}/migrations"), format!("app_preview_{slot}"));
        let text = "CREATE INDEX CONCURRENTLY users_secret ON users (secret);\nVACUUM missing;\n";
        for (name, text) in [USERS, ("V2__both.sql", text)] {
            server.place.write(&format!("{place}/{name}"), 0o644, text);
        }
        let run = |command| server.migrate(command, slot, &server.place.text(&place));
        run("apply").run().refused(Code::StatementFailed);
        server.sql(&database, &format!("SET ROLE slot_{slot}; CREATE TABLE missing ()"));
        let outcome = run("trace").format(format).run();
        assert_eq!(outcome.status, Some(0), "{outcome:#?}");
        outcome.snapshot(&server.redactor())
    });
    assert_whole("trace-resumed", &shown.join("\n"));
}

/// Traces while somebody holds something, until the run has tried in vain.
fn tried_again(server: &Server, file: (&str, &str), statements: &str) -> Value {
    let directory = migrations(server, &[file]);
    let hold = Hold { slot: Some(1), database: DATABASE, statements };
    let limits = ["--lock-timeout", "1", "--retry-for", "60"];
    let run = server.migrate("trace", 1, &directory).and(&limits).format("json");
    let (mut child, mut lines) = hold.during(server, |_| {
        let mut child = run.start();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        assert!(lines.any(|line| line.contains("migration.blocked")));
        (child, lines)
    });
    let last = lines.by_ref().last().unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0), "{last}");
    let report: Value = serde_json::from_str(&last).unwrap();
    report["migrations"][0].clone()
}

#[test]
fn a_statement_that_is_tried_again_counts_once() {
    let server = server(MORE);
    let text = "-- slotguard: no-transaction
        UPDATE users SET secret = 'y';
        CREATE INDEX CONCURRENTLY users_id ON users (id);";
    let migration = tried_again(&server, ("V3__a.sql", text), "BEGIN; SELECT * FROM users");
    let statements = migration["statements"].as_array().unwrap();
    let numbers: Vec<&Value> = statements.iter().map(|one| &one["number"]).collect();
    assert_eq!(numbers, [1, 2], "{migration}");
    assert_eq!(migration.get("earlier"), None, "{migration}");
    let seen = json!([["users SHARE UPDATE EXCLUSIVE"], null, [], ["users_id"], []]);
    assert_eq!(sum(&statements[1]), seen);

    // It has read rows before it waits for the last one; they must not count for the next try.
    let text = "-- slotguard: no-transaction
        SET lock_timeout = '100ms';
        UPDATE users SET secret = 'x' WHERE name IS NOT NULL;";
    let row = "BEGIN; UPDATE users SET name = name WHERE ctid = (SELECT max(ctid) FROM users)";
    let migration = tried_again(&server, ("V4__b.sql", text), row);
    let rows = json!([{"relation": "users", "scanned": 100, "written": 100}]);
    assert_eq!(migration["statements"][0]["rows"], rows, "{migration}");
    assert_alone(&server);
}

#[test]
fn a_table_that_somebody_else_holds_is_waited_for_as_ever() {
    let server = server(MORE);
    let text = "CREATE INDEX CONCURRENTLY users_id ON users (id);";
    let limits = ["--lock-timeout", "2", "--retry-for", "0"];
    for statements in ["BEGIN; SELECT * FROM users", "BEGIN; LOCK TABLE users IN SHARE MODE"] {
        let hold = Hold { slot: Some(1), database: DATABASE, statements };
        hold.during(&server, |pid| {
            let denial = trace(&server, text, &limits).denied(Code::MigrationBlocked);
            assert!(text_of(&denial).contains(&format!("blocked by pid {pid}")), "{denial}");
        });
        assert_alone(&server);
    }
    let migration = traced(&server, text);
    let seen = json!([["users SHARE UPDATE EXCLUSIVE"], null, [], ["users_id"], []]);
    assert_eq!(sum(&migration["statements"][0]), seen);
}

fn text_of(denial: &Value) -> String {
    text(&denial["found"])
}

/// Without a second session a trace sees less, and the migration is what it was.
#[test]
fn a_run_that_has_no_second_session_goes_on() {
    let server = server(MORE);
    server.sql("postgres", "ALTER ROLE slot_1 CONNECTION LIMIT 1");
    let migration = traced(&server, "CREATE INDEX CONCURRENTLY users_id ON users (id);");
    let why = "a second session could not hold its table";
    let seen = json!([null, why, [], ["users_id"], []]);
    assert_eq!(sum(&migration["statements"][0]), seen);
    assert_eq!(server.versions(DATABASE), "1 2 3");
}

/// A vacuum that takes its time for the first of two tables, while the second one is held for it.
const SLOW: &str = "SET vacuum_cost_delay = '100ms';\nSET vacuum_cost_limit = 1;\nVACUUM (DISABLE_PAGE_SKIPPING) users, other;";

/// Waits until the second table is held and the first one is not any more.
fn wait_for_half(server: &Server) -> String {
    let question = "SELECT pid FROM pg_stat_activity a WHERE application_name = 'slotguard-trace' \
        AND EXISTS (SELECT FROM pg_locks l WHERE l.pid = a.pid AND relation = 'other'::regclass) \
        AND NOT EXISTS (SELECT FROM pg_locks l WHERE l.pid = a.pid AND relation = 'users'::regclass)";
    for _ in 0..2000 {
        let pid = server.sql(DATABASE, question).trim().to_owned();
        if !pid.is_empty() {
            return pid;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    panic!("the second table is not held");
}

#[test]
fn a_second_session_that_is_lost_or_interrupted_holds_nothing() {
    let rows = "INSERT INTO users SELECT n, repeat('x', 500) FROM generate_series(101, 1000) n";
    let server = server(&format!("{MORE}; {rows}"));
    let directory = migrations(&server, &[("V3__traced.sql", SLOW)]);
    let run = || server.migrate("trace", 1, &directory).format("json");
    let outcome = run().run_while(|running| {
        wait_for_half(&server);
        running.signal(Signal::INT);
    });
    outcome.denied(Code::RunInterrupted);
    assert_alone(&server);
    server.sql(DATABASE, "BEGIN; LOCK TABLE users, other IN ACCESS EXCLUSIVE MODE NOWAIT");

    let lost = |outcome: &Outcome| {
        let why = "the second session was lost";
        let seen = json!([["users SHARE UPDATE EXCLUSIVE"], why, [], [], []]);
        assert_eq!(sum(&report(outcome)["statements"][0]), seen);
        assert_alone(&server);
    };
    lost(&run().run_while(|_| {
        let pid = wait_for_half(&server);
        server.sql("postgres", &format!("SELECT pg_terminate_backend({pid})"));
    }));

    // A run that is not heard of any more is not waited for.
    migrations(&server, &[("V4__again.sql", SLOW)]);
    lost(&run().run_while(|running| {
        wait_for_half(&server);
        running.signal(Signal::STOP);
        assert_alone(&server);
        running.signal(Signal::CONT);
    }));
}
