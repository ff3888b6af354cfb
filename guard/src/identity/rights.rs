//! What the slot's role may do, and whether what stands beside the stamp agrees with it.
//!
//! A stamped database was provisioned, so everything provisioning promises must hold. One without a
//! stamp is somebody's own: there only what no slot may ever have is refused, the rest warns.

use serde::Deserialize;

use crate::diagnostic::{Code, Denial, Warning, shown};
use crate::provision::ADMIN_ROLE;
use crate::stamp::{Kind, Reading, Stamp, TABLE};
use crate::verify::VerifiedTarget;

/// What a server answered about the session's role and database.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct RightsFacts {
    /// The owner of the database.
    pub owner: String,
    /// Attributes of the role that no slot may have, such as `SUPERUSER`.
    pub attributes: Vec<String>,
    /// Every role that the role is a member of, directly or not.
    pub memberships: Vec<String>,
    /// The other databases that the role may connect to.
    pub reaches: Vec<Reach>,
    /// The table of the stamp, if there is one of that name.
    pub stamp_table: Option<TableFacts>,
    /// The migration ledger, if there is one of that name.
    pub ledger: Option<TableFacts>,
}

/// Another database that the slot's role may connect to.
#[derive(Debug, Clone, Deserialize)]
pub struct Reach {
    /// Its name.
    pub database: String,
    /// Its comment.
    pub comment: Option<String>,
}

/// What kind of relation carries a name.
#[derive(Debug, Clone, Deserialize)]
pub struct TableFacts {
    /// Its object id.
    pub oid: u32,
    /// Its owner.
    pub owner: String,
    /// Whether it is an ordinary table without rules, triggers and row security.
    pub plain: bool,
}

/// Judges the rights and returns what is only worth a warning.
pub(super) fn judge(
    target: &VerifiedTarget,
    stamp: Option<&Stamp>,
    rights: &RightsFacts,
    rows: Option<&[String]>,
) -> Result<Vec<Warning>, Denial> {
    judge_attributes(target, rights)?;
    let production = rights.reaches.iter().find(|reach| is_production(target, reach));
    let Some(stamp) = stamp else {
        if rights.stamp_table.is_some() {
            // It travels with a dump and a copy; the comment does not.
            let found = format!("a table `{TABLE}` in a database without a stamp");
            return Err(refuse_row(target, found));
        }
        let message = |reach: &Reach| {
            format!("role `{}` may also connect to `{}`", target.role(), shown(&reach.database))
        };
        let warning = |reach| Warning::new(Code::RoleNotConfined, message(reach));
        return Ok(production.or(rights.reaches.first()).map(warning).into_iter().collect());
    };
    if let Some(reach) = production.or(rights.reaches.first()) {
        return Err(refuse_role(
            target,
            format!("CONNECT on `{}`", shown(&reach.database)),
            "CONNECT on its own database only",
        ));
    }
    if let Some(group) = rights.memberships.first() {
        return Err(refuse_role(
            target,
            format!("a member of `{}`", shown(group)),
            "no membership",
        ));
    }
    judge_owner(target, rights)?;
    judge_row(target, stamp, rights, rows)?;
    judge_ledger(target, stamp, rights)?;
    Ok(Vec::new())
}

fn is_production(target: &VerifiedTarget, reach: &Reach) -> bool {
    target.is_production_database(&reach.database)
        || matches!(Stamp::read(reach.comment.as_deref()), Reading::Stamp(s) if s.is_production())
}

/// Nobody with such rights may act for a slot, whoever made the database.
fn judge_attributes(target: &VerifiedTarget, rights: &RightsFacts) -> Result<(), Denial> {
    let predefined = rights.memberships.iter().find(|group| group.starts_with("pg_"));
    let found = rights.attributes.first().cloned();
    match found.or_else(|| predefined.map(|group| format!("a member of `{}`", shown(group)))) {
        None => Ok(()),
        Some(found) => Err(refuse_role(target, found, "a plain role")),
    }
}

fn refuse_role(target: &VerifiedTarget, found: String, expected: &str) -> Denial {
    let message = format!("role `{}` has rights that no slot may have", target.role());
    Denial::new(Code::LiveRights, message, found, expected)
}

fn judge_owner(target: &VerifiedTarget, rights: &RightsFacts) -> Result<(), Denial> {
    if rights.owner == ADMIN_ROLE {
        return Ok(());
    }
    Err(Denial::new(
        Code::LiveRights,
        format!("`{}` belongs to a role that it must not belong to", target.database()),
        format!("owner `{}`", shown(&rights.owner)),
        format!("owner `{ADMIN_ROLE}`"),
    ))
}

/// Exactly one row with the stamp's nonce: a second one came with somebody's data.
fn judge_row(
    target: &VerifiedTarget,
    stamp: &Stamp,
    rights: &RightsFacts,
    rows: Option<&[String]>,
) -> Result<(), Denial> {
    let refuse = |found: String| Err(refuse_row(target, found));
    let table = rights.stamp_table.as_ref();
    if !table.is_some_and(|table| table.plain && table.owner == rights.owner) {
        return refuse(format!("no table `{TABLE}` of the administrator's"));
    }
    match rows {
        Some([nonce]) if *nonce == stamp.nonce => Ok(()),
        Some([_]) => refuse("a row with another nonce".to_owned()),
        Some(rows) => refuse(format!("{} rows", rows.len())),
        None => refuse("a table that was not read".to_owned()),
    }
}

fn refuse_row(target: &VerifiedTarget, found: String) -> Denial {
    Denial::new(
        Code::StampRow,
        format!("what is inside `{}` is not what was stamped", target.database()),
        found,
        format!("exactly one row in `{TABLE}`, with the nonce of the stamp"),
    )
}

