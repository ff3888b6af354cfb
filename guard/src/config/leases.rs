//! `[leases]`: for how long a slot can be claimed.

use std::time::Duration;

use serde::Deserialize;

use super::file::refuse_value;
use crate::diagnostic::{Code, Denial, shown};

/// Longest time that can be written, ten years of days.
const LONGEST: Duration = Duration::from_secs(3650 * 24 * 3600);

/// The limits of every lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeasePolicy {
    /// Longest time from a claim or a renewal to the end of the lease.
    pub max: Duration,
    /// That time where none is asked for.
    pub default: Duration,
    /// How long before its end a lease is warned of.
    pub warn_before: Duration,
}

impl Default for LeasePolicy {
    fn default() -> Self {
        let minutes = |minutes: u64| Duration::from_secs(minutes * 60);
        Self { max: minutes(24 * 60), default: minutes(2 * 60), warn_before: minutes(15) }
    }
}

impl LeasePolicy {
    /// Returns for how long a slot is claimed when this is asked for.
    ///
    /// # Errors
    /// Refuses a text that is no time, and one longer than the maximum.
    pub fn term(&self, asked: Option<&str>) -> Result<Duration, Denial> {
        let Some(text) = asked else { return Ok(self.default) };
        let expected = format!("a time up to {}, such as `90m` or `2h`", show_time(self.max));
        let time =
            parse_time(text).filter(|time| (1..=self.max.as_secs()).contains(&time.as_secs()));
        time.ok_or_else(|| {
            let message = "a lease cannot last this long";
            Denial::new(Code::LeaseTerm, message, format!("`{}`", shown(text)), expected)
        })
    }
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(super) struct RawLeases {
    max: Option<String>,
    default: Option<String>,
    warn_before: Option<String>,
}

pub(super) fn parse(raw: &RawLeases) -> Result<LeasePolicy, Denial> {
    let time = |key: &str, text: &Option<String>, default: Duration| match text {
        None => Ok(default),
        Some(text) => parse_time(text).filter(|time| !time.is_zero()).ok_or_else(|| {
            refuse_value(&format!("[leases] {key}"), text, "a time such as \"90m\" or \"2h\"")
        }),
    };
    let usual = LeasePolicy::default();
    let max = time("max", &raw.max, usual.max)?;
    let policy = LeasePolicy {
        max,
        // What is not written follows a shorter maximum.
        default: time("default", &raw.default, usual.default.min(max))?,
        warn_before: time("warn_before", &raw.warn_before, usual.warn_before.min(max / 2))?,
    };
    if policy.default <= max && policy.warn_before < max {
        return Ok(policy);
    }
    let found = format!("max {}", show_time(max));
    Err(refuse_value("[leases]", &found, "`default` up to `max`, `warn_before` below it"))
}

/// Reads a whole number of seconds, minutes, hours or days: `45s`, `90m`, `2h`, `3d`.
#[must_use]
pub fn parse_time(text: &str) -> Option<Duration> {
    let unit = match text.as_bytes().last()? {
        b's' => 1,
        b'm' => 60,
        b'h' => 3600,
        b'd' => 24 * 3600,
        _ => return None,
    };
    let digits = &text[..text.len() - 1];
    let plain = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    let seconds = digits.parse::<u64>().ok().filter(|_| plain)?.checked_mul(unit)?;
    Some(Duration::from_secs(seconds)).filter(|time| *time <= LONGEST)
}

/// Writes a time in its largest two units, for people: `2h 5m`.
#[must_use]
pub fn show_time(time: Duration) -> String {
    let seconds = time.as_secs();
    let parts = [
        (seconds / 86_400, 'd'),
        (seconds / 3600 % 24, 'h'),
        (seconds / 60 % 60, 'm'),
        (seconds % 60, 's'),
    ];
    let from = parts.iter().position(|(count, _)| *count > 0).unwrap_or(parts.len() - 1);
    let shown = parts[from..].iter().take(2).enumerate();
    let shown = shown.filter(|(index, (count, _))| *index == 0 || *count > 0);
    shown.map(|(_, (count, unit))| format!("{count}{unit}")).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_time_is_a_whole_number_and_one_unit() {
        for (text, time) in [("45s", 45), ("90m", 5400), ("2h", 7200), ("3d", 259_200), ("0s", 0)] {
            assert_eq!(parse_time(text), Some(seconds(time)), "{text}");
        }
        let huge = "18446744073709551615d";
        for bad in ["", "h", "2", "2 h", "-2h", "+2h", "2.5h", "1h30m", "2H", "3651d", huge, "2ü"]
        {
            assert_eq!(parse_time(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn a_time_is_shown_in_two_units() {
        for (time, text) in
            [(0, "0s"), (59, "59s"), (60, "1m"), (7500, "2h 5m"), (90_000, "1d 1h"), (86_460, "1d")]
        {
            assert_eq!(show_time(seconds(time)), text);
        }
    }

    #[test]
    fn a_term_is_within_the_maximum() {
        let policy = LeasePolicy::default();
        assert_eq!(policy.term(None).unwrap(), seconds(7200));
        assert_eq!(policy.term(Some("24h")).unwrap(), policy.max);
        for bad in ["25h", "0s", "soon", ""] {
            assert_eq!(policy.term(Some(bad)).unwrap_err().code(), Code::LeaseTerm, "{bad:?}");
        }
    }

    #[test]
    fn what_is_not_written_follows_a_shorter_maximum() {
        let raw = |max: &str, default: &str| RawLeases {
            max: Some(max.to_owned()),
            default: Some(default.to_owned()).filter(|text| !text.is_empty()),
            warn_before: None,
        };
        let policy = parse(&raw("10m", "")).unwrap();
        assert_eq!((policy.default, policy.warn_before), (seconds(600), seconds(300)));
        assert!(parse(&raw("10m", "10m")).is_ok());
        for (max, default) in [("10m", "11m"), ("0s", ""), ("ten", ""), ("10m", "0s")] {
            let denial = parse(&raw(max, default)).unwrap_err();
            assert_eq!(denial.code(), Code::ConfigValue, "{max} {default}");
        }
    }
}
