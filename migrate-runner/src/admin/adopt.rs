//! `adopt`: a slot's database that somebody made by hand becomes a provisioned one.
//!
//! What was found is shown first. The superuser gives the database to `preview_admin`, which does
//! the rest from inside: nothing that the slot owns is ever read with a superuser's rights.

use guard::admin::{AdminTarget, MAINTENANCE_DATABASE};
use guard::config::Config;
use guard::diagnostic::{Code, Denial, shown};
use guard::provision::{ADMIN_ROLE, ClusterFacts, DatabaseFacts, SlotRole, Wanted};
use guard::slot::SlotId;
use guard::stamp::{Kind, Reading, SCHEMA, Stamp, TABLE};
use step_report::console::Console;

use super::build::{self, identity_table};
use super::copy::megabytes;
use super::plan::{self, Step};
use super::report::Plan;
use super::secrets::{self, random_hex};
use super::session::{AdminSession, Authority};
use super::{cluster, consent};
use crate::options::Adopt;
use crate::sql;

/// Plans and does it.
///
/// # Errors
/// Refuses a cluster without the administrator's role, a database that is production's or another
/// slot's, a plan that nobody agreed to, and reports what the server refuses.
pub(crate) async fn adopt(
    console: &Console,
    config: &Config,
    target: &AdminTarget,
    slot: SlotId,
    options: &Adopt,
) -> Result<(), Denial> {
    let wanted = Wanted::new(config);
    let root = AdminSession::open(target, MAINTENANCE_DATABASE, Authority::Superuser).await?;
    let facts = cluster::read(target, &root, &wanted).await?;
    let own = wanted.slots.iter().find(|own| own.slot == slot);
    let Some((own, database)) =
        own.and_then(|own| facts.database(&own.database).map(|database| (own, database)))
    else {
        return Err(unproven(slot, "no such database"));
    };
    require_adoptable(own, database, &facts)?;
    let steps = steps(own, database, &facts);
    let mut plan = Plan::new("adopt", &steps);
    plan.found = describe(own, database, &facts);
    plan.show(console);
    consent::obtain(console, options.yes)?;
    for step in &steps {
        root.run(&step.sql).await?;
    }
    stamp(config, own).await?;
    plan.finish(console, "done");
    Ok(())
}

fn unproven(slot: SlotId, found: &str) -> Denial {
    Denial::new(
        Code::ResetUnproven,
        format!("the database of {slot} cannot be adopted"),
        found,
        format!("a database `{}` that is nobody else's", slot.database_name()),
    )
}

fn require_adoptable(
    own: &SlotRole,
    database: &DatabaseFacts,
    facts: &ClusterFacts,
) -> Result<(), Denial> {
    for role in [ADMIN_ROLE, &own.role] {
        if facts.role(role).is_none() {
            let found = format!("no role `{role}`");
            return Err(unproven(own.slot, &found).help("Run `migrate-runner provision` first."));
        }
    }
    match Stamp::read(database.comment.as_deref()) {
        Reading::Stamp(stamp) if stamp.is_production() => stamp.judge(own.slot, None, database.oid),
        Reading::Stamp(Stamp { kind: Kind::Preview { slot, .. }, .. }) if slot != own.slot => {
            Err(unproven(own.slot, &format!("a stamp of {slot}")))
        }
        _ => Ok(()),
    }
}

fn steps(own: &SlotRole, database: &DatabaseFacts, facts: &ClusterFacts) -> Vec<Step> {
    let mut steps = Vec::new();
    if database.owner != ADMIN_ROLE {
        let quoted = sql::name(&database.name);
        steps.push(Step::new(
            format!("`{}` is not its slot's to change", database.name),
            format!("ALTER DATABASE {quoted} OWNER TO {ADMIN_ROLE}"),
        ));
    }
    steps.extend(plan::own_grants(own, database, facts));
    steps
}

fn describe(own: &SlotRole, database: &DatabaseFacts, facts: &ClusterFacts) -> Vec<String> {
    let mut lines = vec![format!(
        "`{}`: {}, owner `{}`",
        database.name,
        megabytes(database.size),
        shown(&database.owner)
    )];
    lines.push(match Stamp::read(database.comment.as_deref()) {
        Reading::Stamp(Stamp { kind: Kind::Seed { .. }, .. }) => {
            "the seed's stamp, which will be replaced".to_owned()
        }
        Reading::Stamp(_) => "a stamp of this slot, which will be replaced".to_owned(),
        Reading::Unreadable => "a stamp that cannot be read, which will be replaced".to_owned(),
        Reading::None if database.comment.is_some() => {
            "a comment that is no stamp, which will be replaced".to_owned()
        }
        Reading::None => "no stamp".to_owned(),
    });
    for owned in facts.owned.iter().filter(|owned| owned.database == database.name) {
        let whose = if owned.role == own.role { "the slot's" } else { "not the slot's" };
        let (role, objects) = (shown(&owned.role), owned.objects);
        lines.push(format!("objects of `{role}`, {whose}: {objects}"));
    }
    let content = facts.contents.iter().find(|content| content.database == database.name);
    lines.push(match content.and_then(|content| content.ledger.as_ref()) {
        Some(ledger) => format!("a migration ledger of `{}`", shown(&ledger.owner)),
        None => "no migration ledger".to_owned(),
    });
    lines
}

/// Stamps the database from inside, as its new owner.
async fn stamp(config: &Config, own: &SlotRole) -> Result<(), Denial> {
    let target = secrets::preview_admin(config)?;
    let inside = AdminSession::open(&target, &own.database, Authority::PreviewAdmin).await?;
    let nonce = random_hex()?;
    let role = sql::name(&own.role);
    let public: Vec<String> = inside
        .list("SELECT pg_get_userbyid(nspowner) FROM pg_namespace WHERE nspname = 'public'")
        .await?;
    let hand_over = match public.first().map(String::as_str) {
        Some("pg_database_owner" | ADMIN_ROLE) => {
            format!("ALTER SCHEMA public OWNER TO {role};")
        }
        _ => String::new(),
    };
    inside
        .run(&format!(
            "BEGIN; {hand_over} {};
             GRANT USAGE ON SCHEMA {SCHEMA} TO {role};
             GRANT SELECT ON {TABLE} TO {role};
             COMMIT",
            identity_table(&nonce)
        ))
        .await?;
    let pins = build::pins(&inside).await?;
    let stamp = Stamp {
        kind: Kind::Preview { slot: own.slot, ledger: pins.ledger },
        system_identifier: inside.server().system_identifier,
        oid: pins.oid,
        nonce,
    };
    inside.run(&build::comment(&own.database, &stamp)).await
}
