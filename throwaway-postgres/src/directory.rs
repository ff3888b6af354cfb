//! The directory one cluster lives in: where it is, what is put there, that it goes away.
//!
//! The directory belongs to the server's user while this process may be root. Files are therefore
//! made through a handle on the directory that was checked to be the user's own, never by path: a
//! symlink put in the way would otherwise make root write elsewhere.

use std::env;
use std::fmt;
use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Gid, Mode, OFlags, Uid, fchown, fstat, openat, statvfs};
use thiserror::Error;

use crate::password::random_hex;
use crate::process::StopError;
use crate::user::ServerUser;
use crate::watchdog::Watchdog;

/// Why a cluster has no directory to live in.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DirectoryError {
    /// The server's user cannot make a directory in any of the places.
    #[error("cannot make a directory for the cluster: {}", listed(refusals))]
    NoPlace {
        /// The places that were tried, and what is wrong with each.
        refusals: Vec<Refusal>,
    },
    /// No name was made for the directory.
    #[error("cannot make up a random name")]
    Name {
        /// What the system said.
        source: io::Error,
    },
    /// The directory that was just made is not what it should be.
    #[error("`{}` is not the directory that was just made for the cluster", path.display())]
    Replaced {
        /// The path of the directory.
        path: PathBuf,
    },
    /// A file cannot be made in the directory.
    #[error("cannot make `{name}` in `{}`", path.display())]
    File {
        /// The path of the directory.
        path: PathBuf,
        /// The file that was to be made.
        name: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

/// A place that cannot have the directory of a cluster, and why.
#[derive(Debug)]
#[non_exhaustive]
pub struct Refusal {
    /// The place that was tried.
    pub place: PathBuf,
    /// What is wrong with it.
    pub reason: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`: {}", self.place.display(), self.reason)
    }
}

/// A cluster's directory, which its watchdog removes.
#[derive(Debug)]
pub(crate) struct RunDirectory {
    watchdog: Watchdog,
    handle: OwnedFd,
    path: PathBuf,
    user: ServerUser,
}

impl RunDirectory {
    /// Makes a directory in `chosen`, or else in the first place that takes one.
    pub(crate) fn make(
        chosen: Option<&Path>,
        user: &ServerUser,
        programs: &Path,
    ) -> Result<Self, DirectoryError> {
        let mut refusals = Vec::new();
        for place in chosen.map_or_else(usual_places, |place| vec![place.to_owned()]) {
            let name = random_hex(6).map_err(|source| DirectoryError::Name { source })?;
            match Self::make_in(&place, &name, user, programs) {
                Ok((watchdog, path)) => return Self::open(watchdog, path, user),
                Err(reason) => refusals.push(Refusal { place, reason }),
            }
        }
        Err(DirectoryError::NoPlace { refusals })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Makes a new file that the server's user owns and nobody else reads.
    pub(crate) fn new_file(&self, name: &'static str) -> Result<File, DirectoryError> {
        let flags = OFlags::RDWR
            | OFlags::CREATE
            | OFlags::EXCL
            | OFlags::APPEND
            | OFlags::NOFOLLOW
            | OFlags::CLOEXEC;
        openat(&self.handle, name, flags, Mode::RUSR | Mode::WUSR)
            .and_then(|file| self.hand_over(file))
            .map_err(|error| DirectoryError::File {
                path: self.path.clone(),
                name,
                source: error.into(),
            })
    }

    /// Ends whatever still runs in the directory and removes it; safe to repeat.
    pub(crate) fn remove(&mut self) -> Result<(), StopError> {
        self.watchdog.finish();
        // The watchdog has removed it, unless somebody killed the watchdog.
        match fs::remove_dir_all(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(StopError::Remove { path: self.path.clone(), source: error })
            }
            _ => Ok(()),
        }
    }

    fn make_in(
        place: &Path,
        name: &str,
        user: &ServerUser,
        programs: &Path,
    ) -> Result<(Watchdog, PathBuf), String> {
        let place = fs::canonicalize(place).map_err(|error| error.to_string())?;
        let path = place.join(format!("{PREFIX}{name}"));
        check_socket_path(&path)?;
        let watchdog =
            Watchdog::start(user, &path, programs).map_err(|error| error_chain(&error))?;
        Ok((watchdog, path))
    }

    fn open(watchdog: Watchdog, path: PathBuf, user: &ServerUser) -> Result<Self, DirectoryError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let own = openat(CWD, &path, flags, Mode::empty())
            .ok()
            .filter(|handle| fstat(handle).is_ok_and(|stat| stat.st_uid == user.uid()));
        let Some(handle) = own else {
            return Err(DirectoryError::Replaced { path });
        };
        Ok(Self { watchdog, handle, path, user: *user })
    }

    fn hand_over(&self, file: OwnedFd) -> rustix::io::Result<File> {
        if let Some(ids) = self.user.switch_to() {
            let (uid, gid) = (Uid::from_raw(ids.uid), Gid::from_raw(ids.gid));
            fchown(&file, Some(uid), Some(gid))?;
        }
        Ok(File::from(file))
    }
}

impl Drop for RunDirectory {
    fn drop(&mut self) {
        let _ = self.remove();
    }
}

/// Returns where a cluster goes unless the caller says otherwise, best place first.
fn usual_places() -> Vec<PathBuf> {
    let memory = Path::new(MEMORY);
    let roomy = statvfs(memory).is_ok_and(|fs| fs.f_bavail * fs.f_frsize >= ROOM_NEEDED);
    let memory = roomy.then(|| memory.to_owned());
    memory.into_iter().chain([env::temp_dir()]).collect()
}

/// Refuses a directory whose unix socket could not be named to the kernel or to `psql`.
fn check_socket_path(directory: &Path) -> Result<(), String> {
    let path = directory.as_os_str().as_bytes();
    let length = path.len() + SOCKET_NAME.len();
    if length > LONGEST_SOCKET_PATH {
        return Err(format!(
            "the path of a unix socket in it would be {length} bytes long; at most \
             {LONGEST_SOCKET_PATH} fit"
        ));
    }
    // Both the server and `psql` read a list here, whose items end at a comma.
    if path
        .iter()
        .any(|byte| matches!(byte, b',' | b'"' | b'\'' | b'\\') || byte.is_ascii_control())
    {
        return Err("a comma, quote, backslash or control character is in its path".into());
    }
    Ok(())
}

fn error_chain(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(cause) => format!("{error}: {}", error_chain(cause)),
        None => error.to_string(),
    }
}

fn listed(refusals: &[Refusal]) -> String {
    let refusals: Vec<_> = refusals.iter().map(ToString::to_string).collect();
    refusals.join("; ")
}

const MEMORY: &str = "/dev/shm";

/// A fresh cluster takes 28 MB; the rest is for what the caller puts into it.
const ROOM_NEEDED: u64 = 512 * 1024 * 1024;

const PREFIX: &str = "throwaway-postgres-";

/// The longest name the server gives its socket.
const SOCKET_NAME: &str = "/.s.PGSQL.65535";

/// The room in `sockaddr_un`, less the final zero byte.
const LONGEST_SOCKET_PATH: usize = 107;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_must_leave_room_for_the_name_of_the_socket() {
        for (length, fits) in [(40, true), (92, true), (93, false), (200, false)] {
            let path = format!("/{}", "x".repeat(length - 1));
            assert_eq!(check_socket_path(Path::new(&path)).is_ok(), fits, "{length}");
        }
    }

    #[test]
    fn a_directory_must_not_look_like_a_list() {
        for path in ["/tmp/a,b", "/tmp/a\"b", "/tmp/a'b", "/tmp/a\\b", "/tmp/a\nb"] {
            assert!(check_socket_path(Path::new(path)).is_err(), "{path:?}");
        }
        assert_eq!(check_socket_path(Path::new("/tmp/with space-é")), Ok(()));
    }

    #[test]
    fn a_place_that_is_not_there_is_named() {
        let user = ServerUser::for_this_process().unwrap();
        let nowhere = Path::new("/nonexistent/place");
        let error = RunDirectory::make(Some(nowhere), &user, Path::new("/")).unwrap_err();
        assert_eq!(
            error.to_string(),
            "cannot make a directory for the cluster: `/nonexistent/place`: No such file or \
             directory (os error 2)"
        );
    }

    #[test]
    fn a_place_the_user_cannot_write_to_is_named() {
        let user = ServerUser::for_this_process().unwrap();
        let error = RunDirectory::make(Some(Path::new("/proc")), &user, Path::new("/"));
        let message = error.unwrap_err().to_string();
        assert!(message.contains("`/proc`: mkdir: "), "{message}");
    }

    #[test]
    fn the_directory_is_private_and_goes_away() {
        use std::os::unix::fs::MetadataExt;

        let user = ServerUser::for_this_process().unwrap();
        let mut directory = RunDirectory::make(None, &user, Path::new("/usr/bin")).unwrap();
        let path = directory.path().to_owned();
        let file = directory.new_file("file").unwrap();
        for metadata in [path.metadata().unwrap(), file.metadata().unwrap()] {
            assert_eq!(metadata.uid(), user.uid());
            assert_eq!(metadata.mode() & 0o077, 0);
        }
        assert!(directory.new_file("file").is_err(), "made the file twice");
        directory.remove().unwrap();
        assert!(!path.exists());
        directory.remove().unwrap();
    }

    #[test]
    fn a_killed_watchdog_does_not_leave_the_directory() {
        let user = ServerUser::for_this_process().unwrap();
        let mut directory = RunDirectory::make(None, &user, Path::new("/usr/bin")).unwrap();
        directory.watchdog.kill();
        directory.remove().unwrap();
        assert!(!directory.path().exists());
    }
}
