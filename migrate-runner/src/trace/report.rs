//! What production would feel: the record of a run joined with its hazards.

use std::collections::BTreeMap;

use guard::diagnostic::Warning;
use serde::Serialize;

use super::record::{Earlier, Migration, Mode, Rows, Statement, Waits};
use crate::finding::Finding;
use crate::report::Place;
use crate::screening::ScreenedFile;

/// The report of one run.
#[derive(Debug, Serialize)]
pub(super) struct Report<'a> {
    schema: &'static str,
    #[serde(flatten)]
    pub(super) place: &'a Place,
    outcome: &'static str,
    /// The versions that were applied.
    pub(super) applied: &'a [i64],
    /// The major version of the server.
    pub(super) server: Option<u32>,
    pub(super) migrations: Vec<Traced<'a>>,
    warnings: &'a [Warning],
}

/// One migration of the report.
#[derive(Debug, Serialize)]
pub(super) struct Traced<'a> {
    pub(super) file: &'a str,
    /// Every migration is, by now; a report of an earlier version may say otherwise.
    watched: bool,
    duration_ms: u128,
    /// For each relation that somebody waits for, what they wait for; the worst first.
    pub(super) feels: Vec<Felt>,
    pub(super) statements: &'a [Statement],
    /// What an earlier run did, of which nothing is known.
    #[serde(skip_serializing_if = "<[Earlier]>::is_empty")]
    pub(super) earlier: &'a [Earlier],
    pub(super) hazards: Vec<&'a Finding>,
}

/// What production would feel of one migration at one relation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Felt {
    pub(super) waits: Waits,
    pub(super) relation: String,
    pub(super) kind: &'static str,
    pub(super) mode: Mode,
    pub(super) held_ms: u128,
    /// Whether it was written anew while the lock was held.
    pub(super) rewritten: bool,
    /// What was done to rows of any table while the lock was held: with more rows, it takes longer.
    #[serde(flatten)]
    pub(super) meanwhile: Rows,
}

impl<'a> Report<'a> {
    /// Joins what was noted of each file with its hazards.
    pub(super) fn new(
        place: &'a Place,
        (applied, server): (&'a [i64], Option<u32>),
        migrations: Vec<&'a Migration>,
        hazards: &'a [ScreenedFile],
        warnings: &'a [Warning],
    ) -> Self {
        let outcome = if applied.is_empty() { "unchanged" } else { "applied" };
        let traced = |record: &'a Migration| {
            let own = hazards.iter().find(|judged| judged.path == record.file);
            Traced {
                file: &record.file,
                watched: true,
                duration_ms: record.duration.as_millis(),
                feels: feels(&record.statements, record.is_whole),
                statements: &record.statements,
                earlier: &record.earlier,
                hazards: own.map_or_else(Vec::new, |judged| judged.findings.iter().collect()),
            }
        };
        let migrations = migrations.into_iter().map(traced).collect();
        let schema = "slotguard.migration-trace/1";
        Self { schema, place, outcome, applied, server, migrations, warnings }
    }

    /// Returns how many hazards there are.
    pub(super) fn hazards(&self) -> usize {
        self.migrations.iter().map(|migration| migration.hazards.len()).sum()
    }
}

impl Traced<'_> {
    /// Returns whether something may have been locked that nobody saw.
    pub(super) fn is_in_part(&self) -> bool {
        !self.earlier.is_empty() || self.statements.iter().any(|one| one.unseen.is_some())
    }
}

