//! A backend as a process of this host, kept by a keeper of our own.

use std::io::Read as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use guard::diagnostic::{Code, Denial};
use guard::slot::SlotId;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::Signal;

use super::answer::Answer;
use super::process::{Process, boot_id, descendants, with_environment};
use super::run_directory::{Run, RunDirectory};
use super::state::{ExitCause, LastExit, Observation, RunningAs, State};
use super::{EXEC_PATIENCE, KILL_PATIENCE, children, log};
use crate::StateRoot;

/// The slot's backend as a process.
#[derive(Debug)]
pub(crate) struct Host {
    pub(crate) slot: SlotId,
    pub(crate) stop_timeout: Duration,
    /// What every process of the slot is started with, and nobody else.
    mark: Vec<String>,
}

impl Host {
    pub(crate) fn new(state: &StateRoot, slot: SlotId, stop_timeout: Duration) -> Self {
        let home = format!("HOME={}/{slot}/home", state.root().path().as_str());
        Self { slot, stop_timeout, mark: vec![format!("SLOT_ID={slot}"), home] }
    }

    /// Looks at what runs, without changing anything.
    pub(crate) fn observe(&self, directory: &RunDirectory) -> Result<Observation, Denial> {
        let Some(mut run) = directory.read()? else { return Ok(Observation::stopped()) };
        if boot_id().map_err(|error| self.failed(&error))? != run.boot {
            // The host has started anew: nothing of that run can be left.
            return Ok(Observation::stopped());
        }
        let keeper_runs = run.keeper.is_running();
        if !keeper_runs && run.ended.is_none() {
            // It may have written its last word between the two looks.
            run = directory.read()?.unwrap_or(run);
        }
        Ok(self.judge(run, keeper_runs))
    }

    fn judge(&self, run: Run, keeper_runs: bool) -> Observation {
        let state = state_of(&run, keeper_runs);
        let is_running = state == State::Running;
        let lost = run.ended.is_none() && !keeper_runs;
        let processes = match (keeper_runs, lost) {
            (true, _) => descendants(run.keeper.pid),
            (false, true) => self.survivors(&run),
            (false, false) => Vec::new(),
        };
        Observation {
            state,
            pid: is_running.then_some(run.backend.pid),
            started_at: Some(run.started_at.clone()),
            running_as: is_running.then(|| RunningAs {
                worktree: run.worktree.clone(),
                program: run.program.clone(),
                args: run.args.clone(),
            }),
            last_exit: if lost { Some(keeper_lost()) } else { run.ended.clone() },
            unit: None,
            keeper: keeper_runs.then_some(run.keeper),
            lost: lost.then_some(run),
            processes,
            socket_unit: false,
        }
    }

    /// Returns what a killed keeper has left: started no earlier than it, and marked as the slot's.
    fn survivors(&self, run: &Run) -> Vec<Process> {
        let marked = with_environment(&self.mark).0.into_iter();
        marked.filter(|process| process.start >= run.keeper.start).collect()
    }

    /// Starts a keeper and waits until it has started the backend or refused.
    pub(crate) fn start(&self, keeper: &KeeperProgram) -> Result<(), Denial> {
        let slot = self.slot.to_string();
        let mut args = vec!["keep".to_owned(), "--slot".to_owned(), slot];
        if let Some(config) = &keeper.config {
            args.extend(["--config".to_owned(), config.to_string_lossy().into_owned()]);
        }
        let mut child =
            children::spawn_keeper(&keeper.program, &args).map_err(|error| self.failed(&error))?;
        let line = child.stdout.take().and_then(read_line);
        match line.as_deref().and_then(Answer::read) {
            Some(Answer::Started(_)) => Ok(()),
            Some(Answer::Refused(said)) => Err(said.into_denial()),
            None => {
                // Unheard is not started: what it may have made ends with it.
                let _ = child.kill();
                Err(self.failed(&std::io::Error::from(std::io::ErrorKind::TimedOut)))
            }
        }
    }

