//! What the slot's frontend serves, asked as a browser would ask.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use guard::diagnostic::{Code, Denial};
use serde::Serialize;

/// How long connecting, and each read and write, may take.
const WITHIN: Duration = Duration::from_secs(5);

/// How long the web surface may take to notice a new release.
const NOTICED_WITHIN: Duration = Duration::from_secs(10);

const BETWEEN_LOOKS: Duration = Duration::from_millis(200);

/// Largest answer that is read, in bytes.
const LIMIT: u64 = 8 * 1024 * 1024;

/// What the frontend answered.
#[derive(Debug, Serialize)]
pub(crate) struct Served {
    port: u16,
    status: u16,
    latency_ms: u128,
}

/// Waits until the slot's frontend serves this page at `/`.
///
/// # Errors
/// Refuses when nothing listens, and when another page is served.
pub(crate) fn of_frontend(port: u16, page: &[u8]) -> Result<Served, Denial> {
    let begun = Instant::now();
    loop {
        let asked = Instant::now();
        let found = match get(port) {
            Ok((200, body)) if body == page => {
                let latency_ms = asked.elapsed().as_millis();
                return Ok(Served { port, status: 200, latency_ms });
            }
            Ok((200, _)) => "another page".to_owned(),
            Ok((status, _)) => format!("status {status}"),
            Err(error) => error.to_string(),
        };
        if begun.elapsed() > NOTICED_WITHIN {
            return Err(Denial::new(
                Code::FrontendNotServed,
                "the slot's frontend does not serve the release",
                format!("127.0.0.1:{port}: {found}"),
                "the page of the release that was switched to",
            ));
        }
        std::thread::sleep(BETWEEN_LOOKS);
    }
}

fn get(port: u16) -> std::io::Result<(u16, Vec<u8>)> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut stream = TcpStream::connect_timeout(&address, WITHIN)?;
    stream.set_read_timeout(Some(WITHIN))?;
    stream.set_write_timeout(Some(WITHIN))?;
    write!(stream, "GET / HTTP/1.0\r\nHost: 127.0.0.1:{port}\r\nAccept: text/html\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.take(LIMIT).read_to_end(&mut answer)?;
    let malformed = || std::io::Error::other("an answer that is not HTTP");
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").ok_or_else(malformed)?;
    let status = std::str::from_utf8(&answer[..end])
        .ok()
        .and_then(|head| head.split(' ').nth(1).and_then(|status| status.parse().ok()));
    Ok((status.ok_or_else(malformed)?, answer.split_off(end + 4)))
}
