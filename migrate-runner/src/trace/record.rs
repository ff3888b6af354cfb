//! What is noted about a run, statement by statement.

use std::time::Duration;

use guard::migration::Piece;
use serde::{Serialize, Serializer};

use super::stages::Unseen;
use crate::half_applied;
use crate::history::LEDGER;

/// The mode of a lock on a relation, from the weakest to the strongest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Mode {
    AccessShare,
    RowShare,
    RowExclusive,
    ShareUpdateExclusive,
    Share,
    ShareRowExclusive,
    Exclusive,
    AccessExclusive,
}

/// The names of the modes, as the server's view and as its documentation spells them.
const MODES: [(Mode, &str, &str); 8] = [
    (Mode::AccessShare, "AccessShareLock", "ACCESS SHARE"),
    (Mode::RowShare, "RowShareLock", "ROW SHARE"),
    (Mode::RowExclusive, "RowExclusiveLock", "ROW EXCLUSIVE"),
    (Mode::ShareUpdateExclusive, "ShareUpdateExclusiveLock", "SHARE UPDATE EXCLUSIVE"),
    (Mode::Share, "ShareLock", "SHARE"),
    (Mode::ShareRowExclusive, "ShareRowExclusiveLock", "SHARE ROW EXCLUSIVE"),
    (Mode::Exclusive, "ExclusiveLock", "EXCLUSIVE"),
    (Mode::AccessExclusive, "AccessExclusiveLock", "ACCESS EXCLUSIVE"),
];

impl Mode {
    /// Reads a mode as the server writes it.
    pub(super) fn parse(text: &str) -> Option<Self> {
        MODES.iter().find(|(_, view, _)| *view == text).map(|(mode, ..)| *mode)
    }

    /// Returns the mode as documentation writes it.
    pub(super) fn name(self) -> &'static str {
        MODES[self as usize].2
    }

    /// Returns what waits while the lock is held.
    pub(super) fn waits(self) -> Waits {
        match self {
            Self::AccessShare | Self::RowShare | Self::RowExclusive => Waits::Nothing,
            Self::ShareUpdateExclusive => Waits::SchemaChanges,
            Self::Share | Self::ShareRowExclusive | Self::Exclusive => Waits::Writes,
            Self::AccessExclusive => Waits::ReadsAndWrites,
        }
    }
}

impl Serialize for Mode {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// What waits for a lock, from the least to the most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Waits {
    /// Ordinary work goes on.
    Nothing,
    /// Other schema changes, `VACUUM` and `ANALYZE`.
    SchemaChanges,
    /// Whoever writes rows.
    Writes,
    /// Everybody.
    ReadsAndWrites,
}

/// A relation that production may have too.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(super) struct Relation {
    /// Its name, with the schema unless that is `public`.
    #[serde(rename = "relation")]
    pub(super) name: String,
    pub(super) kind: &'static str,
}

impl Relation {
    /// Names a relation; none for the ledger and what lies beside it, which are the run's own.
    pub(super) fn new(schema: &str, name: &str, kind: &str) -> Option<Self> {
        let qualified = format!("{schema}.{name}");
        let name = if schema == "public" { name.to_owned() } else { qualified.clone() };
        let kind = match kind {
            "r" => "table",
            "p" => "partitioned table",
            "i" | "I" => "index",
            "S" => "sequence",
            "v" => "view",
            "m" => "materialized view",
            _ => "relation",
        };
        let is_ours =
            qualified.starts_with(LEDGER) || qualified.starts_with(&half_applied::table());
        (!is_ours).then_some(Self { name, kind })
    }

    /// Returns whether it has rows of its own.
    pub(super) fn has_rows(&self) -> bool {
        ["table", "materialized view"].contains(&self.kind)
    }
}

/// What was done to the rows of a table.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(super) struct Rows {
    /// Read one by one, or found by an index.
    pub(super) scanned: u64,
    /// Inserted, updated or deleted.
    pub(super) written: u64,
}

