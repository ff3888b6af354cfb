//! From what a cluster is like to the statements that make it what it shall be. Pure.
//!
//! A plan holds placeholders where passwords will be, so it can be printed whole.

use crate::sql;
use guard::admin::MAINTENANCE_DATABASE;
use guard::provision::{
    ADMIN_CONNECTIONS, ADMIN_ROLE, ClusterFacts, DatabaseFacts, GrantFacts, SEED_CONNECTIONS,
    SEED_DATABASE, SEED_ROLE, SlotRole, Wanted,
};
use guard::stamp::{Kind, Reading, Stamp};
use serde::Serialize;

/// Stands in a statement where the verifier of a password will be.
const VERIFIER: &str = "'<verifier>'";

/// One statement, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Step {
    /// Why, for people.
    pub(super) why: String,
    /// The statement.
    pub(super) sql: String,
    /// The role whose password the statement sets.
    #[serde(skip)]
    pub(super) password_of: Option<String>,
}

impl Step {
    /// Describes one statement.
    pub(super) fn new(why: impl Into<String>, sql: impl Into<String>) -> Self {
        Self { why: why.into(), sql: sql.into(), password_of: None }
    }

    /// Returns the statement with the password's verifier in its place.
    pub(super) fn with_verifier(&self, verifier: &str) -> String {
        self.sql.replace(VERIFIER, &sql::text(verifier))
    }
}

/// What a role of the slots shall be like.
struct RolePlan<'a> {
    name: &'a str,
    attributes: &'static str,
    connections: i32,
    settings: Vec<(&'static str, String)>,
}

/// Plans what only a superuser can do: roles, memberships, and who may connect where.
///
/// `shown` are the databases whose public defaults may be revoked; `needs_password` says for a role
/// whether its password must be set.
pub(super) fn cluster(
    wanted: &Wanted,
    facts: &ClusterFacts,
    shown: &[String],
    needs_password: &dyn Fn(&str) -> bool,
) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut roles = vec![
        RolePlan {
            name: ADMIN_ROLE,
            attributes: "CREATEDB",
            connections: ADMIN_CONNECTIONS,
            settings: Vec::new(),
        },
        RolePlan {
            name: SEED_ROLE,
            attributes: "NOCREATEDB",
            connections: SEED_CONNECTIONS,
            settings: Vec::new(),
        },
    ];
    roles.extend(wanted.slots.iter().map(|slot| RolePlan {
        name: &slot.role,
        attributes: "NOCREATEDB",
        connections: wanted.quotas.connections.into(),
        settings: wanted.quotas.role_settings().into(),
    }));
    for role in &roles {
        plan_role(role, facts, needs_password(role.name), &mut steps);
    }
    plan_memberships(wanted, facts, &mut steps);
    plan_maintenance(facts, &mut steps);
    for database in &facts.databases {
        if is_shown(database, shown) {
            plan_foreign(wanted, facts, database, &mut steps);
        }
    }
    for slot in &wanted.slots {
        if let Some(database) = facts.database(&slot.database) {
            plan_own(slot, database, facts, &mut steps);
        }
    }
    if let Some(seed) = facts.database(SEED_DATABASE) {
        plan_seed(seed, facts, &mut steps);
    }
    steps
}

fn is_shown(database: &DatabaseFacts, shown: &[String]) -> bool {
    let always = [MAINTENANCE_DATABASE, "template1"].contains(&database.name.as_str());
    database.allow_connections && (always || shown.contains(&database.name))
}

