//! File names of migrations: `V<number>__<name>.sql`.
//!
//! A reader of our own, because refinery's takes `V1__add-col.sql` for `add` and skips what it does
//! not recognise.

use guard::diagnostic::{Code, Denial, shown};

/// Longest name; the ledger's column holds 255 characters.
pub(crate) const MAX_NAME: usize = 200;

/// A version and name that were read from a file name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MigrationName {
    pub(crate) version: i64,
    pub(crate) name: String,
}

/// Reads a file name.
pub(crate) fn parse(file: &str) -> Result<MigrationName, Denial> {
    let expected = "`V<number>__<name>.sql` with letters, digits and `_` in the name";
    read(file).ok_or_else(|| unreadable(file, expected))
}

/// Refuses a name that is none of its layout's.
pub(crate) fn unreadable(path: &str, expected: &str) -> Denial {
    let message = "a migration's file name cannot be read";
    Denial::new(Code::MigrationName, message, format!("`{}`", shown(path)), expected)
}

fn read(file: &str) -> Option<MigrationName> {
    let (version, name) = file.strip_prefix('V')?.strip_suffix(".sql")?.split_once("__")?;
    let digits = !version.is_empty() && version.bytes().all(|b| b.is_ascii_digit());
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    let plain = (1..=MAX_NAME).contains(&name.len()) && name.bytes().all(word);
    let version = version.parse().ok().filter(|_| digits && plain)?;
    Some(MigrationName { version, name: name.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_strictly() {
        let read = |file| read(file).map(|m| (m.version, m.name));
        assert_eq!(read("V1__create_x.sql"), Some((1, "create_x".to_owned())));
        assert_eq!(
            read("V20260101120000__a__b.sql"),
            Some((20_260_101_120_000, "a__b".to_owned()))
        );
        for bad in [
            "V1_x.sql",
            "V__x.sql",
            "V1__.sql",
            "v1__x.sql",
            "U1__x.sql",
            "R__x.sql",
            "V1.2__x.sql",
            "V1__add-col.sql",
            "V1__a.down.sql",
            "V1__x.SQL",
            "V1__x",
            "V+1__x.sql",
            "V-1__x.sql",
            "V9223372036854775808__x.sql",
            "V1__x .sql",
            "V1__ä.sql",
            ".sql",
        ] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }
}
