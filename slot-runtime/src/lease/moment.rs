//! A moment of the host's clock, in whole seconds.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Seconds since the beginning of 1970.
///
/// The clock of the wall is used because a lease outlives a reboot. One that is set back makes
/// leases longer; one that is set forward ends them, which refuses and never admits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(transparent)]
pub struct Moment(u64);

impl Moment {
    /// Returns the moment this much later, as far as a moment can be.
    #[must_use]
    pub fn after(self, span: Duration) -> Self {
        Self(self.0.saturating_add(span.as_secs()))
    }

    /// Returns how long it is from an earlier moment to this one; nothing if it is not earlier.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_secs(self.0.saturating_sub(earlier.0))
    }
}

impl From<SystemTime> for Moment {
    fn from(time: SystemTime) -> Self {
        Self(time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()))
    }
}

impl fmt::Display for Moment {
    /// Writes the moment in RFC 3339, in UTC.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = i64::try_from(self.0).ok();
        let time = seconds.and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok());
        match time.and_then(|time| time.format(&Rfc3339).ok()) {
            Some(text) => formatter.write_str(&text),
            None => write!(formatter, "{} s after 1970", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_shown_as_a_date_and_never_wraps() {
        let moment = Moment::from(UNIX_EPOCH + Duration::from_secs(1_700_000_000));
        assert_eq!(moment.to_string(), "2023-11-14T22:13:20Z");
        let later = moment.after(Duration::from_secs(60));
        assert_eq!(later.since(moment), Duration::from_secs(60));
        assert_eq!(moment.since(later), Duration::ZERO);
        assert_eq!(Moment(u64::MAX).after(Duration::MAX), Moment(u64::MAX));
        assert!(Moment(u64::MAX).to_string().contains("after 1970"));
    }
}
