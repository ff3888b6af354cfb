//! The options of each command, as clap reads them.

use std::path::{Path, PathBuf};

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Subcommand, ValueEnum};
use guard::admin::AdminTarget;
use guard::config::Config;
use guard::database_url::DatabaseTarget;
use guard::diagnostic::{Code, Denial, shown};
use guard::io::read_url;
use guard::layout::Layout;
use guard::path::AbsolutePath;
use step_report::cli::{ConfigOption, TargetOptions};

use crate::hazard::HazardOptions;
use crate::lease::LeaseOption;
use crate::limits::Limits;

/// The layout of a directory of migrations.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct LayoutOption {
    /// The tool whose layout the directory has [default: the one that its names show]
    #[arg(long, value_name = "NAME", value_parser = layouts())]
    pub(crate) layout: Option<Layout>,
}

fn layouts() -> impl TypedValueParser<Value = Layout> {
    PossibleValuesParser::new(Layout::ALL.map(Layout::name)).try_map(|name| name.parse::<Layout>())
}

/// Options of `apply` and `status`, and of what is made of them.
#[derive(Debug, Args)]
pub(crate) struct Migrations {
    /// The slot, such as preview-1
    #[arg(long, value_name = "SLOT")]
    pub(crate) slot: String,
    /// Directory with V<number>__<name>.sql, or with the migrations of another tool
    #[arg(long, value_name = "DIR")]
    pub(crate) migrations: PathBuf,
    #[command(flatten)]
    pub(crate) layout: LayoutOption,
    #[command(flatten)]
    pub(crate) lease: LeaseOption,
    #[command(flatten)]
    pub(crate) limits: LimitOptions,
    #[command(flatten)]
    pub(crate) target: TargetOptions,
    #[command(flatten)]
    pub(crate) config: ConfigOption,
}

/// Options of `plan` and `trace`.
#[derive(Debug, Args)]
pub(crate) struct Plan {
    #[command(flatten)]
    pub(crate) run: Migrations,
    #[command(flatten)]
    pub(crate) hazards: HazardOptions,
}

/// How long a run waits.
#[derive(Debug, Args)]
pub(crate) struct LimitOptions {
    /// Longest wait of a statement for a lock, 0 without end [default: 5]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(..=86_400))]
    lock_timeout: Option<u32>,
    /// How long a migration that waited in vain is tried again [default: 60]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(..=86_400))]
    retry_for: Option<u32>,
    /// How long another run on the same database is waited for [default: 60]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(..=86_400))]
    wait: Option<u32>,
}

impl LimitOptions {
    /// Returns the limits with what was given on the command line.
    pub(crate) fn over(&self, limits: Limits) -> Limits {
        Limits {
            lock: self.lock_timeout.unwrap_or(limits.lock),
            retry: self.retry_for.unwrap_or(limits.retry),
            other_run: self.wait.unwrap_or(limits.other_run),
            ..limits
        }
    }
}

/// Options of `confirm`.
#[derive(Debug, Args)]
pub(crate) struct Confirm {
    /// The slot, such as preview-1
    #[arg(long, value_name = "SLOT")]
    pub(crate) slot: String,
    #[command(flatten)]
    pub(crate) target: TargetOptions,
    #[command(flatten)]
    pub(crate) config: ConfigOption,
}

/// How a superuser of the slots' server is reached.
#[derive(Debug, Args)]
#[group(id = "administrator", required = true, multiple = false)]
pub(crate) struct AdminDoor {
    /// File with the URL of a superuser and the database `postgres`; `-` is standard input
    #[arg(long, value_name = "FILE")]
    pub(crate) admin_url_file: Option<PathBuf>,
    /// That URL itself; a password in it can be read by every user of the host
    #[arg(long, value_name = "URL")]
    pub(crate) admin_url: Option<String>,
    /// Directory of the server's unix socket, where the system user is the password
    #[arg(long, value_name = "DIR")]
    pub(crate) admin_socket: Option<PathBuf>,
}

/// An administrator and the configuration.
#[derive(Debug, Args)]
pub(crate) struct Admin {
    #[command(flatten)]
    door: AdminDoor,
    /// The superuser behind --admin-socket
    #[arg(long, value_name = "ROLE", default_value = "postgres")]
    admin_role: String,
    #[command(flatten)]
    pub(crate) config: ConfigOption,
}

impl Admin {
    /// Returns the administrator's target.
    ///
    /// # Errors
    /// Refuses what is not the slots' own server.
    pub(crate) fn target(&self, config: &Config) -> Result<AdminTarget, Denial> {
        let policy = &config.database;
        let by_url = |text: &str| AdminTarget::verify(&DatabaseTarget::parse(text)?, policy);
        match &self.door {
            AdminDoor { admin_url_file: Some(file), .. } => by_url(&read_url(file)?),
            AdminDoor { admin_url: Some(url), .. } => by_url(url),
            AdminDoor { admin_socket: Some(directory), .. } => self.socket(directory, config),
            AdminDoor { .. } => Err(Denial::new(
                Code::NoTarget,
                "no administrator was named",
                "nothing",
                "`--admin-url-file`, `--admin-url` or `--admin-socket`",
            )),
        }
    }

