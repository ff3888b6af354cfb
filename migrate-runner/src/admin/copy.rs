//! How a database is copied: which strategy fits its size and the server. Pure.

use serde::Serialize;

/// From this size on, copying files is cheaper than logging every page.
const LARGE: u64 = 200 * 1024 * 1024;

/// The first version that can clone files where the file system can.
const CLONES: u32 = 180_000;

/// A strategy of `CREATE DATABASE`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Strategy {
    /// Every page is written to the write-ahead log: quick for small databases.
    WalLog,
    /// Files are copied, between two checkpoints.
    FileCopy,
    /// Files are cloned if the file system can, else copied.
    FileClone,
}

impl Strategy {
    /// Chooses by the size in bytes and the server's version.
    pub(super) fn choose(size: u64, version: u32) -> Self {
        match size {
            0..LARGE => Self::WalLog,
            _ if version >= CLONES => Self::FileClone,
            _ => Self::FileCopy,
        }
    }

    /// Returns the words of `CREATE DATABASE`.
    pub(super) fn clause(self) -> &'static str {
        match self {
            Self::WalLog => "STRATEGY wal_log",
            Self::FileCopy | Self::FileClone => "STRATEGY file_copy",
        }
    }

    /// Returns a statement that must run before, if there is one.
    pub(super) fn setting(self) -> Option<&'static str> {
        (self == Self::FileClone).then_some("SET file_copy_method = clone")
    }

    /// Returns the name for people.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::WalLog => "wal_log",
            Self::FileCopy => "file_copy",
            Self::FileClone => "file_copy with cloning",
        }
    }
}

/// Returns a size for people.
pub(super) fn megabytes(bytes: u64) -> String {
    format!("{} MB", bytes.div_ceil(1024 * 1024))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_strategy_follows_from_size_and_version() {
        assert_eq!(Strategy::choose(8_000_000, 150_000), Strategy::WalLog);
        assert_eq!(Strategy::choose(LARGE - 1, 180_000), Strategy::WalLog);
        assert_eq!(Strategy::choose(LARGE, 170_000), Strategy::FileCopy);
        assert_eq!(Strategy::choose(LARGE, 180_000), Strategy::FileClone);
        assert_eq!(megabytes(1), "1 MB");
    }
}
