//! One text in a transaction of its own, statement by statement.
//!
//! In the transaction the server first says again who it is. Before anything is recorded, it must
//! still be the same transaction, the run's lock must still be held, and the ledger must be as the
//! run left it. Afterwards nothing of the session is left but that lock.

use std::ops::Range;
use std::time::Instant;

use guard::diagnostic::{Code, Denial, shown};
use guard::migration::Piece;
use tokio_postgres::{Error, SimpleQueryMessage};

use crate::blockers::Watch;
use crate::history::{self, LEDGER};
use crate::live::cell;
use crate::run_lock;
use crate::session::{GuardedSession, beginning};
use crate::sql_error;
use crate::trace::{Look, Trace};

/// Everything that a migration could leave behind in a session, but for the lock of the run:
/// `DISCARD ALL` would free it.
const CLEAN: &str = "CLOSE ALL; RESET SESSION AUTHORIZATION; RESET ALL; DEALLOCATE ALL; UNLISTEN *; \
                     DISCARD PLANS; DISCARD TEMP; DISCARD SEQUENCES";

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
    /// Says it in other words, worth another try or not as before.
    pub(crate) fn map(self, words: impl FnOnce(Denial) -> Denial) -> Self {
        match self {
            Self::Blocked(denial) => Self::Blocked(words(denial)),
            Self::Refused(denial) => Self::Refused(words(denial)),
        }
    }

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

/// Statements, and what is recorded when they ran.
#[derive(Debug, Clone)]
pub(crate) struct Work<'a> {
    /// The name of its file.
    pub(crate) file: &'a str,
    /// The statements.
    pub(crate) pieces: &'a [Piece<'a>],
    /// The statements that record it, one row each; none for what is no migration.
    pub(crate) ledger_rows: &'a [&'a str],
    /// Which of the statements are the file's own, for a trace; the others are the run's.
    pub(crate) traced: Option<Range<usize>>,
}

/// The transactions of a run, one behind the other in one session.
///
/// A message costs a way to the server and back, so what needs no answer to be sent is sent behind
/// what it follows: the check behind the last statement, the next beginning behind the commit. Each
/// answer is judged before anything rests on it.
pub(crate) struct Transactions<'a> {
    session: &'a GuardedSession,
    ledger: Option<LedgerState>,
    /// The server's answer to a beginning that was sent behind the last commit.
    begun: Option<Answer>,
    /// Notes what each statement does, where somebody wants to know.
    trace: Option<Trace>,
}

type Answer = Vec<SimpleQueryMessage>;

impl<'a> Transactions<'a> {
    pub(crate) fn new(session: &'a GuardedSession) -> Self {
        Self { session, ledger: None, begun: None, trace: None }
    }

    /// Lets what each statement does be noted.
    pub(crate) fn traced(self, trace: Option<Trace>) -> Self {
        Self { trace, ..self }
    }

    /// Returns who wants to know what each statement does.
    pub(crate) fn trace(&self) -> Option<&Trace> {
        self.trace.as_ref()
    }

    /// Runs a text to its end and commits it; after any failure nothing of it stays. With
    /// `another`, the next transaction is begun at once.
    ///
    /// # Errors
    /// Refuses another database than the confirmed one, what the server refuses, a text that ended
    /// its own transaction or lost the run's lock, and a ledger that somebody else changed.
    pub(crate) async fn run(&mut self, work: Work<'_>, another: bool) -> Result<(), Failure> {
        let done = self.in_transaction(work, another).await;
        if done.is_err() {
            self.begun = None;
            // The connection may be gone, or the transaction ended; either way nothing stays open.
            let _ = self.session.client().batch_execute("ROLLBACK").await;
            if let Some(trace) = &self.trace {
                trace.rolled_back(self.session.client()).await;
            }
        }
        done
    }

    async fn in_transaction(&mut self, work: Work<'_>, another: bool) -> Result<(), Failure> {
        let (before, ours) = self.begin(work.file).await?;
        if let Some(trace) = self.trace.as_ref().filter(|_| work.traced.is_some()) {
            trace.begin(self.session.client(), work.file).await?;
        }
        let checked = self.statements(&work).await?;
        require_whole(work.file, &checked, &ours, &before)?;
        let after = match work.ledger_rows {
            [] => before,
            rows => record(self.session, rows, &before).await?,
        };
        self.commit(work.file, &ours, another).await?;
        self.trace.iter().for_each(Trace::committed);
        self.ledger = Some(after);
        Ok(())
    }

    /// Returns what the ledger must be like, and the transaction's number.
    async fn begin(&mut self, file: &str) -> Result<(LedgerState, String), Denial> {
        let answer = match self.begun.take() {
            Some(answer) => answer,
            None => {
                let answer = self.session.client().simple_query(&beginning(&self.look())).await;
                answer.map_err(|error| sql_error::between(file, &error))?
            }
        };
        self.session.begun(&answer)?;
        let before = match &self.ledger {
            Some(known) => known.clone(),
            None => ledger_state(&answer, 2)?,
        };
        let ours = cell(&answer, 1).ok_or_else(|| ended_itself(file))?;
        Ok((before, ours.to_owned()))
    }

    /// What the run itself left behind is known; only the first text must look.
    fn look(&self) -> String {
        let digest = if self.ledger.is_some() { "NULL".to_owned() } else { digest_column() };
        format!("pg_catalog.pg_current_xact_id(), {digest}")
    }

