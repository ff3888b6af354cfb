//! One screen over all slots: what is well, what is broken, and what changes.

#![expect(clippy::unwrap_used, reason = "helpers of tests, outside of what the lint takes for one")]

use std::path::Path;

use rustix::process::Signal;
use serde_json::Value;

use crate::support::bench::{Bench, summary};
use crate::support::place::Place;
use crate::support::ports;
use crate::support::run::{Run, assert_whole, say};

fn status(place: &Place, more: &[&str]) -> Run {
    let config = place.config();
    Run::new("slotguard", &[&["status", "--config", &config], more].concat())
        .with("WORKER_PREVIEW_WEB_ROOT_TEMPLATE", &place.text("web-preview-{slot}"))
}

fn slot<'a>(screen: &'a Value, name: &str) -> &'a Value {
    screen["slots"].as_array().unwrap().iter().find(|slot| slot["slot"] == name).unwrap()
}

fn claim(place: &Place, slot: &str) -> Value {
    let config = place.config();
    let args = ["slot", "claim", "--slot", slot, "--owner", "worker-1", "--config", &config];
    summary(&Run::new("slotguard", &args).format("json").run())
}

#[test]
fn a_published_slot_and_a_free_one() {
    let bench = Bench::new().serving();
    let place = &bench.server.place;
    bench.write(".git/HEAD", "ref: refs/heads/feature-7\n");
    let generation = claim(place, "preview-1")["generation"].to_string();
    let published = summary(&bench.publish(&["--lease", &generation]).run());
    assert_eq!(published["outcome"], "published", "{published:#}");
    let screen = summary(status(place, &[]).format("json").run().accepted());
    let own = slot(&screen, "preview-1");
    assert_eq!(
        (&own["lease"]["standing"], &own["lease"]["owner"]),
        (&"held".into(), &"worker-1".into())
    );
    assert_eq!(own["branch"], "feature-7");
    assert_eq!(
        (&own["backend"]["state"], &own["backend"]["health"]),
        (&"running".into(), &"healthy".into())
    );
    assert_eq!(own["backend"]["pid"], bench.pid());
    assert_eq!(own["frontend"]["release"], published["steps"][6]["release"]);
    assert_eq!(
        (&own["frontend"]["listening"], &own["frontend"]["free"]),
        (&true.into(), &false.into())
    );
    assert_eq!(own["database"]["identity"], "stamped");
    assert_eq!(own["last_publish"]["outcome"], "published");
    assert_eq!(own["last_publish"]["path"], published["artifact"]);

    let free = slot(&screen, "preview-2");
    assert_eq!(free["lease"]["standing"], "unclaimed");
    assert_eq!((&free["backend"]["state"], &free["branch"]), (&"stopped".into(), &Value::Null));
    assert_eq!(
        (&free["frontend"]["release"], &free["frontend"]["listening"]),
        (&Value::Null, &false.into())
    );
    assert_eq!(
        (&free["database"]["identity"], &free["last_publish"]),
        (&"stamped".into(), &Value::Null)
    );

    let human = status(place, &[]).format("human").run();
    let first = human.accepted().stdout.lines().nth(1).unwrap().to_owned();
    for part in ["worker-1 (1)", "feature-7", "healthy, pid", ", served", "stamped", "published"] {
        assert!(first.contains(part), "{part}: {first}");
    }
}

