//! The life of exactly one slot's backend: started, judged, stopped, by one command at a time.
//!
//! The decision which program may run is the wrapper's, at every start anew; here it is only
//! started, found again and ended. Two managers do the work: a keeper of our own, or systemd.

mod answer;
mod children;
mod health;
mod host;
mod keeper;
mod listener;
mod log;
mod owner;
mod probe;
mod process;
mod run_directory;
mod state;
mod systemd;

use std::time::{Duration, Instant};

use guard::config::{LifecyclePolicy, Manager};
use guard::diagnostic::{Code, Denial};
use guard::slot::SlotId;
use serde::Serialize;

pub use health::{Health, HealthState};
pub use host::KeeperProgram;
pub use keeper::{Keeping, keep, tell_refusal};
pub use owner::{Owner, Whose, holders};
pub use state::{ExitCause, LastExit, Observation, RunningAs, State, Unit};

use host::Host;
use listener::Listener;
use process::Process;
use run_directory::{Lock, RunDirectory};
use systemd::Systemd;

use crate::StateRoot;
use crate::record::Assignment;

/// How long the wrapper may take to become the program.
const EXEC_PATIENCE: Duration = Duration::from_secs(20);

/// How long the kernel may take to end what was killed.
const KILL_PATIENCE: Duration = Duration::from_secs(10);

/// How long a command waits for another beyond what a start and a stop may take.
const LOCK_PATIENCE: Duration = Duration::from_secs(2);

const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// How many last lines of a log are returned.
const LINES: usize = 20;

/// The backend of one slot.
#[derive(Debug)]
pub struct Backend {
    slot: SlotId,
    policy: LifecyclePolicy,
    directory: RunDirectory,
    keeping: Kept,
}

#[derive(Debug)]
enum Kept {
    Host(Host),
    Systemd(Systemd),
}

/// What a stop has shown about the slot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Freed {
    /// Processes of the slot that still run; always none, or the stop is refused.
    pub processes: usize,
    /// Who listens on the slot's port.
    pub port: FreePort,
    /// Own processes of the caller that do not show whose they are; only asked when a keeper was
    /// killed.
    pub hidden: usize,
}

/// Why a port counts as free.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum FreePort {
    /// Nobody listens.
    Free,
    /// The socket unit of the slot listens, for the next start.
    SocketUnit,
}

impl Backend {
    /// Prepares to work on the backend of a slot.
    ///
    /// # Errors
    /// Refuses a state root that cannot be used.
    pub fn open(state: &StateRoot, slot: SlotId, policy: &LifecyclePolicy) -> Result<Self, Denial> {
        let stop_timeout = policy.stop_timeout;
        let keeping = match policy.manager {
            Manager::Process => Kept::Host(Host::new(state, slot, stop_timeout)),
            Manager::Systemd => Kept::Systemd(Systemd {
                slot,
                unit: policy.backend_unit(slot),
                patience: policy.ready_timeout + stop_timeout + 2 * KILL_PATIENCE,
            }),
        };
        let directory = RunDirectory::open(state, slot)?;
        Ok(Self { slot, policy: policy.clone(), directory, keeping })
    }

