//! Stopping a slot's backend before the slot is freed.

use guard::config::Config;
use guard::diagnostic::{Code, Denial};
use guard::slot::SlotId;

/// Returns what stops a slot's backend; it takes no admission, since whoever frees a slot calls it.
///
/// A slot without a record has no backend under management, and there is nothing to stop. One with
/// a record is not freed from here.
pub(super) fn stopper(config: &Config) -> impl FnMut(SlotId) -> Result<(), Denial> {
    let state = config.roots.state.as_str().to_owned();
    move |slot| {
        let record = format!("{state}/records/{slot}.json");
        match std::fs::symlink_metadata(&record) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            _ => Err(Denial::new(
                Code::LeaseBusy,
                format!("{slot} has a backend under management, which must be stopped first"),
                "a record of what the slot runs",
                "a slot without a backend",
            )),
        }
    }
}