    /// Sends the statements one by one, so that each failure has its place, and returns the answer
    /// to the check behind them.
    async fn statements(&self, work: &Work<'_>) -> Result<Answer, Failure> {
        let client = self.session.client();
        let (held, digest) = (run_lock::is_held(), digest_column());
        let check = format!("SELECT pg_catalog.pg_current_xact_id_if_assigned(), {held}, {digest}");
        let Some((last, others)) = work.pieces.split_last() else {
            return Ok(ask(self.session, work.file, &check).await?);
        };
        let is_traced = |at: usize| work.traced.as_ref().is_some_and(|own| own.contains(&at));
        for (at, piece) in others.iter().enumerate() {
            self.statement(work.file, piece, is_traced(at)).await?;
        }
        // Where the statement fails, so does the check: nothing runs in a failed transaction.
        let sent = self.statement(work.file, last, is_traced(others.len()));
        let (done, checked) = tokio::join!(biased; sent, client.simple_query(&check));
        done?;
        Ok(checked.map_err(|error| sql_error::between(work.file, &error))?)
    }

    /// Sends one statement and, in a traced run, looks behind it.
    async fn statement(&self, file: &str, piece: &Piece<'_>, own: bool) -> Result<(), Failure> {
        let trace = self.trace.as_ref().filter(|_| own);
        let started = Instant::now();
        let sent = async { (statement(self.session, file, piece).await, started.elapsed()) };
        let ((done, duration), look) = tokio::join!(biased; sent, self.held(trace));
        done?;
        if let Some((look, trace)) = look.zip(trace) {
            let look = look.map_err(|error| sql_error::between(file, &error))?;
            trace.note(piece, (started, duration), look);
        }
        Ok(())
    }

    /// Looks, behind a statement, at what the transaction holds. In a failed one nothing answers.
    async fn held(&self, trace: Option<&Trace>) -> Option<Result<Look, Error>> {
        trace?.look(self.session.client()).await
    }

    /// Commits, and asks the server behind it whether it did: what it answers to a `COMMIT` of a
    /// failed transaction is no error. The wiping ends with the commit's own message, so that no
    /// later transaction can take it back.
    async fn commit(&mut self, file: &str, ours: &str, another: bool) -> Result<(), Denial> {
        let status = format!("pg_catalog.pg_xact_status('{ours}'::pg_catalog.xid8)");
        let alone = format!("SELECT NULL, NULL, NULL, {status}");
        let begin = || beginning(&format!("pg_catalog.pg_current_xact_id(), NULL, {status}"));
        let next = if another { begin() } else { alone.clone() };
        let client = self.session.client();
        let commit = format!("COMMIT; {CLEAN}");
        let (committed, next) =
            tokio::join!(biased; client.simple_query(&commit), client.simple_query(&next));
        // A deferred constraint was checked now.
        committed.map_err(|error| sql_error::between(file, &error))?;
        let (answer, begun) = match next {
            Ok(answer) => (answer, another),
            // A signal may have hit it; the commit before it has its own end.
            Err(_) => {
                let _ = client.batch_execute("ROLLBACK").await;
                (ask(self.session, file, &alone).await?, false)
            }
        };
        match cell(&answer, 3) {
            Some("committed") => {
                self.begun = begun.then_some(answer);
                Ok(())
            }
            found => Err(not_committed(file, found)),
        }
    }
}

/// Sends one statement, unless the session was asked to stop; says who kept it waiting.
pub(crate) async fn statement(
    session: &GuardedSession,
    file: &str,
    piece: &Piece<'_>,
) -> Result<(), Failure> {
    if session.stop().is_up() {
        return Err(interrupted(file).into());
    }
    let sent = session.client().simple_query(piece.text);
    let (outcome, blockers) = Watch::new(session).over(sent).await;
    let Err(error) = outcome else { return Ok(()) };
    let denial = sql_error::statement(file, piece, &error);
    Err(if sql_error::is_lock_timeout(&error) {
        Failure::Blocked(sql_error::blocked(file, &denial, blockers.as_deref()))
    } else {
        Failure::Refused(denial)
    })
}

async fn ask(session: &GuardedSession, file: &str, question: &str) -> Result<Answer, Denial> {
    let answer = session.client().simple_query(question).await;
    answer.map_err(|error| sql_error::between(file, &error))
}

/// Requires, before anything is recorded, that it is still the same transaction, that the run's lock
/// is held, and that the ledger is as the run left it.
fn require_whole(
    file: &str,
    checked: &Answer,
    ours: &str,
    before: &LedgerState,
) -> Result<(), Denial> {
    if cell(checked, 0) != Some(ours) {
        return Err(ended_itself(file));
    }
    if cell(checked, 1) != Some("t") {
        return Err(lost_lock(file));
    }
    require_same(before, &ledger_state(checked, 2)?)
}

/// A statement that is cancelled says so itself; this is for the moments between two.
fn interrupted(file: &str) -> Denial {
    let found = format!("`{}`, between two statements", shown(file));
    Denial::new(Code::RunInterrupted, "the run was interrupted", found, "a run to the end")
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
/// what it costs grows with the ledger. Hashing the record as a whole costs twice as much.
fn digest_column() -> String {
    // The comparison has refused rows without a version, a time or a checksum.
    let chain = ["coalesce(h.name, '')", "h.applied_on", "h.checksum"].iter().fold(
        "h.version::pg_catalog.int8".to_owned(),
        |seed, column| {
            format!("pg_catalog.hashtextextended({column}::pg_catalog.text COLLATE pg_catalog.\"C\", {seed})")
        },
    );
    format!(
        "(SELECT pg_catalog.concat(pg_catalog.count(*), ':', pg_catalog.sum({chain})) \
         FROM ONLY {LEDGER} h)"
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

fn not_committed(file: &str, found: Option<&str>) -> Denial {
    Denial::new(
        Code::MigrationTransaction,
        format!("the server did not commit `{}`", shown(file)),
        format!("a transaction that is `{}`", shown(found.unwrap_or("unknown"))),
        "a transaction that is `committed`",
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