    fn socket(&self, directory: &Path, config: &Config) -> Result<AdminTarget, Denial> {
        let port = match &config.database.endpoints[..] {
            [endpoint] => endpoint.port,
            endpoints => {
                return Err(Denial::new(
                    Code::ConfigValue,
                    "a socket is named by its port, and the port is not known",
                    format!("{} endpoints", endpoints.len()),
                    "exactly one `[database] endpoints`",
                ));
            }
        };
        let text = directory.to_string_lossy();
        let path = AbsolutePath::parse(&text).map_err(|_| {
            Denial::new(
                Code::PathMalformed,
                "the directory of the socket is not plain",
                format!("`{}`", shown(&text)),
                "an absolute path",
            )
        })?;
        AdminTarget::socket(path, port, &self.admin_role, &config.database)
    }
}

/// Options of `provision`.
#[derive(Debug, Args)]
pub(crate) struct Provision {
    #[command(flatten)]
    pub(crate) admin: Admin,
    /// Compare the cluster with what it shall be, changing nothing; 65 when anything differs
    #[arg(long, conflicts_with_all = ["dry_run", "yes"])]
    pub(crate) check: bool,
    /// Print the SQL, changing nothing
    #[arg(long, conflicts_with = "yes")]
    pub(crate) dry_run: bool,
    /// Agree to the plan
    #[arg(long)]
    pub(crate) yes: bool,
    /// Another database to close to the slots' roles; those of [production] always are
    #[arg(long, value_name = "DB")]
    pub(crate) database: Vec<String>,
}

/// What a database can be protected as.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum ProtectAs {
    /// Nothing of this project may act on it
    Production,
}

/// Options of `protect`.
#[derive(Debug, Args)]
pub(crate) struct Protect {
    #[command(flatten)]
    pub(crate) admin: Admin,
    /// What it is
    #[arg(long = "as", value_enum)]
    pub(crate) kind: ProtectAs,
    /// The database
    #[arg(long, value_name = "DB")]
    pub(crate) database: String,
    /// Agree to the plan
    #[arg(long)]
    pub(crate) yes: bool,
}

/// Options of `adopt`: an administrator takes over a database, a slot's role its schema.
#[derive(Debug, Args)]
pub(crate) struct Adopt {
    #[command(flatten)]
    pub(crate) admin: Admin,
    /// The slot, such as preview-1
    #[arg(long, value_name = "SLOT")]
    pub(crate) slot: String,
    #[command(flatten)]
    pub(crate) lease: LeaseOption,
    /// Agree to the plan
    #[arg(long, conflicts_with = "migrations")]
    pub(crate) yes: bool,
    /// Directory with migrations, which are recorded as applied and not run
    #[arg(
        long,
        value_name = "DIR",
        required_unless_present = "administrator",
        conflicts_with = "administrator"
    )]
    pub(crate) migrations: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) layout: LayoutOption,
    /// The last version to record [default: the last file]
    #[arg(long, value_name = "VERSION", requires = "migrations")]
    pub(crate) up_to: Option<i64>,
    /// Show what would be recorded, changing nothing
    #[arg(long, requires = "migrations")]
    pub(crate) dry_run: bool,
    #[command(flatten)]
    pub(crate) target: TargetOptions,
}

/// Options of `reset`.
#[derive(Debug, Args)]
pub(crate) struct Reset {
    /// The slot, such as preview-1
    #[arg(long, value_name = "SLOT")]
    pub(crate) slot: String,
    #[command(flatten)]
    pub(crate) lease: LeaseOption,
    /// What the fresh database is copied from: `seed`, or `template DB`
    #[arg(long, num_args = 1..=2, value_names = ["SOURCE", "DB"], required = true)]
    pub(crate) to: Vec<String>,
    /// Only if the slot was given back and its database is due for a reset
    #[arg(long)]
    pub(crate) if_due: bool,
    #[command(flatten)]
    pub(crate) config: ConfigOption,
}

/// What a fresh database is copied from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ResetSource {
    /// The seed.
    Seed,
    /// Another database of the administrator's.
    Template(String),
}

impl Reset {
    /// Reads the two words of `--to`.
    ///
    /// # Errors
    /// Refuses other words.
    pub(crate) fn source(&self) -> Result<ResetSource, Denial> {
        let words: Vec<&str> = self.to.iter().map(String::as_str).collect();
        match words[..] {
            ["seed"] => Ok(ResetSource::Seed),
            ["template", name] => Ok(ResetSource::Template(name.to_owned())),
            _ => Err(Denial::new(
                Code::Usage,
                "`--to` cannot be read",
                format!("`{}`", shown(&words.join(" "))),
                "`--to seed` or `--to template DB`",
            )),
        }
    }
}

/// Commands of `seed`.
#[derive(Debug, Subcommand)]
pub(crate) enum SeedCommand {
    /// Make the template of the slots' databases from migrations and seed data
    ///
    /// Nothing is done when it was built from the same files already.
    Build(SeedBuild),
}

/// Options of `seed build`.
#[derive(Debug, Args)]
pub(crate) struct SeedBuild {
    /// Directory with V<number>__<name>.sql, or with the migrations of another tool
    #[arg(long, value_name = "DIR")]
    pub(crate) migrations: PathBuf,
    #[command(flatten)]
    pub(crate) layout: LayoutOption,
    /// Files with seed data, run in this order after the migrations
    #[arg(long, value_name = "FILE", num_args = 1..)]
    pub(crate) sql: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) config: ConfigOption,
}
