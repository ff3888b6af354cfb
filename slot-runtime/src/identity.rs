//! The key by which the backend of a slot can prove which slot it is of.
//!
//! It lies in the slot's private home, new for every start from the record: a backend of another
//! slot never sees it, and one of an earlier start has another. What is proved with it is not
//! decided here.

use std::os::fd::AsFd;

use guard::diagnostic::{Code, Denial};
use guard::io::{FileProblem, SafeFile};
use guard::path::RelativePath;
use guard::slot::SlotId;
use rustix::fs::Mode;

use crate::{StateRoot, file, random};

/// The file in the home of the backend.
pub const FILE: &str = ".slotguard-identity";

const PRIVATE: Mode = Mode::from_raw_mode(0o600);

/// How many hexadecimal digits a key has.
const DIGITS: usize = 64;

/// The key of one start of a slot's backend; never shown.
pub struct Key(String);

impl Key {
    /// Returns the key, to compute with.
    #[must_use]
    pub fn dangerous_expose(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Key")
    }
}

/// Puts a new key into the home of a backend that is about to start.
///
/// # Errors
/// Refuses a home that cannot be written.
pub fn renew(home: impl AsFd) -> Result<(), Denial> {
    let key = random::hex(DIGITS / 2).map(|key| format!("{key}\n"));
    let written = key.and_then(|key| file::replace(home, FILE, PRIVATE, key.as_bytes()));
    written.map_err(|error| {
        Denial::new(
            Code::RootUnusable,
            "the key of the slot's identity cannot be written",
            format!("`{FILE}` in the slot's home: {error}"),
            "a home that the slot's user can write to",
        )
    })
}

/// Reads the key of a slot's backend; `None` where no start from the record has left one.
///
/// # Errors
/// Says what is wrong with a file that is there.
pub fn key(state: &StateRoot, slot: SlotId) -> Result<Option<Key>, FileProblem> {
    let home = RelativePath::parse(&format!("{slot}/home"));
    let opened = home.and_then(|home| state.root().open_directory(&home));
    let Ok(home) = opened else { return Ok(None) };
    match SafeFile::of_anybody(DIGITS + 1).read_in(home, FILE) {
        Ok(text) => {
            let text = text.trim_end();
            let is_key = text.len() == DIGITS && text.bytes().all(|byte| byte.is_ascii_hexdigit());
            Ok(is_key.then(|| Key(text.to_owned())))
        }
        Err(FileProblem::Missing) => Ok(None),
        Err(problem) => Err(problem),
    }
}

#[cfg(test)]
mod tests {
    use guard::config::Roots;
    use guard::path::AbsolutePath;

    use super::*;

    #[test]
    fn each_start_has_a_key_of_its_own_and_only_a_whole_one_counts() {
        let place = tempfile::tempdir().unwrap();
        let state = AbsolutePath::parse(place.path().join("state").to_str().unwrap()).unwrap();
        let state = StateRoot::open_or_create(&Roots { state, ..Roots::default() }).unwrap();
        let slot = "preview-1".parse().unwrap();
        let read = || key(&state, slot).unwrap().map(|key| key.dangerous_expose().to_owned());
        assert_eq!(read(), None);
        let home = state.root().create_directory(&["preview-1", "home"]).unwrap();
        renew(&home).unwrap();
        let first = read().unwrap();
        renew(&home).unwrap();
        assert!(first.len() == DIGITS && read().is_some_and(|second| second != first));
        let path = place.path().join("state/preview-1/home").join(FILE);
        std::fs::write(&path, "").unwrap();
        assert_eq!(read(), None);
        std::fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink("/etc/hostname", &path).unwrap();
        assert!(key(&state, slot).is_err());
    }
}
