//! The way of one worktree into its slot: each step consumes the receipt of the one before.
//!
//! A step cannot be left out, repeated or put elsewhere, since only the receipt of the one before
//! has the method that does it. What people see switches last.

use std::os::fd::{AsFd as _, OwnedFd};

use guard::config::Config;
use guard::diagnostic::{Code, Denial, shown};
use guard::frontend::{AddressRules, Reach};
use guard::io::{LoadedConfig, Root};
use guard::path::{AbsolutePath, RelativePath};
use guard::sandbox::DotenvInWorktree;
use guard::slot::SlotId;
use serde_json::Value;
use slot_runtime::lease::Generation;
use slot_runtime::{StateRoot, sidecar};

use super::children::{Program, Siblings};
use super::fresh::FreshDatabase;
use super::memory::Memory;
use super::release::{self, StagedRelease, Switched};
use super::step::Step;
use super::{fingerprint, readiness};
use crate::flow::{Flow, State, Stop, Teller};

/// The files that say which dependencies a worktree has.
const DEPENDENCY_FILES: &[&str] = &[
    "package.json",
    "package-lock.json",
    "pnpm-lock.yaml",
    "yarn.lock",
    "pyproject.toml",
    "uv.lock",
    "requirements.txt",
    "Cargo.toml",
    "Cargo.lock",
];

/// What is to be published where.
pub(crate) struct Request<'a> {
    /// The slot.
    pub(crate) slot: SlotId,
    /// The worktree, as it was given.
    pub(crate) worktree: AbsolutePath,
    /// The key of the backend's program.
    pub(crate) program: &'a str,
    /// What follows the arguments of its entry.
    pub(crate) args: &'a [String],
    /// The generation of the lease.
    pub(crate) lease: Option<Generation>,
    /// The configuration, and where it came from.
    pub(crate) loaded: &'a LoadedConfig,
    /// Where the slot's frontend is served from.
    pub(crate) web_root: AbsolutePath,
    /// Names of hosts that a built frontend may not hold, beside production's.
    pub(crate) other_hosts: Vec<(SlotId, String)>,
    /// Whether a page may call the slot's own backend directly (the contract's dev fallback).
    pub(crate) direct_api: bool,
}

impl Request<'_> {
    /// Returns the file that a child reads its configuration from.
    pub(crate) fn config_path(&self) -> Option<String> {
        self.loaded.source.as_ref().map(|path| path.to_string_lossy().into_owned())
    }
}

/// What every receipt holds.
struct Journey<'a> {
    request: Request<'a>,
    siblings: Siblings,
    worktree: OwnedFd,
    state: StateRoot,
    memory: Memory,
}

/// Everything was checked; nothing has been changed.
pub(crate) struct Preflight<'a>(Journey<'a>);
/// The branch's dependencies are there.
pub(crate) struct DependenciesSynced<'a>(Journey<'a>);
/// The new frontend lies beside the one that is served.
pub(crate) struct FrontendStaged<'a>(Journey<'a>, Option<StagedRelease>);
/// The slot's database has every migration of the worktree.
pub(crate) struct Migrated<'a>(Journey<'a>, Option<StagedRelease>);
/// The slot's backend runs from the worktree.
pub(crate) struct BackendRestarted<'a>(Journey<'a>, Option<StagedRelease>);
/// The backend answers.
pub(crate) struct BackendReady<'a>(Journey<'a>, Option<StagedRelease>);
/// The new frontend is the one that is served.
pub(crate) struct FrontendSwitched<'a>(Journey<'a>, Option<Switched>);
/// Frontend and backend answer; the end of the way.
pub(crate) struct Ready(());

