//! `slotguard slot`: who holds a slot, and until when.

mod fresh;
mod hold;
mod list;
mod options;
mod reap;
mod stop;

use std::time::SystemTime;

use guard::config::Config;
use guard::diagnostic::Denial;
use guard::io::{LoadedConfig, environment_snapshot, load_config};
use slot_runtime::lease::EmbeddedStore;
use step_report::cli::ConfigOption;
use step_report::console::Console;
use step_report::exit::ExitStatus;

pub(crate) use options::SlotCommand;

/// Runs one command on the leases of this host.
pub(crate) fn run(console: &Console, command: &SlotCommand) -> ExitStatus {
    let (slot, outcome) = match command {
        SlotCommand::List(options) => (None, list::run(console, options)),
        SlotCommand::Claim(options) => (Some(&options.slot), hold::claim(console, options)),
        SlotCommand::Renew(options) => (Some(&options.slot), hold::renew(console, options)),
        SlotCommand::Release(options) => (Some(&options.slot), hold::release(console, options)),
        SlotCommand::Reap(options) => (None, reap::run(console, options)),
    };
    let slot = slot.map(|option| option.slot.as_str());
    outcome.unwrap_or_else(|denial| console.refuse(slot, &denial))
}

/// The configuration and the leases that it leads to.
struct Desk {
    loaded: LoadedConfig,
    store: EmbeddedStore,
}

impl Desk {
    fn open(option: &ConfigOption) -> Result<Self, Denial> {
        let environment = environment_snapshot()?;
        let loaded = load_config(option.config.as_deref(), &environment)?;
        let store = EmbeddedStore::new(&loaded.config.roots);
        Ok(Self { loaded, store })
    }

    fn config(&self) -> &Config {
        &self.loaded.config
    }
}

/// The one place of the leases that reads the clock.
fn now() -> SystemTime {
    SystemTime::now()
}
