//! The demo from outside: its words, and that it leaves nothing behind however it ends.

#![expect(clippy::unwrap_used, reason = "helpers of tests, outside of what the lint takes for one")]

use std::io::{BufRead as _, BufReader};
use std::process::Child;

use guard::diagnostic::Code;
use rustix::process::{Pid, Signal, kill_process};
use step_report::exit::ExitStatus;

use crate::support::place::Place;
use crate::support::ports;
use crate::support::processes::{Process, descendants, wait_for_end};
use crate::support::run::{Outcome, Run, assert_whole};

fn demo(place: &Place, format: &str) -> Run {
    let sample = fixtures::sample_app();
    std::fs::create_dir_all(place.path("tmp")).unwrap();
    Run::new("slotguard", &["demo", "--sample", sample.to_str().unwrap()])
        .with("TMPDIR", &place.text("tmp"))
        .with("PATH", "/usr/local/bin:/usr/bin:/bin")
        .format(format)
}

/// Reads the port of the demo's server from what it said.
fn server_port(outcome: &Outcome) -> u16 {
    let (_, rest) = outcome.stdout.split_once("PostgreSQL").unwrap();
    let (_, rest) = rest.split_once("127.0.0.1:").unwrap();
    rest.split(|c: char| !c.is_ascii_digit()).next().unwrap().parse().unwrap()
}

fn leaves_no_files(place: &Place) {
    let left: Vec<_> = std::fs::read_dir(place.path("tmp")).unwrap().flatten().collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn people_read_a_story_and_nothing_is_left() {
    let _ports = ports::reserve();
    let place = Place::new();
    let outcome = demo(&place, "human").run();
    assert_eq!((outcome.status, outcome.stderr.as_str()), (Some(0), ""), "{outcome:#?}");
    let pids: Vec<i32> = outcome
        .stdout
        .split("(pid ")
        .skip(1)
        .map(|rest| rest.split(',').next().unwrap().parse().unwrap())
        .collect();
    assert_eq!(pids.len(), 3, "three backends");
    for pid in pids {
        let running = Process::look(pid).filter(|process| process.name == "sample-backend");
        assert_eq!(running, None);
    }
    leaves_no_files(&place);
    let redactor =
        place.redactor().path(&fixtures::sample_app(), "<sample>").port(server_port(&outcome));
    assert_whole("demo", &outcome.snapshot(&redactor));
}

#[test]
fn programs_read_one_object_a_line() {
    let _ports = ports::reserve();
    let place = Place::new();
    let outcome = demo(&place, "json").run();
    assert_eq!((outcome.status, outcome.stderr.as_str()), (Some(0), ""), "{outcome:#?}");
    let objects = outcome.objects();
    assert!(objects.iter().all(|object| object["schema"] == "slotguard.demo/1"), "{objects:#?}");
    let refusals = objects.iter().filter(|object| object["exit"].as_i64().is_some_and(|e| e > 0));
    let codes: Vec<&str> = refusals
        .map(|step| {
            let output = step["output"].as_array().unwrap();
            output.iter().find_map(|object| object["code"].as_str()).unwrap()
        })
        .collect();
    assert_eq!(
        codes,
        ["SG2102", "SG2103", "SG2011", "SG3002", "SG2104", "SG1003", "SG1002", "SG4001"]
    );
    leaves_no_files(&place);
}

/// Starts the demo and reads on until all backends run.
fn started(place: &Place) -> (Child, impl Iterator<Item = String> + use<>, Vec<Process>) {
    let mut child = demo(place, "human").start();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    assert!(lines.by_ref().any(|line| line.starts_with("6. ")), "the demo ended early");
    let running = descendants(i32::try_from(child.id()).unwrap());
    let count = |name: &str| running.iter().filter(|process| process.name == name).count();
    assert_eq!(count("sample-backend"), 3, "{running:#?}");
    assert!(count("postgres") > 0, "{running:#?}");
    (child, lines, running)
}

fn signal(child: &Child, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    kill_process(pid, signal).unwrap();
}

#[test]
fn a_killed_demo_leaves_no_process() {
    let _ports = ports::reserve();
    let place = Place::new();
    let (mut child, _lines, running) = started(&place);
    signal(&child, Signal::KILL);
    assert_eq!(child.wait().unwrap().code(), None, "the demo was not killed");
    let left = wait_for_end(&running);
    // Whatever is left must not disturb the next test; `left` tells them apart by start time.
    for process in &left {
        let _ = kill_process(Pid::from_raw(process.pid).unwrap(), Signal::KILL);
    }
    assert_eq!(left, []);
}

#[test]
fn an_interrupted_demo_cleans_up_and_says_so() {
    for asked in [Signal::INT, Signal::TERM] {
        let _ports = ports::reserve();
        let place = Place::new();
        let (mut child, lines, running) = started(&place);
        signal(&child, asked);
        lines.for_each(drop);
        let status = i32::from(ExitStatus::from(Code::DemoStep).number());
        assert_eq!(child.wait().unwrap().code(), Some(status));
        let said = std::io::read_to_string(child.stderr.take().unwrap()).unwrap();
        assert!(said.contains("SG7105") && said.contains("interrupted"), "{said}");
        assert_eq!(wait_for_end(&running), []);
        leaves_no_files(&place);
    }
}

#[test]
fn a_demo_without_its_sample_says_where_it_looked() {
    let outcome = Run::new("slotguard", &["demo", "--sample", "/nonexistent"]).format("json");
    let _ports = ports::reserve();
    let outcome = outcome.run();
    outcome.refused(Code::PathMissing);
}
