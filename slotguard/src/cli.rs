//! The command line of the front door.

use clap::{CommandFactory as _, Parser, Subcommand};
use step_report::cli::FormatOption;
use step_report::console::Console;
use step_report::exit::{self, ExitStatus};
use step_report::logs::LogOption;

use crate::options::{ArtifactsCommand, Check, Demo, Deploy, Doctor, Page, Publish, Status};
use crate::routes::Routes;
use crate::slot::SlotCommand;
use crate::{
    artifacts, backend, check, demo, deploy, doctor, explain, install, pages, publish, request,
    routes, schema, slot, status,
};

/// Preview environments that cannot hurt production
///
/// Every preview slot has a frontend port, a backend port and a database of its own. Slotguard
/// refuses whatever would let one slot reach another, or production, and says why.
#[derive(Debug, Parser)]
#[command(name = "slotguard", version, after_help = exit::HELP, after_long_help = exit::help_after(EXAMPLES))]
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
  slotguard check --slot preview-1
  slotguard check --slot preview-1 --database-url-file /run/preview-1.url --format json
  slotguard check --slot preview-1 --live
  slotguard backend start --slot preview-1 --worktree /srv/previews/feature-7
  slotguard explain SG2101
  slotguard slot claim --slot preview-1 --owner worker-1 --purpose 'pull request 41'
  slotguard slot list
  slotguard publish --slot preview-1 --worktree /srv/previews/feature-7
  slotguard status --watch
  slotguard routes render nginx
  nginx -T | slotguard routes verify --nginx-config -
  slotguard doctor --admin-socket /run/postgresql
  slotguard demo";

const PUBLISH_EXAMPLES: &str = "\
Examples:
  slotguard publish --slot preview-1 --worktree /srv/previews/feature-7
  slotguard publish --slot preview-1 --worktree /srv/previews/feature-7 --lease 12 --dry-run
  slotguard publish --slot preview-1 --worktree /srv/previews/feature-7 -- --log-level debug";

#[derive(Debug, Subcommand)]
enum Command {
    /// Judge a database target and the environment around it
    ///
    /// Nothing is connected to, unless --live asks for it.
    ///
    /// The environment of this process counts as the one the application would run in, so a
    /// variable that moves a connection is refused.
    Check(Check),
    /// Explain a diagnostic code, or list all of them
    Explain {
        /// The code, such as SG2101
        code: Option<String>,
        /// Write a reference page as Markdown
        #[arg(long, conflicts_with = "code", value_name = "PAGE")]
        markdown: Option<Page>,
    },
    /// Start, stop and judge the backend of exactly one slot
    Backend(backend::options::Backend),
    /// Keep one backend until it has ended; `backend start` starts it
    #[command(hide = true)]
    Keep(backend::options::Keep),
    /// Claim, renew and release slots, and show who holds them
    #[command(subcommand)]
    Slot(SlotCommand),
    /// Examine the installation: programs, configuration, cluster and the slots' databases
    ///
    /// The cluster is compared with what provisioning makes if a superuser is named. 65 when
    /// anything needs mending.
    Doctor(Doctor),
    /// Write units, users, directories, runtime scripts and a configuration to start with
    ///
    /// Only files are written, and only beneath --root; a manifest lists them. The configuration that
    /// is there stays. What is left to be run is printed.
    Install(install::Install),
    /// Remove exactly what install wrote
    Uninstall(install::Uninstall),
    /// Put a worktree into a slot: dependencies, frontend, migrations, backend, and proof of each
    ///
    /// Everything is checked before anything is changed. The frontend that people see switches
    /// last; when a step fails the previous one keeps serving. Migrations that were applied are not
    /// undone. A step that has nothing to do says `unchanged`.
    #[command(after_long_help = PUBLISH_EXAMPLES)]
    Publish(Publish),
    /// Reload production after an approved merge, and prove that it is healthy
    ///
    /// DEPLOY_BACKEND_RELOAD_CMD runs once, then DEPLOY_BACKEND_HEALTHCHECK_CMD until it succeeds.
    /// Both are words split at blanks, without quoting, and must be entries of `[programs]`. They get
    /// PATH and LANG and nothing else. Refused in a preview.
    Deploy(Deploy),
    /// Show how all slots stand: lease, branch, backend, frontend, database, last publish
    ///
    /// A part of a slot that is broken or cannot be asked says so, with its code; the exit status is
    /// 0 whatever is seen.
    Status(Status),
    /// List and show what runs, resets, publishes and the like left behind
    #[command(subcommand)]
    Artifacts(ArtifactsCommand),
    /// Run the main job for real on a throw-away Postgres, every refusal included
    Demo(Demo),
    /// Keep the slots apart in nginx or Caddy
    #[command(subcommand)]
    Routes(Routes),
    /// Print the JSON Schema of an output, or list all of them
    Schema {
        /// The schema, such as verdict
        name: Option<String>,
    },
    /// Print a completion script for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
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
    match &cli.command {
        Command::Check(options) if options.stdin => request::answer_all(&console, options),
        Command::Check(options) => check::run(&console, options),
        Command::Explain { markdown: Some(page), .. } => pages::write(&console, *page),
        Command::Explain { code, .. } => explain::run(&console, code.as_deref()),
        Command::Backend(options) => backend::run(&console, options),
        Command::Keep(options) => backend::keep(options),
        Command::Slot(command) => slot::run(&console, command),
        Command::Doctor(options) => doctor::run(&console, options),
        Command::Install(options) => install::install(&console, options),
        Command::Uninstall(options) => install::uninstall(&console, options),
        Command::Artifacts(command) => artifacts::run(&console, command),
        Command::Publish(options) => publish::run(&console, options),
        Command::Status(options) => status::run(&console, options),
        Command::Deploy(options) => deploy::run(&console, options),
        Command::Demo(options) => demo::run(&console, options),
        Command::Routes(command) => routes::run(&console, command),
        Command::Schema { name } => schema::run(&console, name.as_deref()),
        Command::Completions { shell } => completions(*shell),
    }
}

fn completions(shell: clap_complete::Shell) -> ExitStatus {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "slotguard", &mut script);
    // A closed pipe is a quiet end.
    let _ = std::io::Write::write_all(&mut std::io::stdout(), &script);
    ExitStatus::Done
}
