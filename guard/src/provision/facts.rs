//! What a live cluster says of itself, as plain data.

use serde::Deserialize;

use crate::identity::TableFacts;

/// A whole cluster, as its superuser sees it.
#[derive(Debug, Clone, Deserialize)]
pub struct ClusterFacts {
    /// The server.
    pub server: ServerFacts,
    /// Every role.
    pub roles: Vec<RoleFacts>,
    /// Every database.
    pub databases: Vec<DatabaseFacts>,
    /// Which role owns objects in which database.
    pub owned: Vec<OwnedFacts>,
    /// Grants on server settings, tablespaces and their kind to roles other than superusers, as
    /// `role`, then what it may.
    pub other_grants: Vec<(String, String)>,
    /// Subscriptions and replication slots, as the database's name, then what it is.
    pub replication: Vec<(String, String)>,
    /// The rules of `pg_hba.conf`.
    pub hba: Vec<HbaFacts>,
    /// What is inside the slots' databases; empty until it was read.
    #[serde(default)]
    pub contents: Vec<ContentFacts>,
}

/// The server and the session that asks.
#[derive(Debug, Clone, Deserialize)]
pub struct ServerFacts {
    /// `server_version_num`.
    pub version: u32,
    /// `system_identifier` of `pg_control_system()`.
    pub system_identifier: u64,
    /// `pg_is_in_recovery()`.
    pub in_recovery: bool,
    /// `max_connections`.
    pub max_connections: i32,
    /// Connections that are kept for others than slots.
    pub reserved_connections: i32,
    /// `max_prepared_transactions`.
    pub max_prepared_transactions: i32,
    /// The role that asks.
    pub user: String,
    /// Whether it is a superuser.
    pub superuser: bool,
}

/// A role.
#[derive(Debug, Clone, Deserialize)]
pub struct RoleFacts {
    /// Its name.
    pub name: String,
    /// Whether it may log in.
    pub login: bool,
    /// Attributes beyond login, such as `SUPERUSER`.
    pub attributes: Vec<String>,
    /// Its connection limit; -1 means none.
    pub connection_limit: i32,
    /// Whether a password is stored.
    pub has_password: bool,
    /// What it is a member of, directly.
    pub member_of: Vec<MembershipFacts>,
    /// Settings stored with it.
    pub settings: Vec<SettingFacts>,
}

/// A direct membership.
#[derive(Debug, Clone, Deserialize)]
pub struct MembershipFacts {
    /// The group.
    pub role: String,
    /// Whether the member may hand the membership on.
    pub admin: bool,
}

/// A stored setting.
#[derive(Debug, Clone, Deserialize)]
pub struct SettingFacts {
    /// The database it is limited to.
    pub database: Option<String>,
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: String,
}

/// A database.
#[derive(Debug, Clone, Deserialize)]
pub struct DatabaseFacts {
    /// Its object id.
    pub oid: u32,
    /// Its name.
    pub name: String,
    /// Its owner.
    pub owner: String,
    /// `datallowconn`.
    pub allow_connections: bool,
    /// `datistemplate`.
    pub is_template: bool,
    /// `datconnlimit`; -1 means none, -2 a database that was half dropped.
    pub connection_limit: i32,
    /// Its comment.
    pub comment: Option<String>,
    /// Its size in bytes; 0 where it was not asked.
    pub size: u64,
    /// Who may do what, the defaults spelt out.
    pub grants: Vec<GrantFacts>,
}

/// One privilege on a database.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct GrantFacts {
    /// The role, or `PUBLIC`.
    pub grantee: String,
    /// `CONNECT`, `CREATE` or `TEMPORARY`.
    pub privilege: String,
    /// Whether it may be handed on.
    pub grantable: bool,
}

/// A role that owns objects in a database.
#[derive(Debug, Clone, Deserialize)]
pub struct OwnedFacts {
    /// The role.
    pub role: String,
    /// The database.
    pub database: String,
    /// How many objects.
    pub objects: u64,
}

/// A rule of `pg_hba.conf`.
#[derive(Debug, Clone, Deserialize)]
pub struct HbaFacts {
    /// Its line.
    pub line: u32,
    /// `local`, `host` and so on.
    pub kind: String,
    /// The databases it is for.
    pub databases: Vec<String>,
    /// The roles it is for.
    pub users: Vec<String>,
    /// How a login is checked.
    pub method: String,
}

/// What is inside a database, read from its system catalogs only.
#[derive(Debug, Clone, Deserialize)]
pub struct ContentFacts {
    /// The database.
    pub database: String,
    /// Extensions that the server does not call trusted.
    pub untrusted_extensions: Vec<String>,
    /// Languages that are not trusted, beside the built-in ones.
    pub untrusted_languages: Vec<String>,
    /// Foreign servers, wrappers, user mappings.
    pub foreign: Vec<String>,
    /// Publications.
    pub publications: Vec<String>,
    /// Event triggers.
    pub event_triggers: Vec<String>,
    /// `SECURITY DEFINER` functions of superusers, beside those of extensions.
    pub superuser_definers: Vec<String>,
    /// The server's restricted functions that somebody beside superusers may call all the same.
    pub opened_functions: Vec<String>,
    /// The owners of its tables, views and sequences, beside those of extensions.
    pub table_owners: Vec<String>,
    /// The owner of the schema `public`.
    pub public_owner: Option<String>,
    /// The stamp's table.
    pub stamp_table: Option<TableFacts>,
    /// The migration ledger.
    pub ledger: Option<TableFacts>,
}

impl ClusterFacts {
    /// Returns a role by its name.
    #[must_use]
    pub fn role(&self, name: &str) -> Option<&RoleFacts> {
        self.roles.iter().find(|role| role.name == name)
    }

    /// Returns a database by its name.
    #[must_use]
    pub fn database(&self, name: &str) -> Option<&DatabaseFacts> {
        self.databases.iter().find(|database| database.name == name)
    }

    /// Returns whether a role is a superuser.
    #[must_use]
    pub fn is_superuser(&self, name: &str) -> bool {
        self.role(name).is_some_and(RoleFacts::is_superuser)
    }
}

impl RoleFacts {
    /// Returns whether the role may do everything.
    #[must_use]
    pub fn is_superuser(&self) -> bool {
        self.has("SUPERUSER")
    }

    /// Returns whether the role has an attribute.
    #[must_use]
    pub fn has(&self, attribute: &str) -> bool {
        self.attributes.iter().any(|own| own == attribute)
    }
}

impl DatabaseFacts {
    /// Returns whether a role, or `PUBLIC`, has a privilege of its own.
    #[must_use]
    pub fn grants(&self, grantee: &str, privilege: &str) -> bool {
        self.grants.iter().any(|grant| grant.grantee == grantee && grant.privilege == privilege)
    }
}
