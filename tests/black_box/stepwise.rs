//! Migrations that run statement by statement: what is resumed, repaired and refused.

#![expect(clippy::unwrap_used, reason = "helpers of tests, outside of what the lint takes for one")]

use std::time::Duration;

use guard::diagnostic::Code;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::diagnostics::{LiveScenario, play_live};
use crate::support::hold::Hold;
use crate::support::run::{Outcome, Run};
use crate::support::server::{EMPTY, Server};

const DATABASE: &str = "app_preview_1";

/// A table with rows; two of them have the same `b`.
const TABLE: (&str, &str) = (
    "V1__a.sql",
    "CREATE TABLE a (id int PRIMARY KEY, b int, c int);
     INSERT INTO a SELECT n, n / 2, n FROM generate_series(1, 1000) n;",
);

fn write(server: &Server, files: &[(&str, &str)]) -> String {
    for (name, text) in files {
        server.place.write(&format!("previews/x/migrations/{name}"), 0o644, text);
    }
    server.place.text("previews/x/migrations")
}

fn run(server: &Server, command: &str, more: &[&str]) -> Outcome {
    let migrations = server.place.text("previews/x/migrations");
    server.migrate(command, 1, &migrations).and(more).format("json").run()
}

#[track_caller]
fn applied(outcome: &Outcome) -> Value {
    outcome.accepted().objects().pop().unwrap()["applied"].clone()
}

fn of_kind(outcome: &Outcome, event: &str) -> Vec<Value> {
    let objects = outcome.objects();
    objects.into_iter().filter(|object| object["event"] == event).collect()
}

#[track_caller]
fn found(outcome: &Outcome, code: Code) -> String {
    outcome.denied(code)["found"].as_str().unwrap().to_owned()
}

/// Returns the names of indexes, each with whether it is valid.
fn indexes(server: &Server) -> String {
    let question = "SELECT string_agg(relname || ':' || indisvalid, ' ' ORDER BY relname) \
                    FROM pg_index JOIN pg_class ON oid = indexrelid \
                    WHERE indrelid = 'a'::regclass AND NOT indisprimary";
    server.sql(DATABASE, question).trim().to_owned()
}

fn tables(server: &Server) -> String {
    server.tables(DATABASE)
}

/// What the plan says of the last migration.
fn planned(server: &Server) -> Value {
    let plan = run(server, "plan", &[]).accepted_but_for_hazards().objects().remove(0);
    plan["migrations"].as_array().unwrap().last().unwrap().clone()
}

#[test]
fn what_needs_no_transaction_runs_without_and_leaves_nothing_of_ours() {
    let server = Server::new();
    let text = "SET statement_timeout = '10min';
                CREATE INDEX CONCURRENTLY a_b ON a (b);
                CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS \"a C\" ON public.a (c);
                DROP INDEX CONCURRENTLY a_b;
                REINDEX TABLE CONCURRENTLY a;
                VACUUM (ANALYZE) a;";
    write(&server, &[TABLE, ("V2__b.sql", text), ("V3__c.sql", "CREATE TABLE c ();")]);
    let plan = planned(&server);
    assert_eq!(plan["mode"], "transaction", "{plan}");
    let outcome = run(&server, "apply", &[]);
    assert_eq!(applied(&outcome), json!([1, 2, 3]));
    assert!(of_kind(&outcome, "migration.resumed").is_empty());
    assert_eq!(indexes(&server), "a C:true");
    assert_eq!(tables(&server), format!("a c {EMPTY}"));
    assert_eq!(applied(&run(&server, "apply", &[])), json!([]));
}

#[test]
fn the_screening_still_applies() {
    let server = Server::new();
    let text = "CREATE INDEX CONCURRENTLY i ON a (b); DROP DATABASE app_production;";
    write(&server, &[TABLE, ("V2__b.sql", text)]);
    run(&server, "apply", &[]).denied(Code::ReachesDatabases);
    assert_eq!(tables(&server), EMPTY);
}

