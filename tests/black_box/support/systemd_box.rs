//! A real systemd as process 1 of namespaces of its own, gone when dropped.
//!
//! The network is the host's, so that the tests' servers can be reached.

#![expect(clippy::unwrap_used, reason = "helpers of tests, outside of what the lint takes for one")]

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::Duration;

use super::place::Place;
use super::processes::{self, Process, wait_for_end};
use super::programs;
use super::run::{Outcome, Run, say};

const SYSTEMD: &str = "/lib/systemd/systemd";
const NSENTER: &str = "/usr/bin/nsenter";
const SYSTEMCTL: &str = "/usr/bin/systemctl";

const TARGET: &str = "[Unit]\nDescription=a box\nDefaultDependencies=no\n\
                      Wants=systemd-journald.socket systemd-journald.service";

const TRIES: u32 = 400;

/// A running systemd with the units of a place.
pub(crate) struct SystemdBox {
    child: Child,
    manager: Process,
    group: PathBuf,
}

impl SystemdBox {
    /// Boots a manager with these units, some of which it starts; `None`, said loudly, where this
    /// host does not allow it.
    pub(crate) fn boot(place: &Place, units: &[(&str, String)], wants: &[&str]) -> Option<Self> {
        if let Some(why) = unable() {
            say(&format!("SKIPPED: no systemd of its own, since {why}"));
            return None;
        }
        for (name, text) in units {
            place.write(&format!("units/{name}"), 0o644, text);
        }
        let target = format!("{TARGET} {}\n", wants.join(" "));
        place.write("units/box.target", 0o644, &target);
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/boot-systemd.sh");
        let programs =
            programs::program("slotguard").parent().unwrap().to_str().unwrap().to_owned();
        let args = [script, &place.text(""), &programs];
        let path = "/usr/sbin:/usr/bin:/sbin:/bin";
        let mut child = Run::at(Path::new("/bin/sh"), &args).with("PATH", path).start();
        let mut first = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut first).unwrap();
        let mut booting = Booting { child: Some(child), group: PathBuf::from(first.trim_end()) };
        let manager = booting.manager();
        let group = std::mem::take(&mut booting.group);
        let booted = Self { child: booting.child.take().unwrap(), manager, group };
        booted.wait_until_up();
        Some(booted)
    }

    fn wait_until_up(&self) {
        for _ in 0..TRIES {
            let state = self.run(SYSTEMCTL, &["is-system-running"]).run().stdout;
            if ["running", "degraded"].contains(&state.trim_end()) {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("the manager does not come up");
    }

    /// Prepares a program that runs inside.
    pub(crate) fn run(&self, program: &str, args: &[&str]) -> Run {
        let pid = self.manager.pid.to_string();
        let front = ["--target", &pid, "--all", "--", program];
        Run::at(Path::new(NSENTER), &[&front, args].concat())
    }

    /// Prepares a run of one of our programs inside.
    pub(crate) fn inside(&self, run: Run) -> Run {
        let pid = self.manager.pid.to_string();
        run.behind(Path::new(NSENTER), &["--target", &pid, "--all", "--"])
    }

    /// Runs `systemctl` inside.
    pub(crate) fn systemctl(&self, args: &[&str]) -> Outcome {
        self.run(SYSTEMCTL, args).run()
    }

    /// Returns a property of a unit.
    #[track_caller]
    pub(crate) fn property(&self, unit: &str, name: &str) -> String {
        let outcome = self.systemctl(&["show", "--value", "--property", name, unit]);
        assert_eq!(outcome.status, Some(0), "{outcome:?}");
        outcome.stdout.trim_end().to_owned()
    }

    /// Waits until a property of a unit has a value.
    #[track_caller]
    pub(crate) fn wait_for(&self, unit: &str, name: &str, value: &str) {
        for _ in 0..TRIES {
            if self.property(unit, name) == value {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("{name} of {unit} is never {value}: {}", self.property(unit, name));
    }
}

impl Drop for SystemdBox {
    fn drop(&mut self) {
        end(&mut self.child, &self.group);
    }
}

/// A box on its way up, which is ended if it does not get there.
struct Booting {
    child: Option<Child>,
    group: PathBuf,
}

impl Booting {
    fn manager(&self) -> Process {
        let pid = i32::try_from(self.child.as_ref().unwrap().id()).unwrap();
        for _ in 0..TRIES {
            let below = processes::descendants(pid).into_iter();
            if let Some(manager) = below.into_iter().find(|process| process.name == "systemd") {
                return manager;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("no manager starts");
    }
}

impl Drop for Booting {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            end(child, &self.group);
        }
    }
}

/// Ends the namespaces, everything in them, and the control groups that they made.
fn end(child: &mut Child, group: &Path) {
    let all = processes::descendants(i32::try_from(child.id()).unwrap_or_default());
    let _ = child.kill();
    let _ = child.wait();
    wait_for_end(&all);
    remove_groups(group);
}

fn remove_groups(group: &Path) {
    for entry in std::fs::read_dir(group).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_groups(&entry.path());
        }
    }
    for _ in 0..TRIES {
        match std::fs::remove_dir(group) {
            // The last process is on its way out.
            Err(error) if error.kind() == std::io::ErrorKind::ResourceBusy => {
                std::thread::sleep(Duration::from_millis(20));
            }
            _ => return,
        }
    }
}

fn unable() -> Option<&'static str> {
    if !rustix::process::geteuid().is_root() {
        return Some("the tests do not run as root");
    }
    if ![SYSTEMD, NSENTER, SYSTEMCTL].iter().all(|path| Path::new(path).is_file()) {
        return Some("systemd or nsenter is not installed");
    }
    let mounts = std::fs::read_to_string("/proc/mounts").unwrap_or_default();
    if !mounts.lines().any(|line| line.split(' ').nth(2) == Some("cgroup2")) {
        return Some("no control groups of version 2 are mounted");
    }
    let probe = ["--fork", "--pid", "--mount", "--cgroup", "/bin/true"];
    let probe = Run::at(Path::new("/usr/bin/unshare"), &probe).run();
    (probe.status != Some(0)).then_some("namespaces cannot be made")
}
