//! The program `pg-sidecar`; everything is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    pg_sidecar::cli::main().into()
}