impl<'a> Preflight<'a> {
    /// Checks everything that can be checked without changing anything.
    ///
    /// # Errors
    /// Stops at the first refusal.
    pub(crate) fn run(
        flow: &mut Flow<'_, Step>,
        request: Request<'a>,
        database: &FreshDatabase,
    ) -> Result<Self, Stop<Step>> {
        flow.step(Step::Preflight, |teller| {
            let config = &request.loaded.config;
            let worktree = open_worktree(&request.worktree, config)?;
            if config.sandbox.dotenv_in_worktree == DotenvInWorktree::Refuse {
                guard::io::judge_worktree(request.worktree.as_str().as_ref(), &config.roots)?;
            }
            approve(&request, config)?;
            sidecar::require(config, request.slot)?;
            let siblings = Siblings::find()?;
            let state = StateRoot::open_or_create(&config.roots)?;
            let memory = Memory::read(&state, request.slot, request.worktree.as_str());
            let journey = Journey { request, siblings, worktree, state, memory };
            journey.check_frontend(teller)?;
            if database.is_planned() {
                let summary = "the migrations depend on the reset".to_owned();
                return Ok(((State::Done, summary), Self(journey)));
            }
            let pending = journey.plan_migrations(teller)?;
            let summary = match pending {
                None => "no migrations are configured".to_owned(),
                Some(0) => "nothing to migrate".to_owned(),
                Some(count) => format!("{count} to migrate"),
            };
            Ok(((State::Done, summary), Self(journey)))
        })
    }

    /// Brings the branch's dependencies in, by the branch's own code, confined to the worktree.
    ///
    /// # Errors
    /// Stops when a program of the sync fails.
    pub(crate) fn sync(
        self,
        flow: &mut Flow<'_, Step>,
    ) -> Result<DependenciesSynced<'a>, Stop<Step>> {
        let mut journey = self.0;
        let dry_run = flow.dry_run();
        flow.step(Step::DependencySync, |teller| {
            let keys = &journey.request.loaded.config.publish.sync;
            if keys.is_empty() {
                let ended = (State::Skipped, "no `[sync] programs`".to_owned());
                return Ok((ended, DependenciesSynced(journey)));
            }
            let now = fingerprint::files(journey.worktree.as_fd(), DEPENDENCY_FILES)
                .map(|files| format!("{files} {}", keys.join(" ")));
            if now.is_some() && now == journey.memory.dependencies {
                let ended = (State::Unchanged, "the files that name them are the same".to_owned());
                return Ok((ended, DependenciesSynced(journey)));
            }
            let summary = keys.join(", ");
            if dry_run {
                return Ok(((State::Planned, summary), DependenciesSynced(journey)));
            }
            for key in keys {
                journey.run_confined(key, teller)?;
            }
            // The sync may have written a lock file.
            journey.memory.dependencies =
                fingerprint::files(journey.worktree.as_fd(), DEPENDENCY_FILES)
                    .map(|files| format!("{files} {}", keys.join(" ")));
            journey.remember();
            Ok(((State::Done, summary), DependenciesSynced(journey)))
        })
    }
}

