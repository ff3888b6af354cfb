//! What is seen of a backend, the same for both managers.

use serde::{Deserialize, Serialize};

use super::process::Process;
use super::run_directory::Run;
use crate::record::Assignment;

/// The states of a backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// It runs; whether it can be used is its health.
    Running,
    /// It is on its way to an end.
    Stopping,
    /// It does not run, and was told to stop or never started since the host did.
    Stopped,
    /// It ended by itself with status 0.
    Ended,
    /// It ended by itself in another way, or its keeper or unit failed.
    Failed,
}

/// What a look at a backend found.
#[derive(Debug, Clone, Serialize)]
pub struct Observation {
    /// The state.
    pub state: State,
    /// The process of the backend, while it runs.
    pub pid: Option<i32>,
    /// When the present or last run began.
    pub started_at: Option<String>,
    /// What runs.
    pub running_as: Option<RunningAs>,
    /// How the last run ended.
    pub last_exit: Option<LastExit>,
    /// What the service manager says of the unit.
    pub unit: Option<Unit>,
    #[serde(skip)]
    pub(crate) keeper: Option<Process>,
    /// A run whose keeper was killed before it could end it.
    #[serde(skip)]
    pub(crate) lost: Option<Run>,
    #[serde(skip)]
    pub(crate) processes: Vec<Process>,
    /// Whether the service manager itself may hold the slot's port.
    #[serde(skip)]
    pub(crate) socket_unit: bool,
}

impl Observation {
    /// Returns whether a keeper was killed, so that something may be left of its run.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.lost.is_some()
    }

    pub(crate) fn stopped() -> Self {
        Self {
            state: State::Stopped,
            pid: None,
            started_at: None,
            running_as: None,
            last_exit: None,
            unit: None,
            keeper: None,
            lost: None,
            processes: Vec::new(),
            socket_unit: false,
        }
    }
}

/// What a backend was started as.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RunningAs {
    /// The worktree.
    pub worktree: Option<String>,
    /// The key of the program.
    pub program: String,
    /// What follows the arguments of the program's entry.
    pub args: Vec<String>,
}

impl From<Assignment> for RunningAs {
    fn from(assignment: Assignment) -> Self {
        let Assignment { worktree, program, args, .. } = assignment;
        Self { worktree, program, args }
    }
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct LastExit {
    /// When, where that is known.
    pub at: Option<String>,
    /// Why.
    pub cause: ExitCause,
    /// The exit status of the backend, if it exited.
    pub code: Option<i32>,
    /// The signal that ended the backend, if one did.
    pub signal: Option<i32>,
}

/// Why a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ExitCause {
    /// It was told to stop.
    Stopped,
    /// It ended by itself.
    Ended,
    /// Its keeper was killed, and it with it.
    KeeperLost,
}

/// What the service manager says of a unit, in its own words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Unit {
    /// The name of the unit.
    pub name: String,
    /// `ActiveState`.
    pub active_state: String,
    /// `SubState`.
    pub sub_state: String,
    /// `Result`.
    pub result: String,
    /// `ExecMainStatus`.
    pub exec_main_status: Option<i32>,
    /// `NRestarts`.
    pub restarts: Option<u32>,
}
