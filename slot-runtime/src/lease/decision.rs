//! What may happen to a lease, and who may act on a slot. The clock is an argument.

use std::time::Duration;

use guard::diagnostic::{Code, Denial};
use guard::slot::SlotId;

use super::admission::Admission;
use super::label::Label;
use super::moment::Moment;
use super::standing::{Generation, Lease, Standing};

/// Decides whether an act on a slot is admitted.
///
/// # Errors
/// Refuses an act without a generation on a claimed slot, another generation than the holder's, one
/// that expired, and any on a slot that nobody holds.
pub fn judge_admission(
    slot: SlotId,
    standing: &Standing,
    given: Option<Generation>,
    now: Moment,
) -> Result<Admission, Denial> {
    match (standing.lease(), given) {
        (None, None) => Ok(Admission::Unclaimed),
        (Some(lease), None) => Err(refuse_held(slot, lease, now)),
        (_, Some(given)) => {
            let lease = require_current(slot, standing, given)?;
            require_unexpired(slot, lease, now)?;
            Ok(Admission::Held { generation: given, expires_at: lease.expires_at })
        }
    }
}

/// Decides a claim and returns how the slot stands with it.
///
/// # Errors
/// Refuses a slot that is held, and one whose lease expired and was not freed yet.
pub fn judge_claim(
    slot: SlotId,
    standing: &Standing,
    owner: Label,
    purpose: Option<Label>,
    now: Moment,
    term: Duration,
) -> Result<Standing, Denial> {
    if let Some(lease) = standing.lease() {
        return Err(refuse_held(slot, lease, now));
    }
    let generation = standing.next().ok_or_else(|| {
        Denial::new(
            Code::LeaseStore,
            format!("{slot} has no further generations"),
            format!("generation {}", standing.last()),
            "a lower number",
        )
    })?;
    let expires_at = now.after(term);
    Ok(Standing::holding(Lease {
        generation,
        owner,
        purpose,
        claimed_at: now,
        expires_at,
        warned: false,
    }))
}

/// Decides a renewal and returns how the slot stands with it; a lease never gets shorter.
///
/// # Errors
/// Refuses anybody but the holder, and a lease that expired: the slot may be another's at any moment.
pub fn judge_renewal(
    slot: SlotId,
    standing: &Standing,
    given: Generation,
    now: Moment,
    term: Duration,
) -> Result<Standing, Denial> {
    let lease = require_current(slot, standing, given)?;
    require_unexpired(slot, lease, now)?;
    let expires_at = lease.expires_at.max(now.after(term));
    Ok(Standing::holding(Lease { expires_at, warned: false, ..lease.clone() }))
}

/// Decides a release; one that expired may still be released by its holder.
///
/// # Errors
/// Refuses anybody but the holder.
pub fn judge_release(
    slot: SlotId,
    standing: &Standing,
    given: Generation,
) -> Result<&Lease, Denial> {
    require_current(slot, standing, given)
}

/// What the clock asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// Nothing.
    Nothing,
    /// The lease ends soon, and nobody was told yet.
    Warning,
    /// The lease expired: the slot must be freed.
    Freeing,
}

/// Decides what the clock asks for.
#[must_use]
pub fn due(standing: &Standing, now: Moment, warn_before: Duration) -> Due {
    match standing.lease() {
        Some(lease) if lease.expired(now) => Due::Freeing,
        Some(lease) if !lease.warned && lease.expires_at <= now.after(warn_before) => Due::Warning,
        _ => Due::Nothing,
    }
}

fn require_current(slot: SlotId, standing: &Standing, given: Generation) -> Result<&Lease, Denial> {
    match standing.lease() {
        Some(lease) if lease.generation == given => Ok(lease),
        Some(lease) => Err(Denial::new(
            Code::LeaseGeneration,
            format!("{slot} is claimed under another generation"),
            format!("generation {given}; {}", described(lease)),
            "the generation that the holder was given",
        )),
        None => Err(Denial::new(
            Code::LeaseGeneration,
            format!("nobody holds {slot}: the lease was released, or it expired and was freed"),
            format!("generation {given}; the last one was {}", standing.last()),
            "the generation of the lease that holds the slot",
        )),
    }
}

fn require_unexpired(slot: SlotId, lease: &Lease, now: Moment) -> Result<(), Denial> {
    if !lease.expired(now) {
        return Ok(());
    }
    Err(Denial::new(
        Code::LeaseExpired,
        format!("the lease of {slot} has expired"),
        format!("generation {}, expired at {}", lease.generation, lease.expires_at),
        format!("a lease that has not expired at {now}"),
    ))
}

fn refuse_held(slot: SlotId, lease: &Lease, now: Moment) -> Denial {
    let expected = "`--lease` with the holder's generation, or a slot that nobody holds";
    let denial =
        Denial::new(Code::LeaseHeld, format!("{slot} is claimed"), described(lease), expected);
    if lease.expired(now) {
        return denial.help("It has expired: free it by `slotguard slot reap`, then try again.");
    }
    denial.help(format!(
        "Wait until it is released or until {}, by `slotguard slot claim --slot {slot} --wait`; \
         or use another slot. The holder shows its generation by `--lease`.",
        lease.expires_at
    ))
}

