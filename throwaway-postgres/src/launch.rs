//! Brings a cluster up: `initdb`, then `postgres`, each watched until it has done its part.
//!
//! Readiness is read from `postmaster.pid`; nothing connects to the server to find out.

use std::fs;
use std::io::{self, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::{Command, ExitStatus};
use std::thread;
use std::time::{Duration, Instant};

use thiserror::Error;

use crate::command;
use crate::directory::{DirectoryError, RunDirectory};
use crate::log::Log;
use crate::password::Password;
use crate::process::{POLL, ServerProcess};
use crate::programs::ServerPrograms;
use crate::settings::{SettingError, Settings, argument};
use crate::sql::Login;
use crate::user::{ServerUser, UserError};

/// The superuser of every cluster.
pub(crate) const SUPERUSER: &str = "postgres";

/// The directory of the database files, inside the cluster's own.
pub(crate) const DATA: &str = "data";

/// Why a cluster did not start.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StartError {
    /// There is no user to run the server as.
    #[error(transparent)]
    User(#[from] UserError),
    /// A setting was refused.
    #[error(transparent)]
    Setting(#[from] SettingError),
    /// There is no directory for the cluster.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// No password was made.
    #[error("cannot make up a random password")]
    Password {
        /// What the system said.
        source: io::Error,
    },
    /// The password was not handed to `initdb`.
    #[error("cannot write the password file for `initdb`")]
    PasswordFile {
        /// What the system said.
        source: io::Error,
    },
    /// A server program did not run.
    #[error("cannot run `{program}`")]
    Program {
        /// The program that was started.
        program: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// `initdb` gave up because it does not know who it is.
    #[error(
        "`initdb` needs a user with an entry in /etc/passwd, and uid {uid} has none; it said:\n{log}"
    )]
    UnknownUser {
        /// The user `initdb` ran as.
        uid: u32,
        /// The last lines of its output.
        log: String,
    },
    /// `initdb` gave up.
    #[error("`initdb` failed ({status}); it said:\n{log}")]
    Initdb {
        /// How it ended.
        status: ExitStatus,
        /// The last lines of its output.
        log: String,
    },
    /// The files of another cluster were not copied.
    #[error("`pg_basebackup` failed ({status}); it said:\n{log}")]
    Copy {
        /// How it ended.
        status: ExitStatus,
        /// The last lines of its output.
        log: String,
    },
    /// The port that was asked for is taken.
    #[error("port {port} of 127.0.0.1 is in use; choose another one, or 0 for any free one")]
    PortInUse {
        /// The port that was asked for.
        port: u16,
    },
    /// No free port was found.
    #[error("cannot find a free port of 127.0.0.1")]
    NoFreePort {
        /// What the system said.
        source: io::Error,
    },
    /// The server gave up.
    #[error("the server ended before it was ready ({status}); its log ends with:\n{log}")]
    Ended {
        /// How it ended.
        status: ExitStatus,
        /// The last lines of its log.
        log: String,
    },
    /// A server program takes too long.
    #[error("`{program}` is not done after {} s; its log ends with:\n{log}", patience.as_secs())]
    TooSlow {
        /// The program that was waited for.
        program: &'static str,
        /// How long it was waited for.
        patience: Duration,
        /// The last lines of its log.
        log: String,
    },
}

/// Everything that is settled before the first program runs.
#[derive(Debug)]
pub(crate) struct Launch<'a> {
    pub(crate) programs: &'a ServerPrograms,
    pub(crate) user: &'a ServerUser,
    pub(crate) directory: &'a RunDirectory,
    pub(crate) log: &'a Log,
    pub(crate) settings: &'a Settings,
}

