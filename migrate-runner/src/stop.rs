//! Asking a session to stop, from outside of the work that it does.
//!
//! The work is not dropped: it rolls back and gives its lock up by itself, as after any failure. What
//! runs on the server is cancelled, so that it notices.

use std::fmt;
use std::time::Duration;

use tokio::sync::watch;

use crate::way::Canceller;

/// The side of the session.
#[derive(Debug)]
pub(crate) struct StopSign(watch::Receiver<bool>);

/// The side that asks.
pub(crate) struct Stopper {
    asks: watch::Sender<bool>,
    canceller: Canceller,
}

/// Returns both sides for a session, by the means to cancel what it does.
pub(crate) fn pair(canceller: Canceller) -> (Stopper, StopSign) {
    let (asks, sign) = watch::channel(false);
    (Stopper { asks, canceller }, StopSign(sign))
}

impl fmt::Debug for Stopper {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Stopper").finish_non_exhaustive()
    }
}

impl Stopper {
    /// Asks the session to stop and cancels what its server is doing.
    pub(crate) async fn stop(&self) {
        // A session that is gone needs no asking.
        let _ = self.asks.send(true);
        self.canceller.cancel().await;
    }
}

impl StopSign {
    /// Returns whether somebody asked.
    pub(crate) fn is_up(&self) -> bool {
        *self.0.borrow()
    }

    /// Waits for a while, or until somebody asks.
    pub(crate) async fn pause(&self, duration: Duration) {
        let mut asked = self.0.clone();
        let _ = tokio::time::timeout(duration, asked.wait_for(|asked| *asked)).await;
    }
}
