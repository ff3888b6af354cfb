//! `slotguard install` and `uninstall`: units, users, directories, runtime scripts and a
//! configuration to start with. Only files are written; the manager is told by whoever installs.

mod layout;
mod manifest;
pub(crate) mod network;
mod plan;
mod tree;

use std::path::{Path, PathBuf};

use clap::Args;
use guard::config::Config;
use guard::diagnostic::{Code, Denial, shown};
use guard::environment::Environment;
use guard::io::{environment_snapshot, load_config};
use guard::path::AbsolutePath;
use serde::Serialize;
use step_report::console::{Console, Format};
use step_report::exit::ExitStatus;

use layout::{CONFIG, Extras, Paths, WEB_ROOT_VARIABLE};
use manifest::Manifest;
use plan::{Deed, Plan, Step};
use tree::Tree;

/// Where the worker looks for the runtime scripts, and where the contract has them.
const SCRIPTS_VARIABLE: &str = "WORKER_PREVIEW_RUNTIME_SCRIPTS_DIR";
const SCRIPTS: &str = "/srv/oroboros/current/scripts";

/// Options of `install`.
#[derive(Debug, Args)]
pub(crate) struct Install {
    #[command(flatten)]
    place: Place,
    /// Directory of the programs on the host [default: the directory of this program]
    #[arg(long, value_name = "DIR")]
    programs: Option<String>,
    /// Directory of the runtime scripts on the host [default: $WORKER_PREVIEW_RUNTIME_SCRIPTS_DIR,
    /// else /srv/oroboros/current/scripts]
    #[arg(long, value_name = "DIR")]
    scripts: Option<String>,
    /// Also rules of nftables for each slot's user, for kernels without rules on TCP ports
    ///
    /// Needs `[database] endpoints`. Backends then do not start without the rules.
    #[arg(long)]
    nftables: bool,
    /// Units take the database URL from /etc/slotguard/preview-<n>.url, which only root can read
    ///
    /// For databases with passwords: the slot's own user could not read root's file. Backends then do
    /// not start without it. Not with `[sidecar] enabled`, where sidecars take that file.
    #[arg(long)]
    url_files: bool,
}

/// Options of `uninstall`.
#[derive(Debug, Args)]
pub(crate) struct Uninstall {
    #[command(flatten)]
    place: Place,
    /// Leave files that were changed since, and remove the others
    #[arg(long)]
    keep_changed: bool,
}

/// Where, and whether at all.
#[derive(Debug, Args)]
struct Place {
    /// Directory that stands for the host's root
    #[arg(long, value_name = "DIR", default_value = "/")]
    root: PathBuf,
    /// List what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
}

impl Place {
    fn tree(&self) -> Result<Tree, Denial> {
        Tree::open(&self.root).map_err(|error| {
            Denial::new(
                Code::RootUnusable,
                "the root of the installation cannot be used",
                format!("`{}`: {error}", shown(&self.root.to_string_lossy())),
                "a directory that exists",
            )
        })
    }
}

/// Installs and says what was done.
pub(crate) fn install(console: &Console, options: &Install) -> ExitStatus {
    done(console, do_install(console, options))
}

/// Removes and says what was done.
pub(crate) fn uninstall(console: &Console, options: &Uninstall) -> ExitStatus {
    done(console, do_uninstall(console, options))
}

fn done(console: &Console, outcome: Result<(), Denial>) -> ExitStatus {
    match outcome {
        Ok(()) => ExitStatus::Done,
        Err(denial) => console.refuse(None, &denial),
    }
}

fn do_install(console: &Console, options: &Install) -> Result<(), Denial> {
    let environment = environment_snapshot()?;
    let tree = options.place.tree()?;
    let scripts = scripts(options.scripts.as_deref(), &environment)?;
    let config = configured(&options.place.root, &environment)?;
    let paths = Paths {
        programs: programs(options.programs.as_deref())?,
        scripts,
        state: config.roots.state.clone(),
        web_roots: config
            .slots()
            .iter()
            .map(|slot| config.web.root(slot))
            .collect::<Result<_, _>>()?,
        artifact: config.roots.artifact.clone(),
    };
    paths.require_plain()?;
    let sidecar = config.sidecar.enabled;
    if sidecar && options.url_files {
        return Err(refuse_url_files());
    }
    let database_ports = options.nftables.then(|| database_ports(&config)).transpose()?;
    let extras = Extras {
        database_ports,
        url_files: options.url_files,
        sidecar,
        reset_addresses: reset_addresses(&config),
        web_root_template: environment.value(WEB_ROOT_VARIABLE).map(|value| {
            // Accepted with the configuration, and plain for every slot.
            String::from_utf8_lossy(value).into_owned()
        }),
    };
    let files = layout::files(config.slots(), &paths, &extras);
    let before = Manifest::read(&tree)?;
    let plan = plan::install(&tree, &files, before.as_ref())?;
    if !options.place.dry_run {
        plan::apply_install(&tree, &files, &plan, before)?;
    }
    let rules = options.nftables.then_some("systemctl enable --now slotguard-nftables.service");
    let next: Vec<&str> = NEXT.into_iter().chain(rules).collect();
    say(console, "install", &options.place, &plan, &next);
    Ok(())
}

