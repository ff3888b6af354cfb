//! Who may act on a slot, and how an act keeps the slot's holder from changing while it lasts.

use std::time::{Duration, SystemTime};

use guard::diagnostic::{Code, Denial, Warning};
use guard::slot::SlotId;
use serde::Serialize;
use serde::ser::SerializeStruct as _;

use super::decision::judge_admission;
use super::moment::Moment;
use super::standing::Generation;
use super::store::{LeaseStore, Mode};

/// Under what an act was admitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// Nobody holds the slot.
    Unclaimed,
    /// The holder acts.
    Held {
        /// The holder's generation.
        generation: Generation,
        /// Until when the lease counts.
        expires_at: Moment,
    },
}

impl Admission {
    /// Returns the generation, for records that name it.
    #[must_use]
    pub fn generation(self) -> Option<Generation> {
        match self {
            Self::Unclaimed => None,
            Self::Held { generation, .. } => Some(generation),
        }
    }

    /// Warns of a lease that ends soon.
    #[must_use]
    pub fn warning(self, slot: SlotId, now: SystemTime, warn_before: Duration) -> Option<Warning> {
        match self {
            Self::Held { generation, expires_at }
                if expires_at <= Moment::from(now).after(warn_before) =>
            {
                Some(Warning::new(
                    Code::LeaseEndsSoon,
                    format!("the lease of {slot}, generation {generation}, ends at {expires_at}"),
                ))
            }
            _ => None,
        }
    }
}

impl Serialize for Admission {
    /// Writes it as every event has it: `{"standing":"unclaimed"}`, or the generation with `held`.
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let fields = 1 + usize::from(self.generation().is_some());
        let mut object = serializer.serialize_struct("Admission", fields)?;
        match self.generation() {
            None => object.serialize_field("standing", "unclaimed")?,
            Some(generation) => {
                object.serialize_field("standing", "held")?;
                object.serialize_field("generation", &generation)?;
            }
        }
        object.end()
    }
}

/// Asks whether an act on a slot is admitted at this moment.
///
/// The answer may be old when it is read: an act that changes something begins by [`begin`].
///
/// # Errors
/// As [`judge_admission`], and when the store cannot be read.
pub fn admit(
    store: &impl LeaseStore,
    slot: SlotId,
    given: Option<Generation>,
    now: SystemTime,
) -> Result<Admission, Denial> {
    judge_admission(slot, &store.read(slot)?, given, now.into())
}

/// An admitted act. While it is held, nobody claims, releases or reaps the slot.
#[derive(Debug)]
#[must_use = "the slot is held only as long as this value"]
pub struct Acting<A> {
    admission: Admission,
    _activity: Option<A>,
}

impl<A> Acting<A> {
    /// Returns under what the act was admitted.
    pub fn admission(&self) -> Admission {
        self.admission
    }
}

/// Begins an act on a slot: holds the slot, then asks whether the act is admitted.
///
/// In this order no release fits between the two.
///
/// # Errors
/// As [`admit`], and when a claim, a release or an act in the other mode is not done in time.
pub fn begin<S: LeaseStore>(
    store: &S,
    slot: SlotId,
    given: Option<Generation>,
    mode: Mode,
    clock: impl Fn() -> SystemTime,
    wait: Duration,
) -> Result<Acting<S::Activity>, Denial> {
    // Whoever will be refused anyhow is told at once, by whom the slot is held.
    admit(store, slot, given, clock())?;
    let activity = store.hold(slot, mode, wait)?;
    let admission = admit(store, slot, given, clock())?;
    Ok(Acting { admission, _activity: activity })
}
