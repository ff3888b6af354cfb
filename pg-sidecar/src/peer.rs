//! Who is at the other end of a client's socket.

use std::net::SocketAddr;

use guard::diagnostic::{Code, Denial, shown};
use serde::Serialize;
use tokio::net::unix::UCred;

/// A client, as far as its socket tells.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Peer {
    /// On TCP every user of the host looks the same.
    Address(SocketAddr),
    /// On a Unix socket the kernel says who connected.
    Process {
        pid: Option<i32>,
        uid: u32,
        /// The program's file, for a reader: another program may have the number by now.
        program: Option<String>,
    },
}

impl Peer {
    /// Takes what the kernel says of a client on the Unix socket.
    pub(crate) fn of_process(credentials: UCred) -> Self {
        let pid = credentials.pid();
        let program = pid.and_then(|pid| std::fs::read_link(format!("/proc/{pid}/exe")).ok());
        let program = program.map(|path| shown(&path.to_string_lossy()));
        Self::Process { pid, uid: credentials.uid(), program }
    }

    /// Requires that a client on the Unix socket is the user that we are.
    ///
    /// # Errors
    /// Refuses every other user, the superuser included.
    pub(crate) fn require_own_user(&self) -> Result<(), Denial> {
        let own = rustix::process::geteuid().as_raw();
        match self {
            Self::Process { uid, .. } if *uid != own => Err(Denial::new(
                Code::WirePeer,
                "somebody else is on the sidecar's socket",
                format!("uid {uid}"),
                format!("uid {own}"),
            )),
            Self::Process { .. } | Self::Address(_) => Ok(()),
        }
    }
}

impl std::fmt::Display for Peer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Address(address) => write!(formatter, "{address}"),
            Self::Process { pid, uid, program } => {
                let pid = pid.map_or_else(|| "?".to_owned(), |pid| pid.to_string());
                let program = program.as_deref().unwrap_or("?");
                write!(formatter, "uid {uid} pid {pid} {program}")
            }
        }
    }
}
