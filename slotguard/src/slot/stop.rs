//! Ending a slot before it is freed: its backend stops, its database is due for a reset, and its
//! frontend says that it is free.

use guard::config::Config;
use guard::diagnostic::Denial;
use guard::slot::SlotId;
use slot_runtime::lifecycle::Backend;
use slot_runtime::{StateRoot, record};

use super::fresh;
use crate::publish::free_page;

/// Returns what ends a slot: it takes no admission, since whoever frees a slot calls it.
///
/// A slot without a record has no backend under management, and there is nothing to stop.
pub(super) fn stopper(config: &Config) -> impl FnMut(SlotId) -> Result<(), Denial> {
    move |slot| {
        let state = StateRoot::open_or_create(&config.roots)?;
        if record::find(&state, slot)?.is_some() {
            Backend::open(&state, slot, &config.lifecycle)?.lock()?.stop()?;
        }
        // Before the slot is free: whoever gets it must not find the data that is there now.
        fresh::schedule(slot, config)?;
        // The slot is freed in any case: its page is the lesser harm.
        let shown = config.web.root(slot).and_then(|root| free_page::show(slot, &root));
        if let Err(denial) = shown {
            tracing::warn!(%slot, code = %denial.code(), "the page of a free slot is not shown");
        }
        Ok(())
    }
}
