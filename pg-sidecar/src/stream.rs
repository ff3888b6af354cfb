//! One end of a session: a TCP or a Unix socket, and reading without a buffer of its own.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

/// Larger than any message that a server sends in one piece.
pub(crate) const BUFFER: usize = 64 * 1024;

thread_local! {
    /// One buffer for all sessions of the thread: an idle session holds no bytes, so it needs none.
    static SHARED: RefCell<Box<[u8]>> = RefCell::new(vec![0; BUFFER].into_boxed_slice());
}

/// Lends the shared buffer for one poll.
pub(crate) fn with_buffer<T>(work: impl FnOnce(&mut [u8]) -> T) -> T {
    SHARED.with_borrow_mut(|buffer| work(buffer))
}

/// A socket of either kind, or TLS to a server.
#[derive(Debug)]
pub(crate) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
    // Boxed: it is large, and most sessions have none.
    Tls(Box<pg_tls::Stream>),
}

impl Stream {
    /// Takes a TCP connection; what is written is sent at once.
    pub(crate) fn tcp(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        Ok(Self::Tcp(stream))
    }

    /// Writes all of it and sees it off: TLS keeps what the socket could not take.
    pub(crate) async fn say(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write_all(bytes).await?;
        self.flush().await
    }

    /// Reads what there is, at most as much as the shared buffer holds; empty is the end.
    pub(crate) async fn read_some(&mut self) -> io::Result<Vec<u8>> {
        poll_fn(|context| {
            with_buffer(|buffer| {
                let mut read = ReadBuf::new(buffer);
                Pin::new(&mut *self)
                    .poll_read(context, &mut read)
                    .map_ok(|()| read.filled().to_vec())
            })
        })
        .await
    }

    /// Says the last words and waits, within bounds, until they were taken.
    ///
    /// A socket that is closed while bytes wait to be read is reset, and the other side loses what
    /// it was just told.
    pub(crate) async fn end_with(mut self, last: &[u8]) {
        let words = async {
            self.write_all(last).await?;
            self.shutdown().await?;
            let mut left = MOST_DISCARDED;
            while left > 0 {
                let read = self.read_some().await?.len();
                if read == 0 {
                    break;
                }
                left = left.saturating_sub(read);
            }
            io::Result::Ok(())
        };
        // Whoever does not listen to the last words has left already.
        let _ = tokio::time::timeout(LINGER, words).await;
    }
}

/// How long a client may take to hear why its session ends.
const LINGER: Duration = Duration::from_secs(2);

/// How much of what a refused client still sends is taken.
const MOST_DISCARDED: usize = 16 * 1024 * 1024;

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Unix(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Unix(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_flush(context),
            Self::Unix(stream) => Pin::new(stream).poll_flush(context),
            Self::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}
