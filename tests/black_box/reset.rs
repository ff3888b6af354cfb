//! `migrate-runner reset`: what a slot has afterwards, what it may be copied from, who is in the way.

#![expect(clippy::unwrap_used, reason = "helpers of tests, outside of what the lint takes for one")]

use guard::diagnostic::Code;
use serde_json::Value;

use crate::support::hold::{Hold, is_there};
use crate::support::run::{Outcome, assert_whole};
use crate::support::server::{EMPTY, Server, password};

/// The sample's migrations as the seed, and a script with data.
fn seeded(server: &Server) -> String {
    let migrations =
        server.place.copy_migrations(&fixtures::sample_app().join("migrations"), "sample");
    server.place.write("data.sql", 0o644, "CREATE TABLE generation AS SELECT 1 AS number;");
    server.seed(&migrations, &[&server.place.text("data.sql")]).run().accepted();
    migrations
}

fn as_slot(server: &Server, slot: u8, sql: &str) -> String {
    let database = format!("app_preview_{slot}");
    let (role, password) = (format!("slot_{slot}"), password(slot));
    server.cluster().run_sql_as(&role, &password, &database, sql).unwrap()
}

/// Returns what a successful reset said last.
#[track_caller]
fn done(outcome: &Outcome) -> Value {
    let said = outcome.accepted().objects().pop().unwrap();
    assert_eq!(said["schema"], "slotguard.reset/1");
    said
}

#[test]
fn what_a_slot_did_is_gone_and_apply_has_nothing_left_to_do() {
    let server = Server::new();
    assert_eq!(server.tables("app_preview_1"), EMPTY, "provisioned from an empty seed");
    let migrations = seeded(&server);
    as_slot(
        &server,
        1,
        "CREATE TABLE junk (); CREATE SCHEMA mine; CREATE FUNCTION public.f() RETURNS int \
         LANGUAGE sql AS 'SELECT 1'; CREATE SEQUENCE counted;",
    );
    let old = server.confirmed(1);

    let said = done(&server.reset(1).format("json").run());
    let fresh = server.confirmed(1);
    assert_ne!(fresh, old);
    assert_eq!(
        (&said["slot"], &said["database"], &said["source"], &said["strategy"], &said["oid"]),
        (
            &"preview-1".into(),
            &"app_preview_1".into(),
            &"app_preview_seed".into(),
            &"wal-log".into(),
            &fresh.into()
        )
    );
    let not_mine = "SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace \
                    WHERE c.relname IN ('junk', 'counted') OR n.nspname = 'mine'";
    assert_eq!(as_slot(&server, 1, not_mine).trim(), "0");
    assert_eq!(as_slot(&server, 1, "SELECT number FROM generation").trim(), "1");

    let again = server.migrate("apply", 1, &migrations).format("json").run();
    let again = again.accepted().objects();
    let said = (again.len(), &again[1]["outcome"]);
    assert_eq!(said, (2, &"unchanged".into()), "the admission and the end: {again:?}");

    // What was copied is the slot's own to change, and the cluster is as provisioning wants it.
    as_slot(&server, 1, "ALTER TABLE customers ADD mine int; DROP TABLE generation");
    assert_eq!(server.leftovers(), "");
    server.provision(&["--check"]).run().accepted();
}

#[test]
fn the_words_for_people_are_as_they_were_read() {
    let server = Server::new();
    seeded(&server);
    let outcome = server.reset(1).format("human").run();
    let shown = outcome.accepted().snapshot(&server.redactor());
    assert_whole("reset", &shown);
}

#[test]
fn sessions_of_the_old_database_end_and_those_of_other_slots_stay() {
    let server = Server::new();
    let hold = |slot: u8| (format!("app_preview_{slot}"), Some(slot));
    let (first, second) = (hold(1), hold(2));
    let sit = |(database, slot): &(String, Option<u8>), work: &dyn Fn(u32)| {
        Hold { slot: *slot, database, statements: "SELECT 1" }.during(&server, work);
    };
    let others = server.oid("app_preview_2");
    sit(&first, &|ended| {
        sit(&second, &|stays| {
            done(&server.reset(1).format("json").run());
            assert!(!is_there(&server, ended), "a session outlived its database");
            assert!(is_there(&server, stays), "a reset of slot 1 ended a session of slot 2");
        });
    });
    assert_eq!(server.oid("app_preview_2"), others);
    server.confirmed(2);
}

