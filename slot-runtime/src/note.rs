//! Small texts beneath the state root that are useful and never trusted: losing one costs time only.

use guard::io::SafeFile;
use rustix::fs::Mode;

use crate::{StateRoot, file};

const LIMIT: usize = 64 * 1024;

/// Reads a note; `None` when it is missing, unsafe to read or cannot be read.
#[must_use]
pub fn read(state: &StateRoot, directory: &str, name: &str) -> Option<String> {
    let directory = state.root().open_readable_directory(directory).ok()??;
    SafeFile::of_caller(LIMIT, 0o022).read_in(&directory, name).ok()
}

/// Writes a note, whole or not at all; returns whether it was written.
pub fn write(state: &StateRoot, directory: &str, name: &str, text: &str) -> bool {
    let Ok(directory) = state.root().create_readable_directory(directory) else { return false };
    file::replace(&directory, name, Mode::from_raw_mode(0o644), text.as_bytes()).is_ok()
}

#[cfg(test)]
mod tests {
    use guard::config::Roots;
    use guard::path::AbsolutePath;

    use super::*;

    #[test]
    fn a_note_is_read_back_unless_others_could_write_it() {
        use std::os::unix::fs::PermissionsExt as _;
        let place = tempfile::tempdir().unwrap();
        let state = place.path().join("state");
        let state = AbsolutePath::parse(state.to_str().unwrap()).unwrap();
        let state = StateRoot::open_or_create(&Roots { state, ..Roots::default() }).unwrap();
        assert_eq!(read(&state, "publish", "x.json"), None);
        assert!(write(&state, "publish", "x.json", "text"));
        assert_eq!(read(&state, "publish", "x.json").as_deref(), Some("text"));
        let path = place.path().join("state/publish/x.json");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o666)).unwrap();
        assert_eq!(read(&state, "publish", "x.json"), None);
    }
}
