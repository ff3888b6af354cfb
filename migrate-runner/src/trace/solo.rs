//! A statement that runs in no transaction, watched: a look before and behind it, and a second
//! session that sees which locks it asks for.

use std::time::{Duration, Instant};

use guard::diagnostic::Denial;
use guard::migration::{Alone, Piece};
use tokio_postgres::{Client, Error};

use super::look::{self, Look};
use super::stages::{self, Plan, Unseen};
use super::tracer::Trace;
use super::witness::{Sight, Witness};
use crate::live::cell;
use crate::session::GuardedSession;
use crate::sql_error;

/// One statement under watch.
pub(crate) struct Solo<'a> {
    trace: Trace,
    session: &'a GuardedSession,
    file: String,
    before: Look,
    witness: Option<Witness>,
    sight: Sight,
    duration: Duration,
}

impl<'a> Solo<'a> {
    /// Looks before a statement and takes the places where it will be stopped.
    ///
    /// # Errors
    /// Refuses when the server cannot be asked; that its locks will not be seen is no error.
    pub(crate) async fn begin(
        trace: Trace,
        session: &'a GuardedSession,
        file: &str,
        alone: &Alone,
    ) -> Result<Self, Denial> {
        let client = session.client();
        let asked = async {
            let before = look::totals(client).await?;
            let plan = stages::plan(client, alone, |number| trace.was_there(number)).await?;
            Ok((before, plan, lock_timeout(client).await?))
        };
        let refused = |error: Error| sql_error::between(file, &error);
        let (before, plan, lock_timeout) = asked.await.map_err(refused)?;
        let Plan { stages, unseen } = plan;
        let mut sight = Sight { unseen, ..Sight::default() };
        let witness = match stages.is_empty() {
            true => None,
            false => match Witness::take(session, stages, lock_timeout).await {
                Ok(witness) => Some(witness),
                Err(unseen) => {
                    sight.unseen = Some(unseen);
                    None
                }
            },
        };
        let (file, duration) = (file.to_owned(), Duration::ZERO);
        Ok(Self { trace, session, file, before, witness, sight, duration })
    }

    /// Runs the statement.
    pub(crate) async fn over<T>(&mut self, statement: impl Future<Output = T>) -> T {
        let started = Instant::now();
        let Some(witness) = self.witness.take() else {
            let done = statement.await;
            self.duration = started.elapsed();
            return done;
        };
        // What a plan leaves out stays left out.
        let unseen: Option<Unseen> = self.sight.unseen;
        let timed = async { (statement.await, started.elapsed()) };
        let ((done, duration), sight) = witness.over(self.session.pid(), timed).await;
        self.duration = duration.saturating_sub(sight.stopped);
        self.sight = Sight { unseen: sight.unseen.or(unseen), ..sight };
        done
    }

    /// Looks behind a statement that came to its end, and notes what it did.
    ///
    /// # Errors
    /// Refuses when the server cannot be asked.
    pub(crate) async fn end(self, piece: &Piece<'_>) -> Result<(), Denial> {
        let Self { trace, session, file, before, sight, duration, .. } = self;
        let after = look::totals(session.client()).await;
        let after = after.map_err(|error| sql_error::between(&file, &error))?;
        trace.note_alone(&file, (piece, duration), (before, after), &sight);
        Ok(())
    }
}

/// How long the session waits for a lock; zero is without end.
async fn lock_timeout(client: &Client) -> Result<Duration, Error> {
    let question = "SELECT s.setting FROM pg_catalog.pg_settings s \
                    WHERE s.name OPERATOR(pg_catalog.=) 'lock_timeout'";
    let answer = client.simple_query(question).await?;
    let milliseconds = cell(&answer, 0).and_then(|setting| setting.parse().ok());
    Ok(Duration::from_millis(milliseconds.unwrap_or_default()))
}
