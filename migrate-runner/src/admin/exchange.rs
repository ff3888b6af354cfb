//! The moment in which a new database takes the place of an old one.
//!
//! One transaction renames both, so a name leads to the old one or to the new one and never nowhere
//! for good. Building the new one and dropping the old one is done elsewhere.

use std::time::{Duration, Instant};

use guard::admin::AdminTarget;
use guard::diagnostic::{Code, Denial};
use guard::provision::{next_name, old_name};

use super::build::{self, IN_USE};
use super::plan::grant_own;
use super::reset::find;
use super::session::AdminSession;
use crate::sql;

/// How often the exchange is tried; each try waits up to five seconds for sessions to end.
const TRIES: u32 = 2;

/// How long between two looks at the sessions that must end.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// Puts `<database>__next` in the place of a database while the old one's sessions are ended.
///
/// The role of a slot loses the old one and gets the new one in the same transaction: a role that
/// may enter two databases, be it for a moment or after a crash, is no slot's. Returns how long the
/// name led nowhere, at most.
///
/// # Errors
/// Refuses when somebody who cannot be ended is in the database; the new one is dropped then.
pub(super) async fn exchange(
    target: &AdminTarget,
    admin: &AdminSession,
    database: &str,
    role: Option<&str>,
) -> Result<Duration, Denial> {
    let exchanged = rename_both(target, admin, database, role).await;
    if exchanged.is_err() {
        // A lost connection may hide that it was exchanged; then this fails on the same connection.
        let _ = build::drop_own(admin, &next_name(database)).await;
    }
    exchanged
}

/// Renames both in one transaction.
async fn rename_both(
    target: &AdminTarget,
    admin: &AdminSession,
    database: &str,
    role: Option<&str>,
) -> Result<Duration, Denial> {
    let (current, next, old) =
        (sql::name(database), sql::name(&next_name(database)), sql::name(&old_name(database)));
    build::drop_own(admin, &old_name(database)).await?;
    let exists = find(admin, database).await?.is_some();
    let mut statements = String::from("BEGIN; ");
    if exists {
        statements += &format!("ALTER DATABASE {current} RENAME TO {old}; ");
    }
    statements += &format!("ALTER DATABASE {next} RENAME TO {current}; ");
    if let Some(role) = role {
        if exists {
            statements += &format!("REVOKE ALL ON DATABASE {old} FROM {}; ", sql::name(role));
        }
        statements += &format!("{}; ", grant_own(database, role));
    }
    statements += "COMMIT";
    let helper = build::open(target).await?;
    for _ in 0..TRIES {
        let started = Instant::now();
        match while_ending_sessions(&helper, database, admin.attempt(&statements)).await {
            Ok(()) => return Ok(started.elapsed()),
            Err(error) if error.code().is_some_and(|code| code.code() == IN_USE) => {
                admin.run("ROLLBACK").await?;
            }
            Err(error) => {
                let _ = admin.attempt("ROLLBACK").await;
                return Err(super::session::refused(&statements, &error));
            }
        }
    }
    Err(Denial::new(
        Code::ResetBusy,
        format!("`{database}` is still in use"),
        build::who_is_in(&helper, database).await?,
        "sessions of the slot's role only, which are ended",
    ))
}

/// Waits for the rename while another session ends whoever is in the database, again and again:
/// clients come back while it waits.
async fn while_ending_sessions<T>(
    helper: &AdminSession,
    database: &str,
    renaming: impl Future<Output = T>,
) -> T {
    let statement = format!(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
         WHERE datname IN ({}, {}) AND pid <> pg_backend_pid() \
         AND pg_has_role(current_user, usesysid, 'MEMBER')",
        sql::text(database),
        sql::text(&next_name(database))
    );
    let mut renaming = std::pin::pin!(renaming);
    loop {
        if let Err(error) = helper.attempt(&statement).await {
            tracing::warn!(%error, "a session could not be ended");
        }
        if let Ok(done) = tokio::time::timeout(LOOK_AGAIN, renaming.as_mut()).await {
            return done;
        }
    }
}
