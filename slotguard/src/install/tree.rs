//! Files beneath a root, which is as good as `/`: links beneath it lead nowhere else.

use std::fs::File;
use std::io::{Error, ErrorKind, Read as _};
use std::os::fd::OwnedFd;

use guard::path::AbsolutePath;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use slot_runtime::file;

/// Largest file that is read, in bytes.
const LIMIT: u64 = 1024 * 1024;

const DIRECTORY: OFlags = OFlags::DIRECTORY.union(OFlags::CLOEXEC).union(OFlags::RDONLY);
const WITHIN: ResolveFlags = ResolveFlags::IN_ROOT.union(ResolveFlags::NO_MAGICLINKS);

/// A root, held open. Paths beneath it are absolute, as if it were `/`.
#[derive(Debug)]
pub(super) struct Tree(OwnedFd);

impl Tree {
    /// Opens a root.
    pub(super) fn open(root: &std::path::Path) -> Result<Self, Error> {
        Ok(Self(rustix::fs::open(root, DIRECTORY, Mode::empty())?))
    }

    /// Reads a regular file; `None` where there is none.
    pub(super) fn read(&self, path: &AbsolutePath) -> Result<Option<Vec<u8>>, Error> {
        let (parent, name) = split(path);
        let Some(directory) = self.directory(parent)? else { return Ok(None) };
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let file = match rustix::fs::openat(&directory, name, flags, Mode::empty()) {
            Ok(file) => file,
            Err(Errno::NOENT) => return Ok(None),
            Err(Errno::LOOP) => return Err(Error::other("it is a symbolic link")),
            Err(error) => return Err(error.into()),
        };
        if FileType::from_raw_mode(rustix::fs::fstat(&file)?.st_mode) != FileType::RegularFile {
            return Err(Error::other("it is not a regular file"));
        }
        let mut content = Vec::new();
        File::from(file).take(LIMIT + 1).read_to_end(&mut content)?;
        if content.len() as u64 > LIMIT {
            return Err(Error::other("it is larger than anything that is installed"));
        }
        Ok(Some(content))
    }

    /// Lists the directories on the way to a file that do not exist, the outermost first.
    pub(super) fn missing(&self, path: &AbsolutePath) -> Result<Vec<String>, Error> {
        let mut missing = Vec::new();
        for directory in ancestors(path) {
            if self.directory(directory)?.is_none() {
                missing.push(directory.to_owned());
            }
        }
        Ok(missing)
    }

    /// Writes a file whole, with the directories on the way to it.
    pub(super) fn write(&self, path: &AbsolutePath, mode: u32, text: &[u8]) -> Result<(), Error> {
        for directory in ancestors(path) {
            self.make(directory)?;
        }
        let (parent, name) = split(path);
        let directory = self.directory(parent)?.ok_or(ErrorKind::NotFound)?;
        file::replace_alone(&directory, name, Mode::from_raw_mode(mode), text)
    }

    /// Removes a file; one that is gone is no failure.
    pub(super) fn remove(&self, path: &AbsolutePath) -> Result<(), Error> {
        let (parent, name) = split(path);
        let Some(directory) = self.directory(parent)? else { return Ok(()) };
        match rustix::fs::unlinkat(&directory, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Removes a directory if it is empty, and says whether it did.
    pub(super) fn remove_directory(&self, path: &AbsolutePath) -> Result<bool, Error> {
        let (parent, name) = split(path);
        let Some(directory) = self.directory(parent)? else { return Ok(false) };
        match rustix::fs::unlinkat(&directory, name, AtFlags::REMOVEDIR) {
            Ok(()) => Ok(true),
            Err(Errno::NOENT | Errno::NOTEMPTY | Errno::EXIST) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    fn directory(&self, path: &str) -> Result<Option<OwnedFd>, Error> {
        let path = if path.is_empty() { "/" } else { path };
        match rustix::fs::openat2(&self.0, path, DIRECTORY, Mode::empty(), WITHIN) {
            Ok(directory) => Ok(Some(directory)),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn make(&self, path: &str) -> Result<(), Error> {
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
        let parent = self.directory(parent)?.ok_or(ErrorKind::NotFound)?;
        match rustix::fs::mkdirat(&parent, name, Mode::RWXU) {
            Ok(()) => {}
            Err(Errno::EXIST) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
        let made = self.directory(path)?.ok_or(ErrorKind::NotFound)?;
        // Not by `mkdirat`: the caller's umask would take bits away.
        Ok(rustix::fs::fchmod(made, Mode::from_raw_mode(0o755))?)
    }
}

/// Returns the directories on the way to a file, the outermost first.
fn ancestors(path: &AbsolutePath) -> impl Iterator<Item = &str> {
    let text = path.as_str();
    text.match_indices('/').skip(1).map(|(end, _)| &text[..end])
}

fn split(path: &AbsolutePath) -> (&str, &str) {
    path.as_str().rsplit_once('/').unwrap_or(("", path.as_str()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    fn path(text: &str) -> AbsolutePath {
        AbsolutePath::parse(text).unwrap()
    }

    #[test]
    fn a_file_is_written_with_its_directories_and_removed_with_them() {
        let place = tempfile::tempdir().unwrap();
        let tree = Tree::open(place.path()).unwrap();
        let file = path("/etc/x/y.conf");
        assert_eq!(tree.missing(&file).unwrap(), ["/etc", "/etc/x"]);
        tree.write(&file, 0o755, b"text").unwrap();
        assert_eq!(tree.read(&file).unwrap().unwrap(), b"text");
        let mode = std::fs::metadata(place.path().join("etc/x/y.conf")).unwrap().permissions();
        assert_eq!(mode.mode() & 0o777, 0o755);
        assert_eq!(tree.missing(&file).unwrap(), Vec::<String>::new());
        assert!(!tree.remove_directory(&path("/etc/x")).unwrap(), "it is not empty");
        tree.remove(&file).unwrap();
        tree.remove(&file).unwrap();
        assert!(tree.remove_directory(&path("/etc/x")).unwrap());
        assert_eq!(tree.read(&file).unwrap(), None);
    }

    #[test]
    fn links_beneath_the_root_stay_beneath_it() {
        let place = tempfile::tempdir().unwrap();
        let outside = tempfile::tempdir().unwrap();
        let tree = Tree::open(place.path()).unwrap();
        std::fs::create_dir(place.path().join("releases")).unwrap();
        symlink("/releases", place.path().join("current")).unwrap();
        tree.write(&path("/current/x"), 0o644, b"1").unwrap();
        assert!(place.path().join("releases/x").is_file());

        symlink(outside.path(), place.path().join("etc")).unwrap();
        assert!(tree.write(&path("/etc/x"), 0o644, b"1").is_err());
        assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 0);
        symlink("x", place.path().join("releases/link")).unwrap();
        assert!(tree.read(&path("/releases/link")).is_err());
        assert!(tree.read(&path("/releases")).is_err());
    }
}
