//! A publish that is killed at any moment: one release is served, whole, and the next one succeeds.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::publish_failures::{current_round, served_round, write_round};
use crate::support::bench::{Bench, summary};
use crate::support::dice::Dice;

#[test]
fn a_killed_publish_leaves_one_release_and_the_next_one_succeeds() {
    kill(5);
}

#[test]
#[ignore = "the long version of the test above, for ./test --soak"]
fn soak_killed_publishes() {
    kill(100);
}

fn kill(rounds: usize) {
    let mut dice = Dice::new("killed publishes");
    let bench = Bench::new().serving();
    write_round(&bench, 1);
    let began = Instant::now();
    let said = summary(&bench.publish(&[]).run());
    assert_eq!(said["outcome"], "published", "{said:#}");
    // Later ones take less, so some are killed after their end: a moment like any other.
    let longest = began.elapsed() + Duration::from_millis(100);
    for round in 2..rounds + 2 {
        write_round(&bench, round);
        let moment = dice.within(longest);
        bench.publish(&[]).run_while(|running| {
            std::thread::sleep(moment);
            running.signal(Signal::KILL);
        });
        let served = served_round();
        assert!([round - 1, round].contains(&served), "round {round}, {moment:?}: {served}");
        let current = current_round(&bench);
        assert!([round - 1, round].contains(&current), "round {round}, {moment:?}: {current}");

        let outcome = bench.publish(&[]).run_once_free();
        assert_eq!(outcome.status, Some(0), "round {round}, {moment:?}: {outcome:#?}");
        assert_eq!((served_round(), current_round(&bench)), (round, round));
        let applied = format!("round_{round}");
        assert!(bench.server.tables("app_preview_1").contains(&applied), "{applied}");
    }
}
