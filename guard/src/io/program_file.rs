//! Whether the file of an approved program is safe to run.

use std::path::Path;

use rustix::fs::FileType;
use rustix::io::Errno;

use super::program_path::{PathProblem, follow};
use crate::diagnostic::{Code, Denial, shown};
use crate::program::{ApprovedProgram, refuse_what_it_is};

const SET_ID: u32 = 0o6000;
pub(super) const WRITABLE_BY_OTHERS: u32 = 0o022;

/// Reads what kind of file the program is, and who could put another one in its place.
///
/// # Errors
/// Refuses a missing file, one that is not regular, set-uid and set-gid files, files and directories
/// on the way that somebody other than root or the caller could change, and links to what is refused
/// under its own name.
pub fn inspect_program(program: &ApprovedProgram) -> Result<(), Denial> {
    let real = follow(Path::new(program.path())).map_err(|problem| match problem {
        PathProblem::System(error) => not_found(program, error),
        PathProblem::Unsafe(found) => refuse(program, found),
    })?;
    let stat = rustix::fs::stat(&real).map_err(|error| not_found(program, error))?;
    let own = rustix::process::geteuid().as_raw();
    match stat.st_mode {
        mode if FileType::from_raw_mode(mode) != FileType::RegularFile => {
            Err(refuse(program, "not a regular file".to_owned()))
        }
        mode if mode & (SET_ID | WRITABLE_BY_OTHERS) != 0 => {
            Err(refuse(program, format!("mode {:04o}", mode & 0o7777)))
        }
        _ if stat.st_uid != 0 && stat.st_uid != own => {
            Err(refuse(program, format!("owner uid {}", stat.st_uid)))
        }
        // A link with a harmless name may lead to a container client, or to `env`.
        _ => refuse_what_it_is(program, &real.to_string_lossy()),
    }
}

fn not_found(program: &ApprovedProgram, error: Errno) -> Denial {
    let code = if error == Errno::NOENT { Code::ProgramNotFound } else { Code::ProgramNotRunnable };
    let found = std::io::Error::from(error).to_string();
    let message = format!("the program `{}` cannot be found", shown(program.path()));
    Denial::new(code, message, found, "an existing file")
}

fn refuse(program: &ApprovedProgram, found: String) -> Denial {
    Denial::new(
        Code::ProgramUnsafe,
        format!("the file of `{}` is not safe to run", shown(program.path())),
        found,
        "a regular file of root or the caller, not set-uid, in directories that nobody else can \
         change",
    )
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::program::{ProgramEntry, Programs};

    fn inspect(path: &str) -> Option<Code> {
        inspect_with(path, &[])
    }

    fn inspect_with(path: &str, args: &[&str]) -> Option<Code> {
        let args: Vec<String> = args.iter().map(ToString::to_string).collect();
        let entry = ProgramEntry {
            key: "x".to_owned(),
            path: path.to_owned(),
            args: vec![],
            open_ended: true,
        };
        let approved =
            Programs::new(vec![entry]).approve("preview-1".parse().unwrap(), path, &args).unwrap();
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
        assert_eq!(with_mode(0o2755), Some(Code::ProgramUnsafe));
        assert_eq!(with_mode(0o755), None);
        let of_directory = |mode| {
            let mode = std::fs::Permissions::from_mode(mode);
            std::fs::set_permissions(directory.path(), mode).unwrap();
            inspect(path.to_str().unwrap())
        };
        assert_eq!(of_directory(0o777), Some(Code::ProgramUnsafe));
        assert_eq!(of_directory(0o770), Some(Code::ProgramUnsafe));
        assert_eq!(of_directory(0o755), None);
        assert_eq!(inspect(directory.path().to_str().unwrap()), Some(Code::ProgramUnsafe));
        assert_eq!(inspect("/nonexistent/program"), Some(Code::ProgramNotFound));
    }

    #[test]
    fn nc_2_a_link_to_a_container_client_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let link = directory.path().join("backend");
        for (name, expected) in [("podman", Some(Code::ContainerRuntime)), ("server", None)] {
            let target = directory.path().join(name);
            std::fs::write(&target, "").unwrap();
            std::fs::set_permissions(&target, std::fs::Permissions::from_mode(0o755)).unwrap();
            let _ = std::fs::remove_file(&link);
            std::os::unix::fs::symlink(&target, &link).unwrap();
            assert_eq!(inspect(link.to_str().unwrap()), expected, "{name}");
        }
    }

    #[test]
    fn se_1_a_link_to_a_launcher_or_an_interpreter_is_judged_as_one() {
        let directory = tempfile::tempdir().unwrap();
        let link = directory.path().join("backend");
        let link_to = |name: &str| {
            let target = directory.path().join(name);
            std::fs::write(&target, "").unwrap();
            std::fs::set_permissions(&target, std::fs::Permissions::from_mode(0o755)).unwrap();
            let _ = std::fs::remove_file(&link);
            std::os::unix::fs::symlink(&target, &link).unwrap();
        };
        let inspect = |args: &[&str]| inspect_with(link.to_str().unwrap(), args);
        for (name, args) in [
            ("env", &["id"][..]),
            ("bash", &["-c", "id"]),
            ("python3.11", &["-c", "1"]),
            ("ld-linux-x86-64.so.2", &["/bin/sh"]),
        ] {
            link_to(name);
            assert_eq!(inspect(args), Some(Code::LaunderingProgram), "{name}");
        }
        for (name, args) in [
            ("server", &["-c", "id"][..]),
            ("bash", &["start.sh"]),
            ("python3.11", &["manage.py"]),
            // One file for many programs: it looks at the name it was called by.
            ("busybox", &["x"]),
        ] {
            link_to(name);
            assert_eq!(inspect(args), None, "{name}");
        }
    }
}
