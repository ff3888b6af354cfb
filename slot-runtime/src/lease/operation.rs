//! Claiming, renewing, releasing and reaping on a store.
//!
//! A slot is freed only after its backend was stopped and while nobody acts on it. Stopping is the
//! caller's: it is handed in, may be called twice, and must not [`begin`](super::begin) an act.

use std::time::{Duration, SystemTime};

use guard::diagnostic::{Code, Denial};
use guard::slot::SlotId;

use super::decision::{Due, due, judge_claim, judge_release, judge_renewal};
use super::label::Label;
use super::standing::{Generation, Lease, Standing};
use super::store::{Change, LeaseStore, Mode};

/// Stops the backend of a slot, whether or not one runs.
pub type Stop<'a> = dyn FnMut(SlotId) -> Result<(), Denial> + 'a;

/// How time passes: what the clock says, and how long others are waited for.
#[derive(Debug, Clone, Copy)]
pub struct Patience<C: Fn() -> SystemTime> {
    /// The clock.
    pub clock: C,
    /// How long a lock that is not free is waited for.
    pub wait: Duration,
}

/// What a claim asks for.
#[derive(Debug, Clone)]
pub struct Request {
    /// Who will hold the slot.
    pub owner: Label,
    /// What for.
    pub purpose: Option<Label>,
    /// For how long.
    pub term: Duration,
}

/// A claim that succeeded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claimed {
    /// The new lease.
    pub lease: Lease,
    /// The expired one that had to be ended before.
    pub ended: Option<Lease>,
}

/// Claims a slot; a lease that expired is ended first, as [`reap`] does.
///
/// # Errors
/// Refuses a slot that is held, being acted on, or whose expired lease cannot be ended.
pub fn claim<S: LeaseStore, C: Fn() -> SystemTime>(
    store: &S,
    slot: SlotId,
    request: Request,
    patience: &Patience<C>,
    stop: &mut Stop<'_>,
) -> Result<Claimed, Denial> {
    let mut change = store.change(slot, patience.wait)?;
    let mut ended = None;
    if due(change.standing(), (patience.clock)().into(), Duration::ZERO) == Due::Freeing {
        ended = change.standing().lease().cloned();
        end(store, slot, &mut change, patience.wait, stop)?;
    }
    let Request { owner, purpose, term } = request;
    let claimed = |change: &S::Change| {
        let (owner, purpose) = (owner.clone(), purpose.clone());
        judge_claim(slot, change.standing(), owner, purpose, (patience.clock)().into(), term)
    };
    claimed(&change)?;
    // An act that was admitted while nobody held the slot must be done before somebody does.
    let _activity = store.hold(slot, Mode::Exclusive, patience.wait)?;
    let standing = claimed(&change)?;
    change.keep(standing)?;
    let lease = change.standing().lease().cloned().ok_or_else(|| gone(slot))?;
    Ok(Claimed { lease, ended })
}

/// Renews a lease for its holder.
///
/// # Errors
/// As [`judge_renewal`], and when the store cannot be changed.
pub fn renew<S: LeaseStore, C: Fn() -> SystemTime>(
    store: &S,
    slot: SlotId,
    given: Generation,
    term: Duration,
    patience: &Patience<C>,
) -> Result<Lease, Denial> {
    let mut change = store.change(slot, patience.wait)?;
    let now = (patience.clock)().into();
    let standing = judge_renewal(slot, change.standing(), given, now, term)?;
    change.keep(standing)?;
    change.standing().lease().cloned().ok_or_else(|| gone(slot))
}

/// Releases a lease for its holder: stops the backend, waits for acts, then frees the slot.
///
/// # Errors
/// Refuses anybody but the holder. When the backend cannot be stopped or an act is not done in time,
/// the slot stays held and the release can be tried again.
pub fn release<S: LeaseStore>(
    store: &S,
    slot: SlotId,
    given: Generation,
    wait: Duration,
    stop: &mut Stop<'_>,
) -> Result<Lease, Denial> {
    let mut change = store.change(slot, wait)?;
    let lease = judge_release(slot, change.standing(), given)?.clone();
    end(store, slot, &mut change, wait, stop)?;
    Ok(lease)
}

/// What the clock asked for and was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reaped {
    /// Nothing.
    Nothing,
    /// The lease ends soon; it is said once.
    EndsSoon(Lease),
    /// The lease had expired, and the slot was freed.
    Freed(Lease),
}

/// Does what the clock asks for: frees a slot whose lease expired, as [`release`] does.
///
/// # Errors
/// As [`release`]; the slot then stays held by an expired lease, under which nobody acts.
pub fn reap<S: LeaseStore, C: Fn() -> SystemTime>(
    store: &S,
    slot: SlotId,
    warn_before: Duration,
    patience: &Patience<C>,
    stop: &mut Stop<'_>,
) -> Result<Reaped, Denial> {
    let judge = |standing: &Standing| due(standing, (patience.clock)().into(), warn_before);
    if judge(&store.read(slot)?) == Due::Nothing {
        return Ok(Reaped::Nothing);
    }
    let mut change = store.change(slot, patience.wait)?;
    let due = judge(change.standing());
    match change.standing().lease().cloned() {
        Some(lease) if due == Due::Freeing => {
            end(store, slot, &mut change, patience.wait, stop)?;
            Ok(Reaped::Freed(lease))
        }
        Some(lease) if due == Due::Warning => {
            let warned = Lease { warned: true, ..lease };
            change.keep(Standing::holding(warned.clone()))?;
            Ok(Reaped::EndsSoon(warned))
        }
        _ => Ok(Reaped::Nothing),
    }
}

/// Ends a lease while the right to change it is held, so that nobody renews or claims meanwhile.
fn end<S: LeaseStore>(
    store: &S,
    slot: SlotId,
    change: &mut S::Change,
    wait: Duration,
    stop: &mut Stop<'_>,
) -> Result<(), Denial> {
    let _activity = match store.hold(slot, Mode::Exclusive, Duration::ZERO) {
        Err(denial) if denial.code() == Code::LeaseBusy => {
            // The backend does not go on for as long as a migration takes.
            stop(slot)?;
            store.hold(slot, Mode::Exclusive, wait)?
        }
        held => held?,
    };
    // Whatever acted until now may have started it again.
    stop(slot)?;
    change.keep(change.standing().freed())
}

fn gone(slot: SlotId) -> Denial {
    Denial::new(
        Code::Internal,
        format!("{slot} has no lease after it was claimed"),
        "nothing",
        "a lease",
    )
}
