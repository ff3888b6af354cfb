//! What is refused, in the same words for every program; each has codes of its own.

use std::io;

use guard::diagnostic::{Code, Denial, shown};

/// What cannot be used, and what could.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    message: &'static str,
    found: String,
    expected: String,
}

impl Refusal {
    pub(crate) fn of_authority(path: &str, why: &str) -> Self {
        Self {
            message: "the certificates of the server's authority cannot be used",
            found: format!("`{}`: {}", shown(path), shown(why)),
            expected: "a file of root or the caller with certificates in PEM".to_owned(),
        }
    }

    pub(crate) fn of_server(name: &str, found: &str) -> Self {
        Self {
            message: "the server does not prove by TLS who it is",
            found: shown(found),
            expected: format!("a certificate for `{name}` of the authority in `tls_ca`"),
        }
    }

    /// Returns it under the code that a program has for it.
    #[must_use]
    pub fn into_denial(self, code: Code) -> Denial {
        Denial::new(code, self.message, self.found, self.expected)
    }
}

/// Why a connection is not one to the server.
#[derive(Debug)]
pub enum Unproved {
    /// What answers is not to be used.
    Refused(Refusal),
    /// Nothing answers, or not to the end.
    Lost(io::Error),
}

impl From<Refusal> for Unproved {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<io::Error> for Unproved {
    fn from(error: io::Error) -> Self {
        Self::Lost(error)
    }
}
