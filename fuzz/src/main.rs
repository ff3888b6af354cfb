//! The program `fuzz`; everything is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    fuzz::cli::main()
}
