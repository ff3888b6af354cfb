//! `lint`: screens files without a database.

use std::path::{Path, PathBuf};

use clap::Args;
use guard::diagnostic::{Code, Denial, shown};
use guard::io::{FileProblem, SafeFile};
use guard::slot::SlotId;
use step_report::console::{Console, Format};
use step_report::exit::ExitStatus;

use crate::files::MAX_FILE;
use crate::screening::{self, ScreenedFile};
use crate::{name, parallel};

/// What `lint` is asked to read.
#[derive(Debug, Args)]
pub(crate) struct LintOptions {
    /// The slot, such as preview-1; the verdict is the same for each
    #[arg(long, value_name = "SLOT")]
    pub(crate) slot: Option<String>,
    /// Files of SQL, or directories whose .sql files are read in order
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
}

/// Screens every file and says all findings.
///
/// # Errors
/// Refuses an unknown slot and files that cannot be read.
pub(crate) fn run(console: &Console, options: &LintOptions) -> Result<ExitStatus, Denial> {
    options.slot.as_deref().map(str::parse::<SlotId>).transpose()?;
    let paths = expand(&options.files)?;
    let screened = parallel::map(&paths, |path| Ok(ScreenedFile::new(path, &read(path)?)));
    let screened = screened.into_iter().collect::<Result<Vec<_>, Denial>>()?;
    screening::say(console, &screened);
    let count: usize = screened.iter().map(|file| file.findings.len()).sum();
    if console.format() == Format::Human {
        console.line(&summary(screened.len(), count));
    }
    Ok(if count == 0 { ExitStatus::Done } else { ExitStatus::BadData })
}

fn summary(files: usize, findings: usize) -> String {
    let plural = |count: usize| if count == 1 { "" } else { "s" };
    format!("{files} file{}, {findings} finding{}", plural(files), plural(findings))
}

/// Puts the `.sql` files of a directory in its place, by version and then by name.
fn expand(paths: &[PathBuf]) -> Result<Vec<PathBuf>, Denial> {
    let mut expanded = Vec::new();
    for path in paths {
        if !path.is_dir() {
            expanded.push(path.clone());
            continue;
        }
        let entries = std::fs::read_dir(path).map_err(|error| missing(path, &error.to_string()))?;
        let mut files: Vec<PathBuf> = entries
            .filter_map(Result::ok)
            .map(|entry| entry.path())
            .filter(|path| path.extension().is_some_and(|end| end.eq_ignore_ascii_case("sql")))
            .collect();
        if files.is_empty() {
            return Err(missing(path, "no .sql file"));
        }
        files.sort_by_cached_key(|path| (version(path), path.clone()));
        expanded.extend(files);
    }
    Ok(expanded)
}

/// Returns the version of a migration; other files come behind.
fn version(path: &Path) -> i64 {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name::parse(&name).map_or(i64::MAX, |name| name.version)
}

fn read(path: &Path) -> Result<String, Denial> {
    SafeFile::of_anybody(MAX_FILE).read(path).map_err(|problem| match problem {
        FileProblem::Missing => missing(path, "there is no such file"),
        problem => Denial::new(
            Code::MigrationUnreadable,
            "a migration file cannot be read",
            format!("`{}`: {problem}", shown(&path.to_string_lossy())),
            "a regular UTF-8 file, at most 16 MiB",
        ),
    })
}

fn missing(path: &Path, found: &str) -> Denial {
    Denial::new(
        Code::MigrationsMissing,
        "there are no migrations to read",
        format!("`{}`: {found}", shown(&path.to_string_lossy())),
        "a file of SQL, or a directory that holds some",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_stands_for_its_files_in_order_of_versions() {
        let place = tempfile::tempdir().unwrap();
        for name in ["V10__b.sql", "V9__a.sql", "seed.sql", "README.md"] {
            std::fs::write(place.path().join(name), "SELECT 1;").unwrap();
        }
        let files = expand(&[place.path().to_owned()]).unwrap();
        let names: Vec<_> = files.iter().map(|path| path.file_name().unwrap()).collect();
        assert_eq!(names, ["V9__a.sql", "V10__b.sql", "seed.sql"]);
        let empty = tempfile::tempdir().unwrap();
        let refused = expand(&[empty.path().to_owned()]).unwrap_err();
        assert_eq!(refused.code(), Code::MigrationsMissing);
    }
}
