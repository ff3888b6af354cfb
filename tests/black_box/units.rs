//! The installed units in a real systemd: what they refuse, what runs and as whom, what is freed.

#![expect(clippy::unwrap_used, reason = "helpers of tests, outside of what the lint takes for one")]

use std::collections::BTreeMap;
use std::path::Path;

use crate::support::place::Place;
use crate::support::programs;
use crate::support::run::{Run, say};

/// Why this host cannot boot a systemd of its own.
fn unable() -> Option<&'static str> {
    let mounts = std::fs::read_to_string("/proc/mounts").unwrap();
    if !rustix::process::geteuid().is_root() {
        Some("only root makes namespaces")
    } else if !Path::new("/lib/systemd/systemd").is_file() {
        Some("there is no systemd")
    } else if !mounts.lines().any(|line| line.split(' ').nth(2) == Some("cgroup2")) {
        Some("there are no control groups of version 2")
    } else {
        None
    }
}

/// Boots, does the job and returns what it said, by name.
fn done_inside(job: &str) -> Option<BTreeMap<String, String>> {
    if let Some(why) = unable() {
        say(&format!("SKIPPED: no systemd of its own, since {why}"));
        return None;
    }
    let place = Place::new();
    place.write("box/job", 0o644, job);
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/units/boot_once.sh");
    let programs = programs::program("slotguard").parent().unwrap().to_str().unwrap().to_owned();
    programs::program("runtime-wrapper");
    let args = ["-s", "KILL", "120", "/bin/sh", script, &place.text("box"), &programs];
    let path = "/usr/sbin:/usr/bin:/sbin:/bin";
    let outcome = Run::at(Path::new("/usr/bin/timeout"), &args).with("PATH", path).run();
    let said = std::fs::read_to_string(place.path("box/said")).unwrap_or_default();
    assert!(said.contains("end.reached=yes"), "{outcome:?}\n{said}");
    let pairs = said.lines().filter_map(|line| line.split_once('='));
    Some(pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
}

#[test]
fn the_installed_units_refuse_run_and_free_as_they_say() {
    let Some(said) = done_inside(include_str!("../units/job.sh")) else { return };
    let expect = |pairs: &[(&str, &str)]| {
        for (name, value) in pairs {
            assert_eq!(said.get(*name).map(String::as_str), Some(*value), "{name}: {said:#?}");
        }
    };
    // What is no slot here, and what nothing was assigned to, is refused before it starts.
    for case in ["unknown", "path", "unassigned"] {
        expect(&[
            (&format!("{case}.AssertResult"), "no"),
            (&format!("{case}.ActiveState"), "inactive"),
            (&format!("{case}.NRestarts"), "0"),
        ]);
    }
    expect(&[
        ("refused.AssertResult", "yes"),
        ("refused.ActiveState", "failed"),
        ("refused.Result", "exit-code"),
        ("refused.NRestarts", "0"),
    ]);
    let refused: u8 = said["refused.ExecMainStatus"].parse().unwrap();
    assert!((64..=78).contains(&refused), "{said:#?}");

    expect(&[
        ("running.ActiveState", "active"),
        ("running.NRestarts", "0"),
        ("running.user", "slot-preview-1"),
        ("running.command", "/bin/sleep 600 "),
        ("running.core", "00"),
        ("slice.MemoryMax", "1073741824"),
        ("slice.TasksMax", "256"),
        ("crashed.ActiveState", "active"),
        ("crashed.NRestarts", "1"),
        ("stopped.ActiveState", "inactive"),
        ("stopped.Result", "success"),
        ("reaper.Result", "success"),
        ("reaper.ExecMainStatus", "0"),
        ("reaped.\"standing\"", "\"unclaimed\""),
        ("timer.ActiveState", "active"),
    ]);
    assert!(said["running.group"].contains("/slotguard-preview-1.slice/"), "{said:#?}");
}
