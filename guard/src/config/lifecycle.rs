//! How a slot's backend is kept: by which manager, under which unit name, and what ready means.

use std::time::Duration;

use serde::Deserialize;

use super::file::refuse_value;
use crate::diagnostic::Denial;
use crate::slot::{SlotId, SlotSet};
use crate::template::Template;

/// What keeps a slot's backend running.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Manager {
    /// A process of this host, kept by a keeper of our own.
    #[default]
    Process,
    /// A unit of the system's service manager.
    Systemd,
}

/// How backends are started, judged and stopped.
#[derive(Debug, Clone)]
pub struct LifecyclePolicy {
    /// What keeps the backend running.
    pub manager: Manager,
    backend_unit: Template,
    /// The path that is asked for to see whether the backend is ready.
    pub health_path: String,
    /// How long a started backend may take until it is ready.
    pub ready_timeout: Duration,
    /// How long a backend may take to end after SIGTERM.
    pub stop_timeout: Duration,
}

impl LifecyclePolicy {
    /// Returns the name of the slot's unit.
    #[must_use]
    pub fn backend_unit(&self, slot: SlotId) -> String {
        self.backend_unit.render(slot)
    }
}

impl Default for LifecyclePolicy {
    fn default() -> Self {
        #[expect(clippy::expect_used, reason = "a constant that a test parses")]
        let backend_unit = Template::parse(DEFAULT_UNIT).expect("the default is a template");
        Self {
            manager: Manager::default(),
            backend_unit,
            health_path: "/".to_owned(),
            ready_timeout: Duration::from_secs(30),
            stop_timeout: Duration::from_secs(10),
        }
    }
}

const DEFAULT_UNIT: &str = "slot-backend@preview-{slot}.service";

/// Longest path or unit name that is accepted, in bytes.
const LONGEST_NAME: usize = 200;

/// Longest time that may be waited for a backend, in seconds.
const LONGEST_WAIT_S: u16 = 600;

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(super) struct RawLifecycle {
    manager: Option<Manager>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(super) struct RawSystemd {
    backend_unit: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(super) struct RawBackend {
    health_path: Option<String>,
    ready_timeout_s: Option<u16>,
    stop_timeout_s: Option<u16>,
}

pub(super) fn parse(
    lifecycle: &RawLifecycle,
    systemd: &RawSystemd,
    backend: RawBackend,
    slots: &SlotSet,
) -> Result<LifecyclePolicy, Denial> {
    let default = LifecyclePolicy::default();
    let unit = systemd.backend_unit.as_deref().map(|text| parse_unit(text, slots)).transpose()?;
    let health_path = backend.health_path.map(parse_health_path).transpose()?;
    let seconds = |key: &str, value: Option<u16>, default: Duration| match value {
        None => Ok(default),
        Some(value @ 1..=LONGEST_WAIT_S) => Ok(Duration::from_secs(value.into())),
        Some(value) => Err(refuse_value(key, &value.to_string(), "1 to 600 seconds")),
    };
    Ok(LifecyclePolicy {
        manager: lifecycle.manager.unwrap_or_default(),
        backend_unit: unit.unwrap_or(default.backend_unit),
        health_path: health_path.unwrap_or(default.health_path),
        ready_timeout: seconds(
            "[backend] ready_timeout_s",
            backend.ready_timeout_s,
            default.ready_timeout,
        )?,
        stop_timeout: seconds(
            "[backend] stop_timeout_s",
            backend.stop_timeout_s,
            default.stop_timeout,
        )?,
    })
}

/// A unit's name follows from the slot alone, and can be neither a path nor an option.
fn parse_unit(text: &str, slots: &SlotSet) -> Result<Template, Denial> {
    let expected = "a service's name with {slot}, such as \"slot-backend@preview-{slot}.service\"";
    let refuse = || refuse_value("[systemd] backend_unit", text, expected);
    let template = Template::parse(text).ok_or_else(refuse)?;
    let plain = |b: u8| b.is_ascii_alphanumeric() || b":_.@-".contains(&b);
    let is_name = |name: &str| {
        name.len() <= LONGEST_NAME
            && name.bytes().all(plain)
            && name.starts_with(|first: char| first.is_ascii_alphanumeric())
            && name.strip_suffix(".service").is_some_and(|front| !front.is_empty())
    };
    let good = template.tells_apart(&SlotSet::new(SlotId::all().collect())?)
        && slots.iter().all(|slot| is_name(&template.render(slot)));
    if good { Ok(template) } else { Err(refuse()) }
}

fn parse_health_path(text: String) -> Result<String, Denial> {
    let plain = |b: u8| b.is_ascii_graphic() && !b"#\\\"<>`{}".contains(&b);
    if text.len() <= LONGEST_NAME && text.starts_with('/') && text.bytes().all(plain) {
        return Ok(text);
    }
    let expected = "a path that begins with `/`, without blanks";
    Err(refuse_value("[backend] health_path", &text, expected))
}

#[cfg(test)]
mod tests {
    use crate::config::Config;

    use super::*;

    fn read(tables: &str) -> Result<LifecyclePolicy, Denial> {
        Config::parse(&format!("version = 1\n{tables}")).map(|config| config.lifecycle)
    }

    #[test]
    fn the_default_is_a_process_and_the_contract_s_instance() {
        let policy = read("").unwrap();
        assert_eq!(policy.manager, Manager::Process);
        let unit = policy.backend_unit("preview-2".parse().unwrap());
        assert_eq!(unit, "slot-backend@preview-2.service");
        assert_eq!(policy.health_path, "/");
    }

    #[test]
    fn every_value_can_be_configured() {
        let policy = read(
            "[lifecycle]\nmanager = \"systemd\"\n[systemd]\nbackend_unit = \"api-{slot}.service\"\n\
             [backend]\nhealth_path = \"/api/health?deep=1\"\nready_timeout_s = 5\nstop_timeout_s = 1\n",
        )
        .unwrap();
        assert_eq!(policy.manager, Manager::Systemd);
        assert_eq!(policy.backend_unit("preview-1".parse().unwrap()), "api-1.service");
        assert_eq!(policy.health_path, "/api/health?deep=1");
        assert_eq!(policy.ready_timeout, Duration::from_secs(5));
        assert_eq!(policy.stop_timeout, Duration::from_secs(1));
    }

    #[test]
    fn a_value_that_is_not_the_slot_s_own_or_not_plain_is_refused() {
        for tables in [
            "[lifecycle]\nmanager = \"docker\"\n",
            "[systemd]\nbackend_unit = \"slot-backend.service\"\n",
            "[systemd]\nbackend_unit = \"../{slot}.service\"\n",
            "[systemd]\nbackend_unit = \"--force{slot}.service\"\n",
            "[systemd]\nbackend_unit = \"backend-{slot}.socket\"\n",
            "[systemd]\nbackend_unit = \"backend-{slot}*.service\"\n",
            "[systemd]\nbackend_unit = \"backend-{n}.service\"\n",
            "[backend]\nhealth_path = \"health\"\n",
            "[backend]\nhealth_path = \"/ HTTP/1.1\\r\\nX: y\"\n",
            "[backend]\nready_timeout_s = 0\n",
            "[backend]\nstop_timeout_s = 601\n",
            "[backend]\nport = 8101\n",
        ] {
            let denial = read(tables).expect_err(tables);
            assert_eq!(denial.code().class(), crate::diagnostic::Class::Configuration, "{tables}");
        }
    }
}
