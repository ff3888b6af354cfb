//! DG-7: what a run leaves behind, however it ends.

#![expect(clippy::unwrap_used, reason = "helpers of tests, outside of what the lint takes for one")]

use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::{Duration, Instant};

use guard::diagnostic::Code;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::support::hold::Hold;
use crate::support::place::Place;
use crate::support::run::{Outcome, SECRET, assert_whole};
use crate::support::schema;
use crate::support::server::{EMPTY, Server, password};

/// The advisory lock of a run, as the program takes it.
const LOCK: &str = "SELECT pg_advisory_lock(8317145157589098866)";

const SLOW: &str = "CREATE TABLE b ();\nSELECT count(*) FROM generate_series(1, 30000000000);";

/// A server whose configuration has an artifact root.
fn keeping() -> Server {
    let server = Server::new();
    server.place.keep_artifacts(&server.place.text("artifacts"));
    server
}

fn write(server: &Server, files: &[(&str, &str)]) -> String {
    for (name, text) in files {
        server.place.write(&format!("previews/x/migrations/{name}"), 0o644, text);
    }
    server.place.text("previews/x/migrations")
}

/// The artifacts of a slot or the seed, oldest first.
fn artifacts(place: &Place, of: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(place.path(&format!("artifacts/{of}")));
    let Ok(entries) = entries else {
        return Vec::new();
    };
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort_unstable();
    paths
}

