//! One run: a session and a set of files, consumed together.

use std::collections::BTreeSet;

use guard::diagnostic::{Code, Denial};
use refinery::Runner;

use crate::adoption;
use crate::comparison::{Comparison, Entry, State};
use crate::executor::Executor;
use crate::files::{MigrationFile, MigrationSet};
use crate::half_applied;
use crate::history::{self, LEDGER};
use crate::lease::LeasedAct;
use crate::limits::Limits;
use crate::progress::Progress;
use crate::run_lock;
use crate::session::GuardedSession;
use crate::trace::Trace;

/// A run that may begin: it owns a session, and so the proof that the database is the slot's own.
///
/// ```no_run
/// # async fn example(
/// #     session: migrate_runner::session::GuardedSession, set: migrate_runner::files::MigrationSet,
/// # ) -> Result<(), guard::diagnostic::Denial> {
/// use migrate_runner::run::MigrationRun;
/// MigrationRun::new(session, set).apply(&mut |_| {}).await?;
/// # Ok(()) }
/// ```
///
/// Without the session's proof there is no run, and a run happens once:
///
/// ```compile_fail
/// # async fn example(
/// #     session: guard::verify::VerifiedTarget, set: migrate_runner::files::MigrationSet,
/// # ) -> Result<(), guard::diagnostic::Denial> {
/// use migrate_runner::run::MigrationRun;
/// MigrationRun::new(session, set).apply(&mut |_| {}).await?;
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct MigrationRun {
    session: GuardedSession,
    set: MigrationSet,
    limits: Limits,
    act: Option<LeasedAct>,
    trace: Option<Trace>,
}

/// What a run did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The versions that were applied, in order.
    pub applied: Vec<i64>,
}

/// What an adoption recorded or would record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Adopted {
    /// The versions that are recorded, in order.
    pub recorded: Vec<Entry>,
    /// The versions that stay pending.
    pub pending: Vec<Entry>,
}

impl MigrationRun {
    /// Joins a session and a set of files.
    #[must_use]
    pub fn new(session: GuardedSession, set: MigrationSet) -> Self {
        Self { session, set, limits: Limits::default(), act: None, trace: None }
    }

