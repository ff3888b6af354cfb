//! The least that anything between a client and a server can do: an epoll loop that copies bytes.
//!
//! `pass_through LISTEN_PORT SERVER_PORT`, both of 127.0.0.1. It knows no protocol and refuses
//! nothing; `benches/sidecar.sh` takes it as the floor.

use std::collections::HashMap;
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd as _, OwnedFd};

use rustix::event::{PollFd, PollFlags, epoll, poll};

/// What the listener is called in the events; no descriptor is this.
const LISTENER: u64 = u64::MAX;

const BUFFER: usize = 64 * 1024;

/// One socket and the number of its other side.
struct Side {
    stream: TcpStream,
    other: u64,
}

fn main() -> io::Result<()> {
    let ports: Vec<u16> = std::env::args().skip(1).filter_map(|arg| arg.parse().ok()).collect();
    let [listen, server] = ports[..] else {
        return Err(io::Error::new(
            ErrorKind::InvalidInput,
            "pass_through LISTEN_PORT SERVER_PORT",
        ));
    };
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, listen))?;
    let queue = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    epoll::add(&queue, &listener, epoll::EventData::new_u64(LISTENER), epoll::EventFlags::IN)?;
    let mut sides: HashMap<u64, Side> = HashMap::new();
    let mut buffer = vec![0; BUFFER];
    let mut events = Vec::with_capacity(64);
    loop {
        events.clear();
        epoll::wait(&queue, rustix::buffer::spare_capacity(&mut events), None)?;
        for event in &events {
            let number = event.data.u64();
            if number == LISTENER {
                let (client, _) = listener.accept()?;
                pair(
                    &queue,
                    &mut sides,
                    client,
                    TcpStream::connect((Ipv4Addr::LOCALHOST, server))?,
                )?;
            } else if !pass(&mut sides, number, &mut buffer) {
                // Dropping both ends both.
                if let Some(side) = sides.remove(&number) {
                    sides.remove(&side.other);
                }
            }
        }
    }
}

fn pair(
    queue: &OwnedFd,
    sides: &mut HashMap<u64, Side>,
    client: TcpStream,
    server: TcpStream,
) -> io::Result<()> {
    let number = |stream: &TcpStream| u64::try_from(stream.as_raw_fd()).unwrap_or_default();
    let numbers = [number(&client), number(&server)];
    for (stream, own, other) in [(client, numbers[0], numbers[1]), (server, numbers[1], numbers[0])]
    {
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        epoll::add(queue, &stream, epoll::EventData::new_u64(own), epoll::EventFlags::IN)?;
        sides.insert(own, Side { stream, other });
    }
    Ok(())
}

/// Copies what there is; returns whether both sides are still there.
fn pass(sides: &mut HashMap<u64, Side>, number: u64, buffer: &mut [u8]) -> bool {
    let Some(from) = sides.get(&number) else { return true };
    let Some(to) = sides.get(&from.other) else { return false };
    let read = match (&from.stream).read(buffer) {
        Ok(0) => return false,
        Ok(read) => read,
        Err(error) => return error.kind() == ErrorKind::WouldBlock,
    };
    let mut left = &buffer[..read];
    while !left.is_empty() {
        match (&to.stream).write(left) {
            Ok(written) => left = &left[written..],
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                // Others wait meanwhile, which a bench of one bulk session does not see.
                let _ = poll(&mut [PollFd::new(&to.stream, PollFlags::OUT)], None);
            }
            Err(_) => return false,
        }
    }
    true
}
