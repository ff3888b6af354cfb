//! Runs SQL through the `psql` program.
//!
//! The text goes in by a file in memory and not by a pipe: `psql` prints while it reads, so with two
//! pipes a long text and a long answer would wait for each other. The login goes in by the
//! environment, which only the server's user and root can read and which ends with the process, so
//! there is no password file to remove. Nothing here reads or quotes SQL.

use std::fs::File;
use std::io::{self, Seek, Write};
use std::path::Path;
use std::process::{ExitStatus, Output, Stdio};

use rustix::fs::{MemfdFlags, memfd_create};
use thiserror::Error;

use crate::command;
use crate::user::ServerUser;

/// Why SQL did not run to its end.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SqlError {
    /// `psql` did not run.
    #[error("cannot run `psql`")]
    Psql {
        /// What the system said.
        source: io::Error,
    },
    /// The server refused the login or a statement.
    #[error("`psql` failed ({status}): {message}")]
    Failed {
        /// How `psql` ended: exit status 2 for a refused login, 3 for a refused statement.
        status: ExitStatus,
        /// What `psql` and the server said. It may quote the statement.
        message: String,
    },
    /// The answer is not text.
    #[error("`psql` printed bytes that are not UTF-8")]
    NotText {
        /// Where the text ends.
        source: std::string::FromUtf8Error,
    },
}

/// Whom to be, and where.
pub(crate) struct Login<'a> {
    pub(crate) host: &'a Path,
    pub(crate) port: u16,
    pub(crate) role: &'a str,
    pub(crate) password: &'a str,
    pub(crate) database: &'a str,
}

/// Runs statements up to the first that fails, and returns what they print.
pub(crate) fn run(
    psql: &Path,
    user: &ServerUser,
    login: &Login<'_>,
    sql: &str,
) -> Result<String, SqlError> {
    let output = in_memory(sql)
        .and_then(|sql| run_psql(psql, user, login, sql))
        .map_err(|source| SqlError::Psql { source })?;
    if !output.status.success() {
        return Err(SqlError::Failed {
            status: output.status,
            message: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        });
    }
    String::from_utf8(output.stdout).map_err(|source| SqlError::NotText { source })
}

fn in_memory(text: &str) -> io::Result<File> {
    let mut file = File::from(memfd_create(c"sql", MemfdFlags::CLOEXEC)?);
    file.write_all(text.as_bytes())?;
    file.rewind()?;
    Ok(file)
}

fn run_psql(psql: &Path, user: &ServerUser, login: &Login<'_>, sql: File) -> io::Result<Output> {
    // Not `--dbname` or `--host`: there `psql` would read `host=elsewhere` or a URL as orders.
    command::as_user(psql, user)
        .args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1"])
        .env("PGHOST", login.host)
        .env("PGPORT", login.port.to_string())
        .env("PGUSER", login.role)
        .env("PGPASSWORD", login.password)
        .env("PGDATABASE", login.database)
        .env("PGCLIENTENCODING", "UTF8")
        .env("PGCONNECT_TIMEOUT", "10")
        .env("PGSSLMODE", "disable")
        .stdin(Stdio::from(sql))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .output()
}
