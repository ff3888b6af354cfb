//! Building a database beside the one it will replace: copied, handed over, stamped.
//!
//! Until it is exchanged nobody but the administrator may enter it, so nothing that a slot's role does
//! can get in between.

use guard::admin::{AdminTarget, MAINTENANCE_DATABASE};
use guard::diagnostic::{Code, Denial, shown};
use guard::provision::{ADMIN_ROLE, SEED_ROLE, SlotRole, next_name};
use guard::stamp::{Kind, SCHEMA, Stamp, TABLE};
use serde::Deserialize;

use super::copy::Strategy;
use super::secrets::random_hex;
use super::session::{AdminSession, Authority};
use crate::executor::ledger_table;
use crate::history::LEDGER;
use crate::sql;

/// What a copy is made from.
#[derive(Debug, Clone)]
pub(super) struct Source {
    /// The database.
    pub(super) database: String,
    /// Its size in bytes.
    pub(super) size: u64,
}

/// A copy that is ready to take its place.
#[derive(Debug)]
pub(super) struct Built {
    /// How it was copied.
    pub(super) strategy: Strategy,
    /// Its stamp.
    pub(super) stamp: Stamp,
}

/// Opens the administrator's working session.
///
/// # Errors
/// As [`AdminSession::open`].
pub(super) async fn open(target: &AdminTarget) -> Result<AdminSession, Denial> {
    AdminSession::open(target, MAINTENANCE_DATABASE, Authority::PreviewAdmin).await
}

/// Builds `<database>__next` of a slot from a source; a leftover of that name is dropped first.
///
/// # Errors
/// Refuses a source in use and one that holds what cannot be handed over; leaves at most a leftover
/// that nobody may enter and that the next run drops.
pub(super) async fn slot_database(
    target: &AdminTarget,
    admin: &AdminSession,
    slot: &SlotRole,
    source: &Source,
) -> Result<Built, Denial> {
    let next = next_name(&slot.database);
    drop_own(admin, &next).await?;
    let built = copy_and_stamp(target, admin, slot, source, next.clone()).await;
    if built.is_err() {
        // What cannot be dropped now is dropped by the next run.
        let _ = drop_own(admin, &next).await;
    }
    built
}

async fn copy_and_stamp(
    target: &AdminTarget,
    admin: &AdminSession,
    slot: &SlotRole,
    source: &Source,
    next: String,
) -> Result<Built, Denial> {
    let strategy = Strategy::choose(source.size, admin.server().version);
    create(admin, &next, &source.database, strategy).await?;
    let inside = AdminSession::open(target, &next, Authority::PreviewAdmin).await?;
    require_owners(&inside, source, &slot.role).await?;
    let nonce = random_hex()?;
    inside.run(&hand_over(&slot.role, &nonce)).await?;
    let pins = pins(&inside).await?;
    let kind = Kind::Preview { slot: slot.slot, ledger: pins.ledger };
    let system_identifier = admin.server().system_identifier;
    let stamp = Stamp { kind, system_identifier, oid: pins.oid, nonce };
    drop(inside);
    admin.run(&comment(&next, &stamp)).await?;
    Ok(Built { strategy, stamp })
}

/// Creates a database that nobody else may enter, not even for a moment.
///
/// # Errors
/// Refuses a source that is in use or is not there.
pub(super) async fn create(
    admin: &AdminSession,
    database: &str,
    source: &str,
    strategy: Strategy,
) -> Result<(), Denial> {
    if let Some(setting) = strategy.setting() {
        admin.run(setting).await?;
    }
    let (quoted, from) = (sql::name(database), sql::name(source));
    let statement = format!(
        "CREATE DATABASE {quoted} OWNER {ADMIN_ROLE} TEMPLATE {from} {} ALLOW_CONNECTIONS false",
        strategy.clause()
    );
    admin.attempt(&statement).await.map_err(|error| {
        match error.code().map(tokio_postgres::error::SqlState::code) {
            Some(IN_USE) => Denial::new(
                Code::ResetBusy,
                format!("`{}` is in use, so it cannot be copied", shown(source)),
                "sessions in it",
                "nobody in it while it is copied",
            ),
            _ => super::session::refused(&statement, &error),
        }
    })?;
    admin.run(&format!("REVOKE ALL ON DATABASE {quoted} FROM PUBLIC")).await?;
    admin.run(&format!("ALTER DATABASE {quoted} ALLOW_CONNECTIONS true")).await
}

