//! The stamp: what the administrator wrote into a database's comment to say whose it is.
//!
//! The comment is not the slot role's to change, and it does not travel with a dump of the content
//! or with a copy by `TEMPLATE`. What could travel (`pg_dump -C`, a physical copy) is told apart by
//! the pins inside: the server's system identifier and the database's object id. A nonce ties the
//! comment to one row inside the database, which does travel, so that a restore shows.

use serde::{Deserialize, Serialize};

use crate::diagnostic::{Code, Denial, shown};
use crate::slot::SlotId;

/// The schema of the administrator inside a stamped database.
pub const SCHEMA: &str = "slotguard";

/// The table with the stamp's row, qualified.
pub const TABLE: &str = "slotguard.identity";

/// How every stamp begins; a comment that begins so and is no stamp is refused.
const MARK: &str = "{\"slotguard\":";

const VERSION: u8 = 1;

/// What a stamp says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stamp {
    /// Whose the database is.
    pub kind: Kind,
    /// `system_identifier` of the server that was stamped.
    pub system_identifier: u64,
    /// Object id of the database that was stamped.
    pub oid: u32,
    /// A random text that the stamp's row repeats.
    pub nonce: String,
}

/// Whose a stamped database is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A slot's own.
    Preview {
        /// The slot.
        slot: SlotId,
        /// Object id of the migration ledger, if there was one.
        ledger: Option<u32>,
    },
    /// The template of the slots' databases.
    Seed {
        /// What it was built from.
        fingerprint: String,
    },
    /// Production's: nothing of this project may act on it.
    Production {
        /// The comment that stood there before.
        was: Option<String>,
    },
}

/// What a comment turned out to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reading {
    /// No comment, or one that has nothing to do with this project.
    None,
    /// It begins like a stamp and is none.
    Unreadable,
    /// A stamp.
    Stamp(Stamp),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    slotguard: u8,
    kind: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    slot: Option<String>,
    // A text, because JSON readers round numbers of this size.
    system_identifier: String,
    oid: u32,
    nonce: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ledger: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    fingerprint: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    was: Option<String>,
}

impl Stamp {
    /// Reads a database's comment.
    #[must_use]
    pub fn read(comment: Option<&str>) -> Reading {
        match comment {
            Some(comment) if comment.starts_with(MARK) => {
                parse(comment).map_or(Reading::Unreadable, Reading::Stamp)
            }
            _ => Reading::None,
        }
    }

    /// Writes the stamp as a comment.
    #[must_use]
    pub fn write(&self) -> String {
        let (kind, slot, ledger, fingerprint, was) = match &self.kind {
            Kind::Preview { slot, ledger } => {
                ("preview", Some(slot.to_string()), *ledger, None, None)
            }
            Kind::Seed { fingerprint } => ("seed", None, None, Some(fingerprint.clone()), None),
            Kind::Production { was } => ("production", None, None, None, was.clone()),
        };
        let text = Text {
            slotguard: VERSION,
            kind: kind.to_owned(),
            slot,
            system_identifier: self.system_identifier.to_string(),
            oid: self.oid,
            nonce: self.nonce.clone(),
            ledger,
            fingerprint,
            was,
        };
        // Texts and numbers only: there is nothing that could fail.
        serde_json::to_string(&text).unwrap_or_default()
    }

    /// Returns whether this is production's stamp.
    #[must_use]
    pub fn is_production(&self) -> bool {
        matches!(self.kind, Kind::Production { .. })
    }

    /// Judges whether the stamp was made for this slot's database on this server.
    ///
    /// # Errors
    /// Refuses production's stamp, another slot's, the seed's, and one that was copied here from
    /// another server or another database.
    pub fn judge(
        &self,
        slot: SlotId,
        system_identifier: Option<u64>,
        oid: u32,
    ) -> Result<(), Denial> {
        let name = slot.database_name();
        let mismatch = |found: String, expected: String| {
            let message = format!("the stamp of `{name}` was not made for this database");
            Err(Denial::new(Code::StampMismatch, message, found, expected))
        };
        match &self.kind {
            Kind::Production { .. } => Err(Denial::new(
                Code::StampedProduction,
                format!("the database that answers for {slot} is stamped as production"),
                "a production stamp",
                format!("a stamp of {slot}"),
            )),
            Kind::Seed { .. } => mismatch("the seed's stamp".to_owned(), format!("one of {slot}")),
            Kind::Preview { slot: other, .. } if *other != slot => {
                mismatch(format!("a stamp of {other}"), format!("one of {slot}"))
            }
            Kind::Preview { .. } if Some(self.system_identifier) != system_identifier => {
                let live = system_identifier.map_or("none".to_owned(), |live| live.to_string());
                mismatch(
                    format!("a stamp of the server {}", self.system_identifier),
                    format!("one of the server that answers, {live}"),
                )
            }
            Kind::Preview { .. } if self.oid != oid => mismatch(
                format!("a stamp of the database with oid {}", self.oid),
                format!("one of this database, oid {oid}"),
            ),
            Kind::Preview { .. } => Ok(()),
        }
    }
}

