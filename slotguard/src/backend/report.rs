//! What a verb says: one object for programs, a few lines for people.

use guard::config::Manager;
use guard::diagnostic::{Denial, Warning, shown};
use guard::slot::SlotId;
use serde::Serialize;
use slot_runtime::lease::{Admission, Generation};
use slot_runtime::lifecycle::{
    FreePort, Freed, Health, LastExit, Observation, RunningAs, State, Unit,
};
use slot_runtime::record::SlotRecord;
use step_report::console::{Console, refuse_on_stderr};
use step_report::exit::ExitStatus;

const SCHEMA: &str = "slotguard.backend/1";

/// What became of a verb.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    schema: &'static str,
    verdict: &'static str,
    pub(super) slot: SlotId,
    pub(super) verb: &'static str,
    /// Under what the act was admitted.
    pub(super) lease: Option<Admission>,
    /// What was done, where something was.
    pub(super) outcome: Option<Outcome>,
    pub(super) manager: Manager,
    #[serde(flatten)]
    pub(super) seen: Seen,
    pub(super) record: Option<Recorded>,
    /// Whether the database said that it is the slot's own.
    pub(super) confirmed: Option<bool>,
    pub(super) health: Option<Health>,
    pub(super) freed: Option<Freed>,
    pub(super) log: Vec<String>,
    pub(super) warnings: Vec<Warning>,
    #[serde(flatten)]
    denial: Option<Denial>,
}

/// What a look at the backend found; the same keys whether or not one was possible.
#[derive(Debug, Default, Serialize)]
pub(super) struct Seen {
    state: Option<State>,
    pid: Option<i32>,
    started_at: Option<String>,
    running_as: Option<RunningAs>,
    last_exit: Option<LastExit>,
    unit: Option<Unit>,
}

impl Seen {
    /// Returns whether no look was taken yet.
    pub(super) fn is_nothing(&self) -> bool {
        self.state.is_none()
    }
}

impl From<Observation> for Seen {
    fn from(seen: Observation) -> Self {
        let Observation { state, pid, started_at, running_as, last_exit, unit, .. } = seen;
        Self { state: Some(state), pid, started_at, running_as, last_exit, unit }
    }
}

/// What was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Outcome {
    Started,
    AlreadyRunning,
    Restarted,
    Stopped,
    AlreadyStopped,
}

impl Outcome {
    fn words(self) -> &'static str {
        match self {
            Self::Started => "started",
            Self::AlreadyRunning => "was running already",
            Self::Restarted => "restarted",
            Self::Stopped => "stopped now",
            Self::AlreadyStopped => "was stopped already",
        }
    }
}

/// The slot's record as it is shown; arguments are counted, not repeated.
#[derive(Debug, Serialize)]
pub(super) struct Recorded {
    worktree: Option<String>,
    program: String,
    argument_count: usize,
    release: Option<String>,
    lease_generation: Option<u64>,
    written_at: String,
    written_by: String,
}

impl From<SlotRecord> for Recorded {
    fn from(record: SlotRecord) -> Self {
        let SlotRecord { assignment, written_at, written_by, .. } = record;
        Self {
            worktree: assignment.worktree,
            program: assignment.program,
            argument_count: assignment.args.len(),
            release: assignment.release,
            lease_generation: assignment.lease_generation.map(Generation::number),
            written_at,
            written_by,
        }
    }
}

impl Report {
    /// Begins a report on which nothing is known yet.
    pub(super) fn new(slot: SlotId, verb: &'static str, manager: Manager) -> Self {
        Self {
            schema: SCHEMA,
            verdict: "allowed",
            slot,
            verb,
            lease: None,
            outcome: None,
            manager,
            seen: Seen::default(),
            record: None,
            confirmed: None,
            health: None,
            freed: None,
            log: Vec::new(),
            warnings: Vec::new(),
            denial: None,
        }
    }

    /// Says it, with the refusal if there is one, and returns the status that goes with it.
    pub(super) fn say(mut self, console: &Console, denial: Option<Denial>) -> ExitStatus {
        let status = denial.as_ref().map_or(ExitStatus::Done, |denial| denial.code().into());
        self.verdict = if denial.is_some() { "denied" } else { "allowed" };
        self.denial = denial;
        console.conclude(&self, || {
            self.warnings.iter().for_each(|warning| console.warn(warning));
            self.lines().iter().for_each(|line| console.line(line));
            self.denial.iter().for_each(refuse_on_stderr);
        });
        status
    }

    fn lines(&self) -> Vec<String> {
        let Seen { state, pid, started_at, running_as, last_exit, unit } = &self.seen;
        let words = state.map_or("unknown", state_words);
        let done = self.outcome.map_or(String::new(), |outcome| format!(" ({})", outcome.words()));
        let mut lines = vec![format!("{}: {words}{done}", self.slot)];
        let mut add = |name: &str, value: String| lines.push(format!("  {name:<10} {value}"));
        if let Some(pid) = pid {
            add("process", format!("pid {pid}"));
        }
        if let Some(started_at) = started_at {
            add("started", started_at.clone());
        }
        if let Some(RunningAs { worktree, program, .. }) = running_as {
            let worktree = worktree.as_deref().unwrap_or("the slot's home");
            add("program", format!("{} in {}", shown(program), shown(worktree)));
        }
        if let Some(unit) = unit {
            add(
                "unit",
                format!(
                    "{}: {} ({}), result {}",
                    unit.name, unit.active_state, unit.sub_state, unit.result
                ),
            );
        }
        if let Some(last_exit) = last_exit {
            add("last exit", exit_words(last_exit));
        }
        if let Some(health) = &self.health {
            add("health", health_words(health));
        }
        if let Some(freed) = &self.freed {
            add("freed", freed_words(freed));
        }
        if !self.log.is_empty() {
            add("log", "the last lines".to_owned());
        }
        lines.extend(self.log.iter().map(|line| format!("    | {line}")));
        lines
    }
}

fn state_words(state: State) -> &'static str {
    match state {
        State::Running => "running",
        State::Stopping => "stopping",
        State::Stopped => "stopped",
        State::Ended => "ended by itself",
        State::Failed => "failed",
    }
}

fn exit_words(exit: &LastExit) -> String {
    let how = match (exit.code, exit.signal) {
        (Some(code), _) => format!("status {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "its keeper was killed".to_owned(),
    };
    exit.at.as_ref().map_or(how.clone(), |at| format!("{how} at {at}"))
}

fn health_words(health: &Health) -> String {
    let Health { path, port, .. } = health;
    match (health.status, health.latency_ms, health.why) {
        (Some(status), Some(latency), _) => {
            format!("{status} from {path} on {port} in {latency} ms")
        }
        (_, _, Some(why)) => format!("{why} on {port}"),
        _ => format!("no answer on {port}"),
    }
}

fn freed_words(freed: &Freed) -> String {
    let port = match freed.port {
        FreePort::Free => "the port is free",
        FreePort::SocketUnit => "the port is held by the slot's socket unit",
    };
    let hidden = match freed.hidden {
        0 => String::new(),
        count => format!("; {count} processes do not show whose they are"),
    };
    format!("no process of the slot is left, {port}{hidden}")
}
