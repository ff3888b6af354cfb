//! Roles: one for each slot, that may log in and nothing else.

use super::facts::{ClusterFacts, RoleFacts};
use super::{ADMIN_CONNECTIONS, ADMIN_ROLE, PUBLIC, SEED_CONNECTIONS, SEED_ROLE, Wanted, find};
use crate::diagnostic::{Code, Denial, shown};

/// Names every difference.
pub(super) fn judge(wanted: &Wanted, facts: &ClusterFacts, findings: &mut Vec<Denial>) {
    for slot in &wanted.slots {
        judge_slot(wanted, facts, &slot.role, findings);
    }
    judge_basics(facts, ADMIN_ROLE, &["CREATEDB"], ADMIN_CONNECTIONS, findings);
    judge_basics(facts, SEED_ROLE, &[], SEED_CONNECTIONS, findings);
    judge_admin_memberships(wanted, facts, findings);
    judge_members(wanted, facts, findings);
    for (role, what) in &facts.other_grants {
        if wanted.is_own_role(role) || role == PUBLIC {
            let message = format!("role `{role}` was granted more than a slot needs");
            find(findings, Code::ProvisionRole, message, shown(what), "no such grant");
        }
    }
}

fn judge_slot(wanted: &Wanted, facts: &ClusterFacts, name: &str, findings: &mut Vec<Denial>) {
    let limit = i32::from(wanted.quotas.connections);
    let Some(role) = judge_basics(facts, name, &[], limit, findings) else { return };
    for membership in &role.member_of {
        let message = format!("role `{name}` is a member of another role");
        let found = format!("member of `{}`", shown(&membership.role));
        find(findings, Code::ProvisionMembership, message, found, "no membership");
    }
    judge_settings(wanted, role, findings);
}

/// Wanted settings must be there as they are, and no others: one of them could change the role,
/// the search path or the database's behaviour for every session.
fn judge_settings(wanted: &Wanted, role: &RoleFacts, findings: &mut Vec<Denial>) {
    let wanted = wanted.quotas.role_settings();
    for (name, value) in &wanted {
        let stored = role.settings.iter().find(|s| s.database.is_none() && s.name == *name);
        if stored.is_none_or(|stored| stored.value != *value) {
            let message = format!("role `{}` lacks a limit", role.name);
            let found = stored.map_or("not set".to_owned(), |s| shown(&s.value));
            find(
                findings,
                Code::ProvisionLimit,
                message,
                format!("{name}: {found}"),
                format!("{name} = {value}"),
            );
        }
    }
    for setting in &role.settings {
        let known = wanted.iter().any(|(name, _)| *name == setting.name);
        if known && setting.database.is_none() {
            continue;
        }
        let message = format!("a setting is stored with role `{}`", role.name);
        let place = setting.database.as_deref().map_or("every database", |_| "one database");
        let found = format!("`{}` in {place}", shown(&setting.name));
        find(findings, Code::ProvisionSetting, message, found, "only the limits of `[quotas]`");
    }
}

/// Existence, login, password, attributes and connection limit.
fn judge_basics<'a>(
    facts: &'a ClusterFacts,
    name: &str,
    attributes: &[&str],
    limit: i32,
    findings: &mut Vec<Denial>,
) -> Option<&'a RoleFacts> {
    let Some(role) = facts.role(name) else {
        let message = format!("role `{name}` does not exist");
        find(findings, Code::ProvisionRole, message, "no such role", format!("role `{name}`"));
        return None;
    };
    let mut differs = |found: String, expected: &str| {
        let message = format!("role `{name}` is not as it must be");
        find(findings, Code::ProvisionRole, message, found, expected);
    };
    if !role.login {
        differs("NOLOGIN".to_owned(), "LOGIN");
    }
    if !role.has_password {
        differs("no password".to_owned(), "a password");
    }
    for attribute in &role.attributes {
        if !attributes.contains(&attribute.as_str()) {
            differs(attribute.clone(), &format!("NO{attribute}"));
        }
    }
    for attribute in attributes {
        if !role.has(attribute) {
            differs(format!("NO{attribute}"), attribute);
        }
    }
    if role.connection_limit != limit {
        let message = format!("role `{name}` has another connection limit");
        let found = format!("CONNECTION LIMIT {}", role.connection_limit);
        let expected = format!("CONNECTION LIMIT {limit}");
        find(findings, Code::ProvisionLimit, message, found, expected);
    }
    Some(role)
}

/// The administrator is a member of the slots' roles and of the seed's, and of nothing else.
fn judge_admin_memberships(wanted: &Wanted, facts: &ClusterFacts, findings: &mut Vec<Denial>) {
    let Some(admin) = facts.role(ADMIN_ROLE) else { return };
    let message = || format!("role `{ADMIN_ROLE}` has other memberships than it needs");
    for needed in wanted.slots.iter().map(|slot| slot.role.as_str()).chain([SEED_ROLE]) {
        if !admin.member_of.iter().any(|membership| membership.role == needed) {
            let found = format!("no member of `{needed}`");
            let expected = format!("a member of `{needed}`");
            find(findings, Code::ProvisionMembership, message(), found, expected);
        }
    }
    for membership in &admin.member_of {
        if membership.role == ADMIN_ROLE || !wanted.is_own_role(&membership.role) {
            let found = format!("member of `{}`", shown(&membership.role));
            find(findings, Code::ProvisionMembership, message(), found, "the slots' roles only");
        }
    }
}

/// Nobody but the administrator is a member of the roles that provisioning makes.
fn judge_members(wanted: &Wanted, facts: &ClusterFacts, findings: &mut Vec<Denial>) {
    for role in &facts.roles {
        // A slot's own memberships, and the administrator's, are judged as such.
        if wanted.slot_of_role(&role.name).is_some() || role.name == ADMIN_ROLE {
            continue;
        }
        for membership in &role.member_of {
            if wanted.is_own_role(&membership.role) {
                let message = format!("role `{}` is somebody's group", membership.role);
                let found = format!("`{}` is a member of it", shown(&role.name));
                let expected = format!("`{ADMIN_ROLE}` only");
                find(findings, Code::ProvisionMembership, message, found, expected);
            }
        }
    }
}
