//! A reset that is stopped, killed, or met by a second one: the slot's database is as it was or new.

use std::time::Duration;

use guard::diagnostic::Code;
use rustix::process::Signal;

use crate::support::dice::Dice;
use crate::support::hold::Hold;
use crate::support::server::Server;

const SIGNALS: [(Signal, &str); 3] =
    [(Signal::INT, "SIGINT"), (Signal::TERM, "SIGTERM"), (Signal::HUP, "SIGHUP")];

/// Keeps every copy of the seed waiting: copying needs a lock that contradicts this one.
pub(crate) const SEED_IS_LOCKED: Hold<'static> = Hold {
    slot: None,
    database: "postgres",
    statements: "BEGIN; COMMENT ON DATABASE app_preview_seed IS 'not committed'",
};

/// Waits until the server works on a copy, so that a signal hits it in the middle.
pub(crate) fn wait_for_copy(server: &Server) {
    let question = "SELECT count(*) FROM pg_stat_activity \
                    WHERE query LIKE 'CREATE DATABASE%' AND wait_event_type = 'Lock'";
    for _ in 0..500 {
        if server.sql("postgres", question).trim() == "1" {
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    panic!("nothing is copied");
}

#[test]
fn a_signal_during_the_copy_drops_what_was_built() {
    let server = Server::new();
    let before = server.confirmed(1);
    SEED_IS_LOCKED.during(&server, |_| {
        for (signal, name) in SIGNALS {
            let outcome = server.reset(1).format("json").run_while(|running| {
                wait_for_copy(&server);
                running.signal(signal);
            });
            let refusal = outcome.denied(Code::ResetInterrupted);
            assert_eq!(refusal["found"], name, "{refusal}");
            assert!(refusal["help"].as_str().unwrap().contains("is dropped"), "{refusal}");
            assert_eq!((server.confirmed(1), server.leftovers().as_str()), (before, ""), "{name}");
        }
    });
    server.reset(1).run().accepted();
    assert_ne!(server.confirmed(1), before);
}

#[test]
fn of_two_resets_of_one_slot_the_second_is_told_to_try_again() {
    let server = Server::new();
    let before = server.confirmed(1);
    SEED_IS_LOCKED.during(&server, |_| {
        server.reset(1).format("json").run_while(|running| {
            wait_for_copy(&server);
            let refusal = server.reset(1).format("json").run().denied(Code::ResetBusy);
            assert!(refusal["message"].as_str().unwrap().contains("another reset"), "{refusal}");
            running.signal(Signal::INT);
        });
    });
    assert_eq!(server.confirmed(1), before);
    server.reset(1).run().accepted();
}

/// What a finished program held must not be in the way of the next one.
#[test]
fn resets_one_after_the_other_are_not_busy() {
    let server = Server::new();
    for _ in 0..6 {
        server.reset(1).run().accepted();
    }
}

/// Two that begin at the same time: one or both succeed one after the other, and nothing is broken.
#[test]
fn resets_that_race_leave_one_whole_database() {
    let server = Server::new();
    let before = server.confirmed(1);
    let busy = i32::from(step_report::exit::ExitStatus::Busy.number());
    let mut done = 0;
    for _ in 0..3 {
        let ends: Vec<Option<i32>> = std::thread::scope(|scope| {
            let start = || scope.spawn(|| server.reset(1).run().status);
            let all = [start(), start()];
            all.map(|one| one.join().unwrap()).into()
        });
        assert!(ends.iter().all(|end| [Some(0), Some(busy)].contains(end)), "{ends:?}");
        assert!(ends.contains(&Some(0)), "{ends:?}");
        done += ends.iter().filter(|end| **end == Some(0)).count();
        server.confirmed(1);
        assert_eq!(server.leftovers(), "");
    }
    assert!(done >= 3);
    assert_ne!(server.confirmed(1), before);
}

/// Signals and kills at moments nobody chose: old or new, never neither, and the next reset works.
#[test]
fn whatever_ends_it_the_database_serves_and_the_next_reset_works() {
    let server = Server::new();
    let mut dice = Dice::new("reset_interrupted");
    for round in 0..8 {
        let signal = match round % 4 {
            0 => Signal::INT,
            1 => Signal::TERM,
            _ => Signal::KILL,
        };
        let before = server.confirmed(1);
        let said = ["", "reset.copying", "reset.copied", "reset.exchanged"];
        let moment = said[usize::try_from(dice.below(4)).unwrap()];
        let pause = dice.within(Duration::from_millis(120));
        let outcome = server.reset(1).format("json").run_while(|running| {
            running.says(moment);
            std::thread::sleep(pause);
            running.signal(signal);
        });
        let after = server.confirmed(1);
        match outcome.status {
            Some(0) => assert_ne!(after, before, "{outcome:?}"),
            Some(_) => {
                outcome.denied(Code::ResetInterrupted);
                assert_eq!((after, server.leftovers().as_str()), (before, ""), "{outcome:?}");
            }
            // Killed: either is fine, and there may be leftovers.
            None => {}
        }
        server.reset(1).run_once_free().accepted();
        assert_ne!(server.confirmed(1), after, "{moment} {pause:?}");
        assert_eq!(server.leftovers(), "", "{moment} {pause:?}");
    }
    server.provision(&["--check"]).run().accepted();
}
