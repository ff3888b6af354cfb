//! What the demo plays on: a server, worktrees, a configuration, and secrets of its own.

use std::ffi::OsStr;
use std::io::Read as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use guard::diagnostic::{Code, Denial, shown};
use guard::io::environment_snapshot;
use guard::slot::{SlotId, SlotSet};
use tempfile::TempDir;
use throwaway_postgres::{Cluster, ServerPrograms};

use super::failure::unexpected;
use crate::options::Demo;
use crate::sibling;

/// The pretended production database.
pub(super) const PRODUCTION: &str = "app_production";

/// Programs that the demo starts.
const SIBLINGS: [&str; 3] = ["slotguard", "migrate-runner", "runtime-wrapper"];

/// Everything on disk and the server; gone when dropped.
pub(super) struct Stage {
    cluster: Cluster,
    directory: TempDir,
    siblings: Vec<(&'static str, PathBuf)>,
    passwords: Vec<(SlotId, String)>,
    first_slot: SlotId,
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
        let passwords = slots.iter().map(|slot| Ok((slot, random_hex()?)));
        let passwords = passwords.collect::<Result<Vec<_>, Denial>>()?;
        let first_slot = slots.first();
        let stage = Self { cluster, directory, siblings, passwords, first_slot };
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
        for (slot, password) in &self.passwords {
            let file = self.path(&format!("secrets/slot_{}.pw", slot.number()));
            std::fs::write(&file, password)?;
            set_mode(&file, 0o600)?;
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
             [production]\n\
             databases = [\"{PRODUCTION}\"]\n\
             [roots]\n\
             worktree = \"{root}/previews\"\n\
             state = \"{root}/state\"\n\
             [programs.backend]\n\
             path = \"{root}/bin/sample-backend\"\n"
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
        self.first_slot
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

    pub(super) fn describe_server(&self) -> String {
        let major = self.cluster.programs().major();
        format!("PostgreSQL {major} on 127.0.0.1:{}, gone when this ends", self.port())
    }

    /// Creates one role and one database for each slot, and production beside them.
    pub(super) fn provision(&self, slots: &SlotSet) -> Result<(), Denial> {
        let sql = |database: &str, text: &str| {
            self.cluster.run_sql(database, text).map_err(|error| {
                unexpected("the server cannot be provisioned", &error.to_string(), "plain SQL")
            })
        };
        sql("postgres", "REVOKE ALL ON DATABASE postgres, template1 FROM PUBLIC")?;
        for slot in slots.iter() {
            let (database, number) = (slot.database_name(), slot.number());
            let password = self.password(slot);
            sql("postgres", &format!("CREATE ROLE slot_{number} LOGIN PASSWORD '{password}'"))?;
            sql("postgres", &format!("CREATE DATABASE {database}"))?;
            let rights = format!(
                "REVOKE ALL ON DATABASE {database} FROM PUBLIC;
                 GRANT CONNECT, CREATE, TEMPORARY ON DATABASE {database} TO slot_{number};
                 ALTER SCHEMA public OWNER TO slot_{number};"
            );
            sql(&database, &rights)?;
        }
        sql("postgres", &format!("CREATE DATABASE {PRODUCTION}"))?;
        let content = format!(
            "REVOKE ALL ON DATABASE {PRODUCTION} FROM PUBLIC;
             CREATE TABLE customers (id int PRIMARY KEY, name text NOT NULL);
             INSERT INTO customers VALUES (1, 'a real customer');"
        );
        sql(PRODUCTION, &content).map(drop)
    }

    fn password(&self, slot: SlotId) -> &str {
        let found = self.passwords.iter().find(|(owner, _)| *owner == slot);
        found.map_or("", |(_, password)| password)
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
        match self.cluster.run_sql_as("slot_1", self.password(slot), PRODUCTION, "SELECT 1") {
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
    let environment = environment_snapshot();
    let path = environment.first("PATH").map(OsStr::from_bytes);
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

fn random_hex() -> Result<String, Denial> {
    let mut bytes = [0u8; 16];
    let read = std::fs::File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut bytes));
    read.map_err(|error| cannot("make a password", &error))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
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
