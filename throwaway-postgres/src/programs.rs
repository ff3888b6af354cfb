//! Finds the programs of an installed Postgres server.
//!
//! It reads no environment: the caller passes what its own environment says. It does not download
//! or install anything; the error names the command that does.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use thiserror::Error;

use crate::command;

/// The programs of one installed Postgres server, checked to be there and to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerPrograms {
    directory: PathBuf,
    psql: PathBuf,
    major: u32,
}

/// Why no server programs were found.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum FindError {
    /// No place has a complete set of programs.
    #[error(
        "found no PostgreSQL server (`postgres`, `initdb` and `psql`); looked on PATH `{}` and in \
         {SYSTEM_DIRECTORY}/<major>/bin{}; install one with `{INSTALL}`",
        path.to_string_lossy(),
        skipped(unsuitable)
    )]
    NotFound {
        /// The search path that was looked at.
        path: OsString,
        /// Why the directories that do have a `postgres` were not taken.
        unsuitable: Vec<UnsuitableDirectory>,
    },
    /// The directory that was asked for cannot be used.
    #[error(
        "cannot use the PostgreSQL server programs in `{}`, which were asked for; correct the \
         directory, or leave it out and install a server with `{INSTALL}`",
        directory.display()
    )]
    Override {
        /// The directory that was asked for.
        directory: PathBuf,
        /// What is wrong with it.
        source: UnsuitableDirectory,
    },
}

/// Why one directory does not serve as the directory of the server programs.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum UnsuitableDirectory {
    /// The directory lacks a program.
    #[error("`{}` has no executable `{program}`", directory.display())]
    Missing {
        /// The directory that was looked at.
        directory: PathBuf,
        /// The program it lacks.
        program: &'static str,
    },
    /// There is a server, but no `psql` beside it or on the search path.
    #[error(
        "no executable `psql` in `{}` or on PATH `{}`",
        directory.display(),
        path.to_string_lossy()
    )]
    NoPsql {
        /// The directory of the server.
        directory: PathBuf,
        /// The search path that was looked at.
        path: OsString,
    },
    /// The server program does not run.
    #[error("cannot run `{} --version`", program.display())]
    DoesNotRun {
        /// The program that was tried.
        program: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The server program does not say which version it is.
    #[error(
        "`{} --version` printed `{printed}`; expected `postgres (PostgreSQL) <version>`",
        program.display()
    )]
    UnknownVersion {
        /// The program that was tried.
        program: PathBuf,
        /// What it printed.
        printed: String,
    },
}

impl ServerPrograms {
    /// Finds the server programs of this machine.
    ///
    /// The first of these wins: `override_directory`, which must be right when it is given; the
    /// search path `path`; the newest of `/usr/lib/postgresql/<major>/bin`. A `postgres` on the
    /// search path that is a symlink stands for the directory it points into, because `initdb` is
    /// found there.
    ///
    /// # Errors
    ///
    /// [`FindError`] says what was looked for, where, and how to install it.
    pub fn find(
        override_directory: Option<&Path>,
        path: Option<&OsStr>,
    ) -> Result<Self, FindError> {
        if let Some(directory) = override_directory {
            return Self::in_directory(directory, path)
                .map_err(|source| FindError::Override { directory: directory.to_owned(), source });
        }
        let installed = newest_first(installed_majors(Path::new(SYSTEM_DIRECTORY)));
        Self::first_of(on_path(path).into_iter().chain(installed), path)
    }

    /// Returns the server programs in one directory.
    ///
    /// A `psql` that is not in that directory is looked up on the search path `path`.
    ///
    /// # Errors
    ///
    /// [`UnsuitableDirectory`] when a program is missing or the server does not run.
    pub fn in_directory(
        directory: &Path,
        path: Option<&OsStr>,
    ) -> Result<Self, UnsuitableDirectory> {
        let directory = std::path::absolute(directory).unwrap_or_else(|_| directory.to_owned());
        for program in ["postgres", "initdb"] {
            if !is_executable(&directory.join(program)) {
                return Err(UnsuitableDirectory::Missing { directory, program });
            }
        }
        let psql = find_psql(&directory, path)?;
        let major = version_of(&directory.join("postgres"))?;
        Ok(Self { directory, psql, major })
    }

    /// Returns the major version of the server, such as 15.
    pub fn major(&self) -> u32 {
        self.major
    }

    /// Returns the directory that has `postgres` and `initdb`.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Returns the `psql` program, which may come from another directory than the server.
    pub fn psql(&self) -> &Path {
        &self.psql
    }

