//! Runs that meet each other, are kept waiting, or are killed.

#![expect(clippy::unwrap_used, reason = "helpers of tests, outside of what the lint takes for one")]

use std::path::Path;
use std::process::Child;
use std::time::{Duration, Instant};

use guard::diagnostic::Code;
use rustix::process::{Pid, Signal, kill_process};

use crate::support::dice::Dice;
use crate::support::hold::Hold;
use crate::support::run::assert_whole;
use crate::support::server::{EMPTY, Server};

/// The advisory lock of a run, as the program takes it.
pub(crate) const LOCK: &str = "SELECT pg_advisory_lock(8317145157589098866)";

/// A session of slot 1 that does something and stays.
fn hold(statements: &str) -> Hold<'_> {
    Hold { slot: Some(1), database: "app_preview_1", statements }
}

fn write(server: &Server, files: &[(&str, &str)]) -> String {
    for (name, text) in files {
        server.place.write(&format!("previews/x/migrations/{name}"), 0o644, text);
    }
    server.place.text("previews/x/migrations")
}

#[test]
fn another_run_is_waited_for_and_named() {
    let server = Server::new();
    let migrations = write(&server, &[("V1__a.sql", "CREATE TABLE a ();")]);
    let apply = |wait: &str| server.migrate("apply", 1, &migrations).and(&["--wait", wait]);
    hold(LOCK).during(&server, |pid| {
        // A run on another slot has the same lock in another database; it is not the one to name.
        let other = Hold { slot: Some(2), database: "app_preview_2", statements: LOCK };
        other.during(&server, |other| {
            for (slot, pid) in [(1, pid), (2, other)] {
                let run = server.migrate("apply", slot, &migrations).and(&["--wait", "0"]);
                let denial = run.format("json").run().denied(Code::RunLocked);
                let named = format!("pid {pid},");
                assert!(denial["found"].as_str().unwrap().starts_with(&named), "{denial}");
            }
        });
        let shown = ["human", "json"].map(|format| {
            let outcome = apply("1").format(format).run();
            outcome.refused(Code::RunLocked);
            outcome.snapshot(&server.redactor())
        });
        assert_whole(Code::RunLocked.id(), &shown.join("\n"));
        assert_eq!(server.tables("app_preview_1"), EMPTY);
        // A plan and another slot need no lock.
        server.migrate("plan", 1, &migrations).run().accepted();
        server.migrate("apply", 2, &migrations).run().accepted();
    });
    // Afterwards the lock is free again.
    apply("20").run().accepted();
}

#[test]
fn runs_at_once_end_well_and_apply_each_migration_once() {
    at_once(1);
}

#[test]
#[ignore = "the long version of the test above, for ./test --soak"]
fn soak_runs_at_once() {
    at_once(20);
}

fn at_once(rounds: usize) {
    for many in [2, 8].into_iter().cycle().take(2 * rounds) {
        let server = Server::new();
        let migrations =
            server.place.copy_migrations(&fixtures::sample_app().join("migrations"), "feature-1");
        let apply = || server.migrate("apply", 1, &migrations).format("json").start();
        let running: Vec<Child> = (0..many).map(|_| apply()).collect();
        for child in running {
            let output = child.wait_with_output().unwrap();
            assert_eq!(output.status.code(), Some(0), "{output:?}");
        }
        assert_eq!(server.versions("app_preview_1"), "1 2 3 4 5 6 7 8 9 10");
    }
}

