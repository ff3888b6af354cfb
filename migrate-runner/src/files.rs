//! The migrations of a directory, read through one handle and complete or not at all.

use std::path::Path;

use guard::config::Config;
use guard::diagnostic::{Code, Denial, shown};
use guard::io::{Directory, FileProblem, open_configured};
use refinery::Migration;

use crate::{name, parallel};

/// Largest migration file, in bytes.
pub(crate) const MAX_FILE: usize = 16 * 1024 * 1024;

/// One migration file.
#[derive(Debug, Clone)]
pub struct MigrationFile {
    /// The name of the file in its directory.
    pub file: String,
    /// What refinery applies and records.
    pub migration: Migration,
}

/// All migrations of a directory, in ascending order of versions, each version once.
#[derive(Debug, Clone)]
pub struct MigrationSet(Vec<MigrationFile>);

impl MigrationSet {
    /// Reads a directory; every `.sql` entry must be a migration, other files are left alone.
    ///
    /// When roots are configured, the directory must lie beneath the worktree or repository root.
    ///
    /// # Errors
    /// Refuses a missing or empty directory, one outside the roots, unreadable names, two files of
    /// one version, and files that cannot be read as they are.
    pub fn read(path: &Path, config: &Config) -> Result<Self, Denial> {
        let directory = open_configured(path, &config.roots, Code::MigrationsMissing)?;
        let missing = |found: String| {
            Denial::new(
                Code::MigrationsMissing,
                "there are no migrations to read",
                format!("`{}`: {found}", shown(&path.to_string_lossy())),
                "a directory with V<number>__<name>.sql",
            )
        };
        let names = directory.names().map_err(|error| missing(error.to_string()))?;
        let names: Vec<String> = names
            .iter()
            .map(|name| String::from_utf8_lossy(name).into_owned())
            .filter(|name| name.to_ascii_lowercase().ends_with(".sql"))
            .collect();
        let (mut files, mut problems) = (Vec::new(), Vec::new());
        for read in parallel::map(&names, |name| read_file(&directory, name)) {
            match read {
                Ok(file) => files.push(file),
                Err(problem) => problems.push(problem),
            }
        }
        files.sort_by_key(|file| file.migration.version());
        problems.extend(duplicates(&files));
        refuse_all(&problems)?;
        if files.is_empty() {
            return Err(missing("no .sql file".to_owned()));
        }
        Ok(Self(files))
    }

    /// Returns the last version that is not above a limit, which must be a file's.
    ///
    /// # Errors
    /// Refuses a limit that is no file's version: one that was mistyped would take another file.
    pub(crate) fn last_up_to(&self, limit: Option<i64>) -> Result<i64, Denial> {
        let versions = || self.0.iter().map(|file| file.migration.version());
        let last = versions().max().unwrap_or_default();
        match limit {
            None => Ok(last),
            Some(limit) if versions().any(|version| version == limit) => Ok(limit),
            Some(limit) => Err(Denial::new(
                Code::AdoptVersion,
                "`--up-to` names a version that no file has",
                format!("`{limit}`"),
                format!("the version of a file, such as `{last}`"),
            )),
        }
    }

    /// Returns the files in ascending order of versions.
    #[must_use]
    pub fn files(&self) -> &[MigrationFile] {
        &self.0
    }
}

fn read_file(directory: &Directory, file: &str) -> Result<MigrationFile, Denial> {
    let parsed = name::parse(file)?;
    let refuse = |found: &str| {
        Denial::new(
            Code::MigrationUnreadable,
            "a migration file cannot be read",
            format!("`{}`: {found}", shown(file)),
            "a regular UTF-8 file without byte order mark, at most 16 MiB",
        )
    };
    let sql = directory
        .read_text(file, MAX_FILE)
        .map_err(|problem: FileProblem| refuse(&problem.to_string()))?;
    if sql.starts_with('\u{feff}') {
        return Err(refuse("it begins with a byte order mark"));
    }
    if sql.contains('\0') {
        return Err(refuse("it holds a NUL"));
    }
    let canonical = format!("V{}__{}", parsed.version, parsed.name);
    let migration = Migration::unapplied(&canonical, &sql)
        .map_err(|error| refuse(&format!("refinery refuses it: {error}")))?;
    Ok(MigrationFile { file: file.to_owned(), migration })
}

/// Refuses with the first problem's code, naming everything that is wrong.
fn refuse_all(problems: &[Denial]) -> Result<(), Denial> {
    let found: Vec<&str> = problems.iter().map(Denial::found).collect();
    let found = found.join("; ");
    match problems.first() {
        None => Ok(()),
        Some(first) => Err(Denial::new(first.code(), first.message(), found, first.expected())),
    }
}

