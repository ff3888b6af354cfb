//! What is wrong with a configuration of a proxy, and where.

use serde::Serialize;

use crate::diagnostic::{Code, shown};
use crate::slot::SlotId;

/// One thing in a configuration that does not belong there, or that is missing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The stable code.
    pub code: Code,
    /// The file, as the configuration names it.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// What is wrong.
    pub message: String,
    /// What was found, as a diagnostic may repeat it.
    pub found: String,
    /// What was expected instead.
    pub expected: String,
    /// What to do about it.
    pub help: &'static str,
}

/// A place in a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) file: String,
    pub(super) line: usize,
}

impl Finding {
    pub(super) fn new(code: Code, at: &Place, message: &str, found: &str, expected: &str) -> Self {
        Self {
            code,
            file: at.file.clone(),
            line: at.line,
            message: message.to_owned(),
            found: shown(found),
            expected: expected.to_owned(),
            help: code.entry().way_out,
        }
    }
}

/// Returns the slot whose port or alias a text names.
pub(super) fn named_slot(text: &str) -> Option<SlotId> {
    let numbers = text.split(|c: char| !c.is_ascii_digit());
    let by_port = numbers.filter_map(|number| number.parse().ok()).find_map(SlotId::owning_port);
    by_port.or_else(|| SlotId::all().find(|slot| names_slot(text, *slot)))
}

/// Returns whether a slot's id or alias stands in a text as a word of its own.
fn names_slot(text: &str, slot: SlotId) -> bool {
    let text = text.to_ascii_lowercase();
    let is_part = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    [slot.to_string(), slot.dns_alias()].iter().any(|name| {
        text.match_indices(name.as_str()).any(|(at, found)| {
            let (before, after) = (&text[..at], &text[at + found.len()..]);
            !is_part(before.chars().next_back()) && !is_part(after.chars().next())
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_is_seen_in_ports_and_names() {
        let number = |text| named_slot(text).map(SlotId::number);
        for (text, slot) in [
            ("http://127.0.0.1:8102", Some(2)),
            ("[::1]:3103", Some(3)),
            ("Preview2.example.com", Some(2)),
            ("http://preview-3/x", Some(3)),
            ("/srv/web-preview-2/current", Some(2)),
            ("preview-10", None),
            ("127.0.0.1:80", None),
            ("18102", None),
            ("mypreview2x", None),
        ] {
            assert_eq!(number(text), slot, "{text}");
        }
    }
}