#[test]
fn a_blocked_migration_names_who_blocks_it_and_is_tried_again() {
    let server = Server::new();
    let migrations = write(&server, &[("V1__a.sql", "CREATE TABLE a ();")]);
    server.migrate("apply", 1, &migrations).run().accepted();
    write(&server, &[("V2__b.sql", "CREATE TABLE b ();\nALTER TABLE a ADD c int;")]);
    let apply = |retry: &str| {
        let limits = ["--lock-timeout", "2", "--retry-for", retry];
        server.migrate("apply", 1, &migrations).and(&limits)
    };
    let open = hold("BEGIN; SELECT * FROM a");
    let child = open.during(&server, |_| {
        let shown = ["human", "json"].map(|format| {
            let outcome = apply("0").format(format).run();
            outcome.refused(Code::MigrationBlocked);
            assert!(outcome.said().contains("blocked by pid"), "{outcome:?}");
            without_seconds(&outcome.snapshot(&server.redactor()))
        });
        assert_whole(Code::MigrationBlocked.id(), &shown.join("\n"));
        assert_eq!(server.tables("app_preview_1"), "a refinery_schema_history");
        let child = apply("60").format("json").start();
        std::thread::sleep(Duration::from_millis(2500));
        child
    });
    // It goes through once the other one is gone.
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(said.contains("migration.blocked"), "{said}");
    assert_eq!(server.versions("app_preview_1"), "1 2");
}

/// How long the other transaction has been open differs from run to run.
fn without_seconds(text: &str) -> String {
    let hide = |part: &str| {
        let rest = part.trim_start_matches(|c: char| c.is_ascii_digit());
        let counts = rest.len() < part.len() && rest.starts_with(" s:");
        if counts { format!("<seconds>{rest}") } else { part.to_owned() }
    };
    text.split(" for ").map(hide).collect::<Vec<_>>().join(" for ")
}

#[test]
fn an_interrupted_run_rolls_back_and_frees_its_lock() {
    for asked in [Signal::INT, Signal::TERM] {
        let server = Server::new();
        let slow = "CREATE TABLE b ();\nSELECT count(*) FROM generate_series(1, 30000000000);";
        let files = [("V1__a.sql", "CREATE TABLE a ();"), ("V2__b.sql", slow)];
        let migrations = write(&server, &files);
        let child = server.migrate("apply", 1, &migrations).format("json").start();
        let runs = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%generate_series%' \
                    AND usename = 'slot_1'";
        let since = Instant::now();
        while server.sql("postgres", runs).trim() != "1" {
            assert!(since.elapsed() < Duration::from_secs(20), "the migration does not run");
            std::thread::sleep(Duration::from_millis(20));
        }
        let pid = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
        kill_process(pid, asked).unwrap();
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        assert_eq!(output.status.code(), Some(75), "{said}");
        assert!(said.contains(Code::RunInterrupted.id()), "{said}");
        assert_eq!(server.versions("app_preview_1"), "1");
        assert_eq!(server.tables("app_preview_1"), "a refinery_schema_history");
        write(&server, &[("V2__b.sql", "CREATE TABLE b ();")]);
        server.migrate("apply", 1, &migrations).and(&["--wait", "0"]).run().accepted();
    }
}

#[test]
fn a_ledger_that_somebody_else_changes_ends_the_run() {
    let shown = ["human", "json"].map(|format| {
        let server = Server::by_hand();
        let migrations = write(&server, &[("V1__a.sql", "CREATE TABLE a ();")]);
        assert_eq!(server.migrate("apply", 1, &migrations).run().status, Some(0));
        server.sql(
            "app_preview_1",
            "CREATE FUNCTION forget() RETURNS trigger LANGUAGE plpgsql AS
                 'BEGIN DELETE FROM refinery_schema_history WHERE version = 1; RETURN NEW; END';
             CREATE TRIGGER forget BEFORE INSERT ON refinery_schema_history
                 FOR EACH ROW EXECUTE FUNCTION forget();
             ALTER FUNCTION forget OWNER TO slot_1",
        );
        write(&server, &[("V2__b.sql", "CREATE TABLE b ();")]);
        let outcome = server.migrate("apply", 1, &migrations).format(format).run();
        outcome.refused(Code::LedgerChanged);
        assert_eq!(server.versions("app_preview_1"), "1");
        assert_eq!(server.tables("app_preview_1"), "a refinery_schema_history");
        outcome.snapshot(&server.redactor())
    });
    assert_whole(Code::LedgerChanged.id(), &shown.join("\n"));
}