/// Reads one file of an artifact, of which each line is an object of ours and holds no secret.
fn read(artifact: &Path, name: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(artifact.join(name)).unwrap();
    assert!(!text.contains(SECRET), "a secret is in {name}: {text}");
    schema::check_lines(&text);
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The kinds of events, but for the lease that every act on a slot says first.
fn events(artifact: &Path) -> Vec<String> {
    let named = |event: &Value| {
        let what = event["event"].as_str().or(event["schema"].as_str()).unwrap();
        what.to_owned()
    };
    let events = read(artifact, "events.jsonl");
    events.iter().map(named).filter(|event| event != "lease.admitted").collect()
}

/// The one artifact of a slot's run; what it ended with is what was said, and names it.
#[track_caller]
fn only(server: &Server, outcome: &Outcome) -> (PathBuf, Value) {
    let all = artifacts(&server.place, "preview-1");
    let [artifact] = &all[..] else { panic!("one artifact: {all:?}") };
    let report = read(artifact, "report.json").pop().unwrap();
    assert_eq!(report["artifact"], artifact.to_str().unwrap());
    if outcome.stdout.starts_with('{') {
        assert_eq!(outcome.objects().last(), Some(&report));
    }
    (artifact.clone(), report)
}

#[test]
fn dg_7_a_run_leaves_its_events_and_its_report_in_either_format() {
    for format in ["json", "human"] {
        let server = keeping();
        let migrations = write(&server, &[("V1__a.sql", "CREATE TABLE a ();")]);
        let outcome = server.migrate("apply", 1, &migrations).format(format).run();
        let (artifact, report) = only(&server, outcome.accepted());
        assert_eq!(events(&artifact), ["migration.started", "migration.applied"]);
        let name = artifact.file_name().unwrap().to_str().unwrap();
        assert!(name.contains("Z-apply-"), "{name}");
        assert_eq!(report["schema"], "slotguard.migration-run/1");
        assert_eq!(report["applied"], serde_json::json!([1]));
        assert!(outcome.said().contains(artifact.to_str().unwrap()), "{outcome:?}");
    }
}

#[test]
fn without_a_root_nothing_is_written_and_the_report_says_so() {
    let server = Server::new();
    let migrations = write(&server, &[("V1__a.sql", "CREATE TABLE a ();")]);
    let outcome = server.migrate("apply", 1, &migrations).format("json").run();
    let report = outcome.accepted().objects().pop().unwrap();
    assert_eq!(report.get("artifact"), Some(&Value::Null));
    assert!(!server.place.path("artifacts").exists());
    // A plan leaves nothing behind, and says nothing of it.
    server.place.keep_artifacts(&server.place.text("artifacts"));
    let outcome = server.migrate("plan", 1, &migrations).format("json").run();
    assert_eq!(outcome.accepted().objects()[0].get("artifact"), None);
    assert!(!server.place.path("artifacts").exists());
}

#[test]
fn a_refusal_before_connecting_is_left_behind_with_its_findings() {
    let server = keeping();
    let migrations = write(&server, &[("V1__a.sql", "CREATE DATABASE other;")]);
    let outcome = server.migrate("apply", 1, &migrations).format("json").run();
    outcome.denied(Code::ReachesDatabases);
    let (artifact, report) = only(&server, &outcome);
    assert_eq!(events(&artifact), ["slotguard.lint/1"]);
    assert_eq!(report["code"], Code::ReachesDatabases.id());
}

#[test]
fn a_foreign_target_is_left_behind_without_its_password() {
    let server = keeping();
    let migrations = write(&server, &[("V1__a.sql", "CREATE TABLE a ();")]);
    let url = server.url(1, "app_preview_2").replace('@', &format!(":{}@", password(1)));
    let run = server.migrate("apply", 1, &migrations).format("json");
    let outcome = run.with("DATABASE_URL", &url).run();
    outcome.denied(Code::OtherSlotsDatabase);
    only(&server, &outcome);
}

#[test]
fn what_the_server_refuses_is_left_behind() {
    let server = keeping();
    let migrations = write(&server, &[("V1__a.sql", "CREATE TABLE a ();\nSELECT 1/0;")]);
    let url = server.url(1, "app_preview_1").replace('@', &format!(":{}@", password(1)));
    let run = server.migrate("apply", 1, &migrations).format("json");
    let outcome = run.with("DATABASE_URL", &url).run();
    outcome.denied(Code::MigrationFailed);
    let (artifact, report) = only(&server, &outcome);
    assert_eq!(events(&artifact), ["migration.started", "migration.failed"]);
    assert!(report["found"].as_str().unwrap().contains("22012"), "{report}");
}

/// Starts a run whose second migration takes long, and waits until it is there.
fn slow_run(server: &Server) -> Child {
    let migrations = write(server, &[("V1__a.sql", "CREATE TABLE a ();"), ("V2__b.sql", SLOW)]);
    let child = server.migrate("apply", 1, &migrations).format("json").start();
    let runs = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%generate_series%' \
                AND usename = 'slot_1'";
    wait_until("the migration runs", || server.sql("postgres", runs).trim() == "1");
    child
}

fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let since = Instant::now();
    while !is_so() {
        assert!(since.elapsed() < Duration::from_secs(20), "never true: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}

#[test]
fn an_interrupted_run_leaves_its_report() {
    let server = keeping();
    let child = slow_run(&server);
    signal(&child, Signal::TERM);
    assert_eq!(child.wait_with_output().unwrap().status.code(), Some(75));
    let artifact = artifacts(&server.place, "preview-1").pop().unwrap();
    let said = ["migration.started", "migration.applied", "migration.started", "migration.failed"];
    assert_eq!(events(&artifact), said);
    assert_eq!(read(&artifact, "report.json")[0]["code"], Code::RunInterrupted.id());
}

#[test]
fn a_killed_run_leaves_what_it_had_said() {
    let server = keeping();
    let mut child = slow_run(&server);
    signal(&child, Signal::KILL);
    child.wait().unwrap();
    let artifact = artifacts(&server.place, "preview-1").pop().unwrap();
    let said = ["migration.started", "migration.applied", "migration.started"];
    assert_eq!(events(&artifact), said);
    assert!(!artifact.join("report.json").exists());
}

/// Root may write everywhere, so what stands in the way is no matter of modes.
#[test]
fn se_3_an_artifact_that_cannot_be_written_stops_the_run_before_it_begins() {
    let server = Server::new();
    let migrations = write(&server, &[("V1__a.sql", "CREATE TABLE a ();")]);
    let plain = std::fs::read_to_string(server.place.config()).unwrap();
    server.place.write("file", 0o644, "");
    std::fs::create_dir_all(server.place.path("linked")).unwrap();
    let link = server.place.path("linked/preview-1");
    std::os::unix::fs::symlink(server.place.path("empty"), link).unwrap();
    for root in [&server.place.text("file")[..], "/proc/slotguard", &server.place.text("linked")] {
        server.place.write("slotguard.toml", 0o600, &plain);
        server.place.keep_artifacts(root);
        let run = server.migrate("apply", 1, &migrations).format("json").run();
        run.denied(Code::ArtifactNotWritable);
        assert_eq!(server.tables("app_preview_1"), EMPTY, "{root}");
        server.reset(1).format("json").run().denied(Code::ArtifactNotWritable);
    }
    assert_eq!(std::fs::read_dir(server.place.path("empty")).unwrap().count(), 0);
    // The neighbour: another slot beneath the same root, where no link is.
    let outcome = server.migrate("apply", 2, &migrations).format("json").run();
    outcome.accepted();
}

#[test]
fn an_artifact_that_goes_away_does_not_stop_the_run() {
    let shown = ["human", "json"].map(|format| {
        let server = keeping();
        let migrations = write(&server, &[("V1__a.sql", "CREATE TABLE a ();")]);
        let run = server.migrate("apply", 1, &migrations).format(format);
        let holder = Hold { slot: Some(1), database: "app_preview_1", statements: LOCK };
        let outcome = holder.during(&server, |pid| {
            run.run_while(|_| {
                wait_until("the run waits", || {
                    let all = artifacts(&server.place, "preview-1");
                    let said =
                        all.first().map(|at| std::fs::read_to_string(at.join("events.jsonl")));
                    said.is_some_and(|said| said.is_ok_and(|said| said.contains("run.waiting")))
                });
                std::fs::remove_dir_all(server.place.path("artifacts")).unwrap();
                server.sql("postgres", &format!("SELECT pg_terminate_backend({pid})"));
            })
        });
        assert_eq!(outcome.status, Some(0), "{outcome:?}");
        assert!(outcome.said().contains(Code::ArtifactIncomplete.id()), "{outcome:?}");
        assert_eq!(server.versions("app_preview_1"), "1");
        outcome.snapshot(&server.redactor())
    });
    assert_whole(Code::ArtifactIncomplete.id(), &shown.join("\n"));
}

#[test]
fn a_signal_before_the_server_answers_is_left_behind() {
    let place = Place::new();
    let migrations = place.copy_migrations(&fixtures::migrations("fails-midway"), "x");
    // It accepts, and never says a word.
    let listener = crate::support::ports::listen(0).unwrap();
    let port = listener.local_addr().unwrap().port();
    place.configure(&format!("[database]\nendpoints = [\"127.0.0.1:{port}\"]\n"));
    place.keep_artifacts(&place.text("artifacts"));
    let url = format!("postgresql://slot_1@127.0.0.1:{port}/app_preview_1");
    let args = ["--slot", "preview-1", "--migrations", &migrations];
    let run = place.migrate("apply", &args).with("DATABASE_URL", &url).format("json");
    let mut held = None;
    let outcome = run.run_while(|running| {
        let accepted = listener.accept().unwrap();
        running.signal(Signal::TERM);
        held = Some(accepted);
    });
    drop(held);
    outcome.denied(Code::RunInterrupted);
    let artifact = artifacts(&place, "preview-1").pop().unwrap();
    assert_eq!(read(&artifact, "report.json")[0]["code"], Code::RunInterrupted.id());
}

#[test]
fn a_reset_a_seed_and_an_adoption_leave_their_reports() {
    let server = keeping();
    let migrations = write(&server, &[("V1__a.sql", "CREATE TABLE a ();")]);
    let seed = server.seed(&migrations, &[]).format("json").run();
    let reset = server.reset(1).format("json").run();
    let adopt = server.administer("adopt", &["--slot", "preview-2", "--yes"]).format("json").run();
    for (place, outcome, step, schema) in [
        ("seed", &seed, "Z-build-", "slotguard.seed/1"),
        ("preview-1", &reset, "Z-reset-", "slotguard.reset/1"),
        ("preview-2", &adopt, "Z-adopt-", "slotguard.provision/1"),
    ] {
        assert_eq!(outcome.status, Some(0), "{outcome:?}");
        let artifact = artifacts(&server.place, place).pop().unwrap();
        assert!(artifact.to_str().unwrap().contains(step), "{artifact:?}");
        let report = read(&artifact, "report.json").pop().unwrap();
        assert_eq!((&report["schema"], Some(&report)), (&schema.into(), outcome.objects().last()));
    }
    let artifact = artifacts(&server.place, "preview-1").pop().unwrap();
    assert_eq!(events(&artifact), ["reset.copying", "reset.copied", "reset.exchanged"]);
}
