//! Slots: the closed set `preview-1` to `preview-9` and what follows from each.
//!
//! Ports, the database name and the alias are functions of [`SlotId`], so that they cannot
//! disagree with one another (contract clauses SM-1 to SM-4). Nothing here reads configuration:
//! which of the nine slots exist on a host is a [`SlotSet`].

use std::fmt;
use std::str::FromStr;

use crate::diagnostic::{Code, Denial};

/// One preview slot, `preview-1` to `preview-9`.
///
/// The only way to get one is to parse the canonical spelling.
///
/// ```
/// let slot: guard::slot::SlotId = "preview-1".parse().unwrap();
/// assert_eq!(slot.database_name(), "app_preview_1");
/// ```
///
/// ```compile_fail
/// let slot: guard::slot::SlotId = guard::slot::SlotId(1);
/// assert_eq!(slot.database_name(), "app_preview_1");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SlotId(u8);

impl SlotId {
    /// Returns all nine slots that can exist, in order.
    pub fn all() -> impl Iterator<Item = Self> {
        (1..=9).map(Self)
    }

    /// Returns the numeric suffix, `SLOT_NUM` of the contract.
    #[must_use]
    pub fn number(self) -> u8 {
        self.0
    }

    /// Returns the port of the slot's frontend, 3101 for `preview-1`.
    #[must_use]
    pub fn frontend_port(self) -> u16 {
        3100 + u16::from(self.0)
    }

    /// Returns the port of the slot's backend API, 8101 for `preview-1`.
    #[must_use]
    pub fn backend_port(self) -> u16 {
        8100 + u16::from(self.0)
    }

    /// Returns the port of the slot's own Postgres sidecar, 5101 for `preview-1`.
    #[must_use]
    pub fn sidecar_port(self) -> u16 {
        5100 + u16::from(self.0)
    }

    /// Returns the name of the slot's database, `app_preview_1` for `preview-1`.
    #[must_use]
    pub fn database_name(self) -> String {
        format!("app_preview_{}", self.0)
    }

    /// Returns the compatibility alias, `preview1`, for DNS and service names only.
    #[must_use]
    pub fn dns_alias(self) -> String {
        format!("preview{}", self.0)
    }

    /// Returns the slot whose database carries this exact name.
    #[must_use]
    pub fn owning_database(name: &str) -> Option<Self> {
        Self::all().find(|slot| slot.database_name() == name)
    }

    /// Returns the slot that owns this port as frontend, backend or sidecar.
    #[must_use]
    pub fn owning_port(port: u16) -> Option<Self> {
        Self::all().find(|slot| {
            [slot.frontend_port(), slot.backend_port(), slot.sidecar_port()].contains(&port)
        })
    }
}

impl fmt::Display for SlotId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "preview-{}", self.0)
    }
}

impl serde::Serialize for SlotId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl FromStr for SlotId {
    type Err = Denial;

    /// Accepts the canonical spelling and nothing else.
    fn from_str(text: &str) -> Result<Self, Denial> {
        match text.as_bytes() {
            [b'p', b'r', b'e', b'v', b'i', b'e', b'w', b'-', digit @ b'1'..=b'9'] => {
                Ok(Self(digit - b'0'))
            }
            _ => Err(refuse_spelling(text)),
        }
    }
}

/// Explains why a text is not a slot id, suggesting the canonical spelling where one is meant.
fn refuse_spelling(text: &str) -> Denial {
    let shown = crate::diagnostic::shown(text);
    let Some(meant) = meant_slot(text) else {
        return Denial::new(
            Code::UnknownSlot,
            format!("`{shown}` is not a preview slot"),
            format!("slot `{shown}`"),
            "a slot `preview-<n>` with n from 1 to 9",
        );
    };
    let code = if text == meant.dns_alias() { Code::AliasAsIdentity } else { Code::UnknownSlot };
    Denial::new(
        code,
        format!("`{shown}` is not how a slot is identified"),
        format!("slot `{shown}`"),
        format!("slot `{meant}`"),
    )
    .help(format!("Write `{meant}`."))
}

/// Returns the slot a person most likely meant by a near miss such as `Preview_1` or `preview-01`.
fn meant_slot(text: &str) -> Option<SlotId> {
    let lower = text.trim().to_ascii_lowercase();
    let rest = lower.strip_prefix("preview").unwrap_or(&lower);
    let digits = rest.trim_start_matches(['-', '_', ' ', '.']).trim_start_matches('0');
    match digits.as_bytes() {
        [digit @ b'1'..=b'9'] => Some(SlotId(digit - b'0')),
        _ => None,
    }
}

/// The slots that exist on a host, in ascending order and at least one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlotSet(Vec<SlotId>);

impl SlotSet {
    /// Builds a set from slots in any order.
    ///
    /// # Errors
    /// Refuses an empty set and a slot named twice.
    pub fn new(mut slots: Vec<SlotId>) -> Result<Self, Denial> {
        let given = join(&slots);
        slots.sort_unstable();
        let count = slots.len();
        slots.dedup();
        if slots.is_empty() || slots.len() != count {
            return Err(Denial::new(
                Code::SlotList,
                "the list of slots is empty or names a slot twice",
                format!("slots `{given}`"),
                "each slot once, at least one",
            ));
        }
        Ok(Self(slots))
    }

