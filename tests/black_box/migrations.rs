//! `migrate-runner` against a real server.

#![expect(clippy::unwrap_used, reason = "helpers of tests, outside of what the lint takes for one")]

use guard::diagnostic::Code;
use serde_json::Value;

use crate::support::place::Place;
use crate::support::run::{Outcome, assert_whole};
use crate::support::server::{EMPTY, Server, password};

fn sample(server: &Server, worktree: &str) -> String {
    server.place.copy_migrations(&fixtures::sample_app().join("migrations"), worktree)
}

fn fixture(server: &Server, name: &str) -> String {
    server.place.copy_migrations(&fixtures::migrations(name), name)
}

fn in_json(server: &Server, command: &str, slot: u8, migrations: &str) -> Outcome {
    server.migrate(command, slot, migrations).format("json").run()
}

/// Returns the versions of events of one kind, in the order they were said.
fn versions(objects: &[Value], event: &str) -> Vec<i64> {
    let of_kind = objects.iter().filter(|object| object["event"] == event);
    of_kind.map(|object| object["version"].as_i64().unwrap()).collect()
}

#[test]
fn db_3_the_sample_is_applied_once_in_numeric_order() {
    let server = Server::new();
    let migrations = sample(&server, "feature-1");
    let all: Vec<i64> = (1..=10).collect();

    let plan = in_json(&server, "plan", 1, &migrations);
    let plan = &plan.accepted().objects()[0];
    assert_eq!(plan["schema"], "slotguard.migration-plan/1");
    assert_eq!((&plan["pending"], &plan["problems"]), (&10.into(), &Value::Array(vec![])));
    assert_eq!(server.tables("app_preview_1"), EMPTY, "a plan changes nothing");

    let outcome = in_json(&server, "apply", 1, &migrations);
    let objects = outcome.accepted().objects();
    assert_eq!(versions(&objects, "migration.started"), all);
    assert_eq!(versions(&objects, "migration.applied"), all);
    let run = objects.last().unwrap();
    assert_eq!(run["schema"], "slotguard.migration-run/1");
    assert_eq!((&run["outcome"], &run["database"]), (&"applied".into(), &"app_preview_1".into()));
    assert_eq!(run["applied"], serde_json::json!(all));
    assert!(objects.iter().all(|object| object["slot"] == "preview-1"), "{objects:?}");
    assert_eq!(server.versions("app_preview_1"), "1 2 3 4 5 6 7 8 9 10");

    let again = in_json(&server, "apply", 1, &migrations);
    let again = again.accepted().objects();
    assert_eq!(again.len(), 2, "the admission and the end: {again:?}");
    assert_eq!(
        (&again[1]["outcome"], &again[1]["applied"]),
        (&"unchanged".into(), &Value::Array(vec![]))
    );

    let status = in_json(&server, "status", 1, &migrations);
    let status = &status.accepted().objects()[0];
    assert_eq!(status["schema"], "slotguard.migration-status/1");
    let entries = status["migrations"].as_array().unwrap();
    assert_eq!(entries.len(), 10);
    assert!(
        entries.iter().all(|entry| entry["state"] == "applied" && entry["applied_on"].is_string())
    );
}

#[test]
fn the_words_for_people_are_as_they_were_read() {
    let server = Server::new();
    let migrations = sample(&server, "feature-1");
    let commands = ["plan", "apply", "apply", "plan", "status"];
    let shown = commands.map(|command| {
        let outcome = server.migrate(command, 1, &migrations).format("human").run();
        outcome.accepted().snapshot(&server.redactor())
    });
    assert_whole("migrate-runner", &shown.join("\n"));
}

#[test]
fn sc_3_two_slots_get_separate_content() {
    let server = Server::new();
    for slot in [1, 2] {
        let migrations = sample(&server, &format!("feature-{slot}"));
        in_json(&server, "apply", slot, &migrations).accepted();
    }
    server.sql("app_preview_1", "UPDATE customers SET name = 'changed in slot 1'");
    let names =
        |slot| server.sql(&format!("app_preview_{slot}"), "SELECT DISTINCT name FROM customers");
    assert_eq!(names(1).trim(), "changed in slot 1");
    assert!(!names(2).is_empty() && !names(2).contains("changed in slot 1"));
    assert_eq!(server.tables("app_preview_3"), EMPTY, "a third slot stays empty");
}

