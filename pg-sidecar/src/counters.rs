//! What happened since the start, and how it is said.

use std::cell::Cell;

use guard::config::SidecarMode;
use guard::slot::SlotId;
use serde::{Deserialize, Serialize};

/// Counted since the start.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) sessions: Cell<u64>,
    pub(crate) refused: Cell<u64>,
    pub(crate) cancels: Cell<u64>,
    pub(crate) unknown_cancels: Cell<u64>,
    pub(crate) audited: Cell<u64>,
    pub(crate) bytes_to_server: Cell<u64>,
    pub(crate) bytes_to_client: Cell<u64>,
}

/// Adds to a counter.
pub(crate) fn add(counter: &Cell<u64>, amount: u64) {
    counter.set(counter.get().wrapping_add(amount));
}

/// Whether sessions are let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Standing {
    /// Sessions are let in.
    Serving,
    /// The slot's lease has expired, or cannot be told.
    Unleased,
    /// The server is not confirmed.
    Unconfirmed,
    /// Sessions end.
    Draining,
}

/// How a sidecar stands, as `pg-sidecar status` says it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Status {
    pub(crate) schema: String,
    pub(crate) slot: String,
    pub(crate) standing: Standing,
    pub(crate) port: u16,
    pub(crate) socket: String,
    pub(crate) mode: SidecarMode,
    pub(crate) open: u16,
    pub(crate) most_sessions: u16,
    pub(crate) sessions: u64,
    pub(crate) refused: u64,
    pub(crate) cancels: u64,
    pub(crate) unknown_cancels: u64,
    pub(crate) audited: u64,
    pub(crate) bytes_to_server: u64,
    pub(crate) bytes_to_client: u64,
}

/// The schema of [`Status`].
pub(crate) const SCHEMA: &str = "slotguard.sidecar-status/1";

impl Status {
    /// Says it to people.
    pub(crate) fn lines(&self, slot: SlotId) -> Vec<String> {
        let standing = match self.standing {
            Standing::Serving => "serving",
            Standing::Unleased => "letting nobody in: the slot's lease does not count",
            Standing::Unconfirmed => "letting nobody in: the server is not confirmed",
            Standing::Draining => "stopping",
        };
        vec![
            format!("{slot}: {standing}"),
            format!("  listens    127.0.0.1:{} and {}", self.port, self.socket),
            format!(
                "  sessions   {} of {} open, {} since the start",
                self.open, self.most_sessions, self.sessions
            ),
            format!("  refused    {}", self.refused),
            format!(
                "  cancels    {} handed on, {} for no session",
                self.cancels, self.unknown_cancels
            ),
            format!("  audited    {}", self.audited),
            format!(
                "  bytes      {} to the server, {} to clients",
                self.bytes_to_server, self.bytes_to_client
            ),
        ]
    }
}
