//! Reading a small file that decides something, only if nobody else could have written it.

use std::fs::File;
use std::io::Read as _;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;

use rustix::fs::{FileType, Mode, OFlags};
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
    #[error("it cannot be read")]
    Unreadable(#[source] std::io::Error),
}

/// What a file must be like to be read.
#[derive(Debug, Clone, Copy)]
pub struct SafeFile {
    /// Longest content in bytes.
    pub limit: usize,
    /// Permission bits that must not be set.
    pub forbidden_mode: u32,
}

impl SafeFile {
    /// Reads the file through one descriptor, so that what was checked is what is read.
    ///
    /// # Errors
    /// Says what is wrong with the file; never repeats its content.
    pub fn read(self, path: &Path) -> Result<String, FileProblem> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let descriptor = rustix::fs::open(path, flags, Mode::empty()).map_err(opening_problem)?;
        let stat = rustix::fs::fstat(descriptor.as_fd())
            .map_err(|error| FileProblem::Unreadable(error.into()))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(FileProblem::NotRegular);
        }
        if stat.st_uid != 0 && stat.st_uid != rustix::process::geteuid().as_raw() {
            return Err(FileProblem::Owner { owner: stat.st_uid });
        }
        if stat.st_mode & self.forbidden_mode != 0 {
            return Err(FileProblem::Mode {
                mode: stat.st_mode & 0o7777,
            });
        }
        read_bounded(descriptor, self.limit)
    }
}

/// Reads text of at most `limit` bytes from an opened file.
pub(super) fn read_bounded(descriptor: OwnedFd, limit: usize) -> Result<String, FileProblem> {
    let bound = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    let mut content = Vec::new();
    let mut file = File::from(descriptor).take(bound);
    file.read_to_end(&mut content)
        .map_err(FileProblem::Unreadable)?;
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

    const RULE: SafeFile = SafeFile {
        limit: 16,
        forbidden_mode: 0o022,
    };

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
        assert!(matches!(
            RULE.read(&path),
            Err(FileProblem::Mode { mode: 0o666 })
        ));
        set_mode(0o644);

        let link = directory.path().join("link");
        symlink(&path, &link).unwrap();
        assert!(matches!(RULE.read(&link), Err(FileProblem::NotRegular)));
        assert!(matches!(
            RULE.read(directory.path()),
            Err(FileProblem::NotRegular)
        ));
        assert!(matches!(
            RULE.read(&directory.path().join("none")),
            Err(FileProblem::Missing)
        ));

        std::fs::write(&path, "x".repeat(17)).unwrap();
        assert!(matches!(
            RULE.read(&path),
            Err(FileProblem::TooLarge { limit: 16 })
        ));
        std::fs::write(&path, [0xff]).unwrap();
        assert!(matches!(RULE.read(&path), Err(FileProblem::NotText)));
    }
}