    /// Replaces the waits of the run.
    #[must_use]
    pub fn within(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Holds the slot for the run, under its lease where it is claimed.
    #[must_use]
    pub fn under(mut self, act: Option<LeasedAct>) -> Self {
        self.act = act;
        self
    }

    /// Notes what each statement does.
    pub(crate) fn traced(mut self, trace: Option<Trace>) -> Self {
        self.trace = trace;
        self
    }

    /// Compares the files with the ledger, changing nothing.
    ///
    /// # Errors
    /// Refuses a ledger that cannot be read.
    pub async fn compare(&self) -> Result<Comparison, Denial> {
        let history = history::read(&self.session).await?;
        Ok(Comparison::new(&self.set, &history))
    }

    /// Returns the files that a comparison found pending, in order.
    pub(crate) fn pending(&self, comparison: &Comparison) -> Vec<&MigrationFile> {
        let versions: BTreeSet<i64> =
            comparison.in_state(State::Pending).map(|entry| entry.version).collect();
        let is_pending = |file: &&MigrationFile| versions.contains(&file.migration.version());
        self.set.files().iter().filter(is_pending).collect()
    }

    /// Applies everything that is pending, one transaction for each migration that may have one.
    ///
    /// # Errors
    /// Refuses before anything runs when another run does not end, and when files and ledger
    /// disagree; afterwards stops at the first migration that fails, leaving the ones before it
    /// applied.
    pub async fn apply(
        self,
        observer: &mut (dyn FnMut(Progress<'_>) + Send),
    ) -> Result<Outcome, Denial> {
        let outcome = self.apply_locked(observer).await;
        outcome.map_err(|denial| self.or_interrupted(denial))
    }

    /// Whatever failed after somebody asked to stop, failed for that reason.
    fn or_interrupted(&self, denial: Denial) -> Denial {
        if !self.session.stop().is_up() {
            return denial;
        }
        let message = match denial.code() {
            Code::StatementFailed => {
                "interrupted; what ran stays, and the next run goes on from there"
            }
            _ => "interrupted; the migration that ran is rolled back, the ones before it stay",
        };
        Denial::new(Code::RunInterrupted, message, denial.found(), "a run to the end")
    }

    /// Returns what [`MigrationRun::adopt`] would record, changing nothing.
    ///
    /// # Errors
    /// As [`MigrationRun::compare`], and when files and ledger disagree.
    pub async fn adoptable(&self, up_to: i64) -> Result<Adopted, Denial> {
        let comparison = self.compare().await?;
        if let Some(problem) = comparison.problems().into_iter().next() {
            return Err(problem);
        }
        if let Some(half) = comparison.half_applied() {
            return Err(half_applied::unfinished(half));
        }
        let (recorded, pending) = comparison
            .in_state(State::Pending)
            .cloned()
            .partition(|entry: &Entry| entry.version <= up_to);
        Ok(Adopted { recorded, pending })
    }

    /// Records every pending version up to one as applied, without running it: all or none.
    ///
    /// # Errors
    /// Refuses when another run does not end and when files and ledger disagree.
    pub async fn adopt(
        self,
        up_to: i64,
        observer: &mut (dyn FnMut(Progress<'_>) + Send),
    ) -> Result<Adopted, Denial> {
        let adopted = self.adopt_locked(up_to, observer).await;
        adopted.map_err(|denial| self.or_interrupted(denial))
    }

    async fn adopt_locked(
        &self,
        up_to: i64,
        observer: &mut (dyn FnMut(Progress<'_>) + Send),
    ) -> Result<Adopted, Denial> {
        run_lock::take(&self.session, &self.limits, observer).await?;
        let adopted = self.adopt_alone(up_to).await;
        run_lock::release(&self.session).await;
        adopted
    }

    async fn adopt_alone(&self, up_to: i64) -> Result<Adopted, Denial> {
        let adopted = self.adoptable(up_to).await?;
        let versions: Vec<i64> = adopted.recorded.iter().map(|entry| entry.version).collect();
        if !versions.is_empty() {
            adoption::record(&self.session, self.set.files(), &versions, up_to).await?;
        }
        Ok(adopted)
    }

    async fn apply_locked(
        &self,
        observer: &mut (dyn FnMut(Progress<'_>) + Send),
    ) -> Result<Outcome, Denial> {
        run_lock::take(&self.session, &self.limits, observer).await?;
        // The lease may have expired while another run was waited for.
        let outcome = match self.act.as_ref().map_or(Ok(()), LeasedAct::recheck) {
            Ok(()) => self.apply_alone(observer).await,
            Err(denial) => Err(denial),
        };
        run_lock::release(&self.session).await;
        outcome
    }

    /// Applies while the lock of the run is held.
    async fn apply_alone(
        &self,
        observer: &mut (dyn FnMut(Progress<'_>) + Send),
    ) -> Result<Outcome, Denial> {
        let comparison = self.compare().await?;
        if let Some(problem) = comparison.problems().into_iter().next() {
            return Err(problem);
        }
        let pending = self.pending(&comparison);
        let applied = pending.iter().map(|file| file.migration.version()).collect();
        if pending.is_empty() {
            return Ok(Outcome { applied });
        }
        let migrations: Vec<_> =
            self.set.files().iter().map(|file| file.migration.clone()).collect();
        let mut runner = Runner::new(&migrations);
        runner.set_migration_table_name(LEDGER);
        let mut executor =
            Executor::new(&self.session, self.set.files(), pending, observer, self.limits)
                .traced(self.trace.clone());
        #[expect(
            clippy::disallowed_methods,
            reason = "the one place that runs refinery, with a session's proof"
        )]
        let running = runner.run_async(&mut executor);
        // Boxed, because futures within futures are deeper here than the compiler likes to look.
        let ran = Box::pin(running).await;
        match ran {
            Ok(_) => Ok(Outcome { applied }),
            Err(error) => Err(executor.into_refusal(&error)),
        }
    }
}