fn do_uninstall(console: &Console, options: &Uninstall) -> Result<(), Denial> {
    let tree = options.place.tree()?;
    let manifest = Manifest::read(&tree)?.ok_or_else(|| {
        Denial::new(
            Code::NotInstalled,
            "nothing is installed there",
            format!("no manifest beneath `{}`", shown(&options.place.root.to_string_lossy())),
            "the root that `slotguard install` was given",
        )
    })?;
    let plan = plan::uninstall(&tree, &manifest, options.keep_changed)?;
    if !options.place.dry_run {
        plan::apply_uninstall(&tree, &plan)?;
    }
    say(console, "uninstall", &options.place, &plan, &["systemctl daemon-reload"]);
    Ok(())
}

/// What makes an installation count.
const NEXT: [&str; 4] = [
    "systemd-sysusers",
    "systemd-tmpfiles --create",
    "systemctl daemon-reload",
    "systemctl enable --now slotguard-reaper.timer",
];

/// The configuration that is there already, or the one that will be, says which slots the host has,
/// and where their state is.
fn configured(root: &Path, environment: &Environment) -> Result<Config, Denial> {
    let path = root.join(CONFIG.trim_start_matches('/'));
    match std::fs::symlink_metadata(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let mut config = Config::default();
            config.reconcile_slots(environment.value("SLOT_IDS_CSV"))?;
            let mut config = Config::parse(&layout::start_config(config.slots()).content)?;
            config.reconcile_worker_variables(environment)?;
            Ok(config)
        }
        _ => Ok(load_config(Some(&path), environment)?.config),
    }
}

/// With the sidecar on, a backend must not have what its sidecar logs in with.
fn refuse_url_files() -> Denial {
    Denial::new(
        Code::Usage,
        "`--url-files` would hand each backend the login that its sidecar holds",
        "`--url-files` while `[sidecar] enabled` is true",
        "one of the two",
    )
    .help("Leave it out: `slot-pg@` takes /etc/slotguard/preview-<n>.url by itself.")
}

/// Returns the ports of servers that a slot's user may connect to; an unknown one cannot be allowed,
/// and none is needed beside a sidecar.
fn database_ports(config: &Config) -> Result<Vec<u16>, Denial> {
    if config.sidecar.enabled {
        return Ok(Vec::new());
    }
    let mut ports: Vec<u16> =
        config.database.endpoints.iter().map(|endpoint| endpoint.port).collect();
    ports.sort_unstable();
    ports.dedup();
    if ports.is_empty() {
        return Err(Denial::new(
            Code::ConfigValue,
            "rules for the network need to know the port of the databases",
            "no `[database] endpoints`",
            "`[database] endpoints`, such as [\"127.0.0.1:5432\"]",
        ));
    }
    Ok(ports)
}

/// Returns where the reaper must be able to connect to, if it resets databases at all.
fn reset_addresses(config: &Config) -> Option<Vec<String>> {
    config.released_database.reset_to()?;
    let endpoints = config.database.endpoints.iter();
    let mut addresses: Vec<String> =
        endpoints.map(|endpoint| endpoint.host.to_string().replace(['[', ']'], "")).collect();
    addresses.sort_unstable();
    addresses.dedup();
    // An endpoint that is not pinned is one of loopback.
    Some(if addresses.is_empty() { vec!["localhost".to_owned()] } else { addresses })
}

fn programs(option: Option<&str>) -> Result<AbsolutePath, Denial> {
    if let Some(text) = option {
        return AbsolutePath::parse(text);
    }
    let own = std::env::current_exe().ok();
    let directory = own.as_deref().and_then(Path::parent).and_then(Path::to_str);
    AbsolutePath::parse(directory.unwrap_or_default())
}

fn scripts(option: Option<&str>, environment: &Environment) -> Result<AbsolutePath, Denial> {
    let configured = environment.value(SCRIPTS_VARIABLE).map(String::from_utf8_lossy);
    AbsolutePath::parse(option.or(configured.as_deref()).unwrap_or(SCRIPTS))
}

#[derive(Serialize)]
struct Said<'a> {
    schema: &'static str,
    action: &'static str,
    root: String,
    dry_run: bool,
    files: &'a [Step],
    directories: &'a [String],
    next: &'a [&'a str],
}

fn say(console: &Console, action: &'static str, place: &Place, plan: &Plan, next: &[&str]) {
    let root = place.root.to_string_lossy().into_owned();
    if console.format() == Format::Json {
        let (files, directories) = (&plan.steps[..], &plan.directories[..]);
        let (schema, dry_run) = ("slotguard.install/1", place.dry_run);
        console.object(&Said { schema, action, root, dry_run, files, directories, next });
        return;
    }
    for step in &plan.steps {
        let deed = match step.deed {
            Deed::Write => "write",
            Deed::Replace => "replace",
            Deed::Unchanged => "unchanged",
            Deed::Keep => "keep",
            Deed::Remove => "remove",
        };
        console.line(&format!("{deed:<10} {}", step.path));
    }
    if place.dry_run {
        console.note("nothing was changed");
        return;
    }
    console.note("next:");
    next.iter().for_each(|command| console.note(&format!("  {command}")));
}
