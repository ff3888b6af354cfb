//! The other programs of this installation, found in our own directory and nowhere else.

use std::path::PathBuf;

use guard::diagnostic::{Code, Denial, shown};

use super::child;

/// Finds a sibling and makes sure that it is of our own version.
///
/// # Errors
/// Refuses a sibling that is missing, cannot be run, or is of another version.
pub fn find(name: &str) -> Result<PathBuf, Denial> {
    let path = beside(name)?;
    let answer = child::command(&path, &["--version"]).output();
    let version = answer.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    let ours = format!("{name} {}", env!("CARGO_PKG_VERSION"));
    match version {
        Ok(found) if found == ours => Ok(path),
        Ok(found) => Err(Denial::new(
            Code::SiblingVersion,
            format!("`{name}` is not of our version"),
            format!("`{}`", shown(&found)),
            format!("`{ours}`"),
        )),
        Err(error) => Err(missing(name, &path, &error.to_string())),
    }
}

/// Finds a program in our own directory, without asking for its version.
///
/// # Errors
/// Refuses a program that is missing.
pub fn beside(name: &str) -> Result<PathBuf, Denial> {
    let own = std::env::current_exe().map_err(|error| {
        Denial::new(Code::Internal, "our own path is unknown", error.to_string(), "a path")
    })?;
    let path = own.with_file_name(name);
    if path.is_file() { Ok(path) } else { Err(missing(name, &path, "no such file")) }
}

fn missing(name: &str, path: &std::path::Path, why: &str) -> Denial {
    let found = format!("`{}`: {}", shown(&path.to_string_lossy()), shown(why));
    Denial::new(
        Code::SiblingMissing,
        format!("`{name}` is not installed"),
        found,
        "all programs in one directory",
    )
}
