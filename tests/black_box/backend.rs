//! `slotguard backend` on processes of this host: real programs on a real server.

#![expect(clippy::unwrap_used, reason = "helpers of tests, outside of what the lint takes for one")]

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use guard::diagnostic::Code;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::support::ports;
use crate::support::preview::{Connection, Preview, process, said};
use crate::support::processes::{Process, wait_for_end};
use crate::support::run::Run;

#[test]
fn lc_4_lc_5_lc_6_lc_7_dg_2_a_backend_lives_from_start_to_stop() {
    let preview = Preview::new();
    let refused = preview.backend("start", 1, &[]).run();
    refused.denied(Code::RecordMissing);
    let first = preview.started(1);
    assert!(first.name.starts_with("sample-backend"), "{first:?}");

    // What answers is the slot's own backend, on the slot's own database.
    let healthy = said(preview.backend("health", 1, &[]).run().accepted());
    assert_eq!(
        (&healthy["health"]["state"], &healthy["health"]["status"]),
        (&json!("healthy"), &json!(200))
    );

    let again = said(preview.start(1, "backend").run().accepted());
    assert_eq!((&again["outcome"], process(&again)), (&json!("already-running"), first.clone()));
    let status = said(preview.backend("status", 1, &[]).run().accepted());
    assert_eq!(process(&status), first);
    assert_eq!(status["record"]["program"], "backend");
    assert_eq!(status["record"]["worktree"], preview.place().text("previews/feature"));

    let restarted = said(preview.backend("restart", 1, &[]).run().accepted());
    let second = process(&restarted);
    assert_ne!(second, first);
    assert_eq!(wait_for_end(&[first]), []);

    assert_eq!(preview.stopped(1)["outcome"], "stopped");
    assert_eq!(wait_for_end(&[second]), []);
    assert_eq!(preview.stopped(1)["outcome"], "already-stopped");
    let down = preview.backend("health", 1, &[]).run();
    down.denied(Code::BackendNotListening);
    // The record brings the same back.
    let back = said(preview.backend("start", 1, &[]).run().accepted());
    assert_eq!(back["record"]["worktree"], preview.place().text("previews/feature"));
    preview.backend("status", 1, &[]).format("human").run().accepted();
}

#[test]
fn lc_3_lc_9_a_restart_leaves_the_other_slot_alone() {
    let preview = Preview::new();
    preview.started(1);
    let other = preview.started(2);
    let mut connection = Connection::open(2);
    assert_eq!(connection.ask(), "HTTP/1.1 200 OK");
    preview.backend("restart", 1, &[]).run().accepted();
    preview.stopped(1);
    assert_eq!(connection.ask(), "HTTP/1.1 200 OK");
    let status = said(preview.backend("status", 2, &[]).run().accepted());
    assert_eq!(process(&status), other);
}

#[test]
fn a_terminal_that_is_closed_ends_no_backend() {
    let preview = Preview::new();
    // A shell in a session of its own starts the backend, and the whole session is hung up.
    let program = crate::support::programs::program("slotguard");
    let worktree = preview.place().text("previews/feature");
    let line = format!(
        "{} backend start --config {} --slot preview-1 --worktree {worktree} && kill -s HUP 0",
        program.display(),
        preview.place().config(),
    );
    let shell = ["--wait", "/bin/sh", "-c", &line];
    let outcome = Run::at(Path::new("/usr/bin/setsid"), &shell).run();
    let running = process(&said(&outcome));
    assert_ne!(outcome.status, Some(0), "the shell was hung up");
    assert!(running.is_running());
    preview.backend("health", 1, &[]).run().accepted();
    assert_eq!(process(&said(preview.backend("status", 1, &[]).run().accepted())), running);
}

