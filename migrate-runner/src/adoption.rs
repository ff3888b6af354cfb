//! refinery's side of an adoption: versions are recorded, and nothing of their files is run.
//!
//! refinery decides which versions are recorded and what their rows say (its target "fake"). The
//! rows are written in one transaction of the guarded session, or none of them is.

use guard::diagnostic::Denial;
use refinery::{Migration, Runner, Target};
use refinery_core::traits::r#async::{AsyncMigrate, AsyncQuery, AsyncTransaction};

use crate::executor::{Refused, applied, defect, ledger_table, refinery_refused};
use crate::files::MigrationFile;
use crate::history::{self, LEDGER};
use crate::session::GuardedSession;
use crate::transaction::{Failure, Transactions, Work};

/// Records every file up to a version that the ledger does not hold yet.
///
/// # Errors
/// Refuses as a migration's transaction does, and what refinery does other than was planned.
pub(crate) async fn record(
    session: &GuardedSession,
    files: &[MigrationFile],
    planned: &[i64],
    up_to: i64,
) -> Result<(), Denial> {
    let migrations: Vec<_> = files.iter().map(|file| file.migration.clone()).collect();
    let mut runner = Runner::new(&migrations).set_target(Target::FakeVersion(up_to));
    runner.set_migration_table_name(LEDGER);
    let mut recorder = Recorder { session, files, planned, refusal: None };
    #[expect(
        clippy::disallowed_methods,
        reason = "records without running, with a session's proof; called by a run only"
    )]
    let recording = runner.run_async(&mut recorder);
    // Boxed, because futures within futures are deeper here than the compiler likes to look.
    let recorded = Box::pin(recording).await;
    recorded.map(drop).map_err(|error| recorder.refusal.unwrap_or_else(|| refinery_refused(&error)))
}

/// A session in which refinery can record.
struct Recorder<'a> {
    session: &'a GuardedSession,
    files: &'a [MigrationFile],
    planned: &'a [i64],
    refusal: Option<Denial>,
}

impl Recorder<'_> {
    async fn write(&self, queries: &[&str]) -> Result<(), Denial> {
        if queries.len() == 1 && queries[0].trim_end_matches(';') == ledger_table() {
            return history::run(self.session, queries[0]).await.map(drop);
        }
        let inserts = |(query, version): (&&str, &i64)| {
            let row = format!("INSERT INTO {LEDGER} (version, name, applied_on, checksum) VALUES ");
            query.starts_with(&format!("{row}({version}, "))
        };
        let as_planned =
            queries.len() == self.planned.len() && queries.iter().zip(self.planned).all(inserts);
        if !as_planned {
            return Err(defect("refinery records other versions than were planned"));
        }
        let work = Work { file: "adopt", pieces: &[], ledger_rows: queries, traced: None };
        Transactions::new(self.session).run(work, false).await.map_err(Failure::into_denial)
    }
}

impl AsyncTransaction for Recorder<'_> {
    type Error = Refused;

    async fn execute<'a, T: Iterator<Item = &'a str> + Send + 'a>(
        &'a mut self,
        queries: T,
    ) -> Result<usize, Refused> {
        let queries: Vec<&str> = queries.collect();
        match self.write(&queries).await {
            Ok(()) => Ok(queries.len()),
            Err(denial) => {
                self.refusal = Some(denial);
                Err(Refused)
            }
        }
    }
}

impl AsyncQuery<Vec<Migration>> for Recorder<'_> {
    async fn query<'a>(&'a mut self, query: &'a str) -> Result<Vec<Migration>, Refused> {
        applied(self.session, self.files, query).await.map_err(|denial| {
            self.refusal = Some(denial);
            Refused
        })
    }
}

impl AsyncMigrate for Recorder<'_> {}
