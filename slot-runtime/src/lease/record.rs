//! The text that the embedded store keeps for a slot.

use guard::diagnostic::shown;
use guard::slot::SlotId;
use serde::{Deserialize, Serialize};

use super::label::Label;
use super::moment::Moment;
use super::standing::{Generation, Lease, Standing};

/// The schema that every record names.
const SCHEMA: &str = "slotguard.lease-record/1";

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Record {
    schema: String,
    slot: String,
    last_generation: u64,
    lease: Option<Stored>,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    generation: Generation,
    owner: String,
    purpose: Option<String>,
    claimed_at: Moment,
    expires_at: Moment,
    warned: bool,
}

/// Writes down how a slot stands.
pub(super) fn write(slot: SlotId, standing: &Standing) -> Result<Vec<u8>, serde_json::Error> {
    let stored = |lease: &Lease| Stored {
        generation: lease.generation,
        owner: lease.owner.to_string(),
        purpose: lease.purpose.as_ref().map(Label::to_string),
        claimed_at: lease.claimed_at,
        expires_at: lease.expires_at,
        warned: lease.warned,
    };
    serde_json::to_vec(&Record {
        schema: SCHEMA.to_owned(),
        slot: slot.to_string(),
        last_generation: standing.last(),
        lease: standing.lease().map(stored),
    })
}

/// Reads how a slot stands; says what is wrong with a text that was not written by [`write`].
pub(super) fn read(slot: SlotId, text: &str) -> Result<Standing, String> {
    // The parser's own words are not repeated: they quote what they could not read.
    let record: Record = serde_json::from_str(text)
        .map_err(|error| format!("line {} cannot be read", error.line()))?;
    if record.schema != SCHEMA {
        return Err(format!("schema `{}`", shown(&record.schema)));
    }
    if record.slot != slot.to_string() {
        return Err(format!("it speaks of slot `{}`", shown(&record.slot)));
    }
    let lease = record.lease.map(restore).transpose()?;
    Standing::from_parts(record.last_generation, lease)
        .ok_or_else(|| "the lease and the last generation contradict each other".to_owned())
}

fn restore(stored: Stored) -> Result<Lease, String> {
    let label = |what: &str, text: &str| {
        Label::parse(what, text).map_err(|denial| denial.message().to_owned())
    };
    Ok(Lease {
        generation: stored.generation,
        owner: label("owner", &stored.owner)?,
        purpose: stored.purpose.map(|text| label("purpose", &text)).transpose()?,
        claimed_at: stored.claimed_at,
        expires_at: stored.expires_at,
        warned: stored.warned,
    })
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    fn slot() -> SlotId {
        "preview-1".parse().unwrap()
    }

    fn held() -> Standing {
        let now = Moment::from(UNIX_EPOCH + std::time::Duration::from_secs(1000));
        Standing::holding(Lease {
            generation: "5".parse().unwrap(),
            owner: Label::parse("owner", "worker-1").unwrap(),
            purpose: Label::parse("purpose", "feature/login").ok(),
            claimed_at: now,
            expires_at: now.after(std::time::Duration::from_secs(60)),
            warned: true,
        })
    }

    #[test]
    fn what_is_written_is_read_again() {
        for standing in [Standing::default(), held(), held().freed()] {
            let text = String::from_utf8(write(slot(), &standing).unwrap()).unwrap();
            assert_eq!(read(slot(), &text).unwrap(), standing, "{text}");
        }
    }

    #[test]
    fn whatever_else_is_no_standing() {
        let good = String::from_utf8(write(slot(), &held()).unwrap()).unwrap();
        for (from, to) in [
            ("lease-record/1", "lease-record/2"),
            ("preview-1", "preview-2"),
            ("\"last_generation\":5", "\"last_generation\":4"),
            ("\"generation\":5,", "\"generation\":0,"),
            ("\"worker-1\"", "\"\""),
            ("\"warned\":true", "\"warned\":true,\"more\":1"),
            ("\"warned\":true", "\"warned\":1"),
            ("}}", "}"),
        ] {
            let worse = good.replace(from, to);
            assert_ne!(worse, good, "{from}");
            assert!(read(slot(), &worse).is_err(), "{worse}");
        }
        assert!(read(slot(), "").is_err());
        assert!(read(slot(), "{}").is_err());
    }
}