/// SQLSTATE of `object_in_use`.
pub(super) const IN_USE: &str = "55006";

/// SQLSTATE of `insufficient_privilege`: a superuser's session is not the administrator's to end.
const NOT_ALLOWED: &str = "42501";

/// Drops a database of the administrator's, with the sessions in it; nothing where there is none.
///
/// # Errors
/// Refuses one that belongs to somebody else, or that cannot be dropped.
pub(super) async fn drop_own(admin: &AdminSession, database: &str) -> Result<(), Denial> {
    let question = format!(
        "SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = {}",
        sql::text(database)
    );
    match admin.list(&question).await?.first() {
        None => Ok(()),
        Some(owner) if owner == ADMIN_ROLE => force_drop(admin, database).await,
        Some(owner) => Err(Denial::new(
            Code::ResetUnproven,
            format!("`{}` stands in the way", shown(database)),
            format!("owner `{}`", shown(owner)),
            format!("owner `{ADMIN_ROLE}`, or no such database"),
        )),
    }
}

async fn force_drop(admin: &AdminSession, database: &str) -> Result<(), Denial> {
    let statement = format!("DROP DATABASE {} WITH (FORCE)", sql::name(database));
    let Err(error) = admin.attempt(&statement).await else { return Ok(()) };
    match error.code().map(tokio_postgres::error::SqlState::code) {
        Some(IN_USE | NOT_ALLOWED) => Err(Denial::new(
            Code::ResetBusy,
            format!("`{}` cannot be dropped", shown(database)),
            who_is_in(admin, database).await?,
            "sessions of the slot's role only, which are ended",
        )),
        _ => Err(super::session::refused(&statement, &error)),
    }
}

/// Names who keeps a database, for a refusal.
///
/// # Errors
/// Refuses with what the server says.
pub(super) async fn who_is_in(session: &AdminSession, database: &str) -> Result<String, Denial> {
    let statement = format!(
        "SELECT 'pid ' || pid || ' of ' || coalesce(usename::text, 'the server') \
         FROM pg_stat_activity WHERE datname = {} ORDER BY pid LIMIT 5",
        sql::text(database)
    );
    let who = session.list(&statement).await?;
    Ok(if who.is_empty() { "a prepared transaction".to_owned() } else { who.join(", ") })
}

/// Returns the statement that stamps a database.
pub(super) fn comment(database: &str, stamp: &Stamp) -> String {
    format!("COMMENT ON DATABASE {} IS {}", sql::name(database), sql::text(&stamp.write()))
}

/// Everything inside must belong to a role that the administrator can hand it over from.
///
/// The server does not record what its first superuser owns, so that is looked for in the catalogs.
/// Extensions may be a superuser's: who installed one in a template meant it for every slot.
async fn require_owners(inside: &AdminSession, source: &Source, role: &str) -> Result<(), Denial> {
    let question = format!(
        "SELECT DISTINCT pg_get_userbyid(o.owner) FROM (\
             SELECT s.refobjid AS owner FROM pg_shdepend s \
                 JOIN pg_database d ON d.oid = s.dbid WHERE d.datname = current_database() \
                 AND s.refclassid = 'pg_authid'::regclass AND s.deptype = 'o' \
                 AND s.classid <> 'pg_extension'::regclass \
             UNION ALL SELECT x.owner FROM ({FIRST_SUPERUSERS}) x \
                 WHERE x.owner = 10 AND x.oid >= 16384 AND NOT EXISTS (SELECT FROM pg_depend e \
                     WHERE e.classid = x.class AND e.objid = x.oid AND e.deptype = 'e')) o \
         WHERE pg_get_userbyid(o.owner) NOT IN ({}, {}, {})",
        sql::text(ADMIN_ROLE),
        sql::text(SEED_ROLE),
        sql::text(role)
    );
    match inside.list(&question).await?.first() {
        None => Ok(()),
        Some(owner) => Err(Denial::new(
            Code::ResetTemplate,
            format!("`{}` holds objects that cannot be handed over", shown(&source.database)),
            format!("objects of `{}`", shown(owner)),
            format!("objects of `{SEED_ROLE}` only"),
        )),
    }
}

