//! Watches a run and notes what each statement did.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use guard::diagnostic::Denial;
use guard::migration::Piece;
use tokio_postgres::{Client, Error};

use super::difference::difference;
use super::look::{self, Look, Seen};
use super::record::{Earlier, Index, Lock, Migration, Mode, Relation, Rows, Statement, Touched};
use super::witness::Sight;
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
    dropped: BTreeSet<u32>,
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

    /// Returns whether a file is watched.
    pub(crate) fn watches(&self, file: &str) -> bool {
        self.tracer().files.contains(file)
    }

    /// Returns whether a relation was there before the run.
    pub(super) fn was_there(&self, number: u32) -> bool {
        self.tracer().before.as_ref().is_some_and(|before| before.contains(&number))
    }

    /// Begins to watch a file that runs statement by statement.
    ///
    /// # Errors
    /// Refuses when the server cannot be asked.
    pub(crate) async fn file(&self, client: &Client, file: &str) -> Result<(), Denial> {
        if !self.watches(file) {
            return Ok(());
        }
        if self.tracer().before.is_none() {
            let look = look::all(client).await.map_err(|error| sql_error::between(file, &error))?;
            self.tracer().start(look);
        }
        self.tracer().add(Migration::begun(file));
        Ok(())
    }

    /// Notes that a statement of a file ran before this run, unless it is known to have run in it.
    pub(crate) fn ran_earlier(&self, file: &str, piece: &Piece<'_>) {
        self.tracer().ran_earlier(file, piece);
    }

    /// Notes what a statement in no transaction did, by what was there before and afterwards.
    pub(super) fn note_alone(
        &self,
        file: &str,
        ran: (&Piece<'_>, Duration),
        (before, after): (Look, Look),
        sight: &Sight,
    ) {
        self.tracer().note_alone(file, ran, (before, after), sight);
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
        if let Some(open) = tracer.open.take() {
            tracer.add(open.close());
        }
    }

    /// Forgets a transaction that did nothing; what it counted must not count for the next one.
    pub(crate) async fn rolled_back(&self, client: &Client) {
        self.tracer().open = None;
        // A connection that is gone counts nothing any more.
        let _ = client.simple_query("SELECT pg_catalog.pg_stat_force_next_flush()").await;
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
        let mut statement = Statement::new(piece, duration);
        let mut locks = Vec::new();
        let present: BTreeSet<Relation> =
            look.values().filter_map(|seen| seen.relation.clone()).collect();
        for (number, mut seen) in look {
            let known = self.known.get(&number);
            // Production knows it by the name that it had.
            let relation = known.and_then(|known| known.relation.clone()).or(seen.relation.clone());
            let Some(relation) = relation else { continue };
            let held = open.held.entry(number).or_default();
            let counted = open.counted.insert(number, seen.rows).unwrap_or_default();
            let is_anew = known.is_none_or(|known| known.file != seen.file) && seen.file > 0;
            // What is dropped has no table any more.
            let of = known.filter(|_| seen.relation.is_none()).map_or(seen.table, |old| old.table);
            let table = self.known.get(&of).filter(|_| of != number);
            let table = table.and_then(|table| table.relation.as_ref()).map(|table| &table.name);
            if before.contains(&number) {
                let taken = seen.modes.difference(held);
                locks.extend(taken.map(|mode| Lock::new(&relation, table, *mode)));
                let rows = seen.rows.since(counted);
                if rows.touched() > 0 {
                    statement.rows.push(Touched { relation: relation.name.clone(), rows });
                }
                if is_anew && relation.has_rows() {
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
            // An index that is built anew with its table has another number, and the same name.
            let is_gone = seen.relation.is_none() && !present.contains(&relation);
            if is_gone && before.contains(&number) && open.dropped.insert(number) {
                statement.drops.push(relation.name.clone());
            }
            held.extend(&seen.modes);
            // Once it is dropped, what it was is known from before only.
            seen.relation = seen.relation.or(Some(relation));
            self.known.insert(number, seen);
        }
        statement.locks = Some(locks);
        open.statements.push((started, statement));
    }

    fn note_alone(
        &mut self,
        file: &str,
        ran: (&Piece<'_>, Duration),
        (then, now): (Look, Look),
        sight: &Sight,
    ) {
        let Some(before) = &mut self.before else { return };
        let statement = difference(ran, (&then, &now), before, sight);
        self.known.extend(now);
        let (duration, statements) = (ran.1, vec![statement]);
        self.add(Migration { duration, statements, ..Migration::begun(file) });
    }

    fn ran_earlier(&mut self, file: &str, piece: &Piece<'_>) {
        let Piece { number, line, column, summary, .. } = piece.clone();
        let Some(done) = self.done.iter_mut().find(|done| done.file == file) else { return };
        let is_known = done.statements.iter().any(|statement| statement.number == number)
            || done.earlier.iter().any(|earlier| earlier.number == number);
        if !is_known {
            done.earlier.push(Earlier { number, line, column, summary });
        }
    }

    /// Adds to what is known of a file; a statement that ran again counts as it ran at last.
    fn add(&mut self, new: Migration) {
        let Some(known) = self.done.iter_mut().find(|known| known.file == new.file) else {
            self.done.push(new);
            return;
        };
        let is_again =
            |old: &Statement| new.statements.iter().any(|statement| statement.number == old.number);
        known.statements.retain(|old| !is_again(old));
        known.duration += new.duration;
        known.statements.extend(new.statements);
    }
}

impl Open {
    fn new(file: &str) -> Self {
        Self {
            file: file.to_owned(),
            started: Instant::now(),
            held: BTreeMap::new(),
            counted: BTreeMap::new(),
            dropped: BTreeSet::new(),
            statements: Vec::new(),
        }
    }

    /// Ends the transaction: whatever it held, it held until now.
    fn close(self) -> Migration {
        let Self { file, started, statements, .. } = self;
        let close = |(began, mut statement): (Instant, Statement)| {
            let locks = statement.locks.iter_mut().flatten();
            locks.for_each(|lock| lock.held_ms = began.elapsed().as_millis());
            statement
        };
        let statements = statements.into_iter().map(close).collect();
        let duration = started.elapsed();
        Migration { file, is_whole: true, duration, statements, earlier: Vec::new() }
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
            statements[index].locks().iter().map(|lock| lock.mode).collect()
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
    fn a_statement_counts_once_and_what_ran_earlier_is_said_once() {
        let mut tracer = Tracer::default();
        tracer.start(Look::new());
        tracer.add(Migration::begun("V1__a.sql"));
        let pieces = pieces("VACUUM; VACUUM; VACUUM");
        let mut ran = |index: usize, ms: u64| {
            let ran = (&pieces[index], Duration::from_millis(ms));
            tracer.note_alone("V1__a.sql", ran, (Look::new(), Look::new()), &Sight::default());
        };
        ran(1, 5);
        ran(1, 7);
        for index in [0, 0, 1] {
            tracer.ran_earlier("V1__a.sql", &pieces[index]);
        }
        let migration = &tracer.done[0];
        let statements: Vec<(usize, u128)> =
            migration.statements.iter().map(|one| (one.number, one.duration_ms)).collect();
        assert_eq!(statements, [(2, 7)]);
        let earlier: Vec<usize> = migration.earlier.iter().map(|one| one.number).collect();
        assert_eq!(earlier, [1]);
    }

    #[test]
    fn what_the_run_made_is_nobodys_business() {
        let mut tracer = Tracer { open: Some(Open::new("V1__a.sql")), ..Tracer::default() };
        tracer.start(Look::new());
        let made = table(10, &[Mode::AccessExclusive], 9);
        tracer.note(&pieces("SELECT 1")[0], now(), [(1, made)].into());
        let statement = &tracer.open.take().map(Open::close).unwrap().statements[0];
        assert!(statement.locks == Some(Vec::new()) && statement.rewrites.is_empty());
        assert!(statement.rows.is_empty() && statement.indexes.is_empty());
    }
}