impl<'a> DependenciesSynced<'a> {
    /// Builds the frontend, if a program is configured, and copies it into a release of its own.
    ///
    /// # Errors
    /// Stops when the build fails, and when the built files may not be served.
    pub(crate) fn stage(self, flow: &mut Flow<'_, Step>) -> Result<FrontendStaged<'a>, Stop<Step>> {
        let journey = self.0;
        let dry_run = flow.dry_run();
        flow.step(Step::FrontendStage, |teller| {
            let publish = &journey.request.loaded.config.publish;
            let Some(dist) = &publish.dist else {
                let ended = (State::Skipped, "no `[frontend] dist`".to_owned());
                return Ok((ended, FrontendStaged(journey, None)));
            };
            if dry_run {
                let what = publish.build.as_deref().map_or("", |_| "build, then ");
                let ended = (State::Planned, format!("{what}copy {}", dist.as_str()));
                return Ok((ended, FrontendStaged(journey, None)));
            }
            if let Some(key) = &publish.build {
                journey.run_confined(key, teller)?;
            }
            let built = journey.open_dist(dist)?;
            let staged = release::stage(&built, &journey.request.web_root, &journey.rules())?;
            teller.note("release", staged.name());
            teller.note("files", staged.files());
            teller.note("bytes", staged.bytes());
            let state = if staged.unchanged() { State::Unchanged } else { State::Done };
            let summary = format!("release {}, {} files", staged.name(), staged.files());
            Ok(((state, summary), FrontendStaged(journey, Some(staged))))
        })
    }
}

impl<'a> FrontendStaged<'a> {
    /// Applies what is pending to the slot's database.
    ///
    /// # Errors
    /// Stops as `migrate-runner apply` refuses.
    pub(crate) fn migrate(self, flow: &mut Flow<'_, Step>) -> Result<Migrated<'a>, Stop<Step>> {
        let Self(journey, staged) = self;
        let dry_run = flow.dry_run();
        flow.step(Step::Migration, |teller| {
            let Some(directory) = journey.migrations() else {
                let ended = (State::Skipped, "no `[publish] migrations`".to_owned());
                return Ok((ended, Migrated(journey, staged)));
            };
            if dry_run {
                let ended = (State::Planned, "apply what is pending".to_owned());
                return Ok((ended, Migrated(journey, staged)));
            }
            let answer = journey.ask(
                Program::MigrateRunner,
                &["apply", "--migrations", &directory],
                Lease::Given,
                teller,
            )?;
            let applied = answer["applied"].as_array().map_or(0, Vec::len);
            teller.note("applied", &answer["applied"]);
            teller.note("migration_artifact", &answer["artifact"]);
            let ended = match applied {
                0 => (State::Unchanged, "nothing was pending".to_owned()),
                1 => (State::Done, "1 applied".to_owned()),
                count => (State::Done, format!("{count} applied")),
            };
            Ok((ended, Migrated(journey, staged)))
        })
    }
}

impl<'a> Migrated<'a> {
    /// Starts the slot's backend anew, and no other, unless it runs from the same files already.
    ///
    /// # Errors
    /// Stops as `slotguard backend restart` refuses.
    pub(crate) fn restart(
        self,
        flow: &mut Flow<'_, Step>,
    ) -> Result<BackendRestarted<'a>, Stop<Step>> {
        let Self(mut journey, staged) = self;
        let dry_run = flow.dry_run();
        flow.step(Step::BackendRestart, |teller| {
            let now = journey.backend_fingerprint();
            let same = now.is_some() && now == journey.memory.backend;
            if same && journey.backend_is_healthy(teller) {
                let ended = (State::Unchanged, "it runs from the same files".to_owned());
                return Ok((ended, BackendRestarted(journey, staged)));
            }
            let program = journey.request.program;
            if dry_run {
                let ended = (State::Planned, format!("restart `{program}`"));
                return Ok((ended, BackendRestarted(journey, staged)));
            }
            let mut args = vec!["backend", "restart", "--program", program];
            args.extend(["--worktree", journey.request.worktree.as_str()]);
            let answer = journey.ask(Program::Slotguard, &args, Lease::Given, teller)?;
            teller.note("backend", &answer);
            journey.memory.backend = now;
            journey.remember();
            let ended = (State::Done, format!("`{program}` started"));
            Ok((ended, BackendRestarted(journey, staged)))
        })
    }
}

impl<'a> BackendRestarted<'a> {
    /// Waits until the backend answers on its own port, and that it is the slot's own.
    ///
    /// # Errors
    /// Stops when it is not healthy.
    pub(crate) fn wait(self, flow: &mut Flow<'_, Step>) -> Result<BackendReady<'a>, Stop<Step>> {
        let Self(journey, staged) = self;
        let dry_run = flow.dry_run();
        flow.step(Step::BackendReadiness, |teller| {
            let port = journey.request.slot.backend_port();
            if dry_run {
                let ended = (State::Planned, format!("ask 127.0.0.1:{port}"));
                return Ok((ended, BackendReady(journey, staged)));
            }
            let answer =
                journey.ask(Program::Slotguard, &["backend", "health"], Lease::NotAsked, teller)?;
            teller.note("health", &answer["health"]);
            let ended = (State::Done, format!("127.0.0.1:{port} answers"));
            Ok((ended, BackendReady(journey, staged)))
        })
    }
}

impl<'a> BackendReady<'a> {
    /// Makes the staged frontend the one that is served.
    ///
    /// # Errors
    /// Stops when the link cannot be replaced; the previous release then stays.
    pub(crate) fn switch(
        self,
        flow: &mut Flow<'_, Step>,
    ) -> Result<FrontendSwitched<'a>, Stop<Step>> {
        let Self(journey, staged) = self;
        let dry_run = flow.dry_run();
        flow.step(Step::FrontendSwitch, |teller| {
            let publish = &journey.request.loaded.config.publish;
            let Some(staged) = staged else {
                let ended = match &publish.dist {
                    Some(_) if dry_run => (State::Planned, "switch in one rename".to_owned()),
                    _ => (State::Skipped, "no frontend".to_owned()),
                };
                return Ok((ended, FrontendSwitched(journey, None)));
            };
            let switched = staged.switch(publish.keep_releases)?;
            teller.note("release", &switched.release);
            teller.note("previous_release", &switched.previous);
            let same = switched.previous.as_ref() == Some(&switched.release);
            let state = if same { State::Unchanged } else { State::Done };
            let summary = format!("release {} is served", switched.release);
            Ok(((state, summary), FrontendSwitched(journey, Some(switched))))
        })
    }
}

impl FrontendSwitched<'_> {
    /// Asks frontend and backend once more, as a browser would.
    ///
    /// # Errors
    /// Stops when the slot's frontend does not serve the release.
    pub(crate) fn finish(self, flow: &mut Flow<'_, Step>) -> Result<Ready, Stop<Step>> {
        let Self(journey, switched) = self;
        let dry_run = flow.dry_run();
        flow.step(Step::Readiness, |teller| {
            let port = journey.request.slot.frontend_port();
            if dry_run {
                let ended = (State::Planned, format!("ask 127.0.0.1:{port}"));
                return Ok((ended, Ready(())));
            }
            let ended = match &switched {
                None => (State::Done, "the backend alone".to_owned()),
                Some(_) => {
                    let index = journey.served_index()?;
                    let answer = readiness::of_frontend(port, &index)?;
                    teller.note("frontend", &answer);
                    (State::Done, format!("127.0.0.1:{port} serves it"))
                }
            };
            Ok((ended, Ready(())))
        })
    }
}