impl Launch<'_> {
    /// Makes the database files.
    pub(crate) fn initdb(&self, password: &Password) -> Result<(), StartError> {
        let mut file = self.directory.new_file(PASSWORD_FILE)?;
        writeln!(file, "{}", password.as_str())
            .map_err(|source| StartError::PasswordFile { source })?;
        let mut command = command::as_user(&self.programs.initdb(), self.user);
        command
            .args(["-D", DATA, "-U", SUPERUSER, "-A", "scram-sha-256"])
            .arg(format!("--pwfile={PASSWORD_FILE}"))
            .args(["--no-sync", "--wal-segsize=1", "--locale=C", "-E", "UTF8"]);
        let mut initdb = self.run("initdb", command)?;
        let ended = initdb.wait_within(PATIENCE).map_err(in_program("initdb"))?;
        // The file has done its part. Leaving it would do no harm that the directory does not.
        let _ = fs::remove_file(self.directory.path().join(PASSWORD_FILE));
        match ended {
            Some(status) if status.success() => Ok(()),
            Some(_) if !self.user.has_passwd_entry() => {
                Err(StartError::UnknownUser { uid: self.user.uid(), log: self.log.tail(0) })
            }
            Some(status) => Err(StartError::Initdb { status, log: self.log.tail(0) }),
            None => Err(self.too_slow("initdb", 0)),
        }
    }

    /// Copies the database files of a running cluster.
    pub(crate) fn copy(&self, from: &Login<'_>, standby: bool) -> Result<(), StartError> {
        let mut command = command::as_user(&self.programs.pg_basebackup(), self.user);
        command
            .args(["-D", DATA, "--checkpoint=fast", "--wal-method=fetch", "--no-sync"])
            .env("PGHOST", from.host)
            .env("PGPORT", from.port.to_string())
            .env("PGUSER", from.role)
            .env("PGPASSWORD", from.password);
        if standby {
            command.arg("--write-recovery-conf");
        }
        let mut copying = self.run("pg_basebackup", command)?;
        match copying.wait_within(PATIENCE).map_err(in_program("pg_basebackup"))? {
            Some(status) if status.success() => Ok(()),
            Some(status) => Err(StartError::Copy { status, log: self.log.tail(0) }),
            None => Err(self.too_slow("pg_basebackup", 0)),
        }
    }

    /// Starts the server on the port asked for, or on a free one if that is 0.
    pub(crate) fn server(&self, port: u16) -> Result<(ServerProcess, u16), StartError> {
        if port != 0 {
            return Ok((self.server_on(port)?, port));
        }
        let mut attempts = ATTEMPTS;
        loop {
            let port = free_port()?;
            match self.server_on(port) {
                // Somebody else took the port after it was found free.
                Err(StartError::PortInUse { .. }) if attempts > 0 => attempts -= 1,
                started => return Ok((started?, port)),
            }
        }
    }

    /// Starts the server on the port that it had before it ended.
    ///
    /// While nobody listened, the kernel may have lent the port to somebody's outgoing connection.
    pub(crate) fn server_again(&self, port: u16) -> Result<ServerProcess, StartError> {
        let mut attempts = ATTEMPTS;
        loop {
            match self.server_on(port) {
                Err(StartError::PortInUse { .. }) if attempts > 0 => attempts -= 1,
                started => return started,
            }
            thread::sleep(PORT_PAUSE);
        }
    }

    fn server_on(&self, port: u16) -> Result<ServerProcess, StartError> {
        let log_start = self.log.len();
        let mut command = command::as_user(&self.programs.postgres(), self.user);
        command.args(["-D", DATA]);
        for argument in own_settings(self.directory.path(), port) {
            command.args(["-c", &argument]);
        }
        for argument in self.settings.arguments() {
            command.args(["-c", argument]);
        }
        let mut server = self.run("postgres", command)?;
        self.wait_until_ready(&mut server, port, log_start)?;
        Ok(server)
    }

    fn wait_until_ready(
        &self,
        server: &mut ServerProcess,
        port: u16,
        log_start: u64,
    ) -> Result<(), StartError> {
        let pid_file = self.directory.path().join(DATA).join("postmaster.pid");
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            let ended = server.wait_within(POLL).map_err(in_program("postgres"))?;
            if let Some(status) = ended {
                let log = self.log.tail(log_start);
                return Err(if log.contains(ADDRESS_IN_USE) {
                    StartError::PortInUse { port }
                } else {
                    StartError::Ended { status, log }
                });
            }
            if fs::read_to_string(&pid_file).is_ok_and(|text| is_ready(&text, server.id())) {
                return Ok(());
            }
        }
        Err(self.too_slow("postgres", log_start))
    }

    /// Starts a program in the cluster's directory, where the watchdog looks for it.
    ///
    /// The arguments name files relative to it: a program that is only just starting while the
    /// watchdog removes the directory must not make it again.
    fn run(
        &self,
        program: &'static str,
        mut command: Command,
    ) -> Result<ServerProcess, StartError> {
        let logged = |command: &mut Command| {
            command
                .stdout(self.log.stream()?)
                .stderr(self.log.stream()?)
                .current_dir(self.directory.path())
                .spawn()
        };
        logged(&mut command).map(ServerProcess::new).map_err(in_program(program))
    }

    fn too_slow(&self, program: &'static str, log_start: u64) -> StartError {
        StartError::TooSlow { program, patience: PATIENCE, log: self.log.tail(log_start) }
    }
}

