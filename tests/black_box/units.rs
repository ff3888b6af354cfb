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
    } else if !Path::new("/usr/bin/python3").is_file() {
        Some("there is no python3 to ask for a page")
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
    programs::program("web-surface");
    programs::program("migrate-runner");
    programs::program("pg-sidecar");
    let args = ["-s", "KILL", "120", "/bin/sh", script, &place.text("box"), &programs];
    let path = "/usr/sbin:/usr/bin:/sbin:/bin";
    let outcome = Run::at(Path::new("/usr/bin/timeout"), &args).with("PATH", path).run();
    let said = std::fs::read_to_string(place.path("box/said")).unwrap_or_default();
    assert!(said.contains("end.reached=yes"), "{outcome:?}\n{said}");
    let pairs = said.lines().filter_map(|line| line.split_once('='));
    Some(pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
}

#[test]
fn the_installed_rules_let_a_slot_reach_its_own_and_nothing_else() {
    for (needed, path) in [("nft", "/usr/sbin/nft"), ("python3", "/usr/bin/python3")] {
        if !Path::new(path).is_file() {
            return say(&format!("SKIPPED: no {needed}"));
        }
    }
    if !rustix::process::geteuid().is_root() {
        return say("SKIPPED: only root makes namespaces");
    }
    let place = Place::new();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/units/network.sh");
    let programs = programs::program("slotguard").parent().unwrap().to_str().unwrap().to_owned();
    let args = ["-s", "KILL", "60", "/bin/sh", script, &place.text("empty"), &programs];
    let path = "/usr/sbin:/usr/bin:/sbin:/bin";
    let outcome = Run::at(Path::new("/usr/bin/timeout"), &args).with("PATH", path).run();
    let expected = [
        "doctor.before=",
        "doctor.not-loaded=finding",
        "doctor.loaded=ok",
        "from-own-port=refused",
        "own-port=reached",
        "foreign-port=refused",
        "database=reached",
        "other-slot=refused",
        "elsewhere=refused",
        "other-user=reached",
        "end=reached",
    ];
    assert_eq!(outcome.stdout.lines().collect::<Vec<_>>(), expected, "{outcome:?}");
}

#[test]
fn lc_2_the_installed_units_refuse_run_and_free_as_they_say() {
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
        ("secret.ActiveState", "active"),
        ("secret.arrived", "1"),
        ("secret.shown", "0"),
        ("front.ActiveState", "active"),
        ("front.page", "<html>published</html>"),
        // Python's server does not know the method; the front knows the user.
        ("front.own", "501 "),
        ("front.foreign", "502 SG8523"),
        ("alias.AssertResult", "no"),
        ("reaper.Result", "success"),
        ("reaper.ExecMainStatus", "0"),
        ("reaped.\"standing\"", "\"unclaimed\""),
        ("reaped.page", "1"),
        ("reaped.kept", "<html>published</html>"),
        ("timer.ActiveState", "active"),
    ]);
    // The backend has pulled them in.
    let rules = if Path::new("/usr/sbin/nft").is_file() { "active" } else { "inactive" };
    expect(&[("running.rules", rules)]);
    assert!(said["running.group"].contains("/slotguard-preview-1.slice/"), "{said:#?}");
}

#[test]
fn the_unit_of_the_sidecar_refuses_serves_and_takes_its_backend_along() {
    if !Path::new("/usr/lib/postgresql").is_dir() || !Path::new("/usr/bin/psql").is_file() {
        return say("SKIPPED: no server and psql where Debian has them");
    }
    let Some(said) = done_inside(include_str!("../units/sidecar.sh")) else { return };
    for (name, value) in [
        ("provisioned.status", "0"),
        // What is no slot here, and what has no login, is refused before it starts.
        ("unknown.AssertResult", "no"),
        ("unknown.ActiveState", "inactive"),
        ("no-login.AssertResult", "no"),
        ("no-login.ActiveState", "inactive"),
        // A refusal by the server's identity does not loop.
        ("refused.AssertResult", "yes"),
        ("refused.ActiveState", "failed"),
        ("refused.Result", "exit-code"),
        ("refused.NRestarts", "0"),
        ("running.ActiveState", "active"),
        ("running.user", "slot-pg-preview-1"),
        ("running.password", "slot-pg-preview-1:slot-preview-1:640"),
        ("running.shown", "0"),
        ("backend.ActiveState", "active"),
        ("backend.answer", "slot_1"),
        ("backend.directly", "1"),
        ("slot.password", "reads"),
        ("other.password", "closed"),
        ("slot.login", "closed"),
        ("sidecar.home", "closed"),
        ("crashed.ActiveState", "active"),
        ("crashed.NRestarts", "1"),
        ("crashed.backend", "another"),
        ("crashed.answer", "slot_1"),
        ("stopped.ActiveState", "inactive"),
        ("stopped.Result", "success"),
        ("stopped.backend", "inactive"),
        ("stopped.left", "0"),
    ] {
        assert_eq!(said.get(name).map(String::as_str), Some(value), "{name}: {said:#?}");
    }
}
