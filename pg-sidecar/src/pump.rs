//! Moves bytes between a client and the server until one of them ends.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead as _, AsyncWrite as _, ReadBuf};

use crate::audit::Audit;
use crate::frames::Frames;
use crate::stream::{Stream, with_buffer};

/// Both sockets of a session that has begun, and the bytes that one of them could not take yet.
#[derive(Debug)]
pub(crate) struct Pump {
    client: Stream,
    server: Stream,
    up: Carry,
    down: Carry,
    frames: Frames,
    // Boxed: there is none, as a rule.
    audit: Option<Box<Audit>>,
}

/// Until when bytes are moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Until {
    /// One side ends.
    End,
    /// Nothing is under way between them.
    Idle,
    /// The next byte for the client begins a message.
    Boundary,
}

/// Why no more bytes are moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// The client is gone.
    Client,
    /// The server is gone; what it said was handed on.
    Server,
    /// What was waited for is so.
    Reached,
}

/// Bytes on their way in one direction.
#[derive(Debug, Default)]
struct Carry {
    /// What the receiver could not take; empty, and without memory, most of the time.
    bytes: Vec<u8>,
    sent: usize,
    /// The sender has ended.
    ended: bool,
    /// Nothing is sent in this direction any more.
    closed: bool,
    total: u64,
}

impl Carry {
    fn of(bytes: Vec<u8>) -> Self {
        let total = u64::try_from(bytes.len()).unwrap_or_default();
        Self { bytes, total, ..Self::default() }
    }
}

/// Which of the two ends failed.
enum Fault {
    From,
    To,
}

impl Pump {
    /// Begins with what the client, and what the server, said already behind the login.
    pub(crate) fn new(
        client: Stream,
        server: Stream,
        up: Vec<u8>,
        down: Vec<u8>,
        mut audit: Option<Box<Audit>>,
    ) -> Self {
        let mut frames = Frames::new();
        if !up.is_empty() {
            frames.client_spoke();
        }
        if let Some(audit) = &mut audit {
            audit.client_spoke(&up);
        }
        frames.server_spoke(&down);
        let [up, down] = [up, down].map(Carry::of);
        Self { client, server, up, down, frames, audit }
    }

    /// Moves bytes; may be stopped at any await and continued.
    pub(crate) async fn run(&mut self, until: Until) -> Ended {
        poll_fn(|context| with_buffer(|buffer| self.poll(context, buffer, until))).await
    }

    /// Moves what there is, until one side ends.
    pub(crate) fn poll_end(&mut self, context: &mut Context<'_>) -> Poll<Ended> {
        with_buffer(|buffer| self.poll(context, buffer, Until::End))
    }

    /// Returns the sockets.
    pub(crate) fn into_parts(self) -> (Stream, Stream) {
        (self.client, self.server)
    }

    /// Returns how many bytes went to the server and to the client.
    pub(crate) fn totals(&self) -> (u64, u64) {
        (self.up.total, self.down.total)
    }

    /// Returns whether the client can be told something now.
    pub(crate) fn at_boundary(&self) -> bool {
        self.frames.at_boundary() && self.down.bytes.is_empty()
    }

    fn poll(&mut self, context: &mut Context<'_>, buffer: &mut [u8], until: Until) -> Poll<Ended> {
        let Self { client, server, up, down, frames, audit } = self;
        let seen = |bytes: &[u8]| frames.server_spoke(bytes);
        match poll_direction(context, server, client, down, buffer, seen) {
            Poll::Ready(Ok(()) | Err(Fault::From)) => return Poll::Ready(Ended::Server),
            Poll::Ready(Err(Fault::To)) => return Poll::Ready(Ended::Client),
            Poll::Pending => {}
        }
        if !up.closed {
            let seen = |bytes: &[u8]| {
                frames.client_spoke();
                if let Some(audit) = audit {
                    audit.client_spoke(bytes);
                }
            };
            match poll_direction(context, client, server, up, buffer, seen) {
                Poll::Ready(Err(Fault::From)) => return Poll::Ready(Ended::Client),
                // What the server still has to say may be why it ended.
                Poll::Ready(Err(Fault::To)) => up.closed = true,
                Poll::Ready(Ok(())) => {
                    up.closed = true;
                    // A server that is gone already is noticed in the other direction.
                    let _ = Pin::new(&mut *server).poll_shutdown(context);
                }
                Poll::Pending => {}
            }
        }
        for side in [&mut *client, &mut *server] {
            // TLS keeps what its socket could not take. An end is noticed by who reads.
            let _ = Pin::new(side).poll_flush(context);
        }
        let reached = match until {
            Until::End => false,
            Until::Idle => frames.idle() && down.bytes.is_empty(),
            Until::Boundary => frames.at_boundary() && down.bytes.is_empty(),
        };
        if reached { Poll::Ready(Ended::Reached) } else { Poll::Pending }
    }
}

/// Moves bytes one way until there are none or they cannot be taken; ready at the end.
fn poll_direction(
    context: &mut Context<'_>,
    from: &mut Stream,
    to: &mut Stream,
    carry: &mut Carry,
    buffer: &mut [u8],
    mut seen: impl FnMut(&[u8]),
) -> Poll<Result<(), Fault>> {
    loop {
        while carry.sent < carry.bytes.len() {
            let written = ready!(write(context, to, &carry.bytes[carry.sent..]));
            carry.sent += written.map_err(|_| Fault::To)?;
        }
        (carry.bytes, carry.sent) = (Vec::new(), 0);
        if carry.ended {
            return Poll::Ready(Ok(()));
        }
        let mut read = ReadBuf::new(buffer);
        // A short read tells the runtime that nothing is left, which saves a call for each message.
        ready!(Pin::new(&mut *from).poll_read(context, &mut read)).map_err(|_| Fault::From)?;
        let bytes = read.filled();
        if bytes.is_empty() {
            carry.ended = true;
            continue;
        }
        carry.total += u64::try_from(bytes.len()).unwrap_or_default();
        seen(bytes);
        let written = match write(context, to, bytes) {
            Poll::Ready(written) => written.map_err(|_| Fault::To)?,
            Poll::Pending => 0,
        };
        if written < bytes.len() {
            carry.bytes = bytes[written..].to_vec();
        }
    }
}

fn write(context: &mut Context<'_>, to: &mut Stream, bytes: &[u8]) -> Poll<io::Result<usize>> {
    match ready!(Pin::new(to).poll_write(context, bytes)) {
        Ok(0) => Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
        other => Poll::Ready(other),
    }
}
