//! `slotguard status`: one screen over all slots, once or again and again.

mod branch;
mod look;
mod screen;

use std::time::{Duration, Instant, SystemTime};

use guard::diagnostic::Denial;
use guard::io::{LoadedConfig, environment_snapshot, load_config};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde::Serialize;
use step_report::console::{Console, Format};
use step_report::exit::ExitStatus;

use crate::interrupt;
use crate::options::Status;
use look::SlotStatus;

const SCHEMA: &str = "slotguard.status/1";

/// How often a watch looks whether it was asked to stop, or nobody reads any more.
const BETWEEN_LOOKS: Duration = Duration::from_millis(100);

/// To the upper left, and what is left of an older screen is wiped at each line's end and below.
const HOME: &str = "\u{1b}[H";
const WIPE_LINE: &str = "\u{1b}[K";
const WIPE_BELOW: &str = "\u{1b}[J";

#[derive(Serialize)]
struct Screen<'a> {
    schema: &'static str,
    time: String,
    slots: &'a [SlotStatus],
}

/// Shows the slots; one that is broken says so and keeps none of the others from the screen.
pub(crate) fn run(console: &Console, options: &Status) -> ExitStatus {
    match prepare(options) {
        Err(denial) => console.refuse(None, &denial),
        Ok(loaded) if options.watch => {
            watch(console, &loaded, options.interval);
            ExitStatus::Done
        }
        Ok(loaded) => {
            show(console, &look(&loaded));
            ExitStatus::Done
        }
    }
}

fn prepare(options: &Status) -> Result<LoadedConfig, Denial> {
    interrupt::listen()?;
    let environment = environment_snapshot()?;
    load_config(options.config.config.as_deref(), &environment)
}

/// Looks at all slots at once: one that answers late makes none of the others late.
fn look(loaded: &LoadedConfig) -> Vec<SlotStatus> {
    std::thread::scope(|scope| {
        let looks: Vec<_> = loaded
            .config
            .slots()
            .iter()
            .map(|slot| scope.spawn(move || SlotStatus::look(slot, loaded)))
            .collect();
        looks.into_iter().filter_map(|look| look.join().ok()).collect()
    })
}

fn show(console: &Console, slots: &[SlotStatus]) {
    match console.format() {
        Format::Json => {
            let time = step_report::event::rfc3339(SystemTime::now());
            console.object(&Screen { schema: SCHEMA, time, slots });
        }
        Format::Human => {
            let lines = screen::lines(slots, SystemTime::now());
            lines.iter().for_each(|line| console.line(line));
        }
    }
}

/// Draws the screen anew on a terminal; elsewhere shows it whenever something has changed.
fn watch(console: &Console, loaded: &LoadedConfig, interval: Duration) {
    let redraws = console.draws();
    let mut last = None;
    while !interrupt::asked() && !console.closed() && is_read() {
        let slots = look(loaded);
        if redraws {
            redraw(console, &slots);
        } else {
            let now = serde_json::to_string(&slots).ok();
            if now != last {
                if last.is_some() && console.format() == Format::Human {
                    console.line("");
                }
                show(console, &slots);
                last = now;
            }
        }
        pause(interval);
    }
}

fn redraw(console: &Console, slots: &[SlotStatus]) {
    let mut text = HOME.to_owned();
    for line in screen::lines(slots, SystemTime::now()) {
        text.push_str(&format!("{line}{WIPE_LINE}\n"));
    }
    console.line(&format!("{text}{WIPE_BELOW}"));
}

fn pause(interval: Duration) {
    let until = Instant::now() + interval;
    while !interrupt::asked() && is_read() {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return;
        }
        std::thread::sleep(left.min(BETWEEN_LOOKS));
    }
}

/// Whether somebody may still read standard output: a pipe whose reader is gone says so.
fn is_read() -> bool {
    let stdout = std::io::stdout();
    let mut asked = [PollFd::new(&stdout, PollFlags::empty())];
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut asked, Some(&at_once)).is_err() || !asked[0].revents().contains(PollFlags::ERR)
}
