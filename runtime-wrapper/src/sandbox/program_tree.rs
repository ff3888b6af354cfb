//! The file of the program itself, where it lies outside of the system's trees.
//!
//! A single file is opened as such. An installation, with its libraries beside it, is not guessed
//! at: opening the directory above `bin` could open a home. It must be written down.

use std::path::Path;

use guard::diagnostic::{Code, Denial, shown};
use guard::program::ApprovedProgram;
use guard::sandbox::{Access, FileRule};

use super::incomplete;
use super::rules::{HeldRule, open_one};
use crate::places::Places;

/// Returns the rule that opens the program's own file, unless another one does.
///
/// # Errors
/// Refuses the program of an installation that stays closed.
pub(super) fn rule(
    program: &ApprovedProgram,
    files: &[FileRule],
    places: &Places,
) -> Result<Option<HeldRule>, Denial> {
    let real = std::fs::canonicalize(program.path());
    let real = real.map_err(|error| incomplete("the program's path", &error))?;
    let path = real.to_string_lossy().into_owned();
    let own = places.directories().map(|(path, ..)| path.to_owned());
    let own = own.map(|path| FileRule { path, access: Access::Full, required: true, reason: "" });
    if files.iter().cloned().chain(own).any(|rule| rule.covers(&path)) {
        return Ok(None);
    }
    if let Some(tree) = installation(&real) {
        return Err(refuse(program, tree));
    }
    let rule =
        FileRule { path, access: Access::ReadExecute, required: false, reason: "the program" };
    open_one(&rule).map(Some).map_err(|error| incomplete("the program's file", &error))
}

/// Returns the directory of the installation that a program belongs to, if it looks like one.
fn installation(program: &Path) -> Option<&Path> {
    let directory = program.parent().filter(|d| d.file_name().is_some_and(|n| n == "bin"))?;
    let tree = directory.parent()?;
    tree.join("lib").is_dir().then_some(tree)
}

fn refuse(program: &ApprovedProgram, tree: &Path) -> Denial {
    let tree = shown(&tree.to_string_lossy());
    Denial::new(
        Code::ProgramTreeClosed,
        format!("the installation of `{}` is closed to it", shown(program.path())),
        format!("`{tree}`, which is neither the system's nor under `[sandbox] read`"),
        format!("`[sandbox] read = [\"{tree}\"]`"),
    )
    .help(format!("Add \"{tree}\" to `[sandbox] read`, if all of it may be read."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_installation_is_a_bin_with_a_lib_beside_it() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        for part in ["node/bin", "node/lib", "alone/bin", "flat/lib"] {
            std::fs::create_dir_all(at(part)).unwrap();
        }
        assert_eq!(installation(&at("node/bin/node")), Some(at("node").as_path()));
        assert_eq!(installation(&at("alone/bin/server")), None);
        assert_eq!(installation(&at("flat/server")), None);
    }
}
