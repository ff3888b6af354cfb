//! `protect --as production`: a stamp that every program of this project refuses to act on.

use guard::admin::{AdminTarget, MAINTENANCE_DATABASE};
use guard::config::Config;
use guard::diagnostic::{Code, Denial, shown};
use guard::provision::{ClusterFacts, DatabaseFacts, SEED_DATABASE, Wanted};
use guard::slot::SlotId;
use guard::stamp::{Kind, Reading, SCHEMA, Stamp, TABLE};
use step_report::console::Console;

use super::plan::{self, Step};
use super::report::Plan;
use super::secrets::random_hex;
use super::session::{AdminSession, Authority};
use super::{build, cluster, consent};
use crate::options::Protect;
use crate::sql;

/// Plans and does it.
///
/// # Errors
/// Refuses a slot's database, a database that is not there, a plan that nobody agreed to, and
/// reports what the server refuses.
pub(crate) async fn protect(
    console: &Console,
    config: &Config,
    target: &AdminTarget,
    options: &Protect,
) -> Result<(), Denial> {
    let wanted = Wanted::new(config);
    let root = AdminSession::open(target, MAINTENANCE_DATABASE, Authority::Superuser).await?;
    let facts = cluster::read_shared(&root).await?;
    let database = require(&facts, &options.database)?;
    let mut steps = plan::close(&wanted, &facts, database);
    let is_stamped = match Stamp::read(database.comment.as_deref()) {
        Reading::Stamp(stamp) => stamp.is_production() && stamp.oid == database.oid,
        _ => false,
    };
    let inside = AdminSession::open(target, &database.name, Authority::Superuser).await?;
    let mut content = String::new();
    if !is_stamped {
        let stamp = stamp(&facts, database)?;
        content = identity(&inside, &stamp.nonce).await?;
        let why = format!("`{}` says what it is, whatever it is called", database.name);
        steps.push(Step::new(why, build::comment(&database.name, &stamp)));
    }
    let mut plan = Plan::new("protect", &steps);
    plan.found = describe(database, is_stamped);
    if !content.is_empty() {
        plan.found.push(format!("a table `{TABLE}` with one row will be made in it"));
    }
    plan.show(console);
    if plan.is_empty() {
        plan.finish(console, "unchanged");
        return Ok(());
    }
    consent::obtain(console, options.yes)?;
    if !content.is_empty() {
        inside.run(&content).await?;
    }
    for step in &steps {
        root.run(&step.sql).await?;
    }
    plan.finish(console, "done");
    Ok(())
}

fn require<'a>(facts: &'a ClusterFacts, name: &str) -> Result<&'a DatabaseFacts, Denial> {
    let own = SlotId::all().any(|slot| slot.database_name() == name);
    let refuse = |found: &str| {
        Denial::new(
            Code::Usage,
            format!("`{}` cannot be stamped as production", shown(name)),
            found,
            "a database of this server that is no slot's",
        )
    };
    if own || [SEED_DATABASE, MAINTENANCE_DATABASE, "template0", "template1"].contains(&name) {
        return Err(refuse("a database of the slots or of the server"));
    }
    facts.database(name).ok_or_else(|| refuse("no such database"))
}

fn stamp(facts: &ClusterFacts, database: &DatabaseFacts) -> Result<Stamp, Denial> {
    Ok(Stamp {
        kind: Kind::Production { was: database.comment.clone() },
        system_identifier: facts.server.system_identifier,
        oid: database.oid,
        nonce: random_hex()?,
    })
}

/// The row that a restore would carry into a preview; nothing of production's own is touched.
async fn identity(inside: &AdminSession, nonce: &str) -> Result<String, Denial> {
    let question = format!("SELECT 1 FROM pg_namespace WHERE nspname = {}", sql::text(SCHEMA));
    if inside.list(&question).await?.is_empty() {
        return Ok(format!(
            "BEGIN; CREATE SCHEMA {SCHEMA}; CREATE TABLE {TABLE} (nonce text NOT NULL); \
             INSERT INTO {TABLE} VALUES ({}); COMMIT",
            sql::text(nonce)
        ));
    }
    Err(Denial::new(
        Code::Usage,
        "the database has a schema of the stamp's name already",
        format!("schema `{SCHEMA}`"),
        "no such schema; look at it, and drop it if it is an old stamp's",
    ))
}

fn describe(database: &DatabaseFacts, is_stamped: bool) -> Vec<String> {
    let mut lines = vec![format!("`{}`: owner `{}`", database.name, shown(&database.owner))];
    lines.push(if is_stamped {
        "it is stamped as production already".to_owned()
    } else if database.comment.is_some() {
        "its comment will be kept inside the stamp".to_owned()
    } else {
        "it has no comment".to_owned()
    });
    lines
}
