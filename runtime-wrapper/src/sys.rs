//! The few system calls that need `unsafe`, each behind a safe function that says why it is sound.
//!
//! Nothing here decides anything. What the standard library or `rustix` offers safely is called
//! from there instead.

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{FromRawFd as _, OwnedFd, RawFd};

/// A program with its arguments and environment, as the kernel takes them.
pub(crate) struct Image {
    /// The path of the program.
    pub(crate) path: CString,
    /// Its arguments, the name of the program first.
    pub(crate) arguments: Vec<CString>,
    /// Its environment, as `NAME=value`.
    pub(crate) environment: Vec<CString>,
}

/// Highest signal number of the platforms we run on.
const LAST_SIGNAL: libc::c_int = 64;

/// First descriptor that is not a standard stream.
const FIRST_OTHER: libc::c_uint = 3;

/// Empties the environment of this process, after the one snapshot of it was taken.
///
/// Nothing that the wrapper links in can ask it then for a worker's variable.
#[expect(unsafe_code, reason = "std removes one name at a time, and the first of two equal ones")]
pub(crate) fn clear_environment() {
    // SAFETY: the wrapper has one thread, and the snapshot owns its bytes.
    unsafe { libc::clearenv() };
}

/// Duplicates an inherited descriptor, close-on-exec, so that it can be owned.
#[expect(unsafe_code, reason = "an inherited descriptor is only a number")]
pub(crate) fn duplicate(descriptor: RawFd) -> io::Result<File> {
    // SAFETY: `fcntl` takes any number, and answers `EBADF` for one that is not open.
    let duplicate = unsafe { libc::fcntl(descriptor, libc::F_DUPFD_CLOEXEC, FIRST_OTHER) };
    if duplicate < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made this descriptor, so nothing else owns it.
    Ok(File::from(unsafe { OwnedFd::from_raw_fd(duplicate) }))
}

/// Marks every descriptor but the standard streams to be closed when the program starts.
#[expect(unsafe_code, reason = "neither std nor rustix offers `close_range`")]
///
/// So many of the first stay open beside them.
pub(crate) fn close_others_on_exec(handed_on: usize) -> io::Result<()> {
    let first = FIRST_OTHER + libc::c_uint::try_from(handed_on).unwrap_or(libc::c_uint::MAX);
    // The call by number: older C libraries lack the function although the kernel has it.
    // SAFETY: with `CLOEXEC` nothing is closed now, so no owner loses its descriptor.
    let result = unsafe {
        libc::syscall(libc::SYS_close_range, first, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC)
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Returns the version of Landlock's interface; `None` where there is none or it is switched off.
#[expect(unsafe_code, reason = "the crate for Landlock keeps the version to itself")]
pub(crate) fn landlock_version() -> Option<u32> {
    const VERSION: libc::c_uint = 1;
    let nothing: *const libc::c_void = std::ptr::null();
    // SAFETY: asked for the version, the kernel reads no memory.
    let version =
        unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, nothing, 0usize, VERSION) };
    u32::try_from(version).ok().filter(|version| *version > 0)
}

/// Returns whether the kernel filters system calls.
#[expect(unsafe_code, reason = "neither std nor rustix asks this")]
pub(crate) fn can_filter_calls() -> bool {
    let action = libc::SECCOMP_RET_ERRNO;
    // SAFETY: the kernel reads one number from a variable that outlives the call.
    let answer = unsafe {
        libc::syscall(libc::SYS_seccomp, libc::SECCOMP_GET_ACTION_AVAIL, 0, &raw const action)
    };
    answer == 0
}

