//! The superuser's password: made here, never shown by accident.
//!
//! It does not hash or send anything; `initdb` and `psql` do.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};

/// A random password; its `Debug` form does not tell it.
#[derive(Clone)]
pub(crate) struct Password(String);

impl Password {
    pub(crate) fn generate() -> io::Result<Self> {
        random_hex(16).map(Self)
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(redacted)")
    }
}

/// Returns `bytes` bytes of the system's randomness as hexadecimal digits.
pub(crate) fn random_hex(bytes: usize) -> io::Result<String> {
    let mut random = vec![0; bytes];
    File::open("/dev/urandom")?.read_exact(&mut random)?;
    Ok(random.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_hexadecimal_and_differ() {
        let (one, other) = (Password::generate().unwrap(), Password::generate().unwrap());
        assert_eq!(one.as_str().len(), 32);
        assert!(one.as_str().chars().all(|c| c.is_ascii_hexdigit()));
        assert_ne!(one.as_str(), other.as_str());
    }

    #[test]
    fn debug_does_not_tell_the_password() {
        let password = Password::generate().unwrap();
        assert_eq!(format!("{password:?}"), "(redacted)");
    }
}
