//! What the caller of the tests can choose; the one place of the tests that asks the environment.

use std::path::PathBuf;

/// Returns the directory of programs that are built already.
pub(crate) fn built_programs() -> Option<PathBuf> {
    variable("SLOTGUARD_BIN_DIR").map(PathBuf::from)
}

/// Returns the directory of the PostgreSQL server programs to test on.
pub(crate) fn postgres() -> Option<PathBuf> {
    variable("SLOTGUARD_TEST_POSTGRES").map(PathBuf::from)
}

/// Returns the seed of a random test that shall be repeated.
pub(crate) fn seed() -> Option<u64> {
    variable("SLOTGUARD_TEST_SEED")?.to_str()?.parse().ok()
}

#[expect(clippy::disallowed_methods, reason = "the one place of the tests that asks it")]
fn variable(name: &str) -> Option<std::ffi::OsString> {
    std::env::var_os(name)
}
