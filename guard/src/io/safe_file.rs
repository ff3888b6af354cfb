//! Reading a small file that decides something, only if nobody else could have written it.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use thiserror::Error;

/// Why a file is not read.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum FileProblem {
    /// There is no such file.
    #[error("there is no such file")]
    Missing,
    /// It is a symbolic link, a directory, a pipe or a device.
    #[error("it is not a regular file")]
    NotRegular,
    /// It is no symbolic link, where one is expected.
    #[error("it is not a symbolic link")]
    NotLink,
    /// Somebody else owns it.
    #[error("it belongs to uid {owner}")]
    Owner {
        /// The owner that was found.
        owner: u32,
    },
    /// Others can write or, for secrets, read it.
    #[error("its mode is {mode:04o}")]
    Mode {
        /// The permission bits that were found.
        mode: u32,
    },
    /// It is larger than allowed.
    #[error("it is larger than {limit} bytes")]
    TooLarge {
        /// The limit in bytes.
        limit: usize,
    },
    /// It is not UTF-8 text.
    #[error("it is not UTF-8 text")]
    NotText,
    /// The system refused to open or read it.
    #[error("it cannot be read: {0}")]
    Unreadable(std::io::Error),
}

/// What a file must be like to be read.
#[derive(Debug, Clone, Copy)]
pub struct SafeFile {
    limit: usize,
    /// Permission bits that must not be set, for a file that must be somebody's.
    forbidden_mode: Option<u32>,
    /// Whose it may be beside root's and the caller's.
    owner: Option<u32>,
}

impl SafeFile {
    /// Asks for a regular file of root or the caller, without certain permission bits.
    #[must_use]
    pub const fn of_caller(limit: usize, forbidden_mode: u32) -> Self {
        Self { limit, forbidden_mode: Some(forbidden_mode), owner: None }
    }

    /// As [`SafeFile::of_caller`], for a file that may be this user's as well.
    #[must_use]
    pub const fn of_owner(owner: u32, limit: usize, forbidden_mode: u32) -> Self {
        Self { limit, forbidden_mode: Some(forbidden_mode), owner: Some(owner) }
    }

    /// Asks for a regular file of anybody: for content that is judged whoever wrote it.
    #[must_use]
    pub const fn of_anybody(limit: usize) -> Self {
        Self { limit, forbidden_mode: None, owner: None }
    }

    /// Reads the file through one descriptor, so that what was checked is what is read.
    ///
    /// # Errors
    /// Says what is wrong with the file; never repeats its content.
    pub fn read(self, path: &Path) -> Result<String, FileProblem> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let descriptor = rustix::fs::open(path, flags, Mode::empty()).map_err(opening_problem)?;
        self.read_descriptor(descriptor)
    }

    /// As [`SafeFile::read`], for a file of a directory that is held open.
    ///
    /// # Errors
    /// As [`SafeFile::read`].
    pub fn read_in(self, directory: impl AsFd, name: &str) -> Result<String, FileProblem> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        let opened = rustix::fs::openat2(directory, name, flags, Mode::empty(), resolve);
        self.read_descriptor(opened.map_err(opening_problem)?)
    }

    fn read_descriptor(self, descriptor: OwnedFd) -> Result<String, FileProblem> {
        let stat = rustix::fs::fstat(descriptor.as_fd())
            .map_err(|error| FileProblem::Unreadable(error.into()))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(FileProblem::NotRegular);
        }
        if let Some(forbidden) = self.forbidden_mode {
            self.check_owner(stat.st_uid)?;
            check_mode(stat.st_mode, forbidden)?;
        }
        read_text(File::from(descriptor), stat.st_size, self.limit)
    }

    fn check_owner(self, owner: u32) -> Result<(), FileProblem> {
        let may_be = [Some(0), Some(rustix::process::geteuid().as_raw()), self.owner];
        if may_be.contains(&Some(owner)) { Ok(()) } else { Err(FileProblem::Owner { owner }) }
    }
}

fn check_mode(mode: u32, forbidden: u32) -> Result<(), FileProblem> {
    if mode & forbidden != 0 {
        return Err(FileProblem::Mode { mode: mode & 0o7777 });
    }
    Ok(())
}

/// Reads text of at most `limit` bytes; `size` is what the system says, and only saves reads.
pub(super) fn read_text(source: impl Read, size: i64, limit: usize) -> Result<String, FileProblem> {
    let bound = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    let room = usize::try_from(size).unwrap_or_default().min(limit).saturating_add(1);
    let mut content = Vec::with_capacity(room);
    source.take(bound).read_to_end(&mut content).map_err(FileProblem::Unreadable)?;
    if content.len() > limit {
        return Err(FileProblem::TooLarge { limit });
    }
    String::from_utf8(content).map_err(|_| FileProblem::NotText)
}

/// Says why a file could not be opened.
pub(super) fn opening_problem(error: Errno) -> FileProblem {
    match error {
        Errno::NOENT => FileProblem::Missing,
        Errno::LOOP => FileProblem::NotRegular,
        other => FileProblem::Unreadable(other.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    const RULE: SafeFile = SafeFile::of_caller(16, 0o022);

    #[test]
    fn only_a_safe_regular_file_is_read() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        std::fs::write(&path, "text").unwrap();
        let set_mode = |mode| {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        };
        set_mode(0o644);
        assert_eq!(RULE.read(&path).unwrap(), "text");
        set_mode(0o666);
        assert!(matches!(RULE.read(&path), Err(FileProblem::Mode { mode: 0o666 })));
        set_mode(0o644);

        let link = directory.path().join("link");
        symlink(&path, &link).unwrap();
        assert!(matches!(RULE.read(&link), Err(FileProblem::NotRegular)));
        assert!(matches!(RULE.read(directory.path()), Err(FileProblem::NotRegular)));
        assert!(matches!(RULE.read(&directory.path().join("none")), Err(FileProblem::Missing)));

        let held = File::open(directory.path()).unwrap();
        assert_eq!(RULE.read_in(&held, "file").unwrap(), "text");
        assert!(matches!(RULE.read_in(&held, "link"), Err(FileProblem::NotRegular)));
        assert!(RULE.read_in(&held, "../x").is_err() && RULE.read_in(&held, "/etc/hosts").is_err());

        std::fs::write(&path, "x".repeat(17)).unwrap();
        assert!(matches!(RULE.read(&path), Err(FileProblem::TooLarge { limit: 16 })));
        std::fs::write(&path, [0xff]).unwrap();
        assert!(matches!(RULE.read(&path), Err(FileProblem::NotText)));
    }
}