#[test]
fn a_migration_that_fails_is_rolled_back_and_the_ones_before_it_stay() {
    let server = Server::new();
    let migrations = fixture(&server, "fails-midway");
    let outcome = in_json(&server, "apply", 1, &migrations);
    let denial = outcome.denied(Code::MigrationFailed);
    assert!(denial["found"].as_str().unwrap().contains("line 3"), "{denial}");
    let objects = outcome.objects();
    assert_eq!(versions(&objects, "migration.applied"), [1]);
    assert_eq!(versions(&objects, "migration.failed"), [2]);
    assert_eq!(server.tables("app_preview_1"), "a refinery_schema_history");
    assert_eq!(server.versions("app_preview_1"), "1");

    // The corrected file goes on from there.
    server.place.write(
        "previews/fails-midway/migrations/V2__refused.sql",
        0o644,
        "CREATE TABLE b ();",
    );
    let outcome = in_json(&server, "apply", 1, &migrations);
    assert_eq!(versions(&outcome.accepted().objects(), "migration.applied"), [2]);
}

#[test]
fn a_migration_that_ends_its_transaction_never_runs() {
    let server = Server::new();
    let migrations = fixture(&server, "ends-its-transaction");
    in_json(&server, "apply", 1, &migrations).denied(Code::EndsTransaction);
    assert_eq!(
        server.tables("app_preview_1"),
        EMPTY,
        "nothing ran, not even the versions before it"
    );
}

#[test]
fn settings_end_with_the_migration_that_made_them() {
    let server = Server::new();
    let migrations = fixture(&server, "leaks-settings");
    let outcome = in_json(&server, "apply", 1, &migrations);
    assert_eq!(versions(&outcome.accepted().objects(), "migration.applied"), [1, 2]);
    assert_eq!(server.tables("app_preview_1"), "a b refinery_schema_history");
}

#[test]
fn files_and_ledger_that_disagree_stop_the_run_before_anything_runs() {
    let server = Server::new();
    let file = |name: &str, text: &str| {
        server.place.write(&format!("previews/x/migrations/{name}"), 0o644, text);
    };
    file("V1__a.sql", "CREATE TABLE a ();");
    file("V3__c.sql", "CREATE TABLE c ();");
    let migrations = server.place.text("previews/x/migrations");
    in_json(&server, "apply", 1, &migrations).accepted();
    let before = server.tables("app_preview_1");
    file("V4__d.sql", "CREATE TABLE d ();");

    let stopped = |code: Code| {
        for command in ["apply", "plan", "status"] {
            let outcome = in_json(&server, command, 1, &migrations);
            outcome.refused(code);
            assert!(versions(&outcome.objects(), "migration.started").is_empty(), "{outcome:?}");
        }
        assert_eq!(server.tables("app_preview_1"), before, "{code}");
    };
    file("V1__a.sql", "CREATE TABLE a (changed int);");
    stopped(Code::MigrationDivergent);
    std::fs::remove_file(format!("{migrations}/V1__a.sql")).unwrap();
    stopped(Code::MigrationMissing);
    file("V1__a.sql", "CREATE TABLE a ();");
    file("V2__b.sql", "CREATE TABLE b ();");
    stopped(Code::MigrationLate);

    // The neighbour: the same files with a number above the applied ones.
    std::fs::rename(format!("{migrations}/V2__b.sql"), format!("{migrations}/V5__b.sql")).unwrap();
    let outcome = in_json(&server, "apply", 1, &migrations);
    assert_eq!(versions(&outcome.accepted().objects(), "migration.applied"), [4, 5]);
}

#[test]
fn db_4_production_is_refused_and_unchanged() {
    let server = Server::new();
    let migrations = sample(&server, "feature-1");
    let before = server.production();
    for command in ["apply", "plan", "status"] {
        for (database, code) in [
            ("app_production", Code::ProductionDatabase),
            ("app_preview_2", Code::OtherSlotsDatabase),
            ("postgres", Code::ForeignDatabase),
        ] {
            let run = server.migrate(command, 1, &migrations).format("json");
            run.with("DATABASE_URL", &server.url(1, database)).run().denied(code);
        }
    }
    assert_eq!(server.production(), before);
    for slot in 1..=3 {
        assert_eq!(server.tables(&format!("app_preview_{slot}")), EMPTY, "slot {slot}");
    }
}

/// With the guard out of the way, rights alone still keep a slot's role out.
#[test]
fn db_4_the_server_itself_keeps_a_slots_role_out_of_other_databases() {
    let server = Server::new();
    let migrations = sample(&server, "feature-1");
    server.sql("postgres", "ALTER DATABASE app_preview_1 RENAME TO elsewhere");
    let outcome = in_json(&server, "apply", 1, &migrations);
    outcome.denied(Code::LoginRefused);
    assert_eq!(server.tables("elsewhere"), EMPTY);
}

