//! Ctrl-C and its kind end the demo at the next step, so that everything is cleaned up.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use guard::diagnostic::{Code, Denial};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

static ASKED: OnceLock<Arc<AtomicBool>> = OnceLock::new();

/// Starts to listen.
pub(super) fn listen() -> Result<(), Denial> {
    let asked = ASKED.get_or_init(Arc::default);
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        signal_hook::flag::register(signal, Arc::clone(asked)).map_err(|error| {
            let message = "signals cannot be listened to";
            Denial::new(Code::Internal, message, error.to_string(), "a signal handler")
        })?;
    }
    Ok(())
}

/// Ends the step when somebody asked for it.
pub(super) fn check() -> Result<(), Denial> {
    if ASKED.get().is_some_and(|asked| asked.load(Ordering::Relaxed)) {
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
