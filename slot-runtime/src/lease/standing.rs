//! How a slot stands: claimed or not, and the highest generation it ever had.

use std::fmt;
use std::num::NonZeroU64;
use std::str::FromStr;

use guard::diagnostic::{Code, Denial};
use serde::{Deserialize, Serialize};

use super::label::Label;
use super::moment::Moment;

/// The number of a claim: the fencing token of whoever made it. The first claim of a slot is 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize)]
#[serde(transparent)]
pub struct Generation(NonZeroU64);

impl Generation {
    /// Returns the number.
    #[must_use]
    pub fn number(self) -> u64 {
        self.0.get()
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

impl FromStr for Generation {
    type Err = Denial;

    /// Accepts digits without a leading zero, and nothing else; what was refused is not repeated.
    fn from_str(text: &str) -> Result<Self, Denial> {
        let plain = text.bytes().all(|b| b.is_ascii_digit()) && !text.starts_with('0');
        let number = text.parse().ok().filter(|_| plain).map(Self);
        number.ok_or_else(|| {
            Denial::new(
                Code::Usage,
                "the generation of a lease cannot be read",
                "another text",
                "the number that `slotguard slot claim` printed",
            )
        })
    }
}

/// A claim that has not been released or reaped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// The fencing token.
    pub generation: Generation,
    /// Who holds the slot.
    pub owner: Label,
    /// What for, such as a branch or a pull request.
    pub purpose: Option<Label>,
    /// When it was claimed.
    pub claimed_at: Moment,
    /// From when on it counts no more.
    pub expires_at: Moment,
    /// Whether its coming end was said already.
    pub warned: bool,
}

impl Lease {
    /// Returns whether the lease counts no more.
    #[must_use]
    pub fn expired(&self, now: Moment) -> bool {
        self.expires_at <= now
    }
}

/// How a slot stands. The default is that of a slot that was never claimed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Standing {
    last: u64,
    lease: Option<Lease>,
}

impl Standing {
    /// Puts together what a store has kept; `None` where the parts contradict each other.
    #[must_use]
    pub fn from_parts(last: u64, lease: Option<Lease>) -> Option<Self> {
        let fits = lease.as_ref().is_none_or(|lease| lease.generation.number() == last);
        fits.then_some(Self { last, lease })
    }

    /// Returns the highest generation so far, 0 if there was none.
    #[must_use]
    pub fn last(&self) -> u64 {
        self.last
    }

    /// Returns the lease, expired or not.
    #[must_use]
    pub fn lease(&self) -> Option<&Lease> {
        self.lease.as_ref()
    }

    /// Returns the standing without its lease; the generation stays used.
    #[must_use]
    pub fn freed(&self) -> Self {
        Self { last: self.last, lease: None }
    }

    /// Returns the generation of the next claim; `None` when there are no more numbers.
    #[must_use]
    pub fn next(&self) -> Option<Generation> {
        self.last.checked_add(1).and_then(NonZeroU64::new).map(Generation)
    }

    /// Returns the standing with this lease, whose generation counts as used from now on.
    #[must_use]
    pub fn holding(lease: Lease) -> Self {
        Self { last: lease.generation.number(), lease: Some(lease) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generation_is_a_plain_positive_number() {
        assert_eq!("7".parse::<Generation>().unwrap().number(), 7);
        for bad in ["", "0", "07", "+7", "-1", " 7", "7 ", "x", "18446744073709551616"] {
            assert_eq!(bad.parse::<Generation>().unwrap_err().code(), Code::Usage, "{bad:?}");
        }
    }

    #[test]
    fn numbers_do_not_come_again() {
        let standing = Standing::from_parts(7, None).unwrap();
        assert_eq!(standing.next().unwrap().number(), 8);
        assert_eq!(standing.freed().next(), standing.next());
        assert_eq!(Standing::from_parts(u64::MAX, None).unwrap().next(), None);
    }
}
