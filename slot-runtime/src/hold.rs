//! A slot held for one kind of work, by a lock that the kernel lifts when its holder ends.

use std::os::fd::OwnedFd;
use std::time::Duration;

use guard::diagnostic::{Code, Denial};

use crate::StateRoot;
use crate::lease::Mode;
use crate::lease::flock::lock;

/// The lock, for as long as it lives.
#[derive(Debug)]
#[must_use = "the lock is held only as long as this value"]
pub struct Held(#[expect(dead_code, reason = "held for the lock on it")] OwnedFd);

/// Takes a lock beneath the state root without waiting; `None` when somebody else has it.
///
/// The file is never removed: two processes could otherwise lock two files of one name.
///
/// # Errors
/// Refuses a state root in which the file cannot be made.
pub fn hold(state: &StateRoot, directory: &str, name: &str) -> Result<Option<Held>, Denial> {
    let directory = state.root().create_readable_directory(directory)?;
    let locked = lock(&directory, name, Mode::Exclusive, Duration::ZERO);
    locked.map(|locked| locked.map(Held)).map_err(|error| {
        Denial::new(
            Code::RootUnusable,
            "a lock beneath the state root cannot be taken",
            format!("`{name}`: {}", std::io::Error::from(error)),
            "a state root that the caller can write to",
        )
    })
}

#[cfg(test)]
mod tests {
    use guard::config::Roots;
    use guard::path::AbsolutePath;

    use super::*;

    #[test]
    fn one_holds_it_until_it_is_dropped() {
        let place = tempfile::tempdir().unwrap();
        let state = AbsolutePath::parse(place.path().join("state").to_str().unwrap()).unwrap();
        let state = StateRoot::open_or_create(&Roots { state, ..Roots::default() }).unwrap();
        let first = hold(&state, "publish", "preview-1.lock").unwrap();
        assert!(first.is_some());
        assert!(hold(&state, "publish", "preview-1.lock").unwrap().is_none());
        assert!(hold(&state, "publish", "preview-2.lock").unwrap().is_some());
        drop(first);
        assert!(hold(&state, "publish", "preview-1.lock").unwrap().is_some());
    }
}
