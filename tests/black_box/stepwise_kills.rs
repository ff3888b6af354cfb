//! A run that is killed while it builds indexes concurrently: the next one finds, names and repairs
//! what is left.

#![expect(clippy::unwrap_used, reason = "helpers of tests, outside of what the lint takes for one")]

use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::support::dice::Dice;
use crate::support::run::{Outcome, say};
use crate::support::server::{EMPTY, Server};

const DATABASE: &str = "app_preview_1";

/// An index over the function takes longer than the server takes to notice that its client is gone.
const TABLE: &str = "CREATE TABLE a (b int, c int, d text);
    INSERT INTO a SELECT n, -n, md5(n::text) FROM generate_series(1, 300) n;
    CREATE FUNCTION slow(n int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS
        'BEGIN PERFORM pg_sleep(0.002); RETURN n; END';";

/// Three indexes, a fourth that goes again, one that is built anew, and rows that come once.
const STATEMENTS: &str = "-- slotguard: no-transaction
CREATE INDEX CONCURRENTLY a_b ON a (slow(b));
INSERT INTO a VALUES (0, 0, 'once');
CREATE UNIQUE INDEX CONCURRENTLY a_c ON a (slow(c));
CREATE INDEX CONCURRENTLY IF NOT EXISTS a_d ON a (d, slow(b));
CREATE INDEX CONCURRENTLY a_gone ON a (d);
REINDEX INDEX CONCURRENTLY a_d;
DROP INDEX CONCURRENTLY a_gone;
UPDATE a SET b = b + 1 WHERE d = 'once';
";

#[test]
fn three_killed_runs_are_completed_by_the_next_ones() {
    kill(3);
}

#[test]
#[ignore = "the long version of the test above, for ./test --soak"]
fn soak_fifty_killed_runs_with_indexes() {
    kill(50);
}

/// What was found after the kills.
#[derive(Debug, Default)]
struct Tally {
    resumed: u32,
    invalid: u32,
    repaired: usize,
    /// The run came to its end before the kill.
    done: u32,
}

fn kill(times: u32) {
    let mut dice = Dice::new("stepwise_kills");
    let server = Server::new();
    let file = |name: &str, text: &str| {
        server.place.write(&format!("previews/x/migrations/{name}"), 0o644, text);
    };
    file("V1__a.sql", TABLE);
    let migrations = server.place.text("previews/x/migrations");
    let apply = || server.migrate("apply", 1, &migrations).format("json");
    let usual = {
        apply().run().accepted();
        file("V2__b.sql", STATEMENTS);
        let started = Instant::now();
        apply().run().accepted();
        started.elapsed()
    };
    is_whole(&server);
    let mut tally = Tally::default();
    for round in 1..=times {
        server.reset(1).run().accepted();
        std::fs::remove_file(format!("{migrations}/V2__b.sql")).unwrap();
        apply().run().accepted();
        file("V2__b.sql", STATEMENTS);
        let pause = dice.within(usual);
        let killed = apply().run_while(|running| {
            std::thread::sleep(pause);
            running.signal(Signal::KILL);
        });
        wait_for_the_server(&server);
        let left = invalid(&server);
        let outcome = apply().run_once_free();
        outcome.accepted();
        let (resumed, dropped) =
            (count(&outcome, "migration.resumed"), count(&outcome, "migration.index_dropped"));
        is_whole(&server);
        // What a DROP left is dropped by the same statement, and named by no event.
        let drops = left.iter().filter(|name| *name != "a_gone").count();
        assert!(dropped >= drops, "round {round}, {pause:?}: {left:?}, {outcome:?}");
        tally.resumed += u32::try_from(resumed).unwrap();
        tally.invalid += u32::from(!left.is_empty());
        tally.repaired += dropped;
        tally.done += u32::from(killed.status == Some(0));
    }
    say(&format!("stepwise_kills: {times} kills within {usual:?}: {tally:?}"));
}

fn count(outcome: &Outcome, event: &str) -> usize {
    outcome.objects().iter().filter(|object| object["event"] == event).count()
}

/// Every index is there and valid, nothing of ours is, and each row came once.
#[track_caller]
fn is_whole(server: &Server) {
    let indexes = "SELECT string_agg(relname, ' ' ORDER BY relname) FROM pg_index \
                   JOIN pg_class ON oid = indexrelid WHERE indrelid = 'a'::regclass";
    assert_eq!(server.sql(DATABASE, indexes).trim(), "a_b a_c a_d");
    assert_eq!(invalid(server), [""; 0]);
    assert_eq!(server.sql(DATABASE, "SELECT b FROM a WHERE d = 'once'").trim(), "1");
    assert_eq!(server.tables(DATABASE), format!("a {EMPTY}"));
    assert_eq!(server.versions(DATABASE), "1 2");
}

fn invalid(server: &Server) -> Vec<String> {
    let question = "SELECT relname FROM pg_index JOIN pg_class ON oid = indexrelid \
                    WHERE NOT indisvalid ORDER BY 1";
    server.sql(DATABASE, question).split_whitespace().map(ToOwned::to_owned).collect()
}

/// Waits until no session of the killed client is left.
fn wait_for_the_server(server: &Server) {
    let left = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'slot_1'";
    for _ in 0..1000 {
        if server.sql("postgres", left).trim() == "0" {
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    panic!("a session of the killed run is left");
}
