//! `slotguard slot list`: one line for each slot of this host.

use guard::config::show_time;
use guard::diagnostic::Denial;
use guard::slot::SlotId;
use serde::Serialize;
use slot_runtime::lease::{Generation, Label, LeaseStore as _, Moment, Standing};
use step_report::console::{Console, Format};
use step_report::exit::ExitStatus;

use super::options::List;
use super::{Desk, now};
use crate::columns;

#[derive(Serialize)]
struct Leases {
    schema: &'static str,
    slots: Vec<Row>,
}

#[derive(Serialize)]
struct Row {
    slot: SlotId,
    standing: &'static str,
    generation: Option<Generation>,
    owner: Option<String>,
    purpose: Option<String>,
    claimed_at: Option<String>,
    expires_at: Option<String>,
    expires_in_s: Option<u64>,
    last_generation: u64,
}

/// Shows how every slot stands.
pub(super) fn run(console: &Console, options: &List) -> Result<ExitStatus, Denial> {
    let desk = Desk::open(&options.config)?;
    let now = Moment::from(now());
    let row = |slot| desk.store.read(slot).map(|standing| row(slot, &standing, now));
    let slots = desk.config().slots().iter().map(row).collect::<Result<Vec<Row>, Denial>>()?;
    match console.format() {
        Format::Json => console.object(&Leases { schema: "slotguard.leases/1", slots }),
        Format::Human => table(&slots).iter().for_each(|line| console.line(line)),
    }
    Ok(ExitStatus::Done)
}

fn row(slot: SlotId, standing: &Standing, now: Moment) -> Row {
    let lease = standing.lease();
    Row {
        slot,
        standing: match lease {
            None => "unclaimed",
            Some(lease) if lease.expired(now) => "expired",
            Some(_) => "held",
        },
        generation: lease.map(|lease| lease.generation),
        owner: lease.map(|lease| lease.owner.to_string()),
        purpose: lease.and_then(|lease| lease.purpose.as_ref()).map(Label::to_string),
        claimed_at: lease.map(|lease| lease.claimed_at.to_string()),
        expires_at: lease.map(|lease| lease.expires_at.to_string()),
        expires_in_s: lease.map(|lease| lease.expires_at.since(now).as_secs()),
        last_generation: standing.last(),
    }
}

fn table(rows: &[Row]) -> Vec<String> {
    let head = ["SLOT", "HOLDER", "PURPOSE", "EXPIRES IN"].map(str::to_owned);
    let cells = |row: &Row| {
        let or_dash = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
        let left = match (row.standing, row.expires_in_s) {
            ("expired", _) => "expired".to_owned(),
            (_, Some(seconds)) => show_time(std::time::Duration::from_secs(seconds)),
            (_, None) => "-".to_owned(),
        };
        [row.slot.to_string(), or_dash(&row.owner), or_dash(&row.purpose), left]
    };
    let lines: Vec<[String; 4]> = std::iter::once(head).chain(rows.iter().map(cells)).collect();
    columns::align(&lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_columns_are_as_wide_as_they_must_be() {
        let empty = |slot: &str| row(slot.parse().unwrap(), &Standing::default(), now().into());
        let held = Row {
            standing: "held",
            owner: Some("worker-1".to_owned()),
            purpose: Some("pull request 41".to_owned()),
            expires_in_s: Some(5400),
            ..empty("preview-2")
        };
        assert_eq!(
            table(&[empty("preview-1"), held]),
            [
                "SLOT       HOLDER    PURPOSE          EXPIRES IN",
                "preview-1  -         -                -",
                "preview-2  worker-1  pull request 41  1h 30m",
            ]
        );
    }
}