fn plan_role(role: &RolePlan<'_>, facts: &ClusterFacts, password: bool, steps: &mut Vec<Step>) {
    let RolePlan { name, attributes, connections, .. } = role;
    let quoted = sql::name(name);
    let live = facts.role(name);
    let verb = if live.is_some() { "ALTER" } else { "CREATE" };
    let creates = *attributes == "CREATEDB";
    let as_wanted = live.is_some_and(|live| {
        let no_others = live.attributes.iter().all(|own| creates && own == "CREATEDB");
        live.login
            && no_others
            && live.has("CREATEDB") == creates
            && live.connection_limit == *connections
    });
    if !as_wanted || password {
        let mut statement = format!(
            "{verb} ROLE {quoted} LOGIN NOSUPERUSER {attributes} NOCREATEROLE NOREPLICATION \
             NOBYPASSRLS CONNECTION LIMIT {connections}"
        );
        let mut step = Step::new(format!("role `{name}`: log in, and nothing else"), "");
        if password {
            statement += &format!(" PASSWORD {VERIFIER}");
            step.password_of = Some((*name).to_owned());
        }
        steps.push(Step { sql: statement, ..step });
    }
    let stored = live.map_or(&[][..], |live| &live.settings[..]);
    for (setting, value) in &role.settings {
        let same = |s: &guard::provision::SettingFacts| {
            s.database.is_none() && s.name == *setting && s.value == *value
        };
        if !stored.iter().any(same) {
            let statement = format!("ALTER ROLE {quoted} SET {setting} = {}", sql::text(value));
            steps.push(Step::new(format!("limit of `{name}`"), statement));
        }
    }
    for other in stored {
        let known = role.settings.iter().any(|(setting, _)| *setting == other.name);
        if known && other.database.is_none() {
            continue;
        }
        let place = other.database.as_ref();
        let place = place.map_or(String::new(), |d| format!(" IN DATABASE {}", sql::name(d)));
        let statement = format!("ALTER ROLE {quoted}{place} RESET {}", sql::name(&other.name));
        steps.push(Step::new(format!("no other setting of `{name}`"), statement));
    }
}

fn plan_memberships(wanted: &Wanted, facts: &ClusterFacts, steps: &mut Vec<Step>) {
    let own = |name: &str| wanted.is_own_role(name);
    for role in &facts.roles {
        for membership in &role.member_of {
            let admins = role.name == ADMIN_ROLE && own(&membership.role);
            let touches = own(&role.name) || own(&membership.role);
            if touches && !admins {
                let (group, member) = (sql::name(&membership.role), sql::name(&role.name));
                let why = format!("`{}` acts for nobody else", role.name);
                steps.push(Step::new(why, format!("REVOKE {group} FROM {member}")));
            }
        }
    }
    let has = |group: &str| {
        facts.role(ADMIN_ROLE).is_some_and(|admin| admin.member_of.iter().any(|m| m.role == group))
    };
    for group in wanted.slots.iter().map(|slot| slot.role.as_str()).chain([SEED_ROLE]) {
        if !has(group) {
            let statement = format!("GRANT {} TO {ADMIN_ROLE}", sql::name(group));
            steps
                .push(Step::new(format!("`{ADMIN_ROLE}` hands over what a copy holds"), statement));
        }
    }
}

/// The administrator's role needs one database to work from.
fn plan_maintenance(facts: &ClusterFacts, steps: &mut Vec<Step>) {
    let granted =
        facts.database(MAINTENANCE_DATABASE).is_some_and(|d| d.grants(ADMIN_ROLE, "CONNECT"));
    if !granted {
        let statement = format!("GRANT CONNECT ON DATABASE {MAINTENANCE_DATABASE} TO {ADMIN_ROLE}");
        steps.push(Step::new(format!("`{ADMIN_ROLE}` works from here"), statement));
    }
}

