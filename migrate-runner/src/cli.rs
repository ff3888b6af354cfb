//! The command line.

use clap::{Parser, Subcommand};
use guard::config::Config;
use guard::diagnostic::{Code, Denial};
use guard::environment::Environment;
use guard::io::{environment_snapshot, load_config};
use slot_runtime::pending_reset;
use step_report::cli::ConfigOption;
use step_report::console::Console;
use step_report::exit::{self, ExitStatus};
use step_report::logs::LogOption;

use crate::lease::LeasedAct;
use crate::limits::Limits;
use crate::lint::{self, LintOptions};
use crate::options::{Adopt, Confirm, Migrations, Plan, Protect, Provision, Reset, SeedCommand};
use crate::output::{Output, OutputOption};
use crate::{admin, confirm, migrate, trace};

/// Applies preview migrations, only with the proof that the database is the slot's own
///
/// Before a socket opens, the target is judged by the guard; after connecting, the server itself
/// must say that it is the slot's database. Each migration runs in a transaction of its own, unless
/// one of its statements allows none.
#[derive(Debug, Parser)]
#[command(name = "migrate-runner", version, after_help = exit::HELP, after_long_help = exit::help_after(EXAMPLES))]
struct Cli {
    #[command(flatten)]
    output: OutputOption,
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
  migrate-runner trace --slot preview-1 --migrations db/migrations --format markdown
  migrate-runner adopt --slot preview-1 --migrations db/migrations --up-to 12 --dry-run
  migrate-runner provision --admin-socket /run/postgresql --dry-run
  migrate-runner seed build --migrations db/migrations
  migrate-runner reset --slot preview-1 --to seed";

#[derive(Debug, Subcommand)]
enum Command {
    /// Show what would run and what of it would hurt production, changing nothing
    Plan(Plan),
    /// Run what is pending
    Apply(Migrations),
    /// Run what is pending, as `apply` does, and show what production would feel of it
    ///
    /// Of each statement: the locks it took and how long they were held, the tables it wrote anew,
    /// the indexes it built, the rows it read and wrote; and hazards. Only of relations that were
    /// there before the run. A format of its own: markdown.
    Trace(Box<Plan>),
    /// Show every version and how it stands
    Status(Migrations),
    /// Screen files of SQL, without a database
    ///
    /// Says every statement whose effect would leave the slot's own database, or that nobody can
    /// judge. `plan` and `apply` refuse such files before they connect. Warns of hazards: what would
    /// hurt production later, except on what the files themselves make. Formats of its own: sarif,
    /// github.
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
    /// Take over a slot's database that was made by hand, or the schema that is in it
    ///
    /// With an administrator, the database gets its owner, its privileges and its stamp, after what
    /// was found was shown. With `--migrations`, files are recorded as applied without being run:
    /// for a database that has their schema already.
    #[command(mut_group("administrator", |group| group.required(false)))]
    #[command(mut_arg("layout", |arg| arg.requires("migrations")))]
    #[command(mut_arg("database_url", |arg| arg.requires("migrations")))]
    #[command(mut_arg("database_url_file", |arg| arg.requires("migrations")))]
    Adopt(Box<Adopt>),
}

impl Command {
    /// Returns the formats that the command has beside those of every one.
    fn outputs(&self) -> &'static [Output] {
        match self {
            Self::Lint(_) => &lint::OUTPUTS,
            Self::Trace(_) => &trace::OUTPUTS,
            _ => &[],
        }
    }

    fn slot(&self) -> Option<&str> {
        match self {
            Self::Plan(options) => Some(&options.run.slot),
            Self::Trace(options) => Some(&options.run.slot),
            Self::Apply(options) | Self::Status(options) => Some(&options.slot),
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
    let console = Console::new(cli.output.console());
    run(&console, &cli).unwrap_or_else(|denial| console.refuse(cli.command.slot(), &denial))
}

fn run(console: &Console, cli: &Cli) -> Result<ExitStatus, Denial> {
    let command = &cli.command;
    let output = cli.output.among(command.outputs())?;
    // What needs no target of a slot: the configuration alone says where it acts.
    let config = |option: &ConfigOption| configured(option, &environment_snapshot()?);
    let done = |outcome: Result<(), Denial>| outcome.map(|()| ExitStatus::Done);
    match command {
        Command::Plan(options) => in_runtime(migrate::plan(console, options)),
        Command::Apply(options) => in_runtime(migrate::apply(console, options)),
        Command::Trace(options) => in_runtime(trace::run(console, options, output)),
        Command::Status(options) => in_runtime(migrate::status(console, options)),
        Command::Lint(options) => lint::run(console, options, output),
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
        Command::Adopt(options) if options.migrations.is_some() => {
            in_runtime(migrate::adopt(console, options))
        }
        Command::Adopt(options) => {
            let config = config(&options.admin.config)?;
            let slot = config.slot(&options.slot)?;
            console.begin(&config.roots, slot, "adopt")?;
            let act = LeasedAct::begin(&config, slot, options.lease)?;
            act.announce(console);
            pending_reset::refuse(&config.roots, slot)?;
            let target = options.admin.target(&config)?;
            done(in_runtime(admin::adopt(console, &config, &target, slot, options)))
        }
        Command::Reset(options) => {
            let config = config(&options.config)?;
            let slot = config.slot(&options.slot)?;
            console.begin(&config.roots, slot, "reset")?;
            let source = options.source()?;
            let act = LeasedAct::begin(&config, slot, options.lease)?;
            act.announce(console);
            act.warning().iter().for_each(|warning| console.warn(warning));
            done(in_runtime(admin::reset(console, &config, &act, &source, options.if_due)))
        }
        Command::Seed(SeedCommand::Build(options)) => {
            let config = config(&options.config)?;
            console.begin(&config.roots, SEED, "build")?;
            let migrations = (options.migrations.as_path(), options.layout.layout);
            done(in_runtime(admin::seed(console, &config, migrations, &options.sql)))
        }
    }
}

pub(crate) fn configured(
    option: &ConfigOption,
    environment: &Environment,
) -> Result<Config, Denial> {
    Ok(load_config(option.config.as_deref(), environment)?.config)
}

fn in_runtime<T>(work: impl Future<Output = Result<T, Denial>>) -> Result<T, Denial> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| {
        Denial::new(Code::Internal, "the runtime cannot start", error.to_string(), "a runtime")
    })?;
    runtime.block_on(work)
}

/// What the artifacts of the seed lie beneath, as those of a slot lie beneath its name.
const SEED: &str = "seed";