    /// Ends everything of the slot; returns what could not be ended.
    pub(crate) fn stop(
        &self,
        observation: &Observation,
        directory: &RunDirectory,
    ) -> Result<Vec<Process>, Denial> {
        if let Some(lost) = &observation.lost {
            let left = end(|| self.survivors(lost));
            if left.is_empty() {
                let ended = Some(keeper_lost());
                directory.write(&Run { ended, ..lost.clone() })?;
            }
            return Ok(left);
        }
        let Some(keeper) = observation.keeper else { return Ok(Vec::new()) };
        let Some(handle) = keeper.open().map_err(|error| self.failed(&error))? else {
            return Ok(Vec::new());
        };
        handle.signal(Signal::TERM).map_err(|error| self.failed(&error))?;
        if handle.wait(self.stop_timeout + 2 * KILL_PATIENCE) {
            // It ends only after everything below it has.
            return Ok(Vec::new());
        }
        let left = end(|| descendants(keeper.pid));
        handle.signal(Signal::KILL).map_err(|error| self.failed(&error))?;
        let ended = handle.wait(KILL_PATIENCE);
        Ok(left.into_iter().chain((!ended).then_some(keeper)).collect())
    }

    /// Returns how many of the caller's processes do not show whether they carry the mark.
    pub(crate) fn hidden(&self) -> usize {
        with_environment(&self.mark).1
    }

    pub(crate) fn last_lines(directory: &RunDirectory, count: usize) -> Vec<String> {
        log::last_lines(directory.handle(), count)
    }

    fn failed(&self, error: &std::io::Error) -> Denial {
        Denial::new(
            Code::KeeperFailed,
            format!("the backend of {} cannot be kept", self.slot),
            error.to_string(),
            "a keeper that starts, answers and ends",
        )
    }
}

fn state_of(run: &Run, keeper_runs: bool) -> State {
    match (&run.ended, keeper_runs) {
        (Some(ended), _) if ended.cause != ExitCause::Ended => State::Stopped,
        (Some(ended), _) if ended.code == Some(0) => State::Ended,
        (Some(_), _) => State::Failed,
        (None, true) if run.backend.is_running() => State::Running,
        (None, true) => State::Stopping,
        (None, false) => State::Failed,
    }
}

fn keeper_lost() -> LastExit {
    LastExit { at: None, cause: ExitCause::KeeperLost, code: None, signal: None }
}

/// The program that keeps a backend, and the configuration that it reads.
#[derive(Debug, Clone)]
pub struct KeeperProgram {
    /// The program that has the command `keep`.
    pub program: PathBuf,
    /// The configuration file, as an absolute path.
    pub config: Option<PathBuf>,
}

/// Kills what is listed until nothing is, for a bounded time; returns what is left.
fn end(list: impl Fn() -> Vec<Process>) -> Vec<Process> {
    let end = Instant::now() + KILL_PATIENCE;
    loop {
        let found = list();
        if found.is_empty() || Instant::now() >= end {
            return found;
        }
        for process in &found {
            // One that may not be signalled stays in the list, and is said to be left.
            let _ = process.signal(Signal::KILL);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Longest answer of a keeper that is read, in bytes.
const LONGEST_ANSWER: usize = 64 * 1024;

/// Reads one line for as long as a start may take.
fn read_line(mut pipe: std::process::ChildStdout) -> Option<String> {
    let end = Instant::now() + EXEC_PATIENCE + Duration::from_secs(5);
    let mut line = Vec::new();
    let mut buffer = [0; 4096];
    while line.len() < LONGEST_ANSWER && !line.ends_with(b"\n") {
        let left = end.saturating_duration_since(Instant::now());
        let timeout = Timespec::try_from(left).ok();
        match poll(&mut [PollFd::new(&pipe, PollFlags::IN)], timeout.as_ref()) {
            Err(rustix::io::Errno::INTR) => continue,
            Ok(1) => {}
            _ => return None,
        }
        let count = pipe.read(&mut buffer).ok().filter(|count| *count > 0)?;
        line.extend_from_slice(&buffer[..count]);
    }
    String::from_utf8(line).ok()
}
