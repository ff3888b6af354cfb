//! The guard on the Postgres wire: one sidecar for each slot, between backend and server.
//!
//! What a client may start is decided by [`handshake`], from bytes alone.

pub mod handshake;
mod message;
