//! The server crashes in the middle of a reset: the database is the old one or the new one, whole.
//!
//! The write-ahead log is flushed here as on a server that matters, and full pages are written, since
//! what is looked at is what recovery makes of it. A crash is SIGQUIT to the postmaster.

#![expect(clippy::unwrap_used, reason = "helpers of tests, outside of what the lint takes for one")]

use std::path::Path;
use std::time::{Duration, Instant};

use crate::support::dice::Dice;
use crate::support::observer::{build_seed, noted, observe};
use crate::support::run::say;
use crate::support::server::Server;

#[test]
fn three_crashes_leave_the_old_or_the_new_database() {
    crash(3, None);
}

#[test]
#[ignore = "takes minutes; ./test --soak runs it"]
fn fifty_crashes_leave_the_old_or_the_new_database() {
    // Not in memory, where flushing means nothing.
    crash(50, Some(&std::env::temp_dir()));
}

/// What was found after the crashes.
#[derive(Debug, Default)]
struct Tally {
    old: u32,
    new: u32,
    leftovers: u32,
    /// The program ended well: the crash came after the exchange.
    done: u32,
}

fn crash(times: u32, place: Option<&Path>) {
    let mut dice = Dice::new("reset_crash");
    let mut server = Server::durable(place);
    build_seed(&server);
    server.reset(1).run().accepted();
    let usual = Usual::measure(&server);
    let mut tally = Tally::default();
    for round in 1..=times {
        let before = observe(&server, 1).unwrap();
        let notes = noted(&server, 1);
        let (event, longest) = usual.moment(dice.below(4));
        let pause = dice.within(longest);
        let what = format!("round {round}, {pause:?} after `{event}`");
        let outcome = server.reset(1).format("json").run_while(|running| {
            running.says(event);
            std::thread::sleep(pause);
            server.cluster_mut().crash().unwrap();
        });
        server.cluster_mut().restart().unwrap();

        // A role of the slot connects, the stamp holds, and nothing is of another generation.
        let after = server.confirmed(1);
        assert_eq!(noted(&server, 1), if after == before { notes } else { 0 }, "{what}");
        assert_eq!(observe(&server, 1).unwrap(), after, "{what}");
        if outcome.status == Some(0) {
            assert_ne!(after, before, "{what}: {outcome:?}");
            tally.done += 1;
        }
        *(if after == before { &mut tally.old } else { &mut tally.new }) += 1;
        tally.leftovers += u32::from(!server.leftovers().is_empty());

        server.reset(1).run().accepted();
        assert_ne!(server.confirmed(1), after, "{what}");
        assert_eq!(server.leftovers(), "", "{what}");
    }
    server.provision(&["--check"]).run().accepted();
    say(&format!("reset_crash: {times} crashes survived, {usual:?}: {tally:?}"));
}

/// How long the parts of a reset take here.
#[derive(Debug)]
struct Usual {
    copy: Duration,
    exchange: Duration,
    whole: Duration,
}

impl Usual {
    fn measure(server: &Server) -> Self {
        let started = Instant::now();
        let outcome = server.reset(1).format("json").run();
        let whole = started.elapsed();
        let of = |event: &str| {
            let said = outcome.accepted().objects();
            let said = said.iter().find(|object| object["event"] == event).unwrap();
            Duration::from_millis(said["duration_ms"].as_u64().unwrap())
        };
        Self { copy: of("reset.copied"), exchange: of("reset.exchanged"), whole }
    }

    /// Returns after what, and how long after it at most, the server crashes.
    fn moment(&self, kind: u64) -> (&'static str, Duration) {
        match kind {
            0 => ("reset.copying", self.copy),
            // The exchange is over in a moment, but for the flush of its commit.
            1 | 2 => ("reset.copied", self.exchange * 2 + Duration::from_millis(10)),
            _ => ("", self.whole),
        }
    }
}
