//! Ctrl-C and its kind end the demo at the next step, so that everything is cleaned up.

use guard::diagnostic::{Code, Denial};

pub(super) use crate::interrupt::listen;

/// Ends the step when somebody asked for it.
pub(super) fn check() -> Result<(), Denial> {
    if crate::interrupt::asked() {
        return Err(Denial::new(
            Code::DemoStep,
            "the demo was interrupted",
            "a signal",
            "a run to the end",
        )
        .help("Everything it started has been stopped; run it again when you like."));
    }
    Ok(())
}
