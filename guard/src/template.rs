//! Texts of the configuration with one placeholder, `{slot}`, which is the slot's number.
//!
//! A template is rendered for every slot of a host when the configuration is read, so that one
//! which gives two slots the same value is found before any slot uses it.

use crate::slot::{SlotId, SlotSet};

/// A text with the placeholder `{slot}`; any other brace is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template(String);

const PLACEHOLDER: &str = "{slot}";

impl Template {
    /// Parses a template; `None` when it holds a brace that is not part of `{slot}`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let rest = text.replace(PLACEHOLDER, "");
        (!rest.contains(['{', '}'])).then(|| Self(text.to_owned()))
    }

    /// Returns the text for one slot.
    #[must_use]
    pub fn render(&self, slot: SlotId) -> String {
        self.0.replace(PLACEHOLDER, &slot.number().to_string())
    }

    /// Returns whether every slot of the set gets a value of its own.
    #[must_use]
    pub fn tells_apart(&self, slots: &SlotSet) -> bool {
        let mut rendered: Vec<String> = slots.iter().map(|slot| self.render(slot)).collect();
        let count = rendered.len();
        rendered.sort_unstable();
        rendered.dedup();
        rendered.len() == count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_placeholder_is_the_number() {
        let template = Template::parse("web-preview-{slot}").unwrap();
        assert_eq!(template.render("preview-2".parse().unwrap()), "web-preview-2");
    }

    #[test]
    fn other_braces_are_refused() {
        for bad in ["{n}", "{slot", "slot}", "{{slot}}", "{SLOT}"] {
            assert!(Template::parse(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn a_constant_gives_two_slots_the_same_value() {
        let slots = SlotSet::default();
        assert!(Template::parse("slot_{slot}").unwrap().tells_apart(&slots));
        assert!(!Template::parse("app").unwrap().tells_apart(&slots));
    }
}
