//! The database of a slot that was given back: noted as due for a reset, and reset.

use std::time::SystemTime;

use guard::config::{Config, ReleasedDatabase};
use guard::diagnostic::Denial;
use guard::io::LoadedConfig;
use guard::slot::SlotId;
use serde::Serialize;
use slot_runtime::pending_reset;

use crate::ask;

/// What becomes of the database of a slot that is freed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Database {
    /// It is replaced before anybody works with it.
    ResetScheduled,
    /// It keeps what its last holder left there, on purpose.
    Kept,
    /// It keeps that too, since nobody decided.
    NotConfigured,
}

impl Database {
    /// Returns what the configuration says.
    pub(super) fn of(config: &Config) -> Self {
        match config.released_database {
            ReleasedDatabase::Seed | ReleasedDatabase::Template(_) => Self::ResetScheduled,
            ReleasedDatabase::Kept => Self::Kept,
            ReleasedDatabase::Unset => Self::NotConfigured,
        }
    }

    /// Returns it in words.
    pub(super) fn words(self) -> &'static str {
        match self {
            Self::ResetScheduled => "its database will be reset before anybody uses it",
            Self::Kept => "its database keeps what is in it",
            Self::NotConfigured => {
                "its database keeps what is in it, since no `[release] reset` is configured"
            }
        }
    }
}

/// Notes that the slot's database has to be reset, where one is configured.
pub(super) fn schedule(slot: SlotId, config: &Config) -> Result<(), Denial> {
    match Database::of(config) {
        Database::ResetScheduled => pending_reset::schedule(&config.roots, slot, SystemTime::now()),
        Database::Kept | Database::NotConfigured => Ok(()),
    }
}

/// Resets the database of a slot that nobody holds, if that is due; returns whether it was.
pub(super) fn reset_if_due(slot: SlotId, loaded: &LoadedConfig) -> Result<bool, Denial> {
    let config = &loaded.config;
    if pending_reset::since(&config.roots, slot)?.is_none() {
        return Ok(false);
    }
    let Some(words) = config.released_database.reset_to() else {
        // It was scheduled under another configuration; nobody says how it is done.
        return pending_reset::refuse(&config.roots, slot).map(|()| false);
    };
    ask::reset(slot, &words, loaded).map(|()| true)
}
