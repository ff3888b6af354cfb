//! The command line.

use clap::{Parser, Subcommand};
use guard::config::Config;
use guard::diagnostic::{Code, Denial, Warning};
use guard::environment::Environment;
use guard::io::{environment_snapshot, load_config};
use guard::verify::VerifiedTarget;
use step_report::cli::{ConfigOption, FormatOption};
use step_report::console::{Console, Format};
use step_report::exit::{self, ExitStatus};
use step_report::logs::LogOption;

use crate::files::MigrationSet;
use crate::interrupt::Interrupt;
use crate::limits::Limits;
use crate::lint::{self, LintOptions};
use crate::options::{Adopt, Confirm, Migrations, Protect, Provision, Reset, SeedCommand};
use crate::report::{self, Place};
use crate::run::MigrationRun;
use crate::screening::{ScreenedFile, require_clean};
use crate::session::GuardedSession;
use crate::stop::Stopper;
use crate::{admin, confirm};

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
  migrate-runner apply --slot preview-1 --migrations db/migrations --format json
  migrate-runner lint db/migrations
  migrate-runner provision --admin-socket /run/postgresql --dry-run
  migrate-runner seed build --migrations db/migrations
  migrate-runner reset --slot preview-1 --to seed";

#[derive(Debug, Subcommand)]
enum Command {
    /// Show what would run, changing nothing
    Plan(Migrations),
    /// Run what is pending
    Apply(Migrations),
    /// Show every version and how it stands
    Status(Migrations),
    /// Screen files of SQL, without a database
    ///
    /// Says every statement whose effect would leave the slot's own database, or that nobody can
    /// judge. `plan` and `apply` refuse such files before they connect.
    Lint(LintOptions),
    /// Ask the live server whether it is the slot's own database
    Confirm(Confirm),
    /// Make or check the slots' roles, databases and privileges
    ///
    /// As a superuser: roles, memberships and who may connect where; as `preview_admin`: the
    /// databases. The plan is printed first. What exists already and is right stays as it is.
    Provision(Provision),
    /// Replace a slot's database by a fresh one, with a gap of a moment
    Reset(Reset),
    /// Make the template of the slots' databases
    #[command(subcommand)]
    Seed(SeedCommand),
    /// Stamp a database as production: everything refuses to act on it, whatever its name
    Protect(Protect),
    /// Take over a slot's database that was made by hand, after showing what was found
    Adopt(Adopt),
}

impl Command {
    fn slot(&self) -> Option<&str> {
        match self {
            Self::Plan(options) | Self::Apply(options) | Self::Status(options) => {
                Some(&options.slot)
            }
            Self::Lint(options) => options.slot.as_deref(),
            Self::Confirm(options) => Some(&options.slot),
            Self::Reset(options) => Some(&options.slot),
            Self::Adopt(options) => Some(&options.slot),
            Self::Provision(_) | Self::Seed(_) | Self::Protect(_) => None,
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
    run(&console, &cli.command).unwrap_or_else(|denial| console.refuse(cli.command.slot(), &denial))
}

fn run(console: &Console, command: &Command) -> Result<ExitStatus, Denial> {
    // What needs no target of a slot: the configuration alone says where it acts.
    let config = |option: &ConfigOption| configured(option, &environment_snapshot()?);
    let done = |outcome: Result<(), Denial>| outcome.map(|()| ExitStatus::Done);
    match command {
        Command::Plan(options) | Command::Apply(options) | Command::Status(options) => {
            let mut prepared = prepare(options)?;
            if !matches!(command, Command::Status(_)) {
                prepared.screened = require_clean(console, &prepared.set)?;
            }
            for warning in &prepared.warnings {
                console.warn(warning);
            }
            in_runtime(migrate(console, command, prepared))
        }
        Command::Lint(options) => lint::run(console, options),
        Command::Confirm(options) => {
            let environment = environment_snapshot()?;
            let config = configured(&options.config, &environment)?;
            let slot = config.slot(&options.slot)?;
            let (target, warnings) = options.target.verify(slot, &environment, &config)?;
            in_runtime(confirm::run(console, target, &Limits::of(&config.quotas), warnings))
        }
        Command::Provision(options) => {
            let config = config(&options.admin.config)?;
            let target = options.admin.target(&config)?;
            in_runtime(admin::provision(console, &config, &target, options))
        }
        Command::Protect(options) => {
            let config = config(&options.admin.config)?;
            let target = options.admin.target(&config)?;
            done(in_runtime(admin::protect(console, &config, &target, options)))
        }
        Command::Adopt(options) => {
            let config = config(&options.admin.config)?;
            let slot = config.slot(&options.slot)?;
            let target = options.admin.target(&config)?;
            done(in_runtime(admin::adopt(console, &config, &target, slot, options)))
        }
        Command::Reset(options) => {
            let config = config(&options.config)?;
            let slot = config.slot(&options.slot)?;
            let source = options.source()?;
            done(in_runtime(admin::reset(console, &config, slot, &source)))
        }
        Command::Seed(SeedCommand::Build(options)) => {
            let config = config(&options.config)?;
            let (migrations, sql) = (&options.migrations, &options.sql);
            done(in_runtime(admin::seed(console, &config, migrations, sql)))
        }
    }
}

fn configured(option: &ConfigOption, environment: &Environment) -> Result<Config, Denial> {
    Ok(load_config(option.config.as_deref(), environment)?.config)
}

fn in_runtime<T>(work: impl Future<Output = Result<T, Denial>>) -> Result<T, Denial> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| {
        Denial::new(Code::Internal, "the runtime cannot start", error.to_string(), "a runtime")
    })?;
    runtime.block_on(work)
}

