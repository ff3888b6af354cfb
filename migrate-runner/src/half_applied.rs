//! How far a migration came that runs statement by statement, kept beside the ledger.
//!
//! The table exists only while such a migration is not at its end: the transaction that records the
//! migration drops it. A row is written before its statement runs, and says afterwards that it did.

use guard::diagnostic::{Code, Denial, shown};
use guard::migration::{Need, PROGRESS, Step};
use serde::Deserialize;
use tokio_postgres::SimpleQueryMessage;

use crate::live::{self, rows, table_column};
use crate::sql;

/// The table, qualified.
pub(crate) fn table() -> String {
    format!("public.{PROGRESS}")
}

/// Two columns that say whether the table is there, and is the session's own plain one.
pub(crate) fn probe() -> String {
    format!("{}, session_user", table_column(&table()))
}

/// The question for everything in the table.
pub(crate) fn question() -> String {
    format!(
        "SELECT version, statement, sha256, state, before FROM ONLY {} ORDER BY statement",
        table()
    )
}

/// The statement that makes the table.
pub(crate) fn create() -> String {
    format!(
        "CREATE TABLE IF NOT EXISTS {} (version int8 NOT NULL, statement int4 PRIMARY KEY, \
         sha256 text NOT NULL, state text NOT NULL, before text)",
        table()
    )
}

/// The statement that notes that one is about to run, with what it will change as it is now.
pub(crate) fn begin(version: i64, statement: usize, sha256: &str, before: &str) -> String {
    format!(
        "INSERT INTO {0} (version, statement, sha256, state, before) \
         VALUES ({version}, {statement}, {1}, 'running', {before}) \
         ON CONFLICT (statement) DO UPDATE SET state = 'running', before = EXCLUDED.before",
        table(),
        sql::text(sha256)
    )
}

/// The statement that notes that one has run.
pub(crate) fn end(version: i64, statement: usize, sha256: &str) -> String {
    format!(
        "INSERT INTO {0} (version, statement, sha256, state) \
         VALUES ({version}, {statement}, {1}, 'done') \
         ON CONFLICT (statement) DO UPDATE SET state = 'done'",
        table(),
        sql::text(sha256)
    )
}

/// The statement that forgets everything, when the migration is recorded.
pub(crate) fn drop() -> String {
    format!("DROP TABLE IF EXISTS {}", table())
}

/// A migration that began and did not end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HalfApplied {
    /// Its version.
    pub version: i64,
    /// SHA-256 of its file as it ran.
    pub sha256: String,
    /// The statements that ran, from 1.
    pub done: Vec<usize>,
    /// The statement that began and did not end, if there is one.
    pub running: Option<Running>,
}

/// A statement that began and did not end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Running {
    /// Its number, from 1.
    pub statement: usize,
    /// What it was to change, as that was before.
    pub before: Option<String>,
}

impl HalfApplied {
    /// Returns whether it is this file, unchanged.
    pub(crate) fn is_of(&self, version: i64, sha256: &str) -> bool {
        self.version == version && self.sha256 == sha256
    }

    /// Returns the number of the first statement that has not run to its end.
    pub(crate) fn next(&self, steps: &[Step<'_>]) -> Option<usize> {
        let runs = steps.iter().filter(|step| step.need != Need::Repetition);
        runs.map(|step| step.piece.number).find(|number| !self.done.contains(number))
    }
}

#[derive(Deserialize)]
struct TableFacts {
    owner: String,
    plain: bool,
}

/// Judges the answer to [`probe`] at a column: whether there is a table to read.
///
/// # Errors
/// Refuses a table that is not the session's own plain one.
pub(crate) fn is_there(answer: &[SimpleQueryMessage], at: usize) -> Result<bool, Denial> {
    if live::cell(answer, at).is_none() {
        return Ok(false);
    }
    let facts: TableFacts = live::column(answer, at)?;
    let role = live::cell(answer, at + 1).unwrap_or_default();
    if facts.plain && facts.owner == role {
        return Ok(true);
    }
    let kind = if facts.plain { "a table" } else { "a view, or a table with rules or triggers" };
    Err(unreadable(format!("{kind} of `{}`", shown(&facts.owner))))
}

/// Reads the answer to [`question`].
///
/// # Errors
/// Refuses rows that are not ours.
pub(crate) fn parse(answer: &[SimpleQueryMessage]) -> Result<Option<HalfApplied>, Denial> {
    let mut half: Option<HalfApplied> = None;
    for row in rows(answer) {
        let column = |at: usize| row.try_get(at).ok().flatten();
        let text = |at: usize| column(at).unwrap_or_default();
        let refuse = || unreadable(format!("the row of statement `{}`", shown(text(1))));
        let version: i64 = text(0).parse().map_err(|_| refuse())?;
        let known = half.get_or_insert_with(|| HalfApplied {
            version,
            sha256: text(2).to_owned(),
            done: Vec::new(),
            running: None,
        });
        let statement: usize = text(1).parse().map_err(|_| refuse())?;
        if known.running.is_some() || !known.is_of(version, text(2)) {
            return Err(refuse());
        }
        match text(3) {
            "done" => known.done.push(statement),
            "running" => {
                let before = column(4).map(ToOwned::to_owned);
                known.running = Some(Running { statement, before });
            }
            _ => return Err(refuse()),
        }
    }
    Ok(half)
}

/// Refuses what the table says.
pub(crate) fn unreadable(found: String) -> Denial {
    Denial::new(
        Code::ProgressUnreadable,
        format!("`{}` cannot be read", table()),
        found,
        "the slot's own plain table, with the rows of this program",
    )
}

/// Refuses to go on with another file than the one that began.
pub(crate) fn changed(half: &HalfApplied, file: Option<&str>) -> Denial {
    let found = match file {
        Some(file) => format!("`{}` has another content", shown(file)),
        None => format!("no file of version `{}`", half.version),
    };
    Denial::new(
        Code::HalfAppliedChanged,
        "the file of a half-applied migration has changed",
        found,
        format!("the file whose SHA-256 is {}", shown(&half.sha256)),
    )
}

/// Refuses to record a migration of which a part is missing.
pub(crate) fn unfinished(half: &HalfApplied) -> Denial {
    let message = "a migration is half applied";
    let found = format!("version `{}`", half.version);
    Denial::new(Code::HalfApplied, message, found, "every migration applied to its end")
}
