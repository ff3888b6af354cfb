//! Builds every command this crate runs, from nothing.
//!
//! A child gets no variable, no terminal and no process group of its parent. This module does not
//! start anything and knows no program by name.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::user::ServerUser;

/// Returns a command that will run as the server's user.
pub(crate) fn as_user(program: &Path, user: &ServerUser) -> Command {
    let mut command = from_nothing(program);
    if let Some(ids) = user.switch_to() {
        // The standard library empties the supplementary groups whenever root sets a uid.
        command.gid(ids.gid).uid(ids.uid);
    }
    command
}

/// Returns a command with a fixed environment and all three standard streams closed off.
///
/// It is in a process group of its own, so that Ctrl-C in a terminal reaches the parent and not the
/// server: the parent decides when the server ends.
pub(crate) fn from_nothing(program: &Path) -> Command {
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place of this crate where a command is made; its environment is cleared"
    )]
    let mut command = Command::new(program);
    command
        .env_clear()
        .env("PATH", SEARCH_PATH)
        .env("LC_ALL", "C")
        .env("TZ", "UTC")
        .current_dir("/")
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command
}

const SEARCH_PATH: &str = "/usr/local/bin:/usr/bin:/bin";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_sees_only_the_fixed_variables() {
        let output =
            from_nothing(Path::new("/usr/bin/env")).stdout(Stdio::piped()).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let mut names: Vec<_> = text.lines().filter_map(|line| line.split_once('=')).collect();
        names.sort_unstable();
        assert_eq!(names, [("LC_ALL", "C"), ("PATH", SEARCH_PATH), ("TZ", "UTC")]);
    }
}
