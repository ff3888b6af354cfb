//! The lease under which a command acts on a slot's database.

use std::time::{Duration, SystemTime};

use clap::Args;
use guard::config::Config;
use guard::diagnostic::{Denial, Warning};
use guard::slot::SlotId;
use serde::Serialize;
use slot_runtime::lease::{
    Acting, Activity, Admission, EmbeddedStore, Generation, Mode, admit, begin,
};
use step_report::console::Console;
use step_report::event::Event;

/// How long a claim or a release that is under way is waited for.
const WAIT: Duration = Duration::from_secs(10);

/// `--lease`.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct LeaseOption {
    /// The generation of the slot's lease, which a claimed slot demands
    #[arg(long, value_name = "GEN")]
    lease: Option<Generation>,
}

impl LeaseOption {
    /// Asks whether a generation that was given counts, for what changes nothing and needs none.
    ///
    /// # Errors
    /// Refuses a generation that does not hold the slot.
    pub(crate) fn check(self, config: &Config, slot: SlotId) -> Result<(), Denial> {
        let store = EmbeddedStore::new(&config.roots);
        match self.lease {
            None => Ok(()),
            given => admit(&store, slot, given, SystemTime::now()).map(|_| ()),
        }
    }
}

/// An admitted act on a slot: while it is held, the slot is not claimed, released or reaped.
#[derive(Debug)]
pub struct LeasedAct {
    store: EmbeddedStore,
    slot: SlotId,
    given: Option<Generation>,
    acting: Acting<Activity>,
    warn_before: Duration,
}

impl LeasedAct {
    /// Begins an act, before anything changes.
    ///
    /// # Errors
    /// Refuses a slot that somebody else holds, and a lease that counts no more.
    pub(crate) fn begin(
        config: &Config,
        slot: SlotId,
        option: LeaseOption,
    ) -> Result<Self, Denial> {
        let (store, given) = (EmbeddedStore::new(&config.roots), option.lease);
        let acting = begin(&store, slot, given, Mode::Shared, SystemTime::now, WAIT)?;
        Ok(Self { store, slot, given, acting, warn_before: config.leases.warn_before })
    }

    /// Asks once more, for acts that had to wait: the lease may have expired meanwhile.
    ///
    /// # Errors
    /// Refuses an act that would not be admitted any more.
    pub(crate) fn recheck(&self) -> Result<(), Denial> {
        admit(&self.store, self.slot, self.given, SystemTime::now()).map(|_| ())
    }

    /// Returns the slot.
    pub(crate) fn slot(&self) -> SlotId {
        self.slot
    }

    /// Warns of a lease that ends soon.
    pub(crate) fn warning(&self) -> Option<Warning> {
        self.acting.admission().warning(self.slot, SystemTime::now(), self.warn_before)
    }

    /// Says under what the act was admitted.
    pub(crate) fn announce(&self, console: &Console) {
        #[derive(Serialize)]
        struct Details {
            lease: Admission,
        }
        let lease = self.acting.admission();
        let details = Details { lease };
        console.say(&Event::now("migrate-runner", self.slot, "lease.admitted", details), || {});
    }
}
