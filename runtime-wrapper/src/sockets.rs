//! Listening sockets that a service manager opened: handed on when each is the slot's own, and
//! otherwise none of them.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::os::fd::RawFd;

use guard::diagnostic::{Code, Warning};
use guard::environment::Environment;
use guard::slot::SlotId;
use rustix::net::{AddressFamily, SocketType, ipproto, sockopt};

use crate::sys;

/// The first descriptor that `sd_listen_fds` speaks of.
pub(crate) const FIRST: RawFd = 3;

/// Most sockets that are looked at.
const MOST: usize = 16;

/// What was inherited.
#[derive(Debug)]
pub(crate) enum Inherited {
    /// Nothing was announced.
    Nothing,
    /// So many sockets, every one the slot's own.
    Own(usize),
    /// Something else, which stays behind.
    Foreign(Warning),
}

/// Judges what `LISTEN_FDS` announces.
pub(crate) fn inherited(environment: &Environment, slot: SlotId) -> Inherited {
    let Some(count) = environment.value("LISTEN_FDS") else { return Inherited::Nothing };
    let foreign = |why: String| {
        let message = format!("inherited sockets are not handed on: {why}");
        Inherited::Foreign(Warning::new(Code::ListenSocketsDropped, message))
    };
    let pid = std::process::id().to_string();
    if environment.value("LISTEN_PID") != Some(pid.as_bytes()) {
        return foreign("`LISTEN_PID` is not this process".to_owned());
    }
    let count = std::str::from_utf8(count).ok().and_then(|count| count.parse().ok());
    let Some(count) = count.filter(|count| (1..=MOST).contains(count)) else {
        return foreign(format!("`LISTEN_FDS` is not a number from 1 to {MOST}"));
    };
    for descriptor in (FIRST..).take(count) {
        if let Err(why) = judge(descriptor, slot) {
            return foreign(format!("descriptor {descriptor} {why}"));
        }
    }
    Inherited::Own(count)
}

fn judge(descriptor: RawFd, slot: SlotId) -> Result<(), String> {
    let socket = sys::duplicate(descriptor).map_err(|error| format!("is not open: {error}"))?;
    let is_tcp = sockopt::socket_domain(&socket) == Ok(AddressFamily::INET)
        && sockopt::socket_type(&socket) == Ok(SocketType::STREAM)
        && sockopt::socket_protocol(&socket) == Ok(Some(ipproto::TCP));
    if !is_tcp {
        return Err("is no TCP socket".to_owned());
    }
    if sockopt::socket_acceptconn(&socket) != Ok(true) {
        return Err("does not listen".to_owned());
    }
    let own = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, slot.backend_port()));
    let at = rustix::net::getsockname(&socket).ok().and_then(|any| SocketAddr::try_from(any).ok());
    match at {
        Some(address) if address == own => Ok(()),
        Some(address) => Err(format!("listens on {address}, and not on {own}")),
        None => Err("has no address".to_owned()),
    }
}