    /// Waits for the right to change the backend.
    ///
    /// # Errors
    /// Refuses when another command works on it for longer than a start and a stop take.
    pub fn lock(&self) -> Result<Locked<'_>, Denial> {
        let LifecyclePolicy { ready_timeout, stop_timeout, .. } = &self.policy;
        let lock = self.directory.lock(*ready_timeout + *stop_timeout + LOCK_PATIENCE)?;
        Ok(Locked { backend: self, _lock: lock })
    }

    /// Looks at what runs, without changing anything.
    ///
    /// # Errors
    /// Refuses when the manager cannot be asked, or what it noted cannot be trusted.
    pub fn observe(&self) -> Result<Observation, Denial> {
        match &self.keeping {
            Kept::Host(host) => host.observe(&self.directory),
            Kept::Systemd(unit) => unit.observe(),
        }
    }

    /// Looks at the port and asks the backend once.
    #[must_use]
    pub fn health(&self) -> Health {
        let (slot, path) = (self.slot, &self.policy.health_path);
        if self.sleeps() {
            return health::glance(slot, path, || self.processes());
        }
        health::look(slot, path, || self.processes())
    }

    /// Returns whether the manager listens for a unit that does not run; asking would start it.
    #[must_use]
    pub fn sleeps(&self) -> bool {
        self.observe().is_ok_and(|seen| seen.socket_unit && seen.state != State::Running)
    }

    /// Returns whether the slot's own backend listens on its port; false when nobody does.
    ///
    /// Nobody is asked anything.
    ///
    /// # Errors
    /// Refuses a foreign process on the port, and one that nobody can tell apart.
    pub fn listens(&self) -> Result<bool, Denial> {
        health::listens(self.slot, &self.policy.health_path, || self.processes())
    }

    fn processes(&self) -> Vec<Process> {
        self.observe().map(|seen| seen.processes).unwrap_or_default()
    }

    /// Returns the last lines of the log, cleaned.
    #[must_use]
    pub fn last_lines(&self) -> Vec<String> {
        match &self.keeping {
            Kept::Host(_) => Host::last_lines(&self.directory, LINES),
            Kept::Systemd(unit) => unit.last_lines(LINES),
        }
    }

    /// Waits until the backend is healthy, for as long as the configuration allows.
    ///
    /// # Errors
    /// Refuses a backend that ends, that is not healthy in time, and a foreign process on its port.
    pub fn wait_until_ready(&self) -> Result<Health, NotReady> {
        let end = Instant::now() + self.policy.ready_timeout;
        loop {
            let seen = self.observe().map_err(|denial| NotReady { denial, seen: None })?;
            // How it ended is known when it has ended.
            if seen.state == State::Stopping && Instant::now() < end {
                std::thread::sleep(LOOK_AGAIN);
                continue;
            }
            if seen.state != State::Running {
                let denial = self.refuse_ended(&seen);
                return Err(NotReady { denial, seen: Some(Box::new(seen)) });
            }
            let health = self.health();
            match health.denial(self.slot) {
                None => return Ok(health),
                Some(denial) if Instant::now() >= end || denial.code() == Code::PortForeign => {
                    return Err(NotReady { denial, seen: None });
                }
                Some(_) => std::thread::sleep(LOOK_AGAIN),
            }
        }
    }

    /// Returns the refusal that a backend is which does not run, with how it ended.
    #[must_use]
    pub fn refuse_ended(&self, seen: &Observation) -> Denial {
        let found = match &seen.last_exit {
            Some(LastExit { code: Some(code), .. }) => format!("exit status {code}"),
            Some(LastExit { signal: Some(signal), .. }) => format!("signal {signal}"),
            Some(LastExit { cause: ExitCause::KeeperLost, .. }) => {
                "its keeper was killed".to_owned()
            }
            _ => "a backend that does not run".to_owned(),
        };
        let lines = self.last_lines();
        let words = lines.last().map_or(String::new(), |line| {
            format!("; its last words: `{}`", guard::diagnostic::shown(line))
        });
        Denial::new(
            Code::BackendEnded,
            format!("the backend of {} has ended", self.slot),
            format!("{found}{words}"),
            "a backend that goes on",
        )
    }
}

/// Why a backend is not ready.
#[derive(Debug)]
pub struct NotReady {
    /// The refusal.
    pub denial: Denial,
    /// The look that found the backend ended. A manager that starts it again shows another state
    /// a moment later.
    pub seen: Option<Box<Observation>>,
}

/// A backend that only the holder of this may change.
#[derive(Debug)]
pub struct Locked<'a> {
    backend: &'a Backend,
    _lock: Lock,
}

