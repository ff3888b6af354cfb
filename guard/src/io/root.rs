//! Directories held open, and what is opened beneath them.
//!
//! The kernel resolves every path beneath a held directory with `openat2`: no `..`, no symbolic
//! link, no magic link. What was checked is the descriptor itself, not a text.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt as _;

use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use crate::diagnostic::{Code, Denial, shown};
use crate::path::{AbsolutePath, RelativePath};

use super::directory::Directory;

const DIRECTORY: OFlags = OFlags::DIRECTORY.union(OFlags::CLOEXEC).union(OFlags::RDONLY);

const BENEATH: ResolveFlags =
    ResolveFlags::BENEATH.union(ResolveFlags::NO_SYMLINKS).union(ResolveFlags::NO_MAGICLINKS);

/// A configured root, held open.
#[derive(Debug)]
pub struct Root {
    path: AbsolutePath,
    descriptor: OwnedFd,
    resolve: ResolveFlags,
}

impl Root {
    /// Opens a configured root.
    ///
    /// # Errors
    /// Refuses a root that is missing, not a directory, or owned by neither root nor the caller.
    pub fn open(path: &AbsolutePath) -> Result<Self, Denial> {
        let refuse = |found: String| {
            Denial::new(
                Code::RootUnusable,
                format!("the root `{}` cannot be used", shown(path.as_str())),
                found,
                "a directory owned by root or the caller",
            )
        };
        let descriptor = rustix::fs::open(path.as_str(), DIRECTORY, Mode::empty())
            .map_err(|error| refuse(std::io::Error::from(error).to_string()))?;
        let stat = rustix::fs::fstat(descriptor.as_fd())
            .map_err(|error| refuse(std::io::Error::from(error).to_string()))?;
        if stat.st_uid != 0 && stat.st_uid != rustix::process::geteuid().as_raw() {
            return Err(refuse(format!("a directory of uid {}", stat.st_uid)));
        }
        Ok(Self { path: path.clone(), descriptor, resolve: BENEATH })
    }

    /// Opens a root that this program keeps for itself, making it with mode 0755 where missing.
    ///
    /// # Errors
    /// As [`Root::open`], when it cannot be made, and when others could change what is in it.
    pub fn open_or_create(path: &AbsolutePath) -> Result<Self, Denial> {
        let made = std::fs::DirBuilder::new().recursive(true).mode(0o755).create(path.as_str());
        if let Err(error) = made {
            return Err(Denial::new(
                Code::RootUnusable,
                format!("the root `{}` cannot be made", shown(path.as_str())),
                error.to_string(),
                "a directory that exists or can be made",
            ));
        }
        let root = Self::open(path)?;
        root.refuse_writable_by_others()?;
        Ok(root)
    }

    /// Whoever can write to a root can exchange what lies beneath it; a sticky root keeps owners.
    fn refuse_writable_by_others(&self) -> Result<(), Denial> {
        const WRITABLE: u32 = 0o022;
        const STICKY: u32 = 0o1000;
        let mode = rustix::fs::fstat(&self.descriptor).map_or(u32::MAX, |stat| stat.st_mode);
        if mode & WRITABLE == 0 || mode & STICKY != 0 {
            return Ok(());
        }
        Err(Denial::new(
            Code::RootUnusable,
            format!("others can write to the root `{}`", shown(self.path.as_str())),
            format!("mode {:04o}", mode & 0o7777),
            "a directory that only its owner can write to",
        ))
    }

    /// Decides whether directories on other mounts beneath the root may be entered.
    #[must_use]
    pub fn crossing_mounts(mut self, allowed: bool) -> Self {
        self.resolve.set(ResolveFlags::NO_XDEV, !allowed);
        self
    }

    /// Returns the path the root was opened at.
    #[must_use]
    pub fn path(&self) -> &AbsolutePath {
        &self.path
    }

    /// Returns the root itself as a directory.
    #[must_use]
    pub fn into_directory(self) -> Directory {
        self.descriptor.into()
    }

    /// Returns the held directory itself.
    #[must_use]
    pub fn handle(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }

    /// Opens an existing directory beneath the root.
    ///
    /// # Errors
    /// Refuses a path that leaves the root or passes a symbolic link, and one that is missing.
    pub fn open_directory(&self, path: &RelativePath) -> Result<OwnedFd, Denial> {
        let opened = rustix::fs::openat2(
            &self.descriptor,
            path.as_str(),
            DIRECTORY,
            Mode::empty(),
            self.resolve,
        );
        opened.map_err(|error| self.refuse(path.as_str(), error))
    }

