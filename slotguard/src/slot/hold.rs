//! Claiming, renewing and releasing one slot.

use std::time::{Duration, Instant};

use guard::config::{Config, show_time};
use guard::diagnostic::{Code, Denial};
use guard::slot::SlotId;
use serde::Serialize;
use slot_runtime::lease::{self, Claimed, Generation, Label, Lease, Moment, Patience, Request};
use step_report::console::{Console, Format};
use step_report::event::Event;
use step_report::exit::ExitStatus;

use super::fresh::Database;
use super::options::{Claim, Release, Renew};
use super::{Desk, now, stop};

/// How long something that happens to the slot is waited for, where a wait was not asked for.
const SHORT_WAIT: Duration = Duration::from_secs(10);

/// How long a slot is waited for at most, where no limit was given.
const LONG_WAIT: Duration = Duration::from_secs(600);

/// How often a slot that is held is asked for again.
const ASK_AGAIN: Duration = Duration::from_millis(500);

/// What became of a lease, as JSON.
#[derive(Serialize)]
struct Said<'a> {
    schema: &'static str,
    slot: SlotId,
    outcome: &'static str,
    generation: Generation,
    owner: &'a str,
    purpose: Option<&'a str>,
    claimed_at: String,
    expires_at: String,
    expires_in_s: u64,
    /// The generation of the expired lease that was ended for this one.
    ended: Option<Generation>,
    /// What becomes of the database, where the slot was freed.
    database: Option<Database>,
}

/// What was done.
#[derive(Default, Clone, Copy)]
struct Done {
    outcome: &'static str,
    ended: Option<Generation>,
    database: Option<Database>,
}

impl Done {
    /// Says what becomes of the database of a slot that was freed.
    fn freeing(config: &Config) -> Self {
        Self { database: Some(Database::of(config)), ..Self::default() }
    }
}

/// Claims a slot, waiting for it where that was asked for.
pub(super) fn claim(console: &Console, options: &Claim) -> Result<ExitStatus, Denial> {
    let desk = Desk::open(&options.config)?;
    let slot = desk.config().slot(&options.slot.slot)?;
    let purpose = options.purpose.as_deref();
    let request = Request {
        owner: Label::parse("owner", &options.owner)?,
        purpose: purpose.map(|text| Label::parse("purpose", text)).transpose()?,
        term: desk.config().leases.term(options.term.term.as_deref())?,
    };
    let claimed = if options.wait {
        let until = Instant::now() + options.timeout.unwrap_or(LONG_WAIT);
        claim_in_time(console, &desk, slot, &request, until)?
    } else {
        claim_once(&desk, slot, &request, options.timeout.unwrap_or(SHORT_WAIT))?
    };
    let ended = claimed.ended.map(|lease| lease.generation);
    let done = match ended {
        None => Done::default(),
        Some(_) => Done::freeing(desk.config()),
    };
    say(console, slot, Done { outcome: "claimed", ended, ..done }, &claimed.lease);
    if console.format() == Format::Human {
        console
            .note(&format!("  every act on {slot} shows it: --lease {}", claimed.lease.generation));
    }
    Ok(ExitStatus::Done)
}

fn claim_once(
    desk: &Desk,
    slot: SlotId,
    request: &Request,
    wait: Duration,
) -> Result<Claimed, Denial> {
    let patience = Patience { clock: now, wait };
    let stop = &mut stop::stopper(desk.config());
    lease::claim(&desk.store, slot, request.clone(), &patience, stop)
}

/// Asks again until the slot is free or the time is over; who holds it is said once.
fn claim_in_time(
    console: &Console,
    desk: &Desk,
    slot: SlotId,
    request: &Request,
    until: Instant,
) -> Result<Claimed, Denial> {
    let mut told = false;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let denial = match claim_once(desk, slot, request, left.min(SHORT_WAIT)) {
            Err(denial) if matches!(denial.code(), Code::LeaseHeld | Code::LeaseBusy) => denial,
            done => return done,
        };
        if left.is_zero() {
            return Err(denial);
        }
        if !std::mem::replace(&mut told, true) {
            say_waiting(console, slot, &denial);
        }
        std::thread::sleep(ASK_AGAIN.min(left));
    }
}

fn say_waiting(console: &Console, slot: SlotId, denial: &Denial) {
    match console.format() {
        Format::Human => console.note(&format!("{slot}: waiting; {}", denial.found())),
        Format::Json => {
            let details = serde_json::json!({ "found": denial.found() });
            console.object(&Event::now("slotguard", slot, "lease.waiting", details));
        }
    }
}

/// Renews a lease.
pub(super) fn renew(console: &Console, options: &Renew) -> Result<ExitStatus, Denial> {
    let desk = Desk::open(&options.config)?;
    let slot = desk.config().slot(&options.slot.slot)?;
    let term = desk.config().leases.term(options.term.term.as_deref())?;
    let patience = Patience { clock: now, wait: SHORT_WAIT };
    let lease = lease::renew(&desk.store, slot, options.lease.lease, term, &patience)?;
    say(console, slot, Done { outcome: "renewed", ..Done::default() }, &lease);
    Ok(ExitStatus::Done)
}

/// Releases a lease.
pub(super) fn release(console: &Console, options: &Release) -> Result<ExitStatus, Denial> {
    let desk = Desk::open(&options.config)?;
    let slot = desk.config().slot(&options.slot.slot)?;
    let stop = &mut stop::stopper(desk.config());
    let lease = lease::release(&desk.store, slot, options.lease.lease, options.timeout, stop)?;
    let done = Done::freeing(desk.config());
    say(console, slot, Done { outcome: "released", ..done }, &lease);
    Ok(ExitStatus::Done)
}

fn say(console: &Console, slot: SlotId, done: Done, lease: &Lease) {
    let Done { outcome, ended, database } = done;
    let left = lease.expires_at.since(Moment::from(now()));
    if console.format() == Format::Json {
        console.object(&Said {
            schema: "slotguard.lease/1",
            slot,
            outcome,
            generation: lease.generation,
            owner: lease.owner.as_str(),
            purpose: lease.purpose.as_ref().map(Label::as_str),
            claimed_at: lease.claimed_at.to_string(),
            expires_at: lease.expires_at.to_string(),
            expires_in_s: left.as_secs(),
            ended,
            database,
        });
        return;
    }
    let Lease { generation, owner, expires_at, .. } = lease;
    if let Some(ended) = ended {
        console.note(&format!("{slot}: generation {ended} had expired and was ended"));
    }
    if let Some(database) = database {
        console.note(&format!("{slot}: {}", database.words()));
    }
    match outcome {
        "released" => console.line(&format!("{slot}: released, generation {generation}")),
        _ => console.line(&format!(
            "{slot}: {outcome} by {owner}, generation {generation}, until {expires_at} (in {})",
            show_time(left)
        )),
    }
}
