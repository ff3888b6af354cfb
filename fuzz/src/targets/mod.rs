//! What must hold for any input, one module for each reader of outside text.
//!
//! A check panics on a finding and otherwise answers with a signature: `accepted` and a shape, or
//! the code of the refusal.

mod config;
mod database_url;
mod environment;
mod migration;
mod path;
mod slot;
mod wire;

use guard::diagnostic::Denial;

use crate::engine::Signature;

/// A secret in the seeds and dictionaries, which no refusal may repeat.
const SECRET: &str = "hunter2";

/// Another secret that every reader must treat as it treats the first.
const OTHER_SECRET: &str = "rabbit7";

/// A reader of outside text with the tokens that it knows.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// What the target is called on the command line.
    pub name: &'static str,
    /// Reads the input; panics on a finding.
    pub check: fn(&[u8]) -> Signature,
    /// What is worth inserting into its inputs.
    pub dictionary: &'static [&'static str],
}

/// Every target.
pub const ALL: &[Target] = &[
    database_url::TARGET,
    environment::TARGET,
    path::TARGET,
    slot::TARGET,
    config::TARGET,
    migration::TARGET,
    wire::TARGET,
];

/// Returns the target of this name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Target> {
    ALL.iter().find(|target| target.name == name)
}

/// Returns the names of all targets.
pub fn names() -> impl Iterator<Item = &'static str> {
    ALL.iter().map(|target| target.name)
}

/// Returns everything that a refusal says, in every form it is printed in.
fn words(denial: &Denial) -> String {
    format!("{denial}\n{denial:?}\n{}", denial.next_step())
}

fn refused(denial: &Denial) -> Signature {
    format!("{} {}", denial.code(), denial.found().len() / 24)
}
