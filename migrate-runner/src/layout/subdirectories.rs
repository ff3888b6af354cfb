//! diesel and Prisma: a directory for each migration, with `up.sql` or `migration.sql` in it.

use guard::diagnostic::Denial;
use guard::layout::Layout;

use super::listing::{Listing, Subdirectory};
use super::{Selected, links, malformed, named, numbered_name};

/// Reads every directory but hidden ones; a file of SQL beside them is refused.
pub(super) fn migrations(listing: &Listing, layout: Layout) -> Vec<Result<Selected<'_>, Denial>> {
    let stray = listing.files().map(|source| {
        Err(malformed(&source.path, "it lies beside the migrations", "directories only"))
    });
    let read = |inner| match layout {
        Layout::Diesel => diesel(inner),
        _ => prisma(inner),
    };
    let inner = listing.subdirectories.iter().map(read);
    stray.chain(links(listing)).chain(inner).collect()
}

/// Days may be separated by dashes: `2026-01-02-030405_name`.
fn diesel(inner: &Subdirectory) -> Result<Selected<'_>, Denial> {
    let Some(source) = &inner.up else {
        return Err(malformed(&inner.name, "no `up.sql`", "`up.sql` in each directory"));
    };
    let (date, rest) = inner.name.split_once('_').unwrap_or_default();
    let digits = date.replace('-', "");
    let version = digits.parse().ok().filter(|_| digits.bytes().all(|b| b.is_ascii_digit()));
    let name = named(&inner.name, version, rest, "`<date>_<name>/up.sql`")?;
    Ok(Selected {
        source,
        name,
        sql: source.text()?,
        needs_no_transaction: !in_transaction(inner)?,
    })
}

/// Reads `run_in_transaction` of `metadata.toml`, which is true where nothing is said.
fn in_transaction(inner: &Subdirectory) -> Result<bool, Denial> {
    let Some(metadata) = &inner.metadata else { return Ok(true) };
    let expected = "`run_in_transaction = true` or `false`";
    let refuse = |found: &str| malformed(&metadata.path, found, expected);
    let table: toml::Table = metadata.text()?.parse().map_err(|_| refuse("it is no TOML"))?;
    match table.get("run_in_transaction") {
        None => Ok(true),
        Some(toml::Value::Boolean(value)) => Ok(*value),
        Some(_) => Err(refuse("`run_in_transaction` is no truth value")),
    }
}

fn prisma(inner: &Subdirectory) -> Result<Selected<'_>, Denial> {
    let Some(source) = &inner.migration else {
        return Err(malformed(
            &inner.name,
            "no `migration.sql`",
            "`migration.sql` in each directory",
        ));
    };
    let (version, rest) = numbered_name(&inner.name).unwrap_or_default();
    let name = named(&inner.name, version.parse().ok(), rest, "`<number>_<name>/migration.sql`")?;
    Ok(Selected { source, name, sql: source.text()?, needs_no_transaction: false })
}
