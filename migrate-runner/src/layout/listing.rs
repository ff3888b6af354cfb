//! What lies in a directory of migrations, read once through its handle.

use guard::diagnostic::{Code, Denial, shown};
use guard::io::{Directory, FileProblem};

use crate::files::MAX_FILE;
use crate::parallel;

/// Files beside a migration that say something about it; more of them than this are no settings.
const MAX_SETTINGS: usize = 64 * 1024;

/// A file that may be a migration, and its text.
#[derive(Debug)]
pub(crate) struct Source {
    /// Its path in the directory.
    pub(crate) path: String,
    text: Result<String, Denial>,
}

impl Source {
    /// Returns the text.
    ///
    /// # Errors
    /// Refuses a file that cannot be read as it is.
    pub(crate) fn text(&self) -> Result<&str, Denial> {
        self.text.as_deref().map_err(Denial::clone)
    }

    /// Returns the text, or nothing of a file that cannot be read.
    pub(super) fn readable(&self) -> &str {
        self.text.as_deref().unwrap_or_default()
    }
}

/// A directory within the directory.
#[derive(Debug)]
pub(super) struct Subdirectory {
    pub(super) name: String,
    /// The names in it.
    pub(super) names: Vec<String>,
    /// Its `up.sql`.
    pub(super) up: Option<Source>,
    /// Its `migration.sql`.
    pub(super) migration: Option<Source>,
    /// Its `metadata.toml`.
    pub(super) metadata: Option<Source>,
}

/// What lies in a directory, in order of names.
#[derive(Debug)]
pub(crate) struct Listing {
    files: Vec<Source>,
    settings: Vec<Source>,
    names: Vec<String>,
    /// Names of what is neither a file nor a directory, such as links.
    pub(super) others: Vec<String>,
    pub(super) subdirectories: Vec<Subdirectory>,
}

impl Listing {
    /// Reads a directory and what may be migrations in it.
    ///
    /// # Errors
    /// Returns the system's error.
    pub(crate) fn read(directory: &Directory) -> Result<Self, std::io::Error> {
        let names = names(directory)?;
        let ending = |end: &str| {
            let fits = |name: &&String| name.to_ascii_lowercase().ends_with(end);
            names.iter().filter(fits).cloned().collect::<Vec<String>>()
        };
        let source = |name: &String| Source {
            path: name.clone(),
            text: read_text(directory, name, name, MAX_FILE),
        };
        let (subdirectories, others) = subdirectories(directory, &names);
        Ok(Self {
            files: parallel::map(&ending(".sql"), source),
            settings: parallel::map(&ending(".sql.conf"), source),
            subdirectories,
            others,
            names,
        })
    }

    /// Returns the files that are called `.sql`, in any case.
    pub(crate) fn files(&self) -> impl Iterator<Item = &Source> {
        self.files.iter()
    }

    /// Returns the files that say something about one of [`Listing::files`].
    pub(super) fn settings(&self) -> impl Iterator<Item = &Source> {
        self.settings.iter()
    }

    /// Says whether the directory has a name.
    pub(super) fn has(&self, name: &str) -> bool {
        self.names.iter().any(|known| known == name)
    }

    /// Returns every name.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(String::as_str)
    }
}

fn names(directory: &Directory) -> Result<Vec<String>, std::io::Error> {
    let text = |name: Vec<u8>| String::from_utf8_lossy(&name).into_owned();
    Ok(directory.names()?.into_iter().map(text).collect())
}

/// Reads the directories, and names what is no regular file either; what is hidden belongs to no
/// tool.
fn subdirectories(directory: &Directory, names: &[String]) -> (Vec<Subdirectory>, Vec<String>) {
    let candidates: Vec<&String> = names
        .iter()
        .filter(|name| !name.starts_with('.') && !name.to_ascii_lowercase().ends_with(".sql"))
        .collect();
    let read = |name: &&String| {
        let Ok(inner) = directory.open_directory(name) else {
            let is_file = directory.open_file(name).is_ok();
            return Err((!is_file).then(|| (*name).clone()));
        };
        let names = self::names(&inner).unwrap_or_default();
        let source = |file: &str, limit| {
            let path = format!("{name}/{file}");
            let there = names.iter().any(|known| known == file);
            there.then(|| Source { text: read_text(&inner, file, &path, limit), path })
        };
        Ok(Subdirectory {
            name: (*name).clone(),
            up: source("up.sql", MAX_FILE),
            migration: source("migration.sql", MAX_FILE),
            metadata: source("metadata.toml", MAX_SETTINGS),
            names,
        })
    };
    let (mut found, mut others) = (Vec::new(), Vec::new());
    for read in parallel::map(&candidates, read) {
        match read {
            Ok(inner) => found.push(inner),
            Err(other) => others.extend(other),
        }
    }
    (found, others)
}

fn read_text(
    directory: &Directory,
    file: &str,
    path: &str,
    limit: usize,
) -> Result<String, Denial> {
    let refuse = |found: &str| {
        Denial::new(
            Code::MigrationUnreadable,
            "a migration file cannot be read",
            format!("`{}`: {found}", shown(path)),
            "a regular UTF-8 file without byte order mark, at most 16 MiB",
        )
    };
    let text = directory
        .read_text(file, limit)
        .map_err(|problem: FileProblem| refuse(&problem.to_string()))?;
    if text.starts_with('\u{feff}') {
        return Err(refuse("it begins with a byte order mark"));
    }
    if text.contains('\0') {
        return Err(refuse("it holds a NUL"));
    }
    Ok(text)
}
