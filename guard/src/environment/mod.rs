//! Environments: what one says about where connections go, and what a child may see of it.
//!
//! Two questions with two answers. [`judge`] refuses an environment that would move a connection
//! away from `DATABASE_URL`; it is asked where the environment is the one the application runs in.
//! [`EnvPolicy::build`] makes the environment of a child from nothing; what is not allowed is
//! left out and reported.

mod child;
mod dotenv;
mod judge;
mod names;
mod secret_like;

pub use child::{ChildEnvironment, ChildPlaces, Decision, EnvPolicy, Outcome};
pub use dotenv::{is_env_file, judge_env_file};
pub use judge::{judge, looks_like_database_url};
pub use names::{Group, NameClass, Rule, classify, rules};

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

impl std::fmt::Debug for Variable {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}=***", String::from_utf8_lossy(&self.name))
    }
}

/// A raw environment, duplicates and malformed entries included.
#[derive(Debug, Clone, Default)]
pub struct Environment(Vec<Variable>);

impl Environment {
    /// Builds an environment from names and values, in their order.
    pub fn new(variables: impl IntoIterator<Item = (Vec<u8>, Vec<u8>)>) -> Self {
        Self(variables.into_iter().map(|(name, value)| Variable { name, value }).collect())
    }

    /// Returns the variables in their order.
    #[must_use]
    pub fn variables(&self) -> &[Variable] {
        &self.0
    }

    /// Returns the first value of a name.
    ///
    /// Runtimes disagree on which of two values counts; [`judge`] refuses duplicates, so ask it
    /// before relying on this.
    #[must_use]
    pub fn first(&self, name: &str) -> Option<&[u8]> {
        let found = self.0.iter().find(|variable| variable.name == name.as_bytes());
        found.map(|variable| variable.value.as_slice())
    }
}

#[cfg(test)]
impl<const N: usize> From<[(&str, &str); N]> for Environment {
    fn from(pairs: [(&str, &str); N]) -> Self {
        Self::new(pairs.map(|(name, value)| (name.into(), value.into())))
    }
}