/// Where objects are that somebody made; 10 is the first superuser, 16384 the first of such objects.
const FIRST_SUPERUSERS: &str = "\
     SELECT 'pg_class'::regclass AS class, oid, relowner AS owner FROM pg_class \
         WHERE relkind IN ('r', 'p', 'v', 'm', 'S', 'f') AND relnamespace <> 'pg_toast'::regnamespace \
     UNION ALL SELECT 'pg_proc'::regclass, oid, proowner FROM pg_proc \
     UNION ALL SELECT 'pg_namespace'::regclass, oid, nspowner FROM pg_namespace \
     UNION ALL SELECT 'pg_type'::regclass, oid, typowner FROM pg_type \
     UNION ALL SELECT 'pg_event_trigger'::regclass, oid, evtowner FROM pg_event_trigger \
     UNION ALL SELECT 'pg_foreign_server'::regclass, oid, srvowner FROM pg_foreign_server \
     UNION ALL SELECT 'pg_publication'::regclass, oid, pubowner FROM pg_publication \
     UNION ALL SELECT 'pg_language'::regclass, oid, lanowner FROM pg_language";

/// What a stamp pins.
#[derive(Deserialize)]
pub(super) struct Pins {
    /// The database.
    pub(super) oid: u32,
    /// The migration ledger, if there is one.
    pub(super) ledger: Option<u32>,
}

/// Reads what a stamp pins, from the catalogs of the database that the session is in.
///
/// # Errors
/// Refuses with what the server says.
pub(super) async fn pins(inside: &AdminSession) -> Result<Pins, Denial> {
    inside.ask(PINS).await
}

const PINS: &str = "SELECT json_build_object(\
     'oid', (SELECT oid::int8 FROM pg_database WHERE datname = current_database()), \
     'ledger', (SELECT c.oid::int8 FROM pg_class c WHERE c.relname = 'refinery_schema_history' \
         AND c.relnamespace = 'public'::regnamespace))";

/// What makes a fresh copy the slot's: owners, the ledger, and the stamp's row, all or nothing.
///
/// Schemas go first: a new owner of a function needs CREATE on the schema it is in.
fn hand_over(role: &str, nonce: &str) -> String {
    let schemas = format!(
        "DO $$ DECLARE own name; BEGIN
             FOR own IN SELECT nspname FROM pg_namespace
                 WHERE pg_get_userbyid(nspowner) = {}
             LOOP EXECUTE format('ALTER SCHEMA %I OWNER TO %I', own, {}); END LOOP;
         END $$",
        sql::text(SEED_ROLE),
        sql::text(role)
    );
    let role = sql::name(role);
    format!(
        "BEGIN;
         ALTER SCHEMA public OWNER TO {role};
         {schemas};
         REASSIGN OWNED BY {SEED_ROLE} TO {role};
         {};
         ALTER TABLE {LEDGER} OWNER TO {role};
         {};
         GRANT USAGE ON SCHEMA {SCHEMA} TO {role};
         GRANT SELECT ON {TABLE} TO {role};
         COMMIT",
        ledger_table(),
        identity_table(nonce)
    )
}

/// Makes the administrator's table with exactly one row.
///
/// Always anew: a trigger on a table that was there already would run with the administrator's rights.
pub(super) fn identity_table(nonce: &str) -> String {
    format!(
        "DROP SCHEMA IF EXISTS {SCHEMA} CASCADE;
         CREATE SCHEMA {SCHEMA};
         CREATE TABLE {TABLE} (nonce pg_catalog.text NOT NULL);
         INSERT INTO {TABLE} VALUES ({})",
        sql::text(nonce)
    )
}
