//! The options of `slotguard slot`, as clap reads them.

use std::time::Duration;

use clap::{Args, Subcommand};
use guard::config::parse_time;
use slot_runtime::lease::Generation;
use step_report::cli::ConfigOption;

/// Commands of `slot`.
#[derive(Debug, Subcommand)]
pub(crate) enum SlotCommand {
    /// Show who holds each slot, for what, and until when
    List(List),
    /// Claim a slot; what is printed holds the generation that every act on it must show
    Claim(Claim),
    /// Renew a lease, by its holder only
    Renew(Renew),
    /// Stop the slot's backend, wait for what acts on the slot, and free it
    Release(Release),
    /// Free the slots whose lease expired, and say which end soon; for a timer
    Reap(Reap),
}

/// Options of `slot list`.
#[derive(Debug, Args)]
pub(crate) struct List {
    #[command(flatten)]
    pub(crate) config: ConfigOption,
}

/// A slot by its canonical id.
#[derive(Debug, Args)]
pub(crate) struct SlotOption {
    /// The slot, such as preview-1
    #[arg(long, value_name = "SLOT")]
    pub(crate) slot: String,
}

/// For how long a lease shall last.
#[derive(Debug, Args)]
pub(crate) struct Term {
    /// For how long, such as 90m or 2h [default: `[leases] default`, 2h]
    #[arg(long = "for", value_name = "TIME")]
    pub(crate) term: Option<String>,
}

/// Options of `slot claim`.
#[derive(Debug, Args)]
pub(crate) struct Claim {
    #[command(flatten)]
    pub(crate) slot: SlotOption,
    /// Who will hold the slot
    #[arg(long, value_name = "NAME")]
    pub(crate) owner: String,
    /// What for, such as a branch or a pull request
    #[arg(long, value_name = "TEXT")]
    pub(crate) purpose: Option<String>,
    #[command(flatten)]
    pub(crate) term: Term,
    /// Wait until the slot is free
    #[arg(long)]
    pub(crate) wait: bool,
    /// How long [default: 10s, with --wait 10m]
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub(crate) timeout: Option<Duration>,
    #[command(flatten)]
    pub(crate) config: ConfigOption,
}

/// The generation that a holder shows.
#[derive(Debug, Args)]
pub(crate) struct LeaseOption {
    /// The generation that `slot claim` printed
    #[arg(long, value_name = "GEN")]
    pub(crate) lease: Generation,
}

/// Options of `slot renew`.
#[derive(Debug, Args)]
pub(crate) struct Renew {
    #[command(flatten)]
    pub(crate) slot: SlotOption,
    #[command(flatten)]
    pub(crate) lease: LeaseOption,
    #[command(flatten)]
    pub(crate) term: Term,
    #[command(flatten)]
    pub(crate) config: ConfigOption,
}

/// Options of `slot release`.
#[derive(Debug, Args)]
pub(crate) struct Release {
    #[command(flatten)]
    pub(crate) slot: SlotOption,
    #[command(flatten)]
    pub(crate) lease: LeaseOption,
    /// How long an act on the slot, such as a migration, is waited for
    #[arg(long, value_name = "TIME", value_parser = time, default_value = "1m")]
    pub(crate) timeout: Duration,
    #[command(flatten)]
    pub(crate) config: ConfigOption,
}

/// Options of `slot reap`.
#[derive(Debug, Args)]
pub(crate) struct Reap {
    /// How long an act on a slot, such as a migration, is waited for
    #[arg(long, value_name = "TIME", value_parser = time, default_value = "10s")]
    pub(crate) timeout: Duration,
    #[command(flatten)]
    pub(crate) config: ConfigOption,
}

fn time(text: &str) -> Result<Duration, &'static str> {
    parse_time(text).ok_or("a time such as 45s, 90m or 2h is expected")
}