/// Revokes the public defaults of a database that is not a slot's, keeping everybody in who could
/// connect by them until now.
fn plan_foreign(
    wanted: &Wanted,
    facts: &ClusterFacts,
    database: &DatabaseFacts,
    steps: &mut Vec<Step>,
) {
    let quoted = sql::name(&database.name);
    let public: Vec<&str> = ["CONNECT", "TEMPORARY", "CREATE"]
        .into_iter()
        .filter(|privilege| database.grants("PUBLIC", privilege))
        .collect();
    if !public.is_empty() {
        let keep: Vec<String> = facts
            .roles
            .iter()
            .filter(|role| role.login && !role.is_superuser() && !wanted.is_own_role(&role.name))
            .filter(|role| role.name != database.owner && !role.name.starts_with("pg_"))
            .map(|role| sql::name(&role.name))
            .collect();
        if !keep.is_empty() && database.name != "template1" {
            let statement =
                format!("GRANT {} ON DATABASE {quoted} TO {}", public.join(", "), keep.join(", "));
            let why = format!("who could enter `{}` by default still can", database.name);
            steps.push(Step::new(why, statement));
        }
        let statement = format!("REVOKE ALL ON DATABASE {quoted} FROM PUBLIC");
        steps.push(Step::new(format!("no slot may enter `{}`", database.name), statement));
    }
    let maintenance = database.name == MAINTENANCE_DATABASE;
    let mut named: Vec<&str> = database.grants.iter().map(|g| g.grantee.as_str()).collect();
    named.sort_unstable();
    named.dedup();
    for role in named.into_iter().filter(|role| wanted.is_own_role(role)) {
        let privileges =
            if maintenance && role == ADMIN_ROLE { "CREATE, TEMPORARY" } else { "ALL" };
        let to_revoke = database.grants.iter().any(|grant| {
            grant.grantee == role && !(privileges != "ALL" && grant.privilege == "CONNECT")
        });
        if to_revoke {
            let statement =
                format!("REVOKE {privileges} ON DATABASE {quoted} FROM {}", sql::name(role));
            steps.push(Step::new(format!("`{role}` may not enter `{}`", database.name), statement));
        }
    }
}

/// Plans that a database is closed to the slots, whoever can enter it now still can.
pub(super) fn close(wanted: &Wanted, facts: &ClusterFacts, database: &DatabaseFacts) -> Vec<Step> {
    let mut steps = Vec::new();
    plan_foreign(wanted, facts, database, &mut steps);
    steps
}

/// Plans that only the slot's role may enter its database.
pub(super) fn own_grants(
    slot: &SlotRole,
    database: &DatabaseFacts,
    facts: &ClusterFacts,
) -> Vec<Step> {
    let mut steps = Vec::new();
    plan_state(database, true, &mut steps);
    plan_grants(slot, database, facts, &mut steps);
    steps
}

/// Corrects a slot's own database, if its stamp says that it is one.
fn plan_own(
    slot: &SlotRole,
    database: &DatabaseFacts,
    facts: &ClusterFacts,
    steps: &mut Vec<Step>,
) {
    let Reading::Stamp(stamp) = Stamp::read(database.comment.as_deref()) else { return };
    let server = Some(facts.server.system_identifier);
    if stamp.judge(slot.slot, server, database.oid).is_err() {
        return;
    }
    plan_owner(database, steps);
    steps.extend(own_grants(slot, database, facts));
}

/// Closes the seed again, if its stamp says that it is the seed.
fn plan_seed(seed: &DatabaseFacts, facts: &ClusterFacts, steps: &mut Vec<Step>) {
    let Reading::Stamp(stamp) = Stamp::read(seed.comment.as_deref()) else { return };
    if !matches!(stamp.kind, Kind::Seed { .. }) || stamp.oid != seed.oid {
        return;
    }
    plan_owner(seed, steps);
    plan_state(seed, false, steps);
    for other in strangers(seed, facts, &|_| false) {
        let why = format!("nobody may enter `{}`", seed.name);
        steps.push(Step::new(why, revoke_all(seed, other)));
    }
}

fn plan_owner(database: &DatabaseFacts, steps: &mut Vec<Step>) {
    if database.owner != ADMIN_ROLE {
        let quoted = sql::name(&database.name);
        let statement = format!("ALTER DATABASE {quoted} OWNER TO {ADMIN_ROLE}");
        steps
            .push(Step::new(format!("`{}` is not its slot's to change", database.name), statement));
    }
}

