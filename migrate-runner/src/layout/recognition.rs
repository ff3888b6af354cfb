//! Which layout a directory has, by its names and by the marks of tools in its files.
//!
//! Where two tools would run a directory in the same way, one of them is taken; where they would
//! not, nobody decides but the user.

use guard::diagnostic::{Code, Denial, shown};
use guard::layout::Layout;

use super::listing::Listing;
use super::{dbmate, flyway, numbered, numbered_name};

/// Names that belong together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Family {
    /// `V1__name.sql`, and Flyway's other letters.
    Letters,
    /// `1_name.sql`.
    Numbers,
    /// `1_name.up.sql` and `1_name.down.sql`.
    UpAndDown,
    /// `1_name/up.sql`.
    UpInDirectory,
    /// `1_name/migration.sql`.
    MigrationInDirectory,
}

/// Recognises the layout of a directory; one without any known name is refinery's, whose names are
/// the expected ones.
pub(crate) fn recognise(listing: &Listing) -> Result<Layout, Denial> {
    let known: Vec<(Family, String)> = families(listing);
    let Some((family, first)) = known.first() else { return Ok(Layout::Refinery) };
    if let Some((_, other)) = known.iter().find(|(other, _)| other != family) {
        return Err(unclear(
            format!("`{}` and `{}`", shown(first), shown(other)),
            "names of one tool in a directory",
        ));
    }
    match family {
        Family::Letters => letters(listing),
        Family::Numbers => numbers(listing),
        Family::UpAndDown if numbered::says_no_transaction(listing) => Ok(Layout::Sqlx),
        Family::UpAndDown => Ok(Layout::GolangMigrate),
        Family::UpInDirectory => Ok(Layout::Diesel),
        Family::MigrationInDirectory => Ok(Layout::Prisma),
    }
}

fn families(listing: &Listing) -> Vec<(Family, String)> {
    let files = listing.files().filter_map(|source| {
        let path = &source.path;
        let family = if flyway::parse(path).is_some() {
            Family::Letters
        } else {
            numbered_name(path.strip_suffix(".sql")?)?;
            let both = path.ends_with(".up.sql") || path.ends_with(".down.sql");
            if both { Family::UpAndDown } else { Family::Numbers }
        };
        Some((family, path.clone()))
    });
    let numbered = listing.subdirectories.iter();
    let numbered = numbered.filter(|inner| inner.name.starts_with(|c: char| c.is_ascii_digit()));
    let nested = numbered.flat_map(|inner| {
        let up = inner.up.as_ref().map(|source| (Family::UpInDirectory, source.path.clone()));
        let migration = inner.migration.as_ref();
        let migration = migration.map(|s| (Family::MigrationInDirectory, s.path.clone()));
        [up, migration].into_iter().flatten()
    });
    files.chain(nested).collect()
}

/// A `U` undoes for Flyway, which never runs it here; for refinery it is a migration.
fn letters(listing: &Listing) -> Result<Layout, Denial> {
    if let Some(undo) = flyway::undo_without_migration(listing) {
        let found = format!(
            "`{}`, which refinery runs as a migration and Flyway only to undo one",
            shown(undo)
        );
        return Err(unclear(found, "a `V` file of the same version, or none"));
    }
    Ok(if flyway::is_flyways(listing) { Layout::Flyway } else { Layout::Refinery })
}

/// With dbmate's marks a file has a part that must not run; sqlx would run it.
fn numbers(listing: &Listing) -> Result<Layout, Denial> {
    let is_marked = |path: &str| {
        let of = listing.files().find(|source| source.path == path);
        of.is_some_and(|source| dbmate::is_marked(source.readable()))
    };
    let paths: Vec<&str> = listing.files().map(|source| &source.path[..]).collect();
    let (marked, others): (Vec<&str>, Vec<&str>) = paths.into_iter().partition(|p| is_marked(p));
    match (marked.first(), others.first()) {
        (Some(marked), Some(other)) => Err(unclear(
            format!(
                "`{}` has dbmate's `-- migrate:` marks, `{}` has none",
                shown(marked),
                shown(other)
            ),
            "the marks in every file, or in none",
        )),
        (Some(_), None) => Ok(Layout::Dbmate),
        _ => Ok(Layout::Sqlx),
    }
}

fn unclear(found: String, expected: &str) -> Denial {
    let names = Layout::ALL.map(Layout::name).join(", ");
    let message = "the directory can be read as more than one layout";
    let expected = format!("{expected}, or `--layout` with one of {names}");
    Denial::new(Code::LayoutUnclear, message, found, expected)
}
