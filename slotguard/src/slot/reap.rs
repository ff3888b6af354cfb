//! `slotguard slot reap`: what the clock asks for, on every slot of this host.

use guard::diagnostic::Denial;
use guard::slot::SlotId;
use serde::Serialize;
use slot_runtime::lease::{self, Lease, LeaseStore as _, Patience, Reaped};
use step_report::console::{Console, Format};
use step_report::event::Event;
use step_report::exit::ExitStatus;

use super::options::Reap;
use super::{Desk, fresh, now, stop};
use crate::artifacts;

/// What became of every slot.
#[derive(Default, Serialize)]
struct Said {
    schema: &'static str,
    freed: Vec<SlotId>,
    ends_soon: Vec<SlotId>,
    not_freed: Vec<Not>,
    /// Slots whose database was due for a reset and has had it.
    reset: Vec<SlotId>,
    not_reset: Vec<Not>,
}

#[derive(Serialize)]
struct Not {
    slot: SlotId,
    #[serde(flatten)]
    denial: Denial,
}

/// Frees and warns; one slot that cannot be freed keeps none of the others from it.
pub(super) fn run(console: &Console, options: &Reap) -> Result<ExitStatus, Denial> {
    let desk = Desk::open(&options.config)?;
    let patience = Patience { clock: now, wait: options.timeout };
    let mut said = Said { schema: "slotguard.reap/1", ..Said::default() };
    for slot in desk.config().slots().iter() {
        let stop = &mut stop::stopper(desk.config());
        match lease::reap(&desk.store, slot, desk.config().leases.warn_before, &patience, stop) {
            Ok(Reaped::Nothing) => {}
            Ok(Reaped::EndsSoon(lease)) => {
                say(console, slot, "lease.ends_soon", "ends soon", &lease);
                said.ends_soon.push(slot);
            }
            Ok(Reaped::Freed(lease)) => {
                say(console, slot, "lease.freed", "expired and was freed", &lease);
                said.freed.push(slot);
            }
            Err(denial) => said.not_freed.push(Not { slot, denial }),
        }
        let config = desk.config();
        artifacts::keep_newest(config, &slot.to_string(), config.publish.keep_artifacts);
        // Where somebody holds the slot, the next publish does it.
        match reset_where_free(slot, &desk) {
            Ok(false) => {}
            Ok(true) => {
                said.reset.push(slot);
                if console.format() == Format::Human {
                    console.line(&format!("{slot}: the database was reset"));
                }
            }
            Err(denial) => said.not_reset.push(Not { slot, denial }),
        }
    }
    let mut not_done = said.not_freed.iter().chain(&said.not_reset);
    let status = not_done.next().map_or(ExitStatus::Done, |not| not.denial.code().into());
    match console.format() {
        Format::Json => console.object(&said),
        Format::Human => {
            let refuse = |not: &Not| console.refuse(None, &not.denial);
            said.not_freed.iter().chain(&said.not_reset).map(refuse).for_each(drop);
        }
    }
    Ok(status)
}

fn reset_where_free(slot: SlotId, desk: &Desk) -> Result<bool, Denial> {
    if desk.store.read(slot)?.lease().is_some() {
        return Ok(false);
    }
    fresh::reset_if_due(slot, &desk.loaded)
}

fn say(console: &Console, slot: SlotId, event: &str, words: &str, lease: &Lease) {
    let Lease { generation, owner, purpose, expires_at, .. } = lease;
    match console.format() {
        Format::Human => console.line(&format!(
            "{slot}: the lease of {owner}, generation {generation}, until {expires_at}, {words}"
        )),
        Format::Json => {
            let details = serde_json::json!({
                "lease": { "standing": "held", "generation": generation },
                "owner": owner,
                "purpose": purpose,
                "expires_at": expires_at.to_string(),
            });
            console.object(&Event::now("slotguard", slot, event, details));
        }
    }
}