fn described(lease: &Lease) -> String {
    let Lease { generation, owner, purpose, expires_at, .. } = lease;
    let purpose = purpose.as_ref().map_or_else(String::new, |purpose| format!(" for `{purpose}`"));
    format!("held by `{owner}`{purpose} until {expires_at}, generation {generation}")
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn slot() -> SlotId {
        "preview-1".parse().unwrap()
    }

    fn at(seconds: u64) -> Moment {
        Moment::from(UNIX_EPOCH + Duration::from_secs(seconds))
    }

    fn generation(number: u64) -> Generation {
        number.to_string().parse().unwrap()
    }

    /// Claimed at second 1000 for an hour, as generation 5.
    fn held() -> Standing {
        let before = Standing::from_parts(4, None).unwrap();
        let owner = Label::parse("owner", "worker-1").unwrap();
        let purpose = Label::parse("purpose", "pull request 41").ok();
        judge_claim(slot(), &before, owner, purpose, at(1000), HOUR).unwrap()
    }

    fn claim(standing: &Standing, now: u64) -> Result<Standing, Code> {
        let owner = Label::parse("owner", "worker-2").unwrap();
        judge_claim(slot(), standing, owner, None, at(now), HOUR).map_err(|denial| denial.code())
    }

    fn admit(standing: &Standing, given: Option<u64>, now: u64) -> Result<Admission, Code> {
        judge_admission(slot(), standing, given.map(generation), at(now)).map_err(|d| d.code())
    }

    #[test]
    fn only_the_holder_acts_on_a_claimed_slot() {
        let admitted = admit(&held(), Some(5), 4599).unwrap();
        assert_eq!(admitted, Admission::Held { generation: generation(5), expires_at: at(4600) });
        assert_eq!(admit(&held(), None, 1000), Err(Code::LeaseHeld));
        assert_eq!(admit(&held(), Some(4), 1000), Err(Code::LeaseGeneration));
        assert_eq!(admit(&held(), Some(6), 1000), Err(Code::LeaseGeneration));
        assert_eq!(admit(&held(), Some(5), 4600), Err(Code::LeaseExpired));
        assert_eq!(admit(&held(), None, 4600), Err(Code::LeaseHeld));
    }

    #[test]
    fn an_unclaimed_slot_needs_no_generation_and_accepts_none() {
        assert_eq!(admit(&Standing::default(), None, 0), Ok(Admission::Unclaimed));
        assert_eq!(admit(&held().freed(), None, 1000), Ok(Admission::Unclaimed));
        assert_eq!(admit(&held().freed(), Some(5), 1000), Err(Code::LeaseGeneration));
        assert_eq!(admit(&Standing::default(), Some(1), 0), Err(Code::LeaseGeneration));
    }

    #[test]
    fn a_refusal_says_who_holds_the_slot_and_until_when() {
        let denial = judge_admission(slot(), &held(), None, at(1000)).unwrap_err();
        for part in ["worker-1", "pull request 41", "1970-01-01T01:16:40Z", "generation 5"] {
            assert!(denial.found().contains(part), "{part}: {}", denial.found());
        }
        assert!(denial.next_step().contains("--wait"), "{}", denial.next_step());
        let denial = judge_admission(slot(), &held(), None, at(4600)).unwrap_err();
        assert!(denial.next_step().contains("slot reap"), "{}", denial.next_step());
    }

    #[test]
    fn a_slot_is_claimed_once_and_the_generation_rises_across_releases() {
        assert_eq!(claim(&held(), 1000), Err(Code::LeaseHeld));
        assert_eq!(claim(&held(), 9999), Err(Code::LeaseHeld), "it must be freed first");
        let again = claim(&held().freed(), 1000).unwrap();
        assert_eq!(again.last(), 6);
        let last = Standing::from_parts(u64::MAX, None).unwrap();
        assert_eq!(claim(&last, 0), Err(Code::LeaseStore));
    }

    #[test]
    fn the_holder_renews_while_the_lease_counts_and_never_shortens_it() {
        let renew = |given, now, term| {
            judge_renewal(slot(), &held(), generation(given), at(now), term).map_err(|d| d.code())
        };
        let until = |standing: Standing| standing.lease().unwrap().expires_at;
        assert_eq!(renew(5, 2000, HOUR).map(until), Ok(at(5600)));
        assert_eq!(renew(5, 2000, Duration::from_secs(1)).map(until), Ok(at(4600)));
        assert_eq!(renew(5, 2000, HOUR).unwrap().last(), 5);
        assert_eq!(renew(4, 2000, HOUR), Err(Code::LeaseGeneration));
        assert_eq!(renew(5, 4600, HOUR), Err(Code::LeaseExpired));
    }

    #[test]
    fn the_holder_releases_even_late_and_nobody_else() {
        let release = |standing: &Standing, given| {
            judge_release(slot(), standing, generation(given)).map(|_| ()).map_err(|d| d.code())
        };
        assert_eq!(release(&held(), 5), Ok(()));
        assert_eq!(release(&held(), 4), Err(Code::LeaseGeneration));
        assert_eq!(release(&held().freed(), 5), Err(Code::LeaseGeneration));
    }

    #[test]
    fn the_end_is_warned_of_once_and_then_due() {
        let warn_before = Duration::from_secs(600);
        let due = |standing: &Standing, now| due(standing, at(now), warn_before);
        assert_eq!(due(&held(), 3999), Due::Nothing);
        assert_eq!(due(&held(), 4000), Due::Warning);
        let warned = Lease { warned: true, ..held().lease().unwrap().clone() };
        assert_eq!(due(&Standing::holding(warned.clone()), 4000), Due::Nothing);
        assert_eq!(due(&Standing::holding(warned), 4600), Due::Freeing);
        assert_eq!(due(&held().freed(), 9999), Due::Nothing);
    }
}
