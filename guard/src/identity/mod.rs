//! What a live server says of itself, compared with what was verified.
//!
//! The facts are read by whoever holds the connection, over the very connection that acts; this
//! module only judges them. Who the server is, is asked again in every transaction; what the role
//! may do and whether the stamp holds, once for each session.

mod rights;

use serde::Deserialize;

use crate::diagnostic::{Code, Denial, Warning, shown};
use crate::stamp::{Reading, Stamp, refuse_unreadable};
use crate::verify::VerifiedTarget;

pub use rights::{Reach, RightsFacts, TableFacts};

/// What a server answered about the session that asked.
#[derive(Debug, Clone, Deserialize)]
pub struct IdentityFacts {
    /// `current_database()`.
    pub database: String,
    /// `session_user`.
    pub session_user: String,
    /// `current_user`.
    pub current_user: String,
    /// `pg_is_in_recovery()`.
    pub in_recovery: bool,
    /// `system_identifier` of `pg_control_system()`; `None` when the server does not tell.
    pub system_identifier: Option<u64>,
    /// Object id of the database in `pg_database`.
    pub oid: u32,
    /// The database's comment.
    pub comment: Option<String>,
}

/// Everything that is asked before a session may act.
#[derive(Debug, Clone)]
pub struct LiveFacts {
    /// Who the server is.
    pub identity: IdentityFacts,
    /// What the role may do, and what stands beside the stamp.
    pub rights: RightsFacts,
    /// The nonces in the stamp's table; `None` when it was not read.
    pub stamp_rows: Option<Vec<String>>,
}

/// Proof that a live server agreed with a verified target.
///
/// ```
/// use guard::{database_url::DatabaseTarget, identity, policy::DatabasePolicy, verify::verify};
/// let target = DatabaseTarget::parse("postgresql://slot_1@127.0.0.1:5432/app_preview_1").unwrap();
/// let proof = verify("preview-1".parse().unwrap(), target, &DatabasePolicy::default()).unwrap();
/// let identity = identity::IdentityFacts {
///     database: "app_preview_1".into(),
///     session_user: "slot_1".into(),
///     current_user: "slot_1".into(),
///     in_recovery: false,
///     system_identifier: Some(7),
///     oid: 16_400,
///     comment: None,
/// };
/// let rights = identity::RightsFacts::default();
/// let facts = identity::LiveFacts { identity, rights, stamp_rows: None };
/// let confirmed = identity::confirm(proof, facts).unwrap();
/// assert_eq!(confirmed.target().database(), "app_preview_1");
/// ```
///
/// A verified target alone is no confirmation:
///
/// ```compile_fail
/// use guard::{database_url::DatabaseTarget, identity, policy::DatabasePolicy, verify::verify};
/// let target = DatabaseTarget::parse("postgresql://slot_1@127.0.0.1:5432/app_preview_1").unwrap();
/// let proof = verify("preview-1".parse().unwrap(), target, &DatabasePolicy::default()).unwrap();
/// let confirmed = identity::ConfirmedTarget { target: proof };
/// assert_eq!(confirmed.target().database(), "app_preview_1");
/// ```
#[derive(Debug)]
pub struct ConfirmedTarget {
    target: VerifiedTarget,
    identity: IdentityFacts,
    stamped: bool,
    warnings: Vec<Warning>,
}

impl ConfirmedTarget {
    /// Returns the target that was confirmed.
    #[must_use]
    pub fn target(&self) -> &VerifiedTarget {
        &self.target
    }

    /// Returns what the server said of itself.
    #[must_use]
    pub fn identity(&self) -> &IdentityFacts {
        &self.identity
    }

    /// Returns whether the database carries a stamp, which held.
    #[must_use]
    pub fn is_stamped(&self) -> bool {
        self.stamped
    }

