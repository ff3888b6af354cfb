//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use guard::diagnostic::Denial;
use guard::io::{environment_snapshot, load_config};
use slot_runtime::lifecycle::Owner;
use step_report::cli::{ConfigOption, FormatOption};
use step_report::console::Console;
use step_report::exit::{self, ExitStatus};

use crate::release::WebRoot;
use crate::serve::{self, Settings};

/// Serves the frontend of one preview slot, and its /api from the slot's own backend
///
/// Listens on 127.0.0.1:310n and forwards /api to 127.0.0.1:810n. Both follow from the slot; nothing
/// can name another port.
#[derive(Debug, Parser)]
#[command(name = "web-surface", version, after_help = exit::HELP, after_long_help = exit::help_after(EXAMPLES))]
struct Cli {
    #[command(flatten)]
    format: FormatOption,
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  web-surface serve --slot preview-1
  web-surface serve --slot preview-1 --release dist --format json";

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve until SIGTERM or SIGINT
    ///
    /// Each request is said on standard output. A new release is picked up without a restart.
    Serve(Serve),
}

/// Options of `serve`.
#[derive(Debug, Args)]
struct Serve {
    /// The slot, such as preview-1
    #[arg(long, value_name = "SLOT")]
    slot: String,
    /// Directory of the built frontend, or one with `releases` and `current`
    /// [default: [web] root, else $WORKER_PREVIEW_WEB_ROOT_TEMPLATE, else the contract's]
    #[arg(long, value_name = "DIR")]
    release: Option<PathBuf>,
    /// Do not say requests
    #[arg(long)]
    no_access_log: bool,
    #[command(flatten)]
    config: ConfigOption,
}

/// Runs the program and returns how it ends.
#[must_use]
pub fn main() -> ExitStatus {
    let cli: Cli = match step_report::cli::parse_or_tell() {
        Ok(cli) => cli,
        Err(status) => return status,
    };
    let console = Console::new(cli.format.format);
    let Command::Serve(options) = &cli.command;
    match run(&console, options) {
        Ok(()) => ExitStatus::Done,
        Err(denial) => console.refuse(Some(&options.slot), &denial),
    }
}

fn run(console: &Console, options: &Serve) -> Result<(), Denial> {
    let environment = environment_snapshot()?;
    let config = load_config(options.config.config.as_deref(), &environment)?.config;
    let slot = config.slot(&options.slot)?;
    let root = match &options.release {
        Some(path) => WebRoot::named(path, slot, &config)?,
        None => WebRoot::configured(slot, &config)?,
    };
    let settings = Settings {
        slot,
        hosts: config.web.hosts(slot),
        owner: Owner::of(slot, config.lifecycle.manager, config.roots.state.clone()),
        root,
        access_log: !options.no_access_log,
        ready_socket: environment.value("NOTIFY_SOCKET").map(<[u8]>::to_vec),
    };
    serve::run(console, settings)
}
