//! What the demo plays on: a server, worktrees, a configuration, and secrets of its own.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use guard::diagnostic::{Code, Denial, shown};
use guard::io::{environment_snapshot, read_password};
use guard::slot::{SlotId, SlotSet};
use serde_json::Value;
use tempfile::TempDir;
use throwaway_postgres::{Cluster, ServerPrograms};

use super::failure::unexpected;
use crate::options::Demo;
use crate::{child, sibling};

/// The pretended production database.
pub(super) const PRODUCTION: &str = "app_production";

/// Programs that the demo starts.
const SIBLINGS: [&str; 3] = ["slotguard", "migrate-runner", "runtime-wrapper"];

/// Everything on disk and the server; gone when dropped.
pub(super) struct Stage {
    cluster: Cluster,
    directory: TempDir,
    siblings: Vec<(&'static str, PathBuf)>,
    slots: Vec<SlotId>,
    sandbox: String,
}

impl Stage {
    /// Starts the server and writes what the programs need.
    pub(super) fn set(options: &Demo, slots: &SlotSet) -> Result<Self, Denial> {
        require_sample(&options.sample)?;
        let siblings = SIBLINGS.iter().map(|name| Ok((*name, sibling::find(name)?)));
        let siblings = siblings.collect::<Result<Vec<_>, Denial>>()?;
        let backend = sibling::beside("sample-backend")?;
        let cluster = start_cluster(options)?;
        let directory = tempfile::Builder::new().prefix("slotguard-demo-").tempdir();
        let directory = directory.map_err(|error| cannot("make a directory", &error))?;
        let sandbox = fitting_sandbox(&sibling::find("runtime-wrapper")?)?;
        let slots = slots.iter().collect();
        let stage = Self { cluster, directory, siblings, slots, sandbox };
        stage.write_files(&options.sample, &backend).map_err(|e| cannot("write its files", &e))?;
        Ok(stage)
    }

    fn write_files(&self, sample: &Path, backend: &Path) -> std::io::Result<()> {
        for directory in ["bin", "logs", "previews", "secrets", "state"] {
            std::fs::create_dir(self.path(directory))?;
        }
        // A copy, because the build's own file may be writable by the caller's group.
        std::fs::copy(backend, self.backend_program())?;
        set_mode(Path::new(&self.backend_program()), 0o755)?;
        let (port, password) = (self.port(), self.cluster.password());
        let administrator = Path::new(&self.administrator()).to_owned();
        let url = format!("postgresql://postgres:{password}@127.0.0.1:{port}/postgres");
        std::fs::write(&administrator, url)?;
        set_mode(&administrator, 0o600)?;
        for slot in &self.slots {
            for part in ["migrations", "frontend"] {
                let copy = Path::new(&self.worktree(*slot)).join(part);
                copy_directory(&sample.join(part), &copy)?;
            }
        }
        let config = self.path("slotguard.toml");
        std::fs::write(&config, self.configuration())?;
        set_mode(&config, 0o600)
    }

    fn configuration(&self) -> String {
        let root = self.directory.path().display();
        let port = self.port();
        format!(
            "version = 1\n\
             [database]\n\
             endpoints = [\"127.0.0.1:{port}\"]\n\
             role = \"slot_{{slot}}\"\n\
             password_file = \"{root}/secrets/slot_{{slot}}.pw\"\n\
             admin_password_file = \"{root}/secrets/preview_admin.pw\"\n\
             seed_password_file = \"{root}/secrets/preview_seed_owner.pw\"\n\
             require_stamp = true\n\
             [production]\n\
             databases = [\"{PRODUCTION}\"]\n\
             [roots]\n\
             worktree = \"{root}/previews\"\n\
             state = \"{root}/state\"\n\
             [programs.backend]\n\
             path = \"{root}/bin/sample-backend\"\n\
             [sandbox]\n\
             {}\n",
            self.sandbox
        )
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).to_string_lossy().into_owned()
    }

    pub(super) fn config(&self) -> String {
        self.text("slotguard.toml")
    }

    pub(super) fn worktree(&self, slot: SlotId) -> String {
        self.text(&format!("previews/feature-{}", slot.number()))
    }

    pub(super) fn migrations(&self, slot: SlotId) -> String {
        self.worktree(slot) + "/migrations"
    }

    pub(super) fn backend_program(&self) -> String {
        self.text("bin/sample-backend")
    }

    pub(super) fn log(&self, slot: SlotId) -> PathBuf {
        self.path(&format!("logs/{slot}.log"))
    }

    pub(super) fn first_slot(&self) -> SlotId {
        self.slots[0]
    }

    pub(super) fn last_slot(&self) -> SlotId {
        self.slots[self.slots.len() - 1]
    }

    pub(super) fn port(&self) -> u16 {
        self.cluster.port()
    }

    /// Returns the path of a program of this installation.
    pub(super) fn sibling(&self, name: &str) -> &Path {
        let found = self.siblings.iter().find(|(sibling, _)| *sibling == name);
        #[expect(clippy::expect_used, reason = "every caller names one of `SIBLINGS`")]
        let (_, path) = found.expect("one of the siblings");
        path
    }

