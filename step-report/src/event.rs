//! Events: one JSON object for each thing that happened.

use std::time::SystemTime;

use guard::slot::SlotId;
use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// The schema that every event names.
pub const SCHEMA: &str = "slotguard.event/1";

/// One thing that happened, with details of its own kind.
#[derive(Debug, Serialize)]
pub struct Event<'a, D: Serialize> {
    schema: &'static str,
    time: String,
    program: &'a str,
    slot: Option<SlotId>,
    event: &'a str,
    #[serde(flatten)]
    details: D,
}

impl<'a, D: Serialize> Event<'a, D> {
    /// Builds an event that happens now, to a slot or to none.
    #[must_use]
    pub fn now(
        program: &'a str,
        slot: impl Into<Option<SlotId>>,
        event: &'a str,
        details: D,
    ) -> Self {
        Self { schema: SCHEMA, time: timestamp(), program, slot: slot.into(), event, details }
    }
}

fn timestamp() -> String {
    rfc3339(SystemTime::now())
}

/// Writes a moment as events do: in UTC, to the millisecond.
#[must_use]
pub fn rfc3339(moment: SystemTime) -> String {
    let now = OffsetDateTime::from(moment);
    let millisecond = now.millisecond();
    let now = now.replace_nanosecond(u32::from(millisecond) * 1_000_000).unwrap_or(now);
    now.format(&Rfc3339).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_flat_object() {
        let details = serde_json::json!({"version": 1});
        let event = Event::now(
            "migrate-runner",
            "preview-1".parse::<SlotId>().unwrap(),
            "applied",
            details,
        );
        let value = serde_json::to_value(event).unwrap();
        assert_eq!(value["version"], 1);
        assert_eq!(value["slot"], "preview-1");
        assert!(value["time"].as_str().unwrap().ends_with('Z'));
    }
}
