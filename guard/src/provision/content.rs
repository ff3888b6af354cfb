//! What is inside a slot's database: nothing that reaches out of it, and nothing of a superuser.

use super::facts::{ClusterFacts, ContentFacts};
use super::{ADMIN_ROLE, Wanted, find};
use crate::diagnostic::{Code, Denial, shown};
use crate::stamp::{Kind, Reading, Stamp, TABLE};

/// Names every difference.
pub(super) fn judge(
    wanted: &Wanted,
    facts: &ClusterFacts,
    content: &ContentFacts,
    findings: &mut Vec<Denial>,
) {
    let Some(slot) = wanted.slot_of_database(&content.database) else { return };
    let reaching = [
        ("untrusted extension", &content.untrusted_extensions),
        ("untrusted language", &content.untrusted_languages),
        ("foreign access", &content.foreign),
        ("publication", &content.publications),
        ("event trigger", &content.event_triggers),
        ("superuser's SECURITY DEFINER function", &content.superuser_definers),
        ("restricted function opened to others", &content.opened_functions),
    ];
    for (what, names) in reaching {
        for name in names {
            let message = format!("`{}` holds what reaches out of it", content.database);
            let found = format!("{what} `{}`", shown(name));
            find(findings, Code::ProvisionContent, message, found, format!("no {what}"));
        }
    }
    if content.public_owner.as_deref() != Some(&slot.role) {
        let message = format!("the schema `public` of `{}` is not the slot's", content.database);
        let found = content.public_owner.as_deref().map_or("no schema".to_owned(), shown);
        let expected = format!("owner `{}`", slot.role);
        find(findings, Code::ProvisionOwner, message, format!("owner `{found}`"), expected);
    }
    for owner in &content.table_owners {
        if *owner != slot.role && owner != ADMIN_ROLE {
            let message = format!("`{}` holds tables of somebody else", content.database);
            let found = format!("tables of `{}`", shown(owner));
            let expected = format!("tables of `{}` only", slot.role);
            find(findings, Code::ProvisionOwner, message, found, expected);
        }
    }
    judge_pins(facts, content, &slot.role, findings);
}

/// The stamp's table and the pinned ledger.
fn judge_pins(
    facts: &ClusterFacts,
    content: &ContentFacts,
    role: &str,
    findings: &mut Vec<Denial>,
) {
    let comment = facts.database(&content.database).and_then(|d| d.comment.as_deref());
    let Reading::Stamp(stamp) = Stamp::read(comment) else { return };
    let table = content.stamp_table.as_ref();
    if !table.is_some_and(|table| table.plain && table.owner == ADMIN_ROLE) {
        let message =
            format!("the stamp's table of `{}` is not the administrator's", content.database);
        let expected = format!("a plain table `{TABLE}` of `{ADMIN_ROLE}`");
        find(findings, Code::ProvisionStamp, message, "no such table", expected);
    }
    let Kind::Preview { ledger: Some(pinned), .. } = stamp.kind else { return };
    let ledger = content.ledger.as_ref();
    if !ledger.is_some_and(|own| own.oid == pinned && own.plain && own.owner == role) {
        let message =
            format!("the ledger of `{}` is not the one that was stamped", content.database);
        let expected = format!("a plain table of `{role}` with oid {pinned}");
        find(findings, Code::ProvisionStamp, message, "another ledger, or none", expected);
    }
}
