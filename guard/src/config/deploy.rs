//! How long a deploy of production may take, and how often its health is asked for.

use std::ops::RangeInclusive;
use std::time::Duration;

use serde::Deserialize;

use super::file::refuse_value;
use crate::diagnostic::Denial;

/// The bounds of a deploy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeployPolicy {
    /// How long the reload command may take.
    pub reload_timeout: Duration,
    /// How often the health check is run at most.
    pub health_attempts: u16,
    /// How long is waited between two health checks.
    pub health_interval: Duration,
    /// How long one health check may take.
    pub health_timeout: Duration,
    /// How long all health checks together may take.
    pub health_deadline: Duration,
}

impl Default for DeployPolicy {
    fn default() -> Self {
        Self {
            reload_timeout: Duration::from_secs(300),
            health_attempts: 30,
            health_interval: Duration::from_secs(2),
            health_timeout: Duration::from_secs(10),
            health_deadline: Duration::from_secs(120),
        }
    }
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(super) struct RawDeploy {
    reload_timeout_s: Option<u16>,
    health_attempts: Option<u16>,
    health_interval_s: Option<u16>,
    health_timeout_s: Option<u16>,
    health_deadline_s: Option<u16>,
}

pub(super) fn parse(raw: &RawDeploy) -> Result<DeployPolicy, Denial> {
    let default = DeployPolicy::default();
    let seconds = |key, value, range, default| {
        let checked = bounded(key, value, range, "seconds")?;
        Ok(checked.map_or(default, |value| Duration::from_secs(value.into())))
    };
    let reload_timeout =
        seconds("reload_timeout_s", raw.reload_timeout_s, 1..=3600, default.reload_timeout)?;
    let health_interval =
        seconds("health_interval_s", raw.health_interval_s, 0..=60, default.health_interval)?;
    let health_timeout =
        seconds("health_timeout_s", raw.health_timeout_s, 1..=600, default.health_timeout)?;
    let health_deadline =
        seconds("health_deadline_s", raw.health_deadline_s, 1..=3600, default.health_deadline)?;
    let attempts = bounded("health_attempts", raw.health_attempts, 1..=1000, "attempts")?;
    Ok(DeployPolicy {
        reload_timeout,
        health_attempts: attempts.unwrap_or(default.health_attempts),
        health_interval,
        health_timeout,
        health_deadline,
    })
}

fn bounded(
    key: &str,
    value: Option<u16>,
    range: RangeInclusive<u16>,
    unit: &str,
) -> Result<Option<u16>, Denial> {
    match value {
        Some(value) if !range.contains(&value) => {
            let expected = format!("{} to {} {unit}", range.start(), range.end());
            Err(refuse_value(&format!("[deploy] {key}"), &value.to_string(), &expected))
        }
        value => Ok(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn read(lines: &str) -> Result<DeployPolicy, Denial> {
        Config::parse(&format!("version = 1\n[deploy]\n{lines}")).map(|config| config.deploy)
    }

    #[test]
    fn every_bound_can_be_configured_within_bounds() {
        assert_eq!(read("").unwrap(), DeployPolicy::default());
        let policy = read(
            "reload_timeout_s = 5\nhealth_attempts = 2\nhealth_interval_s = 0\n\
             health_timeout_s = 3\nhealth_deadline_s = 4\n",
        )
        .unwrap();
        assert_eq!(policy.reload_timeout, Duration::from_secs(5));
        assert_eq!((policy.health_attempts, policy.health_interval), (2, Duration::ZERO));
        assert_eq!(policy.health_timeout, Duration::from_secs(3));
        assert_eq!(policy.health_deadline, Duration::from_secs(4));
        for worse in [
            "reload_timeout_s = 0",
            "reload_timeout_s = 3601",
            "health_attempts = 0",
            "health_attempts = 1001",
            "health_interval_s = 61",
            "health_timeout_s = 601",
            "health_deadline_s = 0",
            "attempts = 1",
        ] {
            let denial = read(worse).expect_err(worse);
            assert_eq!(denial.code().class(), crate::diagnostic::Class::Configuration, "{worse}");
        }
    }
}