/// Whether a child is told the lease's generation.
enum Lease {
    Given,
    NotAsked,
}

impl Journey<'_> {
    fn ask(
        &self,
        program: Program,
        command: &[&str],
        lease: Lease,
        teller: &mut Teller<'_, Step>,
    ) -> Result<Value, Denial> {
        let slot = self.request.slot.to_string();
        let generation = self.request.lease.map(|generation| generation.to_string());
        let config = self.config();
        let mut args = vec!["--format", "json"];
        args.extend(command);
        args.extend(["--slot", &slot]);
        if let Some(config) = &config {
            args.extend(["--config", config]);
        }
        if let (Lease::Given, Some(generation)) = (lease, &generation) {
            args.extend(["--lease", generation]);
        }
        let layout = self.request.loaded.config.publish.layout;
        if let Some(layout) = layout.filter(|_| command.contains(&"--migrations")) {
            args.extend(["--layout", layout.name()]);
        }
        if command.starts_with(&["backend", "restart"]) && !self.request.args.is_empty() {
            args.push("--");
            args.extend(self.request.args.iter().map(String::as_str));
        }
        self.siblings.ask(program, &args, self.request.loaded, teller)
    }

    /// Runs an allowed program of the branch in its worktree, with the rules of a sync.
    fn run_confined(&self, key: &str, teller: &mut Teller<'_, Step>) -> Result<(), Denial> {
        let programs = &self.request.loaded.config.programs;
        let program = programs.approve_key(self.request.slot, key, &[])?;
        let slot = self.request.slot.to_string();
        let config = self.config();
        let mut args = vec!["exec", "--purpose", "sync", "--slot", &slot];
        if let Some(config) = &config {
            args.extend(["--config", config]);
        }
        let generation = self.request.lease.map(|generation| generation.to_string());
        if let Some(generation) = &generation {
            args.extend(["--lease", generation]);
        }
        args.extend(["--worktree", self.request.worktree.as_str(), "--", program.path()]);
        args.extend(program.args().iter().map(String::as_str));
        self.siblings.run_confined(&args, self.request.loaded, teller)
    }

    fn config(&self) -> Option<String> {
        self.request.config_path()
    }

    fn migrations(&self) -> Option<String> {
        let directory = self.request.loaded.config.publish.migrations.as_ref()?;
        Some(format!("{}/{}", self.request.worktree.as_str(), directory.as_str()))
    }

    /// Returns how many migrations are pending, if any are configured.
    fn plan_migrations(&self, teller: &mut Teller<'_, Step>) -> Result<Option<u64>, Denial> {
        let Some(directory) = self.migrations() else { return Ok(None) };
        let command = ["plan", "--migrations", &directory];
        let answer = self.ask(Program::MigrateRunner, &command, Lease::NotAsked, teller)?;
        teller.note("plan", &answer["migrations"]);
        Ok(answer["pending"].as_u64())
    }

    /// Reads a frontend that is built already; one that is built later is read then.
    fn check_frontend(&self, teller: &mut Teller<'_, Step>) -> Result<(), Denial> {
        let publish = &self.request.loaded.config.publish;
        let Some(dist) = publish.dist.as_ref().filter(|_| publish.build.is_none()) else {
            return Ok(());
        };
        let files = release::check(&self.open_dist(dist)?, &self.rules())?;
        teller.note("frontend_files", files);
        Ok(())
    }

    fn open_dist(&self, dist: &RelativePath) -> Result<OwnedFd, Denial> {
        release::open_directory(self.worktree.as_fd(), dist.as_str())
    }

    fn rules(&self) -> AddressRules {
        let config = &self.request.loaded.config;
        let rules =
            AddressRules::new(self.request.slot).allowing_own_backend(self.request.direct_api);
        let rules = config
            .production_hosts
            .iter()
            .fold(rules, |rules, host| rules.refusing_host(host, Reach::Production));
        let others = self.request.other_hosts.iter();
        others.fold(rules, |rules, (slot, host)| rules.refusing_host(host, Reach::OtherSlot(*slot)))
    }

    /// Returns what the backend is made of: the worktree but for the frontend's build, and how it is
    /// started.
    fn backend_fingerprint(&self) -> Option<String> {
        let dist = self.request.loaded.config.publish.dist.as_ref().map(RelativePath::as_str);
        let without: Vec<&str> = dist.into_iter().collect();
        let tree = fingerprint::tree(self.worktree.as_fd(), &without)?;
        let program = self.request.loaded.config.programs.approve_key(
            self.request.slot,
            self.request.program,
            self.request.args,
        );
        let program = program.ok()?;
        let file = std::fs::metadata(program.path()).and_then(|file| file.modified()).ok()?;
        let words = program.args().join("\0");
        Some(format!("{tree} {} {file:?} {}", program.path(), fingerprint::text(&words)))
    }

    fn backend_is_healthy(&self, teller: &mut Teller<'_, Step>) -> bool {
        let command = ["backend", "health"];
        self.ask(Program::Slotguard, &command, Lease::NotAsked, teller).is_ok()
    }

    fn served_index(&self) -> Result<Vec<u8>, Denial> {
        let root = Root::open(&self.request.web_root)?;
        release::served_index(root.handle())
    }

    fn remember(&self) {
        self.memory.write(&self.state, self.request.slot);
    }
}

fn open_worktree(path: &AbsolutePath, config: &Config) -> Result<OwnedFd, Denial> {
    let Some(root) = &config.roots.worktree else {
        return Err(Denial::new(
            Code::RootUnusable,
            "no root for worktrees is configured",
            "no `[roots] worktree`",
            "`[roots] worktree`, the directory that holds all worktrees",
        ));
    };
    let beneath = path.beneath(root).ok_or_else(|| {
        Denial::new(
            Code::PathOutsideRoot,
            "the worktree is not beneath the root for worktrees",
            format!("`{}`", shown(path.as_str())),
            format!("a directory beneath `{}`", shown(root.as_str())),
        )
    })?;
    Root::open(root)?.crossing_mounts(config.roots.cross_mounts).open_directory(&beneath)
}

/// Every program that the flow will start must be allowed and there before anything is changed.
fn approve(request: &Request<'_>, config: &Config) -> Result<(), Denial> {
    let sync = config.publish.sync.iter().chain(&config.publish.build);
    let wanted = sync.map(|key| (key.as_str(), &[][..]));
    for (key, args) in wanted.chain([(request.program, request.args)]) {
        guard::io::inspect_program(&config.programs.approve_key(request.slot, key, args)?)?;
    }
    Ok(())
}
