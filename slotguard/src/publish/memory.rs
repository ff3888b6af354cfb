//! What the last publish of a slot saw, so that the next one can tell what has not changed.
//!
//! Losing it costs time only: every step then does its work.

use guard::slot::SlotId;
use serde::{Deserialize, Serialize};
use slot_runtime::StateRoot;

/// Where it lies beneath the state root.
const DIRECTORY: &str = "publish";

/// Fingerprints of the last publish that came this far.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Memory {
    /// The worktree that was published.
    pub(crate) worktree: String,
    /// The files that name dependencies, when they were synced.
    pub(crate) dependencies: Option<String>,
    /// The worktree, when the backend was started from it.
    pub(crate) backend: Option<String>,
}

impl Memory {
    /// Reads what is remembered of a worktree in a slot; of another worktree nothing is.
    pub(crate) fn read(state: &StateRoot, slot: SlotId, worktree: &str) -> Self {
        let text = slot_runtime::note::read(state, DIRECTORY, &name(slot));
        let memory = text.and_then(|text| serde_json::from_str::<Self>(&text).ok());
        let fresh = Self { worktree: worktree.to_owned(), ..Self::default() };
        memory.filter(|memory| memory.worktree == worktree).unwrap_or(fresh)
    }

    /// Remembers; what cannot be remembered costs the next publish time.
    pub(crate) fn write(&self, state: &StateRoot, slot: SlotId) {
        if let Ok(text) = serde_json::to_string(self) {
            slot_runtime::note::write(state, DIRECTORY, &name(slot), &text);
        }
    }
}

fn name(slot: SlotId) -> String {
    format!("{slot}.json")
}
