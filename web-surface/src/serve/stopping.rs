//! The end of the front, as its connections hear of it.

use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;
use tokio::sync::futures::Notified;

/// Says once that connections are to end.
#[derive(Debug, Default)]
pub(super) struct Stopping {
    is_on: AtomicBool,
    bell: Notify,
}

impl Stopping {
    /// Says it, to those that listen and those to come.
    pub(super) fn begin(&self) {
        self.is_on.store(true, Ordering::Release);
        self.bell.notify_waiters();
    }

    /// Returns whether it was said; costs next to nothing.
    pub(super) fn is_on(&self) -> bool {
        self.is_on.load(Ordering::Acquire)
    }

    /// Wakes who waits when it is said; what was said before must be asked for behind this.
    pub(super) fn bell(&self) -> Notified<'_> {
        self.bell.notified()
    }
}
