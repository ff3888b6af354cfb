//! The program `migrate-runner`; everything is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    migrate_runner::cli::main().into()
}
