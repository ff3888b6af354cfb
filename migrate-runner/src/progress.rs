//! What is happening in a run, told to whoever watches.

use std::time::Duration;

use guard::diagnostic::Code;

use crate::files::MigrationFile;

/// What is happening in a run, as it happens.
#[derive(Debug)]
pub enum Progress<'a> {
    /// A migration's transaction begins.
    Started {
        /// The migration.
        file: &'a MigrationFile,
    },
    /// A migration is committed and recorded.
    Applied {
        /// The migration.
        file: &'a MigrationFile,
        /// How long it took.
        duration: Duration,
    },
    /// A migration failed and is rolled back.
    Failed {
        /// The migration.
        file: &'a MigrationFile,
        /// Why.
        code: Code,
    },
}