fn duplicates(files: &[MigrationFile]) -> Option<Denial> {
    let same = |pair: &&[MigrationFile]| pair[0].migration.version() == pair[1].migration.version();
    let twins: Vec<String> = files
        .windows(2)
        .filter(same)
        .map(|pair| format!("`{}` and `{}`", pair[0].file, pair[1].file))
        .collect();
    let message = "two migrations have the same version";
    let twice =
        || Denial::new(Code::MigrationDuplicate, message, twins.join(", "), "each version once");
    (!twins.is_empty()).then(twice)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(files: &[(&str, &str)]) -> Result<Vec<i64>, Code> {
        let place = tempfile::tempdir().unwrap();
        for (name, text) in files {
            std::fs::write(place.path().join(name), text).unwrap();
        }
        MigrationSet::read(place.path(), &Config::default())
            .map(|set| set.files().iter().map(|file| file.migration.version()).collect())
            .map_err(|denial| denial.code())
    }

    #[test]
    fn versions_are_ordered_as_numbers() {
        let files = [("V10__c.sql", "c"), ("V9__b.sql", "b"), ("V1__a.sql", "a"), ("README", "")];
        assert_eq!(read(&files), Ok(vec![1, 9, 10]));
    }

    #[test]
    fn nothing_is_skipped_without_a_word() {
        assert_eq!(read(&[]), Err(Code::MigrationsMissing));
        assert_eq!(read(&[("README", "")]), Err(Code::MigrationsMissing));
        let with = |name, text| read(&[("V1__a.sql", "a"), (name, text)]);
        assert_eq!(with("V2_b.sql", ""), Err(Code::MigrationName));
        assert_eq!(with("U2__b.sql", ""), Err(Code::MigrationName));
        assert_eq!(with("V2__b.SQL", ""), Err(Code::MigrationName));
        assert_eq!(with("V1__b.sql", ""), Err(Code::MigrationDuplicate));
        assert_eq!(with("V01__b.sql", ""), Err(Code::MigrationDuplicate));
        assert_eq!(with("V2__b.sql", "\u{feff}SELECT 1"), Err(Code::MigrationUnreadable));
        assert_eq!(with("V2__b.sql", "SELECT '\0'"), Err(Code::MigrationUnreadable));
        assert_eq!(with("V2__b.sql", "SELECT 1"), Ok(vec![1, 2]));
    }

    #[test]
    fn links_and_directories_named_like_migrations_are_refused() {
        let place = tempfile::tempdir().unwrap();
        let code = || {
            MigrationSet::read(place.path(), &Config::default()).map(|_| ()).map_err(|d| d.code())
        };
        std::fs::write(place.path().join("V1__a.sql"), "a").unwrap();
        assert_eq!(code(), Ok(()));
        std::os::unix::fs::symlink("V1__a.sql", place.path().join("V2__b.sql")).unwrap();
        assert_eq!(code(), Err(Code::MigrationUnreadable));
        std::fs::remove_file(place.path().join("V2__b.sql")).unwrap();
        std::fs::create_dir(place.path().join("V2__b.sql")).unwrap();
        assert_eq!(code(), Err(Code::MigrationUnreadable));
    }

    #[test]
    fn se_3_with_roots_the_directory_must_lie_beneath_one() {
        let place = tempfile::tempdir().unwrap();
        let root = place.path().join("previews");
        let inside = root.join("x/migrations");
        let outside = place.path().join("other");
        for directory in [&inside, &outside] {
            std::fs::create_dir_all(directory).unwrap();
            std::fs::write(directory.join("V1__a.sql"), "a").unwrap();
        }
        std::os::unix::fs::symlink(&outside, root.join("link")).unwrap();
        let text = format!("version = 1\n[roots]\nworktree = \"{}\"\n", root.display());
        let config = Config::parse(&text).unwrap();
        let code =
            |path: &Path| MigrationSet::read(path, &config).map(|_| ()).map_err(|d| d.code());
        assert_eq!(code(&inside), Ok(()));
        assert_eq!(code(&outside), Err(Code::PathOutsideRoot));
        assert_eq!(code(&root.join("link")), Err(Code::PathOutsideRoot));
        assert_eq!(code(&root.join("none")), Err(Code::PathMissing));
        assert_eq!(code(&inside.join("../../../other")), Err(Code::PathMalformed));
    }
}
