//! The state root: where leases and slot records lie.

use guard::config::Roots;
use guard::diagnostic::Denial;
use guard::io::Root;

/// The configured state root (`[roots] state`), held open.
#[derive(Debug)]
pub struct StateRoot {
    root: Root,
}

impl StateRoot {
    /// Opens the state root, making it where it is missing.
    ///
    /// # Errors
    /// Refuses a root that cannot be made, is not the caller's or root's, or that others can change.
    pub fn open_or_create(roots: &Roots) -> Result<Self, Denial> {
        Root::open_or_create(&roots.state).map(|root| Self { root })
    }

    /// Returns the directory that everything lies beneath.
    #[must_use]
    pub fn root(&self) -> &Root {
        &self.root
    }
}
