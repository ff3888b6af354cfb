//! One text in a transaction of its own, statement by statement.
//!
//! In the transaction the server first says again who it is. Before anything is recorded, it must
//! still be the same transaction, the run's lock must still be held, and the ledger must be as the
//! run left it. Afterwards nothing of the session is left but that lock.

use guard::diagnostic::{Code, Denial, shown};
use guard::migration::pieces;
use tokio_postgres::{Error, SimpleQueryMessage};

use crate::blockers::Watch;
use crate::history::{self, LEDGER};
use crate::live::cell;
use crate::run_lock;
use crate::session::GuardedSession;
use crate::sql_error;

/// Everything that a migration could leave behind in a session, but for the lock of the run:
/// `DISCARD ALL` would free it.
const CLEAN: &str = "CLOSE ALL; RESET SESSION AUTHORIZATION; RESET ALL; DEALLOCATE ALL; UNLISTEN *; \
                     DISCARD PLANS; DISCARD TEMP; DISCARD SEQUENCES";

/// SQLSTATE of a statement that waited too long for a lock.
const LOCK_TIMEOUT: &str = "55P03";

/// What the ledger looked like when this run last saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LedgerState {
    rows: u64,
    digest: String,
}

/// Why a transaction was rolled back.
#[derive(Debug)]
pub(crate) enum Failure {
    /// It waited in vain for a lock; it may be tried again.
    Blocked(Denial),
    /// Anything else.
    Refused(Denial),
}

impl Failure {
    /// Returns the refusal, whether or not it is worth another try.
    pub(crate) fn into_denial(self) -> Denial {
        match self {
            Self::Blocked(denial) | Self::Refused(denial) => denial,
        }
    }
}

impl From<Denial> for Failure {
    fn from(denial: Denial) -> Self {
        Self::Refused(denial)
    }
}

/// A text, and what is recorded when it ran.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Work<'a> {
    /// The name of its file.
    pub(crate) file: &'a str,
    /// Its text.
    pub(crate) sql: &'a str,
    /// The statements that record it, one row each; none for what is no migration.
    pub(crate) ledger_rows: &'a [&'a str],
}

/// Runs a text to its end and commits it; after any failure nothing of it stays.
///
/// # Errors
/// Refuses another database than the confirmed one, what the server refuses, a text that ended its
/// own transaction or lost the run's lock, and a ledger that somebody else changed.
pub(crate) async fn run(
    session: &GuardedSession,
    work: Work<'_>,
    ledger: &mut Option<LedgerState>,
) -> Result<(), Failure> {
    let done = in_transaction(session, work, ledger).await;
    if done.is_err() {
        // The connection may be gone, or the transaction ended; either way nothing stays open.
        let _ = session.client().batch_execute("ROLLBACK").await;
    }
    done
}

async fn in_transaction(
    session: &GuardedSession,
    work: Work<'_>,
    ledger: &mut Option<LedgerState>,
) -> Result<(), Failure> {
    let ask = async |question: &str| {
        let answer = session.client().simple_query(question).await;
        answer.map_err(|error| sql_error::between(work.file, &error))
    };
    let digest = digest_column();
    // What the run itself left behind is known; only the first text must look.
    let look = if ledger.is_none() { format!(", {digest}") } else { String::new() };
    let answer = session
        .begin(&format!("pg_catalog.pg_current_xact_id(){look}"), |error| {
            sql_error::between(work.file, error)
        })
        .await?;
    let ours = cell(&answer, 1).map(ToOwned::to_owned);
    if ledger.is_none() {
        *ledger = Some(ledger_state(&answer, 2)?);
    }
    let Some(before) = ledger.as_ref() else { return Err(changed("no answer".to_owned()).into()) };
    statements(session, work).await?;
    let held = run_lock::is_held();
    let check = format!("SELECT pg_catalog.pg_current_xact_id_if_assigned(), {held}, {digest}");
    let answer = ask(&check).await?;
    if ours.is_none() || cell(&answer, 0) != ours.as_deref() {
        return Err(ended_itself(work.file).into());
    }
    if cell(&answer, 1) != Some("t") {
        return Err(lost_lock(work.file).into());
    }
    require_same(before, &ledger_state(&answer, 2)?)?;
    let after = match work.ledger_rows {
        [] => before.clone(),
        rows => record(session, rows, before).await?,
    };
    // A deferred constraint is checked now.
    ask(&format!("COMMIT; {CLEAN}")).await?;
    *ledger = Some(after);
    Ok(())
}