/// Refuses a port that is taken, before any work is done for it.
pub(crate) fn check_port(port: u16) -> Result<(), StartError> {
    match TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            Err(StartError::PortInUse { port })
        }
        // Any other answer is this process's; the server's user may get another one.
        _ => Ok(()),
    }
}

fn free_port() -> Result<u16, StartError> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .and_then(|listener| listener.local_addr())
        .map(|address| address.port())
        .map_err(|source| StartError::NoFreePort { source })
}

fn own_settings(directory: &Path, port: u16) -> [String; 7] {
    [
        argument("listen_addresses", "127.0.0.1"),
        argument("port", &port.to_string()),
        // Quoted, since the value is a list; `RunDirectory` admits no quote in the path.
        argument("unix_socket_directories", &format!("\"{}\"", directory.display())),
        argument("unix_socket_permissions", "0700"),
        argument("log_destination", "stderr"),
        argument("logging_collector", "off"),
        argument("lc_messages", "C"),
    ]
}

/// Returns whether `postmaster.pid` says that the server `pid` takes connections.
fn is_ready(pid_file: &str, pid: u32) -> bool {
    let mut lines = pid_file.lines();
    let is_ours = lines.next() == Some(pid.to_string().as_str());
    is_ours && lines.nth(6).is_some_and(|line| line.trim_end() == "ready")
}

fn in_program(program: &'static str) -> impl Fn(io::Error) -> StartError {
    move |source| StartError::Program { program, source }
}

const PASSWORD_FILE: &str = "password";

/// What the server logs, in the locale `C`, when it cannot listen.
const ADDRESS_IN_USE: &str = "Address already in use";

const ATTEMPTS: u32 = 20;
const PORT_PAUSE: Duration = Duration::from_millis(200);
const PATIENCE: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readiness_needs_our_pid_and_the_word_on_line_eight() {
        let file = |pid: &str, status: &str| {
            format!("{pid}\n/data\n1\n5432\n/run\n127.0.0.1\n  12 34\n{status}\n")
        };
        assert!(is_ready(&file("77", "ready   "), 77));
        for text in [
            file("77", "starting"),
            file("77", "standby "),
            file("78", "ready   "),
            file("-77", "ready   "),
            "77\nready\n".to_owned(),
            String::new(),
        ] {
            assert!(!is_ready(&text, 77), "{text}");
        }
    }

    #[test]
    fn a_taken_port_is_refused_and_a_free_one_is_not() {
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = taken.local_addr().unwrap().port();
        assert_eq!(
            check_port(port).unwrap_err().to_string(),
            format!(
                "port {port} of 127.0.0.1 is in use; choose another one, or 0 for any free one"
            )
        );
        check_port(0).unwrap();
    }
}