/// The ledger that was there when the stamp was made must be there still; a restore makes another.
fn judge_ledger(
    target: &VerifiedTarget,
    stamp: &Stamp,
    rights: &RightsFacts,
) -> Result<(), Denial> {
    let Kind::Preview { ledger: Some(pinned), .. } = stamp.kind else { return Ok(()) };
    let found = match &rights.ledger {
        Some(ledger) if ledger.oid == pinned && ledger.plain && ledger.owner == target.role() => {
            return Ok(());
        }
        Some(ledger) if ledger.oid == pinned => "a ledger that is no plain table of the slot's",
        Some(_) => "another ledger",
        None => "no ledger",
    };
    Err(Denial::new(
        Code::StampLedger,
        format!("the migration ledger of `{}` is not the one that was stamped", target.database()),
        found,
        format!("the ledger with oid {pinned}"),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::database_url::DatabaseTarget;
    use crate::policy::DatabasePolicy;

    const NONCE: &str = "0123456789abcdef";

    struct Case {
        stamp: Option<Stamp>,
        rights: RightsFacts,
        rows: Option<Vec<String>>,
    }

    fn table(oid: u32, owner: &str) -> TableFacts {
        TableFacts { oid, owner: owner.to_owned(), plain: true }
    }

    fn reach(database: &str) -> Reach {
        Reach { database: database.to_owned(), comment: None }
    }

    /// A provisioned database; each test spoils one thing.
    fn provisioned() -> Case {
        let kind = Kind::Preview { slot: "preview-1".parse().unwrap(), ledger: Some(9) };
        let nonce = NONCE.to_owned();
        Case {
            stamp: Some(Stamp { kind, system_identifier: 7, oid: 16_400, nonce }),
            rights: RightsFacts {
                owner: ADMIN_ROLE.to_owned(),
                stamp_table: Some(table(8, ADMIN_ROLE)),
                ledger: Some(table(9, "slot_1")),
                ..RightsFacts::default()
            },
            rows: Some(vec![NONCE.to_owned()]),
        }
    }

    fn judged(case: &Case) -> Result<usize, Code> {
        let url = "postgresql://slot_1@127.0.0.1:5432/app_preview_1";
        let policy = DatabasePolicy {
            production_databases: vec!["app_production".to_owned()],
            ..DatabasePolicy::default()
        };
        let target = DatabaseTarget::parse(url).unwrap();
        let proof = crate::verify::verify("preview-1".parse().unwrap(), target, &policy).unwrap();
        judge(&proof, case.stamp.as_ref(), &case.rights, case.rows.as_deref())
            .map(|warnings| warnings.len())
            .map_err(|denial| denial.code())
    }

    fn after(change: fn(&mut Case)) -> Result<usize, Code> {
        let mut case = provisioned();
        change(&mut case);
        judged(&case)
    }

    #[test]
    fn a_provisioned_database_passes_whole() {
        assert_eq!(judged(&provisioned()), Ok(0));
    }

    #[test]
    fn each_thing_spoilt_is_found() {
        let rights = Err(Code::LiveRights);
        assert_eq!(after(|c| c.rights.owner = "slot_1".to_owned()), rights);
        assert_eq!(after(|c| c.rights.attributes = vec!["CREATEDB".to_owned()]), rights);
        assert_eq!(after(|c| c.rights.memberships = vec!["app".to_owned()]), rights);
        assert_eq!(after(|c| c.rights.reaches = vec![reach("app_preview_2")]), rights);
        let row = Err(Code::StampRow);
        assert_eq!(after(|c| c.rights.stamp_table = None), row);
        assert_eq!(after(|c| c.rights.stamp_table = Some(table(8, "slot_1"))), row);
        assert_eq!(after(|c| c.rows = None), row);
        assert_eq!(after(|c| c.rows = Some(vec![])), row);
        assert_eq!(after(|c| c.rows = Some(vec!["fedcba9876543210".to_owned()])), row);
        assert_eq!(after(|c| c.rows = Some(vec![NONCE.to_owned(), "other".to_owned()])), row);
        let ledger = Err(Code::StampLedger);
        assert_eq!(after(|c| c.rights.ledger = None), ledger);
        assert_eq!(after(|c| c.rights.ledger = Some(table(10, "slot_1"))), ledger);
        assert_eq!(after(|c| c.rights.ledger = Some(table(9, "slot_2"))), ledger);
    }

    #[test]
    fn without_a_stamp_only_what_no_slot_may_have_is_refused() {
        let unstamped = |change: fn(&mut Case)| {
            let mut case = provisioned();
            case.stamp = None;
            case.rights.stamp_table = None;
            change(&mut case);
            judged(&case)
        };
        assert_eq!(unstamped(|_| {}), Ok(0));
        assert_eq!(unstamped(|c| c.rights.memberships = vec!["app".to_owned()]), Ok(0));
        assert_eq!(unstamped(|c| c.rights.reaches = vec![reach("postgres")]), Ok(1));
        assert_eq!(
            unstamped(|c| c.rights.memberships = vec!["pg_read_all_data".to_owned()]),
            Err(Code::LiveRights)
        );
        assert_eq!(
            unstamped(|c| c.rights.attributes = vec!["SUPERUSER".to_owned()]),
            Err(Code::LiveRights)
        );
        let came_along = |c: &mut Case| c.rights.stamp_table = Some(table(8, "postgres"));
        assert_eq!(unstamped(came_along), Err(Code::StampRow));
    }
}
