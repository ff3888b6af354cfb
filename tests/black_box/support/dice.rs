//! Random numbers that can be had again: the seed is said, and can be given.

use std::time::{Duration, SystemTime};

use super::environment;
use super::run::say;

/// SplitMix64: short, and good enough to choose moments.
#[derive(Debug)]
pub(crate) struct Dice {
    state: u64,
}

impl Dice {
    /// Takes the seed that was given, or a new one, and says it.
    pub(crate) fn new(test: &str) -> Self {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let fresh = || now.map_or(1, |now| u64::from(now.subsec_nanos()));
        let state = environment::seed().unwrap_or_else(fresh);
        say(&format!("{test}: SLOTGUARD_TEST_SEED={state} repeats it"));
        Self { state }
    }

    /// Returns further dice, for another thread.
    pub(crate) fn fork(&mut self) -> Self {
        Self { state: self.below(u64::MAX) }
    }

    /// Returns a number below a bound.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % bound.max(1)
    }

    /// Returns a duration up to a longest one.
    pub(crate) fn within(&mut self, longest: Duration) -> Duration {
        let micros = u64::try_from(longest.as_micros()).unwrap_or(u64::MAX);
        Duration::from_micros(self.below(micros))
    }
}
