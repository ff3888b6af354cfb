//! Whose the backend is that accepted a connection, before a byte of a request is sent on it.
//!
//! Only a look that began after the connection was accepted says so: between two connections a backend
//! may leave its port and a foreign process take it. Many connections at once share one look.

use std::io::ErrorKind;
use std::sync::Arc;

use slot_runtime::lifecycle::{Owner, Whose};
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::pool::Failure;

/// The last look at the listener.
#[derive(Debug)]
pub(super) struct Watch {
    owner: Arc<Owner>,
    /// When the last look began that found nobody else's; held over a look, so that who waits for it
    /// has it too.
    found: Mutex<Option<Instant>>,
}

impl Watch {
    pub(super) fn new(owner: Owner) -> Self {
        Self { owner: Arc::new(owner), found: Mutex::default() }
    }

    /// Requires that what accepted a connection at a moment is the slot's backend, as far as that is
    /// known.
    pub(super) async fn require_own(&self, accepted: Instant) -> Result<(), Failure> {
        let mut found = self.found.lock().await;
        if found.is_some_and(|began| began >= accepted) {
            return Ok(());
        }
        let began = Instant::now();
        let owner = Arc::clone(&self.owner);
        let whose = tokio::task::spawn_blocking(move || owner.look()).await;
        match whose {
            Ok(Whose::Slot | Whose::Unknown) => {
                *found = Some(began);
                Ok(())
            }
            // Who accepted has left since, and nobody can tell any more who it was.
            Ok(Whose::Nobody) => Err(Failure::Connection(ErrorKind::ConnectionReset.into())),
            Ok(Whose::Foreign) | Err(_) => Err(Failure::Foreign),
        }
    }
}
