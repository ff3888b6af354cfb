//! Databases: who owns them, who may enter, and what their stamp says.

use super::facts::{ClusterFacts, DatabaseFacts, GrantFacts};
use super::{ADMIN_ROLE, PUBLIC, SEED_DATABASE, SlotRole, Wanted, find, next_name, old_name};
use crate::admin::MAINTENANCE_DATABASE;
use crate::diagnostic::{Code, Denial, shown};
use crate::stamp::{Kind, Reading, Stamp};

/// What a slot's role may do with its own database.
const SLOT_PRIVILEGES: [&str; 3] = ["CONNECT", "CREATE", "TEMPORARY"];

/// Names every difference.
pub(super) fn judge(wanted: &Wanted, facts: &ClusterFacts, findings: &mut Vec<Denial>) {
    for slot in &wanted.slots {
        match facts.database(&slot.database) {
            Some(database) => judge_slot(slot, database, facts, findings),
            None => missing(&slot.database, findings),
        }
    }
    match facts.database(SEED_DATABASE) {
        Some(database) => judge_seed(database, facts, findings),
        None => missing(SEED_DATABASE, findings),
    }
    for database in &facts.databases {
        if is_leftover(wanted, &database.name) {
            let message = format!("`{}` was left behind", database.name);
            let found = "a leftover of a reset";
            find(findings, Code::ProvisionDatabase, message, found, "no leftover");
        } else if wanted.slot_of_database(&database.name).is_none()
            && database.name != SEED_DATABASE
        {
            judge_foreign(wanted, database, findings);
        }
    }
    judge_production(wanted, facts, findings);
    for owned in &facts.owned {
        if let Some(slot) = wanted.slot_of_role(&owned.role)
            && slot.database != owned.database
        {
            let message = format!("role `{}` owns something outside its database", slot.role);
            let found = format!("{} objects in `{}`", owned.objects, shown(&owned.database));
            find(findings, Code::ProvisionOwner, message, found, "nothing");
        }
    }
}

fn missing(name: &str, findings: &mut Vec<Denial>) {
    let message = format!("database `{name}` does not exist");
    let expected = format!("database `{name}`");
    find(findings, Code::ProvisionDatabase, message, "no such database", expected);
}

fn judge_slot(
    slot: &SlotRole,
    database: &DatabaseFacts,
    facts: &ClusterFacts,
    findings: &mut Vec<Denial>,
) {
    judge_owner(database, findings);
    judge_state(database, true, findings);
    judge_grants(database, facts, findings, |grant| {
        grant.grantee == slot.role
            && !grant.grantable
            && SLOT_PRIVILEGES.contains(&grant.privilege.as_str())
    });
    for privilege in SLOT_PRIVILEGES {
        if !database.grants(&slot.role, privilege) {
            let message = format!("role `{}` lacks a privilege on its own database", slot.role);
            let found = format!("no {privilege} on `{}`", database.name);
            find(findings, Code::ProvisionPrivilege, message, found, privilege);
        }
    }
    judge_stamp(database, findings, |stamp| {
        stamp.judge(slot.slot, Some(facts.server.system_identifier), database.oid)
    });
}

fn judge_seed(database: &DatabaseFacts, facts: &ClusterFacts, findings: &mut Vec<Denial>) {
    judge_owner(database, findings);
    judge_state(database, false, findings);
    judge_grants(database, facts, findings, |_| false);
    judge_stamp(database, findings, |stamp| match stamp.kind {
        Kind::Seed { .. } if stamp.oid == database.oid => Ok(()),
        _ => Err(Denial::new(
            Code::ProvisionStamp,
            format!("`{}` does not carry the seed's stamp", database.name),
            "another stamp",
            "the seed's stamp, of this database",
        )),
    });
}

fn judge_owner(database: &DatabaseFacts, findings: &mut Vec<Denial>) {
    if database.owner != ADMIN_ROLE {
        let message = format!("`{}` belongs to another role", database.name);
        let found = format!("owner `{}`", shown(&database.owner));
        find(findings, Code::ProvisionOwner, message, found, format!("owner `{ADMIN_ROLE}`"));
    }
}

