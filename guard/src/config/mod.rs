//! `slotguard.toml`, from text to values that are known to fit together.
//!
//! Reading the file safely is [`crate::io`]'s work. Values are never repeated in a refusal unless
//! they are names or numbers, because a misplaced secret is one of the things a value can be.

mod deploy;
mod file;
mod leases;
mod lifecycle;
mod publish;
mod release;
mod sandbox;
mod sidecar;
mod tls;
mod worker;

use crate::diagnostic::{Code, Denial};
use crate::environment::{EnvPolicy, Environment};
use crate::path::AbsolutePath;
use crate::policy::DatabasePolicy;
use crate::program::Programs;
use crate::provision::Quotas;
use crate::route::Hosts;
use crate::sandbox::{SandboxPolicy, SyncPolicy};
use crate::slot::{SlotId, SlotSet};
use crate::template::Template;

pub use deploy::DeployPolicy;
pub use leases::{LeasePolicy, parse_time, show_time};
pub use lifecycle::{LifecyclePolicy, Manager};
pub use publish::Publish;
pub use release::ReleasedDatabase;
pub use sidecar::{SidecarMode, SidecarPolicy};

/// Where slot records, leases and private homes live when nothing is configured.
const DEFAULT_STATE_ROOT: &str = "/var/lib/slotguard/state";

/// A checked configuration; the default is the contract's three slots and nothing else.
#[derive(Debug, Clone, Default)]
pub struct Config {
    slots: SlotSet,
    slots_are_configured: bool,
    /// What databases may be.
    pub database: DatabasePolicy,
    /// Where each slot's password is kept, for targets that are rendered.
    pub password_file: Option<Template>,
    /// Where the password of the role that owns the slots' databases is kept.
    pub admin_password_file: Option<AbsolutePath>,
    /// Where the password of the role that fills the seed is kept.
    pub seed_password_file: Option<AbsolutePath>,
    /// Limits of each slot.
    pub quotas: Quotas,
    /// Directories that file operations stay beneath.
    pub roots: Roots,
    /// What a child's environment may hold.
    pub child: EnvPolicy,
    /// What may be started.
    pub programs: Programs,
    /// For how long slots can be claimed.
    pub leases: LeasePolicy,
    /// How backends are started, judged and stopped.
    pub lifecycle: LifecyclePolicy,
    /// What the kernel must enforce.
    pub sandbox: SandboxPolicy,
    /// The guard on the wire.
    pub sidecar: SidecarPolicy,
    /// Where each slot's frontend lies and what it is called.
    pub web: Web,
    /// What a dependency sync may reach.
    pub sync: SyncPolicy,
    /// What the publish flow takes from a worktree.
    pub publish: Publish,
    /// What becomes of the database of a slot that is given back.
    pub released_database: ReleasedDatabase,
    /// How long a deploy of production may take.
    pub deploy: DeployPolicy,
    /// Host names of production, which no built frontend may name.
    pub production_hosts: Vec<String>,
}

/// Where each slot's frontend lies and what it is called; unset is the contract's default.
#[derive(Debug, Clone, Default)]
pub struct Web {
    root: Option<Template>,
    host: Option<Template>,
}

/// Where frontends are published when nothing is configured, as the contract has it.
const DEFAULT_WEB_ROOT: &str = "/srv/oroboros/current/infra/web-preview-{slot}";

impl Web {
    /// Returns the directory that a slot's frontend is published in.
    ///
    /// # Errors
    /// None for a checked configuration; a template is parsed again for each slot.
    pub fn root(&self, slot: SlotId) -> Result<AbsolutePath, Denial> {
        let text = self.root.as_ref().map(|template| template.render(slot));
        let default = || DEFAULT_WEB_ROOT.replace("{slot}", &slot.number().to_string());
        AbsolutePath::parse(&text.unwrap_or_else(default))
    }

    /// Returns the hosts that a slot's front answers to.
    #[must_use]
    pub fn hosts(&self, slot: SlotId) -> Hosts {
        Hosts::of(slot, self.host.as_ref())
    }
}

/// The configured directory roots.
#[derive(Debug, Clone)]
pub struct Roots {
    /// The repository that worktrees belong to.
    pub repository: Option<AbsolutePath>,
    /// The directory that holds all worktrees.
    pub worktree: Option<AbsolutePath>,
    /// The directory that holds artifacts.
    pub artifact: Option<AbsolutePath>,
    /// The directory that holds slot records and private homes.
    pub state: AbsolutePath,
    /// Whether worktrees and migrations may lie on another mount than their root.
    pub cross_mounts: bool,
}

