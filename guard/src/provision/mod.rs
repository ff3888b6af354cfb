//! What a provisioned cluster is like, and how a live one differs from it.
//!
//! Names follow from the slots. What a cluster is like is read by whoever holds the connection; this
//! module only compares. It writes no SQL: that is `migrate-runner`'s.

mod content;
mod databases;
mod facts;
mod roles;
mod server;

use crate::config::Config;
use crate::diagnostic::{Code, Denial};
use crate::slot::SlotId;

pub use facts::{
    ClusterFacts, ContentFacts, DatabaseFacts, GrantFacts, HbaFacts, MembershipFacts, OwnedFacts,
    RoleFacts, ServerFacts, SettingFacts,
};

/// The role that owns the slots' databases: not a superuser, and the only one that resets them.
pub const ADMIN_ROLE: &str = "preview_admin";

/// The role that owns what is inside the seed, and that hands it over in each copy.
pub const SEED_ROLE: &str = "preview_seed_owner";

/// The database that the slots' databases are copied from.
pub const SEED_DATABASE: &str = "app_preview_seed";

/// Everybody, in a grant.
const PUBLIC: &str = "PUBLIC";

/// The roles' pattern when none is configured.
const DEFAULT_ROLE: &str = "slot_{slot}";

/// Sessions of the administrator's role at one time.
pub const ADMIN_CONNECTIONS: i32 = 8;

/// Sessions of the seed's role at one time.
pub const SEED_CONNECTIONS: i32 = 4;

/// Behind the name of a database that is being built.
const NEXT: &str = "__next";

/// Behind the name of a database that was replaced.
const OLD: &str = "__old";

/// Returns the name under which a database is built before it takes its place.
#[must_use]
pub fn next_name(database: &str) -> String {
    format!("{database}{NEXT}")
}

/// Returns the name that a database has between being replaced and being dropped.
#[must_use]
pub fn old_name(database: &str) -> String {
    format!("{database}{OLD}")
}

/// Limits of each slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quotas {
    /// Sessions of a slot's role at one time.
    pub connections: u16,
    /// Temporary files of one session, in megabytes; the server enforces it.
    pub temp_files_mb: u32,
    /// Longest statement, in seconds; 0 means without end. The role can change it for itself.
    pub statement_timeout_s: u32,
    /// Longest idle transaction, in seconds; 0 means without end. The role can change it for itself.
    pub idle_in_transaction_timeout_s: u32,
}

impl Default for Quotas {
    fn default() -> Self {
        Self {
            connections: 20,
            temp_files_mb: 1024,
            statement_timeout_s: 900,
            idle_in_transaction_timeout_s: 60,
        }
    }
}

impl Quotas {
    /// Returns the settings that are stored with a slot's role, as `name` and `value`.
    #[must_use]
    pub fn role_settings(&self) -> [(&'static str, String); 3] {
        [
            ("temp_file_limit", format!("{}MB", self.temp_files_mb)),
            ("statement_timeout", format!("{}s", self.statement_timeout_s)),
            (
                "idle_in_transaction_session_timeout",
                format!("{}s", self.idle_in_transaction_timeout_s),
            ),
        ]
    }
}

/// A slot and the names that follow from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlotRole {
    /// The slot.
    pub slot: SlotId,
    /// Its database.
    pub database: String,
    /// Its role.
    pub role: String,
}

/// What a cluster shall be like.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// The slots, in order.
    pub slots: Vec<SlotRole>,
    /// The limits of each slot.
    pub quotas: Quotas,
    /// Databases that are production's.
    pub production: Vec<String>,
}

impl Wanted {
    /// Derives it from the configuration.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        let role = |slot: SlotId| {
            let number = slot.number().to_string();
            let configured = config.database.role.as_ref().map(|role| role.render(slot));
            configured.unwrap_or_else(|| DEFAULT_ROLE.replace("{slot}", &number))
        };
        let slots = config.slots().iter();
        Self {
            slots: slots
                .map(|slot| SlotRole { slot, database: slot.database_name(), role: role(slot) })
                .collect(),
            quotas: config.quotas,
            production: config.database.production_databases.clone(),
        }
    }

    /// Returns the slot that a role belongs to.
    #[must_use]
    pub fn slot_of_role(&self, role: &str) -> Option<&SlotRole> {
        self.slots.iter().find(|slot| slot.role == role)
    }

    /// Returns the slot that a database belongs to.
    #[must_use]
    pub fn slot_of_database(&self, database: &str) -> Option<&SlotRole> {
        self.slots.iter().find(|slot| slot.database == database)
    }

    /// Returns whether a role is one of those that provisioning makes.
    #[must_use]
    pub fn is_own_role(&self, role: &str) -> bool {
        role == ADMIN_ROLE || role == SEED_ROLE || self.slot_of_role(role).is_some()
    }
}

/// Names every difference between a live cluster and what it shall be like.
#[must_use]
pub fn judge(wanted: &Wanted, facts: &ClusterFacts) -> Vec<Denial> {
    let mut findings = Vec::new();
    roles::judge(wanted, facts, &mut findings);
    databases::judge(wanted, facts, &mut findings);
    for content in &facts.contents {
        content::judge(wanted, facts, content, &mut findings);
    }
    server::judge(wanted, facts, &mut findings);
    findings
}

/// Adds one difference.
fn find(
    findings: &mut Vec<Denial>,
    code: Code,
    message: String,
    found: impl Into<String>,
    expected: impl Into<String>,
) {
    findings.push(Denial::new(code, message, found, expected));
}
