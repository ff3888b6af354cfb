//! How long a run waits for what, in seconds.

use guard::provision::Quotas;

/// The waits of one run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Longest statement; 0 means without end.
    pub statement: u32,
    /// Longest idle transaction; 0 means without end.
    pub idle_in_transaction: u32,
    /// Longest wait of a statement for a lock; 0 means without end.
    pub lock: u32,
    /// How long a migration that waited in vain for a lock is tried again.
    pub retry: u32,
    /// How long another run on the same database is waited for.
    pub other_run: u32,
}

/// Readers queue behind a statement that waits, so it must not wait long.
const LOCK: u32 = 5;

/// Long enough for an ordinary transaction to end.
const RETRY: u32 = 60;

/// Long enough for an ordinary run to end.
const OTHER_RUN: u32 = 60;

impl Limits {
    /// Takes the slot's limits from the configuration, and the rest as it is by default.
    #[must_use]
    pub fn of(quotas: &Quotas) -> Self {
        Self {
            statement: quotas.statement_timeout_s,
            idle_in_transaction: quotas.idle_in_transaction_timeout_s,
            ..Self::default()
        }
    }

    /// Returns the limits as start-up options, which beat what is stored with a role.
    pub(crate) fn options(&self) -> String {
        let Self { statement, idle_in_transaction, lock, .. } = self;
        format!(
            "-c statement_timeout={statement}s -c lock_timeout={lock}s \
             -c idle_in_transaction_session_timeout={idle_in_transaction}s"
        )
    }
}

impl Default for Limits {
    fn default() -> Self {
        let quotas = Quotas::default();
        Self {
            statement: quotas.statement_timeout_s,
            idle_in_transaction: quotas.idle_in_transaction_timeout_s,
            lock: LOCK,
            retry: RETRY,
            other_run: OTHER_RUN,
        }
    }
}
