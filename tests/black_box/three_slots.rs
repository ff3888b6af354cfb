//! Three slots at once, each from a worktree of its own: what happens to one is not felt by others.

#![expect(clippy::unwrap_used, reason = "helpers of tests, outside of what the lint takes for one")]

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::support::bench::{Bench, summary};
use crate::support::preview::Connection;
use crate::support::web::Client;

const SLOTS: [u8; 3] = [1, 2, 3];

/// Gives each slot a worktree with a page, a script and a migration of its own.
fn branches(bench: &Bench) {
    let place = &bench.server.place;
    for slot in SLOTS {
        let worktree = format!("branch-{slot}");
        bench.fill(&worktree);
        let at = format!("previews/{worktree}");
        place.write(&format!("{at}/frontend/index.html"), 0o644, &page(slot));
        place.write(
            &format!("{at}/migrations/V11__own.sql"),
            0o644,
            &format!("CREATE TABLE of_branch_{slot} (id int);\n"),
        );
    }
}

fn page(slot: u8) -> String {
    format!("<html>branch {slot}</html>")
}

fn publish_all(bench: &Bench) -> Vec<Value> {
    std::thread::scope(|scope| {
        let publish = |slot: u8| {
            scope.spawn(move || {
                summary(&bench.publish_into(slot, &format!("branch-{slot}"), &[]).run())
            })
        };
        let all: Vec<_> = SLOTS.into_iter().map(publish).collect();
        all.into_iter().map(|one| one.join().unwrap()).collect()
    })
}

fn ask(client: &mut Client, slot: u8, path: &str) -> (u16, String) {
    client.send(format!("GET {path} HTTP/1.1\r\nHost: preview{slot}\r\n\r\n"));
    client.answer().map_or((0, String::new()), |answer| (answer.status, answer.text()))
}

/// Asks a slot's front for its page and its backend, on one connection, until told to stop; returns
/// how often it was answered, and every answer that is not the slot's own.
fn load(slot: u8, done: &AtomicBool, answered: &AtomicUsize) -> Vec<String> {
    let mut client = Client::connect(3100 + u16::from(slot));
    let mut wrong = Vec::new();
    let own = [
        ("/", page(slot)),
        ("/api/health", format!("\"database\":\"app_preview_{slot}\"")),
        ("/api/orders", "HB-00004".to_owned()),
    ];
    while !done.load(Ordering::SeqCst) {
        for (path, part) in &own {
            let (status, text) = ask(&mut client, slot, path);
            if status != 200 || !text.contains(part.as_str()) {
                wrong.push(format!("preview-{slot} {path}: {status} {text}"));
                client = Client::connect(3100 + u16::from(slot));
            }
            answered.fetch_add(1, Ordering::SeqCst);
        }
    }
    wrong
}

#[test]
fn sc_3_lc_5_lc_9_what_happens_to_one_slot_is_not_felt_by_the_others() {
    let bench = Bench::new().serving_of(&SLOTS);
    branches(&bench);
    for said in publish_all(&bench) {
        assert_eq!(said["outcome"], "published", "{said:#}");
    }
    for slot in SLOTS {
        let tables = bench.server.tables(&format!("app_preview_{slot}"));
        for other in SLOTS {
            let is_there = tables.contains(&format!("of_branch_{other}"));
            assert_eq!(is_there, slot == other, "preview-{slot}: {tables}");
        }
        let mut client = Client::connect(3100 + u16::from(slot));
        assert_eq!(ask(&mut client, slot, "/"), (200, page(slot)));
        let (status, health) = ask(&mut client, slot, "/api/health");
        assert!(status == 200 && health.contains(&format!("app_preview_{slot}")), "{health}");
    }

    let others = [2, 3];
    let pids = others.map(|slot| bench.pid_of(slot));
    let mut open = others.map(Connection::open);
    let done = AtomicBool::new(false);
    let answered = [AtomicUsize::new(0), AtomicUsize::new(0)];
    let wrong: Vec<String> = std::thread::scope(|scope| {
        let loads: Vec<_> = (0..4)
            .map(|index: usize| {
                let (slot, answered, done) = (others[index % 2], &answered[index % 2], &done);
                scope.spawn(move || load(slot, done, answered))
            })
            .collect();
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| trouble(&bench)));
        done.store(true, Ordering::SeqCst);
        let wrong = loads.into_iter().flat_map(|one| one.join().unwrap()).collect();
        if let Err(panic) = outcome {
            std::panic::resume_unwind(panic);
        }
        wrong
    });
    assert_eq!(wrong, [""; 0]);
    assert!(answered.iter().all(|count| count.load(Ordering::SeqCst) > 100), "{answered:?}");
    assert_eq!(others.map(|slot| bench.pid_of(slot)), pids, "no other backend was restarted");
    for connection in &mut open {
        assert_eq!(connection.ask(), "HTTP/1.1 200 OK", "a connection of another slot was cut");
    }
}

/// Everything that can happen to the first slot.
fn trouble(bench: &Bench) {
    let place = &bench.server.place;
    let own =
        |name: &str, text: &str| place.write(&format!("previews/branch-1/{name}"), 0o644, text);
    let publish = || summary(&bench.publish_into(1, "branch-1", &[]).run());
    bench.backend_of(1, "restart").run().accepted();

    own("migrations/V12__fail.sql", "ALTER TABLE no_such_table ADD x int;\n");
    assert_eq!(publish()["outcome"], "failed");
    own("migrations/V12__fail.sql", "ALTER TABLE customers ADD x int;\n");
    own("frontend/index.html", "<html>branch 1, mended</html>");
    assert_eq!(publish()["outcome"], "published");

    let pid = i32::try_from(bench.pid_of(1).as_i64().unwrap()).unwrap();
    kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
    assert_eq!(publish()["outcome"], "published");
    bench.server.reset(1).run().accepted();
    assert_eq!(publish()["outcome"], "published");
    bench.backend_of(1, "stop").run().accepted();
}
