//! All slots as a person reads them: a row each, and beneath it what is wrong.

use std::time::{Duration, SystemTime};

use guard::config::show_time;
use guard::diagnostic::{Denial, shown};
use slot_runtime::lease::Moment;
use slot_runtime::lifecycle::{HealthState, State};

use super::look::{DatabaseSeen, FrontendSeen, Identity, LeaseSeen, SlotStatus};
use crate::columns;

const HEAD: [&str; 7] =
    ["SLOT", "LEASE", "BRANCH", "BACKEND", "FRONTEND", "DATABASE", "LAST PUBLISH"];

/// Longest text of one cell, in characters.
const WIDEST: usize = 32;

/// Returns the lines of the screen.
pub(crate) fn lines(slots: &[SlotStatus], now: SystemTime) -> Vec<String> {
    let rows = slots.iter().map(|slot| row(slot, now));
    let head = HEAD.map(str::to_owned);
    let table: Vec<[String; 7]> = std::iter::once(head).chain(rows).collect();
    let mut lines = columns::align(&table);
    let problem = |slot: &SlotStatus, part: &str, denial: &Denial| {
        let (message, found) = (denial.message(), denial.found());
        format!("{} {part}: {} {message} (found {found})", slot.slot, denial.code())
    };
    let problems = slots
        .iter()
        .flat_map(|slot| slot.problems().map(|(part, denial)| problem(slot, part, denial)));
    lines.extend(problems);
    lines
}

fn row(status: &SlotStatus, now: SystemTime) -> [String; 7] {
    let SlotStatus { slot, lease, branch, backend, frontend, database, last_publish, .. } = status;
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    let last = last_publish.as_ref().map(|past| {
        let outcome = past.outcome.as_deref().unwrap_or("no end");
        past.at.as_ref().map_or_else(|| outcome.to_owned(), |at| format!("{outcome} {at}"))
    });
    let cells = [
        slot.to_string(),
        lease_words(lease, now),
        or_dash(branch.clone()),
        backend_words(backend.state, backend.health, backend.pid),
        frontend_words(frontend),
        database_words(database),
        or_dash(last),
    ];
    cells.map(|cell| short(&cell))
}

fn short(cell: &str) -> String {
    let cell = shown(cell);
    if cell.chars().count() <= WIDEST {
        return cell;
    }
    cell.chars().take(WIDEST - 1).chain(['…']).collect()
}

fn lease_words(lease: &LeaseSeen, now: SystemTime) -> String {
    let Some(standing) = lease.standing else { return "unreadable".to_owned() };
    let Some(owner) = &lease.owner else { return standing.to_owned() };
    let generation = lease.generation.map_or(String::new(), |number| format!(" ({number})"));
    match (standing, lease.ends) {
        ("held", Some(ends)) => {
            let left: Duration = ends.since(Moment::from(now));
            format!("{owner}{generation}, {} left", show_time(left))
        }
        _ => format!("{owner}{generation}, {standing}"),
    }
}

fn backend_words(state: Option<State>, health: Option<HealthState>, pid: Option<i32>) -> String {
    let Some(state) = state else { return "unknown".to_owned() };
    let words = match (state, health) {
        (State::Running, Some(HealthState::Healthy)) => "healthy",
        (State::Running, Some(HealthState::Foreign)) => "foreign port",
        (State::Running, Some(HealthState::NotListening)) => "not listening",
        (State::Running, Some(HealthState::Undecidable)) => "undecidable",
        (State::Running, Some(HealthState::Unhealthy)) => "unhealthy",
        (State::Running, None) => "running",
        (State::Stopping, _) => "stopping",
        (State::Stopped, _) => "stopped",
        (State::Ended, _) => "ended",
        (State::Failed, _) => "failed",
    };
    pid.map_or_else(|| words.to_owned(), |pid| format!("{words}, pid {pid}"))
}

fn frontend_words(frontend: &FrontendSeen) -> String {
    let release = match (&frontend.release, frontend.free) {
        (_, true) => "free page",
        (Some(release), false) => release.get(..12).unwrap_or(release),
        (None, false) => "none",
    };
    let served = if frontend.listening { "served" } else { "not served" };
    format!("{release}, {served}")
}

fn database_words(database: &DatabaseSeen) -> String {
    let identity = match database.identity {
        Identity::Stamped => "stamped",
        Identity::Unstamped => "no stamp",
        Identity::Refused => "refused",
        Identity::NotAsked => "not asked",
    };
    let due = if database.reset_due.is_some() { ", reset due" } else { "" };
    format!("{identity}{due}")
}
