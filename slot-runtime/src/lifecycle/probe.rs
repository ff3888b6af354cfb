//! One bounded GET over loopback: does the backend answer, with what status, how fast.
//!
//! An own reader of one status line and a count of bytes; the answer's content decides nothing and
//! is not kept.

use std::io::{Error, ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// How one question ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    /// The status line was read.
    Status {
        /// The status, 100 to 999.
        status: u16,
        /// From the first try to connect to the status line.
        latency: Duration,
        /// How much was read behind the head, at most the cap.
        body_bytes: usize,
    },
    /// Nothing listens.
    Refused,
    /// Something listens and gives no answer that can be used.
    Useless(&'static str),
}

/// Largest head that is read, in bytes.
const HEAD_LIMIT: usize = 16 * 1024;

/// Most that is read of a body, in bytes.
const BODY_LIMIT: usize = 64 * 1024;

/// Asks the slot's backend port of loopback for a path, for at most this long as a whole.
pub(super) fn ask(port: u16, path: &str, patience: Duration) -> Answer {
    match converse(port, path, patience) {
        Ok(answer) => answer,
        Err(error) => match error.kind() {
            ErrorKind::ConnectionRefused => Answer::Refused,
            ErrorKind::TimedOut | ErrorKind::WouldBlock => Answer::Useless("no answer in time"),
            ErrorKind::InvalidData => Answer::Useless("an answer that is no HTTP/1"),
            ErrorKind::UnexpectedEof => Answer::Useless("the connection ended before an answer"),
            _ => Answer::Useless("the connection broke"),
        },
    }
}

fn converse(port: u16, path: &str, patience: Duration) -> Result<Answer, Error> {
    let begun = Instant::now();
    let left = || {
        let left = patience.saturating_sub(begun.elapsed());
        if left.is_zero() { Err(Error::from(ErrorKind::TimedOut)) } else { Ok(left) }
    };
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut stream = TcpStream::connect_timeout(&address, left()?)?;
    stream.set_write_timeout(Some(left()?))?;
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {address}\r\nUser-Agent: slotguard\r\n\
         Accept: */*\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes())?;
    let mut head = Vec::new();
    let mut status = None;
    let mut buffer = [0; 4096];
    while head.len() < HEAD_LIMIT + BODY_LIMIT {
        // A limit for each read would let a server that sends a byte now and then hold us for good.
        stream.set_read_timeout(Some(left()?))?;
        match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => head.extend_from_slice(&buffer[..count]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            // The answer is there; that the rest does not come is the body's affair.
            Err(_) if status.is_some() => break,
            Err(error) => return Err(error),
        }
        if status.is_none() {
            status = read_status(&head)?.map(|status| (status, begun.elapsed()));
        }
        if body_length(&head).is_none() && head.len() > HEAD_LIMIT {
            return Err(ErrorKind::InvalidData.into());
        }
    }
    let (Some((status, latency)), Some(body_bytes)) = (status, body_length(&head)) else {
        return Err(ErrorKind::UnexpectedEof.into());
    };
    Ok(Answer::Status { status, latency, body_bytes: body_bytes.min(BODY_LIMIT) })
}

/// Reads `HTTP/1.x NNN`; `None` while the line has not come as a whole.
fn read_status(head: &[u8]) -> Result<Option<u16>, Error> {
    let begins = head.iter().zip(b"HTTP/1.").all(|(found, wanted)| found == wanted);
    if !begins {
        return Err(ErrorKind::InvalidData.into());
    }
    let Some(end) = head.windows(2).position(|pair| pair == b"\r\n") else { return Ok(None) };
    let line = std::str::from_utf8(&head[..end]).map_err(|_| ErrorKind::InvalidData)?;
    let mut words = line.splitn(3, ' ');
    let version = words.next().unwrap_or_default();
    let digits = words.next().unwrap_or_default();
    let is_status = digits.len() == 3 && digits.bytes().all(|b| b.is_ascii_digit());
    match digits.parse() {
        Ok(status @ 100..) if is_status && matches!(version, "HTTP/1.0" | "HTTP/1.1") => {
            Ok(Some(status))
        }
        _ => Err(ErrorKind::InvalidData.into()),
    }
}

/// Returns how much stands behind the head, once the head is complete.
fn body_length(answer: &[u8]) -> Option<usize> {
    let end = answer.windows(4).position(|part| part == b"\r\n\r\n")?;
    Some(answer.len() - end - 4)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    /// Lets a server say something to whoever asks, and returns what the probe makes of it.
    fn answer_to(said: &'static [&'static [u8]], patience: Duration) -> Answer {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 1024];
            let count = stream.read(&mut request).unwrap();
            assert!(request[..count].starts_with(b"GET /x HTTP/1.1\r\nHost: 127.0.0.1:"));
            for part in said {
                if stream.write_all(part).is_err() {
                    break;
                }
                std::thread::sleep(Duration::from_millis(20));
            }
        });
        let answer = ask(port, "/x", patience);
        server.join().unwrap();
        answer
    }

    const LONG: Duration = Duration::from_secs(20);

    #[test]
    fn a_status_is_read_however_it_comes() {
        let table: [(&'static [&'static [u8]], u16, usize); 3] = [
            (&[b"HTTP/1.1 200 OK\r\nX: y\r\n\r\nbody"], 200, 4),
            (&[b"HTT", b"P/1.0 503 Away\r", b"\n\r\n"], 503, 0),
            (&[b"HTTP/1.1 204\r\n\r\n"], 204, 0),
        ];
        for (said, wanted, bytes) in table {
            match answer_to(said, LONG) {
                Answer::Status { status, body_bytes, .. } => {
                    assert_eq!((status, body_bytes), (wanted, bytes));
                }
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn what_is_no_answer_is_useless() {
        let table: [(&'static [&'static [u8]], &str); 6] = [
            (&[b"SSH-2.0-OpenSSH\r\n"], "an answer that is no HTTP/1"),
            (&[b"HTTP/2 200 OK\r\n\r\n"], "an answer that is no HTTP/1"),
            (&[b"HTTP/1.1 20 OK\r\n\r\n"], "an answer that is no HTTP/1"),
            (&[b"HTTP/1.1 +20 OK\r\n\r\n"], "an answer that is no HTTP/1"),
            (&[], "the connection ended before an answer"),
            (&[b"HTTP/1.1 200 OK\r\nX: y\r\n"], "the connection ended before an answer"),
        ];
        for (said, why) in table {
            assert_eq!(answer_to(said, LONG), Answer::Useless(why), "{said:?}");
        }
    }

    #[test]
    fn a_body_is_counted_up_to_the_cap() {
        const PART: &[u8] = &[b'x'; 40_000];
        let said: &'static [&'static [u8]] = &[b"HTTP/1.1 200 OK\r\n\r\n", PART, PART, PART];
        let Answer::Status { body_bytes, .. } = answer_to(said, LONG) else { panic!("no status") };
        assert_eq!(body_bytes, BODY_LIMIT);
    }

    #[test]
    fn a_server_that_drips_is_left_in_time() {
        let drip: &'static [&'static [u8]] =
            &[b"H", b"T", b"T", b"P", b"/", b"1", b".", b"1", b" ", b"2"];
        let answer = answer_to(drip, Duration::from_millis(50));
        assert_eq!(answer, Answer::Useless("no answer in time"));
    }

    proptest::proptest! {
        #[test]
        fn any_answer_is_read_without_a_panic(bytes: Vec<u8>) {
            let _ = read_status(&bytes);
            let answer = [b"HTTP/1.1 ", &bytes[..], b"\r\n\r\n"].concat();
            if let Ok(Some(status)) = read_status(&answer) {
                assert!((100..=999).contains(&status));
            }
            assert!(body_length(&answer).is_some_and(|length| length <= bytes.len()));
        }
    }

    #[test]
    fn a_closed_port_is_refused() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        assert_eq!(ask(port, "/", LONG), Answer::Refused);
    }
}
