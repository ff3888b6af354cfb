//! A small backend that says what it was asked, on the port of one slot.
//!
//! It reads HTTP as strictly as it must to notice a request that was hidden in another one.

#![expect(clippy::unwrap_used, reason = "helpers of tests, outside of what the lint takes for one")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use super::ports;

/// How long anything that a test waits for may take.
const LONGEST: Duration = Duration::from_secs(60);

/// A backend that ends when dropped.
pub(crate) struct Canary {
    port: u16,
    shared: Arc<Shared>,
    accepting: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    slot: u8,
    stopping: AtomicBool,
    connections: AtomicUsize,
    streams: Mutex<Vec<TcpStream>>,
    heads: Mutex<Vec<String>>,
    /// Opened by a test that wants an answer to go on.
    gate: Mutex<usize>,
    opened: Condvar,
    /// Set once the first piece of a body came.
    begun: Mutex<bool>,
    beginning: Condvar,
}

impl Canary {
    /// Listens on the backend port of a slot.
    pub(crate) fn start(slot: u8) -> Self {
        let port = 8100 + u16::from(slot);
        let listener = ports::listen(port).unwrap();
        let shared = Arc::new(Shared { slot, ..Shared::default() });
        let accepting = std::thread::spawn({
            let shared = Arc::clone(&shared);
            move || accept(&listener, &shared)
        });
        Self { port, shared, accepting: Some(accepting) }
    }

    /// Listens for all three slots.
    pub(crate) fn all() -> [Self; 3] {
        [1, 2, 3].map(Self::start)
    }

    /// Returns how many connections came so far.
    pub(crate) fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// Returns the heads of all requests since the last time.
    pub(crate) fn take_heads(&self) -> Vec<String> {
        std::mem::take(&mut *self.shared.heads.lock().unwrap())
    }

    /// Lets an answer that waits go on.
    pub(crate) fn open_gate(&self) {
        *self.shared.gate.lock().unwrap() += 1;
        self.shared.opened.notify_all();
    }

    /// Waits until the first piece of a body came.
    pub(crate) fn wait_for_body(&self) {
        let begun = self.shared.begun.lock().unwrap();
        let waited = self.shared.beginning.wait_timeout_while(begun, LONGEST, |begun| !*begun);
        assert!(*waited.unwrap().0, "no piece of a body came");
    }
}

impl Drop for Canary {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::SeqCst);
        self.open_gate();
        let _ = TcpStream::connect(("127.0.0.1", self.port));
        for stream in self.shared.streams.lock().unwrap().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
        let _ = self.accepting.take().unwrap().join();
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for stream in listener.incoming() {
        if shared.stopping.load(Ordering::SeqCst) {
            return;
        }
        let Ok(stream) = stream else { continue };
        shared.connections.fetch_add(1, Ordering::SeqCst);
        shared.streams.lock().unwrap().push(stream.try_clone().unwrap());
        let shared = Arc::clone(shared);
        std::thread::spawn(move || while_open(&stream, &shared));
    }
}

/// Answers until the connection ends or is no longer HTTP.
fn while_open(stream: &TcpStream, shared: &Shared) {
    stream.set_nodelay(true).unwrap();
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    while let Ok(Some(head)) = read_head(&mut reader) {
        shared.heads.lock().unwrap().push(head.clone());
        if answer(&head, &mut reader, stream, shared).is_err() {
            break;
        }
    }
    let _ = stream.shutdown(Shutdown::Both);
}

fn read_head(reader: &mut BufReader<TcpStream>) -> std::io::Result<Option<String>> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() > 1 << 20 || reader.read_until(b'\n', &mut head)? == 0 {
            return Ok(None);
        }
    }
    Ok(Some(head.iter().map(|byte| char::from(*byte)).collect()))
}

