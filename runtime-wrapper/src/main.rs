//! Entry point; everything is in the library.

fn main() -> std::process::ExitCode {
    runtime_wrapper::run().into()
}
