//! A front that is asked byte by byte, and the release that it serves.

#![expect(clippy::unwrap_used, reason = "helpers of tests, outside of what the lint takes for one")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::symlink;
use std::time::Duration;

use rustix::process::Signal;

use super::place::Place;
use super::run::{Outcome, Run, Running};

/// A server that hangs fails the test instead of keeping it.
const LONGEST: Duration = Duration::from_secs(60);

/// The template of the public names, as the corpus has them.
pub(crate) const HOST: &str = "preview{slot}.example.com";

impl Place {
    /// Writes a release and points `current` at it in one step.
    pub(crate) fn publish(&self, name: &str, index: &str) {
        let release = format!("web/releases/{name}");
        self.write(&format!("{release}/index.html"), 0o644, index);
        self.write(&format!("{release}/app.js"), 0o644, &"let app = 1;\n".repeat(40));
        self.write(&format!("{release}/docs/index.html"), 0o644, "<p>docs");
        self.write(&format!("{release}/.env"), 0o644, "TOKEN=s3cret");
        self.write(&format!("{release}/.git/config"), 0o644, "s3cret");
        self.point(&format!("releases/{name}"));
    }

    /// Makes a symbolic link.
    pub(crate) fn link(&self, target: &str, name: &str) {
        symlink(target, self.path(name)).unwrap();
    }

    /// Points `current` somewhere, in one step.
    pub(crate) fn point(&self, target: &str) {
        let next = self.path("web/next");
        symlink(target, &next).unwrap();
        std::fs::rename(next, self.path("web/current")).unwrap();
    }

    /// Prepares the front of a slot, which serves `web`.
    pub(crate) fn front(&self, slot: &str) -> Run {
        let (config, web) = (self.config(), self.text("web"));
        let args = ["serve", "--slot", slot, "--config", &config, "--release", &web];
        Run::new("web-surface", &args).with("WORKER_SLOT_PREVIEW_HOST_TEMPLATE", HOST)
    }
}

/// Runs a front until the work is done; it must then end well.
#[track_caller]
pub(crate) fn serving(front: Run, work: impl FnOnce(&mut Running)) -> Outcome {
    let outcome = front.run_while(|running| {
        assert!(running.says("127.0.0.1:810"), "the front does not start");
        work(running);
        running.signal(Signal::TERM);
    });
    assert_eq!(outcome.status, Some(0), "{outcome:#?}");
    outcome
}

/// A connection to a front.
pub(crate) struct Client(BufReader<TcpStream>);

/// An answer, read to its end.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// Returns the value of a header.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        super::canary::header(&self.head, name)
    }

    /// Returns the body as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

impl Client {
    /// Connects to a port of loopback.
    pub(crate) fn connect(port: u16) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(LONGEST)).unwrap();
        Self(BufReader::new(stream))
    }

    /// Sends bytes as they are; a server that has hung up already is no failure here.
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        let _ = self.0.get_mut().write_all(bytes.as_ref());
        self
    }

    /// Sends a GET without a body.
    pub(crate) fn get(&mut self, target: &str, headers: &str) -> Answer {
        let request = format!("GET {target} HTTP/1.1\r\nHost: 127.0.0.1:3101\r\n{headers}\r\n");
        self.send(request).answer().unwrap()
    }

    /// Reads the head of an answer; none when the connection ends first.
    pub(crate) fn head(&mut self) -> Option<Answer> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            if self.0.read_until(b'\n', &mut head).unwrap_or(0) == 0 {
                return None;
            }
        }
        let head = String::from_utf8_lossy(&head).into_owned();
        let status = head.split(' ').nth(1)?.parse().ok()?;
        Some(Answer { status, head, body: Vec::new() })
    }

    /// Reads an answer to its end.
    pub(crate) fn answer(&mut self) -> Option<Answer> {
        let mut answer = self.head()?;
        if let Some(length) = answer.header("content-length") {
            if answer.status != 304 {
                answer.body = vec![0; length.parse().unwrap()];
                self.0.read_exact(&mut answer.body).ok()?;
            }
        } else if answer.header("transfer-encoding").is_some() {
            while let Some(piece) = self.chunk() {
                answer.body.extend(piece);
            }
        }
        Some(answer)
    }

    /// Reads one piece of a chunked body; none is its end.
    pub(crate) fn chunk(&mut self) -> Option<Vec<u8>> {
        let mut size = String::new();
        self.0.read_line(&mut size).ok()?;
        let size = usize::from_str_radix(size.trim(), 16).ok()?;
        let mut piece = vec![0; size + 2];
        self.0.read_exact(&mut piece).ok()?;
        piece.truncate(size);
        (size > 0).then_some(piece)
    }

    /// Reads exactly so many bytes.
    pub(crate) fn bytes(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        self.0.read_exact(&mut bytes).unwrap();
        bytes
    }

    /// From now on waits only as long as an answer takes that is on its way already.
    pub(crate) fn hurry(&mut self) -> &mut Self {
        self.0.get_ref().set_read_timeout(Some(Duration::from_secs(2))).unwrap();
        self
    }

    /// Waits until the server hangs up; one that goes on, or says something first, does not.
    pub(crate) fn has_ended(&mut self) -> bool {
        match self.0.fill_buf() {
            Ok(bytes) => bytes.is_empty(),
            Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
        }
    }

    /// Reads until the server hangs up.
    pub(crate) fn rest(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        let _ = self.0.read_to_end(&mut rest);
        rest
    }
}

/// Asks once on a connection of its own.
pub(crate) fn get(port: u16, target: &str, headers: &str) -> Answer {
    Client::connect(port).get(target, &format!("{headers}Connection: close\r\n"))
}
