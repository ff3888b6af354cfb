//! refinery's side of a run: its public async traits on a guarded session.
//!
//! refinery decides what is applied in which order and what the ledger row says. How a migration
//! is executed is ours: see [`transaction`].

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use guard::diagnostic::{Code, Denial};
use guard::migration::{Execution, Mode, Piece, pieces};
use refinery::Migration;
use refinery_core::traits::r#async::{AsyncMigrate, AsyncQuery, AsyncTransaction};
use thiserror::Error;

use crate::checksum;
use crate::files::MigrationFile;
use crate::history::{self, HistoryRow, LEDGER};
use crate::limits::Limits;
use crate::progress::Progress;
use crate::session::GuardedSession;
use crate::stepwise::Stepwise;
use crate::trace::Trace;
use crate::transaction::{Failure, Transactions, Work};

/// The first pause before a blocked migration is tried again.
const FIRST_PAUSE: Duration = Duration::from_millis(500);

/// The longest one.
const LONGEST_PAUSE: Duration = Duration::from_secs(8);

/// Returns refinery's own statement that makes the ledger.
pub(crate) fn ledger_table() -> String {
    let statement = Executor::assert_migrations_table_query(LEDGER);
    statement.trim_end_matches(';').to_owned()
}

/// Tells refinery that a query failed; the reason is kept in the executor.
#[derive(Debug, Error)]
#[error("the migration was refused")]
pub(crate) struct Refused;

/// A session that refinery can migrate.
pub(crate) struct Executor<'a> {
    session: &'a GuardedSession,
    files: &'a [MigrationFile],
    pending: VecDeque<(&'a MigrationFile, Execution<'a>)>,
    observer: &'a mut (dyn FnMut(Progress<'_>) + Send),
    refusal: Option<Denial>,
    limits: Limits,
    transactions: Transactions<'a>,
}

impl<'a> Executor<'a> {
    pub(crate) fn new(
        session: &'a GuardedSession,
        files: &'a [MigrationFile],
        pending: Vec<&'a MigrationFile>,
        observer: &'a mut (dyn FnMut(Progress<'_>) + Send),
        limits: Limits,
    ) -> Self {
        let pending = pending.into_iter().map(|file| (file, file.execution())).collect();
        let transactions = Transactions::new(session);
        Self { session, files, pending, observer, refusal: None, limits, transactions }
    }

    /// Lets what each statement does be noted.
    pub(crate) fn traced(mut self, trace: Option<Trace>) -> Self {
        self.transactions = self.transactions.traced(trace);
        self
    }

    /// Returns why the run ended early, in our words if they are known.
    pub(crate) fn into_refusal(self, error: &refinery::Error) -> Denial {
        self.refusal.unwrap_or_else(|| refinery_refused(error))
    }

    fn refuse(&mut self, denial: Denial) -> Refused {
        self.refusal = Some(denial);
        Refused
    }

    async fn create_ledger(&mut self, sql: &str) -> Result<(), Denial> {
        history::run(self.session, sql).await.map(drop)
    }

    async fn apply(&mut self, sql: &str, ledger_row: &str) -> Result<(), Denial> {
        let Some((file, execution)) = self.pending.pop_front() else {
            return Err(defect("refinery applies more than was planned"));
        };
        let (version, name) = (file.migration.version(), file.migration.name());
        let planned = format!("VALUES ({version}, '{name}',");
        if file.migration.sql() != Some(sql) || !ledger_row.contains(&planned) {
            return Err(defect("refinery applies another migration than was planned"));
        }
        (self.observer)(Progress::Started { file });
        let started = Instant::now();
        if let Err(denial) = self.persist(file, &execution, ledger_row).await {
            (self.observer)(Progress::Failed { file, code: denial.code() });
            return Err(denial);
        }
        (self.observer)(Progress::Applied { file, duration: started.elapsed() });
        Ok(())
    }

    /// Tries again while a lock is not free and the budget lasts.
    async fn persist(
        &mut self,
        file: &MigrationFile,
        execution: &Execution<'_>,
        ledger_row: &str,
    ) -> Result<(), Denial> {
        let whole: Vec<Piece<'_>> = match execution.mode {
            Mode::Transaction => pieces(file.text()),
            Mode::Statements => Vec::new(),
        };
        let started = Instant::now();
        let budget = Duration::from_secs(self.limits.retry.into());
        let mut pause = FIRST_PAUSE;
        loop {
            let tried = match execution.mode {
                Mode::Transaction => {
                    let work = Work {
                        file: &file.file,
                        pieces: &whole,
                        ledger_rows: &[ledger_row],
                        traced: Some(0..whole.len()),
                    };
                    self.transactions.run(work, self.next_has_a_transaction()).await
                }
                Mode::Statements => {
                    let transactions = &mut self.transactions;
                    let steps =
                        Stepwise::new(self.session, transactions, file, execution, self.observer);
                    steps.run(ledger_row).await
                }
            };
            let denial = match tried {
                Ok(()) => return Ok(()),
                Err(Failure::Refused(denial)) => return Err(denial),
                Err(Failure::Blocked(denial)) => denial,
            };
            if self.session.stop().is_up() || started.elapsed() + pause >= budget {
                return Err(denial);
            }
            (self.observer)(Progress::Blocked { file, found: denial.found(), pause });
            self.session.stop().pause(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
}

impl Executor<'_> {
    fn next_has_a_transaction(&self) -> bool {
        let next = self.pending.front();
        next.is_some_and(|(_, execution)| execution.mode == Mode::Transaction)
    }
}

