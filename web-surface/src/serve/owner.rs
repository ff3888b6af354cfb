//! Whose the backend is that accepted a connection, before a byte of a request is sent on it.
//!
//! A look is kept for a moment, and forgotten when a connection fails or a kept one is found closed:
//! for a foreign process to take the port, the backend must have left it first.

use std::io::ErrorKind;
use std::sync::{Arc, Mutex, PoisonError};

use slot_runtime::lifecycle::{Owner, Whose};
use tokio::time::Instant;

use super::limits;
use super::pool::Failure;

/// The last look at the listener.
#[derive(Debug)]
pub(super) struct Watch {
    owner: Arc<Owner>,
    /// When it was found to be nobody else's.
    found: Mutex<Option<Instant>>,
    /// Held over a look, so that many new connections need one.
    looking: tokio::sync::Mutex<()>,
}

impl Watch {
    pub(super) fn new(owner: Owner) -> Self {
        Self {
            owner: Arc::new(owner),
            found: Mutex::default(),
            looking: tokio::sync::Mutex::default(),
        }
    }

    /// Requires that what listens is the slot's backend, as far as that is known.
    pub(super) async fn require_own(&self) -> Result<(), Failure> {
        let _looking = self.looking.lock().await;
        if self.found().is_some_and(|at| at.elapsed() < limits::OWNER_KEPT) {
            return Ok(());
        }
        let owner = Arc::clone(&self.owner);
        let whose = tokio::task::spawn_blocking(move || owner.look()).await;
        match whose {
            Ok(Whose::Slot | Whose::Unknown) => {
                *self.found() = Some(Instant::now());
                Ok(())
            }
            // Who accepted has left since, and nobody can tell any more who it was.
            Ok(Whose::Nobody) => Err(Failure::Connection(ErrorKind::ConnectionReset.into())),
            Ok(Whose::Foreign) | Err(_) => Err(Failure::Foreign),
        }
    }

    /// Forgets the last look.
    pub(super) fn forget(&self) {
        *self.found() = None;
    }

    fn found(&self) -> std::sync::MutexGuard<'_, Option<Instant>> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
