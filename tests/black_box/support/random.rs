//! Random numbers for tests that must hit many moments; the seed is said, so a failure can be tried
//! again.

#![expect(clippy::print_stdout, reason = "the test runner shows it when a test fails")]

use std::hash::{BuildHasher as _, RandomState};

/// A small generator; not for secrets.
pub(crate) struct Random(u64);

impl Random {
    /// Begins with a seed that is said in the output of a test that fails.
    pub(crate) fn new(what: &str) -> Self {
        let seed = RandomState::new().hash_one(what) | 1;
        println!("seed of {what}: {seed}");
        Self(seed)
    }

    /// Returns a number below `end`.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        // xorshift64: every state but zero comes up.
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}

#[test]
fn numbers_are_below_their_end() {
    let mut random = Random::new("a test");
    assert!((0..1000).all(|_| random.below(7) < 7));
}
