//! A connection that was proved before, in the shape in which the driver takes one.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::tls::{ChannelBinding, TlsConnect, TlsStream};

use crate::channel_binding::server_end_point;

/// A connection to a server that has proved who it is.
#[derive(Debug)]
pub(crate) struct Secured(pub(crate) pg_tls::Stream);

/// Takes a proved connection for what it is: the driver has nothing left to do.
#[derive(Debug)]
pub(crate) struct AlreadySecured;

impl TlsConnect<Secured> for AlreadySecured {
    type Stream = Secured;
    type Error = Infallible;
    type Future = Ready<Result<Secured, Infallible>>;

    fn connect(self, stream: Secured) -> Self::Future {
        ready(Ok(stream))
    }
}

impl TlsStream for Secured {
    fn channel_binding(&self) -> ChannelBinding {
        match pg_tls::certificate(&self.0).and_then(server_end_point) {
            Some(hash) => ChannelBinding::tls_server_end_point(hash),
            None => ChannelBinding::none(),
        }
    }
}

impl AsyncRead for Secured {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl AsyncWrite for Secured {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}
