//! Watches the transactions of a run and notes what each statement did.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use guard::diagnostic::Denial;
use guard::migration::Piece;
use tokio_postgres::{Client, Error};

use super::look::{self, Look, Seen};
use super::record::{Index, Lock, Migration, Mode, Relation, Rows, Statement, Touched};
use crate::sql_error;

/// What a run and whoever reports it share.
#[derive(Debug, Clone, Default)]
pub(crate) struct Trace(Arc<Mutex<Tracer>>);

#[derive(Debug, Default)]
struct Tracer {
    /// The files to watch.
    files: BTreeSet<String>,
    /// The relations that were there before the first of them.
    before: Option<BTreeSet<u32>>,
    /// What is known about every relation that was ever seen.
    known: BTreeMap<u32, Seen>,
    open: Option<Open>,
    done: Vec<Migration>,
}

/// A transaction that is under way.
#[derive(Debug)]
struct Open {
    file: String,
    started: Instant,
    held: BTreeMap<u32, BTreeSet<Mode>>,
    counted: BTreeMap<u32, Rows>,
    /// Each statement, and when it began.
    statements: Vec<(Instant, Statement)>,
}

impl Trace {
    /// Watches these files; other ones only change what is there.
    pub(super) fn watch(&self, files: impl Iterator<Item = String>) {
        self.tracer().files = files.collect();
    }

    /// Nothing is noted in halves, so a panic elsewhere leaves what was noted as it was.
    fn tracer(&self) -> MutexGuard<'_, Tracer> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins to watch the transaction of a file.
    ///
    /// # Errors
    /// Refuses when the server cannot be asked.
    pub(crate) async fn begin(&self, client: &Client, file: &str) -> Result<(), Denial> {
        let is_first = {
            let mut tracer = self.tracer();
            tracer.open = tracer.files.contains(file).then(|| Open::new(file));
            tracer.open.is_some() && tracer.before.is_none()
        };
        if is_first {
            let look = look::all(client).await.map_err(|error| sql_error::between(file, &error))?;
            self.tracer().start(look);
        }
        Ok(())
    }

    /// Asks what the transaction holds; none when it is not watched.
    pub(crate) async fn look(&self, client: &Client) -> Option<Result<Look, Error>> {
        let is_watched = self.tracer().open.is_some();
        if is_watched { Some(look::locked(client).await) } else { None }
    }

    /// Notes what a statement did, by a look behind it.
    pub(crate) fn note(&self, piece: &Piece<'_>, time: (Instant, Duration), look: Look) {
        self.tracer().note(piece, time, look);
    }

    /// Notes that the transaction is committed, and its locks are free.
    pub(crate) fn committed(&self) {
        let mut tracer = self.tracer();
        let done = tracer.open.take().map(Open::close);
        tracer.done.extend(done);
    }

    /// Takes what was noted of every committed file.
    pub(super) fn take(&self) -> Vec<Migration> {
        std::mem::take(&mut self.tracer().done)
    }
}

impl Tracer {
    fn start(&mut self, look: Look) {
        self.before = Some(look.keys().copied().collect());
        if let Some(open) = &mut self.open {
            open.counted = look.iter().map(|(number, seen)| (*number, seen.rows)).collect();
        }
        self.known = look;
    }

    fn note(&mut self, piece: &Piece<'_>, (started, duration): (Instant, Duration), look: Look) {
        let (Some(open), Some(before)) = (&mut self.open, &self.before) else { return };
        let mut statement = Statement {
            number: piece.number,
            line: piece.line,
            column: piece.column,
            summary: piece.summary.clone(),
            duration_ms: duration.as_millis(),
            locks: Vec::new(),
            rewrites: Vec::new(),
            indexes: Vec::new(),
            rows: Vec::new(),
        };
        for (number, mut seen) in look {
            let known = self.known.get(&number);
            // Production knows it by the name that it had.
            let relation = known.and_then(|known| known.relation.clone()).or(seen.relation.clone());
            let Some(relation) = relation else { continue };
            let held = open.held.entry(number).or_default();
            let counted = open.counted.insert(number, seen.rows).unwrap_or_default();
            let is_anew = known.is_none_or(|known| known.file != seen.file) && seen.file > 0;
            let table = self.known.get(&seen.table).filter(|_| seen.table != number);
            let table = table.and_then(|table| table.relation.as_ref()).map(|table| &table.name);
            if before.contains(&number) {
                let taken = seen.modes.difference(held);
                statement.locks.extend(taken.map(|mode| lock(&relation, table, *mode)));
                let rows = seen.rows.since(counted);
                if rows.touched() > 0 {
                    statement.rows.push(Touched { relation: relation.name.clone(), rows });
                }
                if is_anew && ROWS.contains(&relation.kind) {
                    statement.rewrites.push(relation.name.clone());
                }
            }
            if let Some(table) = table
                && is_anew
                && before.contains(&seen.table)
            {
                let (index, table) = (relation.name.clone(), table.clone());
                statement.indexes.push(Index { index, table });
            }
            held.extend(&seen.modes);
            // Once it is dropped, what it was is known from before only.
            seen.relation = seen.relation.or(Some(relation));
            self.known.insert(number, seen);
        }
        open.statements.push((started, statement));
    }
}

