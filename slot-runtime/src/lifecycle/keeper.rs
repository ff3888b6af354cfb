//! The keeper of one backend: a small process that is the ancestor of everything the slot runs.
//!
//! The kernel hands it every process below it whose parent ends (it is a subreaper), so that forking
//! twice and leaving the session is no way out. It starts the wrapper, writes down what runs, moves
//! the output into the log, and ends only after nothing below it is left. It starts nothing again.

use std::fs::File;
use std::io::{Error, Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use guard::diagnostic::{Code, Denial};
use guard::slot::SlotId;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Signal, WaitOptions, WaitStatus, set_child_subreaper, wait};
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGTERM};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::answer::Answer;
use super::log::RotatingLog;
use super::process::{Process, boot_id, descendants};
use super::run_directory::{Run, RunDirectory};
use super::state::{ExitCause, LastExit};
use super::{EXEC_PATIENCE, KILL_PATIENCE, children};
use crate::{StateRoot, record};

/// What a keeper is told.
#[derive(Debug)]
pub struct Keeping<'a> {
    /// The slot.
    pub slot: SlotId,
    /// The configuration file, for the wrapper.
    pub config: Option<&'a Path>,
    /// The wrapper's program.
    pub wrapper: PathBuf,
    /// How long the backend may take to end after SIGTERM.
    pub stop_timeout: Duration,
}

/// Keeps one run of a slot's backend, from its start to its end.
///
/// How the start went is said on standard output, in one line for the caller that waits.
///
/// # Errors
/// Refuses what keeps the backend from being started; nothing of it is left then.
pub fn keep(state: &StateRoot, keeping: &Keeping<'_>) -> Result<(), Denial> {
    let started = Keeper::start(state, keeping);
    tell(&match &started {
        Ok(keeper) => Answer::Started(keeper.run.backend),
        Err(denial) => Answer::refused(denial),
    });
    started?.keep_until_end()
}

/// Tells the caller that nothing is kept, and why.
pub fn tell_refusal(denial: &Denial) {
    tell(&Answer::refused(denial));
}

/// A caller that has gone away does not stop the backend.
fn tell(answer: &Answer) {
    let _ = std::io::stdout().write_all(answer.line().as_bytes());
}

struct Keeper {
    directory: RunDirectory,
    run: Run,
    signals: Signals,
    stop_timeout: Duration,
    log: JoinHandle<()>,
    /// How the backend itself ended, once it has.
    status: Option<WaitStatus>,
}

impl Keeper {
    fn start(state: &StateRoot, keeping: &Keeping<'_>) -> Result<Self, Denial> {
        let Keeping { slot, stop_timeout, .. } = *keeping;
        let assignment = record::read(state, slot)?.assignment;
        let directory = RunDirectory::open(state, slot)?;
        set_child_subreaper(rustix::process::Pid::from_raw(1)).map_err(|e| failed(&e.into()))?;
        let signals = Signals::listen().map_err(|error| failed(&error))?;
        let (backend, log) = start_backend(keeping, &directory)?;
        let (keeper, boot) = (Process::own(), boot_id().map_err(|error| failed(&error))?);
        let run = Run {
            slot: slot.to_string(),
            boot,
            keeper: keeper.ok_or_else(|| failed(&Error::from(Errno::SRCH)))?,
            backend,
            started_at: now(),
            worktree: assignment.worktree,
            program: assignment.program,
            args: assignment.args,
            ended: None,
        };
        let mut keeper = Self { directory, run, signals, stop_timeout, log, status: None };
        if let Err(denial) = keeper.directory.write(&keeper.run) {
            // What cannot be found again must not run.
            keeper.end_all();
            return Err(denial);
        }
        Ok(keeper)
    }

    fn keep_until_end(mut self) -> Result<(), Denial> {
        while self.reap() && self.status.is_none() && !self.signals.stop {
            self.signals.wait(None);
        }
        let cause = if self.signals.stop { ExitCause::Stopped } else { ExitCause::Ended };
        self.end_all();
        self.finish_log();
        let code = self.status.and_then(WaitStatus::exit_status);
        let signal = self.status.and_then(WaitStatus::terminating_signal);
        self.run.ended = Some(LastExit { at: Some(now()), cause, code, signal });
        self.directory.write(&self.run)
    }

    /// Ends everything below, first politely.
    fn end_all(&mut self) {
        let own = self.run.keeper.pid;
        for process in descendants(own) {
            // Who sleeps under SIGSTOP would not hear the first signal.
            let _ = process.signal(Signal::TERM).and_then(|()| process.signal(Signal::CONT));
        }
        let end = Instant::now() + self.stop_timeout;
        while self.reap() && Instant::now() < end {
            self.signals.wait(Some(LOOK_AGAIN.min(end.saturating_duration_since(Instant::now()))));
        }
        let end = Instant::now() + KILL_PATIENCE;
        while self.reap() && Instant::now() < end {
            for process in descendants(own) {
                let _ = process.signal(Signal::KILL);
            }
            self.signals.wait(Some(LOOK_AGAIN));
        }
    }

    /// Takes note of what has ended; returns whether any child is left.
    fn reap(&mut self) -> bool {
        loop {
            match wait(WaitOptions::NOHANG) {
                Ok(Some((pid, status))) => {
                    if pid.as_raw_pid() == self.run.backend.pid {
                        self.status = Some(status);
                    }
                }
                Ok(None) | Err(Errno::INTR) => return true,
                Err(_) => return false,
            }
        }
    }

