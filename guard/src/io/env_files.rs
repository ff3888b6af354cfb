//! Files that bring variables or connection settings past the environment: `.env*` in a worktree,
//! `~/.pgpass` and service files in a home.

use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use super::directory::{Directory, open_configured};
use crate::config::Roots;
use crate::diagnostic::{Code, Denial, Warning, shown};
use crate::environment::{Environment, is_env_file, judge_env_file};

/// Largest `.env` file, in bytes.
const MAX_FILE: usize = 256 * 1024;

/// Judges the `.env*` files at the top of a worktree.
///
/// # Errors
/// Refuses a worktree outside its root, and files that hold what a preview may not have or that
/// cannot be read; every name at fault is named, no value is.
pub fn judge_worktree(worktree: &Path, roots: &Roots) -> Result<(), Denial> {
    judge_env_files(&open_configured(worktree, roots, Code::PathMissing)?)
}

/// Judges the `.env*` files at the top of a worktree that is held open.
///
/// # Errors
/// As [`judge_worktree`], for the files.
pub fn judge_env_files(directory: &Directory) -> Result<(), Denial> {
    let names = directory.names().map_err(|error| refuse("the worktree", &error.to_string()))?;
    for name in names {
        let name = String::from_utf8_lossy(&name).into_owned();
        if is_env_file(&name) {
            judge_file(directory, &name)?;
        }
    }
    Ok(())
}

fn judge_file(directory: &Directory, name: &str) -> Result<(), Denial> {
    let text = directory.read_text(name, MAX_FILE);
    let text = text.map_err(|problem| refuse(name, &problem.to_string()))?;
    let findings = judge_env_file(&text);
    if findings.is_empty() {
        return Ok(());
    }
    let findings: Vec<String> =
        findings.iter().map(|(name, reason)| format!("`{name}` {reason}")).collect();
    Err(refuse(name, &findings.join("; ")))
}

fn refuse(file: &str, found: &str) -> Denial {
    let file = shown(file);
    Denial::new(
        Code::EnvFile,
        format!("`{file}` in the worktree holds what a preview may not have"),
        format!("{file}: {found}"),
        "no `PG*`, no database address, no variable that is never passed",
    )
}

/// Warns of files in the home directory that speak of database connections.
#[must_use]
pub fn warn_of_home(environment: &Environment) -> Vec<Warning> {
    let Some(home) = environment.value("HOME") else { return Vec::new() };
    let home = Path::new(std::ffi::OsStr::from_bytes(home));
    [".pgpass", ".pg_service.conf"]
        .into_iter()
        .filter(|name| home.is_absolute() && home.join(name).symlink_metadata().is_ok())
        .map(|name| {
            Warning::new(Code::HomeFile, format!("`~/{name}` speaks of database connections"))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(files: &[(&str, &str)]) -> Option<Code> {
        let place = tempfile::tempdir().unwrap();
        for (name, text) in files {
            std::fs::write(place.path().join(name), text).unwrap();
        }
        judge_worktree(place.path(), &Roots::default()).err().map(|denial| denial.code())
    }

    #[test]
    fn only_files_that_are_loaded_and_move_something_are_refused() {
        assert_eq!(code(&[]), None);
        assert_eq!(code(&[(".env", "LOG_LEVEL=debug\n")]), None);
        assert_eq!(code(&[(".env.example", "DATABASE_URL=postgres://x/y\n")]), None);
        assert_eq!(code(&[(".env", "DATABASE_URL=postgres://x/y\n")]), Some(Code::EnvFile));
        assert_eq!(code(&[(".env.local", "PGHOST=x\n")]), Some(Code::EnvFile));
    }

    #[test]
    fn a_file_that_cannot_be_read_is_refused() {
        let place = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/etc/passwd", place.path().join(".env")).unwrap();
        let denial = judge_worktree(place.path(), &Roots::default()).unwrap_err();
        assert_eq!(denial.code(), Code::EnvFile);
        let gone = judge_worktree(&place.path().join("gone"), &Roots::default()).unwrap_err();
        assert_eq!(gone.code(), Code::PathMissing);
    }

    #[test]
    fn values_are_never_repeated() {
        let place = tempfile::tempdir().unwrap();
        std::fs::write(place.path().join(".env"), "PGPASSWORD=hunter2\n").unwrap();
        let denial = judge_worktree(place.path(), &Roots::default()).unwrap_err();
        assert!(!format!("{denial:?}").contains("hunter2"));
        assert!(denial.found().contains("PGPASSWORD"));
    }

    #[test]
    fn a_home_with_connection_files_warns() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().to_str().unwrap();
        let environment = Environment::new([(b"HOME".to_vec(), path.as_bytes().to_vec())]).unwrap();
        assert!(warn_of_home(&environment).is_empty());
        std::fs::write(home.path().join(".pgpass"), "").unwrap();
        assert_eq!(warn_of_home(&environment)[0].code(), Code::HomeFile);
    }
}
