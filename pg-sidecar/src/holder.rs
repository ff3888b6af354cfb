//! Whose sessions may be open: those of clients that were started under the slot's present lease.
//!
//! It is asked at each login and once a second. What is asked is the store of leases alone, which
//! everybody may read; nothing is held, so a session keeps nobody from releasing the slot.

use std::time::SystemTime;

use guard::diagnostic::{Code, Denial};
use guard::slot::SlotId;
use serde::Serialize;
use slot_runtime::lease::{Generation, LeaseStore, Moment, Standing};

/// Whose sessions may be open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Holder {
    /// Those of the lease's holder, or of clients without a lease where nobody claimed the slot.
    Of(Option<Generation>),
    /// Nobody's.
    Locked,
}

/// Finds out who holds a slot.
///
/// # Errors
/// Refuses a lease that expired, and a store that cannot be read or understood.
pub(crate) fn look(
    store: &impl LeaseStore,
    slot: SlotId,
    now: SystemTime,
) -> Result<Option<Generation>, Denial> {
    judge(slot, &store.read(slot)?, now.into())
}

fn judge(slot: SlotId, standing: &Standing, now: Moment) -> Result<Option<Generation>, Denial> {
    match standing.lease() {
        Some(lease) if lease.expired(now) => Err(Denial::new(
            Code::WireLease,
            format!("the lease of {slot} has expired"),
            format!("generation {}, expired at {}", lease.generation, lease.expires_at),
            "a lease that counts",
        )),
        lease => Ok(lease.map(|lease| lease.generation)),
    }
}

/// Says that a client belongs to somebody who no longer holds the slot.
pub(crate) fn over(slot: SlotId, began: Option<Generation>, now: Option<Generation>) -> Denial {
    let message = format!("{slot} is no longer held by whoever this client was started for");
    Denial::new(Code::WireLease, message, under(began), under(now))
}

fn under(lease: Option<Generation>) -> String {
    lease.map_or_else(
        || "a client without a lease".to_owned(),
        |generation| format!("a client of the lease with generation {generation}"),
    )
}

/// Who holds the slot, as events have it.
#[derive(Debug, Serialize)]
pub(crate) struct Held {
    lease: Shown,
}

#[derive(Debug, Serialize)]
struct Shown {
    standing: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    generation: Option<Generation>,
}

impl From<Option<Generation>> for Held {
    fn from(generation: Option<Generation>) -> Self {
        let standing = if generation.is_some() { "held" } else { "unclaimed" };
        Self { lease: Shown { standing, generation } }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use slot_runtime::lease::{Label, judge_claim};

    use super::*;

    #[test]
    fn a_lease_counts_until_its_end() {
        let slot: SlotId = "preview-1".parse().unwrap();
        let at = |seconds| Moment::from(UNIX_EPOCH + Duration::from_secs(seconds));
        let owner = Label::parse("owner", "worker-1").unwrap();
        let (free, hour) = (Standing::default(), Duration::from_secs(3600));
        let held = judge_claim(slot, &free, owner, None, at(0), hour).unwrap();
        let seen = |standing: &Standing, now| {
            let judged = judge(slot, standing, at(now));
            judged.map(|lease| lease.map(Generation::number)).map_err(|denial| denial.code())
        };
        assert_eq!(seen(&free, 0), Ok(None));
        assert_eq!(seen(&held, 3599), Ok(Some(1)));
        assert_eq!(seen(&held, 3600), Err(Code::WireLease));
        assert_eq!(seen(&held.freed(), 3600), Ok(None));
    }
}
