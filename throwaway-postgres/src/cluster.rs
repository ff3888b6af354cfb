//! A running cluster and the way to ask for one.
//!
//! What a cluster is asked for is kept as it was given and checked when it starts.

use std::path::{Path, PathBuf};

use crate::directory::RunDirectory;
use crate::launch::{DATA, Launch, SUPERUSER, StartError, check_port};
use crate::log::Log;
use crate::password::Password;
use crate::process::{ServerProcess, StopError};
use crate::programs::ServerPrograms;
use crate::settings::Settings;
use crate::sql::{self, Login, SqlError};
use crate::user::ServerUser;

/// A running Postgres server with its own, fresh database cluster.
///
/// It listens on 127.0.0.1 and on a unix socket, asks everybody for a password, and is ended and
/// removed when this value is dropped or the process ends in any way. After the process was killed
/// the watchdog takes a moment to do so.
#[derive(Debug)]
pub struct Cluster {
    // Dropped in this order: the server ends before its directory goes.
    server: ServerProcess,
    directory: RunDirectory,
    user: ServerUser,
    settings: Settings,
    log: Log,
    data: PathBuf,
    port: u16,
    password: Password,
    builder: ClusterBuilder,
}

/// What becomes of a copy of a running cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CopyAs {
    /// It goes its own way from the moment of the copy, with the same system identifier.
    Primary,
    /// It follows the original and takes no writes.
    Standby,
}

/// What a cluster is asked to be.
#[derive(Debug, Clone)]
pub struct ClusterBuilder {
    programs: ServerPrograms,
    port: u16,
    base: Option<PathBuf>,
    settings: Vec<(String, String)>,
}

impl ClusterBuilder {
    /// Chooses the TCP port; 0, the default, stands for any free one.
    #[must_use]
    pub fn port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// Chooses the directory that the cluster's own directory is made in.
    ///
    /// The user the server runs as must be able to reach it and write to it. The default is
    /// `/dev/shm` if that has room, else the directory for temporary files.
    #[must_use]
    pub fn base_directory(mut self, base: impl Into<PathBuf>) -> Self {
        self.base = Some(base.into());
        self
    }

    /// Adds a server setting, such as `max_connections`.
    ///
    /// It stands on the server's command line, where everybody on the machine can read it.
    #[must_use]
    pub fn setting(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.settings.push((name.into(), value.into()));
        self
    }

    /// Makes the cluster and waits until the server takes connections.
    ///
    /// # Errors
    ///
    /// [`StartError`]; nothing is left behind then.
    pub fn start(self) -> Result<Cluster, StartError> {
        let settings = Settings::parse(&self.settings)?;
        check_port(self.port)?;
        let user = ServerUser::for_this_process()?;
        let password = Password::generate().map_err(|source| StartError::Password { source })?;
        let directory = RunDirectory::make(self.base.as_deref(), &user, self.programs.directory())?;
        let log = Log::new(directory.new_file(LOG)?);
        let launch = Launch {
            programs: &self.programs,
            user: &user,
            directory: &directory,
            log: &log,
            settings: &settings,
        };
        launch.initdb(&password)?;
        let (server, port) = launch.server(self.port)?;
        Ok(Cluster {
            data: directory.path().join(DATA),
            server,
            directory,
            user,
            settings,
            log,
            port,
            password,
            builder: self,
        })
    }
}

impl Cluster {
    /// Returns the description of a cluster with nothing chosen yet.
    pub fn builder(programs: ServerPrograms) -> ClusterBuilder {
        ClusterBuilder { programs, port: 0, base: None, settings: Vec::new() }
    }