impl Default for Roots {
    fn default() -> Self {
        #[expect(clippy::expect_used, reason = "a constant that a test parses")]
        let state = AbsolutePath::parse(DEFAULT_STATE_ROOT).expect("the default root is plain");
        Self { repository: None, worktree: None, artifact: None, state, cross_mounts: true }
    }
}

impl Config {
    /// Parses the text of a configuration file.
    ///
    /// # Errors
    /// Refuses what is not TOML, unknown keys, a version other than 1, and values that contradict
    /// the contract or each other.
    pub fn parse(text: &str) -> Result<Self, Denial> {
        file::parse(text)
    }

    /// Returns the slots of this host.
    #[must_use]
    pub fn slots(&self) -> &SlotSet {
        &self.slots
    }

    /// Reconciles the slots with the environment's `SLOT_IDS_CSV` (contract clause EN-1).
    ///
    /// # Errors
    /// Refuses a list that cannot be read, and one that contradicts the file.
    pub fn reconcile_slots(&mut self, csv: Option<&[u8]>) -> Result<(), Denial> {
        let Some(csv) = csv else { return Ok(()) };
        let slots = SlotSet::parse_csv(&String::from_utf8_lossy(csv))?;
        if self.slots_are_configured && slots != self.slots {
            return Err(Denial::new(
                Code::ConfigEnvironment,
                "`SLOT_IDS_CSV` contradicts the configuration file",
                format!("SLOT_IDS_CSV={slots}"),
                format!("SLOT_IDS_CSV={}", self.slots),
            ));
        }
        self.slots = slots;
        Ok(())
    }

    /// Judges the worker's templates and directories in an environment, for every slot, and takes
    /// over where frontends lie and what they are called.
    ///
    /// # Errors
    /// Refuses a value that does not give every slot its own, and one that contradicts the file.
    pub fn reconcile_worker_variables(&mut self, environment: &Environment) -> Result<(), Denial> {
        worker::judge(environment, &self.slots)?;
        for (rule, own) in
            [(worker::WEB_ROOT, &mut self.web.root), (worker::PREVIEW_HOST, &mut self.web.host)]
        {
            let Some(given) = rule.variable(environment, &self.slots)? else { continue };
            if own.as_ref().is_some_and(|own| *own != given) {
                return Err(Denial::new(
                    Code::ConfigEnvironment,
                    format!("`{}` contradicts the configuration file", rule.name),
                    "another template than `[web]` has",
                    "the same template in both, or in one of them",
                ));
            }
            *own = Some(given);
        }
        Ok(())
    }

