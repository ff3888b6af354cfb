//! Text that must not be printed.
//!
//! There is no `Display`, no `Serialize` and no comparison: a secret can be carried and, by a call
//! that says so, read. Nothing else.

use std::fmt;

/// A password or another text that no output of this project may contain.
#[derive(Clone)]
pub struct Secret(String);

impl Secret {
    /// Wraps a text so that it can no longer be printed by accident.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// Returns the text itself, for the driver or the child that must have it.
    ///
    /// Every caller is a place where a secret leaves; keep them few.
    #[must_use]
    pub fn dangerous_expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Secret(***)")
    }
}

#[cfg(test)]
mod tests {
    use super::Secret;

    #[test]
    fn debug_output_hides_the_text() {
        let printed = format!("{:?}", Some(Secret::new("hunter2".to_owned())));
        assert!(!printed.contains("hunter2"));
        assert!(printed.contains("***"));
    }
}
