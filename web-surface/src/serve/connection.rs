//! One connection: served until it ends, until the front stops, or until nothing moves any more.
//!
//! A timer for every request would cost more than most answers. There is one for a connection, which
//! looks now and then whether anything was sent since; what a client sends does not count, so that a
//! request that trickles in is not waited for.

use std::future::{Future as _, poll_fn};
use std::io::{IoSlice, Result};
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use hyper::rt::{Read, ReadBufCursor, Write};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use super::front::Front;
use super::limits;

/// What happens on a connection.
#[derive(Debug, Default)]
struct Activity {
    /// How often something was sent.
    sent: AtomicU64,
    /// How many answers are the backend's to give; they have clocks of their own.
    held: AtomicU64,
}

/// Keeps a connection while the backend is waited for.
#[derive(Debug)]
pub(super) struct Hold(Arc<Activity>);

impl Hold {
    fn on(activity: &Arc<Activity>) -> Self {
        activity.held.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(activity))
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.0.held.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The other end of a connection.
#[derive(Debug)]
pub(super) struct Peer {
    address: IpAddr,
    activity: Arc<Activity>,
}

/// Who waits for the backend.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) address: IpAddr,
    /// Until the backend has answered to the end.
    pub(super) hold: Hold,
}

impl Peer {
    /// Returns whom the backend answers, and keeps the connection for it.
    pub(super) fn client(&self) -> Client {
        Client { address: self.address, hold: Hold::on(&self.activity) }
    }
}

/// How long nothing has moved.
#[derive(Debug, Default)]
struct Quiet {
    sent: u64,
    looks: u32,
}

impl Quiet {
    /// Looks once more; returns whether it has been quiet for long enough.
    fn look(&mut self, activity: &Activity) -> bool {
        let sent = activity.sent.load(Ordering::Relaxed);
        if sent != self.sent || activity.held.load(Ordering::Relaxed) > 0 {
            *self = Self { sent, looks: 0 };
            return false;
        }
        self.looks += 1;
        self.looks > limits::QUIET_LOOKS
    }
}

/// Serves a connection.
pub(super) async fn serve(
    front: Arc<Front>,
    stream: TcpStream,
    address: IpAddr,
    place: OwnedSemaphorePermit,
) {
    let activity = Arc::new(Activity::default());
    let io = Watched { stream: TokioIo::new(stream), activity: Arc::clone(&activity) };
    let (answering, peer) = (Arc::clone(&front), Peer { address, activity: Arc::clone(&activity) });
    let service = service_fn(move |request| answering.answer(request, &peer));
    let connection = http1::Builder::new()
        .max_buf_size(limits::HEADER_BYTES)
        .serve_connection(io, service)
        .with_upgrades();
    let mut connection = pin!(connection);
    let mut bell = pin!(front.stopping.bell());
    let mut timer = pin!(tokio::time::sleep(limits::QUIET_LOOK));
    let (mut quiet, mut is_first, mut is_asked_to_end) = (Quiet::default(), true, false);
    // A client that breaks off is nobody's failure; the log has what was answered.
    poll_fn(|context| {
        if std::mem::take(&mut is_first) {
            // Polled once, both wake this task by themselves.
            let _ = (bell.as_mut().poll(context), timer.as_mut().poll(context));
        }
        if timer.is_elapsed() {
            if quiet.look(&activity) {
                return Poll::Ready(());
            }
            timer.as_mut().reset(Instant::now() + limits::QUIET_LOOK);
            let _ = timer.as_mut().poll(context);
        }
        if !is_asked_to_end && front.stopping.is_on() {
            is_asked_to_end = true;
            connection.as_mut().graceful_shutdown();
        }
        connection.as_mut().poll(context).map(drop)
    })
    .await;
    drop(place);
}

/// A stream that counts what is sent.
struct Watched {
    stream: TokioIo<TcpStream>,
    activity: Arc<Activity>,
}

impl Watched {
    fn count(&self, sent: Poll<Result<usize>>) -> Poll<Result<usize>> {
        if let Poll::Ready(Ok(_)) = sent {
            self.activity.sent.fetch_add(1, Ordering::Relaxed);
        }
        sent
    }
}

impl Read for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl Write for Watched {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<Result<usize>> {
        let sent = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.count(sent)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        let sent = Pin::new(&mut self.stream).poll_write_vectored(context, pieces);
        self.count(sent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn looks(quiet: &mut Quiet, activity: &Activity) -> u32 {
        (1..100).find(|_| quiet.look(activity)).unwrap_or(100)
    }

    #[test]
    fn a_connection_on_which_nothing_is_sent_ends() {
        let (activity, mut quiet) = (Arc::new(Activity::default()), Quiet::default());
        assert_eq!(looks(&mut quiet, &activity), limits::QUIET_LOOKS + 1);
    }

    #[test]
    fn what_is_sent_or_held_keeps_it() {
        let (activity, mut quiet) = (Arc::new(Activity::default()), Quiet::default());
        for _ in 0..3 * limits::QUIET_LOOKS {
            assert!(!quiet.look(&activity));
            activity.sent.fetch_add(1, Ordering::Relaxed);
        }
        let hold = Hold::on(&activity);
        assert_eq!(looks(&mut quiet, &activity), 100);
        drop(hold);
        assert_eq!(looks(&mut quiet, &activity), limits::QUIET_LOOKS + 1);
    }
}
