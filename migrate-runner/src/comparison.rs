//! Files and ledger side by side: what is applied, pending, or at odds. Pure.

use std::collections::BTreeMap;

use guard::diagnostic::{Code, Denial};
use serde::Serialize;

use crate::checksum;
use crate::files::{MigrationFile, MigrationSet};
use crate::history::HistoryRow;

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
    /// How it stands.
    pub state: State,
    /// SHA-256 of the file, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// When it was applied, if it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub applied_on: Option<String>,
}

/// Every version of files and ledger, in ascending order.
#[derive(Debug, Clone)]
pub struct Comparison(Vec<Entry>);

impl Comparison {
    /// Compares files with the ledger.
    #[must_use]
    pub fn new(set: &MigrationSet, history: &[HistoryRow]) -> Self {
        let mut rows: BTreeMap<i64, &HistoryRow> =
            history.iter().map(|row| (row.version, row)).collect();
        let highest = rows.last_key_value().map(|(version, _)| *version);
        let mut entries: Vec<Entry> = Vec::new();
        for file in set.files() {
            let version = file.migration.version();
            let row = rows.remove(&version);
            let state = match row {
                Some(row) => compare(file, row),
                None if highest.is_some_and(|highest| version < highest) => State::Late,
                None => State::Pending,
            };
            let applied_on = row.map(|row| row.applied_on.clone());
            let name = file.migration.name().to_owned();
            let sha256 = file.migration.sql().map(checksum::sha256);
            entries.push(Entry { version, name, state, sha256, applied_on });
        }
        entries.extend(rows.into_values().map(|row| Entry {
            version: row.version,
            name: row.name.clone(),
            state: State::Missing,
            sha256: None,
            applied_on: Some(row.applied_on.clone()),
        }));
        entries.sort_by_key(|entry| entry.version);
        Self(entries)
    }

    /// Returns every version.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.0
    }

    /// Returns the versions in one state.
    pub fn in_state(&self, state: State) -> impl Iterator<Item = &Entry> {
        self.0.iter().filter(move |entry| entry.state == state)
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
        kinds.into_iter().filter_map(problem).collect()
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
            MigrationSet::read(place.path(), &Config::default()).unwrap()
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
        Comparison::new(&read(files), &history)
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