    /// Returns the address the server listens on, `127.0.0.1`.
    pub fn host(&self) -> &'static str {
        HOST
    }

    /// Returns the TCP port the server listens on, which also names its unix socket.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Returns the name of the superuser, `postgres`.
    pub fn superuser(&self) -> &'static str {
        SUPERUSER
    }

    /// Returns the superuser's password: random, of hexadecimal digits, good until the end.
    ///
    /// Give it to a child by its environment or a file, not as an argument.
    pub fn password(&self) -> &str {
        self.password.as_str()
    }

    /// Returns the directory of the unix socket, which only the server's user and root can enter.
    pub fn socket_dir(&self) -> &Path {
        self.directory.path()
    }

    /// Returns the data directory, with `pg_hba.conf` and the rest of the configuration.
    pub fn data_dir(&self) -> &Path {
        &self.data
    }

    /// Returns the process id of the server.
    pub fn pid(&self) -> u32 {
        self.server.id()
    }

    /// Returns the programs the server was started from.
    pub fn programs(&self) -> &ServerPrograms {
        &self.builder.programs
    }

    /// Runs SQL as the superuser over the unix socket and returns what it prints.
    ///
    /// Rows are lines and columns are separated by `|`. Each statement is its own transaction. It
    /// may hold `psql` commands, which run as the server's user.
    ///
    /// # Errors
    ///
    /// [`SqlError`] when the login or a statement was refused; the statements after it do not run.
    pub fn run_sql(&self, database: &str, sql: &str) -> Result<String, SqlError> {
        sql::run(self.builder.programs.psql(), &self.user, &self.superuser_login(database), sql)
    }

    /// Runs SQL as any role over TCP, the way a client does; otherwise like [`Cluster::run_sql`].
    ///
    /// # Errors
    ///
    /// [`SqlError`] when the login or a statement was refused; the statements after it do not run.
    pub fn run_sql_as(
        &self,
        role: &str,
        password: &str,
        database: &str,
        sql: &str,
    ) -> Result<String, SqlError> {
        let login = Login { host: Path::new(HOST), port: self.port, role, password, database };
        sql::run(self.builder.programs.psql(), &self.user, &login, sql)
    }

    /// Copies the files of this running cluster and serves the copy on a port of its own.
    ///
    /// The superuser's password is the same. It needs `pg_basebackup` beside the server programs.
    ///
    /// # Errors
    ///
    /// [`StartError`]; nothing is left behind then.
    pub fn copy(&self, kind: CopyAs) -> Result<Self, StartError> {
        let settings = Settings::parse(&self.builder.settings)?;
        let base = self.builder.base.as_deref();
        let directory = RunDirectory::make(base, &self.user, self.builder.programs.directory())?;
        let log = Log::new(directory.new_file(LOG)?);
        let launch = Launch {
            programs: &self.builder.programs,
            user: &self.user,
            directory: &directory,
            log: &log,
            settings: &settings,
        };
        launch.copy(&self.superuser_login("postgres"), kind == CopyAs::Standby)?;
        let (server, port) = launch.server(0)?;
        Ok(Self {
            data: directory.path().join(DATA),
            server,
            directory,
            user: self.user,
            settings,
            log,
            port,
            password: self.password.clone(),
            builder: self.builder.clone(),
        })
    }

    fn superuser_login<'a>(&'a self, database: &'a str) -> Login<'a> {
        Login {
            host: self.socket_dir(),
            port: self.port,
            role: SUPERUSER,
            password: self.password(),
            database,
        }
    }

    /// Ends the server at once, the way a crash does, and keeps the cluster for [`Cluster::restart`].
    ///
    /// Sessions break off, nothing is flushed, and the next start recovers from the write-ahead log.
    /// It is SIGQUIT and no power failure: what the server gave to the kernel is not lost. Without the
    /// setting `synchronous_commit=on`, the last moment's commits are.
    ///
    /// # Errors
    ///
    /// [`StopError`] when the server does not end.
    pub fn crash(&mut self) -> Result<(), StopError> {
        self.server.crash()
    }

    /// Starts the server again after [`Cluster::crash`]: the same files, settings, password and port.
    ///
    /// # Errors
    ///
    /// [`StartError`] when the server still runs, does not come up, or its port stays taken; the
    /// cluster is kept, so this can be tried again.
    pub fn restart(&mut self) -> Result<(), StartError> {
        let launch = Launch {
            programs: &self.builder.programs,
            user: &self.user,
            directory: &self.directory,
            log: &self.log,
            settings: &self.settings,
        };
        self.server = launch.server_again(self.port)?;
        Ok(())
    }

    /// Ends the server and removes the cluster, as dropping it does, and tells what went wrong.
    ///
    /// # Errors
    ///
    /// [`StopError`] names what is left.
    pub fn stop(mut self) -> Result<(), StopError> {
        let ended = self.server.end();
        // Even then: the watchdog may have better luck, and the directory must not stay.
        let removed = self.directory.remove();
        ended.and(removed)
    }
}

const HOST: &str = "127.0.0.1";
const LOG: &str = "server.log";