#[test]
fn a_broken_slot_says_so_and_hides_none_of_the_others() {
    let bench = Bench::new();
    let place = &bench.server.place;
    claim(place, "preview-1");
    place.write("state/leases/preview-2.json", 0o644, "{");
    bench.server.sql("postgres", "DROP DATABASE app_preview_3 WITH (FORCE)");
    place.write("web-preview-3", 0o644, "");
    std::fs::create_dir_all(place.path("state/run/preview-3")).unwrap();
    place.write("state/run/preview-3/run.json", 0o666, "{}");
    let outcome = status(place, &[]).format("json").run();
    assert_eq!(outcome.status, Some(0), "{outcome:#?}");
    let screen = summary(&outcome);
    let problem = |name: &str, part: &str| slot(&screen, name)[part]["problem"]["code"].clone();
    for part in ["lease", "backend", "frontend", "database"] {
        assert_eq!(problem("preview-1", part), Value::Null, "{part}: {screen:#}");
    }
    assert_eq!(problem("preview-2", "lease"), "SG8205");
    assert_eq!(slot(&screen, "preview-2")["lease"]["standing"], Value::Null);
    assert_eq!(slot(&screen, "preview-2")["database"]["identity"], "stamped");
    for part in ["backend", "frontend", "database"] {
        assert!(problem("preview-3", part).is_string(), "{part}: {screen:#}");
    }
    assert_eq!(slot(&screen, "preview-3")["database"]["identity"], "refused");

    bench.server.sql("postgres", "ALTER ROLE slot_1 NOLOGIN");
    let screen = summary(&status(place, &[]).format("json").run());
    assert_eq!(slot(&screen, "preview-1")["database"]["identity"], "refused");
}

#[test]
fn the_screen_of_a_host_without_anything() {
    let _ports = ports::reserve();
    let place = Place::new();
    place.configure("");
    let outcome = status(&place, &[]).format("human").run();
    assert_whole("status", &outcome.accepted().snapshot(&place.redactor()));
}

#[test]
fn a_watch_on_a_pipe_says_each_change_once() {
    let _ports = ports::reserve();
    let place = Place::new();
    place.configure("");
    let outcome =
        status(&place, &["--watch", "--interval", "1s"]).format("json").run_while(|running| {
            assert!(running.says("slotguard.status/1"));
            // Looks without a change in between say nothing.
            std::thread::sleep(std::time::Duration::from_millis(2500));
            claim(&place, "preview-2");
            assert!(running.says("worker-1"));
            running.signal(Signal::TERM);
        });
    let screens = outcome.accepted().objects();
    assert_eq!(screens.len(), 2, "{outcome:#?}");
    assert_eq!(slot(&screens[0], "preview-2")["lease"]["standing"], "unclaimed");
    assert_eq!(slot(&screens[1], "preview-2")["lease"]["owner"], "worker-1");
}

#[test]
fn a_watch_whose_reader_is_gone_ends() {
    let place = Place::new();
    place.configure("");
    let mut child = status(&place, &["--watch", "--interval", "1h"]).format("json").start();
    let mut reader = std::io::BufReader::new(child.stdout.take().unwrap());
    std::io::BufRead::read_line(&mut reader, &mut String::new()).unwrap();
    drop(reader);
    assert!(child.wait().unwrap().success());
}

#[test]
fn a_watch_on_a_terminal_draws_the_screen_anew() {
    let _ports = ports::reserve();
    let script = Path::new("/usr/bin/script");
    if !script.is_file() {
        say("SKIPPED: no /usr/bin/script");
        return;
    }
    let place = Place::new();
    place.configure("");
    let program = crate::support::programs::program("slotguard");
    let typed = format!(
        "{} status --watch --interval 1s --config {}",
        program.to_str().unwrap(),
        place.config()
    );
    let args = ["--quiet", "--return", "--flush", "--command", &typed, "/dev/null"];
    let outcome = Run::at(script, &args).with("SHELL", "/bin/sh").with("TERM", "xterm").run_while(
        |running| {
            for _ in 0..2 {
                assert!(running.says("\u{1b}[H"));
                std::thread::sleep(std::time::Duration::from_millis(1500));
            }
            // The other program passes it on.
            running.signal(Signal::TERM);
        },
    );
    let screens = outcome.stdout.matches("\u{1b}[HSLOT").count();
    assert!(screens >= 2, "{outcome:#?}");
    assert!(outcome.stdout.contains("\u{1b}[K") && outcome.stdout.contains("\u{1b}[J"));
}