const DECLARED: &str = "-- slotguard: no-transaction\n\
    CREATE TABLE b (n int);\n\
    INSERT INTO b VALUES (1);\n\
    SET search_path = later, public;\n\
    INSERT INTO waits VALUES (2);\n\
    CREATE INDEX CONCURRENTLY i ON a (b);\n";

#[test]
fn a_failure_in_the_middle_is_resumed_where_it_was() {
    let server = Server::new();
    write(&server, &[TABLE, ("V2__b.sql", DECLARED)]);
    assert_eq!(planned(&server)["mode"], "statements");
    let outcome = run(&server, "apply", &[]);
    let found = found(&outcome, Code::StatementFailed);
    assert!(found.starts_with("line 5, column 13") && found.contains("42P01"), "{found}");
    assert_eq!(tables(&server), format!("a b {EMPTY} slotguard_migration_progress"));
    assert_eq!(server.versions(DATABASE), "1");
    assert_eq!(planned(&server)["resumes_at"], json!({"statement": 4, "of": 5}));

    // Another file, or none, would be a guess; so would a number below.
    write(&server, &[("V2__b.sql", &DECLARED.replace("(1)", "(3)"))]);
    for command in ["plan", "apply", "status"] {
        run(&server, command, &[]).refused(Code::HalfAppliedChanged);
    }
    std::fs::remove_file(server.place.path("previews/x/migrations/V2__b.sql")).unwrap();
    run(&server, "apply", &[]).denied(Code::HalfAppliedChanged);
    write(&server, &[("V2__b.sql", DECLARED)]);
    run(&server, "adopt", &[]).denied(Code::HalfApplied);

    // With the cause gone it goes on: under the settings in front, and without what has run.
    server.sql(
        DATABASE,
        "CREATE SCHEMA later AUTHORIZATION slot_1; SET ROLE slot_1; CREATE TABLE later.waits (n int)",
    );
    let outcome = run(&server, "apply", &[]);
    assert_eq!(applied(&outcome), json!([2]));
    let resumed = of_kind(&outcome, "migration.resumed");
    assert_eq!((&resumed[0]["statement"], &resumed[0]["of"]), (&json!(4), &json!(5)));
    assert_eq!(server.sql(DATABASE, "SELECT n FROM b").trim(), "1");
    assert_eq!(server.sql(DATABASE, "SELECT n FROM later.waits").trim(), "2");
    assert_eq!(indexes(&server), "i:true");
    assert_eq!(tables(&server), format!("a b {EMPTY}"));
}

#[test]
fn a_file_that_comes_before_a_half_applied_one_comes_too_late() {
    let server = Server::new();
    write(&server, &[TABLE, ("V5__b.sql", DECLARED)]);
    run(&server, "apply", &[]).denied(Code::StatementFailed);
    write(&server, &[("V4__late.sql", "CREATE TABLE late ();")]);
    run(&server, "apply", &[]).denied(Code::MigrationLate);
    std::fs::remove_file(server.place.path("previews/x/migrations/V4__late.sql")).unwrap();
    write(&server, &[("V6__next.sql", "CREATE TABLE next ();")]);
    run(&server, "apply", &[]).denied(Code::StatementFailed);
}

#[test]
fn an_index_over_values_that_stand_twice_is_named_and_built_anew() {
    let server = Server::new();
    let text = "CREATE INDEX CONCURRENTLY a_c ON a (c);\n\
                CREATE UNIQUE INDEX CONCURRENTLY a_b ON a (b);";
    write(&server, &[TABLE, ("V2__b.sql", text)]);
    let outcome = run(&server, "apply", &[]);
    let found = found(&outcome, Code::StatementFailed);
    assert!(found.contains("23505") && found.ends_with("left invalid `public.a_b`"), "{found}");
    assert_eq!(indexes(&server), "a_b:false a_c:true");
    // As long as the cause is there, so is the failure; the index does not pile up.
    run(&server, "apply", &[]).denied(Code::StatementFailed);
    assert_eq!(indexes(&server), "a_b:false a_c:true");
    server.sql(DATABASE, "DELETE FROM a WHERE id % 2 = 1");
    let outcome = run(&server, "apply", &[]);
    assert_eq!(applied(&outcome), json!([2]));
    assert_eq!(of_kind(&outcome, "migration.index_dropped")[0]["index"], "public.a_b");
    assert_eq!(of_kind(&outcome, "migration.resumed")[0]["statement"], 2);
    assert_eq!(indexes(&server), "a_b:true a_c:true");
}

