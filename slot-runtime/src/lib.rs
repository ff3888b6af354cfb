//! Who holds a slot and until when, and the life of exactly one slot's backend.
//!
//! Everything here acts on one slot at a time, beneath the configured state root.

pub mod file;
pub mod hold;
pub mod identity;
#[cfg(feature = "installation")]
pub mod installation;
pub mod lease;
#[cfg(feature = "lifecycle")]
pub mod lifecycle;
mod listening;
pub mod note;
pub mod pending_reset;
pub mod random;
pub mod record;
pub mod sidecar;
mod state;

pub use state::StateRoot;
