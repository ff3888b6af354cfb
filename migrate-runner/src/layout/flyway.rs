//! Flyway: `V1.2__name.sql`; `U1.2__name.sql` undoes and never runs; what else Flyway would run is
//! refused, because it has no place in a ledger of versions.

use guard::diagnostic::{Code, Denial, shown};

use super::listing::Listing;
use super::{Selected, Source, links, malformed, named};
use crate::name;

const EXPECTED: &str = "`V<version>__<name>.sql`";

/// How a dotted version becomes a number: four parts of four digits, the first of up to seven.
const PARTS: usize = 4;
const PART: i64 = 10_000;

/// A name with one of Flyway's letters in front.
pub(super) struct FlywayName<'a> {
    letter: char,
    /// The parts of the version, without zeros at the end; empty without a version.
    parts: Vec<&'a str>,
    description: &'a str,
}

/// Reads a name; `None` for one that is not made like Flyway's.
pub(super) fn parse(path: &str) -> Option<FlywayName<'_>> {
    let (head, description) = path.strip_suffix(".sql")?.split_once("__")?;
    let letter = head.chars().next().filter(|letter| "VURB".contains(*letter))?;
    let version = &head[1..];
    if letter == 'R' {
        return version.is_empty().then_some(FlywayName { letter, parts: Vec::new(), description });
    }
    let mut parts: Vec<&str> = version.split(['.', '_']).collect();
    let digits = |part: &&str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    if !parts.iter().all(digits) {
        return None;
    }
    let zero = |part: &str| part.bytes().all(|b| b == b'0');
    while parts.len() > 1 && zero(parts[parts.len() - 1]) {
        parts.pop();
    }
    Some(FlywayName { letter, parts, description })
}

impl FlywayName<'_> {
    fn is_same_version(&self, other: &Self) -> bool {
        let plain = |part: &&str| part.trim_start_matches('0').to_owned();
        self.parts.iter().map(plain).eq(other.parts.iter().map(plain))
    }
}

fn parsed(listing: &Listing) -> impl Iterator<Item = (&Source, FlywayName<'_>)> {
    listing.files().filter_map(|source| Some((source, parse(&source.path)?)))
}

/// Returns an undo file whose migration is not there.
pub(super) fn undo_without_migration(listing: &Listing) -> Option<&str> {
    let is_undone = |undo: &FlywayName<'_>| {
        parsed(listing).any(|(_, other)| other.letter == 'V' && other.is_same_version(undo))
    };
    let mut undos = parsed(listing).filter(|(_, name)| name.letter == 'U');
    undos.find(|(_, undo)| !is_undone(undo)).map(|(source, _)| &source.path[..])
}

/// Says whether something is there that only Flyway knows.
pub(super) fn is_flyways(listing: &Listing) -> bool {
    listing.settings().next().is_some()
        || parsed(listing).any(|(_, name)| name.letter != 'V' || name.parts.len() > 1)
}

/// Reads every `V` file, and refuses what cannot be left out.
pub(super) fn migrations(listing: &Listing) -> Vec<Result<Selected<'_>, Denial>> {
    let dotted = parsed(listing).any(|(_, name)| name.letter == 'V' && name.parts.len() > 1);
    let files = listing.files().filter_map(|source| match parse(&source.path) {
        Some(name) if name.letter == 'U' => None,
        Some(name) if name.letter == 'V' => Some(migration(listing, source, &name, dotted)),
        Some(_) => Some(Err(unsupported(&source.path, "it has no version to be recorded with"))),
        None if is_callback(&source.path) => {
            Some(Err(unsupported(&source.path, "it is a callback")))
        }
        None => Some(Err(name::unreadable(&source.path, EXPECTED))),
    });
    let deeper = listing.subdirectories.iter().filter_map(|inner| {
        let sql = inner.names.iter().find(|name| name.ends_with(".sql"))?;
        let path = format!("{}/{sql}", inner.name);
        Some(Err(unsupported(&path, "Flyway would look into the directory")))
    });
    files.chain(deeper).chain(links(listing)).collect()
}

