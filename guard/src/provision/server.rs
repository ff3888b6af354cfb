//! The server: how many sessions it has for all slots, how it lets people in, what it replicates.

use super::facts::ClusterFacts;
use super::{ADMIN_CONNECTIONS, SEED_CONNECTIONS, Wanted, find};
use crate::diagnostic::{Code, Denial, shown};

/// Names every difference.
pub(super) fn judge(wanted: &Wanted, facts: &ClusterFacts, findings: &mut Vec<Denial>) {
    judge_connections(wanted, facts, findings);
    if facts.server.max_prepared_transactions > 0 {
        find(
            findings,
            Code::ProvisionServer,
            "a prepared transaction could keep a slot's database from being reset".to_owned(),
            format!("max_prepared_transactions = {}", facts.server.max_prepared_transactions),
            "max_prepared_transactions = 0",
        );
    }
    for rule in &facts.hba {
        // By a unix socket too: the backend of one slot could log in as another.
        if rule.method == "trust" && lets_in(wanted, &rule.databases, &rule.users) {
            find(
                findings,
                Code::ProvisionServer,
                "pg_hba.conf lets everybody in as a slot's role without a password".to_owned(),
                format!("line {}: {} … trust", rule.line, rule.kind),
                "scram-sha-256",
            );
        }
    }
    for (database, what) in &facts.replication {
        if wanted.slot_of_database(database).is_some() {
            let message = format!("`{database}` is replicated");
            find(findings, Code::ProvisionServer, message, shown(what), "no replication");
        }
    }
}

fn lets_in(wanted: &Wanted, databases: &[String], users: &[String]) -> bool {
    let names = |list: &[String], own: &dyn Fn(&str) -> bool| {
        list.iter().any(|name| name == "all" || name.starts_with(['/', '+']) || own(name))
    };
    names(databases, &|name| name == "sameuser" || wanted.slot_of_database(name).is_some())
        && names(users, &|name| wanted.is_own_role(name))
}

/// The slots together must leave room for the administrator and for production.
fn judge_connections(wanted: &Wanted, facts: &ClusterFacts, findings: &mut Vec<Denial>) {
    let slots = i32::try_from(wanted.slots.len()).unwrap_or(i32::MAX);
    let all = slots.saturating_mul(i32::from(wanted.quotas.connections))
        + ADMIN_CONNECTIONS
        + SEED_CONNECTIONS;
    let room = facts.server.max_connections - facts.server.reserved_connections;
    if all > room {
        find(
            findings,
            Code::ProvisionLimit,
            "the slots together could use up every connection of the server".to_owned(),
            format!("{all} connections for slots and administration"),
            format!("at most {room}: max_connections minus the reserved ones"),
        );
    }
}
