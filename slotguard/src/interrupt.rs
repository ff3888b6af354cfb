//! Ctrl-C and its kind: the first ends a flow at its next step's boundary, the second the step.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use guard::diagnostic::{Code, Denial};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

static ASKED: OnceLock<Arc<AtomicBool>> = OnceLock::new();
static COUNT: AtomicUsize = AtomicUsize::new(0);

/// Starts to listen.
///
/// # Errors
/// Refuses when no handler can be set.
pub(crate) fn listen() -> Result<(), Denial> {
    let asked = ASKED.get_or_init(Arc::default);
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        signal_hook::flag::register(signal, Arc::clone(asked)).map_err(|error| {
            let message = "signals cannot be listened to";
            Denial::new(Code::Internal, message, error.to_string(), "a signal handler")
        })?;
    }
    Ok(())
}

/// Returns whether somebody asked to stop.
pub(crate) fn asked() -> bool {
    count() > 0
}

/// Returns whether somebody asked again.
pub(crate) fn insisted() -> bool {
    count() > 1
}

fn count() -> usize {
    let now = ASKED.get().is_some_and(|asked| asked.swap(false, Ordering::Relaxed));
    COUNT.fetch_add(usize::from(now), Ordering::Relaxed) + usize::from(now)
}
