//! Whether the file of an approved program is safe to run.

use rustix::fs::FileType;
use rustix::io::Errno;

use crate::diagnostic::{Code, Denial, shown};
use crate::program::{ApprovedProgram, refuse_container};

const SET_ID: u32 = 0o6000;
const WRITABLE_BY_OTHERS: u32 = 0o022;

/// Reads what kind of file the program is.
///
/// # Errors
/// Refuses a missing file, one that is not regular, set-uid or set-gid files, and files that
/// somebody other than root or the caller could change.
pub fn inspect_program(program: &ApprovedProgram) -> Result<(), Denial> {
    let path = shown(program.path());
    let stat = rustix::fs::stat(program.path()).map_err(|error| {
        let code =
            if error == Errno::NOENT { Code::ProgramNotFound } else { Code::ProgramNotRunnable };
        let found = std::io::Error::from(error).to_string();
        Denial::new(
            code,
            format!("the program `{path}` cannot be found"),
            found,
            "an existing file",
        )
    })?;
    let refuse = |found: String| {
        Err(Denial::new(
            Code::ProgramUnsafe,
            format!("the file of `{path}` is not safe to run"),
            found,
            "a regular file of root or the caller, not set-uid, not writable by others",
        ))
    };
    let own = rustix::process::geteuid().as_raw();
    match stat.st_mode {
        mode if FileType::from_raw_mode(mode) != FileType::RegularFile => {
            refuse("not a regular file".to_owned())
        }
        mode if mode & (SET_ID | WRITABLE_BY_OTHERS) != 0 => {
            refuse(format!("mode {:04o}", mode & 0o7777))
        }
        _ if stat.st_uid != 0 && stat.st_uid != own => refuse(format!("owner uid {}", stat.st_uid)),
        // A link with a harmless name may lead to a container client.
        _ => std::fs::canonicalize(program.path())
            .map_or(Ok(()), |real| refuse_container(program.path(), &real.to_string_lossy())),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::program::{ProgramEntry, Programs};

    fn inspect(path: &str) -> Option<Code> {
        let entry = ProgramEntry {
            key: "x".to_owned(),
            path: path.to_owned(),
            args: vec![],
            open_ended: true,
        };
        let approved =
            Programs::new(vec![entry]).approve("preview-1".parse().unwrap(), path, &[]).unwrap();
        inspect_program(&approved).err().map(|denial| denial.code())
    }

    #[test]
    fn only_safe_files_pass() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("program");
        std::fs::write(&path, "").unwrap();
        let with_mode = |mode| {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            inspect(path.to_str().unwrap())
        };
        assert_eq!(with_mode(0o755), None);
        assert_eq!(with_mode(0o775), Some(Code::ProgramUnsafe));
        assert_eq!(with_mode(0o757), Some(Code::ProgramUnsafe));
        assert_eq!(with_mode(0o4755), Some(Code::ProgramUnsafe));
        assert_eq!(inspect(directory.path().to_str().unwrap()), Some(Code::ProgramUnsafe));
        assert_eq!(inspect("/nonexistent/program"), Some(Code::ProgramNotFound));
    }

    #[test]
    fn nc_2_a_link_to_a_container_client_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let link = directory.path().join("backend");
        for (name, expected) in [("podman", Some(Code::ContainerRuntime)), ("node", None)] {
            let target = directory.path().join(name);
            std::fs::write(&target, "").unwrap();
            std::fs::set_permissions(&target, std::fs::Permissions::from_mode(0o755)).unwrap();
            let _ = std::fs::remove_file(&link);
            std::os::unix::fs::symlink(&target, &link).unwrap();
            assert_eq!(inspect(link.to_str().unwrap()), expected, "{name}");
        }
    }
}
