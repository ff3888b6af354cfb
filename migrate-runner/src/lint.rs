//! `lint`: screens files without a database, and says what would hurt production.

use std::path::{Path, PathBuf};

use clap::Args;
use guard::diagnostic::{Code, Denial, shown};
use guard::io::{Directory, FileProblem, SafeFile};
use guard::layout::Layout;
use guard::migration::execution;
use guard::slot::SlotId;
use step_report::console::{Console, Format};
use step_report::exit::ExitStatus;

use crate::examination::{self, Text};
use crate::files::MAX_FILE;
use crate::finding::Finding;
use crate::hazard::{HazardOptions, Judgement};
use crate::layout::{Listing, Selected, recognise, select};
use crate::options::LayoutOption;
use crate::output::Output;
use crate::screening::{self, ScreenedFile};
use crate::{github, name, parallel, sarif};

/// What `lint` is asked to read.
#[derive(Debug, Args)]
pub(crate) struct LintOptions {
    /// The slot, such as preview-1; the verdict is the same for each
    #[arg(long, value_name = "SLOT")]
    pub(crate) slot: Option<String>,
    #[command(flatten)]
    layout: LayoutOption,
    #[command(flatten)]
    hazards: HazardOptions,
    /// Files of SQL, or directories whose migrations are read in order
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
}

/// The formats that only this command has.
pub(crate) const OUTPUTS: [Output; 2] = [Output::Sarif, Output::Github];

/// Screens every file and says all findings and hazards.
///
/// # Errors
/// Refuses an unknown slot and files that cannot be read.
pub(crate) fn run(
    console: &Console,
    options: &LintOptions,
    output: Option<Output>,
) -> Result<ExitStatus, Denial> {
    options.slot.as_deref().map(str::parse::<SlotId>).transpose()?;
    let texts = expand(&options.files, options.layout.layout)?;
    let files = examine(&texts, &options.hazards);
    match output {
        Some(Output::Sarif) => console.line(&sarif::document(&files)),
        Some(Output::Github) => github::lines(&files).iter().for_each(|line| console.line(line)),
        _ => {
            screening::say(console, &files);
            if console.format() == Format::Human {
                console.line(&summary(&files));
            }
        }
    }
    let ends = |finding: &Finding| finding.refuses() || options.hazards.denies();
    let is_clean = !files.iter().flat_map(|file| &file.findings).any(ends);
    Ok(if is_clean { ExitStatus::Done } else { ExitStatus::BadData })
}

/// Screens the texts and judges them as one pending set, in their order.
fn examine(listed: &[Listed], options: &HazardOptions) -> Vec<ScreenedFile> {
    let texts: Vec<Text<'_>> = listed
        .iter()
        .map(|listed| Text {
            path: &listed.path,
            text: &listed.sql,
            execution: execution(&listed.sql, listed.needs_no_transaction),
            is_pending: !options.is_deployed(listed.version),
        })
        .collect();
    examination::examine(&texts, Judgement::of_server(options.server(None)))
}

fn summary(files: &[ScreenedFile]) -> String {
    let plural =
        |count: usize, word: &str| format!("{count} {word}{}", if count == 1 { "" } else { "s" });
    let all = || files.iter().flat_map(|file| &file.findings);
    let refused = all().filter(|finding| finding.refuses()).count();
    let summary = format!("{}, {}", plural(files.len(), "file"), plural(refused, "finding"));
    match all().count() - refused {
        0 => summary,
        hazards => format!("{summary}, {}", plural(hazards, "hazard")),
    }
}

/// A text, where it is from, and whether its layout declares that it needs no transaction.
struct Listed {
    path: PathBuf,
    /// What is no migration comes behind all of them.
    version: i64,
    sql: String,
    needs_no_transaction: bool,
}

impl Listed {
    fn of_file(path: PathBuf) -> Result<Self, Denial> {
        let (version, sql) = (version(&path), read(&path)?);
        Ok(Self { path, version, sql, needs_no_transaction: false })
    }
}

/// Puts the migrations of a directory in its place, in the order they would run.
fn expand(paths: &[PathBuf], layout: Option<Layout>) -> Result<Vec<Listed>, Denial> {
    let mut expanded = Vec::new();
    for path in paths {
        if path.is_dir() {
            expanded.extend(directory(path, layout)?);
        } else {
            expanded.push(Listed::of_file(path.clone())?);
        }
    }
    Ok(expanded)
}

/// A directory of refinery's may hold other files of SQL, which come behind.
fn directory(path: &Path, layout: Option<Layout>) -> Result<Vec<Listed>, Denial> {
    let unreadable = |error: std::io::Error| missing(path, &error.to_string());
    let listing = Directory::open(path).and_then(|directory| Listing::read(&directory));
    let listing = listing.map_err(unreadable)?;
    let layout = layout.map_or_else(|| recognise(&listing), Ok)?;
    if layout != Layout::Refinery {
        let (_, mut selected) = select(&listing, Some(layout))?;
        selected.sort_by_key(|migration| migration.name.version);
        let text = |migration: &Selected<'_>| Listed {
            version: migration.name.version,
            path: path.join(&migration.source.path),
            sql: migration.sql.to_owned(),
            needs_no_transaction: migration.needs_no_transaction,
        };
        return Ok(selected.iter().map(text).collect());
    }
    let mut files: Vec<PathBuf> = listing.files().map(|file| path.join(&file.path)).collect();
    if files.is_empty() {
        return Err(missing(path, "no .sql file"));
    }
    files.sort_by_cached_key(|path| (version(path), path.clone()));
    parallel::map(&files, |path| Listed::of_file(path.clone())).into_iter().collect()
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
        let texts = expand(&[place.path().to_owned()], None).unwrap();
        let names: Vec<_> = texts.iter().map(|text| text.path.file_name().unwrap()).collect();
        assert_eq!(names, ["V9__a.sql", "V10__b.sql", "seed.sql"]);
        let empty = tempfile::tempdir().unwrap();
        let refused = expand(&[empty.path().to_owned()], None).err().unwrap();
        assert_eq!(refused.code(), Code::MigrationsMissing);
    }
}
