//! The one place of this crate that starts others: absolute path, environment from the policy.
//!
//! Who only reads records (the exec path) is built without this module.

use std::ffi::OsStr;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use guard::environment::{EnvPolicy, Environment};
use rustix::io::FdFlags;
use rustix::process::{Signal, set_parent_process_death_signal, setsid};

/// Prepares a child that inherits nothing: no variable, no directory, no standard input.
fn command<S: AsRef<OsStr>>(program: &Path, args: &[S]) -> Command {
    #[expect(clippy::disallowed_methods, reason = "the one place that starts children")]
    let mut command = Command::new(program);
    let environment = EnvPolicy::default().build_for_tool(&Environment::default());
    command.args(args).env_clear().envs(environment.dangerous_expose());
    command.current_dir("/").stdin(Stdio::null());
    command
}

/// Prepares a tool that is asked something and answers at once.
pub(super) fn tool(program: &Path, args: &[&str]) -> Command {
    let mut command = command(program, args);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Starts a keeper: in a session of its own, so that it outlives its caller and the terminal.
///
/// Its standard output is a pipe to the caller.
pub(super) fn spawn_keeper(program: &Path, args: &[String]) -> Result<Child, std::io::Error> {
    let mut command = command(program, args);
    command.stdout(Stdio::piped()).stderr(Stdio::null());
    #[expect(unsafe_code, reason = "leaves the caller's session and descriptors, in the child")]
    // SAFETY: the closure makes two system calls and touches no memory, lock or allocator.
    unsafe {
        command.pre_exec(|| {
            setsid()?;
            close_others_on_exec()
        });
    }
    command.spawn()
}

/// Starts the wrapper that becomes the backend, with its output on a pipe and its events on another.
///
/// It ends when the thread that calls this ends, however that happens.
pub(super) fn spawn_backend(
    program: &Path,
    args: &[String],
    output: Stdio,
    errors: Stdio,
    events: BorrowedFd<'_>,
) -> Result<Child, std::io::Error> {
    let mut command = command(program, args);
    command.args(["--events-fd", &events.as_raw_fd().to_string()]);
    command.stdout(output).stderr(errors).process_group(0);
    let events = events.as_raw_fd();
    #[expect(unsafe_code, reason = "ties the child to its keeper and hands it one descriptor")]
    // SAFETY: the closure makes two system calls and touches no memory, lock or allocator; the
    // descriptor is borrowed for longer than the child needs to be started.
    unsafe {
        command.pre_exec(move || {
            set_parent_process_death_signal(Some(Signal::KILL))?;
            rustix::io::fcntl_setfd(BorrowedFd::borrow_raw(events).as_fd(), FdFlags::empty())?;
            Ok(())
        });
    }
    command.spawn()
}

/// Marks every descriptor but the standard streams to be closed by exec: a pipe of the caller that a
/// keeper held open would never end for whoever reads it.
#[expect(unsafe_code, reason = "neither std nor rustix offers `close_range`")]
fn close_others_on_exec() -> Result<(), std::io::Error> {
    // SAFETY: with `CLOEXEC` nothing is closed now, so no owner loses its descriptor.
    let result = unsafe {
        libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC)
    };
    if result == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
}