    /// Waits until the last words are in the log; nobody is left to say more.
    fn finish_log(&self) {
        let end = Instant::now() + LAST_WORDS;
        while !self.log.is_finished() && Instant::now() < end {
            std::thread::sleep(LOOK_AGAIN);
        }
    }
}

const LOOK_AGAIN: Duration = Duration::from_millis(20);
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Most that the wrapper says of a start, in bytes.
const EVENTS_LIMIT: usize = 1024 * 1024;

/// Starts the wrapper and waits until it has become the backend.
fn start_backend(
    keeping: &Keeping<'_>,
    directory: &RunDirectory,
) -> Result<(Process, JoinHandle<()>), Denial> {
    let failed = |error: Error| failed(&error);
    let mut log =
        directory.handle().try_clone_to_owned().and_then(RotatingLog::open).map_err(failed)?;
    log.begin_run(&now()).map_err(failed)?;
    let (output, words) = std::io::pipe().map_err(failed)?;
    let errors = words.try_clone().map_err(failed)?;
    let (told, events) = std::io::pipe().map_err(failed)?;
    let slot = keeping.slot.to_string();
    let mut args = vec!["exec", "--format", "json", "--slot", &slot, "--from-record"];
    let config = keeping.config.map(|path| path.to_string_lossy().into_owned());
    if let Some(config) = &config {
        args.extend(["--config", config]);
    }
    let args: Vec<String> = args.into_iter().map(str::to_owned).collect();
    let wrapper = &keeping.wrapper;
    let child =
        children::spawn_backend(wrapper, &args, words.into(), errors.into(), events.as_fd());
    drop(events);
    let child = child.map_err(failed)?;
    let log = std::thread::spawn(move || pump(output, log));
    // Nobody but this process reaps it, so its id is its own even if it has ended already.
    let pid = i32::try_from(child.id()).ok();
    let backend = pid.and_then(Process::child).ok_or_else(|| failed(Errno::SRCH.into()))?;
    // Where this fails the wrapper ends with this process.
    let said = hear(told.into()).ok_or_else(|| failed(Errno::TIMEDOUT.into()))?;
    match said.lines().filter_map(Answer::read_verdict).next_back() {
        Some(denial) => Err(denial),
        None => Ok((backend, log)),
    }
}

/// Reads what the wrapper says until it has become the program, which closes the pipe; `None` when
/// that takes too long.
fn hear(told: std::os::fd::OwnedFd) -> Option<String> {
    let end = Instant::now() + EXEC_PATIENCE;
    let mut file = File::from(told);
    let mut said = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let left = end.saturating_duration_since(Instant::now());
        let timeout = Timespec::try_from(left).ok();
        match poll(&mut [PollFd::new(&file, PollFlags::IN)], timeout.as_ref()) {
            Err(Errno::INTR) => continue,
            Ok(1) => {}
            _ => return None,
        }
        match file.read(&mut buffer) {
            Ok(0) => return Some(String::from_utf8_lossy(&said).into_owned()),
            Ok(count) if said.len() <= EVENTS_LIMIT => said.extend_from_slice(&buffer[..count]),
            _ => return None,
        }
    }
}

/// Moves output into the log until nobody is left who could write.
fn pump(mut output: impl std::io::Read, mut log: RotatingLog) {
    let mut buffer = [0; 16 * 1024];
    loop {
        match output.read(&mut buffer) {
            Ok(0) => return,
            // A full disk costs lines, and never the backend.
            Ok(count) => drop(log.write(&buffer[..count])),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}

/// The signals that a keeper waits for.
struct Signals {
    told: UnixStream,
    terminate: UnixStream,
    stop: bool,
}

impl Signals {
    fn listen() -> Result<Self, Error> {
        let (told, child) = UnixStream::pair()?;
        let (terminate, stop) = UnixStream::pair()?;
        told.set_nonblocking(true)?;
        terminate.set_nonblocking(true)?;
        for signal in [SIGTERM, SIGINT] {
            signal_hook::low_level::pipe::register(signal, stop.try_clone()?)?;
        }
        // A terminal that is closed is nobody's wish to stop.
        for signal in [SIGCHLD, SIGHUP] {
            signal_hook::low_level::pipe::register(signal, child.try_clone()?)?;
        }
        Ok(Self { told, terminate, stop: false })
    }

    /// Waits for a signal; without a limit, for good.
    fn wait(&mut self, patience: Option<Duration>) {
        let timeout = patience.and_then(|patience| Timespec::try_from(patience).ok());
        let mut events =
            [PollFd::new(&self.told, PollFlags::IN), PollFd::new(&self.terminate, PollFlags::IN)];
        // Interrupted or not, the caller looks again.
        let _ = poll(&mut events, timeout.as_ref());
        let mut buffer = [0; 64];
        while self.told.read(&mut buffer).is_ok_and(|count| count > 0) {}
        while self.terminate.read(&mut buffer).is_ok_and(|count| count > 0) {
            self.stop = true;
        }
    }
}

fn now() -> String {
    OffsetDateTime::from(SystemTime::now()).format(&Rfc3339).unwrap_or_default()
}

fn failed(error: &Error) -> Denial {
    Denial::new(
        Code::KeeperFailed,
        "the backend cannot be kept",
        error.to_string(),
        "a process that keeps it",
    )
}
