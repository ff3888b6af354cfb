//! The worker's own variables of the contract (EN-2, EN-3, EN-12, EN-13), judged where they are set.
//!
//! Each template is rendered for every slot of the host. What it renders to must be that slot's
//! own, because a worker that reads the same variable acts on it without asking us.

use crate::diagnostic::{Code, Denial, shown};
use crate::environment::Environment;
use crate::path::AbsolutePath;
use crate::slot::{SlotId, SlotSet};
use crate::template::Template;

/// A variable, whether what it renders to may belong to a slot, and what was expected.
pub(super) struct Rule {
    pub(super) name: &'static str,
    belongs: fn(SlotId, &str) -> bool,
    pub(super) expected: &'static str,
}

/// Where the frontend of each slot is published.
pub(super) const WEB_ROOT: Rule = Rule {
    name: "WORKER_PREVIEW_WEB_ROOT_TEMPLATE",
    belongs: |_, text| AbsolutePath::parse(text).is_ok(),
    expected: "an absolute path with {slot}, another directory for each slot",
};

/// The public name of each slot's front.
pub(super) const PREVIEW_HOST: Rule = Rule {
    name: "WORKER_SLOT_PREVIEW_HOST_TEMPLATE",
    belongs: is_host_of,
    expected: "a host name that begins with preview{slot} or preview-{slot}",
};

/// Where a client reaches each slot's backend when no proxy is active.
const API_DIRECT: Rule = Rule {
    name: "WORKER_SLOT_API_DIRECT_TEMPLATE",
    belongs: |slot, text| text == format!("http://127.0.0.1:{}", slot.backend_port()),
    expected: "http://127.0.0.1:810{slot}",
};

impl Rule {
    /// Reads a template that gives every slot its own.
    pub(super) fn read(&self, text: &str, slots: &SlotSet) -> Option<Template> {
        let template = Template::parse(text).filter(|template| template.tells_apart(slots))?;
        let own = slots.iter().all(|slot| (self.belongs)(slot, &template.render(slot)));
        own.then_some(template)
    }

    /// Reads the variable, if it is set.
    pub(super) fn variable(
        &self,
        environment: &Environment,
        slots: &SlotSet,
    ) -> Result<Option<Template>, Denial> {
        let Some(value) = environment.value(self.name) else { return Ok(None) };
        let text = String::from_utf8_lossy(value);
        let template = self.read(&text, slots);
        template.map(Some).ok_or_else(|| refuse(self.name, &text, self.expected))
    }
}

/// Judges the variables that are set.
pub(super) fn judge(environment: &Environment, slots: &SlotSet) -> Result<(), Denial> {
    for rule in [WEB_ROOT, API_DIRECT, PREVIEW_HOST] {
        rule.variable(environment, slots)?;
    }
    let name = "WORKER_PREVIEW_RUNTIME_SCRIPTS_DIR";
    match environment.value(name).map(String::from_utf8_lossy) {
        Some(text) if AbsolutePath::parse(&text).is_err() => {
            Err(refuse(name, &text, "an absolute path"))
        }
        _ => Ok(()),
    }
}

fn is_host_of(slot: SlotId, text: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let first = text.split('.').next().unwrap_or_default();
    (first == slot.dns_alias() || first == slot.to_string()) && text.split('.').all(label)
}

fn refuse(name: &str, found: &str, expected: &str) -> Denial {
    Denial::new(
        Code::WorkerVariable,
        format!("`{name}` does not give every slot its own"),
        format!("{name}={}", shown(found)),
        expected,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(name: &str, value: &str) -> bool {
        judge(&[(name, value)].into(), &SlotSet::default()).is_err()
    }

    #[test]
    fn en_2_en_3_en_12_en_13_the_contracts_own_values_pass() {
        let environment = [
            ("WORKER_PREVIEW_WEB_ROOT_TEMPLATE", "/srv/oroboros/current/infra/web-preview-{slot}"),
            ("WORKER_PREVIEW_RUNTIME_SCRIPTS_DIR", "/srv/oroboros/current/scripts"),
            ("WORKER_SLOT_API_DIRECT_TEMPLATE", "http://127.0.0.1:810{slot}"),
            ("WORKER_SLOT_PREVIEW_HOST_TEMPLATE", "preview{slot}.example.com"),
        ];
        assert_eq!(judge(&environment.into(), &SlotSet::default()), Ok(()));
        assert_eq!(judge(&Environment::default(), &SlotSet::default()), Ok(()));
    }

    #[test]
    fn rt_7_a_value_that_is_not_each_slots_own_is_refused() {
        for (name, value) in [
            ("WORKER_PREVIEW_WEB_ROOT_TEMPLATE", "/srv/web"),
            ("WORKER_PREVIEW_WEB_ROOT_TEMPLATE", "web-{slot}"),
            ("WORKER_PREVIEW_WEB_ROOT_TEMPLATE", "/srv/../web-{slot}"),
            ("WORKER_PREVIEW_WEB_ROOT_TEMPLATE", "/srv/web-{n}"),
            ("WORKER_PREVIEW_RUNTIME_SCRIPTS_DIR", "scripts"),
            ("WORKER_SLOT_API_DIRECT_TEMPLATE", "http://127.0.0.1:8101"),
            ("WORKER_SLOT_API_DIRECT_TEMPLATE", "http://localhost:810{slot}"),
            ("WORKER_SLOT_API_DIRECT_TEMPLATE", "http://127.0.0.1:310{slot}"),
            ("WORKER_SLOT_API_DIRECT_TEMPLATE", "http://127.0.0.1:810{slot}/x"),
            ("WORKER_SLOT_PREVIEW_HOST_TEMPLATE", "www.example.com"),
            ("WORKER_SLOT_PREVIEW_HOST_TEMPLATE", "app.preview{slot}.example.com"),
            ("WORKER_SLOT_PREVIEW_HOST_TEMPLATE", "preview{slot}.example.com/x"),
        ] {
            assert!(refused(name, value), "{name}={value}");
        }
    }
}