/// Refuses a comment that only looks like a stamp: somebody meant something by it.
pub(crate) fn refuse_unreadable(slot: SlotId, comment: &str) -> Denial {
    Denial::new(
        Code::StampMismatch,
        format!("the stamp of `{}` cannot be read", slot.database_name()),
        format!("`{}`", shown(comment)),
        "a stamp of this version",
    )
}

fn parse(comment: &str) -> Option<Stamp> {
    let text: Text = serde_json::from_str(comment).ok()?;
    if text.slotguard != VERSION || !is_nonce(&text.nonce) {
        return None;
    }
    let kind = match (text.kind.as_str(), text.slot, text.fingerprint) {
        ("preview", Some(slot), None) => {
            Kind::Preview { slot: slot.parse().ok()?, ledger: text.ledger }
        }
        ("seed", None, Some(fingerprint)) => Kind::Seed { fingerprint },
        ("production", None, None) => Kind::Production { was: text.was },
        _ => return None,
    };
    let system_identifier = text.system_identifier.parse().ok()?;
    Some(Stamp { kind, system_identifier, oid: text.oid, nonce: text.nonce })
}

fn is_nonce(text: &str) -> bool {
    text.len() >= 16 && text.bytes().all(|b| b.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp(kind: Kind) -> Stamp {
        Stamp { kind, system_identifier: 7, oid: 16_400, nonce: "0123456789abcdef".to_owned() }
    }

    fn preview(number: u8) -> Stamp {
        let slot = format!("preview-{number}").parse().unwrap();
        stamp(Kind::Preview { slot, ledger: Some(9) })
    }

    #[test]
    fn a_stamp_survives_being_written_and_read() {
        for each in [
            preview(2),
            stamp(Kind::Seed { fingerprint: "f".to_owned() }),
            stamp(Kind::Production { was: Some("an \"old\" comment".to_owned()) }),
        ] {
            assert_eq!(Stamp::read(Some(&each.write())), Reading::Stamp(each));
        }
    }

    #[test]
    fn other_comments_are_none_and_near_misses_are_unreadable() {
        assert_eq!(Stamp::read(None), Reading::None);
        assert_eq!(Stamp::read(Some("our main database")), Reading::None);
        let text = preview(1).write();
        for (from, to) in [
            ("\"slotguard\":1", "\"slotguard\":2"),
            ("preview-1", "preview1"),
            ("\"kind\":\"preview\"", "\"kind\":\"other\""),
            ("0123456789abcdef", "x"),
            ("\"oid\":16400", "\"oid\":\"16400\""),
            ("}", ",\"more\":1}"),
            ("}", ""),
        ] {
            let worse = text.replace(from, to);
            assert_ne!(worse, text);
            assert_eq!(Stamp::read(Some(&worse)), Reading::Unreadable, "{worse}");
        }
    }

    #[test]
    fn only_the_slots_own_stamp_on_its_own_server_and_database_passes() {
        let slot = "preview-1".parse().unwrap();
        let judge = |stamp: Stamp, server, oid| {
            stamp.judge(slot, server, oid).map_err(|denial| denial.code())
        };
        assert_eq!(judge(preview(1), Some(7), 16_400), Ok(()));
        assert_eq!(judge(preview(2), Some(7), 16_400), Err(Code::StampMismatch));
        assert_eq!(judge(preview(1), Some(8), 16_400), Err(Code::StampMismatch));
        assert_eq!(judge(preview(1), None, 16_400), Err(Code::StampMismatch));
        assert_eq!(judge(preview(1), Some(7), 16_401), Err(Code::StampMismatch));
        let production = stamp(Kind::Production { was: None });
        assert_eq!(judge(production, Some(7), 16_400), Err(Code::StampedProduction));
        let seed = stamp(Kind::Seed { fingerprint: String::new() });
        assert_eq!(judge(seed, Some(7), 16_400), Err(Code::StampMismatch));
    }
}
