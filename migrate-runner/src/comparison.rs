//! Files and ledger side by side: what is applied, pending, or at odds. Pure.

use std::collections::BTreeMap;

use guard::diagnostic::{Code, Denial};
use guard::migration::Mode;
use serde::Serialize;

use crate::checksum;
use crate::files::{MigrationFile, MigrationSet};
use crate::half_applied::{self, HalfApplied};
use crate::history::{History, HistoryRow};

/// How a version stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// In the ledger, and the file is unchanged.
    Applied,
    /// Not in the ledger, above everything that is.
    Pending,
    /// In the ledger with another content or name.
    Divergent,
    /// In the ledger with other line ends.
    LineEnds,
    /// In the ledger, without a file.
    Missing,
    /// Not in the ledger, but below something that is.
    Late,
}

impl State {
    /// Returns the word for people.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::Pending => "pending",
            Self::Divergent => "divergent",
            Self::LineEnds => "line-ends",
            Self::Missing => "missing",
            Self::Late => "late",
        }
    }
}

/// One version and how it stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// The version.
    pub version: i64,
    /// The name, of the file if there is one.
    pub name: String,
    /// The path of the file in its directory, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// How it stands.
    pub state: State,
    /// SHA-256 of the file, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// When it was applied, if it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub applied_on: Option<String>,
    /// How it would run, if it is pending.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
    /// Where it would go on, if it is half applied.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resumes_at: Option<Resumption>,
}

/// Where a half-applied migration would go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Resumption {
    /// The first statement that has not run; one more than there are when only the record is missing.
    pub statement: usize,
    /// How many there are.
    pub of: usize,
}

/// Every version of files and ledger, in ascending order.
#[derive(Debug, Clone)]
pub struct Comparison {
    entries: Vec<Entry>,
    half_applied: Option<HalfApplied>,
}

impl Comparison {
    /// Compares files with what the database says.
    #[must_use]
    pub fn new(set: &MigrationSet, history: &History) -> Self {
        let mut rows: BTreeMap<i64, &HistoryRow> =
            history.rows.iter().map(|row| (row.version, row)).collect();
        let half = history.half_applied.as_ref();
        // What is half applied was begun, so what comes before it comes too late.
        let begun = half.map(|half| half.version);
        let highest = rows.last_key_value().map(|(version, _)| *version).max(begun);
        let mut entries: Vec<Entry> = Vec::new();
        for file in set.files() {
            let version = file.migration.version();
            let row = rows.remove(&version);
            let state = match row {
                Some(row) => compare(file, row),
                None if highest.is_some_and(|highest| version < highest) => State::Late,
                None => State::Pending,
            };
            entries.push(Entry::of_file(file, state, row, half));
        }
        entries.extend(rows.into_values().map(Entry::without_file));
        entries.sort_by_key(|entry| entry.version);
        Self { entries, half_applied: history.half_applied.clone() }
    }

    /// Returns every version.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Returns the migration that began and did not end.
    #[must_use]
    pub fn half_applied(&self) -> Option<&HalfApplied> {
        self.half_applied.as_ref()
    }

    /// Returns the versions in one state.
    pub fn in_state(&self, state: State) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(move |entry| entry.state == state)
    }

    /// Returns what is at odds, one refusal for each kind, all versions named.
    #[must_use]
    pub fn problems(&self) -> Vec<Denial> {
        let kinds = [
            (State::Divergent, Code::MigrationDivergent, "an applied migration has changed"),
            (State::LineEnds, Code::MigrationLineEnds, "only the line ends have changed"),
            (State::Missing, Code::MigrationMissing, "an applied migration has no file"),
            (State::Late, Code::MigrationLate, "a new migration has a number below an applied one"),
        ];
        let problem = |(state, code, message): (State, Code, &str)| {
            let versions: Vec<String> =
                self.in_state(state).map(|e| format!("`V{}__{}`", e.version, e.name)).collect();
            let expected = "files and ledger that agree";
            (!versions.is_empty())
                .then(|| Denial::new(code, message, versions.join(", "), expected))
        };
        kinds.into_iter().filter_map(problem).chain(self.half_applied_problem()).collect()
    }

    /// A half-applied migration goes on only where it is known what of it has run.
    fn half_applied_problem(&self) -> Option<Denial> {
        let half = self.half_applied.as_ref()?;
        let version = half.version;
        let entry = self.entries.iter().find(|entry| entry.version == version);
        match entry {
            Some(Entry { applied_on: Some(_), .. }) => {
                Some(half_applied::unreadable(format!("version `{version}`, which is recorded")))
            }
            Some(entry) if entry.resumes_at.is_some() && entry.mode == Some(Mode::Statements) => {
                None
            }
            _ => Some(half_applied::changed(half, entry.and_then(|entry| entry.file.as_deref()))),
        }
    }
}

