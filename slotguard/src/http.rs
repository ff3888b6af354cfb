//! One bounded GET to a port of this host.

use std::io::{Error, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

/// How long connecting, and each read and write, may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Largest answer that is read, in bytes.
const LIMIT: u64 = 8 * 1024 * 1024;

/// Gets a document; returns its status and its body.
///
/// In the first version of the protocol, in which the body is everything until the end.
///
/// # Errors
/// Returns the system's error, and one for an answer that is not HTTP.
pub(crate) fn get(port: u16, path: &str, accept: &str) -> std::io::Result<(u16, Vec<u8>)> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let request = format!("GET {path} HTTP/1.0\r\nHost: {address}\r\nAccept: {accept}\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream.take(LIMIT).read_to_end(&mut answer)?;
    let malformed = || Error::other("an answer that is not HTTP");
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").ok_or_else(malformed)?;
    let head = std::str::from_utf8(&answer[..end]).ok();
    let status = head.and_then(|head| head.split(' ').nth(1)?.parse().ok());
    Ok((status.ok_or_else(malformed)?, answer.split_off(end + 4)))
}