struct Prepared {
    target: VerifiedTarget,
    set: MigrationSet,
    limits: Limits,
    warnings: Vec<Warning>,
    screened: Vec<ScreenedFile>,
}

/// Everything that can be refused before a socket opens.
fn prepare(options: &Migrations) -> Result<Prepared, Denial> {
    let environment = environment_snapshot()?;
    let config = configured(&options.config, &environment)?;
    let slot = config.slot(&options.slot)?;
    let (target, warnings) = options.target.verify(slot, &environment, &config)?;
    let set = MigrationSet::read(&options.migrations, &config)?;
    let limits = options.limits.over(Limits::of(&config.quotas));
    Ok(Prepared { target, set, limits, warnings, screened: Vec::new() })
}

async fn migrate(
    console: &Console,
    command: &Command,
    prepared: Prepared,
) -> Result<ExitStatus, Denial> {
    let Prepared { target, set, limits, mut warnings, screened } = prepared;
    let (slot, place) = (target.slot(), Place::of(&target));
    let mut session = GuardedSession::open(target, &limits).await?;
    let stopper = session.stopper();
    for warning in session.warnings() {
        console.warn(warning);
    }
    warnings.extend_from_slice(session.warnings());
    let run = MigrationRun::new(session, set).within(limits);
    if let Command::Apply(_) = command {
        let mut observer = |progress: crate::progress::Progress<'_>| {
            report::progress(console, slot, &progress);
        };
        let outcome = until_interrupted(run.apply(&mut observer), stopper).await?;
        report::finished(console, &place, &outcome, &screened, &warnings);
        return Ok(ExitStatus::Done);
    }
    let comparison = run.compare().await?;
    let only_pending = matches!(command, Command::Plan(_));
    let screened = only_pending.then_some(&screened[..]);
    report::standing(console, &place, &comparison, screened, &warnings);
    match comparison.problems().into_iter().next() {
        None => Ok(ExitStatus::Done),
        Some(problem) if console.format() == Format::Human => Err(problem),
        Some(problem) => Ok(problem.code().into()),
    }
}

/// Does the work to its end; a signal only asks it to come to its end soon.
async fn until_interrupted<T>(
    work: impl Future<Output = Result<T, Denial>>,
    stopper: Option<Stopper>,
) -> Result<T, Denial> {
    let Some(stopper) = stopper else { return work.await };
    let mut interrupt = Interrupt::listen()?;
    let mut work = std::pin::pin!(work);
    loop {
        tokio::select! {
            done = work.as_mut() => return done,
            name = interrupt.came() => {
                tracing::warn!(signal = name, "stopping");
                stopper.stop().await;
            }
        }
    }
}
