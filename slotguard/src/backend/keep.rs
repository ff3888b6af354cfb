//! The hidden command `keep`: the process that keeps one backend. It is started by `backend start`.

use guard::diagnostic::Denial;
use guard::io::load_config_at;
use slot_runtime::StateRoot;
use slot_runtime::lifecycle::{self, Keeping};
use step_report::exit::ExitStatus;

use super::options::Keep;
use crate::sibling;

/// Keeps the backend until it has ended.
pub(crate) fn run(options: &Keep) -> ExitStatus {
    match keep(options) {
        Ok(()) => ExitStatus::Done,
        Err(denial) => denial.code().into(),
    }
}

fn keep(options: &Keep) -> Result<(), Denial> {
    let path = options.config.config.as_deref();
    // The caller's environment is not asked: what is kept must not depend on who started it.
    let prepared = load_config_at(path).and_then(|loaded| {
        let slot = loaded.config.slot(&options.slot)?;
        let state = StateRoot::open_or_create(&loaded.config.roots)?;
        let stop_timeout = loaded.config.lifecycle.stop_timeout;
        let wrapper = sibling::beside("runtime-wrapper")?;
        Ok((state, Keeping { slot, config: path, wrapper, stop_timeout }))
    });
    let (state, keeping) = prepared.inspect_err(lifecycle::tell_refusal)?;
    lifecycle::keep(&state, &keeping)
}