/// Leaves the session keyring of the parent for an empty one.
#[expect(unsafe_code, reason = "neither std nor rustix knows keys")]
pub(crate) fn join_new_session_keyring() -> io::Result<()> {
    const JOIN_SESSION_KEYRING: libc::c_int = 1;
    let anonymous: *const libc::c_char = std::ptr::null();
    // SAFETY: a null name asks for an anonymous keyring, and no memory is read.
    let answer = unsafe { libc::syscall(libc::SYS_keyctl, JOIN_SESSION_KEYRING, anonymous) };
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Undoes a personality, such as one without randomised addresses.
#[expect(unsafe_code, reason = "neither std nor rustix sets it")]
pub(crate) fn reset_personality() -> io::Result<()> {
    const PLAIN: libc::c_ulong = 0;
    // SAFETY: the call changes how later programs are loaded, and nothing of this one's memory.
    if unsafe { libc::personality(PLAIN) } < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Becomes the program, with default signal dispositions and no blocked signal.
///
/// Returns only when the kernel refused. Not `std`'s `exec`, because that ends in `execvp`, which
/// hands a file without a known header to a shell that nobody allowed.
#[expect(unsafe_code, reason = "std has no exec that leaves the shell out")]
pub(crate) fn execute(image: &Image) -> io::Error {
    let arguments = pointers(&image.arguments);
    let environment = pointers(&image.environment);
    reset_signals();
    // SAFETY: the three are NUL-terminated, the lists end in a null pointer, and `image` outlives
    // the call.
    unsafe { libc::execve(image.path.as_ptr(), arguments.as_ptr(), environment.as_ptr()) };
    let error = io::Error::last_os_error();
    // The refusal that follows must not be lost to a closed pipe.
    set_disposition(libc::SIGPIPE, libc::SIG_IGN);
    error
}

fn pointers(texts: &[CString]) -> Vec<*const libc::c_char> {
    let end = std::iter::once(std::ptr::null());
    texts.iter().map(|text| text.as_ptr()).chain(end).collect()
}

/// Undoes what the parent set: an ignored SIGTERM would survive and make the program unstoppable.
#[expect(unsafe_code, reason = "std resets only what it changed itself")]
fn reset_signals() {
    for signal in 1..=LAST_SIGNAL {
        set_disposition(signal, libc::SIG_DFL);
    }
    let mut none = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: `sigemptyset` initialises the set it is given, and the mask is read from it.
    unsafe {
        libc::sigemptyset(none.as_mut_ptr());
        libc::pthread_sigmask(libc::SIG_SETMASK, none.as_ptr(), std::ptr::null_mut());
    }
}

/// Sets a disposition; numbers that cannot be set (KILL, STOP, the C library's own) stay as they are.
#[expect(unsafe_code, reason = "std does not offer signal dispositions")]
fn set_disposition(signal: libc::c_int, disposition: libc::sighandler_t) {
    // SAFETY: default and ignore install no handler, so no code of ours can run in one.
    unsafe { libc::signal(signal, disposition) };
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::os::fd::AsRawFd as _;

    use super::*;

    #[test]
    fn only_an_open_descriptor_is_duplicated() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("events");
        let file = File::create(&path).unwrap();
        let mut duplicate = duplicate(file.as_raw_fd()).unwrap();
        assert!(duplicate.as_raw_fd() >= 3);
        duplicate.write_all(b"x").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"x");
        assert!(super::duplicate(-1).is_err() && super::duplicate(1 << 20).is_err());
    }

    /// In a process of its own: other tests of this one may read the environment meanwhile.
    #[test]
    #[expect(unsafe_code, reason = "a child without a program; std only starts programs")]
    #[expect(clippy::disallowed_methods, reason = "the standard library as the reader left over")]
    fn a_cleared_environment_is_empty_for_every_reader() {
        assert!(std::env::vars_os().count() > 0);
        // SAFETY: the child has one thread, allocates nothing, and ends without running anything of
        // this process.
        let child = unsafe { libc::fork() };
        if child == 0 {
            clear_environment();
            let left = std::env::var_os("PATH").is_some();
            // SAFETY: ends the process at once.
            unsafe { libc::_exit(i32::from(left)) };
        }
        let child = rustix::process::Pid::from_raw(child).unwrap();
        let (_, ended) =
            rustix::process::waitpid(Some(child), rustix::process::WaitOptions::empty())
                .unwrap()
                .unwrap();
        assert_eq!(ended.exit_status(), Some(0));
    }

    #[test]
    fn a_list_for_the_kernel_ends_in_null() {
        let texts = [CString::from(c"a"), CString::from(c"b")];
        let list = pointers(&texts);
        assert_eq!(list.len(), 3);
        assert!(list[2].is_null() && !list[1].is_null());
    }
}