/// Explains a refusal that is refinery's own: ours came before.
pub(crate) fn refinery_refused(error: &refinery::Error) -> Denial {
    let found = guard::diagnostic::shown(&error.to_string());
    let message = "refinery refused the run";
    Denial::new(Code::Internal, message, found, "a run that refinery accepts")
}

/// Asks for the rows of the ledger as this build of refinery would have written them: the
/// comparison has found them to be the files', whatever the width of their versions.
pub(crate) async fn applied(
    session: &GuardedSession,
    files: &[MigrationFile],
    query: &str,
) -> Result<Vec<Migration>, Denial> {
    let rows = history::parse(&history::run(session, query).await?)?;
    let as_refinery_has_it = |row: &HistoryRow| {
        let own = files.iter().find(|file| file.migration.version() == row.version);
        let checksum = match own {
            Some(file) if checksum::is_of(&file.migration, row.checksum) => {
                file.migration.checksum()
            }
            _ => row.checksum,
        };
        HistoryRow { checksum, ..row.clone() }.to_migration()
    };
    Ok(rows.iter().filter_map(as_refinery_has_it).collect())
}

pub(crate) fn defect(what: &str) -> Denial {
    Denial::new(
        Code::Internal,
        what,
        "an unplanned call",
        format!("the pending files and `{LEDGER}`"),
    )
}

impl AsyncTransaction for Executor<'_> {
    type Error = Refused;

    async fn execute<'a, T: Iterator<Item = &'a str> + Send + 'a>(
        &'a mut self,
        queries: T,
    ) -> Result<usize, Refused> {
        let queries: Vec<&str> = queries.collect();
        let done = match queries[..] {
            [create_ledger] => self.create_ledger(create_ledger).await,
            [migration, ledger_row] => self.apply(migration, ledger_row).await,
            _ => Err(defect("refinery sends queries of an unknown kind")),
        };
        done.map(|()| queries.len()).map_err(|denial| self.refuse(denial))
    }
}

impl AsyncQuery<Vec<Migration>> for Executor<'_> {
    async fn query<'a>(&'a mut self, query: &'a str) -> Result<Vec<Migration>, Refused> {
        let rows = applied(self.session, self.files, query).await;
        rows.map_err(|denial| self.refuse(denial))
    }
}

impl AsyncMigrate for Executor<'_> {}