#[test]
fn db_2_the_refusal_comes_before_a_socket_opens() {
    let place = Place::new();
    let migrations = place.copy_migrations(&fixtures::migrations("fails-midway"), "x");
    let listener = crate::support::ports::listen(0).unwrap();
    let port = listener.local_addr().unwrap().port();
    place.configure(&format!("[database]\nendpoints = [\"127.0.0.1:{port}\"]\n"));
    let apply = |database: &str| {
        let url = format!("postgresql://slot_1@127.0.0.1:{port}/{database}");
        let args = ["--slot", "preview-1", "--migrations", &migrations];
        place.migrate("apply", &args).with("DATABASE_URL", &url).format("json").run()
    };
    listener.set_nonblocking(true).unwrap();
    apply("app_preview_2").denied(Code::OtherSlotsDatabase);
    assert!(listener.accept().is_err(), "somebody connected");
    // Where nothing listens, the verdict is the same; only the slot's own database is tried.
    drop(listener);
    apply("app_preview_2").denied(Code::OtherSlotsDatabase);
    apply("app_preview_1").denied(Code::ServerUnreachable);
}

#[test]
fn db_4_a_server_that_changes_the_role_is_refused() {
    let server = Server::new();
    let migrations = sample(&server, "feature-1");
    server.sql(
        "postgres",
        "CREATE ROLE app_admin; GRANT app_admin TO slot_1; ALTER ROLE slot_1 SET role = app_admin",
    );
    let denial = in_json(&server, "apply", 1, &migrations).denied(Code::LiveRole);
    assert!(denial["found"].as_str().unwrap().contains("app_admin"), "{denial}");
    assert_eq!(server.tables("app_preview_1"), EMPTY);
    server.sql("postgres", "ALTER ROLE slot_1 RESET role; REVOKE app_admin FROM slot_1");
    in_json(&server, "apply", 1, &migrations).accepted();
}

/// `Run` looks for the password in everything that is said; here it is given in every way there is.
#[test]
fn the_password_is_never_said() {
    let server = Server::new();
    let migrations = sample(&server, "feature-1");
    let secret = password(1);
    let url = server.url(1, "app_preview_1").replace("slot_1@", &format!("slot_1:{secret}@"));
    server.place.write("url", 0o600, &url);
    let file = server.place.text("url");
    for format in ["human", "json"] {
        for command in ["plan", "apply", "status"] {
            let run = || server.migrate(command, 1, &migrations).format(format);
            run().with("DATABASE_URL", &url).run().accepted();
            let args = [
                "-vv",
                "--slot",
                "preview-1",
                "--migrations",
                &migrations,
                "--database-url-file",
                &file,
            ];
            let outcome = server.place.migrate(command, &args).format(format).run();
            assert_eq!(outcome.status, Some(0), "{outcome:?}");
            let wrong = url.replace(&secret, &(secret.clone() + "x"));
            run().with("DATABASE_URL", &wrong).run().refused(Code::LoginRefused);
        }
    }
}

#[test]
fn what_fails_at_the_commit_says_what_the_server_said() {
    let server = Server::new();
    server.place.write(
        "previews/x/migrations/V1__a.sql",
        0o644,
        "CREATE TABLE a (id int PRIMARY KEY, of int REFERENCES a DEFERRABLE INITIALLY DEFERRED);
         INSERT INTO a VALUES (1, 2);",
    );
    let outcome = in_json(&server, "apply", 1, &server.place.text("previews/x/migrations"));
    let denial = outcome.denied(Code::MigrationFailed);
    assert!(denial["found"].as_str().unwrap().contains("23503"), "{denial}");
    assert_eq!(
        (server.tables("app_preview_1"), server.versions("app_preview_1")),
        (EMPTY.into(), "".into())
    );
}

/// refinery's default build has versions of 32 bits, which changes every checksum.
#[test]
fn a_ledger_of_a_build_with_small_versions_is_read_unchanged() {
    let server = Server::by_hand();
    let file = |name: &str, text: &str| {
        server.place.write(&format!("previews/x/migrations/{name}"), 0o644, text);
    };
    file("V1__a.sql", "CREATE TABLE a ();");
    server.sql(
        "app_preview_1",
        "SET ROLE slot_1;
         CREATE TABLE a ();
         CREATE TABLE refinery_schema_history (version int4 PRIMARY KEY, name varchar(255),
             applied_on varchar(255), checksum varchar(255));
         INSERT INTO refinery_schema_history
             VALUES (1, 'a', '2026-01-02T03:04:05Z', '4326480149521461748')",
    );
    let migrations = server.place.text("previews/x/migrations");
    let run = |command: &str| {
        let outcome = in_json(&server, command, 1, &migrations);
        assert_eq!(outcome.status, Some(0), "{outcome:?}");
        outcome.objects().pop().unwrap()
    };
    assert_eq!(run("apply")["outcome"], "unchanged");
    file("V2__b.sql", "CREATE TABLE b ();");
    assert_eq!(run("apply")["applied"], serde_json::json!([2]));
    assert_eq!(server.versions("app_preview_1"), "1 2");
    file("V1__a.sql", "CREATE TABLE a (changed int);");
    in_json(&server, "apply", 1, &migrations).refused(Code::MigrationDivergent);
}
