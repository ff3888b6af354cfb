//! Small files that survive a crash: written whole beside the old one, flushed, then exchanged.

use std::fs::File;
use std::io::{Error, Write as _};
use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;

/// Replaces a file of a directory that is held open, so that a reader sees the old or the new one.
///
/// # Errors
/// Returns the system's error; the old file is then untouched.
pub fn replace(directory: impl AsFd, name: &str, mode: Mode, content: &[u8]) -> Result<(), Error> {
    // Two that write at once have a draft each.
    exchange(directory.as_fd(), name, &format!(".{name}.{}", std::process::id()), mode, content)
}

/// As [`replace`], for a file that one process writes at a time: a crash leaves one draft at most,
/// and the next writer removes it.
///
/// # Errors
/// As [`replace`].
pub fn replace_alone(
    directory: impl AsFd,
    name: &str,
    mode: Mode,
    content: &[u8],
) -> Result<(), Error> {
    exchange(directory.as_fd(), name, &format!(".{name}.draft"), mode, content)
}

fn exchange(
    directory: BorrowedFd<'_>,
    name: &str,
    draft: &str,
    mode: Mode,
    content: &[u8],
) -> Result<(), Error> {
    let written = write_draft(directory, draft, mode, content)
        .and_then(|()| Ok(rustix::fs::renameat(directory, draft, directory, name)?));
    if written.is_err() {
        // The error that counts is the one before.
        let _ = rustix::fs::unlinkat(directory, draft, AtFlags::empty());
    }
    written?;
    // Without this the name itself may be lost in a crash.
    Ok(rustix::fs::fsync(directory)?)
}

fn write_draft(
    directory: BorrowedFd<'_>,
    draft: &str,
    mode: Mode,
    content: &[u8],
) -> Result<(), Error> {
    // One that a crash left, or that somebody put there to be written through.
    match rustix::fs::unlinkat(directory, draft, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(error) => return Err(error.into()),
    }
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let descriptor = rustix::fs::openat(directory, draft, flags, Mode::RUSR | Mode::WUSR)?;
    // Not by `openat`: the caller's umask would take bits away.
    rustix::fs::fchmod(&descriptor, mode)?;
    let mut file = File::from(descriptor);
    file.write_all(content)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_file_is_replaced_whole_and_nothing_else_stays() {
        let place = tempfile::tempdir().unwrap();
        let directory = File::open(place.path()).unwrap();
        for text in ["first", "second"] {
            replace(&directory, "x.json", Mode::from_raw_mode(0o644), text.as_bytes()).unwrap();
            assert_eq!(std::fs::read_to_string(place.path().join("x.json")).unwrap(), text);
        }
        let metadata = std::fs::metadata(place.path().join("x.json")).unwrap();
        assert_eq!(metadata.permissions().mode() & 0o777, 0o644);
        assert_eq!(std::fs::read_dir(place.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_file_that_cannot_be_replaced_leaves_no_draft() {
        let place = tempfile::tempdir().unwrap();
        let directory = File::open(place.path()).unwrap();
        std::fs::create_dir_all(place.path().join("x.json/full")).unwrap();
        assert!(replace(&directory, "x.json", Mode::RUSR, b"text").is_err());
        assert_eq!(std::fs::read_dir(place.path()).unwrap().count(), 1);
    }
}
