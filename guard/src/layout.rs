//! The directory layouts of migration tools, by their names.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;

use crate::diagnostic::shown;

/// How a directory of migrations is laid out, named after the tool that reads it so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Layout {
    /// `V1__name.sql`.
    Refinery,
    /// `V1.2__name.sql`, with `U1.2__name.sql` to undo it.
    Flyway,
    /// `20260102030405_name.sql`, or `….up.sql` with `….down.sql`.
    Sqlx,
    /// `20260102030405_name.sql` with a part up and a part down.
    Dbmate,
    /// `1_name.up.sql` with `1_name.down.sql`.
    GolangMigrate,
    /// `2026-01-02-030405_name/up.sql` with `down.sql`.
    Diesel,
    /// `20260102030405_name/migration.sql`.
    Prisma,
}

impl Layout {
    /// Every layout.
    pub const ALL: [Self; 7] = [
        Self::Refinery,
        Self::Flyway,
        Self::Sqlx,
        Self::Dbmate,
        Self::GolangMigrate,
        Self::Diesel,
        Self::Prisma,
    ];

    /// Returns the name, as on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Refinery => "refinery",
            Self::Flyway => "flyway",
            Self::Sqlx => "sqlx",
            Self::Dbmate => "dbmate",
            Self::GolangMigrate => "golang-migrate",
            Self::Diesel => "diesel",
            Self::Prisma => "prisma",
        }
    }
}

impl fmt::Display for Layout {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

impl FromStr for Layout {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let known = Self::ALL.into_iter().find(|layout| layout.name() == text);
        known.ok_or_else(|| {
            let names = Self::ALL.map(Self::name).join(", ");
            format!("`{}` is none of {names}", shown(text))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written() {
        for layout in Layout::ALL {
            assert_eq!(layout.to_string().parse(), Ok(layout));
            assert_eq!(serde_json::to_value(layout).unwrap(), layout.name());
        }
        for other in ["", "Flyway", "flyway ", "golang_migrate"] {
            assert!(other.parse::<Layout>().is_err(), "{other}");
        }
    }
}