    /// Makes a directory of mode 0700 beneath the root, one component at a time, and opens it.
    ///
    /// Existing directories on the way are used as they are.
    ///
    /// # Errors
    /// As [`Root::open_directory`], and when a component cannot be made.
    pub fn create_directory(&self, components: &[&str]) -> Result<OwnedFd, Denial> {
        self.create_with_mode(components, Mode::RWXU)
    }

    /// As [`Root::create_directory`], with mode 0750: for what the caller's group may read.
    ///
    /// # Errors
    /// As [`Root::create_directory`].
    pub fn create_shared_directory(&self, components: &[&str]) -> Result<OwnedFd, Denial> {
        self.create_with_mode(components, Mode::RWXU | Mode::RGRP | Mode::XGRP)
    }

    fn create_with_mode(&self, components: &[&str], mode: Mode) -> Result<OwnedFd, Denial> {
        let mut at: Option<OwnedFd> = None;
        for component in components {
            let parent: BorrowedFd<'_> =
                at.as_ref().map_or_else(|| self.descriptor.as_fd(), |fd| fd.as_fd());
            match rustix::fs::mkdirat(parent, *component, mode) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(error) => return Err(self.refuse(component, error)),
            }
            let next =
                rustix::fs::openat2(parent, *component, DIRECTORY, Mode::empty(), self.resolve)
                    .map_err(|error| self.refuse(component, error))?;
            at = Some(next);
        }
        at.ok_or_else(|| self.refuse("", Errno::NOENT))
    }

    /// Makes a directory of mode 0755 beneath the root, for what others may read, and opens it.
    ///
    /// # Errors
    /// As [`Root::create_directory`], and when it is neither root's nor the caller's or others can
    /// write to it.
    pub fn create_readable_directory(&self, name: &str) -> Result<OwnedFd, Denial> {
        let made = rustix::fs::mkdirat(&self.descriptor, name, Mode::RWXU);
        if let Err(error) =
            made.or_else(|error| if error == Errno::EXIST { Ok(()) } else { Err(error) })
        {
            return Err(self.refuse(name, error));
        }
        let opened =
            rustix::fs::openat2(&self.descriptor, name, DIRECTORY, Mode::empty(), self.resolve)
                .map_err(|error| self.refuse(name, error))?;
        if made.is_ok() {
            // Not by `mkdirat`: a umask of the caller would take bits away.
            rustix::fs::fchmod(&opened, Mode::from_raw_mode(0o755))
                .map_err(|error| self.refuse(name, error))?;
        }
        self.refuse_foreign(&opened, name)?;
        Ok(opened)
    }

    /// Opens a directory that [`Root::create_readable_directory`] made; `None` where there is none.
    ///
    /// # Errors
    /// As [`Root::create_readable_directory`].
    pub fn open_readable_directory(&self, name: &str) -> Result<Option<OwnedFd>, Denial> {
        let opened =
            rustix::fs::openat2(&self.descriptor, name, DIRECTORY, Mode::empty(), self.resolve);
        match opened {
            Ok(opened) => {
                self.refuse_foreign(&opened, name)?;
                Ok(Some(opened))
            }
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(self.refuse(name, error)),
        }
    }

    fn refuse_foreign(&self, directory: &OwnedFd, name: &str) -> Result<(), Denial> {
        let stat = rustix::fs::fstat(directory).map_err(|error| self.refuse(name, error))?;
        let is_ours = stat.st_uid == 0 || stat.st_uid == rustix::process::geteuid().as_raw();
        if is_ours && stat.st_mode & 0o022 == 0 {
            return Ok(());
        }
        let (path, mode) = (shown(self.path.as_str()), stat.st_mode & 0o7777);
        Err(Denial::new(
            Code::RootUnusable,
            format!("the directory `{path}/{}` cannot be used", shown(name)),
            format!("a directory of uid {} with mode {mode:04o}", stat.st_uid),
            "a directory of root or the caller that others cannot write to",
        ))
    }

    fn refuse(&self, path: &str, error: Errno) -> Denial {
        let root = shown(self.path.as_str());
        let why = match error {
            Errno::LOOP => "a component is a symbolic link".to_owned(),
            Errno::XDEV => "it leaves the root or its mount".to_owned(),
            other => std::io::Error::from(other).to_string(),
        };
        let found = format!("`{root}/{}`: {why}", shown(path));
        match error {
            Errno::NOENT => {
                Denial::new(Code::PathMissing, "the path does not exist", found, "an existing path")
            }
            _ => Denial::new(
                Code::PathOutsideRoot,
                format!("the path is not a directory beneath `{root}`"),
                found,
                "a directory beneath its root, reached without symbolic links",
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn absolute(path: &std::path::Path) -> AbsolutePath {
        AbsolutePath::parse(path.to_str().unwrap()).unwrap()
    }

    #[test]
    fn se_3_only_directories_beneath_the_root_are_opened() {
        let directory = tempfile::tempdir().unwrap();
        let root_path = absolute(directory.path());
        let root = Root::open(&root_path).unwrap();
        std::fs::create_dir_all(directory.path().join("a/b")).unwrap();
        std::fs::write(directory.path().join("file"), "").unwrap();
        symlink("/etc", directory.path().join("link")).unwrap();
        symlink("a", directory.path().join("inner")).unwrap();
        let open = |text: &str| {
            let path = absolute(&directory.path().join(text));
            root.open_directory(&path.beneath(&root_path).unwrap()).map_err(|d| d.code())
        };
        assert!(open("a").is_ok() && open("a/b").is_ok());
        assert_eq!(open("link").unwrap_err(), Code::PathOutsideRoot);
        assert_eq!(open("inner/b").unwrap_err(), Code::PathOutsideRoot);
        assert_eq!(open("file").unwrap_err(), Code::PathOutsideRoot);
        assert_eq!(open("none").unwrap_err(), Code::PathMissing);
    }

    #[test]
    fn directories_are_made_beneath_the_root_only() {
        let directory = tempfile::tempdir().unwrap();
        let root = Root::open(&absolute(directory.path())).unwrap();
        root.create_directory(&["preview-1", "home"]).unwrap();
        root.create_directory(&["preview-1", "home"]).unwrap();
        assert!(directory.path().join("preview-1/home").is_dir());
        symlink("/tmp", directory.path().join("preview-2")).unwrap();
        let denial = root.create_directory(&["preview-2", "home"]).unwrap_err();
        assert_eq!(denial.code(), Code::PathOutsideRoot);
    }

    #[test]
    fn a_directory_for_readers_is_not_writable_by_them() {
        use std::os::unix::fs::PermissionsExt as _;
        let directory = tempfile::tempdir().unwrap();
        let root = Root::open(&absolute(directory.path())).unwrap();
        assert!(root.open_readable_directory("records").unwrap().is_none());
        root.create_readable_directory("records").unwrap();
        let path = directory.path().join("records");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o755);
        assert!(root.open_readable_directory("records").unwrap().is_some());
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o775)).unwrap();
        for opened in [
            root.open_readable_directory("records").map(|_| ()),
            root.create_readable_directory("records").map(|_| ()),
        ] {
            assert_eq!(opened.unwrap_err().code(), Code::RootUnusable);
        }
        symlink("/tmp", directory.path().join("link")).unwrap();
        let denial = root.open_readable_directory("link").unwrap_err();
        assert_eq!(denial.code(), Code::PathOutsideRoot);
    }

    #[test]
    fn another_mount_can_be_kept_out() {
        use std::os::unix::fs::MetadataExt as _;
        let device = |path: &str| std::fs::metadata(path).map(|metadata| metadata.dev()).ok();
        let root_path = AbsolutePath::parse("/dev").unwrap();
        if device("/dev/shm").is_none() || device("/dev/shm") == device("/dev") {
            return; // No other mount is there to be kept out.
        }
        let inside = AbsolutePath::parse("/dev/shm").unwrap().beneath(&root_path).unwrap();
        let open = |allowed| {
            Root::open(&root_path).unwrap().crossing_mounts(allowed).open_directory(&inside)
        };
        assert!(open(true).is_ok());
        assert_eq!(open(false).unwrap_err().code(), Code::PathOutsideRoot);
    }

    #[test]
    fn a_missing_root_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let gone = absolute(&directory.path().join("gone"));
        assert_eq!(Root::open(&gone).unwrap_err().code(), Code::RootUnusable);
        assert!(Root::open_or_create(&gone).is_ok());
    }

    #[test]
    fn a_root_of_our_own_is_not_writable_by_others() {
        use std::os::unix::fs::PermissionsExt as _;
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("state");
        let root = absolute(&path);
        Root::open_or_create(&root).unwrap();
        let set_mode = |mode| {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        };
        set_mode(0o777);
        assert_eq!(Root::open_or_create(&root).unwrap_err().code(), Code::RootUnusable);
        set_mode(0o755);
        assert!(Root::open_or_create(&root).is_ok());
    }
}
