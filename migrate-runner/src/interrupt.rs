//! The signals that ask to stop.

use std::future::poll_fn;
use std::task::{Context, Poll};

use guard::diagnostic::{Code, Denial};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// The signals that ask to stop, caught from the moment this is made.
#[derive(Debug)]
pub(crate) struct Interrupt {
    signals: [(&'static str, Signal); 3],
}

impl Interrupt {
    /// Starts to listen; from here on none of them ends the program by itself.
    ///
    /// # Errors
    /// Refuses when the system does not allow it.
    pub(crate) fn listen() -> Result<Self, Denial> {
        let listen = |name, kind| match signal(kind) {
            Ok(signal) => Ok((name, signal)),
            Err(error) => {
                let message = "signals cannot be listened to";
                Err(Denial::new(Code::Internal, message, error.to_string(), "a signal handler"))
            }
        };
        Ok(Self {
            signals: [
                listen("SIGINT", SignalKind::interrupt())?,
                listen("SIGTERM", SignalKind::terminate())?,
                listen("SIGHUP", SignalKind::hangup())?,
            ],
        })
    }

    /// Waits for one of them and returns its name.
    pub(crate) async fn came(&mut self) -> &'static str {
        poll_fn(|cx| self.poll(cx).map_or(Poll::Pending, Poll::Ready)).await
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Option<&'static str> {
        let came = |signal: &mut Signal, cx: &mut Context<'_>| signal.poll_recv(cx).is_ready();
        self.signals.iter_mut().find_map(|(name, signal)| came(signal, cx).then_some(*name))
    }
}
