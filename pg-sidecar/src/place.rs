//! The sidecar's directory beneath the state root: the Unix socket, the control socket, the password.
//!
//! Names are used beneath the open directory, never as a path that could be exchanged.

use std::io;
use std::net::{Ipv4Addr, TcpListener as StdTcpListener};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use guard::config::Config;
use guard::diagnostic::{Code, Denial};
use guard::io::Root;
use guard::path::AbsolutePath;
use guard::secret::Secret;
use guard::slot::SlotId;
use rustix::fs::{AtFlags, Mode};
use slot_runtime::file;
use slot_runtime::sidecar::{DIRECTORY, SECRET};
use tokio::net::{TcpListener, UnixListener};

const CONTROL: &str = "control.sock";

/// Permission bits that nobody but the directory's group may have, and that it may not.
const OF_OTHERS: u32 = 0o027;

/// The directory, held open.
#[derive(Debug)]
pub(crate) struct Place {
    slot: SlotId,
    directory: OwnedFd,
    path: String,
    /// Whether the directory's group may read the password: the slot's user, where that is another.
    shared: bool,
}

impl Place {
    /// Opens the directory, making it with mode 0700 where it is missing.
    ///
    /// # Errors
    /// Refuses a directory that is another user's, that others than its group may enter, or that
    /// its group may change.
    pub(crate) fn open(slot: SlotId, config: &Config) -> Result<Self, Denial> {
        let root = Root::open_or_create(&config.roots.state)?;
        root.create_readable_directory(DIRECTORY)?;
        let directory = root.create_directory(&[DIRECTORY, &slot.to_string()])?;
        let path = path(slot, &config.roots.state);
        let stat = rustix::fs::fstat(&directory)
            .map_err(|error| refuse(&path, &io::Error::from(error).to_string()))?;
        let own = rustix::process::geteuid().as_raw();
        if stat.st_uid != own || stat.st_mode & OF_OTHERS != 0 {
            let found = format!("mode {:04o} of uid {}", stat.st_mode & 0o7777, stat.st_uid);
            return Err(refuse(&path, &found));
        }
        let shared = stat.st_mode & READ_BY_GROUP != 0;
        Ok(Self { slot, directory, path, shared })
    }

    /// Opens the directory of a sidecar that runs.
    ///
    /// # Errors
    /// Refuses when there is none.
    pub(crate) fn find(slot: SlotId, config: &Config) -> Result<Self, Denial> {
        let root = &config.roots.state;
        let path = path(slot, root);
        let absent = || absent(slot, "no directory of one");
        let beneath = AbsolutePath::parse(&path).ok().and_then(|path| path.beneath(root));
        let beneath = beneath.ok_or_else(absent)?;
        let opened = Root::open(root).and_then(|root| root.open_directory(&beneath));
        let directory = opened.map_err(|_| absent())?;
        Ok(Self { slot, directory, path, shared: false })
    }

    /// Takes the slot's port, and with it the right to everything else of the slot.
    ///
    /// # Errors
    /// Refuses when somebody has it.
    pub(crate) fn listen_tcp(&self) -> Result<TcpListener, Denial> {
        let port = self.slot.sidecar_port();
        let listening = StdTcpListener::bind((Ipv4Addr::LOCALHOST, port)).and_then(|listener| {
            listener.set_nonblocking(true)?;
            TcpListener::from_std(listener)
        });
        listening.map_err(|error| {
            let message = format!("{} cannot be served", self.slot);
            let found = format!("127.0.0.1:{port}: {error}");
            Denial::new(Code::SidecarListen, message, found, "a port that nobody has")
        })
    }

    /// Listens on the slot's Unix socket.
    ///
    /// # Errors
    /// When the socket cannot be made.
    pub(crate) fn listen_unix(&self) -> Result<UnixListener, Denial> {
        self.listen_at(&self.socket_name())
    }

    /// Listens for who wants to know how the sidecar stands.
    ///
    /// # Errors
    /// When the socket cannot be made.
    pub(crate) fn listen_control(&self) -> Result<UnixListener, Denial> {
        self.listen_at(CONTROL)
    }

    fn listen_at(&self, name: &str) -> Result<UnixListener, Denial> {
        // Who has the port is the only sidecar; a socket that lies here is left from an earlier one.
        self.remove(name);
        let listening = UnixListener::bind(self.beneath(name)).and_then(|listener| {
            let owner_only = Mode::RUSR | Mode::WUSR;
            rustix::fs::chmodat(&self.directory, name, owner_only, AtFlags::empty())?;
            Ok(listener)
        });
        listening.map_err(|error| refuse(&self.path, &format!("`{name}`: {error}")))
    }

    /// Writes the secret of this start in one step, readable by our user and whoever may enter.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(crate) fn write_secret(&self, secret: &Secret) -> Result<(), Denial> {
        let own = Mode::RUSR | Mode::WUSR;
        let mode = if self.shared { own | Mode::RGRP } else { own };
        let secret = secret.dangerous_expose().as_bytes();
        let written = file::replace_alone(&self.directory, SECRET, mode, secret);
        written.map_err(|error| refuse(&self.path, &format!("`{SECRET}`: {error}")))
    }

    /// Asks the sidecar that runs how it stands.
    ///
    /// # Errors
    /// Refuses when nobody answers.
    pub(crate) fn ask(&self) -> Result<String, Denial> {
        let asking = || -> io::Result<String> {
            let stream = UnixStream::connect(self.beneath(CONTROL))?;
            stream.set_read_timeout(Some(PATIENCE))?;
            let mut answer = String::new();
            io::Read::read_to_string(&mut io::Read::take(stream, LONGEST_ANSWER), &mut answer)?;
            Ok(answer)
        };
        asking().map_err(|error| absent(self.slot, &error.to_string()))
    }

    /// Returns the path of the Unix socket, for people and drivers.
    pub(crate) fn socket(&self) -> PathBuf {
        PathBuf::from(&self.path).join(self.socket_name())
    }

    /// Removes what was made here.
    pub(crate) fn clear(&self) {
        for name in [&self.socket_name(), CONTROL, SECRET] {
            self.remove(name);
        }
    }

    fn socket_name(&self) -> String {
        format!(".s.PGSQL.{}", self.slot.sidecar_port())
    }

    fn remove(&self, name: &str) {
        // What is not there need not go.
        let _ = rustix::fs::unlinkat(&self.directory, name, AtFlags::empty());
    }

    /// Names a file by the open directory, however long that directory's path is.
    fn beneath(&self, name: &str) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}/{name}", self.directory.as_raw_fd()))
    }
}

fn path(slot: SlotId, state: &AbsolutePath) -> String {
    format!("{}/{DIRECTORY}/{slot}", state.as_str())
}

/// The permission bit by which a group reads.
const READ_BY_GROUP: u32 = 0o040;

/// How long a sidecar may take to say how it stands.
const PATIENCE: Duration = Duration::from_secs(5);

const LONGEST_ANSWER: u64 = 64 * 1024;

fn refuse(path: &str, found: &str) -> Denial {
    let message =
        format!("the sidecar's directory `{}` cannot be used", guard::diagnostic::shown(path));
    let expected = "a directory of our own with mode 0700, or 0750 with the group of the slot";
    Denial::new(Code::SidecarListen, message, found, expected)
}

fn absent(slot: SlotId, found: &str) -> Denial {
    let message = format!("no sidecar of {slot} answers");
    let expected = format!("`pg-sidecar serve --slot {slot}`");
    Denial::new(Code::SidecarAbsent, message, found, expected)
}
