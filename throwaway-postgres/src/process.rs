//! Ends a child process politely, then firmly, and never waits without end.
//!
//! It signals only children this process has not reaped, so a pid cannot have been recycled.

use std::io;
use std::path::PathBuf;
use std::process::{Child, ExitStatus};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use thiserror::Error;

/// Why a cluster was not stopped without a trace.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StopError {
    /// A server program outlived every signal.
    #[error("process {pid} is still there after SIGINT, SIGQUIT and SIGKILL")]
    StillRunning {
        /// The process that is left.
        pid: u32,
    },
    /// A server program can no longer be waited for.
    #[error("cannot wait for process {pid}")]
    Wait {
        /// The process that was waited for.
        pid: u32,
        /// What the system said.
        source: io::Error,
    },
    /// The directory is still there.
    #[error("cannot remove `{}`", path.display())]
    Remove {
        /// The directory that is left.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// A child process that is ended when this value is dropped.
#[derive(Debug)]
pub(crate) struct ServerProcess {
    child: Child,
}

impl ServerProcess {
    pub(crate) fn new(child: Child) -> Self {
        Self { child }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits for the process to end by itself.
    pub(crate) fn wait_within(&mut self, patience: Duration) -> io::Result<Option<ExitStatus>> {
        wait_within(&mut self.child, patience)
    }

    /// Ends the process; safe to repeat.
    pub(crate) fn end(&mut self) -> Result<(), StopError> {
        self.end_by(&LADDER)
    }

    /// Ends the process without letting it put anything in order; safe to repeat.
    pub(crate) fn crash(&mut self) -> Result<(), StopError> {
        self.end_by(&LADDER[1..])
    }

    fn end_by(&mut self, ladder: &[(Signal, Duration)]) -> Result<(), StopError> {
        let pid = self.id();
        for &(signal, patience) in ladder {
            if let Some(pid) = Pid::from_raw(pid.cast_signed())
                && self.is_running()
            {
                // A process that ended just now is not an error.
                let _ = kill_process(pid, signal);
            }
            let status = self.wait_within(patience);
            if status.map_err(|source| StopError::Wait { pid, source })?.is_some() {
                return Ok(());
            }
        }
        Err(StopError::StillRunning { pid })
    }

    /// Returns whether the process is there and not reaped, so that its pid is still its own.
    fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        let _ = self.end();
    }
}

/// Waits for a child, for a bounded time.
pub(crate) fn wait_within(child: &mut Child, patience: Duration) -> io::Result<Option<ExitStatus>> {
    let deadline = Instant::now() + patience;
    loop {
        let status = child.try_wait()?;
        if status.is_some() || Instant::now() >= deadline {
            return Ok(status);
        }
        thread::sleep(POLL);
    }
}

pub(crate) const POLL: Duration = Duration::from_millis(5);

/// SIGINT makes the server shut down fast, SIGQUIT at once. SIGKILL never comes first: it leaves
/// the server's shared memory behind.
const LADDER: [(Signal, Duration); 3] = [
    (Signal::INT, Duration::from_secs(10)),
    // The server itself gives its children 5 s before it kills them.
    (Signal::QUIT, Duration::from_secs(10)),
    (Signal::KILL, Duration::from_secs(5)),
];
