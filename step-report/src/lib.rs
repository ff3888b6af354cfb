//! The machine contract: verdicts, events, exit codes, and how they are shown to people.
//!
//! Standard output is data, standard error is for people and logs. Every JSON object names its
//! schema. Nothing here decides anything: it is handed decisions of `guard` and says them.

pub mod artifact;
pub mod cli;
pub mod console;
pub mod event;
pub mod exit;
#[cfg(feature = "logs")]
pub mod logs;
mod render;
pub mod schema;
pub mod verdict;
