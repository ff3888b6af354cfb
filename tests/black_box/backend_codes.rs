//! The diagnostic codes of a backend's life, as a person and as a program meets them.

#![expect(clippy::unwrap_used, reason = "helpers of tests, outside of what the lint takes for one")]

use std::fs::File;

use guard::diagnostic::Code;
use rustix::fs::{FlockOperation, flock};
use serde_json::json;

use crate::diagnostics::{End, Scenario, play};
use crate::support::place::Place;
use crate::support::ports;
use crate::support::preview::{Preview, backend};
use crate::support::run::{Run, assert_whole};

/// Programs that exist everywhere; the database of this configuration is asked nothing.
const TABLES: &str = "\
[backend]
ready_timeout_s = 1
stop_timeout_s = 1
[sandbox]
require = []
[programs.backend]
path = \"/bin/cat\"
args = [\"...\"]
";

fn verb(place: &Place, verb: &str, more: &[&str]) -> Run {
    place.configure(TABLES);
    backend(place, verb, 1, more)
}

const RECORDS: &[Scenario] = &[
    (Code::RecordMissing, End::Refused, |place| verb(place, "start", &[])),
    (Code::RecordUnsafe, End::Refused, |place| {
        place.write("state/records/preview-1.json", 0o666, "{}");
        verb(place, "start", &[])
    }),
    (Code::RecordSecret, End::Refused, |place| {
        verb(place, "start", &["--", "--token=sk_live_s3cret0123456789"])
    }),
    (Code::ProgramKey, End::Refused, |place| verb(place, "start", &["--program", "backnd"])),
    (Code::KeeperFailed, End::Refused, |place| {
        std::fs::create_dir_all(place.path("state/run/preview-1/backend.log")).unwrap();
        verb(place, "start", &["--program", "backend"])
    }),
    (Code::BackendEnded, End::Refused, |place| {
        note_an_ended_run(place);
        place.write("state/run/preview-1/backend.log", 0o640, "cannot go on\n");
        verb(place, "status", &[])
    }),
];

/// Writes what a keeper notes of a run that has ended.
pub(crate) fn note_an_ended_run(place: &Place) {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    let gone = json!({"pid": i32::MAX, "start": 1});
    let time = "2026-01-02T03:04:05Z";
    let run = json!({
        "slot": "preview-1", "boot": boot.trim(), "keeper": gone, "backend": gone,
        "started_at": time, "worktree": null, "program": "backend", "args": [],
        "ended": {"at": time, "cause": "ended", "code": 3, "signal": null},
    });
    place.write("state/run/preview-1/run.json", 0o600, &run.to_string());
}

const PORTS: &[Scenario] = &[
    (Code::PortForeign, End::Refused, |place| verb(place, "health", &[])),
    (Code::BackendLeft, End::Refused, |place| verb(place, "stop", &[])),
];

const FREE_PORT: &[Scenario] =
    &[(Code::BackendNotListening, End::Refused, |place| verb(place, "health", &[]))];

/// Returns the codes that this module shows.
pub(crate) fn shown() -> Vec<Code> {
    let tables = [RECORDS, PORTS, FREE_PORT].concat();
    let mut codes: Vec<Code> = tables.iter().map(|(code, ..)| *code).collect();
    codes.extend([Code::BackendBusy, Code::BackendDiffers, Code::BackendUnhealthy]);
    codes
}

#[test]
fn records_and_notes() {
    let _ports = ports::reserve();
    play(RECORDS);
}

#[test]
fn ports_that_are_not_the_slot_s() {
    let _ports = ports::reserve();
    play(FREE_PORT);
    let listener = ports::listen(8101).unwrap();
    play(PORTS);
    drop(listener);
    let place = Place::new();
    verb(&place, "stop", &[]).run().accepted();
}

#[test]
fn a_slot_that_another_command_works_on() {
    let _ports = ports::reserve();
    let place = Place::new();
    let stop = verb(&place, "stop", &[]);
    stop.clone().run().accepted();
    let lock = File::open(place.path("state/run/preview-1/lock")).unwrap();
    flock(&lock, FlockOperation::LockExclusive).unwrap();
    let shown = ["human", "json"].map(|format| {
        let outcome = stop.clone().format(format).run();
        outcome.refused(Code::BackendBusy).snapshot(&place.redactor())
    });
    assert_whole(Code::BackendBusy.id(), &shown.join("\n"));
    backend(&place, "stop", 2, &[]).run().accepted();
    flock(&lock, FlockOperation::Unlock).unwrap();
    stop.run().accepted();
}

#[test]
fn a_running_backend() {
    let preview = Preview::new();
    preview.started(1);
    let redactor = preview.server.redactor();
    let config = std::fs::read_to_string(preview.place().config()).unwrap();
    let wrong = config.replace("/api/health", "/api/nothing");
    for (code, config, run) in [
        (Code::BackendDiffers, &config, preview.start(1, "hangs")),
        (Code::BackendUnhealthy, &wrong, preview.backend("health", 1, &[])),
    ] {
        preview.place().write("slotguard.toml", 0o600, config);
        let shown = ["human", "json"].map(|format| {
            let outcome = run.clone().format(format).run();
            outcome.refused(code).snapshot(&redactor)
        });
        assert_whole(code.id(), &shown.join("\n"));
    }
    preview.place().write("slotguard.toml", 0o600, &config);
    preview.backend("health", 1, &[]).run().accepted();
}