/// Sums up statements: in one transaction a lock is held to the end, so what comes behind it counts
/// too.
fn feels(statements: &[Statement], is_whole: bool) -> Vec<Felt> {
    let mut felt: BTreeMap<&str, Felt> = BTreeMap::new();
    for (index, statement) in statements.iter().enumerate() {
        let later = &statements[index..];
        let later = if is_whole { later } else { &later[..1] };
        for lock in statement.locks().iter().filter(|lock| lock.waits > Waits::Nothing) {
            let name = &lock.relation.name;
            let new = Felt {
                waits: lock.waits,
                relation: name.clone(),
                kind: lock.relation.kind,
                mode: lock.mode,
                held_ms: lock.held_ms,
                rewritten: later.iter().any(|one| one.rewrites.contains(name)),
                meanwhile: rows(later),
            };
            let is_stronger = felt.get(name.as_str()).is_none_or(|known| known.mode < lock.mode);
            if is_stronger {
                felt.insert(name, new);
            }
        }
    }
    // Whoever waits for an index waits for its table, unless only the index is locked.
    let of_table = |felt: &BTreeMap<&str, Felt>, index: &Felt| {
        let mut locks = statements.iter().flat_map(Statement::locks);
        let table = locks.find(|lock| lock.relation.name == index.relation)?.table.as_deref()?;
        felt.get(table).filter(|table| table.mode >= index.mode).map(|_| ())
    };
    let mut felt: Vec<Felt> =
        felt.values().filter(|one| of_table(&felt, one).is_none()).cloned().collect();
    felt.sort_by(|a, b| b.waits.cmp(&a.waits).then_with(|| a.relation.cmp(&b.relation)));
    felt
}

fn rows(statements: &[Statement]) -> Rows {
    let all = statements.iter().flat_map(|statement| &statement.rows);
    all.fold(Rows::default(), |sum, touched| Rows {
        scanned: sum.scanned + touched.rows.scanned,
        written: sum.written + touched.rows.written,
    })
}

#[cfg(test)]
mod tests {
    use super::super::record::{Lock, Relation, Touched};
    use super::*;

    fn statement(mode: Option<Mode>, scanned: u64) -> Statement {
        let relation = Relation { name: "users".to_owned(), kind: "table" };
        let lock =
            |mode: Mode| Lock { relation, table: None, mode, waits: mode.waits(), held_ms: 1 };
        let rows = Rows { scanned, written: 0 };
        Statement {
            number: 1,
            line: 1,
            column: 1,
            summary: String::new(),
            duration_ms: 0,
            locks: Some(mode.map(lock).into_iter().collect()),
            unseen: None,
            rewrites: Vec::new(),
            indexes: Vec::new(),
            drops: Vec::new(),
            rows: vec![Touched { relation: "users".to_owned(), rows }],
        }
    }

    #[test]
    fn a_lock_lasts_to_the_end_and_what_runs_meanwhile_is_waited_for() {
        let strong = Some(Mode::AccessExclusive);
        let scanned = |statements: &[Statement]| {
            feels(statements, true).iter().map(|felt| felt.meanwhile.scanned).collect::<Vec<_>>()
        };
        assert_eq!(scanned(&[statement(strong, 0), statement(None, 9)]), [9]);
        assert_eq!(scanned(&[statement(None, 9), statement(strong, 0)]), [0]);
        let apart = feels(&[statement(strong, 0), statement(None, 9)], false);
        assert_eq!(apart[0].meanwhile.scanned, 0);
        assert_eq!(scanned(&[statement(Some(Mode::RowExclusive), 9)]), [0_u64; 0]);
    }

    #[test]
    fn an_index_is_felt_where_its_table_is_not() {
        let strong = Some(Mode::AccessExclusive);
        let index = |mut statement: Statement| {
            let relation = Relation { name: "users_pkey".to_owned(), kind: "index" };
            let table = Some("users".to_owned());
            let lock = Lock { relation, table, ..statement.locks()[0].clone() };
            statement.locks.as_mut().unwrap().push(lock);
            statement
        };
        let names = |statement: Statement| {
            feels(&[statement], true).into_iter().map(|felt| felt.relation).collect::<Vec<_>>()
        };
        assert_eq!(names(index(statement(strong, 0))), ["users"]);
        let mut weaker = index(statement(strong, 0));
        weaker.locks.as_mut().unwrap()[0].mode = Mode::Share;
        assert_eq!(names(weaker), ["users", "users_pkey"]);
    }

    #[test]
    fn the_strongest_lock_of_a_relation_is_felt() {
        let weak = Some(Mode::ShareUpdateExclusive);
        let felt =
            feels(&[statement(weak, 5), statement(Some(Mode::Share), 3), statement(weak, 2)], true);
        assert_eq!(felt.len(), 1);
        assert_eq!((felt[0].mode, felt[0].meanwhile.scanned), (Mode::Share, 5));
    }
}
