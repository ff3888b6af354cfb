//! Locks on files, which the kernel lifts when the process ends.

use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, Mode as FileMode, OFlags, flock};
use rustix::io::Errno;

use super::store::Mode;

/// A slot held for an act.
#[derive(Debug)]
pub struct Activity(#[expect(dead_code, reason = "held for the lock on it")] OwnedFd);

impl From<OwnedFd> for Activity {
    fn from(locked: OwnedFd) -> Self {
        Self(locked)
    }
}

/// How often a lock that is not free is tried again.
const TRY_AGAIN: Duration = Duration::from_millis(20);

/// Locks a file of a directory, made where missing; `None` when it was not free in time.
///
/// The file is never removed: two processes could otherwise lock two files of one name.
pub(crate) fn lock(
    directory: impl AsFd,
    name: &str,
    mode: Mode,
    wait: Duration,
) -> Result<Option<OwnedFd>, Errno> {
    let flags = OFlags::RDONLY | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::openat(directory, name, flags, FileMode::RUSR | FileMode::WUSR)?;
    let operation = match mode {
        Mode::Shared => FlockOperation::NonBlockingLockShared,
        Mode::Exclusive => FlockOperation::NonBlockingLockExclusive,
    };
    let end = Instant::now() + wait;
    loop {
        match flock(&file, operation) {
            Ok(()) => return Ok(Some(file)),
            Err(Errno::INTR) => {}
            Err(Errno::WOULDBLOCK) => {
                let left = end.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    return Ok(None);
                }
                std::thread::sleep(TRY_AGAIN.min(left));
            }
            Err(error) => return Err(error),
        }
    }
}
