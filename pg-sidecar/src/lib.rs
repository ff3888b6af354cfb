//! The guard on the Postgres wire: one sidecar for each slot, between backend and server.
//!
//! What a client may start is decided by [`handshake`], from bytes alone. Then the sidecar logs in
//! itself, with credentials that the client never sees, and moves bytes. It has no SQL client: who
//! the server is says `migrate-runner`. It does not look into what a session does; that is up to
//! the rights of the slot's role.

mod audit;
mod cancel;
pub mod cli;
mod counters;
mod door;
mod events;
mod exchange;
mod frames;
pub mod handshake;
mod holder;
mod identity;
mod login;
mod message;
mod nonce;
mod peer;
mod place;
mod pump;
mod scram;
mod serve;
mod session;
mod settings;
mod sidecar;
mod stream;
mod upstream;