fn migration<'a>(
    listing: &'a Listing,
    source: &'a Source,
    name: &FlywayName<'_>,
    dotted: bool,
) -> Result<Selected<'a>, Denial> {
    let path = &source.path;
    let version = if dotted { by_parts(&name.parts) } else { name.parts[0].parse().ok() };
    let expected = if dotted {
        "`V<version>__<name>.sql` with at most four parts, the later ones below 10000"
    } else {
        EXPECTED
    };
    let name = named(path, version, name.description, expected)?;
    let sql = source.text()?;
    let settings = Settings::of(listing, path)?;
    if settings.placeholders && sql.contains("${") {
        return Err(unsupported(path, "it has a placeholder `${…}`"));
    }
    Ok(Selected { source, name, sql, needs_no_transaction: !settings.transaction })
}

/// Versions are ordered by their parts; the ledger has one number.
fn by_parts(parts: &[&str]) -> Option<i64> {
    let numbers: Option<Vec<i64>> = parts.iter().map(|part| part.parse().ok()).collect();
    let numbers = numbers.filter(|n| n.len() <= PARTS && n[1..].iter().all(|part| *part < PART))?;
    let digit = |index: usize| numbers.get(index).copied().unwrap_or_default();
    (0..PARTS).try_fold(0_i64, |sum, index| sum.checked_mul(PART)?.checked_add(digit(index)))
}

/// What a file `….sql.conf` says about its migration.
struct Settings {
    transaction: bool,
    placeholders: bool,
}

impl Settings {
    fn of(listing: &Listing, path: &str) -> Result<Self, Denial> {
        let mut settings = Self { transaction: true, placeholders: true };
        let name = format!("{path}.conf");
        let Some(file) = listing.settings().find(|source| source.path == name) else {
            return Ok(settings);
        };
        for line in file.text()?.lines().map(str::trim) {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (key, value) = line.split_once('=').unwrap_or((line, ""));
            let truth = || {
                let refuse = || malformed(&name, line, "`true` or `false`");
                value.trim().parse::<bool>().map_err(|_| refuse())
            };
            match key.trim() {
                "executeInTransaction" => settings.transaction = truth()?,
                "placeholderReplacement" => settings.placeholders = truth()?,
                key => return Err(unsupported(&name, &format!("the setting `{}`", shown(key)))),
            }
        }
        Ok(settings)
    }
}

fn is_callback(path: &str) -> bool {
    ["before", "after", "createSchema"].iter().any(|start| path.starts_with(start))
}

fn unsupported(path: &str, found: &str) -> Denial {
    let message = "a part of Flyway's layout is not supported";
    let found = format!("`{}`: {found}", shown(path));
    Denial::new(
        Code::LayoutUnsupported,
        message,
        found,
        "versioned migrations, `V<version>__<name>.sql`",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_ordered_by_their_parts() {
        let number = |path| by_parts(&parse(path).unwrap().parts);
        let ordered = ["V1__a.sql", "V1.0.1__a.sql", "V1_2__a.sql", "V1.10__a.sql", "V2__a.sql"];
        let numbers = ordered.map(|path| number(path).unwrap());
        assert!(numbers.is_sorted_by(|a, b| a < b), "{numbers:?}");
        assert_eq!(number("V1.2.0__a.sql"), number("V1_2__a.sql"));
        assert_eq!(number("V1.10000__a.sql"), None);
        assert_eq!(number("V1.2.3.4.5__a.sql"), None);
        assert_eq!(number("V20260102030405.1__a.sql"), None);
        assert!(number("V2026.01.02.0304__a.sql").is_some());
    }

    #[test]
    fn only_flyways_letters_make_its_names() {
        for name in ["V1__a.sql", "U1.2__a b.sql", "R__views.sql", "B3__all.sql", "V1_2__.sql"] {
            assert!(parse(name).is_some(), "{name}");
        }
        for name in ["v1__a.sql", "V__a.sql", "V1_a.sql", "R1__a.sql", "V1__a.SQL", "V1.x__a.sql"] {
            assert!(parse(name).is_none(), "{name}");
        }
    }
}