/// The server calls it success when an invalid index has the name already.
#[test]
fn if_not_exists_keeps_no_invalid_index() {
    let server = Server::new();
    write(&server, &[TABLE]);
    run(&server, "apply", &[]).accepted();
    server
        .try_sql(DATABASE, "SET ROLE slot_1; CREATE UNIQUE INDEX CONCURRENTLY i ON a (b)")
        .unwrap_err();
    assert_eq!(indexes(&server), "i:false");
    write(&server, &[("V2__b.sql", "CREATE INDEX CONCURRENTLY IF NOT EXISTS i ON a (b);")]);
    let outcome = run(&server, "apply", &[]);
    assert_eq!(applied(&outcome), json!([2]));
    assert_eq!(of_kind(&outcome, "migration.index_dropped").len(), 1);
    assert_eq!(indexes(&server), "i:true");
    // A valid one of somebody else is neither dropped nor taken for ours.
    let text = "CREATE INDEX CONCURRENTLY i ON a (c);";
    write(&server, &[("V3__c.sql", text)]);
    for _ in 0..2 {
        let found = found(&run(&server, "apply", &[]), Code::StatementFailed);
        assert!(found.contains("42P07"), "{found}");
    }
    assert_eq!(indexes(&server), "i:true");
}

/// What a transaction that stays open keeps each statement from, and what is left of it then.
#[rustfmt::skip]
const BLOCKED: &[(&str, &str, &str, &str)] = &[
    ("create", "CREATE INDEX CONCURRENTLY i ON a (b);", "i:false", "i:true j:true"),
    ("drop", "DROP INDEX CONCURRENTLY j;", "j:false", ""),
    ("reindex", "REINDEX INDEX CONCURRENTLY j;", "j_ccnew:false", "j:true"),
    ("detach", "ALTER TABLE p DETACH PARTITION p1 CONCURRENTLY;", "", "j:true"),
    ("vacuum", "VACUUM FULL a;", "", "j:true"),
];

#[test]
fn a_statement_that_waits_in_vain_is_repaired_by_the_next_run() {
    let server = Server::new();
    for (name, text, left, repaired) in BLOCKED {
        let table = format!(
            "{}; CREATE INDEX j ON a (c);
             CREATE TABLE p (n int) PARTITION BY LIST (n);
             CREATE TABLE p1 PARTITION OF p FOR VALUES IN (1);",
            TABLE.1
        );
        write(&server, &[("V1__a.sql", &table)]);
        run(&server, "apply", &[]).accepted();
        write(&server, &[("V2__b.sql", text)]);
        let statements = "BEGIN; SELECT * FROM a LIMIT 1; SELECT * FROM p";
        let hold = Hold { slot: Some(1), database: DATABASE, statements };
        hold.during(&server, |_| {
            let outcome = run(&server, "apply", &["--lock-timeout", "2", "--retry-for", "0"]);
            let found = found(&outcome, Code::MigrationBlocked);
            assert!(found.contains("blocked by pid"), "{name}: {found}");
            assert!(
                left.is_empty() || indexes(&server).contains(left),
                "{name}: {}",
                indexes(&server)
            );
            let index = left.trim_end_matches(":false");
            assert!(*name == "drop" || found.contains(index), "{name}: {found}");
        });
        let outcome = run(&server, "apply", &[]);
        assert_eq!(applied(&outcome), json!([2]), "{name}");
        assert_eq!(indexes(&server), *repaired, "{name}");
        let attached = server.sql(DATABASE, "SELECT count(*) FROM pg_inherits");
        assert_eq!(attached.trim() == "0", *name == "detach", "{name}");
        assert_eq!(tables(&server), format!("a p p1 {EMPTY}"), "{name}");
        std::fs::remove_file(server.place.path("previews/x/migrations/V2__b.sql")).unwrap();
        server.reset(1).run().accepted();
    }
}