    /// Returns what the kernel enforces for the backends, as the configuration demands it.
    pub(super) fn sandbox(&self) -> &str {
        &self.sandbox
    }

    pub(super) fn describe_server(&self) -> String {
        let major = self.cluster.programs().major();
        format!("PostgreSQL {major} on 127.0.0.1:{}, gone when this ends", self.port())
    }

    /// Creates the pretended production database, as the administrator of production would.
    pub(super) fn make_production(&self) -> Result<(), Denial> {
        let sql = |database: &str, text: &str| {
            self.cluster.run_sql(database, text).map_err(|error| {
                unexpected("production cannot be made", &error.to_string(), "plain SQL")
            })
        };
        sql("postgres", &format!("CREATE DATABASE {PRODUCTION}"))?;
        let content = "CREATE TABLE customers (id int PRIMARY KEY, name text NOT NULL);
             INSERT INTO customers VALUES (1, 'a real customer');";
        sql(PRODUCTION, content).map(drop)
    }

    /// Returns the file with the superuser's URL.
    pub(super) fn administrator(&self) -> String {
        self.text("secrets/administrator.url")
    }

    /// Returns what production holds, as a text that changes with it.
    pub(super) fn production_fingerprint(&self) -> Result<String, Denial> {
        let sql = "SELECT string_agg(relname::text || relkind::text, ',' ORDER BY relname) FROM pg_class \
                   WHERE relnamespace = 'public'::regnamespace; SELECT * FROM customers;";
        self.cluster.run_sql(PRODUCTION, sql).map_err(|error| {
            unexpected("production cannot be looked at", &error.to_string(), "one table")
        })
    }

    /// Tries to enter production with a slot's own role and password; the server must refuse.
    pub(super) fn slot_role_meets_production(&self) -> Result<String, Denial> {
        let slot = self.first_slot();
        let file = self.path(&format!("secrets/slot_{}.pw", slot.number()));
        let password = read_password(&file)?;
        let password = password.dangerous_expose();
        match self.cluster.run_sql_as("slot_1", password, PRODUCTION, "SELECT 1") {
            Ok(_) => Err(unexpected("slot_1 entered production", "a session", "a refusal")),
            Err(error) => Ok(refusal_in(&error.to_string())),
        }
    }

    /// Ends the server and removes everything.
    pub(super) fn strike(self) -> Result<(), Denial> {
        let Self { cluster, directory, .. } = self;
        cluster
            .stop()
            .map_err(|e| unexpected("the server does not end", &e.to_string(), "an end"))?;
        directory.close().map_err(|error| cannot("remove its files", &error))
    }
}

/// Finds what the server said in the words of psql.
fn refusal_in(text: &str) -> String {
    let words = text.split_once("FATAL:").map_or(text, |(_, words)| words);
    words.trim().lines().next().unwrap_or_default().to_owned()
}

/// Asks the wrapper for the line of `[sandbox]` that demands all that this kernel can enforce.
fn fitting_sandbox(wrapper: &Path) -> Result<String, Denial> {
    let refuse = |found: &str| unexpected("the wrapper does not tell what fits", found, "a line");
    let output = child::command(wrapper, &["--format", "json", "probe"]).output();
    let output = output.map_err(|error| refuse(&error.to_string()))?;
    let answer: Option<Value> = serde_json::from_slice(&output.stdout).ok();
    let line = answer.as_ref().and_then(|answer| answer["line"].as_str());
    line.map(str::to_owned).ok_or_else(|| refuse("no line"))
}

fn require_sample(sample: &Path) -> Result<(), Denial> {
    if sample.join("migrations").is_dir() && sample.join("frontend").is_dir() {
        return Ok(());
    }
    Err(Denial::new(
        Code::PathMissing,
        "the sample application is not there",
        format!("`{}`", shown(&sample.to_string_lossy())),
        "a directory with `migrations` and `frontend`",
    )
    .help("Run from the checkout, or name its fixtures/sample-app with --sample."))
}

fn start_cluster(options: &Demo) -> Result<Cluster, Denial> {
    let environment = environment_snapshot()?;
    let path = environment.value("PATH").map(OsStr::from_bytes);
    let programs = ServerPrograms::find(options.postgres_programs.as_deref(), path);
    let programs = programs.map_err(|error| {
        Denial::new(
            Code::PostgresMissing,
            "the Postgres server programs are missing",
            root_cause(&error),
            "initdb, postgres and psql",
        )
    })?;
    Cluster::builder(programs).start().map_err(|error| {
        unexpected("the throw-away server does not start", &root_cause(&error), "a running server")
    })
}

/// Says the cause at the end of the chain: what went wrong, without the way there.
fn root_cause(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.last().unwrap_or(error).to_string()
}

fn cannot(what: &str, error: &std::io::Error) -> Denial {
    unexpected(&format!("it cannot {what}"), &error.to_string(), "a writable temporary directory")
}

fn set_mode(path: &Path, mode: u32) -> std::io::Result<()> {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
}

/// Copies the regular files of a directory.
fn copy_directory(from: &Path, to: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            std::fs::copy(entry.path(), to.join(entry.file_name()))?;
        }
    }
    Ok(())
}
