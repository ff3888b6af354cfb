//! Whose the listener on a slot's backend port is, for a front that starts nothing and may see little.
//!
//! Where the keeper's note can be read and its processes show their descriptors, the socket must be
//! one of theirs. Elsewhere the user counts who made the socket, which the kernel shows to everybody:
//! each slot has one of its own on an installed host. Where neither is known, nothing is said.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt as _;
use std::sync::{Mutex, PoisonError};

use guard::config::Manager;
use guard::io::Root;
use guard::path::{AbsolutePath, RelativePath};
use guard::slot::SlotId;

use super::listener::{self, Listener};
use super::process::{boot_id, descendants};
use super::run_directory::{DIRECTORY, Run, RunDirectory};
use crate::listening::{self, Listening};

/// What every user is called that a namespace of users does not know.
const UNMAPPED: u32 = 65_534;

/// Whose a listener is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whose {
    /// Nobody listens.
    Nobody,
    /// The slot's own backend.
    Slot,
    /// Somebody else.
    Foreign,
    /// Nothing that was started for the slot is known here.
    Unknown,
}

/// Looks at the listener on the backend port of one slot.
#[derive(Debug)]
pub struct Owner {
    slot: SlotId,
    manager: Manager,
    state: AbsolutePath,
    /// The sockets that were the slot's at the last look: while they listen, they still are.
    known: Mutex<BTreeSet<Listening>>,
}

impl Owner {
    /// Prepares to look; opens nothing.
    #[must_use]
    pub fn of(slot: SlotId, manager: Manager, state: AbsolutePath) -> Self {
        Self { slot, manager, state, known: Mutex::default() }
    }

    /// Looks once.
    #[must_use]
    pub fn look(&self) -> Whose {
        let listening = listening::on_loopback(self.slot.backend_port());
        if listening.is_empty() {
            return Whose::Nobody;
        }
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if listening.is_subset(&known) {
            return Whose::Slot;
        }
        let whose = self.judge(&listening);
        *known = if whose == Whose::Slot { listening } else { BTreeSet::new() };
        whose
    }

    fn judge(&self, listening: &BTreeSet<Listening>) -> Whose {
        let run = (self.manager == Manager::Process).then(|| self.run()).flatten();
        if let Some(run) = &run {
            match listener::judge(&listener::inodes(listening), &processes(run)) {
                Listener::Nobody => return Whose::Nobody,
                Listener::Slot => return Whose::Slot,
                Listener::Foreign(_) => return Whose::Foreign,
                Listener::Undecidable => {}
            }
        } else if self.manager == Manager::Process {
            return Whose::Unknown;
        }
        by_user(listening, self.user(), self.manager)
    }

    /// Returns what the keeper noted, where the caller may read it.
    fn run(&self) -> Option<Run> {
        let path = RelativePath::parse(&format!("{DIRECTORY}/{}", self.slot)).ok()?;
        let directory = Root::open(&self.state).ok()?.open_directory(&path).ok()?;
        RunDirectory::held(self.slot, directory).read().ok()?
    }

    /// Returns the user whose the slot's private directory is.
    fn user(&self) -> Option<u32> {
        let path = format!("{}/{}", self.state.as_str(), self.slot);
        let metadata = std::fs::symlink_metadata(path).ok()?;
        (metadata.is_dir() && metadata.uid() != UNMAPPED).then(|| metadata.uid())
    }
}

/// Returns the processes of a run; none once it has ended, or the host has started anew.
fn processes(run: &Run) -> Vec<super::process::Process> {
    let is_of_this_boot = boot_id().is_ok_and(|boot| boot == run.boot);
    if run.ended.is_some() || !is_of_this_boot || !run.keeper.is_running() {
        return Vec::new();
    }
    descendants(run.keeper.pid)
}

/// Judges by the user alone; a unit's socket may have been made by the manager, which is root's.
fn by_user(listening: &BTreeSet<Listening>, user: Option<u32>, manager: Manager) -> Whose {
    let Some(user) = user else { return Whose::Unknown };
    let is_own = |uid: u32| uid == user || (manager == Manager::Systemd && uid == 0);
    if listening.iter().all(|socket| is_own(socket.owner)) { Whose::Slot } else { Whose::Foreign }
}

/// Returns the processes that hold what listens on a port; `None` where they cannot be seen.
#[must_use]
pub fn holders(port: u16) -> Option<Vec<i32>> {
    listener::holders(port).map(|pids| pids.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_user_of_a_socket_decides_where_processes_are_not_shown() {
        let by = |uids: &[u32], user, manager| {
            let socket =
                |(inode, owner): (usize, &u32)| Listening { inode: inode as u64, owner: *owner };
            by_user(&uids.iter().enumerate().map(socket).collect(), user, manager)
        };
        let (process, systemd) = (Manager::Process, Manager::Systemd);
        assert_eq!(by(&[7], Some(7), process), Whose::Slot);
        assert_eq!(by(&[7, 8], Some(7), process), Whose::Foreign);
        assert_eq!(by(&[0], Some(7), process), Whose::Foreign);
        assert_eq!(by(&[0, 7], Some(7), systemd), Whose::Slot);
        assert_eq!(by(&[8], Some(7), systemd), Whose::Foreign);
        assert_eq!(by(&[7], None, systemd), Whose::Unknown);
    }
}
