//! Texts that nobody can guess.

use guard::diagnostic::{Code, Denial};

/// Returns 48 hexadecimal digits of the system's random numbers.
///
/// # Errors
/// When the system has none.
pub(crate) fn fresh() -> Result<String, Denial> {
    let mut bytes = [0; 24];
    getrandom::fill(&mut bytes).map_err(|error| {
        let message = "the system has no random numbers";
        Denial::new(Code::Internal, message, error.to_string(), "random numbers")
    })?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