impl Locked<'_> {
    /// Makes sure that the slot's port is not somebody else's.
    ///
    /// # Errors
    /// Refuses a port on which a foreign process listens, or nobody can tell who does.
    pub fn require_port(&self) -> Result<(), Denial> {
        let Backend { slot, policy, .. } = self.backend;
        let health = health::glance(*slot, &policy.health_path, || self.backend.processes());
        match health.state {
            HealthState::Foreign | HealthState::Undecidable => {
                health.denial(*slot).map_or(Ok(()), Err)
            }
            _ => Ok(()),
        }
    }

    /// Starts the backend from the slot's record; nothing of it must run.
    ///
    /// # Errors
    /// Refuses as the wrapper does, and when the manager cannot start it.
    pub fn start(&self, keeper: &KeeperProgram) -> Result<(), Denial> {
        match &self.backend.keeping {
            Kept::Host(host) => host.start(keeper),
            Kept::Systemd(unit) => unit.start(),
        }
    }

    /// Stops the backend and starts it from the slot's record.
    ///
    /// # Errors
    /// As [`Locked::stop`] and [`Locked::start`].
    pub fn restart(&self, keeper: &KeeperProgram) -> Result<(), Denial> {
        match &self.backend.keeping {
            Kept::Host(_) => {
                self.stop()?;
                self.start(keeper)
            }
            Kept::Systemd(unit) => unit.restart(),
        }
    }

    /// Stops the backend and shows that nothing of it is left.
    ///
    /// # Errors
    /// Refuses to call the slot free while a process of it runs or somebody listens on its port.
    pub fn stop(&self) -> Result<Freed, Denial> {
        let Backend { slot, directory, keeping, .. } = self.backend;
        let seen = self.backend.observe()?;
        let (left, hidden) = match keeping {
            Kept::Host(host) => {
                let left = host.stop(&seen, directory)?;
                (left, if seen.lost.is_some() { host.hidden() } else { 0 })
            }
            Kept::Systemd(unit) => (unit.stop()?, 0),
        };
        if !left.is_empty() {
            return Err(refuse_left(*slot, &left));
        }
        let manager = seen.socket_unit.then(|| Process::find(1)).flatten();
        let port = match listener::find(slot.backend_port(), manager.as_slice()) {
            Listener::Nobody => FreePort::Free,
            Listener::Slot => FreePort::SocketUnit,
            Listener::Foreign(pid) => return Err(refuse_port(*slot, pid)),
            Listener::Undecidable => return Err(refuse_port(*slot, None)),
        };
        Ok(Freed { processes: 0, port, hidden })
    }

    /// Makes sure that what runs is what was asked for.
    ///
    /// # Errors
    /// Refuses a backend of another worktree, program or arguments.
    pub fn require_same(&self, running: &RunningAs, wanted: &Assignment) -> Result<(), Denial> {
        let Assignment { worktree, program, args, .. } = wanted;
        let same =
            running.worktree == *worktree && running.program == *program && running.args == *args;
        if same {
            return Ok(());
        }
        let name = |worktree: &Option<String>, program: &str| {
            let worktree = worktree.as_deref().unwrap_or("the slot's home");
            format!(
                "`{}` in `{}`",
                guard::diagnostic::shown(program),
                guard::diagnostic::shown(worktree)
            )
        };
        Err(Denial::new(
            Code::BackendDiffers,
            format!("{} runs something else", self.backend.slot),
            name(&running.worktree, &running.program),
            format!("{}, with the arguments given", name(worktree, program)),
        ))
    }
}

fn refuse_left(slot: SlotId, left: &[Process]) -> Denial {
    let pids: Vec<String> = left.iter().map(|process| process.pid.to_string()).collect();
    Denial::new(
        Code::BackendLeft,
        format!("processes of {slot} are left"),
        format!("pid {}", pids.join(", ")),
        "no process of the slot",
    )
}

fn refuse_port(slot: SlotId, pid: Option<i32>) -> Denial {
    let port = slot.backend_port();
    let by = pid.map_or("somebody".to_owned(), |pid| format!("pid {pid}"));
    Denial::new(
        Code::BackendLeft,
        format!("the port of {slot} is not free"),
        format!("{by} listens on port {port}"),
        "nobody listens",
    )
}
