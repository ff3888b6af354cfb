//! The command line of the front door.

use std::path::PathBuf;

use clap::{Args, CommandFactory as _, Parser, Subcommand};
use step_report::cli::{ConfigOption, FormatOption, TargetOptions};
use step_report::console::Console;
use step_report::exit::{self, ExitStatus};

use crate::{check, demo, explain, request};

/// Preview environments that cannot hurt production
///
/// Every preview slot has a frontend port, a backend port and a database of its own. Slotguard
/// refuses whatever would let one slot reach another, or production, and says why.
#[derive(Debug, Parser)]
#[command(name = "slotguard", version, after_help = exit::HELP, after_long_help = AFTER_HELP)]
struct Cli {
    #[command(flatten)]
    format: FormatOption,
    /// Say more on standard error; twice for everything
    #[arg(short, long, action = clap::ArgAction::Count, global = true)]
    verbose: u8,
    #[command(subcommand)]
    command: Command,
}

const AFTER_HELP: &str = "\
Examples:
  slotguard check --slot preview-1
  slotguard check --slot preview-1 --database-url-file /run/preview-1.url --format json
  slotguard explain SG2101
  slotguard demo

Exit codes:
  0   done, or allowed
  64  usage, or unknown slot
  65  bad data, such as a duplicate environment name
  66  input missing: no target, no file
  69  unavailable
  77  denied by the guard
  78  configuration";

#[derive(Debug, Subcommand)]
enum Command {
    /// Judge a database target and the environment around it, without connecting
    ///
    /// The environment of this process counts as the one the application would run in, so a
    /// variable that moves a connection is refused.
    Check(Check),
    /// Explain a diagnostic code, or list all of them
    Explain {
        /// The code, such as SG2101
        code: Option<String>,
        /// Write all of them as one Markdown page
        #[arg(long, conflicts_with = "code")]
        markdown: bool,
    },
    /// Run the main job for real on a throw-away Postgres, every refusal included
    Demo(Demo),
    /// Print a completion script for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Check {
    /// The slot, such as preview-1
    #[arg(long, value_name = "SLOT", required_unless_present = "stdin")]
    pub(crate) slot: Option<String>,
    /// Answer JSON lines {"id","slot","url","env":{}} from standard input, one verdict line each
    ///
    /// The environment of this process is not read: a line's `env` is the whole environment.
    #[arg(long, conflicts_with_all = ["slot", "database_url", "database_url_file"])]
    pub(crate) stdin: bool,
    #[command(flatten)]
    pub(crate) target: TargetOptions,
    #[command(flatten)]
    pub(crate) config: ConfigOption,
}

#[derive(Debug, Args)]
pub(crate) struct Demo {
    /// Directory of the sample application, with migrations and frontend
    #[arg(long, value_name = "DIR", default_value = "fixtures/sample-app")]
    pub(crate) sample: PathBuf,
    /// Directory of the Postgres server programs [default: PATH, then /usr/lib/postgresql]
    #[arg(long, value_name = "DIR")]
    pub(crate) postgres_programs: Option<PathBuf>,
}

/// Runs the program and returns how it ends.
#[must_use]
pub fn main() -> ExitStatus {
    let cli: Cli = match step_report::cli::parse() {
        Ok(cli) => cli,
        Err(status) => return status,
    };
    step_report::logs::start(cli.verbose);
    let console = Console::new(cli.format.format);
    match &cli.command {
        Command::Check(options) if options.stdin => request::answer_all(&console, options),
        Command::Check(options) => check::run(&console, options),
        Command::Explain { markdown: true, .. } => explain::page(&console),
        Command::Explain { code, .. } => explain::run(&console, code.as_deref()),
        Command::Demo(options) => demo::run(&console, options),
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
