//! refinery's checksum of a file, as other builds of refinery and other editors would have it.
//!
//! The checksum depends on the width of the version and on every byte. A ledger of a build with
//! 32-bit versions, and a file whose line ends an editor changed, are thereby recognised as what they
//! are. A SHA-256 stands beside it, because refinery's number is no protection against intent.

use std::hash::{Hash, Hasher as _};

use refinery::Migration;
use sha2::{Digest as _, Sha256};
use siphasher::sip::SipHasher13;

/// Returns the SHA-256 of a file's text.
pub(crate) fn sha256(text: &str) -> String {
    hex(&Sha256::digest(text.as_bytes()))
}

/// Returns bytes as hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |four: u8| char::from(DIGITS[usize::from(four & 15)]);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(*byte)]).collect()
}

/// Returns whether a checksum is this file's, by any build of refinery.
pub(crate) fn is_of(migration: &Migration, checksum: u64) -> bool {
    checksum == migration.checksum()
        || migration.sql().is_some_and(|sql| narrow(migration, sql) == Some(checksum))
}

/// Returns whether a checksum is this file's with other line ends.
pub(crate) fn is_of_other_line_ends(migration: &Migration, checksum: u64) -> bool {
    let Some(sql) = migration.sql() else { return false };
    let unix = sql.replace("\r\n", "\n");
    let windows = unix.replace('\n', "\r\n");
    let trimmed = unix.trim_end_matches('\n').to_owned();
    let ended = format!("{trimmed}\n");
    [unix, windows, trimmed, ended]
        .iter()
        .any(|text| wide(migration, text) == checksum || narrow(migration, text) == Some(checksum))
}

fn wide(migration: &Migration, sql: &str) -> u64 {
    sip(migration.name(), migration.version(), sql)
}

/// As a build of refinery with 32-bit versions has it.
fn narrow(migration: &Migration, sql: &str) -> Option<u64> {
    let version = i32::try_from(migration.version()).ok()?;
    Some(sip(migration.name(), version, sql))
}

fn sip(name: &str, version: impl Hash, sql: &str) -> u64 {
    let mut hasher = SipHasher13::new();
    name.hash(&mut hasher);
    version.hash(&mut hasher);
    sql.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn migration(sql: &str) -> Migration {
        Migration::unapplied("V7__a", sql).unwrap()
    }

    #[test]
    fn our_number_is_refinerys() {
        let file = migration("SELECT 1;\n");
        assert_eq!(wide(&file, "SELECT 1;\n"), file.checksum());
        assert!(is_of(&file, file.checksum()));
        assert!(is_of(&file, narrow(&file, "SELECT 1;\n").unwrap()));
        assert!(!is_of(&file, migration("SELECT 2;\n").checksum()));
    }

    #[test]
    fn line_ends_are_told_from_changes() {
        let file = migration("SELECT 1;\nSELECT 2;\n");
        for other in ["SELECT 1;\r\nSELECT 2;\r\n", "SELECT 1;\nSELECT 2;"] {
            let checksum = migration(other).checksum();
            assert!(!is_of(&file, checksum), "{other:?}");
            assert!(is_of_other_line_ends(&file, checksum), "{other:?}");
        }
        assert!(!is_of_other_line_ends(&file, migration("SELECT 1;\nSELECT 3;\n").checksum()));
    }

    #[test]
    fn sha256_is_the_usual_one() {
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(sha256(""), empty);
    }
}
