//! Hazards: what a pending migration would do to production, as far as its text shows.
//!
//! A hazard refuses nothing by default. Only what was there before can be hurt, so nothing is said
//! about objects that the same pending set makes. What a statement really does on a live database
//! is the business of [`trace`](crate::trace).

mod judgement;
mod linter;
mod objects;
mod rules;

use std::ops::Range;

use clap::{Args, ValueEnum};
use guard::diagnostic::Code;

pub(crate) use judgement::{Judgement, pending};

/// The oldest server that the project supports, and so the one with the fewest quick ways.
pub(crate) const DEFAULT_SERVER: u32 = 15;

/// What of a migration would hurt production.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Hazard {
    /// The stable code, which says what production would feel.
    pub(crate) code: Code,
    /// The linter's rule.
    pub(crate) rule: String,
    /// Its bytes in the file.
    pub(crate) bytes: Range<usize>,
    /// What was found, in one line; never what a constant contains.
    pub(crate) message: String,
    /// What to do about it.
    pub(crate) help: String,
}

/// What makes a command end with an exit code other than 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Denied {
    /// Any hazard.
    Hazard,
}

/// How hazards are judged, and what follows from them.
#[derive(Debug, Clone, Args)]
pub(crate) struct HazardOptions {
    /// End with 65 when there is a hazard
    #[arg(long, value_enum, value_name = "CLASS")]
    deny: Option<Denied>,
    /// Production's major version of PostgreSQL [default: the connected server's, else 15]
    #[arg(long, value_name = "MAJOR", value_parser = clap::value_parser!(u32).range(12..=99))]
    pg_version: Option<u32>,
    /// The last version that production has [default: production has what is not pending]
    ///
    /// Later files are judged as running on what the earlier ones made.
    #[arg(long, value_name = "VERSION")]
    deployed: Option<i64>,
}

impl HazardOptions {
    /// Says whether a hazard is a reason to end with another exit code.
    pub(crate) fn denies(&self) -> bool {
        self.deny == Some(Denied::Hazard)
    }

    /// Returns production's major version, if `connected` is that of the server at hand.
    pub(crate) fn server(&self, connected: Option<u32>) -> u32 {
        self.pg_version.or(connected).unwrap_or(DEFAULT_SERVER)
    }

    /// Says whether production has a version already.
    pub(crate) fn is_deployed(&self, version: i64) -> bool {
        self.deployed.is_some_and(|deployed| version <= deployed)
    }
}
