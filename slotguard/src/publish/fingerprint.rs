//! What a worktree's files look like, so that a step whose input has not changed can say so.
//!
//! A fingerprint decides only whether work is repeated, never whether something is allowed.

use std::os::fd::{AsFd as _, BorrowedFd};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags};
use sha2::{Digest as _, Sha256};

/// Directories that builds and dependency syncs fill; what fills them is in the files beside them.
const MADE: &[&str] = &[".git", "node_modules", "target", ".venv", "__pycache__"];

/// Most entries that are looked at; a larger tree has no fingerprint and every step runs.
const MOST_ENTRIES: usize = 200_000;

const DEEPEST: usize = 64;

/// Returns the fingerprint of everything in a directory but what `without` names at its top.
///
/// Names, sizes, modes and times count, not contents. `None` for a tree that cannot be read whole.
pub(crate) fn tree(directory: BorrowedFd<'_>, without: &[&str]) -> Option<String> {
    let mut walk = Walk { hash: Sha256::new(), left: MOST_ENTRIES };
    walk.directory(directory, 0, without)?;
    Some(hex(walk.hash))
}

/// Returns the fingerprint of the named files at the top of a directory, by their contents.
pub(crate) fn files(directory: BorrowedFd<'_>, names: &[&str]) -> Option<String> {
    let mut hash = Sha256::new();
    for name in names {
        hash.update(name.as_bytes());
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        match rustix::fs::openat2(directory, *name, flags, Mode::empty(), resolve) {
            Ok(file) => {
                let content = std::io::read_to_string(std::fs::File::from(file)).ok()?;
                hash.update((content.len() as u64).to_be_bytes());
                hash.update(content);
            }
            Err(rustix::io::Errno::NOENT) => hash.update([0]),
            Err(_) => return None,
        }
    }
    Some(hex(hash))
}

/// Returns the fingerprint of a text.
pub(crate) fn text(text: &str) -> String {
    hex(Sha256::new_with_prefix(text))
}

struct Walk {
    hash: Sha256,
    left: usize,
}

impl Walk {
    fn directory(&mut self, at: BorrowedFd<'_>, depth: usize, without: &[&str]) -> Option<()> {
        let mut names: Vec<_> = Dir::read_from(at)
            .ok()?
            .map(|entry| entry.map(|entry| entry.file_name().to_owned()))
            .collect::<Result<_, _>>()
            .ok()?;
        names.sort_unstable();
        for name in names {
            let bytes = name.to_bytes();
            let made = MADE.iter().chain(without).any(|made| made.as_bytes() == bytes);
            if matches!(bytes, b"." | b"..") || made {
                continue;
            }
            self.left = self.left.checked_sub(1)?;
            let stat = rustix::fs::statat(at, &name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
            self.hash.update((bytes.len() as u64).to_be_bytes());
            self.hash.update(bytes);
            self.hash.update(stat.st_mode.to_be_bytes());
            match FileType::from_raw_mode(stat.st_mode) {
                FileType::Directory if depth < DEEPEST => {
                    let flags = OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
                    let inner = rustix::fs::openat(at, &name, flags, Mode::empty()).ok()?;
                    self.directory(inner.as_fd(), depth + 1, &[])?;
                }
                FileType::Directory => return None,
                FileType::Symlink => {
                    self.hash
                        .update(rustix::fs::readlinkat(at, &name, Vec::new()).ok()?.to_bytes());
                }
                _ => {
                    self.hash.update(stat.st_size.to_be_bytes());
                    self.hash.update(stat.st_mtime.to_be_bytes());
                    self.hash.update(stat.st_mtime_nsec.to_be_bytes());
                }
            }
        }
        // The end of a directory, so that files cannot move between levels unseen.
        self.hash.update([0xff; 9]);
        Some(())
    }
}

fn hex(hash: Sha256) -> String {
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    fn bench() -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(directory.path().join("src/inner")).unwrap();
        std::fs::create_dir_all(directory.path().join("node_modules/x")).unwrap();
        std::fs::write(directory.path().join("src/a.js"), "a").unwrap();
        std::fs::write(directory.path().join("package.json"), "{}").unwrap();
        directory
    }

    fn of(directory: &tempfile::TempDir) -> Option<String> {
        tree(File::open(directory.path()).unwrap().as_fd(), &["dist"])
    }

    #[test]
    fn a_change_anywhere_changes_the_tree() {
        let bench = bench();
        let first = of(&bench).unwrap();
        assert_eq!(of(&bench).unwrap(), first);
        std::fs::write(bench.path().join("src/a.js"), "ab").unwrap();
        let second = of(&bench).unwrap();
        assert_ne!(second, first);
        std::fs::rename(bench.path().join("src/a.js"), bench.path().join("src/inner/a.js"))
            .unwrap();
        assert_ne!(of(&bench).unwrap(), second);
    }

    #[test]
    fn what_is_made_does_not_count() {
        let bench = bench();
        let first = of(&bench).unwrap();
        std::fs::write(bench.path().join("node_modules/x/y"), "a").unwrap();
        std::fs::create_dir(bench.path().join("dist")).unwrap();
        assert_eq!(of(&bench).unwrap(), first);
        std::fs::create_dir(bench.path().join("src/dist")).unwrap();
        assert_ne!(of(&bench).unwrap(), first);
    }

    #[test]
    fn named_files_count_by_content_and_by_being_there() {
        let bench = bench();
        let of = || {
            files(File::open(bench.path()).unwrap().as_fd(), &["package.json", "package-lock.json"])
        };
        let first = of().unwrap();
        let path = bench.path().join("package-lock.json");
        std::fs::write(&path, "").unwrap();
        let second = of().unwrap();
        assert_ne!(second, first);
        std::fs::write(&path, "{}").unwrap();
        assert_ne!(of().unwrap(), second);
        std::fs::remove_file(&path).unwrap();
        assert_eq!(of().unwrap(), first);
    }
}
