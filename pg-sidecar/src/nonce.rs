//! Texts that nobody can guess.

use guard::diagnostic::{Code, Denial};
use slot_runtime::random;

/// Returns 48 hexadecimal digits of the system's random numbers.
///
/// # Errors
/// When the system has none.
pub(crate) fn fresh() -> Result<String, Denial> {
    random::hex(24).map_err(|error| {
        let message = "the system has no random numbers";
        Denial::new(Code::Internal, message, error.to_string(), "random numbers")
    })
}
