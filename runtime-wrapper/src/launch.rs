//! The one place where a program is started: this process becomes it.
//!
//! No child process is ever made. The process id stays the same, so whoever supervises the wrapper
//! supervises the program.

use std::convert::Infallible;
use std::ffi::{CString, NulError};
use std::io::ErrorKind;
use std::os::fd::OwnedFd;

use guard::diagnostic::{Code, Denial, shown};
use guard::environment::ChildEnvironment;
use guard::program::ApprovedProgram;
use rustix::fs::Mode;

use crate::privileges;
use crate::sys::{self, Image};

/// Files that the program makes are not for others, and not writable by the group.
const PROGRAM_UMASK: Mode = Mode::WGRP.union(Mode::RWXO);

/// Changes what the program takes over from this process: directory, umask, descriptors, privileges.
///
/// # Errors
/// Refuses a directory that cannot be entered, and a kernel that refuses a step.
pub(crate) fn confine(working_directory: &OwnedFd, sockets: usize) -> Result<(), Denial> {
    rustix::process::fchdir(working_directory).map_err(|error| {
        Denial::new(
            Code::RootUnusable,
            "the program's working directory cannot be entered",
            std::io::Error::from(error).to_string(),
            "a directory that the caller may enter",
        )
    })?;
    rustix::process::umask(PROGRAM_UMASK);
    sys::close_others_on_exec(sockets).map_err(|error| {
        Denial::new(
            Code::DescriptorsOpen,
            "inherited descriptors cannot be closed",
            error.to_string(),
            "a kernel with close_range, Linux 5.11 or later",
        )
    })?;
    privileges::give_up()
}

/// Becomes the program with exactly this environment.
///
/// # Errors
/// Returns why the kernel refused; on success it does not return.
pub(crate) fn become_program(
    program: &ApprovedProgram,
    environment: &ChildEnvironment,
) -> Result<Infallible, Denial> {
    let image = image(program, environment).map_err(|error| {
        Denial::new(
            Code::Internal,
            "the program's arguments or environment hold a NUL byte",
            format!("a NUL byte at position {}", error.nul_position()),
            "texts that the kernel can take",
        )
    })?;
    Err(refuse_start(program.path(), &sys::execute(&image)))
}

fn image(program: &ApprovedProgram, environment: &ChildEnvironment) -> Result<Image, NulError> {
    let path = CString::new(program.path())?;
    let arguments = std::iter::once(Ok(path.clone()))
        .chain(program.args().iter().map(|arg| CString::new(arg.as_str())))
        .collect::<Result<_, _>>()?;
    let environment = environment
        .dangerous_expose()
        .map(|(name, value)| CString::new(format!("{name}={value}")))
        .collect::<Result<_, _>>()?;
    Ok(Image { path, arguments, environment })
}

/// The file was there a moment ago, so "not found" mostly speaks of its interpreter.
fn refuse_start(path: &str, error: &std::io::Error) -> Denial {
    let path = shown(path);
    let (code, message, expected) = if error.kind() == ErrorKind::NotFound {
        let message = format!("the program `{path}` or its interpreter does not exist");
        (Code::ProgramNotFound, message, "an existing file and interpreter")
    } else {
        let message = format!("the program `{path}` cannot be run");
        (Code::ProgramNotRunnable, message, "a file that the kernel executes")
    };
    Denial::new(code, message, error.to_string(), expected)
}

#[cfg(test)]
mod tests {
    use std::io::Error;

    use super::*;

    #[test]
    fn what_is_missing_is_127_and_what_does_not_run_126() {
        let code = |number| refuse_start("/x", &Error::from_raw_os_error(number)).code();
        assert_eq!(code(libc::ENOENT), Code::ProgramNotFound);
        for number in [libc::EACCES, libc::ENOEXEC, libc::E2BIG, libc::EPERM] {
            assert_eq!(code(number), Code::ProgramNotRunnable, "{number}");
        }
    }

    #[test]
    fn the_umask_is_027() {
        assert_eq!(PROGRAM_UMASK.as_raw_mode(), 0o027);
    }
}
