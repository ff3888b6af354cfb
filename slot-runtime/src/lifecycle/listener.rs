//! Who listens on the slot's backend port, as far as the caller may see.
//!
//! A socket belongs to the slot when one of the slot's processes holds it. That needs a look at the
//! descriptors of those processes; where the kernel does not allow it, the answer is that nobody can
//! tell, never that all is well.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, Ipv6Addr};

use super::process::Process;

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
    judge(&inodes(&listening_on(port)), slot)
}

/// As [`find`], of sockets that are known to listen.
pub(super) fn judge(listening: &BTreeSet<u64>, slot: &[Process]) -> Listener {
    decide(listening, &held_by(slot), holder)
}

/// Returns the processes that hold what listens on a port, as far as the caller may see; `None`
/// where a socket has no process that is shown.
pub(super) fn holders(port: u16) -> Option<BTreeSet<i32>> {
    let mut found = BTreeSet::new();
    for socket in inodes(&listening_on(port)) {
        let own: Vec<i32> = holders_of(&BTreeSet::from([socket])).collect();
        if own.is_empty() {
            return None;
        }
        found.extend(own);
    }
    Some(found)
}

/// A socket that listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Socket {
    pub(super) inode: u64,
    /// Who made it, which everybody may see.
    pub(super) uid: u32,
}

/// Returns the inodes of some sockets.
pub(super) fn inodes(sockets: &BTreeSet<Socket>) -> BTreeSet<u64> {
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

/// Returns the sockets that answer who connects to the port on loopback.
pub(super) fn listening_on(port: u16) -> BTreeSet<Socket> {
    // Not `/proc/net`, which a unit with ProcSubset=pid does not see.
    let tables = [("/proc/self/net/tcp", 4), ("/proc/self/net/tcp6", 6)];
    let read = |(path, version)| {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        parse_table(&text, version, port).collect::<Vec<Socket>>()
    };
    tables.into_iter().flat_map(read).collect()
}

/// Reads a table of sockets; 0A is the state of a socket that listens.
fn parse_table(text: &str, version: u8, port: u16) -> impl Iterator<Item = Socket> {
    text.lines().skip(1).filter_map(move |line| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let (address, number) = fields.get(1)?.split_once(':')?;
        let listens = *fields.get(3)? == "0A" && u16::from_str_radix(number, 16).ok()? == port;
        let socket =
            Socket { uid: fields.get(7)?.parse().ok()?, inode: fields.get(9)?.parse().ok()? };
        (listens && is_reached_by_loopback(address, version)).then_some(socket)
    })
}

/// The kernel writes addresses as words of 32 bits in the host's order of bytes.
fn is_reached_by_loopback(address: &str, version: u8) -> bool {
    let word = |index: usize| {
        let text = address.get(index * 8..index * 8 + 8)?;
        u32::from_str_radix(text, 16).ok().map(u32::to_ne_bytes)
    };
    let reached = |ip: Ipv4Addr| ip.is_unspecified() || ip.is_loopback();
    if version == 4 {
        return word(0).is_some_and(|bytes| reached(Ipv4Addr::from(bytes)));
    }
    let mut bytes = [0; 16];
    for (index, part) in bytes.chunks_exact_mut(4).enumerate() {
        let Some(word) = word(index) else { return false };
        part.copy_from_slice(&word);
    }
    let ip = Ipv6Addr::from(bytes);
    ip.is_unspecified() || ip.is_loopback() || ip.to_ipv4_mapped().is_some_and(reached)
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

    proptest::proptest! {
        #[test]
        fn any_table_is_read_without_a_panic(text: String, six: bool) {
            let version = if six { 6 } else { 4 };
            let table = format!("head\n 0: {text} 0 0A 0 0 0 0 0 7\n 0: {text}:1FA5 0 0A 0 0 0 0 0 7");
            let _ = parse_table(&table, version, 8101).count();
        }
    }

    #[test]
    fn the_tables_of_the_kernel_are_read() {
        let head = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n";
        let line = |address: &str, state: &str| {
            format!(
                "{head}   0: {address}:1FA5 00000000:0000 {state} 00000000:00000000 00:00000000 00000000     0        0 77 1 0 100 0 0 10 0\n"
            )
        };
        let inodes = |text: &str, version| {
            parse_table(text, version, 8101).map(|socket| socket.inode).collect::<Vec<u64>>()
        };
        assert_eq!(inodes(&line("0100007F", "0A"), 4), [77]);
        assert_eq!(inodes(&line("00000000", "0A"), 4), [77]);
        assert!(inodes(&line("0100007F", "01"), 4).is_empty());
        assert!(inodes(&line("0101A8C0", "0A"), 4).is_empty());
        assert!(inodes("nonsense\n1 2\n", 4).is_empty());
        let mapped = "0000000000000000FFFF00000100007F";
        assert_eq!(inodes(&line(mapped, "0A"), 6), [77]);
        assert_eq!(inodes(&line("00000000000000000000000001000000", "0A"), 6), [77]);
        assert!(inodes(&line("0000000000000000FFFF00000101A8C0", "0A"), 6).is_empty());
    }
}
