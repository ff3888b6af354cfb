//! The exit codes of every program, in one table.

use guard::diagnostic::{Class, Code};

/// How a program ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExitStatus {
    /// 0: done, or allowed.
    Done,
    /// 64: the command line is wrong, or it names an unknown slot.
    Usage,
    /// 65: input was read and is not acceptable as data.
    BadData,
    /// 66: something that had to be given or to exist is missing.
    InputMissing,
    /// 69: a service, a kernel feature or a program is not there.
    Unavailable,
    /// 70: a defect of the program.
    Internal,
    /// 73: an artifact cannot be written.
    ArtifactNotWritable,
    /// 75: busy, a lock or a lease; try again.
    Busy,
    /// 77: denied by the guard.
    Denied,
    /// 78: the configuration is wrong.
    Configuration,
    /// 126: the program exists but cannot be run (`runtime-wrapper exec` only).
    NotRunnable,
    /// 127: the program does not exist (`runtime-wrapper exec` only).
    NotFound,
}

impl ExitStatus {
    /// Returns the number that the process ends with.
    #[must_use]
    pub fn number(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Usage => 64,
            Self::BadData => 65,
            Self::InputMissing => 66,
            Self::Unavailable => 69,
            Self::Internal => 70,
            Self::ArtifactNotWritable => 73,
            Self::Busy => 75,
            Self::Denied => 77,
            Self::Configuration => 78,
            Self::NotRunnable => 126,
            Self::NotFound => 127,
        }
    }
}

impl From<Class> for ExitStatus {
    fn from(class: Class) -> Self {
        match class {
            Class::Notice => Self::Done,
            Class::Usage => Self::Usage,
            Class::BadData => Self::BadData,
            Class::InputMissing => Self::InputMissing,
            Class::Unavailable => Self::Unavailable,
            Class::Internal => Self::Internal,
            Class::ArtifactNotWritable => Self::ArtifactNotWritable,
            Class::Busy => Self::Busy,
            Class::Denied => Self::Denied,
            Class::Configuration => Self::Configuration,
            Class::NotRunnable => Self::NotRunnable,
            Class::NotFound => Self::NotFound,
        }
    }
}

impl From<Code> for ExitStatus {
    fn from(code: Code) -> Self {
        code.class().into()
    }
}

impl From<ExitStatus> for std::process::ExitCode {
    fn from(status: ExitStatus) -> Self {
        status.number().into()
    }
}

/// The table as `--help` shows it.
pub const HELP: &str = "\
Exit codes:
  0   done, or allowed
  64  usage, or unknown slot
  65  bad data (a refused migration, a duplicate environment name)
  66  input missing (no target, no file)
  69  unavailable (database, program, kernel feature)
  70  internal error
  73  an artifact cannot be written
  75  busy: try again
  77  denied by the guard
  78  configuration";

/// Returns the table behind examples, for a long `--help`.
#[must_use]
pub fn help_after(examples: &str) -> String {
    format!("{examples}\n\n{HELP}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_help_names_the_numbers() {
        for status in [ExitStatus::Usage, ExitStatus::Denied, ExitStatus::Configuration] {
            assert!(HELP.contains(&format!("\n  {}  ", status.number())), "{status:?}");
        }
    }

    #[test]
    fn a_foreign_database_is_77_and_an_unknown_slot_64() {
        assert_eq!(ExitStatus::from(Code::ForeignDatabase).number(), 77);
        assert_eq!(ExitStatus::from(Code::UnknownSlot).number(), 64);
    }
}
