//! Stopping a slot's backend before the slot is freed.

use guard::config::Config;
use guard::diagnostic::Denial;
use guard::slot::SlotId;
use slot_runtime::lifecycle::Backend;
use slot_runtime::{StateRoot, record};

/// Returns what stops a slot's backend; it takes no admission, since whoever frees a slot calls it.
///
/// A slot without a record has no backend under management, and there is nothing to stop.
pub(super) fn stopper(config: &Config) -> impl FnMut(SlotId) -> Result<(), Denial> {
    move |slot| {
        let state = StateRoot::open_or_create(&config.roots)?;
        if record::find(&state, slot)?.is_none() {
            return Ok(());
        }
        Backend::open(&state, slot, &config.lifecycle)?.lock()?.stop().map(drop)
    }
}
