//! `migrate-runner seed build`: the template of the slots' databases, made once from files.

#![expect(clippy::unwrap_used, reason = "helpers of tests, outside of what the lint takes for one")]

use guard::diagnostic::Code;
use guard::stamp::{Kind, Reading, Stamp};
use rustix::process::Signal;
use serde_json::Value;

use crate::support::hold::Hold;
use crate::support::run::{Outcome, assert_whole};
use crate::support::server::{Server, password};

const SEED: &str = "app_preview_seed";

/// Returns the fingerprint in the seed's stamp, which must be the seed's own.
#[track_caller]
fn fingerprint(server: &Server) -> String {
    let question = format!(
        "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = '{SEED}'"
    );
    let comment = server.sql("postgres", &question);
    let Reading::Stamp(stamp) = Stamp::read(Some(comment.trim())) else { panic!("{comment}") };
    assert_eq!(stamp.oid, server.oid(SEED));
    let Kind::Seed { fingerprint } = stamp.kind else { panic!("{comment}") };
    fingerprint
}

#[track_caller]
fn said(outcome: &Outcome) -> Value {
    let said = outcome.accepted().objects().pop().unwrap();
    assert_eq!((&said["schema"], &said["database"]), (&"slotguard.seed/1".into(), &SEED.into()));
    said
}

fn write(server: &Server, name: &str, text: &str) -> String {
    server.place.write(name, 0o644, text);
    server.place.text(name)
}

#[test]
fn it_is_built_once_and_again_when_a_file_changes() {
    let server = Server::new();
    assert_eq!(fingerprint(&server), "empty");
    write(&server, "previews/m/V1__a.sql", "CREATE TABLE a (n int);");
    let migrations = server.place.text("previews/m");
    let first_script = write(&server, "one.sql", "INSERT INTO a VALUES (1);");
    let second_script = write(&server, "two.sql", "UPDATE a SET n = n + 1;\nCREATE TABLE b ();");
    let scripts = [first_script.as_str(), &second_script];
    let build = |scripts: &[&str]| server.seed(&migrations, scripts).format("json").run();

    let built = said(&build(&scripts));
    assert_eq!(
        (&built["outcome"], &built["migrations"], &built["scripts"]),
        (&"built".into(), &1.into(), &2.into())
    );
    assert_eq!(built["fingerprint"], fingerprint(&server));
    let first = server.oid(SEED);

    let again = said(&build(&scripts));
    assert_eq!((&again["outcome"], server.oid(SEED)), (&"unchanged".into(), first));
    assert_eq!(again["fingerprint"], built["fingerprint"]);

    // The scripts ran after the migrations and in their order.
    server.reset(1).run().accepted();
    assert_eq!(server.sql("app_preview_1", "TABLE a").trim(), "2");
    assert_eq!(server.versions("app_preview_1"), "1");

    write(&server, "two.sql", "UPDATE a SET n = n + 2;");
    write(&server, "previews/m/V2__c.sql", "CREATE TABLE c ();");
    let changed = said(&build(&scripts));
    assert_eq!(changed["outcome"], "built");
    assert_ne!(changed["fingerprint"], built["fingerprint"]);
    assert_ne!(server.oid(SEED), first);
    server.reset(1).run().accepted();
    assert_eq!(server.sql("app_preview_1", "TABLE a").trim(), "3");
    assert_eq!(server.versions("app_preview_1"), "1 2");
    assert_eq!(server.leftovers(), "");

    // A seed whose stamp is gone is not trusted to be what it was.
    server.sql("postgres", "COMMENT ON DATABASE app_preview_seed IS NULL");
    assert_eq!(said(&build(&scripts))["outcome"], "built");
    assert_eq!(Value::from(fingerprint(&server)), changed["fingerprint"]);
}

#[test]
fn the_words_for_people_are_as_they_were_read() {
    let server = Server::new();
    write(&server, "previews/m/V1__a.sql", "CREATE TABLE a (n int);");
    let script = write(&server, "data.sql", "INSERT INTO a VALUES (1);");
    let shown = [(); 2].map(|()| {
        let outcome =
            server.seed(&server.place.text("previews/m"), &[&script]).format("human").run();
        outcome.accepted().snapshot(&server.redactor())
    });
    assert_whole("seed", &shown.join("\n"));
}

#[test]
fn nobody_enters_it_once_it_is_built() {
    let server = Server::new();
    for role in [("slot_1", password(1)), ("preview_seed_owner", format!("{}-of-seed", "s3cret"))] {
        let refused = server.cluster().run_sql_as(role.0, &role.1, SEED, "SELECT 1").unwrap_err();
        assert!(refused.to_string().contains("not currently accepting"), "{refused}");
    }
    server.provision(&["--check"]).run().accepted();
}

