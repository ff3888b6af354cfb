//! The process that cleans up when this one cannot.
//!
//! A shell waits for the end of a pipe whose only write end is in this process, and then runs
//! `watchdog.sh` to its end. It runs as the server's user, which may signal the server, look at its
//! entry in `/proc`, and remove its files, and may do none of that to anybody else's. An orderly
//! stop goes the same way, so that there is one way to clean up and every stop exercises it.
//!
//! `PR_SET_PDEATHSIG` does not serve here: it fires when the *thread* that started the server ends,
//! and it leaves the directory behind.

use std::io::{self, Read};
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::Duration;

use thiserror::Error;

use crate::command;
use crate::process::wait_within;
use crate::user::ServerUser;

/// A running watchdog, and the pipe that holds it back.
///
/// The standard library makes pipes close-on-exec, so no other child inherits the write end; it is
/// the child's `stdin`, and closing it is what sets the watchdog off.
#[derive(Debug)]
pub(crate) struct Watchdog {
    child: Child,
}

/// Why no watchdog was started.
#[derive(Debug, Error)]
pub(crate) enum WatchdogError {
    #[error("cannot start the watchdog `{SHELL}`")]
    Start { source: io::Error },
    #[error("{said}")]
    Refused { said: String },
}

impl Watchdog {
    /// Starts a watchdog, which makes `directory` as the server's user.
    ///
    /// That the watchdog makes what it will remove leaves no moment in which a killed parent would
    /// leave the directory behind.
    pub(crate) fn start(
        user: &ServerUser,
        directory: &Path,
        programs: &Path,
    ) -> Result<Self, WatchdogError> {
        let child = command::as_user(Path::new(SHELL), user)
            .args(["-c", SCRIPT, "throwaway-postgres-watchdog"])
            .args([directory, programs])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|source| WatchdogError::Start { source })?;
        let mut watchdog = Self { child };
        let said = watchdog.first_words().map_err(|source| WatchdogError::Start { source })?;
        if said.trim_end() == "ready" {
            Ok(watchdog)
        } else {
            Err(WatchdogError::Refused { said: said.trim_end().replace('\n', "; ") })
        }
    }

    /// Lets the watchdog clean up and waits for it; safe to repeat.
    pub(crate) fn finish(&mut self) {
        drop(self.child.stdin.take());
        if let Ok(None) = wait_within(&mut self.child, PATIENCE) {
            // It is stuck in a way it did not foresee. What it leaves is the caller's to report.
            let _ = self.child.kill();
            let _ = wait_within(&mut self.child, PATIENCE);
        }
    }

    /// Ends the watchdog as an ill-wisher would.
    #[cfg(test)]
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Reads what the script prints before it closes its standard output.
    fn first_words(&mut self) -> io::Result<String> {
        let mut said = String::new();
        if let Some(mut stdout) = self.child.stdout.take() {
            stdout.read_to_string(&mut said)?;
        }
        Ok(said)
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.finish();
    }
}

const SHELL: &str = "/bin/sh";
const SCRIPT: &str = include_str!("watchdog.sh");

/// More than the script takes when every one of its own waits runs out.
const PATIENCE: Duration = Duration::from_secs(60);
