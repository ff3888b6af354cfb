//! The traps that refinery leaves open, one test for each row of the table in `docs/migrations.md`
//! that no other module shows.

#![expect(clippy::unwrap_used, reason = "helpers of tests, outside of what the lint takes for one")]

use guard::diagnostic::Code;
use serde_json::Value;

use crate::support::run::Outcome;
use crate::support::server::{EMPTY, Server};

/// Writes the files of one set and returns their directory.
fn set(server: &Server, name: &str, files: &[(&str, &str)]) -> String {
    let directory = format!("previews/{name}/migrations");
    for (file, text) in files {
        server.place.write(&format!("{directory}/{file}"), 0o644, text);
    }
    server.place.text(&directory)
}

fn run(server: &Server, command: &str, slot: u8, migrations: &str) -> Outcome {
    server.migrate(command, slot, migrations).format("json").run()
}

fn apply(server: &Server, slot: u8, migrations: &str) -> Outcome {
    run(server, "apply", slot, migrations)
}

#[track_caller]
fn applied(outcome: &Outcome) -> Value {
    assert_eq!(outcome.status, Some(0), "{outcome:?}");
    outcome.objects().pop().unwrap()["applied"].clone()
}

#[track_caller]
fn found(outcome: &Outcome, code: Code) -> String {
    outcome.denied(code)["found"].as_str().unwrap().to_owned()
}