    /// Parses a slot and requires that it exists on this host.
    ///
    /// # Errors
    /// Refuses every spelling but the canonical one, and slots that are not configured.
    pub fn slot(&self, text: &str) -> Result<SlotId, Denial> {
        self.slots.require(text.parse()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FULL: &str = r#"
        version = 1
        [slots]
        ids = ["preview-1", "preview-2"]
        [database]
        endpoints = ["127.0.0.1:5432"]
        role = "slot_{slot}"
        password_file = "/etc/slotguard/slot_{slot}.pw"
        admin_password_file = "/etc/slotguard/preview_admin.pw"
        seed_password_file = "/etc/slotguard/preview_seed_owner.pw"
        require_stamp = true
        [quotas]
        connections = 10
        temp_files_mb = 512
        statement_timeout_s = 600
        idle_in_transaction_timeout_s = 30
        [production]
        databases = ["app_production"]
        endpoints = ["db.example:5432"]
        hosts = ["app.example.com"]
        [roots]
        repository = "/srv/repo"
        worktree = "/srv/previews"
        artifact = "/var/lib/slotguard/artifacts"
        state = "/var/lib/slotguard/state"
        [env]
        inherit = ["FEATURE_FLAGS"]
        block = ["INTERNAL_FLAG"]
        set = { NODE_ENV = "preview", PORT = "810{slot}" }
        [programs.backend]
        path = "/usr/bin/node"
        args = ["server.js", "..."]
        [leases]
        max = "8h"
        default = "90m"
        warn_before = "10m"
        [web]
        root = "/srv/web-preview-{slot}"
        host = "preview{slot}.example.com"
        [sandbox]
        require = []
        connect_tcp = []
        [sync]
        programs = ["backend"]
        connect_tcp = [443]
        [sidecar]
        enabled = true
        mode = "peer"
        upstream_socket = "/run/postgresql"
        max_sessions = 12
        startup_keys = ["search_path"]
        confirm_every_s = 60
        [publish]
        migrations = "db/migrations"
        layout = "flyway"
        keep_releases = 2
        [frontend]
        build = "backend"
        dist = "dist"
    "#;

    #[test]
    fn the_documented_file_is_read() {
        let config = Config::parse(FULL).unwrap();
        assert_eq!(config.slots().to_string(), "preview-1,preview-2");
        assert!(config.sandbox.require.is_empty());
        assert_eq!(Config::default().sandbox.require.len(), 3);
        assert!(
            config
                .programs
                .approve(
                    "preview-1".parse().unwrap(),
                    "/usr/bin/node",
                    &["server.js".into(), "x".into()]
                )
                .is_ok()
        );
        assert!(config.database.require_stamp);
        assert_eq!(config.quotas.connections, 10);
        assert_eq!(config.quotas.role_settings()[0], ("temp_file_limit", "512MB".to_owned()));
        assert_eq!(Config::default().slots().to_string(), "preview-1,preview-2,preview-3");
    }

    #[test]
    fn a_line_changed_for_the_worse_is_refused() {
        let cases = [
            ("version = 1", "version = 2"),
            ("version = 1", ""),
            ("[slots]", "[slot]"),
            ("ids = [\"preview-1\", \"preview-2\"]", "ids = [\"preview1\"]"),
            ("ids = [\"preview-1\", \"preview-2\"]", "ids = []"),
            ("migrations = \"db/migrations\"", "migrations = \"/db\""),
            ("migrations = \"db/migrations\"", "migrations = \"../db\""),
            ("layout = \"flyway\"", "layout = \"Flyway\""),
            ("build = \"backend\"", "build = \"vite\""),
            ("dist = \"dist\"", ""),
            ("programs = [\"backend\"]", "programs = [\"npm\"]"),
            ("dist = \"dist\"", "dist = \".\""),
            ("hosts = [\"app.example.com\"]", "hosts = [\"https://app.example.com\"]"),
            ("hosts = [\"app.example.com\"]", "hosts = [\"\"]"),
            ("endpoints = [\"127.0.0.1:5432\"]", "endpoints = [\"localhost:5432\"]"),
            ("endpoints = [\"127.0.0.1:5432\"]", "endpoints = [\"192.0.2.1:5432\"]"),
            ("endpoints = [\"127.0.0.1:5432\"]", "endpoints = [\"127.0.0.1\"]"),
            ("endpoints = [\"127.0.0.1:5432\"]", "endpoints = [\"127.0.0.1:8101\"]"),
            ("endpoints = [\"127.0.0.1:5432\"]", "endpoints = [\"127.0.0.1:5109\"]"),
            ("role = \"slot_{slot}\"", "role = \"app\""),
            ("role = \"slot_{slot}\"", "role = \"slot_{n}\""),
            ("role = \"slot_{slot}\"", "role = \"slot {slot}\""),
            ("slot_{slot}.pw", "slot.pw"),
            ("/etc/slotguard/preview_admin.pw", "preview_admin.pw"),
            ("/etc/slotguard/preview_seed_owner.pw", "/etc/slotguard/preview_admin.pw"),
            ("require_stamp = true", "require_stamp = \"yes\""),
            ("connections = 10", "connections = 0"),
            ("temp_files_mb = 512", "temp_files_mb = -1"),
            ("databases = [\"app_production\"]", "databases = [\"app_preview_1\"]"),
            ("worktree = \"/srv/previews\"", "worktree = \"previews\""),
            ("inherit = [\"FEATURE_FLAGS\"]", "inherit = [\"PGHOST\"]"),
            ("inherit = [\"FEATURE_FLAGS\"]", "inherit = [\"PORT\"]"),
            ("PORT = \"810{slot}\"", "PORT = \"8101\""),
            ("path = \"/usr/bin/node\"", "path = \"node\""),
            ("args = [\"server.js\", \"...\"]", "args = [\"...\", \"server.js\"]"),
            ("max = \"8h\"", "max = 8"),
            ("max = \"8h\"", "max = \"1h\""),
            ("warn_before = \"10m\"", "warn_before = \"8h\""),
            ("require = []", "require = [\"everything\"]"),
            ("require = []\n        connect_tcp = []", "connect_tcp = [8103]"),
            ("root = \"/srv/web-preview-{slot}\"", "root = \"/srv/web\""),
            ("root = \"/srv/web-preview-{slot}\"", "root = \"/srv/../web-{slot}\""),
            ("host = \"preview{slot}.example.com\"", "host = \"www{slot}.example.com\""),
            ("[sync]", "[sink]"),
            ("mode = \"peer\"", "mode = \"relay\""),
        ];
        for (line, worse) in cases {
            let text = FULL.replace(line, worse);
            assert_ne!(text, FULL, "{line} is not in the file");
            let denial = Config::parse(&text).expect_err(worse);
            assert_eq!(denial.code().class(), crate::diagnostic::Class::Configuration, "{worse}");
        }
    }

    #[test]
    fn another_host_needs_a_pinned_identity() {
        let remote = FULL.replace("[\"127.0.0.1:5432\"]", "[\"192.0.2.1:5432\"]");
        assert_eq!(Config::parse(&remote).unwrap_err().code(), Code::ConfigValue);
        let pin = |value: &str| {
            let line = format!("[database]\nsystem_identifier = \"{value}\"");
            Config::parse(&remote.replace("[database]", &line))
        };
        assert_eq!(pin("7312345678901234567").unwrap().database.endpoints.len(), 1);
        for value in ["", "0", "-1", "+1", "x", "99999999999999999999999"] {
            assert!(pin(value).is_err(), "{value:?}");
        }
    }

    #[test]
    fn a_refusal_does_not_repeat_a_value() {
        let text = FULL.replace("ids = [\"preview-1\", \"preview-2\"]", "ids = \"hunter2\"");
        let denial = Config::parse(&text).unwrap_err();
        assert_eq!(denial.code(), Code::ConfigSyntax);
        assert!(!format!("{denial:?}").contains("hunter2"), "{denial:?}");
        assert!(denial.found().contains("line 4"), "{}", denial.found());
    }

    #[test]
    fn a_url_in_the_wrong_place_is_not_repeated() {
        let url = "postgresql://app:hunter2@127.0.0.1:5432/x";
        for line in
            ["\"127.0.0.1:5432\"", "\"app_production\"", "\"/srv/previews\"", "\"slot_{slot}\""]
        {
            let text = FULL.replace(line, &format!("\"{url}\""));
            let Err(denial) = Config::parse(&text) else { continue };
            assert!(!format!("{denial:?}").contains("hunter2"), "{line}: {denial:?}");
        }
        let text = FULL.replace("inherit =", "inhunter2herit =");
        let denial = Config::parse(&text).unwrap_err();
        assert!(!format!("{denial:?}").contains("hunter2"), "{denial:?}");
        let text = FULL.replace("require = []", "require = [\"hunter2\"]");
        let denial = Config::parse(&text).unwrap_err();
        assert!(!format!("{denial:?}").contains("hunter2"), "{denial:?}");
    }

    #[test]
    fn an_unknown_key_is_named() {
        let denial = Config::parse(&FULL.replace("[sync]", "[sink]")).unwrap_err();
        assert!(denial.message().contains("sink"), "{}", denial.message());
    }

    #[test]
    fn en_2_en_13_worker_templates_must_agree_with_the_file() {
        let mut config = Config::parse(FULL).unwrap();
        let root = "WORKER_PREVIEW_WEB_ROOT_TEMPLATE";
        assert!(
            config.reconcile_worker_variables(&[(root, "/srv/web-preview-{slot}")].into()).is_ok()
        );
        let denial = config.reconcile_worker_variables(&[(root, "/srv/other-{slot}")].into());
        assert_eq!(denial.unwrap_err().code(), Code::ConfigEnvironment);
        let mut default = Config::default();
        let slot = "preview-2".parse().unwrap();
        let shown = default.web.root(slot).unwrap();
        assert_eq!(shown.as_str(), "/srv/oroboros/current/infra/web-preview-2");
        let host = "WORKER_SLOT_PREVIEW_HOST_TEMPLATE";
        assert!(!default.web.hosts(slot).accepts(b"preview2.example.com"));
        default.reconcile_worker_variables(&[(host, "preview{slot}.example.com")].into()).unwrap();
        assert!(default.web.hosts(slot).accepts(b"preview2.example.com"));
    }

    #[test]
    fn en_1_slot_ids_csv_must_agree_with_the_file() {
        let mut config = Config::parse(FULL).unwrap();
        assert!(config.reconcile_slots(Some(b"preview-2,preview-1")).is_ok());
        let denial = config.reconcile_slots(Some(b"preview-1")).unwrap_err();
        assert_eq!(denial.code(), Code::ConfigEnvironment);
        let mut default = Config::default();
        default.reconcile_slots(Some(b"preview-7")).unwrap();
        assert!(default.slot("preview-7").is_ok());
        assert_eq!(default.slot("preview-1").unwrap_err().code(), Code::SlotNotConfigured);
    }
}
