//! What a store of leases must be able to do; the embedded one is for one host.

use std::time::Duration;

use guard::diagnostic::Denial;
use guard::slot::SlotId;

use super::standing::Standing;

/// How an act holds a slot while it lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Beside other acts of the same holder.
    Shared,
    /// Alone.
    Exclusive,
}

/// Where it is kept how slots stand.
///
/// Each lock ends with its value, and with the process that held it however that ended. Waits are
/// bounded; one that ran out is a refusal that says to try again.
pub trait LeaseStore {
    /// The right to change how one slot stands.
    type Change: Change;
    /// What an act holds while it lasts.
    type Activity;

    /// Reads how a slot stands, without waiting for anybody.
    ///
    /// # Errors
    /// Refuses what cannot be read or understood: it is never taken for free.
    fn read(&self, slot: SlotId) -> Result<Standing, Denial>;

    /// Takes the sole right to change how a slot stands.
    ///
    /// # Errors
    /// As [`LeaseStore::read`], and when somebody else keeps that right for too long.
    fn change(&self, slot: SlotId, wait: Duration) -> Result<Self::Change, Denial>;

    /// Holds a slot for an act; `None` where nothing was ever claimed and nobody keeps leases.
    ///
    /// # Errors
    /// Refuses when another act, a release or a claim is not done in time.
    fn hold(
        &self,
        slot: SlotId,
        mode: Mode,
        wait: Duration,
    ) -> Result<Option<Self::Activity>, Denial>;
}

/// The right to change how one slot stands, while it is held.
pub trait Change {
    /// Returns how the slot stands.
    fn standing(&self) -> &Standing;

    /// Keeps how the slot stands from now on, so that a crash does not lose it.
    ///
    /// # Errors
    /// Refuses when it cannot be kept; the slot then stands as before.
    fn keep(&mut self, standing: Standing) -> Result<(), Denial>;
}