/// A template that nobody could object to, and what is wrong with each of the others.
#[test]
fn a_template_must_be_fit() {
    let server = Server::new();
    let make = |name: &str, owner: &str| {
        server.sql("postgres", &format!("CREATE DATABASE {name} OWNER {owner}"));
        server.sql(name, "CREATE SCHEMA app AUTHORIZATION preview_seed_owner");
    };
    for name in ["fit", "with_foreign", "with_roots", "with_definer"] {
        make(name, "preview_admin");
    }
    make("of_others", "postgres");
    let table = "SET ROLE preview_seed_owner; CREATE TABLE app.t AS SELECT 7 AS n; \
                 CREATE FUNCTION app.f() RETURNS int LANGUAGE sql AS 'SELECT 1';";
    server.sql("fit", table);
    server.sql("with_foreign", "CREATE ROLE stranger");
    server.sql("with_foreign", "CREATE SCHEMA theirs AUTHORIZATION stranger");
    server.sql("with_roots", "CREATE TABLE of_the_superuser ()");
    let definer = "CREATE FUNCTION app.g() RETURNS int SECURITY DEFINER LANGUAGE sql AS 'SELECT 1'";
    server.sql("with_definer", definer);
    server.sql(
        "postgres",
        "ALTER DATABASE app_production RENAME TO renamed; CREATE DATABASE app_production;
         REVOKE ALL ON DATABASE app_production, fit, with_foreign, with_roots,
             with_definer, of_others FROM PUBLIC",
    );

    let before = server.confirmed(1);
    for (name, found) in [
        ("app_production", "production"),
        ("renamed", "production stamp"),
        ("app_preview_2", "a slot's database"),
        ("app_preview_9", "no such database"),
        ("missing", "no such database"),
        ("of_others", "postgres"),
        ("with_foreign", "stranger"),
        ("with_roots", "postgres"),
        ("with_definer", "postgres"),
        ("template0", "postgres"),
    ] {
        let refusal = server.reset_from(1, name).format("json").run().denied(Code::ResetTemplate);
        assert!(refusal["found"].as_str().unwrap().contains(found), "{name}: {refusal}");
        assert_eq!((server.oid("app_preview_1"), server.leftovers().as_str()), (before, ""));
    }
    let busy = Hold { slot: None, database: "fit", statements: "SELECT 1" };
    busy.during(&server, |_| {
        let refusal = server.reset_from(1, "fit").format("json").run().denied(Code::ResetBusy);
        assert!(refusal["message"].as_str().unwrap().contains("`fit` is in use"), "{refusal}");
    });
    assert_eq!((server.confirmed(1), server.leftovers().as_str()), (before, ""));

    // The neighbour: objects of the seed's role only, and nobody in it.
    done(&server.reset_from(1, "fit").format("json").run());
    assert_ne!(server.confirmed(1), before);
    assert_eq!(as_slot(&server, 1, "UPDATE app.t SET n = 8; TABLE app.t").trim(), "8");
    as_slot(&server, 1, "DROP SCHEMA app CASCADE");
    assert_eq!(server.sql("fit", "TABLE app.t").trim(), "7");
}

#[test]
fn what_a_crash_left_behind_is_dropped_and_what_is_not_ours_stays() {
    let server = Server::new();
    let old = server.confirmed(1);
    server.sql(
        "postgres",
        "CREATE DATABASE app_preview_1__next OWNER preview_admin;
         CREATE DATABASE app_preview_1__old OWNER preview_admin;
         REVOKE ALL ON DATABASE app_preview_1__next, app_preview_1__old FROM PUBLIC;
         UPDATE pg_database SET datconnlimit = -2 WHERE datname = 'app_preview_1__next';",
    );
    assert_eq!(server.leftovers(), "app_preview_1__next app_preview_1__old");
    let check = server.provision(&["--check"]).run();
    assert_eq!(check.status, Some(65), "{check:?}");
    // A session in the leftover is no obstacle.
    server.sql("postgres", "GRANT CONNECT ON DATABASE app_preview_1__old TO slot_1");
    let inside = Hold { slot: Some(1), database: "app_preview_1__old", statements: "SELECT 1" };
    let fresh = inside.during(&server, |_| done(&server.reset(1).format("json").run()));
    assert_eq!((&fresh["oid"], server.leftovers().as_str()), (&server.confirmed(1).into(), ""));
    assert_ne!(server.confirmed(1), old);

    server.sql(
        "postgres",
        "CREATE DATABASE app_preview_1__next;
         REVOKE ALL ON DATABASE app_preview_1__next FROM PUBLIC",
    );
    let before = server.confirmed(1);
    let refusal = server.reset(1).format("json").run().denied(Code::ResetUnproven);
    assert!(refusal["found"].as_str().unwrap().contains("postgres"), "{refusal}");
    assert_eq!(server.leftovers(), "app_preview_1__next");
    assert_eq!(server.confirmed(1), before);
}

#[test]
fn a_session_of_a_superuser_is_named_and_stops_it() {
    let server = Server::new();
    let before = server.confirmed(1);
    let inside = Hold { slot: None, database: "app_preview_1", statements: "SELECT 1" };
    inside.during(&server, |pid| {
        let refusal = server.reset(1).format("json").run().denied(Code::ResetBusy);
        let found = refusal["found"].as_str().unwrap();
        assert_eq!(found, format!("pid {pid} of postgres"), "{refusal}");
        assert!(is_there(&server, pid), "a superuser's session was ended");
        assert_eq!(server.leftovers(), "", "what was built is dropped");
    });
    assert_eq!(server.confirmed(1), before);
    done(&server.reset(1).format("json").run());
}

/// A superuser who sits in a leftover keeps the next reset from beginning, by name as well.
#[test]
fn a_superuser_in_a_leftover_is_named() {
    let server = Server::new();
    server.sql("postgres", "CREATE DATABASE app_preview_1__old OWNER preview_admin");
    let inside = Hold { slot: None, database: "app_preview_1__old", statements: "SELECT 1" };
    inside.during(&server, |pid| {
        let refusal = server.reset(1).format("json").run().denied(Code::ResetBusy);
        let found = refusal["found"].as_str().unwrap();
        assert_eq!(found, format!("pid {pid} of postgres"), "{refusal}");
    });
    done(&server.reset(1).format("json").run());
    assert_eq!(server.leftovers(), "");
}
