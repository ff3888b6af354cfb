//! What is happening in a run, told to whoever watches.

use std::time::Duration;

use guard::diagnostic::Code;

use crate::files::MigrationFile;

/// What is happening in a run, as it happens.
#[derive(Debug)]
pub enum Progress<'a> {
    /// Another run on the same database is waited for.
    Waiting {
        /// Who it is.
        holder: &'a str,
    },
    /// A migration waited in vain for a lock, was rolled back and will be tried again.
    Blocked {
        /// The migration.
        file: &'a MigrationFile,
        /// Where, and by whom.
        found: &'a str,
        /// How long until then.
        pause: Duration,
    },
    /// A migration that runs statement by statement goes on where it stopped.
    Resumed {
        /// The migration.
        file: &'a MigrationFile,
        /// The first statement that has not run; one more than there are when only the record is
        /// missing.
        statement: usize,
        /// How many statements there are.
        of: usize,
    },
    /// An invalid index that an earlier try left is gone.
    IndexDropped {
        /// The migration.
        file: &'a MigrationFile,
        /// The index, with its schema.
        index: &'a str,
    },
    /// A migration begins.
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
