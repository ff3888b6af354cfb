//! A database that has its schema already: versions are recorded and nothing is run.

use guard::diagnostic::Code;
use serde_json::{Value, json};

use crate::support::run::{Outcome, Run, assert_whole};
use crate::support::server::Server;

/// What somebody made with another tool; none of the files could run again.
const SCHEMA: &str = "SET ROLE slot_1; CREATE TABLE a (); CREATE TABLE b ();";

const FILES: &[(&str, &str)] = &[
    ("V1__a.sql", "CREATE TABLE a ();"),
    ("V2__b.sql", "CREATE TABLE b ();"),
    ("V7__c.sql", "CREATE TABLE c ();"),
];

/// A server whose slot 1 has the schema of the first two files.
fn with_schema(server: Server) -> (Server, String) {
    server.sql("app_preview_1", SCHEMA);
    for (name, text) in FILES {
        server.place.write(&format!("previews/x/migrations/{name}"), 0o644, text);
    }
    let migrations = server.place.text("previews/x/migrations");
    (server, migrations)
}

fn adopt(server: &Server, migrations: &str, more: &[&str]) -> Run {
    server.migrate("adopt", 1, migrations).and(more)
}

fn said(outcome: &Outcome) -> Value {
    assert_eq!(outcome.status, Some(0), "{outcome:?}");
    outcome.objects().pop().unwrap_or_default()
}

fn recorded(said: &Value) -> Vec<i64> {
    let entries = said["recorded"].as_array().into_iter().flatten();
    entries.filter_map(|entry| entry["version"].as_i64()).collect()
}

#[test]
fn versions_are_recorded_and_the_rest_stays_pending() {
    let (server, migrations) = with_schema(Server::new());
    let up_to_2 = ["--up-to", "2"];
    let adopt = |more: &[&str]| {
        let args = [&up_to_2, more].concat();
        adopt(&server, &migrations, &args).format("json").run()
    };
    let planned = said(&adopt(&["--dry-run"]));
    assert_eq!((&planned["outcome"], recorded(&planned)), (&json!("planned"), vec![1, 2]));
    assert_eq!(server.versions("app_preview_1"), "", "a dry run records nothing");
    let done = said(&adopt(&[]));
    assert_eq!((&done["outcome"], recorded(&done)), (&json!("recorded"), vec![1, 2]));
    assert_eq!((&done["pending"], &done["artifact"]), (&json!(1), &Value::Null));
    assert_eq!(server.versions("app_preview_1"), "1 2");
    assert_eq!(server.tables("app_preview_1"), "a b refinery_schema_history", "nothing ran");
    let again = said(&adopt(&[]));
    assert_eq!((&again["outcome"], recorded(&again)), (&json!("unchanged"), vec![]));

    let plan = said(&server.migrate("plan", 1, &migrations).format("json").run());
    assert_eq!((&plan["pending"], &plan["migrations"][0]["version"]), (&json!(1), &json!(7)));
    let run = said(&server.migrate("apply", 1, &migrations).format("json").run());
    assert_eq!(run["applied"], json!([7]));
    let run = said(&server.migrate("apply", 1, &migrations).format("json").run());
    assert_eq!(run["outcome"], "unchanged");
}

#[test]
fn the_words_of_an_adoption_are_as_they_were_read() {
    let (server, migrations) = with_schema(Server::new());
    let runs = [&["--up-to", "2", "--dry-run"][..], &["--up-to", "2"], &["--up-to", "2"], &[]];
    let shown = runs.map(|more| {
        let outcome = adopt(&server, &migrations, more).format("human").run();
        outcome.accepted().snapshot(&server.redactor())
    });
    assert_whole("adopt-migrations", &shown.join("\n"));
}

/// refinery's default build has versions of 32 bits, which changes every checksum.
#[test]
fn a_ledger_of_a_build_with_small_versions_is_carried_on() {
    let (server, migrations) = with_schema(Server::by_hand());
    server.sql(
        "app_preview_1",
        "SET ROLE slot_1;
         CREATE TABLE refinery_schema_history (version int4 PRIMARY KEY, name varchar(255),
             applied_on varchar(255), checksum varchar(255));
         INSERT INTO refinery_schema_history
             VALUES (1, 'a', '2026-01-02T03:04:05Z', '4326480149521461748')",
    );
    let adopt = || adopt(&server, &migrations, &["--up-to", "2"]).format("json").run();
    let first = server.place.path("previews/x/migrations/V1__a.sql");
    for (text, code) in [
        ("CREATE TABLE a (changed int);", Code::MigrationDivergent),
        ("CREATE TABLE a ();\n", Code::MigrationLineEnds),
    ] {
        let _ = std::fs::write(&first, text);
        adopt().denied(code);
    }
    let _ = std::fs::remove_file(&first);
    adopt().denied(Code::MigrationMissing);
    assert_eq!(server.versions("app_preview_1"), "1", "rows that disagree stay alone");

    let _ = std::fs::write(&first, FILES[0].1);
    let done = said(&adopt());
    assert_eq!((&done["outcome"], recorded(&done)), (&json!("recorded"), vec![2]));
    let plan = said(&server.migrate("plan", 1, &migrations).format("json").run());
    assert_eq!((&plan["pending"], &plan["problems"]), (&json!(1), &json!([])));
}

#[test]
fn a_version_below_a_recorded_one_is_late_and_not_recorded() {
    let (server, migrations) = with_schema(Server::new());
    said(&adopt(&server, &migrations, &["--up-to", "2"]).format("json").run());
    server.place.write("previews/x/migrations/V0__z.sql", 0o644, "SELECT 1;");
    adopt(&server, &migrations, &[]).format("json").run().denied(Code::MigrationLate);
    assert_eq!(server.versions("app_preview_1"), "1 2");
}

#[test]
fn what_the_next_plan_would_refuse_is_not_recorded() {
    let (server, migrations) = with_schema(Server::new());
    server.place.write("previews/x/migrations/V8__d.sql", 0o644, "CREATE ROLE r;");
    adopt(&server, &migrations, &[]).format("json").run().denied(Code::ReachesRoles);
    server.place.write("previews/x/migrations/V8__d.sql", 0o644, "");
    server.place.write("previews/x/migrations/V9-e.sql", 0o644, "");
    adopt(&server, &migrations, &[]).format("json").run().denied(Code::MigrationName);
    assert_eq!(server.versions("app_preview_1"), "");
}

#[test]
fn db_4_an_adoption_records_in_the_slots_own_database_only() {
    let (server, migrations) = with_schema(Server::new());
    let before = server.production();
    for (database, code) in
        [("app_production", Code::ProductionDatabase), ("app_preview_2", Code::OtherSlotsDatabase)]
    {
        let run = adopt(&server, &migrations, &[]).format("json");
        run.with("DATABASE_URL", &server.url(1, database)).run().denied(code);
    }
    assert_eq!(server.production(), before);
}

#[test]
fn an_adoption_is_an_administrators_or_a_slots() {
    let (server, migrations) = with_schema(Server::new());
    let url = server.url(1, "app_preview_1");
    let slot = ["--slot", "preview-1"];
    let usage = |run: Run| assert_eq!(run.run().status, Some(64));
    usage(server.place.migrate("adopt", &slot));
    usage(server.administer("adopt", &slot).and(&["--migrations", &migrations]));
    usage(server.administer("adopt", &slot).and(&["--database-url", &url]));
    usage(server.administer("adopt", &slot).and(&["--up-to", "2"]));
    usage(adopt(&server, &migrations, &["--yes"]));
    server.administer("adopt", &slot).and(&["--yes"]).run().accepted();
}