impl Rows {
    /// Returns what came on top of an earlier count.
    pub(super) fn since(self, earlier: Self) -> Self {
        let since = |now: u64, then: u64| now.saturating_sub(then);
        Self {
            scanned: since(self.scanned, earlier.scanned),
            written: since(self.written, earlier.written),
        }
    }

    /// Returns how many rows were touched in any way.
    pub(super) fn touched(self) -> u64 {
        self.scanned + self.written
    }
}

/// A lock that a statement took and its transaction, if it has one, did not have before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Lock {
    #[serde(flatten)]
    pub(super) relation: Relation,
    /// Whose index it is, for one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) table: Option<String>,
    pub(super) mode: Mode,
    pub(super) waits: Waits,
    /// From the beginning of the statement to the end of the commit; without a transaction, to the
    /// end of the statement, less the time that it stood still for a look.
    pub(super) held_ms: u128,
}

impl Lock {
    /// A lock on a relation, or on an index of a table, that is not over yet.
    pub(super) fn new(relation: &Relation, table: Option<&String>, mode: Mode) -> Self {
        let (relation, table) = (relation.clone(), table.cloned());
        Self { relation, table, mode, waits: mode.waits(), held_ms: 0 }
    }
}

/// An index that a statement built, of a table that was there before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Index {
    pub(super) index: String,
    pub(super) table: String,
}

/// Rows of one table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Touched {
    pub(super) relation: String,
    #[serde(flatten)]
    pub(super) rows: Rows,
}

/// What one statement did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Statement {
    /// Its number in the file, from 1.
    pub(super) number: usize,
    pub(super) line: usize,
    pub(super) column: usize,
    /// Its beginning, without constants.
    pub(super) summary: String,
    /// Less the time that it stood still for a look.
    pub(super) duration_ms: u128,
    /// None when nothing is known about them.
    pub(super) locks: Option<Vec<Lock>>,
    /// Why locks, or some of them, are not known.
    #[serde(rename = "locks_unseen", skip_serializing_if = "Option::is_none")]
    pub(super) unseen: Option<Unseen>,
    /// The tables, and other relations with rows, that were written anew.
    pub(super) rewrites: Vec<String>,
    pub(super) indexes: Vec<Index>,
    /// What was there before and is no more.
    pub(super) drops: Vec<String>,
    pub(super) rows: Vec<Touched>,
}

impl Statement {
    /// A statement of which nothing is known yet.
    pub(super) fn new(piece: &Piece<'_>, duration: Duration) -> Self {
        Self {
            number: piece.number,
            line: piece.line,
            column: piece.column,
            summary: piece.summary.clone(),
            duration_ms: duration.as_millis(),
            locks: None,
            unseen: None,
            rewrites: Vec::new(),
            indexes: Vec::new(),
            drops: Vec::new(),
            rows: Vec::new(),
        }
    }

    /// Returns the locks that are known.
    pub(super) fn locks(&self) -> &[Lock] {
        self.locks.as_deref().unwrap_or_default()
    }
}

/// A statement that an earlier run did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Earlier {
    pub(super) number: usize,
    pub(super) line: usize,
    pub(super) column: usize,
    pub(super) summary: String,
}

/// What one migration did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Migration {
    pub(super) file: String,
    /// Whether one transaction held every lock to the end.
    pub(super) is_whole: bool,
    /// From its first statement to the end of the commit; the sum of that where it has no
    /// transaction as a whole.
    pub(super) duration: Duration,
    pub(super) statements: Vec<Statement>,
    /// What ran before this run, and was not watched.
    pub(super) earlier: Vec<Earlier>,
}

impl Migration {
    /// A file that runs statement by statement, of which nothing has run.
    pub(super) fn begun(file: &str) -> Self {
        let (file, duration) = (file.to_owned(), Duration::ZERO);
        Self { file, is_whole: false, duration, statements: Vec::new(), earlier: Vec::new() }
    }
}