    pub(crate) fn postgres(&self) -> PathBuf {
        self.directory.join("postgres")
    }

    pub(crate) fn pg_basebackup(&self) -> PathBuf {
        self.directory.join("pg_basebackup")
    }

    pub(crate) fn initdb(&self) -> PathBuf {
        self.directory.join("initdb")
    }

    fn first_of(
        directories: impl Iterator<Item = PathBuf>,
        path: Option<&OsStr>,
    ) -> Result<Self, FindError> {
        let mut unsuitable = Vec::new();
        for directory in directories {
            match Self::in_directory(&directory, path) {
                Ok(programs) => return Ok(programs),
                Err(problem) => unsuitable.push(problem),
            }
        }
        Err(FindError::NotFound { path: path.unwrap_or_default().to_owned(), unsuitable })
    }
}

/// Returns the directories that the servers on the search path really live in.
fn on_path(path: Option<&OsStr>) -> Vec<PathBuf> {
    search(path)
        .map(|directory| directory.join("postgres"))
        .filter(|program| is_executable(program))
        .filter_map(|program| Some(fs::canonicalize(program).ok()?.parent()?.to_owned()))
        .collect()
}

/// Returns the search path without entries that depend on the current directory.
fn search(path: Option<&OsStr>) -> impl Iterator<Item = PathBuf> {
    env::split_paths(path.unwrap_or_default()).filter(|directory| directory.is_absolute())
}

fn find_psql(directory: &Path, path: Option<&OsStr>) -> Result<PathBuf, UnsuitableDirectory> {
    // Not resolved: Debian's `psql` on PATH is a wrapper that goes by the name it is called.
    std::iter::once(directory.to_owned())
        .chain(search(path))
        .map(|directory| directory.join("psql"))
        .find(|program| is_executable(program))
        .ok_or_else(|| UnsuitableDirectory::NoPsql {
            directory: directory.to_owned(),
            path: path.unwrap_or_default().to_owned(),
        })
}

fn installed_majors(root: &Path) -> Vec<(u32, PathBuf)> {
    let Ok(entries) = fs::read_dir(root) else {
        return Vec::new();
    };
    entries
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let major = entry.file_name().to_str()?.parse().ok()?;
            Some((major, entry.path().join("bin")))
        })
        .filter(|(_, directory)| is_executable(&directory.join("postgres")))
        .collect()
}

fn newest_first(mut installed: Vec<(u32, PathBuf)>) -> impl Iterator<Item = PathBuf> {
    installed.sort_unstable();
    installed.into_iter().rev().map(|(_, directory)| directory)
}

