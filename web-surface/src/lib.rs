//! The front of one preview slot: its release from memory, and `/api` from its own backend.
//!
//! The backend's address is computed from the slot; no option, file or variable can name another.
//! What a request may be is decided by `guard::route`; this crate reads requests and moves bytes. It
//! starts no process and speaks to no database.

pub mod cli;
mod release;
mod serve;