/// Sends the statements one by one, so that each failure has its place.
async fn statements(session: &GuardedSession, work: Work<'_>) -> Result<(), Failure> {
    for (index, piece) in pieces(work.sql).iter().enumerate() {
        if session.stop().is_up() {
            return Err(interrupted(work.file).into());
        }
        let (outcome, blockers) =
            Watch::new(session).over(session.client().simple_query(piece.text)).await;
        if let Err(error) = outcome {
            let denial = sql_error::statement(work.file, index + 1, piece, &error);
            return Err(if is_lock_timeout(&error) {
                Failure::Blocked(sql_error::blocked(work.file, &denial, blockers.as_deref()))
            } else {
                Failure::Refused(denial)
            });
        }
    }
    Ok(())
}

/// A statement that is cancelled says so itself; this is for the moments between two.
fn interrupted(file: &str) -> Denial {
    let found = format!("`{}`, between two statements", shown(file));
    Denial::new(Code::RunInterrupted, "the run was interrupted", found, "a run to the end")
}

fn is_lock_timeout(error: &Error) -> bool {
    error.code().is_some_and(|code| code.code() == LOCK_TIMEOUT)
}

/// Writes the rows of the ledger, which must then be as many more than before.
async fn record(
    session: &GuardedSession,
    rows: &[&str],
    before: &LedgerState,
) -> Result<LedgerState, Denial> {
    let text = format!("{}; SELECT {}", rows.join("; "), digest_column());
    let answer = session.client().simple_query(&text).await;
    let after = ledger_state(&answer.map_err(|error| history::refused(&error))?, 0)?;
    if after.rows == before.rows + rows.len() as u64 {
        return Ok(after);
    }
    let found = format!("{} rows, after {} and {} more", after.rows, before.rows, rows.len());
    Err(changed(found))
}

/// Number and digest of the ledger's rows, in one look: it is taken twice for each migration, so
/// what it costs grows with the ledger. The text of every row would be hashed at three times that.
fn digest_column() -> String {
    format!(
        "(SELECT pg_catalog.concat(pg_catalog.count(*), ':', \
         pg_catalog.sum(pg_catalog.hash_record_extended(h, 0))) FROM ONLY {LEDGER} h)"
    )
}

fn ledger_state(answer: &[SimpleQueryMessage], index: usize) -> Result<LedgerState, Denial> {
    let state = cell(answer, index).and_then(|state| state.split_once(':'));
    let state = state.and_then(|(rows, digest)| {
        Some(LedgerState { rows: rows.parse().ok()?, digest: digest.to_owned() })
    });
    state.ok_or_else(|| changed("no answer".to_owned()))
}

fn require_same(expected: &LedgerState, found: &LedgerState) -> Result<(), Denial> {
    if expected == found {
        return Ok(());
    }
    Err(changed(format!("{} rows, after {}", found.rows, expected.rows)))
}

fn changed(found: String) -> Denial {
    Denial::new(
        Code::LedgerChanged,
        format!("`{LEDGER}` changed while the run went on"),
        found,
        "the rows that this run has seen and written",
    )
}

fn ended_itself(file: &str) -> Denial {
    Denial::new(
        Code::MigrationTransaction,
        format!("`{}` ended its own transaction and was not recorded", shown(file)),
        "another transaction than the one opened for it",
        "no BEGIN, COMMIT, ROLLBACK or their kind in a migration",
    )
}

fn lost_lock(file: &str) -> Denial {
    Denial::new(
        Code::RunLocked,
        format!("`{}` gave up the lock of the run and was rolled back", shown(file)),
        "the advisory lock is gone",
        "no pg_advisory_unlock_all() and no DISCARD ALL in a migration, and no pooler",
    )
}
