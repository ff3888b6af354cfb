//! Where the slot's login at the server is read from, each time anew.

use std::path::{Path, PathBuf};

use guard::diagnostic::{Code, Denial};
use guard::io::{read_password, read_url};
use guard::policy::DatabasePolicy;
use guard::secret::Secret;
use guard::slot::SlotId;
use guard::suggestion;
use guard::verify::verify;

/// What holds the slot's password.
#[derive(Debug, Clone)]
pub(crate) enum Login {
    /// A file with the password alone (`[database] password_file`).
    Password(PathBuf),
    /// A file with the whole URL, which the service manager hands over.
    Url(UrlFile),
}

/// A file with the URL of the slot's database.
#[derive(Debug, Clone)]
pub(crate) struct UrlFile {
    pub(crate) path: PathBuf,
    pub(crate) slot: SlotId,
    pub(crate) policy: DatabasePolicy,
}

impl Login {
    /// Reads the password.
    ///
    /// # Errors
    /// Refuses a file that cannot be used, and a URL that is not the slot's or has no password.
    pub(crate) fn password(&self) -> Result<Secret, Denial> {
        match self {
            Self::Password(path) => read_password(path),
            Self::Url(file) => file.password(),
        }
    }
}

impl UrlFile {
    /// Names the file for a slot.
    pub(crate) fn new(path: &Path, slot: SlotId, policy: &DatabasePolicy) -> Self {
        Self { path: path.to_owned(), slot, policy: policy.clone() }
    }

    /// Reads the URL, for who judges it itself.
    ///
    /// # Errors
    /// Refuses a file that cannot be read.
    pub(crate) fn text(&self) -> Result<Secret, Denial> {
        read_url(&self.path).map(Secret::new)
    }

    fn password(&self) -> Result<Secret, Denial> {
        let text = self.text()?;
        let target = suggestion::parse_for(self.slot, text.dangerous_expose(), &self.policy)?;
        let target = verify(self.slot, target, &self.policy)?;
        target.password().cloned().ok_or_else(|| {
            let message = "the URL of the slot's database has no password";
            let found = format!("`{}`", target.canonical());
            Denial::new(Code::SidecarUpstream, message, found, "a URL with the slot's password")
        })
    }
}