#[test]
fn eight_starts_at_once_start_one_backend() {
    let preview = Preview::new();
    let start = preview.start(1, "backend");
    let starts: Vec<_> = (0..8)
        .map(|_| {
            let start = start.clone();
            std::thread::spawn(move || said(start.run().accepted()))
        })
        .collect();
    let all: Vec<Value> = starts.into_iter().map(|start| start.join().unwrap()).collect();
    let first = process(&all[0]);
    assert!(all.iter().all(|said| process(said) == first), "{all:#?}");
    let started = all.iter().filter(|said| said["outcome"] == "started").count();
    assert_eq!(started, 1);
    // And stops at once with starts leave one state or the other, never both.
    let verbs = ["stop", "restart", "stop", "restart"].map(|verb| preview.backend(verb, 1, &[]));
    let running = verbs.map(|verb| std::thread::spawn(move || verb.run().accepted().status));
    for verb in running {
        assert_eq!(verb.join().unwrap(), Some(0));
    }
    preview.stopped(1);
    assert_eq!(wait_for_end(&[first]), []);
}

#[test]
fn a_start_that_runs_something_else_is_refused() {
    let preview = Preview::new();
    let running = preview.started(1);
    preview.start(1, "hangs").run().denied(Code::BackendDiffers);
    preview.backend("start", 1, &["--program", "backend"]).run().denied(Code::BackendDiffers);
    assert!(running.is_running());
    // What is wrong is found before anything stops.
    let worktree = preview.place().text("previews/gone");
    preview.backend("restart", 1, &["--worktree", &worktree]).run().denied(Code::PathMissing);
    preview.backend("restart", 1, &["--worktree", "/etc"]).run().denied(Code::PathOutsideRoot);
    preview.backend("restart", 1, &["--program", "gone"]).run().denied(Code::ProgramKey);
    assert!(running.is_running());
}

#[test]
fn a_crash_is_said_with_its_cause_and_blocks_nothing() {
    let preview = Preview::new();
    let outcome = preview.start(1, "crashes").run();
    let denied = outcome.denied(Code::BackendEnded);
    assert_eq!((&denied["state"], &denied["last_exit"]["code"]), (&json!("failed"), &json!(3)));
    let log = denied["log"].as_array().unwrap();
    assert_eq!(log.last().unwrap(), "cannot go on", "{denied}");
    preview.backend("status", 1, &[]).run().denied(Code::BackendEnded);
    preview.started(1);
    let killed = preview.started(1);
    kill_process(Pid::from_raw(killed.pid).unwrap(), Signal::KILL).unwrap();
    assert_eq!(wait_for_end(std::slice::from_ref(&killed)), []);
    let denied = until_settled(&preview, 1);
    assert_eq!((&denied["state"], &denied["last_exit"]["signal"]), (&json!("failed"), &json!(9)));
    preview.started(1);
}