fn judge_state(database: &DatabaseFacts, open: bool, findings: &mut Vec<Denial>) {
    let mut differs = |found: String, expected: String| {
        let message = format!("`{}` is in another state than it must be", database.name);
        find(findings, Code::ProvisionDatabase, message, found, expected);
    };
    if database.allow_connections != open {
        let state = |open: bool| format!("ALLOW_CONNECTIONS {open}");
        differs(state(database.allow_connections), state(open));
    }
    if database.is_template {
        differs("IS_TEMPLATE true".to_owned(), "IS_TEMPLATE false".to_owned());
    }
    if database.connection_limit != -1 {
        let found = format!("CONNECTION LIMIT {}", database.connection_limit);
        differs(found, "CONNECTION LIMIT -1; the roles have limits".to_owned());
    }
}

/// Every grant that is neither the owner's, nor a superuser's, nor allowed.
fn judge_grants(
    database: &DatabaseFacts,
    facts: &ClusterFacts,
    findings: &mut Vec<Denial>,
    allowed: impl Fn(&GrantFacts) -> bool,
) {
    for grant in &database.grants {
        let of_owner = grant.grantee == database.owner || facts.is_superuser(&grant.grantee);
        if of_owner || allowed(grant) {
            continue;
        }
        let message = format!("somebody else has a privilege on `{}`", database.name);
        let option = if grant.grantable { " WITH GRANT OPTION" } else { "" };
        let found = format!("{} for `{}`{option}", grant.privilege, shown(&grant.grantee));
        find(findings, Code::ProvisionPrivilege, message, found, "no such grant");
    }
}

fn judge_stamp(
    database: &DatabaseFacts,
    findings: &mut Vec<Denial>,
    judge: impl Fn(&Stamp) -> Result<(), Denial>,
) {
    let found = match Stamp::read(database.comment.as_deref()) {
        Reading::Stamp(stamp) => match judge(&stamp) {
            Ok(()) => return,
            Err(denial) => denial.found().to_owned(),
        },
        Reading::Unreadable => "a stamp that cannot be read".to_owned(),
        Reading::None => "no stamp".to_owned(),
    };
    let message = format!("`{}` does not carry its own stamp", database.name);
    find(findings, Code::ProvisionStamp, message, found, "its own stamp");
}

/// A database that is neither a slot's nor the seed: no slot may enter it.
fn judge_foreign(wanted: &Wanted, database: &DatabaseFacts, findings: &mut Vec<Denial>) {
    if !database.allow_connections {
        return;
    }
    for grant in &database.grants {
        let public = grant.grantee == PUBLIC && grant.privilege == "CONNECT";
        let own = wanted.is_own_role(&grant.grantee);
        let maintenance = grant.grantee == ADMIN_ROLE
            && database.name == MAINTENANCE_DATABASE
            && grant.privilege == "CONNECT";
        if (public || own) && !maintenance {
            let message = format!("a slot's role may enter `{}`", shown(&database.name));
            let found = format!("{} for `{}`", grant.privilege, grant.grantee);
            find(findings, Code::ProvisionPrivilege, message, found, "no such grant");
        }
    }
    if wanted.is_own_role(&database.owner) {
        let message = format!("`{}` belongs to a role of the slots", shown(&database.name));
        let found = format!("owner `{}`", database.owner);
        find(findings, Code::ProvisionOwner, message, found, "another owner");
    }
}

fn is_leftover(wanted: &Wanted, name: &str) -> bool {
    let own = wanted.slots.iter().map(|slot| slot.database.as_str()).chain([SEED_DATABASE]);
    own.into_iter().any(|own| name == next_name(own) || name == old_name(own))
}

fn judge_production(wanted: &Wanted, facts: &ClusterFacts, findings: &mut Vec<Denial>) {
    for name in &wanted.production {
        let Some(database) = facts.database(name) else { continue };
        let message = || format!("`{}` is production and does not say so", shown(name));
        match Stamp::read(database.comment.as_deref()) {
            Reading::Stamp(stamp) if stamp.is_production() && stamp.oid == database.oid => {}
            _ => find(
                findings,
                Code::ProvisionProduction,
                message(),
                "no production stamp of this database",
                "`migrate-runner protect --as production`",
            ),
        }
        if database.is_template {
            let message = format!("`{}` can be copied by every CREATEDB role", shown(name));
            find(findings, Code::ProvisionProduction, message, "IS_TEMPLATE", "no template");
        }
    }
}
