//! One bounded GET to a port of this host.

use std::io::{Error, ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// How long one question may take as a whole: longer than a front waits for a backend.
const PATIENCE: Duration = Duration::from_secs(10);

/// Largest answer that is read, in bytes.
const LIMIT: usize = 8 * 1024 * 1024;

/// Gets a document; returns its status and its body.
///
/// # Errors
/// As [`get_by_name`].
pub(crate) fn get(port: u16, path: &str, accept: &str) -> std::io::Result<(u16, Vec<u8>)> {
    get_by_name(port, &format!("127.0.0.1:{port}"), path, accept)
}

/// As [`get`], under the name of a host.
///
/// In the first version of the protocol, in which the body is everything until the end.
///
/// # Errors
/// Returns the system's error, and one for an answer that is not HTTP.
pub(crate) fn get_by_name(
    port: u16,
    host: &str,
    path: &str,
    accept: &str,
) -> std::io::Result<(u16, Vec<u8>)> {
    let end = Instant::now() + PATIENCE;
    let left = || {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() { Err(Error::from(ErrorKind::TimedOut)) } else { Ok(left) }
    };
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut stream = TcpStream::connect_timeout(&address, left()?)?;
    stream.set_write_timeout(Some(left()?))?;
    let request = format!("GET {path} HTTP/1.0\r\nHost: {host}\r\nAccept: {accept}\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    let mut buffer = [0; 16 * 1024];
    while answer.len() < LIMIT {
        stream.set_read_timeout(Some(left()?))?;
        match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => answer.extend_from_slice(&buffer[..count]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    let malformed = || Error::other("an answer that is not HTTP");
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").ok_or_else(malformed)?;
    let head = std::str::from_utf8(&answer[..end]).ok();
    let status = head.and_then(|head| head.split(' ').nth(1)?.parse().ok());
    Ok((status.ok_or_else(malformed)?, answer.split_off(end + 4)))
}