/// Asks for the status until the keeper has noted the end.
fn until_settled(preview: &Preview, slot: u8) -> Value {
    for _ in 0..600 {
        let outcome = preview.backend("status", slot, &[]).run();
        let said = said(&outcome);
        if said["state"] != "stopping" && said["state"] != "running" {
            return said;
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    panic!("the end is never noted");
}

#[test]
fn a_backend_that_hangs_is_not_healthy_and_can_be_stopped() {
    let preview = Preview::new();
    preview.configure("");
    let text = std::fs::read_to_string(preview.place().config()).unwrap();
    preview.place().write(
        "slotguard.toml",
        0o600,
        &text.replace("ready_timeout_s = 20", "ready_timeout_s = 1"),
    );
    let outcome = preview.start(1, "hangs").run();
    let denied = outcome.denied(Code::BackendNotListening);
    // It is left for a look at it, and a stop ends it.
    let process = process(&denied);
    assert!(process.is_running());
    assert_eq!(preview.stopped(1)["outcome"], "stopped");
    assert_eq!(wait_for_end(&[process]), []);
}

/// Returns the processes that left the session of their backend.
fn escaped(preview: &Preview) -> Vec<Process> {
    let path = preview.place().path("previews/feature/escaped");
    for _ in 0..600 {
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        let pids: Vec<i32> = text.lines().filter_map(|line| line.parse().ok()).collect();
        if pids.len() == 2 {
            return pids.into_iter().map(|pid| Process::look(pid).unwrap()).collect();
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    panic!("nothing has escaped");
}

#[test]
fn a_stop_ends_what_forked_twice_and_ignores_sigterm() {
    let preview = Preview::new();
    let started = said(preview.start(1, "escapes").and(&["--no-wait"]).run().accepted());
    let mut all = vec![process(&started)];
    all.extend(escaped(&preview));
    assert!(all.iter().all(Process::is_running), "{all:?}");
    let stopped = preview.stopped(1);
    assert_eq!(stopped["last_exit"]["signal"], 9, "{stopped}");
    // Nothing is waited for here: the stop has shown that they are gone.
    assert!(!all.iter().any(Process::is_running), "{all:?}");
}

#[test]
fn what_a_killed_keeper_leaves_is_found_and_ended() {
    let preview = Preview::new();
    preview.start(1, "escapes").and(&["--no-wait"]).run().accepted();
    let escaped = escaped(&preview);
    let keeper = preview.run(1)["keeper"]["pid"].as_i64().unwrap();
    kill_process(Pid::from_raw(i32::try_from(keeper).unwrap()).unwrap(), Signal::KILL).unwrap();
    let status = preview.backend("status", 1, &[]).run();
    let denied = status.denied(Code::BackendEnded);
    assert_eq!(denied["last_exit"]["cause"], "keeper-lost", "{denied}");
    assert!(escaped.iter().all(Process::is_running), "{escaped:?}");
    // A start clears first, so that two backends never run at once.
    std::fs::remove_file(preview.place().path("previews/feature/escaped")).unwrap();
    preview.started(1);
    assert!(!escaped.iter().any(Process::is_running), "{escaped:?}");

    let backend = process(&said(preview.backend("status", 1, &[]).run().accepted()));
    let keeper = preview.run(1)["keeper"]["pid"].as_i64().unwrap();
    kill_process(Pid::from_raw(i32::try_from(keeper).unwrap()).unwrap(), Signal::KILL).unwrap();
    assert_eq!(wait_for_end(&[backend]), []);
    preview.stopped(1);
}

#[test]
fn a_recycled_id_is_nobody_of_the_slot() {
    let preview = Preview::new();
    preview.started(1);
    let noted = preview.run(1);
    preview.stopped(1);
    // An innocent process with the id that the keeper had.
    let mut innocent = Run::at(Path::new("/bin/sleep"), &["1000"]).start();
    let looked = Process::look(i32::try_from(innocent.id()).unwrap()).unwrap();
    let mut changed = noted.clone();
    changed["keeper"]["pid"] = json!(innocent.id());
    changed["backend"]["pid"] = json!(innocent.id());
    preview.write_run(1, &changed);
    preview.stopped(1);
    preview.started(1);
    preview.stopped(1);
    assert!(looked.is_running());
    // After a reboot the notes mean nothing, even where id and start time fit.
    let own = Process::look(i32::try_from(std::process::id()).unwrap()).unwrap();
    changed["keeper"] = json!({"pid": own.pid, "start": own.start()});
    changed["boot"] = json!("another");
    preview.write_run(1, &changed);
    let status = said(preview.backend("status", 1, &[]).run().accepted());
    assert_eq!(status["state"], "stopped");
    preview.stopped(1);
    innocent.kill().unwrap();
    innocent.wait().unwrap();
}

#[test]
fn a_foreign_listener_is_told_from_the_slot_s_own() {
    let preview = Preview::new();
    let listener = ports::listen(8101).unwrap();
    preview.start(1, "backend").run().denied(Code::PortForeign);
    let health = preview.backend("health", 1, &[]).run();
    let denied = health.denied(Code::PortForeign);
    assert_eq!(denied["health"]["foreign_pid"], std::process::id());
    preview.backend("stop", 1, &[]).run().denied(Code::BackendLeft);
    assert!(!preview.place().path("state/records").exists(), "nothing was begun");
    drop(listener);
    preview.started(1);
}

#[test]
fn a_log_is_bounded_however_much_is_said() {
    let preview = Preview::new();
    preview.start(1, "talks").and(&["--no-wait"]).run().accepted();
    let directory = preview.place().path("state/run/preview-1");
    for _ in 0..600 {
        let end = std::fs::read_to_string(directory.join("backend.log")).unwrap_or_default();
        if end.ends_with("said\n") {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    let mut files = 0;
    for entry in std::fs::read_dir(&directory).unwrap().flatten() {
        let name = entry.file_name().into_string().unwrap();
        if name.starts_with("backend.log") {
            files += 1;
            let metadata = entry.metadata().unwrap();
            assert!(metadata.len() <= 4 * 1024 * 1024, "{name}");
            assert_eq!(metadata.permissions().mode() & 0o777, 0o640, "{name}");
        }
    }
    assert_eq!(files, 4);
    let status = said(preview.backend("status", 1, &[]).run().accepted());
    assert_eq!(status["log"].as_array().unwrap().last().unwrap(), "said");
}

#[test]
fn se_1_a_refusal_of_the_wrapper_arrives_as_it_was_said() {
    let preview = Preview::new();
    preview.started(1);
    preview.stopped(1);
    let record = preview.place().path("state/records/preview-1.json");
    std::fs::set_permissions(&record, std::fs::Permissions::from_mode(0o666)).unwrap();
    preview.backend("start", 1, &[]).run().denied(Code::RecordUnsafe);
    std::fs::set_permissions(&record, std::fs::Permissions::from_mode(0o644)).unwrap();
    preview.backend("start", 1, &[]).run().accepted();
    preview.stopped(1);
    // The database is asked before anything starts.
    preview.server.sql("postgres", "ALTER ROLE slot_1 CREATEDB");
    preview.backend("start", 1, &[]).run().denied(Code::LiveRights);
    preview.server.sql("postgres", "ALTER ROLE slot_1 NOCREATEDB");
    // Only who runs the program finds out that it does not run.
    preview.place().write_program("bin/sample-backend", "no interpreter line\n");
    preview.backend("start", 1, &[]).run().denied(Code::ProgramNotRunnable);
}

#[test]
fn lc_10_a_slot_is_freed_only_after_its_backend_has_stopped() {
    let preview = Preview::new();
    let slot = |verb: &str, more: &[&str]| {
        let config = preview.place().config();
        let front = ["slot", verb, "--config", &config, "--slot", "preview-1"];
        Run::new("slotguard", &[&front, more].concat())
    };
    let claim =
        || said(slot("claim", &["--owner", "test"]).run().accepted())["generation"].to_string();
    let first = claim();
    preview.start(1, "backend").run().denied(Code::LeaseHeld);
    let wrong = preview.start(1, "backend").and(&["--lease", "99"]).run();
    wrong.denied(Code::LeaseGeneration);
    let started = preview.start(1, "backend").and(&["--lease", &first]).run();
    let started = said(started.accepted());
    assert_eq!(started["record"]["lease_generation"].to_string(), first);
    let running = process(&started);
    for verb in ["stop", "restart"] {
        preview.backend(verb, 1, &[]).run().denied(Code::LeaseHeld);
    }
    assert!(running.is_running());
    slot("release", &["--lease", &first]).run().accepted();
    assert!(!running.is_running());

    // What the former holder ran comes back neither by its record nor by its generation.
    preview.backend("start", 1, &["--lease", &first]).run().denied(Code::LeaseGeneration);
    let second = claim();
    preview.backend("start", 1, &["--lease", &second]).run().denied(Code::LeaseGeneration);
    preview.start(1, "backend").and(&["--lease", &second]).run().accepted();
    preview.backend("restart", 1, &["--lease", &second]).run().accepted();
    slot("release", &["--lease", &second]).run().accepted();
}
