//! Ordinary work through the sidecar: what a backend does with its database.

use std::path::Path;

use rustix::process::{Pid, Signal, kill_process};

use crate::support::run::{Outcome, Run};
use crate::support::server::Server;
use crate::support::sidecar::{self, PORT, Sidecar};

fn started() -> (Server, Sidecar) {
    let server = Server::new();
    sidecar::configure(&server, "");
    let sidecar = Sidecar::start(&server);
    (server, sidecar)
}

#[track_caller]
fn printed(run: Run) -> String {
    let outcome = run.run();
    assert_eq!((outcome.status, outcome.stderr.as_str()), (Some(0), ""), "{outcome:#?}");
    outcome.stdout
}

const WHERE: &str = "SELECT current_database(), current_user, session_user";

#[test]
fn a_session_on_either_socket_is_the_slots_own() {
    let (server, sidecar) = started();
    let own = "app_preview_1|slot_1|slot_1\n";
    assert_eq!(sidecar.sql(WHERE), own);
    assert_eq!(printed(sidecar.psql_unix("slot_1", "app_preview_1", &["-c", WHERE])), own);

    let opened = sidecar.wait_for("session.opened", |event| event["peer"]["process"].is_object());
    let peer = &opened["peer"]["process"];
    assert_eq!(peer["uid"], rustix::process::geteuid().as_raw());
    assert!(peer["program"].as_str().unwrap().ends_with("psql"), "{opened}");
    assert_eq!(opened["application_name"], "psql");

    let status = sidecar.status(&server);
    assert_eq!((&status["standing"], &status["mode"]), (&"serving".into(), &"inject".into()));
    assert_eq!((&status["sessions"], &status["refused"]), (&2.into(), &0.into()), "{status}");
    sidecar.stop();
}

/// What the slot's directory holds is for one user, and gone when nobody serves.
#[test]
fn sockets_and_password_are_for_one_user_and_of_one_start() {
    use std::os::unix::fs::PermissionsExt as _;
    let (server, sidecar) = started();
    let mode = |name: &str| {
        let path = sidecar.state().join(name);
        std::fs::metadata(path).unwrap().permissions().mode() & 0o777
    };
    assert_eq!(mode(""), 0o700);
    for name in [".s.PGSQL.5101", "control.sock", "password"] {
        assert_eq!(mode(name), 0o600, "{name}");
    }
    let (first, state) = (sidecar.password(), sidecar.state().to_owned());
    assert!(first.len() >= 40, "{} characters", first.len());
    sidecar.stop();
    assert_eq!(std::fs::read_dir(&state).unwrap().count(), 0);

    // What a killed one leaves behind is in nobody's way.
    let mut killed = Sidecar::start(&server);
    killed.signal(Signal::KILL);
    killed.ended();
    drop(killed);
    assert!(state.join("password").exists());
    let second = Sidecar::start(&server);
    assert_ne!(second.password(), first);
    assert_eq!(second.sql("SELECT 1"), "1\n");
    second.stop();
}

#[test]
fn copy_goes_both_ways_and_large_results_come_whole() {
    let (server, sidecar) = started();
    sidecar.sql("CREATE TABLE t (id int, words text)");
    let rows: String = (0..50_000).map(|id| format!("{id}\t{}\n", "x".repeat(100))).collect();
    server.place.write("rows", 0o644, &rows);
    let (file, copy) = (server.place.text("rows"), server.place.text("copy"));
    let run = |command: &str| {
        printed(sidecar.psql_unix("slot_1", "app_preview_1", &["-c", command]));
        printed(sidecar.psql("slot_1", "app_preview_1", &["-c", command]));
    };
    run(&format!("\\copy t FROM '{file}'"));
    assert_eq!(sidecar.sql("SELECT count(*) FROM t"), "100000\n");
    run(&format!("\\copy (SELECT * FROM t ORDER BY id, ctid LIMIT 100000) TO '{copy}'"));
    let copied = std::fs::read_to_string(server.place.path("copy")).unwrap();
    assert_eq!(copied.len(), 2 * rows.len());
    let large = sidecar.sql("SELECT repeat('y', 30 * 1024 * 1024)");
    assert_eq!(large.len(), 30 * 1024 * 1024 + 1);
    sidecar.stop();
}

#[test]
fn notifications_errors_and_notices_arrive() {
    let (_server, sidecar) = started();
    let text = "LISTEN news; NOTIFY news, 'hello'; DO $$ BEGIN RAISE NOTICE 'seen'; END $$;";
    let args = ["-c", text, "-c", "SELECT 1"];
    let outcome = sidecar.psql("slot_1", "app_preview_1", &args).run();
    assert_eq!(outcome.status, Some(0), "{outcome:#?}");
    assert!(outcome.stdout.contains("\"news\" with payload \"hello\""), "{outcome:#?}");
    assert!(outcome.stderr.contains("NOTICE:  seen"), "{outcome:#?}");

    let outcome = sidecar.psql("slot_1", "app_preview_1", &["-c", "SELECT 1/0"]).run();
    assert!(outcome.stderr.contains("division by zero"), "{outcome:#?}");
    sidecar.stop();
}

