//! The one place that reads the environment of this process.
//!
//! The standard library leaves out entries without `=` or with an empty name. Another program that
//! is started with the same entries may well see them, so they are read as the kernel gave them.

use std::ffi::{CStr, c_char};

use crate::diagnostic::Denial;
use crate::environment::Environment;

#[expect(unsafe_code, reason = "the C library's list of entries has no safe reader")]
unsafe extern "C" {
    /// Ends with a null pointer; is one itself where the environment was cleared.
    static environ: *const *const c_char;
}

/// Takes the one snapshot of this process's environment.
///
/// # Errors
/// Refuses an environment in which a name stands twice, before anything is asked of it.
pub fn environment_snapshot() -> Result<Environment, Denial> {
    Environment::from_entries(entries())
}

#[expect(unsafe_code, reason = "as above")]
fn entries() -> impl Iterator<Item = &'static [u8]> {
    // SAFETY: the C library sets it before `main`, and nobody changes it afterwards: the functions
    // that do are banned in this project.
    let mut next = unsafe { environ };
    std::iter::from_fn(move || {
        if next.is_null() {
            return None;
        }
        // SAFETY: `next` is within the list: it starts at its head and stops at the null pointer.
        let entry = unsafe { *next };
        if entry.is_null() {
            return None;
        }
        // SAFETY: the entry before this one was not the last, so there is one more.
        next = unsafe { next.add(1) };
        // SAFETY: each entry is a text that ends with NUL and stays as it is, as said above.
        Some(unsafe { CStr::from_ptr(entry) }.to_bytes())
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStrExt as _;

    use super::*;

    #[test]
    #[expect(clippy::disallowed_methods, reason = "the standard library as the second reader")]
    fn what_the_standard_library_sees_is_there() {
        let snapshot = environment_snapshot().unwrap();
        let mut count = 0;
        for (name, value) in std::env::vars_os() {
            let found = snapshot.value(name.to_str().unwrap());
            assert_eq!(found, Some(value.as_bytes()), "{name:?}");
            count += 1;
        }
        assert!(count > 0 && snapshot.variables().len() >= count);
    }
}
