//! Who listens on the slot's backend port, as far as the caller may see.
//!
//! A socket belongs to the slot when one of the slot's processes holds it. That needs a look at the
//! descriptors of those processes; where the kernel does not allow it, the answer is that nobody can
//! tell, never that all is well.

use std::collections::BTreeSet;

use super::process::Process;
use crate::listening::{self, Listening};

/// Who listens on a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Listener {
    /// Nobody.
    Nobody,
    /// Processes of the slot, and nobody else.
    Slot,
    /// A process that is none of the slot's, named where it can be found.
    Foreign(Option<i32>),
    /// Somebody, and the slot's processes do not show their descriptors.
    Undecidable,
}

/// Finds out who listens on a port of loopback, given the slot's processes.
pub(super) fn find(port: u16, slot: &[Process]) -> Listener {
    judge(&inodes(&listening::on_loopback(port)), slot)
}

/// As [`find`], of sockets that are known to listen.
pub(super) fn judge(listening: &BTreeSet<u64>, slot: &[Process]) -> Listener {
    decide(listening, &held_by(slot), holder)
}

/// Returns the processes that hold what listens on a port, as far as the caller may see; `None`
/// where a socket has no process that is shown.
pub(super) fn holders(port: u16) -> Option<BTreeSet<i32>> {
    let mut found = BTreeSet::new();
    for socket in inodes(&listening::on_loopback(port)) {
        let own: Vec<i32> = holders_of(&BTreeSet::from([socket])).collect();
        if own.is_empty() {
            return None;
        }
        found.extend(own);
    }
    Some(found)
}

/// Returns the inodes of some sockets.
pub(super) fn inodes(sockets: &BTreeSet<Listening>) -> BTreeSet<u64> {
    sockets.iter().map(|socket| socket.inode).collect()
}

/// The sockets that some processes hold, and whether all of them could be looked into.
#[derive(Debug, Default)]
struct Held {
    sockets: BTreeSet<u64>,
    hidden: bool,
}

fn decide(
    listening: &BTreeSet<u64>,
    held: &Held,
    holder: impl Fn(&BTreeSet<u64>) -> Option<i32>,
) -> Listener {
    let foreign: BTreeSet<u64> = listening.difference(&held.sockets).copied().collect();
    match (listening.is_empty(), foreign.is_empty(), held.hidden) {
        (true, ..) => Listener::Nobody,
        (false, true, _) => Listener::Slot,
        (false, false, true) => Listener::Undecidable,
        (false, false, false) => Listener::Foreign(holder(&foreign)),
    }
}

fn held_by(processes: &[Process]) -> Held {
    let mut held = Held::default();
    for process in processes {
        match sockets_of(process.pid) {
            Ok(sockets) => held.sockets.extend(sockets),
            // One that has ended meanwhile holds nothing.
            Err(_) => held.hidden |= process.is_running(),
        }
    }
    held
}

/// Returns a process that holds one of the sockets, where the caller may see it.
fn holder(sockets: &BTreeSet<u64>) -> Option<i32> {
    holders_of(sockets).next()
}

fn holders_of(sockets: &BTreeSet<u64>) -> impl Iterator<Item = i32> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter(|pid| {
        sockets_of(*pid).is_ok_and(|held| held.iter().any(|socket| sockets.contains(socket)))
    })
}

fn sockets_of(pid: i32) -> Result<Vec<u64>, std::io::Error> {
    let mut sockets = Vec::new();
    for entry in std::fs::read_dir(format!("/proc/{pid}/fd"))? {
        let target = match std::fs::read_link(entry?.path()) {
            Ok(target) => target,
            // The descriptor was closed while this was going on.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        let number = target.to_str().and_then(|text| text.strip_prefix("socket:["));
        sockets.extend(number.and_then(|text| text.strip_suffix(']')?.parse::<u64>().ok()));
    }
    Ok(sockets)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn a_socket_of_the_slot_is_told_from_a_foreign_one() {
        let own = Process::own().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        assert_eq!(find(port, &[own]), Listener::Slot);
        assert_eq!(find(port, &[]), Listener::Foreign(Some(own.pid)));
        drop(listener);
        assert_eq!(find(port, &[own]), Listener::Nobody);
    }

    #[test]
    fn listeners_of_every_address_that_loopback_reaches_count() {
        let own = Process::own().unwrap();
        for address in ["0.0.0.0:0", "127.0.0.1:0", "[::1]:0", "[::]:0"] {
            let Ok(listener) = TcpListener::bind(address) else { continue };
            let port = listener.local_addr().unwrap().port();
            assert_eq!(find(port, &[own]), Listener::Slot, "{address}");
        }
    }

    #[test]
    fn one_foreign_socket_beside_the_slot_s_own_is_foreign() {
        let sockets = |numbers: &[u64]| numbers.iter().copied().collect::<BTreeSet<u64>>();
        let held = |numbers: &[u64], hidden| Held { sockets: sockets(numbers), hidden };
        let decide =
            |listening: &[u64], held: &Held| decide(&sockets(listening), held, |_| Some(9));
        assert_eq!(decide(&[], &held(&[1], true)), Listener::Nobody);
        assert_eq!(decide(&[1], &held(&[1, 2], false)), Listener::Slot);
        assert_eq!(decide(&[1, 3], &held(&[1], false)), Listener::Foreign(Some(9)));
        assert_eq!(decide(&[3], &held(&[1], true)), Listener::Undecidable);
        assert_eq!(decide(&[1], &held(&[1], true)), Listener::Slot);
    }
}