/// Each stands behind a good first file, and of that nothing runs either.
#[rustfmt::skip]
const NEVER_RUN: &[(&str, Code, &str)] = &[
    ("commit", Code::EndsTransaction, "CREATE TABLE b (); COMMIT; CREATE TABLE c (); SELECT 1/0;"),
    ("rollback", Code::EndsTransaction, "CREATE TABLE b (); ROLLBACK;"),
    ("commit-in-block", Code::EndsTransaction, "DO $$ BEGIN CREATE TABLE b (); COMMIT; END $$;"),
    ("characteristics", Code::EndsTransaction, "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY;"),
    ("read-only", Code::EndsTransaction, "SET default_transaction_read_only = on;"),
    ("concurrently", Code::NotInTransaction, "DO $$ BEGIN EXECUTE 'CREATE INDEX CONCURRENTLY i ON a (id)'; END $$;"),
    ("mixed", Code::TransactionMixed, "CREATE TABLE b (); CREATE INDEX CONCURRENTLY i ON a (id);"),
    ("commit-concurrently", Code::EndsTransaction, "COMMIT; CREATE INDEX CONCURRENTLY i ON a (id);"),
    ("ledger", Code::ReachesLedger, "DELETE FROM refinery_schema_history;"),
    ("ledger-block", Code::ReachesLedger, "DO $$ BEGIN DELETE FROM public.refinery_schema_history; END $$;"),
    ("ledger-function", Code::ReachesLedger,
        "CREATE FUNCTION f() RETURNS void LANGUAGE sql AS 'DELETE FROM refinery_schema_history'; SELECT f();"),
    ("ledger-trigger", Code::ReachesLedger,
        "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS \
         'BEGIN DELETE FROM refinery_schema_history; RETURN NEW; END';
         CREATE TRIGGER t BEFORE INSERT ON a FOR EACH ROW EXECUTE FUNCTION f();"),
    ("copy", Code::CopyWithClient, "COPY a FROM STDIN;\n1\n\\.\n"),
    ("copy-last", Code::CopyWithClient, "COPY a FROM STDIN"),
    ("psql", Code::PsqlCommand, "\\restrict abc\nCREATE TABLE b ();"),
    ("listen", Code::ChangesSession, "LISTEN x;"),
    ("unlock", Code::ChangesSession, "SELECT pg_advisory_unlock_all();"),
    ("discard", Code::ChangesSession, "DISCARD ALL;"),
    ("bom", Code::MigrationUnreadable, "\u{feff}CREATE TABLE b ();"),
];

#[test]
fn what_would_leave_half_a_migration_or_none_never_runs() {
    let server = Server::new();
    for (name, code, text) in NEVER_RUN {
        let files = [("V1__a.sql", "CREATE TABLE a (id int);"), ("V2__b.sql", text)];
        let migrations = set(&server, name, &files);
        let outcome = apply(&server, 1, &migrations);
        outcome.denied(*code);
        assert!(!outcome.stdout.contains("migration.started"), "{outcome:?}");
    }
    assert_eq!(server.tables("app_preview_1"), EMPTY);
    assert_eq!(server.versions("app_preview_1"), "");
}

/// refinery reads `add` out of `V1__add-col`, and leaves out what it cannot read with a log line.
#[rustfmt::skip]
const ODD_NAMES: &[&str] = &[
    "|2__x.sql", "V2__add-col.sql", "V2__a.down.sql", "V2.5__x.sql", "V2_x.sql", "v2__x.sql", "U2__x.sql",
    "R__x.sql", "V2__x.SQL", "V9223372036854775808__x.sql",
];

#[test]
fn no_name_is_cut_short_or_left_out_and_versions_may_be_timestamps() {
    let server = Server::new();
    let good = [
        ("V1__a.sql", "CREATE TABLE a ();"),
        ("V2147483648__b.sql", "CREATE TABLE b ();"),
        ("V20260102030405__c.sql", "CREATE TABLE c ();"),
        ("V9223372036854775807__d.sql", "CREATE TABLE d ();"),
    ];
    let odd: Vec<(&str, &str)> = ODD_NAMES.iter().map(|name| (*name, "SELECT 1;")).collect();
    let migrations = set(&server, "odd", &[&good[..], &odd].concat());
    for command in ["plan", "apply", "status"] {
        // Some of the names are Flyway's.
        let run = server.migrate(command, 1, &migrations).and(&["--layout", "refinery"]);
        let found = found(&run.format("json").run(), Code::MigrationName);
        for name in ODD_NAMES {
            assert!(found.contains(name), "{name}: {found}");
        }
    }
    // One alone is enough.
    for name in ODD_NAMES {
        std::fs::remove_file(format!("{migrations}/{name}")).unwrap();
    }
    set(&server, "odd", &odd[..1]);
    apply(&server, 1, &migrations).denied(Code::MigrationName);
    assert_eq!(server.tables("app_preview_1"), EMPTY);

    let migrations = set(&server, "x", &good);
    let all = serde_json::json!([1, 2_147_483_648_i64, 20_260_102_030_405_i64, i64::MAX]);
    assert_eq!(applied(&apply(&server, 1, &migrations)), all);
    assert_eq!(applied(&apply(&server, 1, &migrations)), serde_json::json!([]));
    let versions = "1 2147483648 20260102030405 9223372036854775807";
    assert_eq!(server.versions("app_preview_1"), versions);
}

/// refinery skips the second file when it sorts behind the first, and calls the first one divergent
/// when it sorts in front.
#[test]
fn two_files_of_one_version_are_named_in_every_order() {
    let server = Server::new();
    let (a, b) = (("V1__a.sql", "CREATE TABLE a ();"), ("V1__b.sql", "CREATE TABLE b ();"));
    let both = |outcome: &Outcome| {
        let found = found(outcome, Code::MigrationDuplicate);
        assert!(found.contains("V1__a.sql") && found.contains("V1__b.sql"), "{found}");
    };
    let fresh = set(&server, "fresh", &[a, b]);
    both(&apply(&server, 1, &fresh));
    assert_eq!(server.tables("app_preview_1"), EMPTY);
    for (slot, first, second) in [(1, a, b), (2, b, a)] {
        let name = format!("later-{slot}");
        let migrations = set(&server, &name, &[first]);
        apply(&server, slot, &migrations).accepted();
        set(&server, &name, &[second]);
        for command in ["plan", "apply"] {
            both(&run(&server, command, slot, &migrations));
        }
        // With the new file in the place of the applied one, it is a change and says so.
        std::fs::remove_file(format!("{migrations}/{}", first.0)).unwrap();
        run(&server, "apply", slot, &migrations).refused(Code::MigrationDivergent);
        assert_eq!(server.versions(&format!("app_preview_{slot}")), "1");
    }
}

/// What the session holds at the end of V1 is gone when V2 begins.
#[test]
fn nothing_of_a_session_reaches_the_next_migration() {
    let server = Server::new();
    let first = "SET search_path = pg_catalog; SET work_mem = '1MB'; SET TIME ZONE 'Asia/Tokyo';
         SET lock_timeout = 0; SET app.tenant = 'x';
         CREATE SCHEMA s; CREATE TABLE s.t (); CREATE SEQUENCE s.n;
         CREATE TEMP TABLE temporary (); PREPARE prepared AS SELECT 1;
         DECLARE held CURSOR WITH HOLD FOR SELECT 1; SELECT nextval('s.n');
         SELECT pg_catalog.set_config('search_path', '', false);";
    let second = "CREATE TEMP TABLE temporary (); PREPARE prepared AS SELECT 1;
         CREATE TABLE public.facts AS SELECT
             current_setting('search_path') AS path, current_setting('lock_timeout') AS lock_timeout,
             current_setting('work_mem') AS mem, current_setting('TimeZone') AS zone,
             coalesce(current_setting('app.tenant', true), '') AS tenant,
             (SELECT count(*) FROM pg_cursors WHERE name = 'held') AS cursors,
             (SELECT count(*) FROM pg_listening_channels()) AS channels;";
    let third = "SELECT lastval();";
    let files = [("V1__a.sql", first), ("V2__b.sql", second)];
    let migrations = set(&server, "x", &files);
    assert_eq!(applied(&apply(&server, 1, &migrations)), serde_json::json!([1, 2]));
    let seen = |what: &str| server.sql("app_preview_1", what).trim().to_owned();
    let facts = seen("SELECT path, lock_timeout, cursors, channels, tenant FROM facts");
    assert_eq!(facts, "\"$user\", public|5s|0|0|");
    assert_eq!(seen("SELECT mem <> '1MB' AND zone <> 'Asia/Tokyo' FROM facts"), "t");

    // `lastval` knows no sequence that another migration used.
    set(&server, "x", &[("V3__c.sql", third)]);
    let all = [("V1__a.sql", first), ("V3__c.sql", third)];
    let found = found(&apply(&server, 2, &set(&server, "y", &all)), Code::MigrationFailed);
    assert!(found.contains("SQLSTATE 55000"), "{found}");
}

/// What the screening was told to let pass is still caught while it runs.
#[test]
fn an_exempted_text_cannot_change_the_ledger_or_free_the_lock() {
    let server = Server::new();
    let exempted = |text: &str| {
        format!(
            "CREATE TABLE b ();
             -- slotguard: allow undecidable: the test wants to see it refused later
             DO $$ DECLARE q text := '{text}'; BEGIN
                 q := replace(replace(q, '%', '_'), '+', '');
                 EXECUTE q; END $$;"
        )
    };
    let first = ("V1__a.sql", "CREATE TABLE a ();");
    let tables = "a refinery_schema_history";
    for (index, (text, code)) in [
        ("DEL+ETE FROM public.refinery%schema%history", Code::LedgerChanged),
        ("INS+ERT INTO public.refinery%schema%history VALUES (7)", Code::LedgerChanged),
        ("UPD+ATE public.refinery%schema%history SET name = 1", Code::LedgerChanged),
        ("SELECT pg%advisory%unlock%all()", Code::RunLocked),
        ("COM+MIT", Code::MigrationFailed),
        ("ROLL+BACK", Code::MigrationFailed),
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("exempted-{index}");
        let migrations = set(&server, &name, &[first, ("V2__b.sql", &exempted(text))]);
        apply(&server, 1, &migrations).refused(code);
        assert_eq!(server.tables("app_preview_1"), tables, "{text}");
        assert_eq!(server.versions("app_preview_1"), "1", "{text}");
    }
    // The neighbour: an exempted text that does what it says.
    let good = set(&server, "good", &[first, ("V2__b.sql", &exempted("CREATE TABLE c ()"))]);
    assert_eq!(applied(&apply(&server, 1, &good)), serde_json::json!([2]));
}

/// The screening cannot know which table a name is that stands behind `%I`.
#[test]
fn a_name_that_turns_out_to_be_the_ledgers_is_stopped() {
    let server = Server::new();
    let first = ("V1__a.sql", "CREATE TABLE a ();");
    let each = |which: &str, text: &str| {
        format!(
            "CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
             DO $$ DECLARE t text; BEGIN
                 FOR t IN SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND {which} LOOP
                     EXECUTE format('{text}', t, t || '_x');
                 END LOOP; END $$;"
        )
    };
    for (index, (text, code)) in [
        ("ALTER TABLE %I RENAME TO %I", Code::MigrationFailed),
        ("ALTER TABLE %I DROP COLUMN IF EXISTS checksum", Code::MigrationFailed),
        ("ALTER TABLE %I ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY", Code::LedgerChanged),
        (
            "CREATE TRIGGER x BEFORE INSERT ON %I FOR EACH ROW EXECUTE FUNCTION nothing()",
            Code::LedgerChanged,
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("named-{index}");
        let migrations = set(&server, &name, &[first, ("V2__b.sql", &each("true", text))]);
        apply(&server, 1, &migrations).refused(code);
        assert_eq!(server.tables("app_preview_1"), "a refinery_schema_history", "{text}");
        assert_eq!(server.versions("app_preview_1"), "1", "{text}");
        // The neighbour: the same for every other table.
        let others = each("tablename = 'a'", text);
        let migrations = set(&server, &format!("others-{index}"), &[first, ("V2__b.sql", &others)]);
        assert_eq!(run(&server, "plan", 1, &migrations).status, Some(0), "{text}");
    }
    let good = each("tablename = 'a'", "ALTER TABLE %I RENAME TO %I");
    let good = set(&server, "good-names", &[first, ("V2__b.sql", &good)]);
    assert_eq!(applied(&apply(&server, 1, &good)), serde_json::json!([2]));
    assert_eq!(server.tables("app_preview_1"), "a_x refinery_schema_history");
}

/// refinery panics on each of these rows.
#[test]
fn a_ledger_that_refinery_did_not_write_is_refused_and_not_a_panic() {
    let server = Server::by_hand();
    let migrations = set(&server, "x", &[("V1__a.sql", "CREATE TABLE a ();")]);
    let ledger = |version: &str, row: &str| {
        server.sql(
            "app_preview_1",
            &format!(
                "SET ROLE slot_1; DROP TABLE IF EXISTS refinery_schema_history;
                 CREATE TABLE refinery_schema_history (version {version}, name varchar(255),
                     applied_on varchar(255), checksum varchar(255));
                 INSERT INTO refinery_schema_history VALUES ({row})"
            ),
        );
    };
    for (version, row, word) in [
        ("int4", "1, 'a', 'yesterday', '1'", "yesterday"),
        ("int8", "1, 'a', '2026-01-02T03:04:05Z', 'one'", "one"),
        ("int8", "1, 'a', '2026-01-02T03:04:05Z', '-1'", "-1"),
        ("int8", "1, 'a', '2026-01-02T03:04:05Z', NULL", "checksum"),
        ("int8", "1, 'a', NULL, '1'", "applied_on"),
        ("text", "'first', 'a', '2026-01-02T03:04:05Z', '1'", "first"),
        ("numeric", "9223372036854775808, 'a', '2026-01-02T03:04:05Z', '1'", "9223372036854775808"),
    ] {
        ledger(version, row);
        let found = found(&apply(&server, 1, &migrations), Code::LedgerUnreadable);
        assert!(found.contains(word), "{found}");
    }
    server.sql("app_preview_1", "ALTER TABLE refinery_schema_history DROP COLUMN checksum");
    run(&server, "apply", 1, &migrations).refused(Code::LedgerUnreadable);
    assert_eq!(server.tables("app_preview_1"), EMPTY);

    // The width of the version does not matter: the checksum is judged by the file.
    for version in ["int4", "int8"] {
        ledger(version, "1, 'a', '2026-01-02T03:04:05Z', '4326480149521461748'");
        let outcome = run(&server, "plan", 1, &migrations);
        assert_eq!(outcome.status, Some(0), "{version}: {outcome:?}");
    }
}

/// refinery says "db error" and keeps the rest in its source; its position is one in the whole text.
#[test]
fn a_failure_names_file_line_column_state_and_what_else_the_server_said() {
    let server = Server::new();
    #[rustfmt::skip]
    let failures: &[(&str, &[&str])] = &[
        // A position counts characters, and leads to the file although statements are sent alone.
        ("SELECT 'äöü€';\n\n  SELECT 'é',\n    nothing;", &["line 4, column 5", "SQLSTATE 42703", "statement 2"]),
        // Without a position it is the place of the statement.
        ("SELECT 1;\n CREATE TABLE a ();", &["line 2, column 2", "SQLSTATE 42P07"]),
        ("CREATE TABLE u (id int PRIMARY KEY);\nINSERT INTO u VALUES (1), (1);",
            &["line 2, column 1", "SQLSTATE 23505", "detail: Key (id)=(1) already exists."]),
        ("SELECT lower(now());", &["SQLSTATE 42883", "hint: No function matches"]),
        ("DO $$ BEGIN\n  PERFORM 1/0;\nEND $$;", &["SQLSTATE 22012", "where: PL/pgSQL function inline_code_block line 2"]),
        ("CREATE FUNCTION f() RETURNS int LANGUAGE plpgsql AS 'BEGIN RETURN nothing; END'; SELECT f();",
            &["line 1, column 82", "SQLSTATE 42703", "where: PL/pgSQL function f() line 1"]),
    ];
    for (index, (text, words)) in failures.iter().enumerate() {
        let files = [("V1__a.sql", "CREATE TABLE a ();"), ("V2__fails.sql", *text)];
        let migrations = set(&server, &format!("failure-{index}"), &files);
        let outcome = apply(&server, 1, &migrations);
        let denial = outcome.denied(Code::MigrationFailed);
        assert!(denial["message"].as_str().unwrap().contains("`V2__fails.sql`"), "{denial}");
        let found = denial["found"].as_str().unwrap();
        for word in *words {
            assert!(found.contains(word), "{word}: {found}");
        }
        assert_eq!(server.versions("app_preview_1"), "1");
    }
}

/// An editor that turns line ends around bricks every client of refinery.
#[test]
fn an_applied_file_is_compared_and_screened_again() {
    let server = Server::new();
    let migrations = set(&server, "x", &[("V1__a.sql", "CREATE TABLE a\n  ();\n")]);
    apply(&server, 1, &migrations).accepted();
    for (text, code) in [
        ("CREATE TABLE a\r\n  ();\r\n", Code::MigrationLineEnds),
        ("CREATE TABLE a\n  ();", Code::MigrationLineEnds),
        ("CREATE TABLE a\n ();\n", Code::MigrationDivergent),
    ] {
        set(&server, "x", &[("V1__a.sql", text), ("V2__b.sql", "CREATE TABLE b ();")]);
        run(&server, "apply", 1, &migrations).refused(code);
        assert_eq!(server.versions("app_preview_1"), "1");
    } // What was applied before the screening knew it is refused as well.
    set(&server, "x", &[("V1__a.sql", "ALTER DATABASE app_preview_1 SET work_mem = '8MB';")]);
    apply(&server, 1, &migrations).denied(Code::ReachesDatabases);
    assert_eq!(server.tables("app_preview_1"), "a refinery_schema_history");
}

#[test]
fn every_row_of_the_table_names_tests_that_exist() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = std::fs::read_to_string(root.join("../docs/migrations.md")).unwrap();
    let table = page.split_once("## What refinery does").unwrap().1.split_once("\n## ").unwrap().0;
    let rows: Vec<&str> = table.lines().filter(|line| line.starts_with("| ")).skip(1).collect();
    assert!(rows.len() > 20, "{rows:?}");
    for row in rows {
        let tests = row.trim_end_matches([' ', '|']).rsplit(" | ").next().unwrap();
        for test in tests.split(", ") {
            let (module, test) = test.trim_matches('`').split_once("::").unwrap();
            let file = root.join(format!("black_box/{module}.rs"));
            let text = std::fs::read_to_string(file).unwrap();
            assert!(text.contains(&format!("#[test]\nfn {test}()")), "{module}::{test}");
        }
    }
}