/// The kinds of relations that have rows of their own.
const ROWS: [&str; 2] = ["table", "materialized view"];

fn lock(relation: &Relation, table: Option<&String>, mode: Mode) -> Lock {
    let (relation, table) = (relation.clone(), table.cloned());
    Lock { relation, table, mode, waits: mode.waits(), held_ms: 0 }
}

impl Open {
    fn new(file: &str) -> Self {
        Self {
            file: file.to_owned(),
            started: Instant::now(),
            held: BTreeMap::new(),
            counted: BTreeMap::new(),
            statements: Vec::new(),
        }
    }

    /// Ends the transaction: whatever it held, it held until now.
    fn close(self) -> Migration {
        let Self { file, started, statements, .. } = self;
        let close = |(began, mut statement): (Instant, Statement)| {
            statement.locks.iter_mut().for_each(|lock| lock.held_ms = began.elapsed().as_millis());
            statement
        };
        let statements = statements.into_iter().map(close).collect();
        Migration { file, duration: started.elapsed(), statements }
    }
}

#[cfg(test)]
mod tests {
    use guard::migration::pieces;

    use super::*;

    fn now() -> (Instant, Duration) {
        (Instant::now(), Duration::ZERO)
    }

    fn table(file: u32, modes: &[Mode], scanned: u64) -> Seen {
        let relation = Relation::new("public", "users", "r");
        let (modes, rows) = (modes.iter().copied().collect(), Rows { scanned, written: 0 });
        Seen { modes, relation, file, table: 1, rows }
    }

    #[test]
    fn a_statement_is_what_changed_since_the_one_before() {
        let mut tracer = Tracer { open: Some(Open::new("V1__a.sql")), ..Tracer::default() };
        tracer.start([(1, table(10, &[], 5))].into());
        let pieces = pieces("SELECT 1; SELECT 2; SELECT 3");
        let both = [Mode::AccessShare, Mode::AccessExclusive];
        let looks =
            [table(10, &[Mode::AccessShare], 5), table(11, &both, 25), table(11, &both, 25)];
        for (index, seen) in looks.into_iter().enumerate() {
            tracer.note(&pieces[index], now(), [(1, seen)].into());
        }
        let statements = tracer.open.take().map(Open::close).unwrap().statements;
        let modes = |index: usize| -> Vec<Mode> {
            statements[index].locks.iter().map(|lock| lock.mode).collect()
        };
        assert_eq!(modes(0), [Mode::AccessShare]);
        assert_eq!(modes(1), [Mode::AccessExclusive]);
        assert_eq!(modes(2), []);
        let rewrites: Vec<usize> = statements.iter().map(|one| one.rewrites.len()).collect();
        assert_eq!(rewrites, [0, 1, 0]);
        let rows: Vec<u64> = statements
            .iter()
            .map(|one| one.rows.iter().map(|touched| touched.rows.scanned).sum())
            .collect();
        assert_eq!(rows, [0, 20, 0]);
    }

    #[test]
    fn what_the_run_made_is_nobodys_business() {
        let mut tracer = Tracer { open: Some(Open::new("V1__a.sql")), ..Tracer::default() };
        tracer.start(Look::new());
        let made = table(10, &[Mode::AccessExclusive], 9);
        tracer.note(&pieces("SELECT 1")[0], now(), [(1, made)].into());
        let statement = &tracer.open.take().map(Open::close).unwrap().statements[0];
        assert!(statement.locks.is_empty() && statement.rewrites.is_empty());
        assert!(statement.rows.is_empty() && statement.indexes.is_empty());
    }
}