/// Whoever has a privilege beside the owner, superusers and what is allowed, each once.
fn strangers<'a>(
    database: &'a DatabaseFacts,
    facts: &ClusterFacts,
    allowed: &dyn Fn(&GrantFacts) -> bool,
) -> Vec<&'a str> {
    let mut others: Vec<&str> = Vec::new();
    for grant in &database.grants {
        let fine = grant.grantee == database.owner
            || grant.grantee == ADMIN_ROLE
            || facts.is_superuser(&grant.grantee)
            || allowed(grant);
        if !fine && !others.contains(&grant.grantee.as_str()) {
            others.push(&grant.grantee);
        }
    }
    others
}

fn revoke_all(database: &DatabaseFacts, from: &str) -> String {
    let whom = if from == "PUBLIC" { "PUBLIC".to_owned() } else { sql::name(from) };
    format!("REVOKE ALL ON DATABASE {} FROM {whom} CASCADE", sql::name(&database.name))
}

fn plan_state(database: &DatabaseFacts, open: bool, steps: &mut Vec<Step>) {
    let quoted = sql::name(&database.name);
    let mut alter = |option: &str| {
        let statement = format!("ALTER DATABASE {quoted} {option}");
        steps.push(Step::new(format!("state of `{}`", database.name), statement));
    };
    if database.is_template {
        alter("IS_TEMPLATE false");
    }
    if database.connection_limit != -1 {
        alter("CONNECTION LIMIT -1");
    }
    if database.allow_connections != open {
        alter(&format!("ALLOW_CONNECTIONS {open}"));
    }
}

fn plan_grants(
    slot: &SlotRole,
    database: &DatabaseFacts,
    facts: &ClusterFacts,
    steps: &mut Vec<Step>,
) {
    let own = |grant: &GrantFacts| grant.grantee == slot.role && !grant.grantable;
    let others = strangers(database, facts, &own);
    for other in &others {
        let why = format!("only `{}` may enter `{}`", slot.role, database.name);
        steps.push(Step::new(why, revoke_all(database, other)));
    }
    let lacking = ["CONNECT", "CREATE", "TEMPORARY"]
        .iter()
        .any(|privilege| !database.grants(&slot.role, privilege));
    // A new owner gets the old one's privileges, which may have been the slot's only ones.
    let loses = database.owner != ADMIN_ROLE;
    if lacking || loses || others.contains(&slot.role.as_str()) {
        steps.push(Step::new(
            format!("`{}` may enter `{}`", slot.role, database.name),
            grant_own(&database.name, &slot.role),
        ));
    }
}

/// Returns the statement that lets a slot's role into its own database.
pub(super) fn grant_own(database: &str, role: &str) -> String {
    let (database, role) = (sql::name(database), sql::name(role));
    format!("GRANT CONNECT, CREATE, TEMPORARY ON DATABASE {database} TO {role}")
}

/// What a database that does not exist yet will be made of, in the words of a plan.
pub(super) fn missing_databases(wanted: &Wanted, facts: &ClusterFacts) -> Vec<String> {
    let own = wanted.slots.iter().map(|slot| slot.database.clone());
    let all = [SEED_DATABASE.to_owned()].into_iter().chain(own);
    all.filter(|name| facts.database(name).is_none()).collect()
}

/// Returns the lines that pg_hba.conf should begin with.
pub(super) fn hba_lines(wanted: &Wanted) -> Vec<String> {
    let mut lines = Vec::new();
    let line = |database: &str, role: &str, network: &str| {
        format!("host  {database}  {role}  {network}  scram-sha-256")
    };
    for network in ["127.0.0.1/32", "::1/128"] {
        for slot in &wanted.slots {
            lines.push(line(&slot.database, &slot.role, network));
        }
        lines.push(line("all", ADMIN_ROLE, network));
        lines.push(line(&guard::provision::next_name(SEED_DATABASE), SEED_ROLE, network));
    }
    let mut roles: Vec<&str> = wanted.slots.iter().map(|slot| slot.role.as_str()).collect();
    roles.extend([ADMIN_ROLE, SEED_ROLE]);
    lines.push(format!("host  all  {}  all  reject", roles.join(",")));
    lines.push(format!("local all  {}  reject", roles.join(",")));
    lines
}
