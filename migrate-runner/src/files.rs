//! The migrations of a directory, read through one handle and complete or not at all.

use std::path::Path;

use guard::config::Config;
use guard::diagnostic::{Code, Denial, shown};
use guard::io::open_configured;
use guard::layout::Layout;
use guard::migration::{Execution, execution};
use refinery::Migration;

use crate::layout::{Listing, Selected, select};
use crate::{checksum, parallel};

/// Largest migration file, in bytes.
pub(crate) const MAX_FILE: usize = 16 * 1024 * 1024;

/// One migration file.
#[derive(Debug, Clone)]
pub struct MigrationFile {
    /// The path of the file in its directory.
    pub file: String,
    /// What refinery applies and records.
    pub migration: Migration,
    /// SHA-256 of the whole file, also of what does not run.
    pub sha256: String,
    /// Whether the layout's own means declare that it needs no transaction.
    needs_no_transaction: bool,
}

impl MigrationFile {
    /// Returns the text that runs.
    #[must_use]
    pub fn text(&self) -> &str {
        self.migration.sql().unwrap_or_default()
    }

    /// Decides how it runs.
    #[must_use]
    pub fn execution(&self) -> Execution<'_> {
        execution(self.text(), self.needs_no_transaction)
    }
}

/// All migrations of a directory, in ascending order of versions, each version once.
#[derive(Debug, Clone)]
pub struct MigrationSet {
    layout: Layout,
    files: Vec<MigrationFile>,
}

impl MigrationSet {
    /// Reads a directory as the layout that was named or is recognised; what looks like a migration
    /// must be one, other files are left alone.
    ///
    /// When roots are configured, the directory must lie beneath the worktree or repository root.
    ///
    /// # Errors
    /// Refuses a missing or empty directory, one outside the roots, one of several layouts,
    /// unreadable names, two files of one version, and files that cannot be read as they are.
    pub fn read(path: &Path, config: &Config, layout: Option<Layout>) -> Result<Self, Denial> {
        let directory = open_configured(path, &config.roots, Code::MigrationsMissing)?;
        let missing = |found: String| {
            Denial::new(
                Code::MigrationsMissing,
                "there are no migrations to read",
                format!("`{}`: {found}", shown(&path.to_string_lossy())),
                "a directory with V<number>__<name>.sql, or with another tool's migrations",
            )
        };
        let listing = Listing::read(&directory).map_err(|error| missing(error.to_string()))?;
        let (layout, selected) = select(&listing, layout)?;
        let files = parallel::map(&selected, file).into_iter().collect::<Result<Vec<_>, Denial>>();
        let mut files = files?;
        files.sort_by_key(|file| file.migration.version());
        duplicates(&files)?;
        if files.is_empty() {
            return Err(missing("no .sql file".to_owned()));
        }
        Ok(Self { layout, files })
    }

    /// Returns how the directory is laid out.
    #[must_use]
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// Returns the last version that is not above a limit, which must be a file's.
    ///
    /// # Errors
    /// Refuses a limit that is no file's version: one that was mistyped would take another file.
    pub(crate) fn last_up_to(&self, limit: Option<i64>) -> Result<i64, Denial> {
        let versions = || self.files.iter().map(|file| file.migration.version());
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
        &self.files
    }
}

fn file(selected: &Selected<'_>) -> Result<MigrationFile, Denial> {
    let Selected { source, name, sql, needs_no_transaction } = selected;
    let canonical = format!("V{}__{}", name.version, name.name);
    let migration = Migration::unapplied(&canonical, sql).map_err(|error| {
        Denial::new(
            Code::MigrationUnreadable,
            "a migration file cannot be read",
            format!("`{}`: refinery refuses it: {error}", shown(&source.path)),
            "a migration that refinery accepts",
        )
    })?;
    Ok(MigrationFile {
        file: source.path.clone(),
        migration,
        sha256: checksum::sha256(source.text()?),
        needs_no_transaction: *needs_no_transaction,
    })
}

fn duplicates(files: &[MigrationFile]) -> Result<(), Denial> {
    let same = |pair: &&[MigrationFile]| pair[0].migration.version() == pair[1].migration.version();
    let twins: Vec<String> = files
        .windows(2)
        .filter(same)
        .map(|pair| format!("`{}` and `{}`", pair[0].file, pair[1].file))
        .collect();
    let message = "two migrations have the same version";
    if twins.is_empty() {
        return Ok(());
    }
    Err(Denial::new(Code::MigrationDuplicate, message, twins.join(", "), "each version once"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(files: &[(&str, &str)]) -> Result<Vec<i64>, Code> {
        let place = tempfile::tempdir().unwrap();
        for (name, text) in files {
            std::fs::write(place.path().join(name), text).unwrap();
        }
        MigrationSet::read(place.path(), &Config::default(), None)
            .map(|set| set.files().iter().map(|file| file.migration.version()).collect())
            .map_err(|denial| denial.code())
    }

    #[test]
    fn versions_are_ordered_as_numbers() {
        let files = [("V10__c.sql", "c"), ("V9__b.sql", "b"), ("V1__a.sql", "a"), ("README", "")];
        assert_eq!(read(&files), Ok(vec![1, 9, 10]));
    }

    #[test]
    fn refinerys_directories_are_what_refinery_makes_of_them() {
        let directory = fixtures::migrations("layouts/refinery");
        let set = MigrationSet::read(&directory, &Config::default(), None).unwrap();
        assert_eq!((set.layout(), set.files().len()), (Layout::Refinery, 3));
        for file in set.files() {
            let text = std::fs::read_to_string(directory.join(&file.file)).unwrap();
            let name = file.file.trim_end_matches(".sql");
            let own = Migration::unapplied(name, &text).unwrap();
            assert_eq!(file.migration.checksum(), own.checksum(), "{name}");
            assert_eq!(file.sha256, checksum::sha256(&text), "{name}");
        }
    }

    #[test]
    fn nothing_is_skipped_without_a_word() {
        assert_eq!(read(&[]), Err(Code::MigrationsMissing));
        assert_eq!(read(&[("README", "")]), Err(Code::MigrationsMissing));
        let with = |name, text| read(&[("V1__a.sql", "a"), (name, text)]);
        assert_eq!(with("V2_b.sql", ""), Err(Code::MigrationName));
        assert_eq!(with("U2__b.sql", ""), Err(Code::LayoutUnclear));
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
            MigrationSet::read(place.path(), &Config::default(), None)
                .map(|_| ())
                .map_err(|d| d.code())
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
            |path: &Path| MigrationSet::read(path, &config, None).map(|_| ()).map_err(|d| d.code());
        assert_eq!(code(&inside), Ok(()));
        assert_eq!(code(&outside), Err(Code::PathOutsideRoot));
        assert_eq!(code(&root.join("link")), Err(Code::PathOutsideRoot));
        assert_eq!(code(&root.join("none")), Err(Code::PathMissing));
        assert_eq!(code(&inside.join("../../../other")), Err(Code::PathMalformed));
    }
}
