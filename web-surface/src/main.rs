//! The program `web-surface`; everything is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    web_surface::cli::main().into()
}