fn is_executable(program: &Path) -> bool {
    fs::metadata(program)
        .is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

fn version_of(postgres: &Path) -> Result<u32, UnsuitableDirectory> {
    let output =
        command::from_nothing(postgres).arg("--version").stdout(Stdio::piped()).output().map_err(
            |source| UnsuitableDirectory::DoesNotRun { program: postgres.to_owned(), source },
        )?;
    let printed = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    major_in(&printed).ok_or_else(|| UnsuitableDirectory::UnknownVersion {
        program: postgres.to_owned(),
        printed,
    })
}

fn major_in(printed: &str) -> Option<u32> {
    let version = printed.strip_prefix("postgres (PostgreSQL) ")?;
    let digits = version.split(|c: char| !c.is_ascii_digit()).next()?;
    digits.parse().ok()
}

fn skipped(unsuitable: &[UnsuitableDirectory]) -> String {
    unsuitable.iter().map(|problem| format!("; skipped: {problem}")).collect()
}

const SYSTEM_DIRECTORY: &str = "/usr/lib/postgresql";
const INSTALL: &str = "apt-get install postgresql";

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use tempfile::TempDir;

    use super::*;

    /// Makes a directory whose programs are symlinks to the given ones.
    fn directory_with(programs: &[(&str, &Path)]) -> TempDir {
        let directory = tempfile::tempdir().unwrap();
        for (name, target) in programs {
            symlink(target, directory.path().join(name)).unwrap();
        }
        directory
    }

    fn live_path() -> Option<OsString> {
        #[expect(
            clippy::disallowed_methods,
            reason = "the tests use the server of the machine they run on"
        )]
        env::var_os("PATH")
    }

    fn installed() -> ServerPrograms {
        ServerPrograms::find(None, live_path().as_deref()).unwrap()
    }

    #[test]
    fn versions_are_read_from_what_postgres_prints() {
        for (printed, major) in [
            ("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)", 15),
            ("postgres (PostgreSQL) 18.6", 18),
            ("postgres (PostgreSQL) 19devel", 19),
            ("postgres (PostgreSQL) 9.6.24", 9),
        ] {
            assert_eq!(major_in(printed), Some(major), "{printed}");
        }
        for printed in ["", "psql (PostgreSQL) 15.18", "postgres (PostgreSQL) ", "echo (GNU) 9"] {
            assert_eq!(major_in(printed), None, "{printed}");
        }
    }

    #[test]
    fn newer_majors_come_first() {
        let installed = [9, 15, 14, 18].map(|major| (major, PathBuf::from(major.to_string())));
        let order: Vec<_> = newest_first(installed.to_vec()).collect();
        assert_eq!(order, ["18", "15", "14", "9"].map(PathBuf::from));
    }

    #[test]
    fn only_directories_named_after_a_major_count() {
        let root = tempfile::tempdir().unwrap();
        for (name, with_server) in [("15", true), ("18", false), ("old", true)] {
            let directory = root.path().join(name).join("bin");
            fs::create_dir_all(&directory).unwrap();
            if with_server {
                symlink("/bin/echo", directory.join("postgres")).unwrap();
            }
        }
        let majors: Vec<_> =
            installed_majors(root.path()).into_iter().map(|(major, _)| major).collect();
        assert_eq!(majors, [15]);
    }

    #[test]
    fn a_symlink_on_the_search_path_leads_to_the_real_directory() {
        let real = installed();
        let linked = directory_with(&[("postgres", &real.postgres())]);
        let found = ServerPrograms::find(None, Some(linked.path().as_os_str())).unwrap();
        let real_directory = fs::canonicalize(real.postgres()).unwrap();
        assert_eq!(found.directory(), real_directory.parent().unwrap());
        assert_eq!(found.major(), real.major());
    }

    #[test]
    fn an_override_that_is_incomplete_is_an_error() {
        let empty = directory_with(&[]);
        let error = ServerPrograms::find(Some(empty.path()), live_path().as_deref()).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!(
                "cannot use the PostgreSQL server programs in `{}`, which were asked for; correct \
                 the directory, or leave it out and install a server with \
                 `apt-get install postgresql`",
                empty.path().display()
            )
        );
        let cause = std::error::Error::source(&error).unwrap().to_string();
        assert!(cause.ends_with("has no executable `postgres`"), "{cause}");

        let echo = Path::new("/bin/echo");
        let no_psql = directory_with(&[("postgres", echo), ("initdb", echo)]);
        let error = ServerPrograms::in_directory(no_psql.path(), None).unwrap_err();
        assert!(matches!(error, UnsuitableDirectory::NoPsql { .. }), "{error}");
    }

    #[test]
    fn an_override_that_is_not_a_server_is_an_error() {
        let echo = Path::new("/bin/echo");
        let fake = directory_with(&[("postgres", echo), ("initdb", echo), ("psql", echo)]);
        let error = ServerPrograms::in_directory(fake.path(), None).unwrap_err();
        assert!(matches!(error, UnsuitableDirectory::UnknownVersion { .. }), "{error}");
    }

    #[test]
    fn an_incomplete_directory_on_the_search_path_is_skipped_and_named() {
        let real = installed();
        let fake = directory_with(&[("postgres", Path::new("/bin/echo"))]);
        let directories = || [fake.path().to_owned(), real.directory().to_owned()].into_iter();

        let found = ServerPrograms::first_of(directories(), None).unwrap();
        assert_eq!(found.directory(), real.directory());

        let error = ServerPrograms::first_of(directories().take(1), Some(OsStr::new("/x:/y")));
        assert_eq!(
            error.unwrap_err().to_string(),
            format!(
                "found no PostgreSQL server (`postgres`, `initdb` and `psql`); looked on PATH \
                 `/x:/y` and in /usr/lib/postgresql/<major>/bin; skipped: `{}` has no executable \
                 `initdb`; install one with `apt-get install postgresql`",
                fake.path().display()
            )
        );
    }

    #[test]
    fn entries_of_the_search_path_relative_to_the_current_directory_are_ignored() {
        let path = OsStr::new(":.:bin:/usr/bin");
        let searched: Vec<_> = search(Some(path)).collect();
        assert_eq!(searched, [PathBuf::from("/usr/bin")]);
    }
}
