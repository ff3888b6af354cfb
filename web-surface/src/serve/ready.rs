//! Telling the service manager how far the front is: one datagram, as `sd_notify` sends it.

use rustix::net::{
    AddressFamily, SendFlags, SocketAddrUnix, SocketFlags, SocketType, sendto, socket_with,
};

/// Sends a state to the socket of `NOTIFY_SOCKET`; without one, and on failure, nothing happens.
pub(super) fn tell(socket: Option<&[u8]>, state: &str) {
    if let Some(path) = socket {
        // Who does not listen need not be told; the front serves all the same.
        let _ = send(path, state);
    }
}

fn send(path: &[u8], state: &str) -> rustix::io::Result<()> {
    let address = match path.strip_prefix(b"@") {
        Some(name) => SocketAddrUnix::new_abstract_name(name)?,
        None => SocketAddrUnix::new(path)?,
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::DGRAM, flags, None)?;
    sendto(&socket, state.as_bytes(), SendFlags::NOSIGNAL, &address).map(|_| ())
}

#[cfg(test)]
mod tests {
    use std::os::linux::net::SocketAddrExt as _;
    use std::os::unix::net::{SocketAddr, UnixDatagram};

    use super::*;

    #[test]
    fn a_named_and_an_abstract_socket_are_told() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("notify");
        let named = UnixDatagram::bind(&path).unwrap();
        let abstract_name = format!("web-surface-test-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&abstract_name).unwrap();
        let unnamed = UnixDatagram::bind_addr(&address).unwrap();
        let at = format!("@{abstract_name}");
        for (socket, path) in [(named, path.to_str().unwrap()), (unnamed, at.as_str())] {
            tell(Some(path.as_bytes()), "READY=1\n");
            let mut buffer = [0; 32];
            let count = socket.recv(&mut buffer).unwrap();
            assert_eq!(&buffer[..count], b"READY=1\n");
        }
        tell(Some(b"/nowhere"), "READY=1\n");
        tell(None, "READY=1\n");
    }
}