#[test]
fn what_fails_leaves_the_old_one_serving_and_nothing_behind() {
    let server = Server::new();
    write(&server, "previews/m/V1__a.sql", "CREATE TABLE a (n int);");
    let migrations = server.place.text("previews/m");
    said(&server.seed(&migrations, &[]).format("json").run());
    let (oid, old) = (server.oid(SEED), fingerprint(&server));

    write(&server, "previews/broken/V1__a.sql", "CREATE TABLE a (n int);");
    write(&server, "previews/broken/V2__b.sql", "SELECT 1/0;");
    let broken = server.place.text("previews/broken");
    let script =
        write(&server, "broken.sql", "INSERT INTO a VALUES (1); INSERT INTO nowhere VALUES (1);");
    let missing = server.place.text("missing.sql");
    let out = write(&server, "out.sql", "CREATE DATABASE elsewhere;");
    let cases: [(&str, &[&str], Code); 4] = [
        (&broken, &[], Code::MigrationFailed),
        (&migrations, &[&script], Code::MigrationFailed),
        (&migrations, &[&missing], Code::MigrationUnreadable),
        (&migrations, &[&out], Code::ReachesDatabases),
    ];
    for (migrations, scripts, code) in cases {
        server.seed(migrations, scripts).format("json").run().denied(code);
        assert_eq!((server.oid(SEED), fingerprint(&server)), (oid, old.clone()), "{scripts:?}");
        assert_eq!(server.leftovers(), "", "{scripts:?}");
        server.reset(1).run().accepted();
        server.confirmed(1);
    }
    server.provision(&["--check"]).run().accepted();
}

#[test]
fn a_signal_while_it_is_filled_leaves_the_old_one() {
    let server = Server::new();
    let (oid, old) = (server.oid(SEED), fingerprint(&server));
    write(&server, "previews/m/V1__slow.sql", "SELECT pg_sleep(60);");
    let outcome =
        server.seed(&server.place.text("previews/m"), &[]).format("json").run_while(|running| {
            let filling = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'";
            for _ in 0..500 {
                if server.sql("postgres", filling).trim() == "1" {
                    break;
                }
                std::thread::sleep(std::time::Duration::from_millis(20));
            }
            running.signal(Signal::INT);
        });
    outcome.denied(Code::ResetInterrupted);
    assert_eq!((server.oid(SEED), fingerprint(&server)), (oid, old));
    assert_eq!(server.leftovers(), "");
}

/// A reset copies the seed as it is before or after it is exchanged, and neither waits for good.
#[test]
fn a_reset_and_a_build_at_once_both_succeed() {
    let server = Server::new();
    write(&server, "previews/m/V1__a.sql", "CREATE TABLE a (n int);");
    let migrations = server.place.text("previews/m");
    for round in 0..3 {
        write(&server, "previews/m/V1__a.sql", &format!("CREATE TABLE a{round} (n int);"));
        std::thread::scope(|scope| {
            let build = scope.spawn(|| server.seed(&migrations, &[]).format("json").run());
            let reset = scope.spawn(|| server.reset(1).format("json").run());
            said(&build.join().unwrap());
            reset.join().unwrap().accepted();
        });
        server.confirmed(1);
        assert_eq!(server.leftovers(), "");
    }
}

/// What holds the seed's name keeps the exchange waiting, not failing.
#[test]
fn a_second_build_is_told_to_try_again() {
    let server = Server::new();
    write(&server, "previews/m/V1__slow.sql", "CREATE TABLE a (n int);");
    let migrations = server.place.text("previews/m");
    let locked = Hold {
        slot: None,
        database: "postgres",
        statements: "BEGIN; COMMENT ON DATABASE app_preview_seed IS 'not committed'",
    };
    locked.during(&server, |_| {
        server.seed(&migrations, &[]).format("json").run_while(|running| {
            for _ in 0..500 {
                let waiting = "SELECT count(*) FROM pg_stat_activity \
                               WHERE query LIKE 'BEGIN; ALTER%' AND wait_event_type = 'Lock'";
                if server.sql("postgres", waiting).trim() == "1" {
                    break;
                }
                std::thread::sleep(std::time::Duration::from_millis(20));
            }
            server.seed(&migrations, &[]).format("json").run().denied(Code::ResetBusy);
            running.signal(Signal::KILL);
        });
    });
    // Killed in the exchange: the old one or the new one, whole.
    let built = said(&server.seed(&migrations, &[]).format("json").run_once_free());
    assert_eq!(Value::from(fingerprint(&server)), built["fingerprint"]);
    server.reset(1).run().accepted();
    assert_eq!(server.leftovers(), "");
}
