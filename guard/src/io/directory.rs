//! A directory held open, whose files are read through the handle.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Dir, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use crate::config::Roots;
use crate::diagnostic::{Code, Denial, shown};
use crate::path::AbsolutePath;

use super::root::Root;
use super::safe_file::{FileProblem, opening_problem, read_text};

/// A directory that stays the same one whatever happens to its path.
#[derive(Debug)]
pub struct Directory(OwnedFd);

impl From<OwnedFd> for Directory {
    fn from(descriptor: OwnedFd) -> Self {
        Self(descriptor)
    }
}

impl AsFd for Directory {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Directory {
    /// Opens a directory by its path, following links: for directories a person names.
    ///
    /// # Errors
    /// Returns the system's error.
    pub fn open(path: &Path) -> Result<Self, std::io::Error> {
        let flags = OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::RDONLY;
        Ok(Self(rustix::fs::open(path, flags, Mode::empty())?))
    }

    /// Returns the names in the directory, in order of bytes.
    ///
    /// # Errors
    /// Returns the system's error.
    pub fn names(&self) -> Result<Vec<Vec<u8>>, std::io::Error> {
        let mut names = Vec::new();
        for entry in Dir::read_from(&self.0)? {
            let name = entry?.file_name().to_bytes().to_vec();
            if name != b"." && name != b".." {
                names.push(name);
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    /// Opens a directory of this directory; links are not followed.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub fn open_directory(&self, name: &str) -> Result<Self, FileProblem> {
        let flags = OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::RDONLY;
        self.open_beneath(name, flags).map(Self)
    }

    /// Opens a regular file of this directory for reading; links are not followed.
    ///
    /// # Errors
    /// Says what is wrong with the file.
    pub fn open_file(&self, name: &str) -> Result<File, FileProblem> {
        self.open_regular(name).map(|(file, _)| file)
    }

    /// Opens a regular file and says its size.
    fn open_regular(&self, name: &str) -> Result<(File, i64), FileProblem> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let descriptor = self.open_beneath(name, flags)?;
        let stat = rustix::fs::fstat(&descriptor).map_err(|e| FileProblem::Unreadable(e.into()))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(FileProblem::NotRegular);
        }
        Ok((File::from(descriptor), stat.st_size))
    }

    /// Returns where a symbolic link of this directory leads, as text; nothing is followed.
    ///
    /// # Errors
    /// Says that there is no such name, or that it is no link.
    pub fn read_link(&self, name: &str) -> Result<String, FileProblem> {
        let target =
            rustix::fs::readlinkat(&self.0, name, Vec::new()).map_err(|error| match error {
                Errno::INVAL => FileProblem::NotLink,
                other => opening_problem(other),
            })?;
        target.into_string().map_err(|_| FileProblem::NotText)
    }

    /// Returns what tells this directory from any other, and from itself after a change of names.
    ///
    /// # Errors
    /// Returns the system's error.
    pub fn mark(&self) -> Result<impl PartialEq + std::fmt::Debug + Send + use<>, std::io::Error> {
        let stat = rustix::fs::fstat(&self.0)?;
        Ok((stat.st_dev, stat.st_ino, stat.st_ctime, stat.st_ctime_nsec))
    }

    fn open_beneath(&self, name: &str, flags: OFlags) -> Result<OwnedFd, FileProblem> {
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        rustix::fs::openat2(&self.0, name, flags, Mode::empty(), resolve).map_err(opening_problem)
    }

    /// Reads a regular file of this directory as text; links are not followed.
    ///
    /// # Errors
    /// Says what is wrong with the file.
    pub fn read_text(&self, name: &str, limit: usize) -> Result<String, FileProblem> {
        let (file, size) = self.open_regular(name)?;
        read_text(file, size, limit)
    }
}

/// Opens a directory that a person names: beneath the worktree or repository root where one is
/// configured, else anywhere.
///
/// # Errors
/// Refuses a directory outside the roots or behind a link beneath them; one that cannot be opened
/// where no root is configured gets the code `missing`.
pub fn open_configured(path: &Path, roots: &Roots, missing: Code) -> Result<Directory, Denial> {
    let unreadable = |error: std::io::Error| {
        Denial::new(
            missing,
            "the directory cannot be read",
            format!("`{}`: {error}", shown(&path.to_string_lossy())),
            "a readable directory",
        )
    };
    let cross_mounts = roots.cross_mounts;
    let roots: Vec<&AbsolutePath> =
        [&roots.worktree, &roots.repository].into_iter().flatten().collect();
    if roots.is_empty() {
        return Directory::open(path).map_err(unreadable);
    }
    let absolute = std::path::absolute(path).map_err(unreadable)?;
    let absolute = AbsolutePath::parse(&absolute.to_string_lossy())?;
    for root in &roots {
        if let Some(relative) = absolute.beneath(root) {
            let root = Root::open(root)?.crossing_mounts(cross_mounts);
            return root.open_directory(&relative).map(Directory::from);
        }
    }
    let roots: Vec<&str> = roots.iter().map(|root| root.as_str()).collect();
    Err(Denial::new(
        Code::PathOutsideRoot,
        "the directory is not beneath a configured root",
        format!("`{}`", shown(absolute.as_str())),
        format!("a directory beneath `{}`", roots.join("` or `")),
    ))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn only_regular_files_of_the_directory_are_read() {
        let place = tempfile::tempdir().unwrap();
        std::fs::write(place.path().join("b.sql"), "text").unwrap();
        std::fs::write(place.path().join(".hidden"), "").unwrap();
        std::fs::create_dir(place.path().join("a")).unwrap();
        symlink("b.sql", place.path().join("link")).unwrap();
        let directory = Directory::open(place.path()).unwrap();
        assert_eq!(directory.names().unwrap(), [&b".hidden"[..], b"a", b"b.sql", b"link"]);
        assert_eq!(directory.read_text("b.sql", 4).unwrap(), "text");
        assert!(matches!(directory.read_text("b.sql", 3), Err(FileProblem::TooLarge { limit: 3 })));
        assert!(matches!(directory.read_text("link", 9), Err(FileProblem::NotRegular)));
        assert!(matches!(directory.read_text("a", 9), Err(FileProblem::NotRegular)));
        assert!(matches!(directory.read_text("none", 9), Err(FileProblem::Missing)));
        assert!(directory.read_text("../b.sql", 9).is_err());
        assert!(directory.open_directory("a").is_ok());
        assert!(directory.open_directory("link").is_err());
        assert!(directory.open_directory("..").is_err());
        assert_eq!(directory.read_link("link").unwrap(), "b.sql");
        assert!(matches!(directory.read_link("b.sql"), Err(FileProblem::NotLink)));
        assert!(matches!(directory.read_link("none"), Err(FileProblem::Missing)));
    }
}
