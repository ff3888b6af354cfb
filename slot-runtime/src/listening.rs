//! Which sockets answer who connects to a port of this host, as the kernel's tables say it.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, Ipv6Addr};

/// A socket that listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Listening {
    pub(crate) inode: u64,
    /// Who opened it.
    pub(crate) owner: u32,
}

/// Returns the sockets that answer who connects to the port on loopback.
pub(crate) fn on_loopback(port: u16) -> BTreeSet<Listening> {
    // By our own process: where only processes are shown of /proc, there is no /proc/net.
    let tables = [("/proc/self/net/tcp", 4), ("/proc/self/net/tcp6", 6)];
    let read = |(path, version)| {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        parse_table(&text, version, port).collect::<Vec<Listening>>()
    };
    tables.into_iter().flat_map(read).collect()
}

/// Reads a table of sockets; 0A is the state of a socket that listens.
fn parse_table(text: &str, version: u8, port: u16) -> impl Iterator<Item = Listening> {
    text.lines().skip(1).filter_map(move |line| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let (address, number) = fields.get(1)?.split_once(':')?;
        let listens = *fields.get(3)? == "0A" && u16::from_str_radix(number, 16).ok()? == port;
        let (owner, inode) = (fields.get(7)?.parse().ok()?, fields.get(9)?.parse().ok()?);
        (listens && is_reached_by_loopback(address, version)).then_some(Listening { inode, owner })
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

#[cfg(test)]
mod tests {
    use super::*;

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
