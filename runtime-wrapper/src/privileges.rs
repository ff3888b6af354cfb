//! What the process itself gives up before it becomes the program: groups, capabilities, keys,
//! limits, and a personality that its parent may have set.

use guard::diagnostic::{Code, Denial, Warning};
use guard::sandbox::{LIMITS, Limit, Resource};
use rustix::io::Errno;
use rustix::process::Rlimit;
use rustix::thread::{CapabilitySet, CapabilitySets};

use crate::sandbox::incomplete;
use crate::sys;

/// Says when the program will have more identity than a slot's own user.
pub(crate) fn warn_of_identity() -> Option<Warning> {
    let warn = |message: String| Some(Warning::new(Code::NotASlotUser, message));
    if rustix::process::geteuid().is_root() {
        return warn(
            "the program runs as root, without capabilities and supplementary groups".into(),
        );
    }
    let own = rustix::process::getegid();
    let groups = rustix::process::getgroups().unwrap_or_default();
    let others: Vec<String> = groups
        .into_iter()
        .filter(|group| *group != own)
        .map(|group| group.as_raw().to_string())
        .collect();
    if others.is_empty() {
        return None;
    }
    warn(format!("the program keeps the supplementary groups {}", others.join(", ")))
}

/// Gives up everything that the program must not take over.
///
/// # Errors
/// Names the step that failed.
pub(crate) fn give_up() -> Result<(), Denial> {
    for limit in LIMITS {
        lower(limit).map_err(|error| incomplete("the limits of resources", &error))?;
    }
    sys::reset_personality().map_err(|error| incomplete("the personality", &error))?;
    leave_keyring().map_err(|error| incomplete("a keyring of its own", &error))?;
    if rustix::process::geteuid().is_root() {
        rustix::thread::set_thread_groups(&[])
            .map_err(|error| incomplete("giving up supplementary groups", &error))?;
    }
    drop_capabilities().map_err(|error| incomplete("giving up capabilities", &error))?;
    rustix::thread::set_no_new_privs(true).map_err(|error| incomplete("no new privileges", &error))
}

/// Lowers a limit; one that is lower already stays.
fn lower(limit: Limit) -> Result<(), Errno> {
    let resource = match limit.resource {
        Resource::Core => return forbid_dumps(limit),
        Resource::Nofile => rustix::process::Resource::Nofile,
        Resource::Nproc => rustix::process::Resource::Nproc,
    };
    let now = rustix::process::getrlimit(resource);
    let least = |now: Option<u64>, most: u64| now.map_or(most, |now| now.min(most));
    let maximum = least(now.maximum, limit.hard);
    let current = least(now.current, limit.soft).min(maximum);
    let lowered = Rlimit { current: Some(current), maximum: Some(maximum) };
    rustix::process::setrlimit(resource, lowered)
}

/// Sets the limit of dumps to what means none, even where 0 stands now; who may not raise it from 0
/// has to leave it.
fn forbid_dumps(limit: Limit) -> Result<(), Errno> {
    let core = rustix::process::Resource::Core;
    let none = Rlimit { current: Some(limit.soft), maximum: Some(limit.hard) };
    match rustix::process::setrlimit(core, none) {
        Err(Errno::PERM) if rustix::process::getrlimit(core).maximum == Some(0) => Ok(()),
        other => other,
    }
}

/// The parent's session keyring may hold its credentials. Where keys are not there, or are closed to
/// this process by a filter, the program cannot reach them either.
fn leave_keyring() -> Result<(), std::io::Error> {
    match sys::join_new_session_keyring() {
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EPERM)) => Ok(()),
        other => other,
    }
}

/// Empties every set. For root the bounding set counts: it decides what comes back with `execve`.
fn drop_capabilities() -> Result<(), Errno> {
    const LAST: u32 = 63;
    let is_root = rustix::process::geteuid().is_root();
    for number in 0..=LAST {
        let capability = CapabilitySet::from_bits_retain(1 << number);
        match rustix::thread::remove_capability_from_bounding_set(capability) {
            Ok(()) => {}
            Err(Errno::INVAL) => break, // The kernel knows no further ones.
            Err(Errno::PERM) if !is_root => break,
            Err(error) => return Err(error),
        }
    }
    match rustix::thread::clear_ambient_capability_set() {
        Ok(()) | Err(Errno::INVAL) => {}
        Err(error) => return Err(error),
    }
    let none = CapabilitySet::empty();
    let none = CapabilitySets { effective: none, permitted: none, inheritable: none };
    // A unit of a slot's own user often has none left, and a filter that forbids to set any.
    if rustix::thread::capabilities(None)? == none {
        return Ok(());
    }
    rustix::thread::set_capabilities(None, none)
}