#[test]
fn within_one_run_it_is_tried_again_until_the_lock_is_free() {
    let server = Server::new();
    write(&server, &[TABLE]);
    run(&server, "apply", &[]).accepted();
    let migrations = write(&server, &[("V2__b.sql", "CREATE INDEX CONCURRENTLY i ON a (b);")]);
    let statements = "BEGIN; SELECT * FROM a LIMIT 1";
    let hold = Hold { slot: Some(1), database: DATABASE, statements };
    let child = hold.during(&server, |_| {
        let limits = ["--lock-timeout", "1", "--retry-for", "60"];
        let run = server.migrate("apply", 1, &migrations).and(&limits);
        let child = run.format("json").start();
        wait_until(|| indexes(&server) == "i:false");
        std::thread::sleep(Duration::from_millis(1500));
        child
    });
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(said.contains("migration.blocked"), "{said}");
    assert!(said.contains("migration.index_dropped"), "{said}");
    assert_eq!(indexes(&server), "i:true");
}

fn wait_until(is_so: impl Fn() -> bool) {
    for _ in 0..1000 {
        if is_so() {
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    panic!("it does not come to that");
}

/// A run that waits for another one holds no transaction that an index would wait for.
#[test]
fn runs_that_wait_for_each_other_do_not_stand_in_an_indexs_way() {
    let server = Server::new();
    let text = "CREATE INDEX CONCURRENTLY i ON a (b); CREATE INDEX CONCURRENTLY j ON a (c);";
    let migrations = write(&server, &[TABLE, ("V2__b.sql", text)]);
    let start = || server.migrate("apply", 1, &migrations).format("json").start();
    let children: Vec<_> = (0..4).map(|_| start()).collect();
    for child in children {
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{output:?}");
    }
    assert_eq!(indexes(&server), "i:true j:true");
    assert_eq!(server.versions(DATABASE), "1 2");
}

#[test]
fn a_note_that_is_not_ours_is_no_note() {
    let server = Server::new();
    write(&server, &[TABLE, ("V2__b.sql", DECLARED)]);
    let table = "slotguard_migration_progress";
    server.sql(DATABASE, &format!("CREATE TABLE {table} (version int8, statement int4)"));
    run(&server, "apply", &[]).denied(Code::ProgressUnreadable);
    server.sql(DATABASE, &format!("DROP TABLE {table}"));
    run(&server, "apply", &[]).denied(Code::StatementFailed);
    for (broken, mended) in [
        ("UPDATE {} SET state = 'perhaps' WHERE statement = 1", "UPDATE {} SET state = 'done'"),
        ("UPDATE {} SET version = 1", "UPDATE {} SET version = 2"),
        ("ALTER TABLE {} ENABLE ROW LEVEL SECURITY", "ALTER TABLE {} DISABLE ROW LEVEL SECURITY"),
    ] {
        server.sql(DATABASE, &broken.replace("{}", table));
        run(&server, "plan", &[]).refused(Code::ProgressUnreadable);
        server.sql(DATABASE, &mended.replace("{}", table));
        assert_eq!(planned(&server)["resumes_at"]["statement"], 4, "{mended}");
    }
}

#[test]
fn a_setting_that_the_server_refuses_has_its_place() {
    let server = Server::new();
    let text = "SET lock_timeout = '2s';\nSET lock_timeout = 'long';\n\
                CREATE INDEX CONCURRENTLY i ON a (b);";
    write(&server, &[TABLE, ("V2__b.sql", text)]);
    let found = found(&run(&server, "apply", &[]), Code::StatementFailed);
    assert!(found.starts_with("line 2, column 1:") && found.contains("22023"), "{found}");
    assert_eq!(tables(&server), format!("a {EMPTY}"), "nothing ran, so nothing is half applied");
    write(&server, &[("V2__b.sql", &text.replace("long", "3s"))]);
    assert_eq!(applied(&run(&server, "apply", &[])), json!([2]));
}

/// Seed data always runs in a transaction.
#[test]
fn seed_data_has_its_transaction() {
    let server = Server::new();
    let migrations =
        write(&server, &[TABLE, ("V2__b.sql", "CREATE INDEX CONCURRENTLY i ON a (b);")]);
    server.place.write("seed.sql", 0o644, "VACUUM a;");
    let script = server.place.text("seed.sql");
    server.seed(&migrations, &[&script]).run().refused(Code::NotInTransaction);
    server.place.write("seed.sql", 0o644, "ANALYZE a;");
    server.seed(&migrations, &[&script]).run().accepted();
    server.reset(1).run().accepted();
    assert_eq!(indexes(&server), "i:true");
    let lint = Run::new("migrate-runner", &["lint", &migrations]);
    lint.run().accepted();
}

/// Codes of migrations that did not come to their end, for `diagnostics`.
pub(crate) const HALF_WAY: &[LiveScenario] = &[
    (Code::StatementFailed, half_applied),
    (Code::HalfAppliedChanged, |server, slot| {
        half_applied(server, slot).run().refused(Code::StatementFailed);
        let text = "CREATE INDEX CONCURRENTLY a_b ON a (b);";
        server.place.write(&format!("previews/half-{slot}/migrations/V2__b.sql"), 0o644, text);
        server.migrate(
            "apply",
            slot,
            &server.place.text(&format!("previews/half-{slot}/migrations")),
        )
    }),
    (Code::HalfApplied, |server, slot| {
        half_applied(server, slot).run().refused(Code::StatementFailed);
        let migrations = server.place.text(&format!("previews/half-{slot}/migrations"));
        server.migrate("adopt", slot, &migrations)
    }),
    (Code::ProgressUnreadable, |server, slot| {
        let view = "CREATE VIEW slotguard_migration_progress AS SELECT 1 AS version";
        server.sql(&format!("app_preview_{slot}"), &format!("SET ROLE slot_{slot}; {view}"));
        half_applied(server, slot)
    }),
];

/// A unique index over values that stand twice.
fn half_applied(server: &Server, slot: u8) -> Run {
    let directory = format!("previews/half-{slot}/migrations");
    let index = ("V2__b.sql", "CREATE UNIQUE INDEX CONCURRENTLY a_b ON a (b);");
    for (name, text) in [TABLE, index] {
        server.place.write(&format!("{directory}/{name}"), 0o644, text);
    }
    server.migrate("apply", slot, &server.place.text(&directory))
}

#[test]
fn a_migration_that_did_not_come_to_its_end_says_how_to_go_on() {
    play_live(HALF_WAY);
}

/// A signal ends the statement; what ran before it stays, and the next run goes on there.
#[test]
fn an_interrupted_run_says_that_what_ran_stays() {
    let server = Server::new();
    let slow = "CREATE FUNCTION slow(n int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS \
                'BEGIN PERFORM pg_sleep(0.02); RETURN n; END';";
    write(&server, &[TABLE, ("V2__slow.sql", slow)]);
    run(&server, "apply", &[]).accepted();
    let text = "CREATE INDEX CONCURRENTLY i ON a (b);\nCREATE INDEX CONCURRENTLY j ON a (slow(c));";
    let migrations = write(&server, &[("V3__c.sql", text)]);
    let apply = server.migrate("apply", 1, &migrations).format("json");
    let outcome = apply.run_while(|running| {
        wait_until(|| indexes(&server) == "i:true j:false");
        running.signal(Signal::TERM);
    });
    let denial = outcome.denied(Code::RunInterrupted);
    assert!(denial["message"].as_str().unwrap().contains("what ran stays"), "{denial}");
    assert!(denial["found"].as_str().unwrap().ends_with("left invalid `public.j`"), "{denial}");
    assert_eq!(planned(&server)["resumes_at"], json!({"statement": 2, "of": 2}));
    server.sql(DATABASE, "DELETE FROM a WHERE id > 9");
    let outcome = run(&server, "apply", &["--wait", "0"]);
    assert_eq!(applied(&outcome), json!([3]));
    assert_eq!(indexes(&server), "i:true j:true");
}
