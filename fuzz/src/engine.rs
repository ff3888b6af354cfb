//! The loop: choose an input, change it, run the target, keep it if it behaves in a new way.
//!
//! There is no coverage to steer by. A target answers with a [`Signature`] instead, the code of a
//! refusal or the shape of what was accepted, and an input with a new one joins the corpus.

use std::cell::RefCell;
use std::collections::BTreeSet;

use crate::mutation::mutate;
use crate::random::Random;
use crate::targets::Target;

/// What a target made of an input, in a few words without the input's own text.
pub type Signature = String;

thread_local! {
    /// The release profile aborts on a panic, so nothing can be caught: whoever reports a finding,
    /// from a panic hook or after `catch_unwind`, takes the input from here.
    static CURRENT: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Returns the input that this thread tried last; after a panic, the one that caused it.
#[must_use]
pub fn last_input() -> Vec<u8> {
    CURRENT.with_borrow(Clone::clone)
}

/// A run of one target.
#[derive(Debug)]
pub struct Engine {
    target: Target,
    random: Random,
    corpus: Vec<Vec<u8>>,
    signatures: BTreeSet<Signature>,
    executions: u64,
}

impl Engine {
    /// Builds a run and tries every seed once.
    ///
    /// # Panics
    /// When the target has a finding on a seed.
    #[must_use]
    pub fn new(target: Target, seeds: &[Vec<u8>], random: Random) -> Self {
        let (corpus, signatures) = (seeds.to_vec(), BTreeSet::new());
        let mut engine = Self { target, random, corpus, signatures, executions: 0 };
        for seed in seeds {
            let signature = engine.execute(seed);
            engine.signatures.insert(signature);
        }
        engine
    }

    /// Tries one new input.
    ///
    /// # Panics
    /// When the target has a finding; [`last_input`] is what it found.
    pub fn step(&mut self) {
        let Self { target, random, corpus, .. } = self;
        let start = random.choose(corpus).map_or(&[][..], Vec::as_slice);
        let input = mutate(start, corpus, target.dictionary, random);
        let signature = self.execute(&input);
        if !self.signatures.contains(&signature) {
            self.signatures.insert(signature);
            self.corpus.push(input);
        }
    }

    fn execute(&mut self, input: &[u8]) -> Signature {
        self.executions += 1;
        CURRENT.with_borrow_mut(|current| {
            current.clear();
            current.extend_from_slice(input);
        });
        (self.target.check)(input)
    }

    /// Returns how many inputs were tried, seeds included.
    #[must_use]
    pub fn executions(&self) -> u64 {
        self.executions
    }

    /// Returns every signature that was seen, in order.
    #[must_use]
    pub fn signatures(&self) -> &BTreeSet<Signature> {
        &self.signatures
    }

    /// Returns how many inputs the corpus holds.
    #[must_use]
    pub fn corpus_size(&self) -> usize {
        self.corpus.len()
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;
    use crate::{seeds, targets};

    /// Enough to reach every kind of verdict, and little enough for every run of the tests.
    const STEPS: u32 = 20_000;

    fn smoke(name: &str) {
        let target = *targets::find(name).unwrap();
        let seeds = seeds::read(name).unwrap();
        assert!(seeds.len() >= 15, "{name} has {} seeds", seeds.len());
        let mut engine = Engine::new(target, &seeds, Random::new(1));
        for _ in 0..STEPS {
            engine.step();
        }
        assert!(engine.executions() > u64::from(STEPS));
        let signatures = engine.signatures();
        let accepted = signatures.iter().any(|signature| signature.starts_with("accepted"));
        let refused = signatures.iter().any(|signature| signature.starts_with("SG"));
        assert!(accepted && refused, "{name}: {signatures:?}");
    }

    #[test]
    fn database_url_holds() {
        smoke("database_url");
    }

    #[test]
    fn environment_holds() {
        smoke("environment");
    }

    #[test]
    fn path_holds() {
        smoke("path");
    }

    #[test]
    fn slot_holds() {
        smoke("slot");
    }

    #[test]
    fn config_holds() {
        smoke("config");
    }

    #[test]
    fn migration_holds() {
        smoke("migration");
    }

    #[test]
    fn wire_holds() {
        smoke("wire");
    }

    #[test]
    fn every_target_has_its_smoke_run() {
        let names: Vec<&str> = targets::ALL.iter().map(|target| target.name).collect();
        let smoked = ["database_url", "environment", "path", "slot", "config", "migration", "wire"];
        assert_eq!(names, smoked);
    }

    /// A reader with a mistake that no seed shows: two dots right behind a slash.
    fn broken(input: &[u8]) -> Signature {
        let text = String::from_utf8_lossy(input);
        assert!(!text.contains("/.."), "a way up was accepted");
        format!("accepted {}", text.len() / 8)
    }

    #[test]
    fn a_broken_target_is_found_with_its_input() {
        let dictionary = &["/", "."];
        let target = Target { name: "broken", check: broken, dictionary };
        let run = || {
            let mut engine = Engine::new(target, &[b"/srv/x".to_vec()], Random::new(1));
            for _ in 0..STEPS {
                engine.step();
            }
        };
        assert!(catch_unwind(AssertUnwindSafe(run)).is_err(), "the mistake was not found");
        let input = last_input();
        assert!(input.windows(3).any(|window| window == b"/.."), "{input:?}");
    }

    #[test]
    fn a_new_behaviour_joins_the_corpus_and_an_old_one_does_not() {
        fn length(input: &[u8]) -> Signature {
            format!("accepted {}", input.len().min(3))
        }
        let target = Target { name: "length", check: length, dictionary: &["a"] };
        let mut engine = Engine::new(target, &[Vec::new()], Random::new(1));
        for _ in 0..2000 {
            engine.step();
        }
        assert_eq!((engine.signatures().len(), engine.corpus_size()), (4, 4));
    }
}