/// Thirty migrations, of which each makes a table and fills the one before it.
fn thirty(server: &Server) -> String {
    let text = |n: u32| format!("CREATE TABLE t{n} (id int);\nINSERT INTO t{n} VALUES ({n});");
    let files: Vec<(String, String)> =
        (1..=30).map(|n| (format!("V{n}__t{n}.sql"), text(n))).collect();
    let files: Vec<(&str, &str)> = files.iter().map(|(n, t)| (n.as_str(), t.as_str())).collect();
    write(server, &files)
}

/// Ledger and schema agree when the tables that are there are those of the recorded versions.
fn ledger_and_schema_agree(server: &Server) -> usize {
    let versions = server.versions("app_preview_1");
    let versions: Vec<&str> = versions.split_whitespace().collect();
    let mut tables: Vec<String> = versions.iter().map(|version| format!("t{version}")).collect();
    tables.push(EMPTY.to_owned());
    tables.sort_unstable();
    let sorted = |text: String| {
        let mut names: Vec<String> = text.split(' ').map(ToOwned::to_owned).collect();
        names.sort_unstable();
        names
    };
    assert_eq!(sorted(server.tables("app_preview_1")), tables);
    versions.len()
}

#[test]
fn a_killed_run_leaves_ledger_and_schema_in_agreement() {
    kill_at_random(10);
}

#[test]
#[ignore = "the long version of the test above, for ./test --soak"]
fn soak_killed_runs() {
    kill_at_random(200);
}

fn kill_at_random(rounds: u32) {
    let mut dice = Dice::new("killed runs");
    let server = Server::new();
    let migrations = thirty(&server);
    for round in 0..rounds {
        let mut child = server.migrate("apply", 1, &migrations).format("json").start();
        std::thread::sleep(dice.within(Duration::from_millis(250)));
        let pid = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
        let _ = kill_process(pid, Signal::KILL);
        child.wait().unwrap();
        // The server frees the lock of a killed client by itself.
        let applied = wait_for_the_server(&server);
        assert!(applied <= 30, "round {round}");
        let outcome = server.migrate("apply", 1, &migrations).format("json").run();
        assert_eq!(outcome.accepted().objects().last().unwrap()["database"], "app_preview_1");
        assert_eq!(ledger_and_schema_agree(&server), 30, "round {round}");
        assert_eq!(server.reset(1).run().status, Some(0), "round {round}");
    }
}

#[test]
fn a_crashed_server_leaves_ledger_and_schema_in_agreement() {
    crash_at_random(3, None);
}

#[test]
#[ignore = "the long version of the test above, for ./test --soak"]
fn soak_crashed_servers() {
    // Not in memory, where flushing means nothing.
    crash_at_random(50, Some(&std::env::temp_dir()));
}

fn crash_at_random(rounds: u32, place: Option<&Path>) {
    let mut dice = Dice::new("crashed servers");
    let mut server = Server::durable(place);
    let migrations = thirty(&server);
    for round in 0..rounds {
        let pause = dice.within(Duration::from_millis(300));
        server.migrate("apply", 1, &migrations).format("json").run_while(|_| {
            std::thread::sleep(pause);
            server.cluster_mut().crash().unwrap();
        });
        server.cluster_mut().restart().unwrap();
        let applied = ledger_and_schema_agree(&server);
        assert!(applied <= 30, "round {round}, {pause:?}");
        let outcome = server.migrate("apply", 1, &migrations).format("json").run();
        assert_eq!(outcome.accepted().objects().last().unwrap()["database"], "app_preview_1");
        assert_eq!(ledger_and_schema_agree(&server), 30, "round {round}, {pause:?}");
        assert_eq!(server.reset(1).run().status, Some(0), "round {round}, {pause:?}");
    }
}

/// Waits until no session of the killed client is left, then looks.
fn wait_for_the_server(server: &Server) -> usize {
    let since = Instant::now();
    let left = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'slot_1'";
    while server.sql("postgres", left).trim() != "0" {
        assert!(since.elapsed() < Duration::from_secs(20), "a session of the killed run is left");
        std::thread::sleep(Duration::from_millis(20));
    }
    ledger_and_schema_agree(server)
}
