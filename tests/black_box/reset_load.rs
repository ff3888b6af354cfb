//! Clients that never stop while their database is replaced: how long they wait, and what they see.
//!
//! `pgbench -C` connects for every transaction and gives up at the first refusal, so it is started
//! again and again. Its own log says when each transaction was done.

#![expect(clippy::unwrap_used, reason = "helpers of tests, outside of what the lint takes for one")]

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::support::observer::{build_seed, observe};
use crate::support::run::{Run, say};
use crate::support::server::{Server, password};

#[test]
fn clients_of_two_resets_see_the_old_or_the_new_database() {
    under_load(2);
}

#[test]
#[ignore = "takes a minute; ./test --soak runs it"]
fn clients_of_twenty_resets_see_the_old_or_the_new_database() {
    under_load(20);
}

/// Refusals that mean: connect again.
const RECONNECT: [&str; 4] = [
    "terminating connection due to administrator command",
    "It seems to have just been dropped or renamed",
    "does not exist",
    "permission denied for database",
];

const CLIENTS: usize = 2;

fn under_load(resets: usize) {
    let server = Server::new();
    build_seed(&server);
    server.reset(1).run().accepted();
    let stop = AtomicBool::new(false);
    let (generations, gap_said, clients, seen) = std::thread::scope(|scope| {
        let _stopped = Stopped(&stop);
        let clients: Vec<_> = (0..CLIENTS)
            .map(|number| {
                scope.spawn({
                    let (server, stop) = (&server, &stop);
                    move || pgbench(server, number, stop)
                })
            })
            .collect();
        let observer = scope.spawn(|| observe_until(&server, &stop));
        let mut generations = vec![server.confirmed(1)];
        let mut gap_said = 0;
        for _ in 0..resets {
            std::thread::sleep(PAUSE);
            let outcome = server.reset(1).format("json").run();
            let said = outcome.accepted().objects().pop().unwrap();
            gap_said = gap_said.max(said["gap_ms"].as_u64().unwrap());
            assert_eq!(said["oid"], server.confirmed(1));
            generations.push(server.confirmed(1));
        }
        std::thread::sleep(PAUSE);
        stop.store(true, Ordering::Relaxed);
        let clients: Vec<_> = clients.into_iter().map(|client| client.join().unwrap()).collect();
        (generations, gap_said, clients, observer.join().unwrap())
    });
    assert_eq!(server.leftovers(), "");
    assert_in_order(&seen, &generations);
    let longest = clients.iter().map(|done| longest_gap(done)).max().unwrap();
    let transactions: usize = clients.iter().map(Vec::len).sum();
    assert!(transactions > resets, "the clients did next to nothing");
    say(&format!(
        "reset_load: {resets} resets under {CLIENTS} pgbench clients and one psql: {transactions} \
         transactions and {} looks, longest client gap {longest} ms, longest exchange {gap_said} ms",
        seen.len()
    ));
}

/// Between two resets, so that every generation is met.
const PAUSE: Duration = Duration::from_millis(400);

/// Runs pgbench until told to stop, and returns when transactions were done, in microseconds.
fn pgbench(server: &Server, number: usize, stop: &AtomicBool) -> Vec<u64> {
    let program = server.cluster().programs().directory().join("pgbench");
    assert!(program.is_file(), "no pgbench beside the server; it comes with PostgreSQL's contrib");
    let script = format!("observe-{number}.pgbench");
    server.place.write(&script, 0o644, "SELECT observe();\n");
    let (script, port) = (server.place.text(&script), server.port().to_string());
    let logs = server.place.text(&format!("pgbench-{number}"));
    let prefix = format!("--log-prefix={logs}");
    let deadline = Instant::now() + LONGEST;
    while !stop.load(Ordering::Relaxed) && Instant::now() < deadline {
        let target = ["-h", "127.0.0.1", "-p", &port, "-U", "slot_1", "app_preview_1"];
        let options = ["-n", "-C", "-c", "1", "-T", "1", "-l", &prefix, "-f", &script];
        let run = Run::at(&program, &[options.as_slice(), &target].concat());
        let outcome = run.with("PGPASSWORD", &password(1)).run();
        for line in outcome.stderr.lines().filter(|l| l.contains("ERROR:") || l.contains("FATAL:"))
        {
            assert!(RECONNECT.iter().any(|known| line.contains(known)), "{outcome:#?}");
        }
    }
    let mut done: Vec<u64> = Vec::new();
    for log in logs_of(server, &format!("pgbench-{number}.")) {
        for line in std::fs::read_to_string(log).unwrap().lines() {
            let fields: Vec<&str> = line.split(' ').collect();
            // client, number, latency or `failed`, script, seconds, microseconds
            if fields[2] != "failed" {
                let at = |index: usize| fields[index].parse::<u64>().unwrap();
                done.push(at(4) * 1_000_000 + at(5));
            }
        }
    }
    done.sort_unstable();
    done
}

fn logs_of(server: &Server, prefix: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(server.place.path("")).unwrap();
    let is_log = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().starts_with(prefix);
    entries.map(|entry| entry.unwrap().path()).filter(is_log).collect()
}

/// Looks again and again, and returns the generations in the order they were seen.
fn observe_until(server: &Server, stop: &AtomicBool) -> Vec<u32> {
    let mut seen = Vec::new();
    let deadline = Instant::now() + LONGEST;
    while !stop.load(Ordering::Relaxed) && Instant::now() < deadline {
        match observe(server, 1) {
            Ok(generation) => seen.push(generation),
            Err(error) => {
                let said = error.to_string();
                assert!(RECONNECT.iter().any(|known| said.contains(known)), "{said}");
            }
        }
    }
    seen
}

const LONGEST: Duration = Duration::from_secs(300);

/// What was seen is generations in their order: none that was replaced comes back.
#[track_caller]
fn assert_in_order(seen: &[u32], generations: &[u32]) {
    let mut left = generations;
    for one in seen {
        let place = left.iter().position(|generation| generation == one);
        left = &left[place.unwrap_or_else(|| panic!("{one} of {generations:?} came back"))..];
    }
    assert_eq!(seen.last(), generations.last());
}

fn longest_gap(done: &[u64]) -> u64 {
    done.windows(2).map(|pair| (pair[1] - pair[0]) / 1000).max().unwrap_or(0)
}

/// Lets the clients end when a check fails.
struct Stopped<'a>(&'a AtomicBool);

impl Drop for Stopped<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