/// Ctrl-C in psql: a second connection with the key that the first was told.
#[test]
fn a_statement_is_cancelled_and_the_session_goes_on() {
    let (server, sidecar) = started();
    for unix in [false, true] {
        let text = "DO $$ BEGIN PERFORM pg_sleep(60); EXCEPTION WHEN query_canceled THEN \
                    RAISE NOTICE 'was cancelled'; END $$; \
                    CREATE TABLE IF NOT EXISTS went_on ()";
        let args = ["-c", text];
        let run = if unix {
            sidecar.psql_unix("slot_1", "app_preview_1", &args)
        } else {
            sidecar.psql("slot_1", "app_preview_1", &args)
        };
        let child = run.start();
        wait_for_sleeper(&server);
        kill_process(Pid::from_child(&child), Signal::INT).unwrap();
        let output = child.wait_with_output().unwrap();
        let err = String::from_utf8(output.stderr).unwrap();
        assert!(err.contains("was cancelled"), "{unix}: {err}");
        // psql does not wait for what comes behind the cancelled statement.
        let is_there = "SELECT to_regclass('went_on') IS NOT NULL";
        assert!((0..100).any(|_| {
            std::thread::sleep(std::time::Duration::from_millis(50));
            server.sql("app_preview_1", is_there).trim() == "t"
        }));
        sidecar.sql("DROP TABLE went_on");
    }
    let status = sidecar.status(&server);
    assert_eq!((&status["cancels"], &status["unknown_cancels"]), (&2.into(), &0.into()));
    sidecar.stop();
}

/// Waits until a session of the slot sleeps.
pub(crate) fn wait_for_sleeper(server: &Server) {
    let question = "SELECT count(*) FROM pg_stat_activity \
                    WHERE usename = 'slot_1' AND wait_event = 'PgSleep'";
    for _ in 0..1000 {
        if server.sql("postgres", question).trim() == "1" {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    panic!("nobody sleeps");
}

#[track_caller]
fn pgbench(server: &Server, sidecar: &Sidecar, args: &[&str]) -> Outcome {
    let program = server.cluster().programs().psql().with_file_name("pgbench");
    let program = if program.is_file() { program } else { Path::new("/usr/bin/pgbench").into() };
    let port = PORT.to_string();
    let front = ["-h", "127.0.0.1", "-p", &port, "-U", "slot_1"];
    let run = Run::at(&program, &[&front[..], args, &["app_preview_1"]].concat());
    let outcome = run.with("PGPASSWORD", &sidecar.password()).with("PATH", "/usr/bin:/bin").run();
    assert_eq!(outcome.status, Some(0), "{outcome:#?}");
    outcome
}

#[test]
fn pgbench_works_in_every_mode_and_by_many_clients() {
    let (server, sidecar) = started();
    pgbench(&server, &sidecar, &["-i", "-q"]);
    for mode in ["simple", "extended", "prepared"] {
        let args = ["-n", "-M", mode, "-c", "8", "-j", "2", "-t", "50"];
        let outcome = pgbench(&server, &sidecar, &args);
        assert!(outcome.stdout.contains("processed: 400/400"), "{outcome:#?}");
    }
    // A connection for each transaction.
    let outcome = pgbench(&server, &sidecar, &["-n", "-S", "-C", "-c", "4", "-t", "10"]);
    assert!(outcome.stdout.contains("processed: 40/40"), "{outcome:#?}");
    // Statements sent without waiting for answers.
    let pipeline = "\\startpipeline\nSELECT 1;\nSELECT 2;\nSELECT 3;\n\\endpipeline\n";
    server.place.write("pipeline.sql", 0o644, pipeline);
    let script = server.place.text("pipeline.sql");
    let outcome =
        pgbench(&server, &sidecar, &["-n", "-M", "extended", "-f", &script, "-c", "4", "-t", "50"]);
    assert!(outcome.stdout.contains("processed: 200/200"), "{outcome:#?}");
    assert_eq!(sidecar.status(&server)["refused"], 0);
    sidecar.stop();
}

/// Keys are derived once for each start: the password file is not needed for a second session.
#[test]
fn the_password_is_read_once_and_again_when_it_changed() {
    let (server, sidecar) = started();
    assert_eq!(sidecar.sql("SELECT 1"), "1\n");
    std::fs::remove_file(server.place.path("secrets/slot_1.pw")).unwrap();
    assert_eq!(sidecar.sql("SELECT 2"), "2\n");
    let changed = format!("{}-changed", crate::support::server::password(1));
    server.sql("postgres", &format!("ALTER ROLE slot_1 PASSWORD '{changed}'"));
    let refused = sidecar.psql("slot_1", "app_preview_1", &["-c", "SELECT 3"]).run();
    assert!(refused.stderr.contains("SG2203"), "{refused:#?}");
    server.place.write("secrets/slot_1.pw", 0o600, &changed);
    assert_eq!(sidecar.sql("SELECT 3"), "3\n");
    sidecar.stop();
}
