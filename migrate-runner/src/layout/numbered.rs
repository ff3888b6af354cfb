//! sqlx and golang-migrate: `1_name.up.sql` with `1_name.down.sql`, and sqlx's `1_name.sql`.
//!
//! What is called down never runs.

use guard::diagnostic::Denial;
use guard::layout::Layout;

use super::listing::Listing;
use super::{Selected, Source, malformed, named, numbered_name};
use crate::name;

/// What sqlx wants a file to begin with that needs no transaction.
const NO_TRANSACTION: &str = "-- no-transaction";

/// Reads every file but those that are called down.
pub(super) fn migrations(listing: &Listing, layout: Layout) -> Vec<Result<Selected<'_>, Denial>> {
    let others = listing.names().filter(|name| layout == Layout::GolangMigrate && is_no_sql(name));
    let others = others.map(|name| Err(name::unreadable(name, expected(layout))));
    let files = listing.files().filter_map(|source| match source.path.strip_suffix(".down.sql") {
        None => Some(migration(source, layout)),
        Some(stem) if listing.has(&format!("{stem}.up.sql")) => None,
        Some(stem) => {
            let found = "it undoes a migration that is not there";
            let expected = format!("`{stem}.up.sql` beside it");
            Some(Err(malformed(&source.path, found, &expected)))
        }
    });
    files.chain(others).collect()
}

/// Says whether a file says in sqlx's words that it needs no transaction.
pub(super) fn says_no_transaction(listing: &Listing) -> bool {
    listing.files().any(|source| source.readable().starts_with(NO_TRANSACTION))
}

/// golang-migrate runs files of any kind, such as `1_name.up.txt`.
fn is_no_sql(name: &str) -> bool {
    numbered_name(name).is_some() && name.contains(".up.") && !name.ends_with(".sql")
}

fn migration(source: &Source, layout: Layout) -> Result<Selected<'_>, Denial> {
    let path = &source.path;
    let up = path.strip_suffix(".up.sql");
    let plain = || path.strip_suffix(".sql").filter(|_| layout == Layout::Sqlx);
    let (version, name) = up.or_else(plain).and_then(numbered_name).unwrap_or_default();
    let name = named(path, version.parse().ok(), name, expected(layout))?;
    let sql = source.text()?;
    let needs_no_transaction = layout == Layout::Sqlx && sql.starts_with(NO_TRANSACTION);
    Ok(Selected { source, name, sql, needs_no_transaction })
}

fn expected(layout: Layout) -> &'static str {
    match layout {
        Layout::Sqlx => "`<number>_<name>.sql`, or `.up.sql` and `.down.sql`",
        _ => "`<number>_<name>.up.sql` and `.down.sql`",
    }
}
