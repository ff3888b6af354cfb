//! The built programs: those of `SLOTGUARD_BIN_DIR`, or built once for this process.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "helpers of tests, outside of what the lint takes for a test"
)]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use super::environment;

/// Every program of an installation.
pub(crate) const PROGRAMS: [&str; 5] =
    ["slotguard", "migrate-runner", "runtime-wrapper", "pg-sidecar", "web-surface"];

/// Returns the path of a built program.
pub(crate) fn program(name: &str) -> PathBuf {
    let path = directory().join(name);
    assert!(path.is_file(), "{} is not built", path.display());
    path
}

fn directory() -> &'static Path {
    static DIRECTORY: OnceLock<PathBuf> = OnceLock::new();
    DIRECTORY.get_or_init(|| environment::built_programs().unwrap_or_else(build))
}

/// Builds the programs the way this test binary was built, from `target/<profile>/deps`.
fn build() -> PathBuf {
    let own = std::env::current_exe().unwrap();
    let deps = own.parent().unwrap();
    let directory = deps.parent().unwrap();
    let profile = match directory.file_name().unwrap().to_str().unwrap() {
        "debug" => "dev",
        other => other,
    };
    #[expect(clippy::disallowed_methods, reason = "cargo needs the caller's environment")]
    let status = Command::new(option_env!("CARGO").unwrap_or("cargo"))
        .args(["build", "--quiet", "--workspace", "--bins", "--profile", profile, "--target-dir"])
        .arg(directory.parent().unwrap())
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .status()
        .expect("cargo can be started");
    assert!(status.success(), "the programs cannot be built");
    directory.to_owned()
}