/// Returns the value of a header.
pub(crate) fn header<'h>(head: &'h str, name: &str) -> Option<&'h str> {
    head.lines().skip(1).find_map(|line| {
        let (found, value) = line.split_once(':')?;
        found.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

fn answer(
    head: &str,
    reader: &mut BufReader<TcpStream>,
    mut stream: &TcpStream,
    shared: &Shared,
) -> std::io::Result<()> {
    let path = head.split(' ').nth(1).unwrap_or_default();
    let path = path.split('?').next().unwrap_or_default();
    let asked = header(head, "upgrade").is_some_and(|to| to.eq_ignore_ascii_case("websocket"));
    match path {
        "/api/closing-ws" if !asked => {
            return stream.write_all(b"HTTP/1.1 426 Upgrade Required\r\nContent-Length: 0\r\n\r\n");
        }
        "/api/events" => return events(stream, shared),
        "/api/ws" | "/api/closing-ws" => return websocket(reader, stream, path == "/api/ws"),
        "/api/101" => stream.write_all(
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: odd\r\n\r\n",
        )?,
        "/api/dies" => return Err(std::io::ErrorKind::ConnectionAborted.into()),
        "/api/garbage" => stream.write_all(b"not HTTP at all\r\n\r\n")?,
        _ => {}
    }
    if ["/api/101", "/api/garbage"].contains(&path) {
        return Err(std::io::ErrorKind::InvalidData.into());
    }
    let body = read_body(head, reader, shared)?;
    let hop = if path == "/api/hop" {
        "Connection: keep-alive, X-Hop\r\nKeep-Alive: timeout=9\r\nX-Hop: 1\r\nX-Accel-Redirect: /x\r\n\
         X-Sendfile: /etc/passwd\r\nX-Slot-Id: preview-2\r\nAlt-Svc: h2=\":8102\"\r\nX-Kept: 1\r\n"
    } else {
        ""
    };
    let text = format!("slot {}\n{head}{body}", shared.slot);
    let length = text.len();
    write!(
        stream,
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n{hop}Content-Length: {length}\r\n\r\n{text}"
    )
}

fn read_body(
    head: &str,
    reader: &mut BufReader<TcpStream>,
    shared: &Shared,
) -> std::io::Result<String> {
    let mut body = Vec::new();
    if header(head, "transfer-encoding").is_some() {
        loop {
            let mut line = String::new();
            reader.read_line(&mut line)?;
            let size = usize::from_str_radix(line.trim(), 16)
                .map_err(|_| std::io::Error::from(std::io::ErrorKind::InvalidData))?;
            let mut piece = vec![0; size + 2];
            reader.read_exact(&mut piece)?;
            shared.begin(size > 0);
            if size == 0 {
                break;
            }
            body.extend_from_slice(&piece[..size]);
        }
    } else if let Some(length) = header(head, "content-length") {
        let length: usize = length.parse().map_err(std::io::Error::other)?;
        while body.len() < length {
            let piece = reader.fill_buf()?;
            let count = piece.len().min(length - body.len());
            if count == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            body.extend_from_slice(&piece[..count]);
            reader.consume(count);
            shared.begin(true);
        }
    }
    Ok(String::from_utf8_lossy(&body).into_owned())
}

impl Shared {
    fn begin(&self, begun: bool) {
        if begun {
            *self.begun.lock().unwrap() = true;
            self.beginning.notify_all();
        }
    }

    /// Waits until the gate was opened once more.
    fn pass_gate(&self) {
        let gate = self.gate.lock().unwrap();
        let waited = self.opened.wait_timeout_while(gate, LONGEST, |gate| *gate == 0);
        let mut gate = waited.unwrap().0;
        *gate = gate.saturating_sub(1);
    }
}

/// Two events; the second one only after the gate was opened.
fn events(mut stream: &TcpStream, shared: &Shared) -> std::io::Result<()> {
    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-store\r\n\
                Transfer-Encoding: chunked\r\n\r\n";
    stream.write_all(head.as_bytes())?;
    stream.write_all(b"d\r\ndata: first\n\n\r\n")?;
    shared.pass_gate();
    stream.write_all(b"e\r\ndata: second\n\n\r\n0\r\n\r\n")
}

/// Agrees to a WebSocket and then gives back every byte, or ends at once.
fn websocket(
    reader: &mut BufReader<TcpStream>,
    mut stream: &TcpStream,
    echoes: bool,
) -> std::io::Result<()> {
    // The answer that belongs to the example key of RFC 6455.
    let accept = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
    write!(
        stream,
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Accept: {accept}\r\n\r\n"
    )?;
    let mut buffer = [0; 4096];
    if echoes {
        let mut count = reader.read(&mut buffer)?;
        while count > 0 {
            stream.write_all(&buffer[..count])?;
            count = reader.read(&mut buffer)?;
        }
    }
    Err(std::io::ErrorKind::ConnectionAborted.into())
}
