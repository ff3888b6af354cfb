//! How the files of a directory become migrations, as the tool that the directory belongs to reads
//! them: which text runs, under which version and name, and whether it needs no transaction.
//!
//! Nothing that looks like a migration is left out without a word, also where the tool would.

mod dbmate;
mod flyway;
mod listing;
mod numbered;
mod recognition;
mod subdirectories;

use guard::diagnostic::{Code, Denial, shown};
use guard::layout::Layout;

use crate::name::{self, MigrationName};

pub(crate) use listing::{Listing, Source};
pub(crate) use recognition::recognise;

/// A migration as its layout has it.
#[derive(Debug)]
pub(crate) struct Selected<'a> {
    /// The file.
    pub(crate) source: &'a Source,
    /// Its version and name.
    pub(crate) name: MigrationName,
    /// The text that runs. It begins where the file begins, so that places in it are the file's.
    pub(crate) sql: &'a str,
    /// Whether the layout's own means declare that it needs no transaction.
    pub(crate) needs_no_transaction: bool,
}

/// Selects the migrations of a directory, as the layout that was named or recognised.
///
/// # Errors
/// Refuses a directory of several layouts, and files that its layout does not know, with the first
/// problem's code and everything that is wrong.
pub(crate) fn select(
    listing: &Listing,
    named: Option<Layout>,
) -> Result<(Layout, Vec<Selected<'_>>), Denial> {
    let layout = match named {
        Some(layout) => layout,
        None => recognise(listing)?,
    };
    let (mut selected, mut problems) = (Vec::new(), Vec::new());
    for migration in migrations(listing, layout) {
        match migration {
            Ok(migration) => selected.push(migration),
            Err(problem) => problems.push(problem),
        }
    }
    let Some(first) = problems.first() else { return Ok((layout, selected)) };
    let found: Vec<&str> = problems.iter().map(Denial::found).collect();
    Err(Denial::new(first.code(), first.message(), found.join("; "), first.expected()))
}

fn migrations(listing: &Listing, layout: Layout) -> Vec<Result<Selected<'_>, Denial>> {
    match layout {
        Layout::Refinery => listing.files().map(refinery).collect(),
        Layout::Flyway => flyway::migrations(listing),
        Layout::Dbmate => listing.files().map(dbmate::migration).collect(),
        Layout::Sqlx | Layout::GolangMigrate => numbered::migrations(listing, layout),
        Layout::Diesel | Layout::Prisma => subdirectories::migrations(listing, layout),
    }
}

fn refinery(source: &Source) -> Result<Selected<'_>, Denial> {
    let name = name::parse(&source.path)?;
    Ok(Selected { source, name, sql: source.text()?, needs_no_transaction: false })
}

/// Puts a version and a name together; what the ledger's name cannot hold becomes `_`.
fn named(
    path: &str,
    version: Option<i64>,
    name: &str,
    expected: &str,
) -> Result<MigrationName, Denial> {
    let word = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
    let clean: String = name.chars().map(word).collect();
    let has_letters = clean.contains(|c: char| c != '_') && clean.len() <= name::MAX_NAME;
    match version.filter(|_| has_letters) {
        Some(version) => Ok(MigrationName { version, name: clean }),
        None => Err(name::unreadable(path, expected)),
    }
}

/// Splits `20260102030405_name` into its number and the rest.
fn numbered_name(text: &str) -> Option<(&str, &str)> {
    let (version, name) = text.split_once('_')?;
    let digits = !version.is_empty() && version.bytes().all(|b| b.is_ascii_digit());
    digits.then_some((version, name))
}

/// Refuses what may be a directory and cannot be opened as one; its tool would follow a link.
fn links(listing: &Listing) -> impl Iterator<Item = Result<Selected<'_>, Denial>> {
    listing.others.iter().map(|name| {
        let found = "a link, or something that cannot be read";
        Err(malformed(name, found, "directories and regular files"))
    })
}

fn malformed(path: &str, found: &str, expected: &str) -> Denial {
    let found = format!("`{}`: {found}", shown(path));
    Denial::new(Code::LayoutMalformed, "a migration does not follow its layout", found, expected)
}
