//! The command line.

use std::path::PathBuf;
use std::rc::Rc;

use clap::{Args, Parser, Subcommand};
use guard::diagnostic::{Code, Denial};
use guard::io::{environment_snapshot, load_config};
use step_report::cli::{ConfigOption, FormatOption};
use step_report::console::{Console, Format};
use step_report::exit::{self, ExitStatus};
use step_report::logs::LogOption;

use crate::counters::{SCHEMA, Status};
use crate::place::Place;
use crate::settings::{Settings, require_enabled};

/// Stands between a slot's backend and its database: one database, one role, no password in the backend
///
/// Listens on 127.0.0.1:510n and on a Unix socket in the slot's directory beneath the state root.
#[derive(Debug, Parser)]
#[command(name = "pg-sidecar", version, after_help = exit::HELP, after_long_help = exit::help_after(EXAMPLES))]
struct Cli {
    #[command(flatten)]
    format: FormatOption,
    #[command(flatten)]
    log: LogOption,
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  pg-sidecar serve --slot preview-1
  pg-sidecar serve --slot preview-1 --database-url-file /etc/slotguard/preview-1.url
  pg-sidecar status --slot preview-1 --format json";

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve a slot until SIGTERM
    ///
    /// First the server must say that it is the slot's own (`migrate-runner confirm`), and again
    /// every `[sidecar] confirm_every_s` seconds. SIGTERM lets transactions end; a second one does not.
    Serve(Serve),
    /// Show how the sidecar of a slot stands
    Status(Options),
}

#[derive(Debug, Args)]
struct Options {
    /// The slot, `preview-1` to `preview-9`
    #[arg(long, value_name = "SLOT")]
    slot: String,
    #[command(flatten)]
    config: ConfigOption,
}

#[derive(Debug, Args)]
struct Serve {
    #[command(flatten)]
    options: Options,
    /// File with the URL of the slot's database at the server, and its password
    ///
    /// For a service manager that hands it over; instead of `[database] password_file`. It is read
    /// anew when the server's password has changed.
    #[arg(long, value_name = "FILE")]
    database_url_file: Option<PathBuf>,
}

/// Runs the program and returns how it ends.
#[must_use]
pub fn main() -> ExitStatus {
    let cli: Cli = match step_report::cli::parse_or_tell() {
        Ok(cli) => cli,
        Err(status) => return status,
    };
    cli.log.start();
    let console = Rc::new(Console::new(cli.format.format));
    let (outcome, options) = match &cli.command {
        Command::Serve(serve) => (self::serve(&console, serve), &serve.options),
        Command::Status(options) => (status(&console, options), options),
    };
    match outcome {
        Ok(()) => ExitStatus::Done,
        Err(denial) => console.refuse(Some(&options.slot), &denial),
    }
}

fn serve(console: &Rc<Console>, serve: &Serve) -> Result<(), Denial> {
    let Serve { options, database_url_file } = serve;
    let environment = environment_snapshot()?;
    let loaded = load_config(options.config.config.as_deref(), &environment)?;
    let slot = loaded.config.slot(&options.slot)?;
    let settings = Settings::of(slot, &loaded.config, database_url_file.as_deref())?;
    crate::serve::run(console, settings, loaded, &environment)
}

fn status(console: &Console, options: &Options) -> Result<(), Denial> {
    let environment = environment_snapshot()?;
    let loaded = load_config(options.config.config.as_deref(), &environment)?;
    let slot = loaded.config.slot(&options.slot)?;
    require_enabled(&loaded.config)?;
    let answer = Place::find(slot, &loaded.config)?.ask()?;
    let status = serde_json::from_str::<Status>(&answer).ok();
    let status = status.filter(|status| status.schema == SCHEMA).ok_or_else(|| {
        let message = "the answer of the sidecar cannot be read";
        Denial::new(Code::SidecarAbsent, message, "another answer", format!("`{SCHEMA}`"))
    })?;
    match console.format() {
        Format::Json => console.object(&status),
        Format::Human => status.lines(slot).iter().for_each(|line| console.line(line)),
    }
    Ok(())
}
