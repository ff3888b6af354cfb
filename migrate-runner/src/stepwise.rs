//! A migration that runs statement by statement, and goes on where it stopped.
//!
//! A statement that may have a transaction has one, in which it is also noted as done. One that may
//! not is noted before it runs and again afterwards; when a run finds only the first note, it looks
//! at what the statement was to change. Indexes that it left invalid are dropped first.

mod remains;

use std::ops::Range;

use guard::diagnostic::{Code, Denial};
use guard::migration::{Alone, Execution, Need, Piece, Step};
use tokio_postgres::SimpleQueryMessage;

use crate::files::MigrationFile;
use crate::half_applied::{self, HalfApplied};
use crate::history;
use crate::progress::Progress;
use crate::session::GuardedSession;
use crate::sql_error;
use crate::trace::Solo;
use crate::transaction::{Failure, Transactions, Work, statement};

use remains::{Index, Verdict};

/// One try of one migration.
pub(crate) struct Stepwise<'a, 'r> {
    session: &'a GuardedSession,
    transactions: &'r mut Transactions<'a>,
    file: &'r MigrationFile,
    steps: &'r [Step<'r>],
    observer: &'r mut (dyn FnMut(Progress<'_>) + Send),
}

impl<'a, 'r> Stepwise<'a, 'r> {
    pub(crate) fn new(
        session: &'a GuardedSession,
        transactions: &'r mut Transactions<'a>,
        file: &'r MigrationFile,
        execution: &'r Execution<'r>,
        observer: &'r mut (dyn FnMut(Progress<'_>) + Send),
    ) -> Self {
        Self { session, transactions, file, steps: &execution.steps, observer }
    }

    /// Runs what has not run yet, and records the migration.
    ///
    /// # Errors
    /// As [`Transactions::run`]; the statements before the one that failed stay.
    pub(crate) async fn run(mut self, ledger_row: &str) -> Result<(), Failure> {
        if let Some(trace) = self.transactions.trace() {
            trace.file(self.session.client(), &self.file.file).await?;
        }
        let half = history::read(self.session).await?.half_applied;
        if let Some(half) = &half {
            self.announce(half)?;
        }
        for step in self.steps {
            let number = step.piece.number;
            let is_done = half.as_ref().is_some_and(|half| half.done.contains(&number));
            match &step.need {
                Need::Repetition => {}
                _ if is_done => self.ran_earlier(step),
                Need::Transaction => self.in_transaction(step).await?,
                Need::Solitude(alone) => self.by_itself(step, alone, half.as_ref()).await?,
            }
        }
        let forget = half_applied::drop();
        let forget = note(&forget, self.steps.last().map_or(1, |step| step.piece.number));
        self.transact(&[forget], &[ledger_row], None).await
    }

    /// What ran before this run cannot be watched any more.
    fn ran_earlier(&self, step: &Step<'_>) {
        if let Some(trace) = self.transactions.trace() {
            trace.ran_earlier(&self.file.file, &step.piece);
        }
    }

    fn announce(&mut self, half: &HalfApplied) -> Result<(), Denial> {
        let version = self.file.migration.version();
        if !half.is_of(version, &self.file.sha256) {
            return Err(half_applied::changed(half, Some(&self.file.file)));
        }
        let of = self.steps.len();
        let statement = half.next(self.steps).unwrap_or(of + 1);
        (self.observer)(Progress::Resumed { file: self.file, statement, of });
        Ok(())
    }

    async fn in_transaction(&mut self, step: &Step<'_>) -> Result<(), Failure> {
        let done = self.done(step);
        let mut pieces = self.settings(step);
        let own = pieces.len();
        pieces.extend([step.piece.clone(), note(&done, step.piece.number)]);
        self.transact(&pieces, &[], Some(own..own + 1)).await
    }

    async fn by_itself(
        &mut self,
        step: &Step<'_>,
        alone: &Alone,
        half: Option<&HalfApplied>,
    ) -> Result<(), Failure> {
        let number = step.piece.number;
        let running = half.and_then(|half| half.running.as_ref());
        let running = running.filter(|running| running.statement == number);
        // They say where names are looked for, also in the questions about what is left.
        self.say_settings(step).await?;
        self.repair(step, alone, running.is_some()).await?;
        let mut text = step.piece.text.to_owned();
        if let Some(running) = running {
            let now = self.look(&remains::state(alone)).await?;
            match remains::judge(alone, running.before.as_deref(), now.as_deref()) {
                Verdict::Done => {
                    self.ran_earlier(step);
                    return self.note_done(step).await;
                }
                Verdict::Finalize(finalize) => text = finalize,
                Verdict::Again => {}
            }
        }
        self.note_begun(step, alone).await?;
        self.say_settings(step).await?;
        let outcome = self.send_watched(&Piece { text: &text, ..step.piece.clone() }, alone).await;
        if let Err(failure) = outcome {
            return Err(self.with_invalid(failure, alone).await);
        }
        let invalid = self.invalid(alone).await?;
        if !invalid.is_empty() {
            let found = format!("statement {number} left {}", remains::names(&invalid));
            return Err(failed(self.file, &found).into());
        }
        self.note_done(step).await
    }

    /// Drops the invalid indexes that an earlier try left; one that has the name of an index that is
    /// to be made is of no use to anybody either.
    async fn repair(&mut self, step: &Step<'_>, alone: &Alone, again: bool) -> Result<(), Failure> {
        if !again && !matches!(alone, Alone::CreateIndex { .. }) {
            return Ok(());
        }
        for index in self.invalid(alone).await? {
            let text = index.drop_statement();
            let summary = text.clone();
            self.send(&Piece { text: &text, summary, ..step.piece.clone() }).await?;
            (self.observer)(Progress::IndexDropped { file: self.file, index: &index.to_string() });
        }
        Ok(())
    }

    async fn invalid(&mut self, alone: &Alone) -> Result<Vec<Index>, Denial> {
        let Some(question) = remains::invalid_indexes(alone) else { return Ok(Vec::new()) };
        Ok(remains::indexes(&self.ask(&question).await?))
    }

    /// Names the invalid indexes that a failed statement left, if the server still answers.
    async fn with_invalid(&mut self, failure: Failure, alone: &Alone) -> Failure {
        // A signal has cancelled what ran; the connection is free to answer.
        let invalid = self.invalid(alone).await.unwrap_or_default();
        if invalid.is_empty() {
            return failure;
        }
        let left = format!("; left {}", remains::names(&invalid));
        failure.map(|denial| {
            let found = format!("{}{left}", denial.found());
            Denial::new(denial.code(), denial.message(), found, denial.expected())
        })
    }

    async fn look(&mut self, state: &str) -> Result<Option<String>, Denial> {
        let answer = self.ask(&format!("SELECT {state}")).await?;
        Ok(crate::live::cell(&answer, 0).map(ToOwned::to_owned))
    }

    async fn ask(&mut self, question: &str) -> Result<Vec<SimpleQueryMessage>, Denial> {
        history::run(self.session, question).await
    }

    /// Says the settings in front of a statement outside of any transaction.
    async fn say_settings(&mut self, step: &Step<'_>) -> Result<(), Failure> {
        for setting in self.settings(step) {
            self.send(&setting).await?;
        }
        Ok(())
    }

    async fn note_begun(&mut self, step: &Step<'_>, alone: &Alone) -> Result<(), Failure> {
        let (version, number) = (self.file.migration.version(), step.piece.number);
        let state = remains::state(alone);
        let begin = half_applied::begin(version, number, &self.file.sha256, &state);
        let begin = format!("{}; {begin}", half_applied::create());
        let mut pieces = self.settings(step);
        pieces.push(note(&begin, number));
        self.transact(&pieces, &[], None).await
    }

    async fn note_done(&mut self, step: &Step<'_>) -> Result<(), Failure> {
        let done = self.done(step);
        self.transact(&[note(&done, step.piece.number)], &[], None).await
    }

    fn done(&self, step: &Step<'_>) -> String {
        let (version, number) = (self.file.migration.version(), step.piece.number);
        let end = half_applied::end(version, number, &self.file.sha256);
        format!("{}; {end}", half_applied::create())
    }

    /// The settings that stand in front of a statement; the session forgets them after each one.
    fn settings(&self, step: &Step<'_>) -> Vec<Piece<'r>> {
        let before = self.steps.iter().take_while(|s| s.piece.number < step.piece.number);
        let settings = before.filter(|step| step.need == Need::Repetition);
        settings.map(|step| step.piece.clone()).collect()
    }

    async fn send(&mut self, piece: &Piece<'_>) -> Result<(), Failure> {
        let sent = statement(self.session, &self.file.file, piece).await;
        sent.map_err(|failure| half_way(self.file, failure))
    }

    /// Sends a statement of the file that runs in no transaction; in a traced run it is watched.
    async fn send_watched(&mut self, piece: &Piece<'_>, alone: &Alone) -> Result<(), Failure> {
        let (session, file) = (self.session, &self.file.file);
        let Some(trace) = self.transactions.trace().filter(|trace| trace.watches(file)) else {
            return self.send(piece).await;
        };
        let half_way = |denial: Denial| half_way(self.file, denial.into());
        let solo = Solo::begin(trace.clone(), session, file, alone).await;
        let mut solo = solo.map_err(half_way)?;
        solo.over(self.send(piece)).await?;
        solo.end(piece).await.map_err(half_way)
    }

    async fn transact(
        &mut self,
        pieces: &[Piece<'_>],
        rows: &[&str],
        traced: Option<Range<usize>>,
    ) -> Result<(), Failure> {
        let work = Work { file: &self.file.file, pieces, ledger_rows: rows, traced };
        let ran = self.transactions.run(work, false).await;
        ran.map_err(|failure| half_way(self.file, failure))
    }
}

/// A statement of ours, sent behind or before one of the file's.
fn note(text: &str, number: usize) -> Piece<'_> {
    let summary = "the note about how far the migration came".to_owned();
    Piece { text, number, line: 1, column: 1, summary }
}

/// Says that what ran before stays.
fn half_way(file: &MigrationFile, failure: Failure) -> Failure {
    failure.map(|denial| match denial.code() {
        Code::MigrationFailed => failed(file, denial.found()),
        Code::MigrationBlocked => sql_error::blocked_half_way(&file.file, &denial),
        _ => denial,
    })
}

fn failed(file: &MigrationFile, found: &str) -> Denial {
    sql_error::failed_half_way(&file.file, found)
}
