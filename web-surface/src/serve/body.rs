//! Bodies in both directions: bounded, with a clock that runs while nothing moves.

use std::error::Error;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use tokio::task::JoinHandle;
use tokio::time::{Instant, Sleep};

use super::connection::Hold;
use super::limits;
use super::pool::Lease;

/// Any failure of a body; the connection ends with it.
pub(super) type BodyError = Box<dyn Error + Send + Sync>;

/// A request's body is larger than the front accepts.
#[derive(Debug, thiserror::Error)]
#[error("the body is larger than {} bytes", limits::BODY_BYTES)]
pub(super) struct TooLarge;

#[derive(Debug, thiserror::Error)]
#[error("nothing moved for {0:?}")]
struct Idle(Duration);

/// The body of a request on its way to the backend.
#[derive(Debug)]
pub(super) struct RequestBody {
    incoming: Option<Incoming>,
    left: u64,
    clock: Clock,
}

impl RequestBody {
    /// Passes on a body.
    pub(super) fn new(incoming: Incoming) -> Self {
        let incoming = (!incoming.is_end_stream()).then_some(incoming);
        Self { incoming, left: limits::BODY_BYTES, clock: Clock::default() }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        let Some(incoming) = &mut this.incoming else { return Poll::Ready(None) };
        let Some(frame) = ready!(this.clock.poll(incoming, context)) else {
            return Poll::Ready(None);
        };
        let frame = frame?;
        let length = frame.data_ref().map_or(0, Bytes::len) as u64;
        let Some(left) = this.left.checked_sub(length) else {
            return Poll::Ready(Some(Err(TooLarge.into())));
        };
        this.left = left;
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

/// The body of an answer.
#[derive(Debug)]
pub(super) enum Reply {
    /// All of it, once.
    Whole(Option<Bytes>),
    /// A part of a large file.
    File(FileBody),
    /// What the backend sends.
    Upstream(UpstreamBody),
}

impl Reply {
    /// Answers with these bytes.
    pub(super) fn whole(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        Self::Whole((!bytes.is_empty()).then_some(bytes))
    }

    /// Answers without a body.
    pub(super) fn empty() -> Self {
        Self::Whole(None)
    }
}

impl Body for Reply {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.get_mut() {
            Self::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::File(file) => file.poll(context),
            Self::Upstream(upstream) => upstream.poll(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(bytes) => bytes.is_none(),
            Self::File(file) => file.left == 0,
            Self::Upstream(upstream) => upstream.incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, Bytes::len) as u64),
            Self::File(file) => SizeHint::with_exact(file.left),
            Self::Upstream(upstream) => upstream.incoming.size_hint(),
        }
    }
}

/// What the backend sends; at its end the connection is free for the next request.
#[derive(Debug)]
pub(super) struct UpstreamBody {
    incoming: Incoming,
    lease: Option<Lease>,
    clock: Clock,
    _hold: Hold,
}

impl UpstreamBody {
    /// Passes on a body together with the connection that it comes from, and keeps the client's.
    pub(super) fn new(incoming: Incoming, (lease, hold): (Lease, Hold)) -> Self {
        let lease = Some(lease);
        let mut body = Self { incoming, lease, clock: Clock::default(), _hold: hold };
        body.give_back_at_end();
        body
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let frame = ready!(self.clock.poll(&mut self.incoming, context));
        match &frame {
            Some(Ok(_)) => self.give_back_at_end(),
            Some(Err(_)) => self.lease = None,
            None => self.give_back(),
        }
        Poll::Ready(frame)
    }

    fn give_back_at_end(&mut self) {
        if self.incoming.is_end_stream() {
            self.give_back();
        }
    }

    fn give_back(&mut self) {
        if let Some(lease) = self.lease.take() {
            lease.give_back();
        }
    }
}

/// Runs while a body is waited for; a body that always has a piece ready costs no timer.
#[derive(Debug, Default)]
struct Clock {
    sleep: Option<Pin<Box<Sleep>>>,
    armed: bool,
}

impl Clock {
    fn poll(
        &mut self,
        incoming: &mut Incoming,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Poll::Ready(frame) = Pin::new(incoming).poll_frame(context) {
            self.armed = false;
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        let deadline = Instant::now() + limits::BODY_IDLE;
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        if !self.armed {
            sleep.as_mut().reset(deadline);
            self.armed = true;
        }
        ready!(sleep.as_mut().poll(context));
        Poll::Ready(Some(Err(Idle(limits::BODY_IDLE).into())))
    }
}

/// A part of a file, read piece by piece beside the runtime.
#[derive(Debug)]
pub(super) struct FileBody {
    file: Arc<File>,
    at: u64,
    left: u64,
    reading: Option<JoinHandle<std::io::Result<Vec<u8>>>>,
}

const PIECE: u64 = 256 * 1024;

impl FileBody {
    /// Reads `length` bytes from `at`.
    pub(super) fn new(file: Arc<File>, at: u64, length: u64) -> Self {
        Self { file, at, left: length, reading: None }
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        let (at, length) = (self.at, self.left.min(PIECE));
        let reading = self.reading.get_or_insert_with(|| {
            let file = Arc::clone(&self.file);
            tokio::task::spawn_blocking(move || {
                let mut piece = vec![0; usize::try_from(length).unwrap_or_default()];
                file.read_exact_at(&mut piece, at).map(|()| piece)
            })
        });
        let read = ready!(Pin::new(reading).poll(context));
        self.reading = None;
        let piece = read.map_err(BodyError::from).and_then(|piece| piece.map_err(BodyError::from));
        let piece = match piece {
            Ok(piece) => piece,
            Err(error) => return Poll::Ready(Some(Err(error))),
        };
        self.at += piece.len() as u64;
        self.left -= piece.len() as u64;
        Poll::Ready(Some(Ok(Frame::data(piece.into()))))
    }
}
