//! The options of each command, as clap reads them.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use guard::config::parse_time;
use slot_runtime::lease::Generation;
use step_report::cli::{ConfigOption, TargetOptions};

/// Options of `check`.
#[derive(Debug, Args)]
pub(crate) struct Check {
    /// The slot, such as preview-1
    #[arg(long, value_name = "SLOT", required_unless_present = "stdin")]
    pub(crate) slot: Option<String>,
    /// Answer JSON lines {"id","slot","url","env":{}} from standard input, one verdict line each
    ///
    /// The environment of this process is not read: a line's `env` is the whole environment.
    #[arg(long, conflicts_with_all = ["slot", "worktree", "live", "database_url", "database_url_file"])]
    pub(crate) stdin: bool,
    /// Also connect, and ask the server whether it is the slot's own database
    #[arg(long)]
    pub(crate) live: bool,
    /// Also judge the `.env*` files at the top of this worktree
    #[arg(long, value_name = "DIR")]
    pub(crate) worktree: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) target: TargetOptions,
    #[command(flatten)]
    pub(crate) config: ConfigOption,
}

/// Options of `doctor`.
#[derive(Debug, Args)]
pub(crate) struct Doctor {
    /// File with the URL of a superuser and the database `postgres`
    #[arg(long, value_name = "FILE", conflicts_with = "admin_socket")]
    pub(crate) admin_url_file: Option<PathBuf>,
    /// Directory of the server's unix socket, where the system user is the password
    #[arg(long, value_name = "DIR")]
    pub(crate) admin_socket: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) config: ConfigOption,
}

/// Options of `demo`.
#[derive(Debug, Args)]
pub(crate) struct Demo {
    /// Directory of the sample application, with migrations and frontend
    #[arg(long, value_name = "DIR", default_value = "fixtures/sample-app")]
    pub(crate) sample: PathBuf,
    /// Directory of the Postgres server programs [default: PATH, then /usr/lib/postgresql]
    #[arg(long, value_name = "DIR")]
    pub(crate) postgres_programs: Option<PathBuf>,
}

/// The reference pages that are made from tables of the code.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub(crate) enum Page {
    /// Every diagnostic code
    Diagnostics,
    /// Every name of an environment variable that is treated specially
    Environment,
}

/// Options of `publish`.
#[derive(Debug, Args)]
pub(crate) struct Publish {
    /// The slot, such as preview-1
    #[arg(long, value_name = "SLOT")]
    pub(crate) slot: String,
    /// The worktree, an absolute path beneath `[roots] worktree`
    #[arg(long, value_name = "DIR")]
    pub(crate) worktree: String,
    /// Key of the backend's program under `[programs]`
    #[arg(long, value_name = "KEY", default_value = "backend")]
    pub(crate) program: String,
    /// Generation of the slot's lease, as `slot claim` said it
    #[arg(long, value_name = "GEN")]
    pub(crate) lease: Option<Generation>,
    /// Check everything and say what each step would do; change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    #[command(flatten)]
    pub(crate) config: ConfigOption,
    /// Further arguments of the backend's program
    #[arg(last = true, value_name = "ARGS")]
    pub(crate) args: Vec<String>,
}

/// Options of `deploy`.
#[derive(Debug, Args)]
pub(crate) struct Deploy {
    /// Check everything and say what would be run; run nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    #[command(flatten)]
    pub(crate) config: ConfigOption,
}

/// Options of `status`.
#[derive(Debug, Args)]
pub(crate) struct Status {
    /// Look again and again: drawn anew on a terminal, elsewhere one object or block for each change
    #[arg(long)]
    pub(crate) watch: bool,
    /// How long between two looks, from 1s to 1h
    #[arg(long, value_name = "TIME", value_parser = interval, default_value = "2s", requires = "watch")]
    pub(crate) interval: Duration,
    #[command(flatten)]
    pub(crate) config: ConfigOption,
}

fn interval(text: &str) -> Result<Duration, &'static str> {
    let bounds = Duration::from_secs(1)..=Duration::from_secs(3600);
    let time = parse_time(text).filter(|time| bounds.contains(time));
    time.ok_or("a time from 1s to 1h is expected")
}

/// The commands of `artifacts`.
#[derive(Debug, Subcommand)]
pub(crate) enum ArtifactsCommand {
    /// List what the steps of the slots left behind, the newest first
    List(ArtifactsList),
    /// Show one of them: its files, its events and its report
    Show(ArtifactsShow),
}

/// Options of `artifacts list`.
#[derive(Debug, Args)]
pub(crate) struct ArtifactsList {
    /// Only of this slot
    #[arg(long, value_name = "SLOT", conflicts_with = "production")]
    pub(crate) slot: Option<String>,
    /// Only the deploys of production
    #[arg(long)]
    pub(crate) production: bool,
    #[command(flatten)]
    pub(crate) config: ConfigOption,
}

/// Options of `artifacts show`.
#[derive(Debug, Args)]
pub(crate) struct ArtifactsShow {
    /// The slot, such as preview-1
    #[arg(long, value_name = "SLOT", required_unless_present = "production")]
    pub(crate) slot: Option<String>,
    /// A deploy of production
    #[arg(long, conflicts_with = "slot")]
    pub(crate) production: bool,
    /// Its name, as `list` shows it
    pub(crate) name: String,
    #[command(flatten)]
    pub(crate) config: ConfigOption,
}
