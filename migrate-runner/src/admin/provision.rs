//! `provision`: roles, databases and privileges of the slots, made once and checked ever after.

use guard::admin::{AdminTarget, MAINTENANCE_DATABASE};
use guard::config::Config;
use guard::diagnostic::{Code, Denial};
use guard::provision::{
    ADMIN_ROLE, ClusterFacts, SEED_DATABASE, SEED_ROLE, SlotRole, Wanted, judge, old_name,
};
use step_report::console::Console;
use step_report::exit::ExitStatus;

use super::build::{self, Source};
use super::exchange::exchange;
use super::plan::{self, Step};
use super::report::{self, Plan};
use super::reset::{find, lock};
use super::secrets::{self, PasswordFiles};
use super::session::{AdminSession, Authority};
use super::{cluster, consent, seed};
use crate::connection::Login;
use crate::options::Provision;

/// Compares, plans, or does it.
///
/// # Errors
/// Refuses another role than a superuser, a plan that nobody agreed to, and reports what the server
/// refuses.
pub(crate) async fn provision(
    console: &Console,
    config: &Config,
    target: &AdminTarget,
    options: &Provision,
) -> Result<ExitStatus, Denial> {
    let wanted = Wanted::new(config);
    let root = AdminSession::open(target, MAINTENANCE_DATABASE, Authority::Superuser).await?;
    let facts = cluster::read(target, &root, &wanted).await?;
    if options.check {
        let findings = judge(&wanted, &facts);
        report::check(console, &findings);
        let end = if findings.is_empty() { ExitStatus::Done } else { ExitStatus::BadData };
        return Ok(end);
    }
    let files = PasswordFiles::configured(config, &wanted)?;
    let unset = roles_without_password(target, &wanted, &facts, &files).await?;
    let mut shown = options.database.clone();
    shown.extend(wanted.production.iter().cloned());
    require_foreign(&wanted, &facts, &options.database)?;
    let steps = plan::cluster(&wanted, &facts, &shown, &|role| unset.iter().any(|r| r == role));
    let databases = plan::missing_databases(&wanted, &facts);
    let mut plan = Plan::new("provision", &steps);
    plan.databases = &databases;
    plan.open = open_databases(&wanted, &facts, &shown);
    plan.hba = plan::hba_lines(&wanted);
    plan.configuration = configuration(&facts);
    plan.show(console);
    if options.dry_run {
        plan.finish(console, "planned");
        return Ok(ExitStatus::Done);
    }
    if plan.is_empty() {
        plan.finish(console, "unchanged");
        return Ok(ExitStatus::Done);
    }
    consent::obtain(console, options.yes)?;
    run_steps(&root, &steps, &files).await?;
    make_databases(config, &wanted, &databases).await?;
    plan.finish(console, "done");
    Ok(ExitStatus::Done)
}

/// Only databases that are nobody's slot can be named.
fn require_foreign(wanted: &Wanted, facts: &ClusterFacts, named: &[String]) -> Result<(), Denial> {
    for name in named {
        let own = wanted.slot_of_database(name).is_some() || name == SEED_DATABASE;
        if own || facts.database(name).is_none() {
            return Err(Denial::new(
                Code::Usage,
                "`--database` names what it cannot name",
                format!("`{}`", guard::diagnostic::shown(name)),
                "a database of this server that is no slot's",
            ));
        }
    }
    Ok(())
}

/// Roles whose password must be set: new ones, and those that their file does not open.
async fn roles_without_password(
    target: &AdminTarget,
    wanted: &Wanted,
    facts: &ClusterFacts,
    files: &PasswordFiles,
) -> Result<Vec<String>, Denial> {
    let slots = wanted.slots.iter().map(|slot| (slot.role.as_str(), slot.database.as_str()));
    let others = [(ADMIN_ROLE, MAINTENANCE_DATABASE), (SEED_ROLE, SEED_DATABASE)];
    let mut unset = Vec::new();
    for (role, database) in others.into_iter().chain(slots) {
        let stored = facts.role(role).is_some_and(|live| live.login && live.has_password);
        let opens = match files.read(role)? {
            Some(password) if stored => {
                let login = target.as_role(role, password)?;
                is_let_in(&login, database).await?
            }
            _ => false,
        };
        if !opens {
            unset.push(role.to_owned());
        }
    }
    Ok(unset)
}

/// Tries a password. Where the role may not enter, the server checks it before it says so.
async fn is_let_in(login: &AdminTarget, database: &str) -> Result<bool, Denial> {
    /// SQLSTATE of a wrong password.
    const WRONG: &str = "28P01";
    let answer = Login::of_seed(login, database)?.attempt().await?;
    let wrong = |error: tokio_postgres::Error| error.code().is_some_and(|c| c.code() == WRONG);
    Ok(!answer.err().is_some_and(wrong))
}

/// Runs a superuser's statements in one transaction.
pub(super) async fn run_steps(
    root: &AdminSession,
    steps: &[Step],
    files: &PasswordFiles,
) -> Result<(), Denial> {
    let mut statements = Vec::new();
    for step in steps {
        statements.push(match &step.password_of {
            Some(role) => step.with_verifier(&secrets::verifier(&files.obtain(role)?)),
            None => step.sql.clone(),
        });
    }
    root.run("BEGIN").await?;
    for statement in statements {
        if let Err(denial) = root.run(&statement).await {
            root.run("ROLLBACK").await?;
            return Err(denial);
        }
    }
    root.run("COMMIT").await
}

/// Makes the databases that are missing, as the role that will own them.
async fn make_databases(
    config: &Config,
    wanted: &Wanted,
    missing: &[String],
) -> Result<(), Denial> {
    if missing.is_empty() {
        return Ok(());
    }
    let target = secrets::preview_admin(config)?;
    let admin = build::open(&target).await?;
    if missing.iter().any(|name| name == SEED_DATABASE) {
        seed::build_empty(&target, &admin).await?;
    }
    for slot in wanted.slots.iter().filter(|slot| missing.contains(&slot.database)) {
        make_slot(&target, &admin, slot).await?;
    }
    Ok(())
}

async fn make_slot(
    target: &AdminTarget,
    admin: &AdminSession,
    slot: &SlotRole,
) -> Result<(), Denial> {
    lock(admin, &slot.database).await?;
    let size = find(admin, SEED_DATABASE).await?.map_or(0, |seed| seed.size);
    let source = Source { database: SEED_DATABASE.to_owned(), size };
    build::slot_database(target, admin, slot, &source).await?;
    exchange(target, admin, &slot.database, Some(&slot.role)).await?;
    build::drop_own(admin, &old_name(&slot.database)).await
}

/// Databases that a slot's role could enter and that nobody named.
fn open_databases(wanted: &Wanted, facts: &ClusterFacts, shown: &[String]) -> Vec<String> {
    let foreign = |name: &str| {
        wanted.slot_of_database(name).is_none()
            && ![MAINTENANCE_DATABASE, "template1", SEED_DATABASE].contains(&name)
            && !shown.iter().any(|shown| shown == name)
    };
    let open = facts.databases.iter().filter(|database| {
        database.allow_connections
            && database.grants("PUBLIC", "CONNECT")
            && foreign(&database.name)
    });
    open.map(|database| database.name.clone()).collect()
}

/// What the configuration should say of this server.
fn configuration(facts: &ClusterFacts) -> Vec<String> {
    vec![
        format!("[database] system_identifier = \"{}\"", facts.server.system_identifier),
        "[database] require_stamp = true".to_owned(),
    ]
}