    /// Returns what is worth knowing although nothing was refused for it.
    #[must_use]
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }

    /// Judges a later answer over the same connection; a pooler can move a session at any time.
    ///
    /// # Errors
    /// As [`confirm`], and refuses a database that is not the very one that was confirmed.
    pub fn still_holds(&self, facts: &IdentityFacts) -> Result<(), Denial> {
        judge_server(&self.target, facts)?;
        let before = (self.identity.oid, &self.identity.comment);
        if before == (facts.oid, &facts.comment)
            && self.identity.system_identifier == facts.system_identifier
        {
            return Ok(());
        }
        Err(Denial::new(
            Code::StampMismatch,
            format!("the database of {} is not the one that was confirmed", self.target.slot()),
            format!("oid {}, {}", facts.oid, describe(facts.comment.as_deref())),
            format!("oid {}, {}", before.0, describe(before.1.as_deref())),
        ))
    }
}

fn describe(comment: Option<&str>) -> &'static str {
    match Stamp::read(comment) {
        Reading::Stamp(_) => "stamped",
        Reading::Unreadable => "with an unreadable stamp",
        Reading::None => "without a stamp",
    }
}

/// Judges the server's answers.
///
/// # Errors
/// Refuses another database, another role, a server in recovery, one that is not pinned, a stamp
/// that is production's or does not hold, and a role with rights that no slot may have.
pub fn confirm(target: VerifiedTarget, facts: LiveFacts) -> Result<ConfirmedTarget, Denial> {
    let LiveFacts { identity, rights, stamp_rows } = facts;
    judge_server(&target, &identity)?;
    let stamp = judge_stamp(&target, &identity)?;
    let mut warnings = rights::judge(&target, stamp.as_ref(), &rights, stamp_rows.as_deref())?;
    if stamp.is_none() {
        let message = format!("`{}` carries no stamp: its name is all there is", target.database());
        warnings.push(Warning::new(Code::NotStamped, message));
    }
    Ok(ConfirmedTarget { target, identity, stamped: stamp.is_some(), warnings })
}

/// Reads the stamp and judges it; `None` when there is none and none is required.
fn judge_stamp(target: &VerifiedTarget, facts: &IdentityFacts) -> Result<Option<Stamp>, Denial> {
    let slot = target.slot();
    match Stamp::read(facts.comment.as_deref()) {
        Reading::Stamp(stamp) => {
            stamp.judge(slot, facts.system_identifier, facts.oid)?;
            Ok(Some(stamp))
        }
        Reading::Unreadable => {
            Err(refuse_unreadable(slot, facts.comment.as_deref().unwrap_or_default()))
        }
        Reading::None if target.requires_stamp() => Err(Denial::new(
            Code::StampMissing,
            format!("the database of {slot} carries no stamp"),
            format!("{} without a stamp", target.place()),
            format!("a stamp of {slot}, as `[database] require_stamp` demands"),
        )),
        Reading::None => Ok(None),
    }
}

fn judge_server(target: &VerifiedTarget, facts: &IdentityFacts) -> Result<(), Denial> {
    let slot = target.slot();
    if facts.database != target.database() {
        return Err(Denial::new(
            Code::LiveDatabase,
            format!("the server that answers for {slot} is in another database"),
            format!("current_database() = `{}`", shown(&facts.database)),
            target.place(),
        ));
    }
    if facts.session_user != target.role() || facts.current_user != target.role() {
        let (session, current) = (shown(&facts.session_user), shown(&facts.current_user));
        return Err(Denial::new(
            Code::LiveRole,
            format!("the server that answers for {slot} acts as another role"),
            format!("session_user `{session}`, current_user `{current}`"),
            format!("role `{}`", target.role()),
        ));
    }
    if facts.in_recovery {
        return Err(Denial::new(
            Code::LiveRecovery,
            format!("the server that answers for {slot} is a standby"),
            format!("{} in recovery", target.place()),
            "a primary server",
        ));
    }
    judge_pin(target, facts)
}

