//! refinery's side of a run: its public async traits on a guarded session.
//!
//! refinery decides what is applied in which order and what the ledger row says. How a migration
//! is executed is ours: one transaction, in which the server first says again who it is, and which
//! must still be the same one when the ledger row is written.

use std::collections::VecDeque;
use std::time::Instant;

use guard::diagnostic::{Code, Denial};
use refinery::Migration;
use refinery_core::traits::r#async::{AsyncMigrate, AsyncQuery, AsyncTransaction};
use thiserror::Error;

use crate::files::MigrationFile;
use crate::history::{self, LEDGER};
use crate::live::{self, IDENTITY_COLUMN};
use crate::progress::Progress;
use crate::session::GuardedSession;
use crate::sql_error;

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
    pending: VecDeque<&'a MigrationFile>,
    observer: &'a mut (dyn FnMut(Progress<'_>) + Send),
    refusal: Option<Denial>,
}

impl<'a> Executor<'a> {
    pub(crate) fn new(
        session: &'a GuardedSession,
        pending: Vec<&'a MigrationFile>,
        observer: &'a mut (dyn FnMut(Progress<'_>) + Send),
    ) -> Self {
        Self { session, pending: pending.into(), observer, refusal: None }
    }

    /// Returns why the run ended early, in our words if they are known.
    pub(crate) fn into_refusal(self, error: &refinery::Error) -> Denial {
        self.refusal.unwrap_or_else(|| {
            let found = guard::diagnostic::shown(&error.to_string());
            Denial::new(
                Code::Internal,
                "refinery refused the run",
                found,
                "a run that refinery accepts",
            )
        })
    }

    fn refuse(&mut self, denial: Denial) -> Refused {
        self.refusal = Some(denial);
        Refused
    }

    async fn create_ledger(&mut self, sql: &str) -> Result<(), Denial> {
        self.session.client().batch_execute(sql).await.map_err(|error| history::refused(&error))
    }

    async fn apply(&mut self, sql: &str, ledger_row: &str) -> Result<(), Denial> {
        let Some(file) = self.pending.pop_front() else {
            return Err(defect("refinery applies more than was planned"));
        };
        let (version, name) = (file.migration.version(), file.migration.name());
        let planned = format!("VALUES ({version}, '{name}',");
        if file.migration.sql() != Some(sql) || !ledger_row.contains(&planned) {
            return Err(defect("refinery applies another migration than was planned"));
        }
        (self.observer)(Progress::Started { file });
        let started = Instant::now();
        if let Err(denial) = in_transaction(self.session, &file.file, sql, Some(ledger_row)).await {
            // The connection may be gone, or the transaction ended; either way nothing stays open.
            let _ = self.session.client().batch_execute("ROLLBACK").await;
            (self.observer)(Progress::Failed { file, code: denial.code() });
            return Err(denial);
        }
        (self.observer)(Progress::Applied { file, duration: started.elapsed() });
        Ok(())
    }
}

/// Runs a text that is no migration, such as seed data, in a transaction of its own.
pub(crate) async fn run_script(
    session: &GuardedSession,
    file: &str,
    sql: &str,
) -> Result<(), Denial> {
    in_transaction(session, file, sql, None).await
}

/// Runs one migration and its ledger row in a transaction that must stay the same one.
async fn in_transaction(
    session: &GuardedSession,
    file: &str,
    sql: &str,
    ledger_row: Option<&str>,
) -> Result<(), Denial> {
    let client = session.client();
    let refused = |error: tokio_postgres::Error| sql_error::migration(file, "", &error);
    let begin = format!("BEGIN; SELECT pg_catalog.pg_current_xact_id(), {IDENTITY_COLUMN}");
    let answer = client.simple_query(&begin).await.map_err(refused)?;
    session.still_holds(&live::identity(&answer, 1)?)?;
    let ours = first_column(&answer);
    client.batch_execute(sql).await.map_err(|error| sql_error::migration(file, sql, &error))?;
    let question = "SELECT pg_catalog.pg_current_xact_id_if_assigned()";
    let now = client.simple_query(question).await.map_err(refused)?;
    if ours.is_none() || first_column(&now) != ours {
        return Err(Denial::new(
            Code::MigrationTransaction,
            format!("`{file}` ended its own transaction and was not recorded"),
            "another transaction than the one opened for it",
            "no BEGIN, COMMIT, ROLLBACK or their kind in a migration",
        ));
    }
    if let Some(row) = ledger_row {
        client.batch_execute(row).await.map_err(|error| history::refused(&error))?;
    }
    client.batch_execute("COMMIT").await.map_err(refused)?;
    // Settings, prepared statements and temporary tables end with the migration that made them.
    client.batch_execute("DISCARD ALL").await.map_err(refused)
}

fn first_column(answer: &[tokio_postgres::SimpleQueryMessage]) -> Option<String> {
    let first = live::first_columns(answer).into_iter().next();
    first.filter(|text| !text.is_empty())
}

fn defect(what: &str) -> Denial {
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
        let answer = self.session.client().simple_query(query).await;
        let rows = answer
            .map_err(|error| history::refused(&error))
            .and_then(|answer| history::parse(&answer))
            .map_err(|denial| self.refuse(denial))?;
        Ok(rows.iter().filter_map(history::HistoryRow::to_migration).collect())
    }
}

impl AsyncMigrate for Executor<'_> {}