    /// Parses the contract's `SLOT_IDS_CSV`: canonical ids, separated by single commas.
    ///
    /// # Errors
    /// Refuses anything that is not a canonical id, including blanks around one.
    pub fn parse_csv(text: &str) -> Result<Self, Denial> {
        let slots = text.split(',').map(str::parse).collect::<Result<Vec<SlotId>, Denial>>();
        let slots = slots.map_err(|cause| {
            Denial::new(
                Code::SlotList,
                "`SLOT_IDS_CSV` holds something that is not a slot",
                cause.found().to_owned(),
                "canonical slot ids separated by commas, such as `preview-1,preview-2`",
            )
        })?;
        Self::new(slots)
    }

    /// Returns the slots in ascending order.
    pub fn iter(&self) -> impl Iterator<Item = SlotId> {
        self.0.iter().copied()
    }

    /// Returns the lowest slot; a set is never empty.
    #[must_use]
    pub fn first(&self) -> SlotId {
        self.0[0]
    }

    /// Returns the slot if it is configured here.
    ///
    /// # Errors
    /// Refuses a slot that can exist but does not on this host.
    pub fn require(&self, slot: SlotId) -> Result<SlotId, Denial> {
        if self.0.contains(&slot) {
            return Ok(slot);
        }
        Err(Denial::new(
            Code::SlotNotConfigured,
            format!("{slot} does not exist on this host"),
            format!("slot `{slot}`"),
            format!("one of `{self}`"),
        ))
    }
}

impl Default for SlotSet {
    /// The contract's three slots.
    fn default() -> Self {
        Self(vec![SlotId(1), SlotId(2), SlotId(3)])
    }
}

impl fmt::Display for SlotSet {
    /// Writes the set as `SLOT_IDS_CSV`.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&join(&self.0))
    }
}

fn join(slots: &[SlotId]) -> String {
    slots.iter().map(SlotId::to_string).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slot(text: &str) -> SlotId {
        text.parse().unwrap()
    }

    #[test]
    fn sm_1_facts_follow_from_the_number() {
        let facts = |text| {
            let s = slot(text);
            (s.frontend_port(), s.backend_port(), s.database_name(), s.dns_alias())
        };
        assert_eq!(facts("preview-1"), (3101, 8101, "app_preview_1".into(), "preview1".into()));
        assert_eq!(facts("preview-2"), (3102, 8102, "app_preview_2".into(), "preview2".into()));
        assert_eq!(facts("preview-3"), (3103, 8103, "app_preview_3".into(), "preview3".into()));
    }

    #[test]
    fn every_slot_survives_being_printed_and_parsed() {
        for each in SlotId::all() {
            assert_eq!(slot(&each.to_string()), each);
            assert_eq!(SlotId::owning_database(&each.database_name()), Some(each));
        }
        assert_eq!(SlotId::owning_database("app_preview_10"), None);
        assert_eq!(SlotId::owning_database("app_preview_1x"), None);
    }

    #[test]
    fn other_spellings_are_refused_and_the_canonical_one_is_suggested() {
        for near in ["Preview-1", "preview_1", "preview-01", " preview-1", "preview-1\n", "1"] {
            let denial = near.parse::<SlotId>().unwrap_err();
            assert_eq!(denial.code(), Code::UnknownSlot, "{near:?}");
            assert_eq!(denial.next_step(), "Write `preview-1`.", "{near:?}");
        }
        for far in ["", "preview-", "preview-0", "preview-10", "preview-1/../preview-2", "main"] {
            let denial = far.parse::<SlotId>().unwrap_err();
            assert_eq!(denial.code(), Code::UnknownSlot, "{far:?}");
            assert!(denial.expected().contains("preview-<n>"), "{far:?}");
        }
    }

    #[test]
    fn an_alias_is_refused_as_identity_by_name() {
        let denial = "preview1".parse::<SlotId>().unwrap_err();
        assert_eq!(denial.code(), Code::AliasAsIdentity);
    }

    #[test]
    fn slot_ids_csv_is_read_strictly() {
        let set = SlotSet::parse_csv("preview-3,preview-1").unwrap();
        assert_eq!(set.to_string(), "preview-1,preview-3");
        for bad in ["", "preview-1,", "preview-1, preview-2", "preview-1,preview-1", "preview1"] {
            assert_eq!(SlotSet::parse_csv(bad).unwrap_err().code(), Code::SlotList, "{bad:?}");
        }
    }

    #[test]
    fn a_slot_outside_the_set_is_refused() {
        let set = SlotSet::default();
        assert!(set.require(slot("preview-3")).is_ok());
        let denial = set.require(slot("preview-4")).unwrap_err();
        assert_eq!(denial.code(), Code::SlotNotConfigured);
    }

    #[test]
    fn ports_belong_to_their_slot() {
        assert_eq!(SlotId::owning_port(8102), Some(slot("preview-2")));
        assert_eq!(SlotId::owning_port(5102), Some(slot("preview-2")));
        assert_eq!(SlotId::owning_port(5432), None);
    }
}
