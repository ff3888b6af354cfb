//! The command line: `plan`, `apply` and `status`.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use guard::diagnostic::{Code, Denial, Warning};
use guard::io::{environment_snapshot, load_config};
use guard::verify::VerifiedTarget;
use step_report::cli::{ConfigOption, FormatOption, TargetOptions};
use step_report::console::{Console, Format};
use step_report::exit::{self, ExitStatus};
use step_report::logs::LogOption;

use crate::files::MigrationSet;
use crate::report::{self, Place};
use crate::run::MigrationRun;
use crate::session::GuardedSession;

/// Applies preview migrations, only with the proof that the database is the slot's own
///
/// Before a socket opens, the target is judged by the guard; after connecting, the server itself
/// must say that it is the slot's database. Each migration runs in a transaction of its own.
#[derive(Debug, Parser)]
#[command(name = "migrate-runner", version, after_help = exit::HELP, after_long_help = exit::help_after(EXAMPLES))]
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
  migrate-runner plan --slot preview-1 --migrations db/migrations
  migrate-runner apply --slot preview-1 --migrations db/migrations --format json";

#[derive(Debug, Subcommand)]
enum Command {
    /// Show what would run, changing nothing
    Plan(Migrations),
    /// Run what is pending
    Apply(Migrations),
    /// Show every version and how it stands
    Status(Migrations),
}

#[derive(Debug, Args)]
struct Migrations {
    /// The slot, such as preview-1
    #[arg(long, value_name = "SLOT")]
    slot: String,
    /// Directory with V<number>__<name>.sql
    #[arg(long, value_name = "DIR")]
    migrations: PathBuf,
    #[command(flatten)]
    target: TargetOptions,
    #[command(flatten)]
    config: ConfigOption,
}

impl Command {
    fn options(&self) -> &Migrations {
        match self {
            Self::Plan(options) | Self::Apply(options) | Self::Status(options) => options,
        }
    }
}

/// Runs the program and returns how it ends.
#[must_use]
pub fn main() -> ExitStatus {
    let cli: Cli = match step_report::cli::parse_or_tell() {
        Ok(cli) => cli,
        Err(status) => return status,
    };
    cli.log.start();
    let console = Console::new(cli.format.format);
    let slot = &cli.command.options().slot;
    run(&console, &cli.command).unwrap_or_else(|denial| console.refuse(Some(slot), &denial))
}

fn run(console: &Console, command: &Command) -> Result<ExitStatus, Denial> {
    let prepared = prepare(command.options())?;
    for warning in &prepared.warnings {
        console.warn(warning);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| {
        Denial::new(Code::Internal, "the runtime cannot start", error.to_string(), "a runtime")
    })?;
    runtime.block_on(act(console, command, prepared))
}

struct Prepared {
    target: VerifiedTarget,
    set: MigrationSet,
    warnings: Vec<Warning>,
}

/// Everything that can be refused before a socket opens.
fn prepare(options: &Migrations) -> Result<Prepared, Denial> {
    let environment = environment_snapshot();
    let config = load_config(options.config.config.as_deref(), &environment)?.config;
    let slot = config.slot(&options.slot)?;
    let (target, warnings) = options.target.verify(slot, &environment, &config)?;
    let set = MigrationSet::read(&options.migrations, &config)?;
    Ok(Prepared { target, set, warnings })
}

async fn act(
    console: &Console,
    command: &Command,
    prepared: Prepared,
) -> Result<ExitStatus, Denial> {
    let Prepared { target, set, warnings } = prepared;
    let (slot, place) = (target.slot(), Place::of(&target));
    let run = MigrationRun::new(GuardedSession::open(target).await?, set);
    if let Command::Apply(_) = command {
        let mut observer = |progress: crate::progress::Progress<'_>| {
            report::progress(console, slot, &progress);
        };
        let outcome = run.apply(&mut observer).await?;
        report::finished(console, &place, &outcome, &warnings);
        return Ok(ExitStatus::Done);
    }
    let comparison = run.compare().await?;
    let only_pending = matches!(command, Command::Plan(_));
    report::standing(console, &place, &comparison, only_pending, &warnings);
    match comparison.problems().into_iter().next() {
        None => Ok(ExitStatus::Done),
        Some(problem) if console.format() == Format::Human => Err(problem),
        Some(problem) => Ok(problem.code().into()),
    }
}