impl Entry {
    fn of_file(
        file: &MigrationFile,
        state: State,
        row: Option<&HistoryRow>,
        half: Option<&HalfApplied>,
    ) -> Self {
        let version = file.migration.version();
        let execution = (state == State::Pending).then(|| file.execution());
        let half = half.filter(|half| half.is_of(version, &file.sha256));
        let resumes_at = half.zip(execution.as_ref()).map(|(half, execution)| {
            let of = execution.steps.len();
            Resumption { statement: half.next(&execution.steps).unwrap_or(of + 1), of }
        });
        Self {
            version,
            name: file.migration.name().to_owned(),
            file: Some(file.file.clone()),
            state,
            sha256: Some(file.sha256.clone()),
            applied_on: row.map(|row| row.applied_on.clone()),
            mode: execution.map(|execution| execution.mode),
            resumes_at,
        }
    }

    fn without_file(row: &HistoryRow) -> Self {
        Self {
            version: row.version,
            name: row.name.clone(),
            file: None,
            state: State::Missing,
            sha256: None,
            applied_on: Some(row.applied_on.clone()),
            mode: None,
            resumes_at: None,
        }
    }
}

fn compare(file: &MigrationFile, row: &HistoryRow) -> State {
    let migration = &file.migration;
    if row.name != migration.name() {
        State::Divergent
    } else if checksum::is_of(migration, row.checksum) {
        State::Applied
    } else if checksum::is_of_other_line_ends(migration, row.checksum) {
        State::LineEnds
    } else {
        State::Divergent
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use guard::config::Config;

    fn compare(files: &[(i64, &str)], applied: &[(i64, &str)]) -> Comparison {
        let read = |files: &[(i64, &str)]| {
            let place = tempfile::tempdir().unwrap();
            for (version, text) in files {
                std::fs::write(place.path().join(format!("V{version}__m.sql")), text).unwrap();
            }
            MigrationSet::read(place.path(), &Config::default(), None).unwrap()
        };
        let history: Vec<HistoryRow> = if applied.is_empty() {
            Vec::new()
        } else {
            let row = |file: &MigrationFile| HistoryRow {
                version: file.migration.version(),
                name: file.migration.name().to_owned(),
                applied_on: "2026-01-02T03:04:05Z".to_owned(),
                checksum: file.migration.checksum(),
            };
            read(applied).files().iter().map(row).collect()
        };
        Comparison::new(&read(files), &History { rows: history, half_applied: None })
    }

    fn states(comparison: &Comparison) -> Vec<(i64, State)> {
        comparison.entries().iter().map(|entry| (entry.version, entry.state)).collect()
    }

    #[test]
    fn a_fresh_database_has_everything_pending() {
        let comparison = compare(&[(1, "a"), (2, "b")], &[]);
        assert_eq!(states(&comparison), [(1, State::Pending), (2, State::Pending)]);
        assert!(comparison.problems().is_empty());
    }

    #[test]
    fn every_disagreement_is_told_apart() {
        let files = [(1, "a"), (2, "changed"), (3, "late"), (5, "e\n"), (6, "new")];
        let comparison = compare(&files, &[(1, "a"), (2, "b"), (4, "gone"), (5, "e\r\n")]);
        assert_eq!(
            states(&comparison),
            [
                (1, State::Applied),
                (2, State::Divergent),
                (3, State::Late),
                (4, State::Missing),
                (5, State::LineEnds),
                (6, State::Pending),
            ]
        );
        let codes: Vec<Code> = comparison.problems().iter().map(Denial::code).collect();
        let expected = [
            Code::MigrationDivergent,
            Code::MigrationLineEnds,
            Code::MigrationMissing,
            Code::MigrationLate,
        ];
        assert_eq!(codes, expected);
    }
}
