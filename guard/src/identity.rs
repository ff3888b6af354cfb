//! What a live server says of itself, compared with what was verified.
//!
//! The facts are read by whoever holds the connection, over the very connection that acts; this
//! module only judges them.

use crate::diagnostic::{Code, Denial, shown};
use crate::verify::VerifiedTarget;

/// What a server answered about the session that asked.
#[derive(Debug, Clone)]
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
}

/// Proof that a live server agreed with a verified target.
///
/// ```
/// use guard::{database_url::DatabaseTarget, identity, policy::DatabasePolicy, verify::verify};
/// let target = DatabaseTarget::parse("postgresql://slot_1@127.0.0.1:5432/app_preview_1").unwrap();
/// let proof = verify("preview-1".parse().unwrap(), target, &DatabasePolicy::default()).unwrap();
/// let facts = identity::IdentityFacts {
///     database: "app_preview_1".into(),
///     session_user: "slot_1".into(),
///     current_user: "slot_1".into(),
///     in_recovery: false,
///     system_identifier: Some(7),
/// };
/// let confirmed = identity::confirm(proof, &facts).unwrap();
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
}

impl ConfirmedTarget {
    /// Returns the target that was confirmed.
    #[must_use]
    pub fn target(&self) -> &VerifiedTarget {
        &self.target
    }

    /// Judges a later answer over the same connection; a pooler can move a session at any time.
    ///
    /// # Errors
    /// As [`confirm`].
    pub fn still_holds(&self, facts: &IdentityFacts) -> Result<(), Denial> {
        judge(&self.target, facts)
    }
}

/// Judges the server's answer.
///
/// # Errors
/// Refuses another database, another role, a server in recovery, and one that is not pinned.
pub fn confirm(target: VerifiedTarget, facts: &IdentityFacts) -> Result<ConfirmedTarget, Denial> {
    judge(&target, facts)?;
    Ok(ConfirmedTarget { target })
}

fn judge(target: &VerifiedTarget, facts: &IdentityFacts) -> Result<(), Denial> {
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
    judge_server(target, facts)
}

/// A server may have the right database, role and address and still be another one.
fn judge_server(target: &VerifiedTarget, facts: &IdentityFacts) -> Result<(), Denial> {
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

    fn confirm_after(change: impl FnOnce(&mut IdentityFacts)) -> Result<ConfirmedTarget, Denial> {
        let url = "postgresql://slot_1@127.0.0.1:5432/app_preview_1";
        let target = DatabaseTarget::parse(url).unwrap();
        let slot = "preview-1".parse().unwrap();
        let policy = DatabasePolicy { system_identifier: Some(7), ..DatabasePolicy::default() };
        let proof = crate::verify::verify(slot, target, &policy).unwrap();
        let mut facts = IdentityFacts {
            database: "app_preview_1".to_owned(),
            session_user: "slot_1".to_owned(),
            current_user: "slot_1".to_owned(),
            in_recovery: false,
            system_identifier: Some(7),
        };
        change(&mut facts);
        confirm(proof, &facts)
    }

    #[test]
    fn an_answer_that_agrees_is_confirmed() {
        assert!(confirm_after(|_| {}).is_ok());
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
    }
}