/// A server may have the right database, role and address and still be another one.
fn judge_pin(target: &VerifiedTarget, facts: &IdentityFacts) -> Result<(), Denial> {
    let Some(pinned) = target.system_identifier() else { return Ok(()) };
    if facts.system_identifier == Some(pinned) {
        return Ok(());
    }
    let found = facts.system_identifier.map_or("none".to_owned(), |found| found.to_string());
    Err(Denial::new(
        Code::LiveServer,
        format!("the server that answers for {} is not the pinned one", target.slot()),
        format!("system_identifier {found}"),
        format!("system_identifier {pinned}"),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::database_url::DatabaseTarget;
    use crate::policy::DatabasePolicy;
    use crate::stamp::Kind;

    fn stamp() -> Stamp {
        let kind = Kind::Preview { slot: "preview-1".parse().unwrap(), ledger: None };
        let nonce = "0123456789abcdef".to_owned();
        Stamp { kind, system_identifier: 7, oid: 16_400, nonce }
    }

    fn policy() -> DatabasePolicy {
        DatabasePolicy { system_identifier: Some(7), ..DatabasePolicy::default() }
    }

    fn confirm_with(
        policy: &DatabasePolicy,
        change: impl FnOnce(&mut IdentityFacts),
    ) -> Result<ConfirmedTarget, Denial> {
        let url = "postgresql://slot_1@127.0.0.1:5432/app_preview_1";
        let target = DatabaseTarget::parse(url).unwrap();
        let proof = crate::verify::verify("preview-1".parse().unwrap(), target, policy).unwrap();
        let mut identity = IdentityFacts {
            database: "app_preview_1".to_owned(),
            session_user: "slot_1".to_owned(),
            current_user: "slot_1".to_owned(),
            in_recovery: false,
            system_identifier: Some(7),
            oid: 16_400,
            comment: None,
        };
        change(&mut identity);
        let rights = RightsFacts { owner: "preview_admin".to_owned(), ..RightsFacts::default() };
        confirm(proof, LiveFacts { identity, rights, stamp_rows: None })
    }

    fn confirm_after(change: impl FnOnce(&mut IdentityFacts)) -> Result<ConfirmedTarget, Denial> {
        confirm_with(&policy(), change)
    }

    #[test]
    fn an_answer_that_agrees_is_confirmed() {
        let confirmed = confirm_after(|_| {}).unwrap();
        assert!(!confirmed.is_stamped());
        assert_eq!(confirmed.warnings()[0].code(), Code::NotStamped);
    }

    #[test]
    fn each_difference_has_its_code() {
        let code = |change: fn(&mut IdentityFacts)| confirm_after(change).unwrap_err().code();
        assert_eq!(code(|f| f.database = "app_production".to_owned()), Code::LiveDatabase);
        assert_eq!(code(|f| f.session_user = "admin".to_owned()), Code::LiveRole);
        assert_eq!(code(|f| f.current_user = "admin".to_owned()), Code::LiveRole);
        assert_eq!(code(|f| f.in_recovery = true), Code::LiveRecovery);
        assert_eq!(code(|f| f.system_identifier = Some(8)), Code::LiveServer);
        assert_eq!(code(|f| f.system_identifier = None), Code::LiveServer);
        assert_eq!(code(|f| f.comment = Some("{\"slotguard\":9}".to_owned())), Code::StampMismatch);
        let production = Stamp { kind: Kind::Production { was: None }, ..stamp() };
        let denial = confirm_after(|f| f.comment = Some(production.write())).unwrap_err();
        assert_eq!(denial.code(), Code::StampedProduction);
    }

    #[test]
    fn a_stamp_can_be_required() {
        let policy = DatabasePolicy { require_stamp: true, ..policy() };
        assert_eq!(confirm_with(&policy, |_| {}).unwrap_err().code(), Code::StampMissing);
        let ours = |f: &mut IdentityFacts| f.comment = Some("not ours".to_owned());
        assert_eq!(confirm_with(&policy, ours).unwrap_err().code(), Code::StampMissing);
        // With a stamp the row is asked for, which these facts lack.
        let stamped = |f: &mut IdentityFacts| f.comment = Some(stamp().write());
        assert_eq!(confirm_with(&policy, stamped).unwrap_err().code(), Code::StampRow);
    }

    #[test]
    fn a_database_that_was_exchanged_under_the_session_no_longer_holds() {
        let confirmed = confirm_after(|_| {}).unwrap();
        let mut later = confirmed.identity().clone();
        assert!(confirmed.still_holds(&later).is_ok());
        later.oid += 1;
        assert_eq!(confirmed.still_holds(&later).unwrap_err().code(), Code::StampMismatch);
        let mut later = confirmed.identity().clone();
        later.comment = Some(stamp().write());
        assert_eq!(confirmed.still_holds(&later).unwrap_err().code(), Code::StampMismatch);
    }
}
