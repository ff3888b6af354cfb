//! The program `slotguard`; everything is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    slotguard::cli::main().into()
}
