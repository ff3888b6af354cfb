//! Environments: what one says about where connections go, and what a child may see of it.
//!
//! Two questions with two answers. [`judge`] refuses an environment that would move a connection
//! away from `DATABASE_URL`; it is asked where the environment is the one the application runs in.
//! [`EnvPolicy::build`] makes the environment of a child from nothing; what is not allowed is
//! left out and reported.

mod address;
mod child;
mod dotenv;
mod duplicates;
mod judge;
mod manager;
mod names;
mod secret_like;

pub use address::looks_like_database_url;
pub use child::{ChildEnvironment, ChildPlaces, Decision, EnvPolicy, Outcome};
pub use dotenv::{is_env_file, judge_env_file};
pub use judge::judge;
pub use names::{Group, NameClass, Rule, classify, rules};
pub use secret_like::looks_secret;

use crate::diagnostic::{Denial, shown};

/// The name of the one variable that may hold a database address.
pub const DATABASE_URL: &str = "DATABASE_URL";

/// One variable of a raw environment, as bytes.
#[derive(Clone, PartialEq, Eq)]
pub struct Variable {
    /// The name, possibly malformed.
    pub name: Vec<u8>,
    /// The value, which may be a secret.
    pub value: Vec<u8>,
}

impl Variable {
    /// Returns the name as a diagnostic may repeat it.
    fn shown_name(&self) -> String {
        shown(&String::from_utf8_lossy(&self.name))
    }
}

impl std::fmt::Debug for Variable {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}=***", String::from_utf8_lossy(&self.name))
    }
}

/// A raw environment in which every name stands once; malformed entries are still in it.
///
/// Runtimes disagree on which of two values counts, so nothing may be asked of an environment that
/// holds a name twice: there is no such value of this type.
#[derive(Debug, Clone, Default)]
pub struct Environment {
    variables: Vec<Variable>,
    without_sign: usize,
}

impl Environment {
    /// Builds an environment from names and values, in their order.
    ///
    /// # Errors
    /// Refuses a name that stands twice.
    pub fn new(variables: impl IntoIterator<Item = (Vec<u8>, Vec<u8>)>) -> Result<Self, Denial> {
        let variables: Vec<Variable> =
            variables.into_iter().map(|(name, value)| Variable { name, value }).collect();
        duplicates::refuse(&variables)?;
        Ok(Self { variables, without_sign: 0 })
    }

    /// Builds an environment from the entries that a process was started with, `NAME=value` each.
    ///
    /// # Errors
    /// Refuses a name that stands twice.
    pub fn from_entries<'e>(entries: impl IntoIterator<Item = &'e [u8]>) -> Result<Self, Denial> {
        let mut without_sign = 0;
        let mut pairs = Vec::new();
        for entry in entries {
            match entry.iter().position(|byte| *byte == b'=') {
                Some(at) => pairs.push((entry[..at].to_vec(), entry[at + 1..].to_vec())),
                None => without_sign += 1,
            }
        }
        Ok(Self { without_sign, ..Self::new(pairs)? })
    }

    /// Returns the variables in their order.
    #[must_use]
    pub fn variables(&self) -> &[Variable] {
        &self.variables
    }

    /// Returns how many entries have no `=`, and so neither name nor value.
    #[must_use]
    pub fn entries_without_sign(&self) -> usize {
        self.without_sign
    }

    /// Returns the value of a name.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<&[u8]> {
        let found = self.variables.iter().find(|variable| variable.name == name.as_bytes());
        found.map(|variable| variable.value.as_slice())
    }
}

#[cfg(test)]
impl<const N: usize> From<[(&str, &str); N]> for Environment {
    fn from(pairs: [(&str, &str); N]) -> Self {
        Self::new(pairs.map(|(name, value)| (name.into(), value.into()))).unwrap()
    }
}
