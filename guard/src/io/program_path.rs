//! Where a path leads, walked one component at a time: whoever may write a directory on the way may
//! put another program there, whatever the file itself is like.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{FileType, Stat};
use rustix::io::Errno;

use super::program_file::WRITABLE_BY_OTHERS;

/// As many links as the kernel follows.
const MOST_LINKS: usize = 40;

const STICKY: u32 = 0o1000;

/// Why a path is not followed to its end.
#[derive(Debug)]
pub(super) enum PathProblem {
    /// The system says no.
    System(Errno),
    /// Somebody else could put something else there.
    Unsafe(String),
}

/// Follows an absolute path through its links and returns where it leads.
///
/// # Errors
/// Refuses directories and links that somebody other than root or the caller could change.
pub(super) fn follow(path: &Path) -> Result<PathBuf, PathProblem> {
    let mut reached = PathBuf::from("/");
    let mut ahead: VecDeque<OsString> = names(path);
    let mut links = 0;
    judge_directory(&reached)?;
    while let Some(name) = ahead.pop_front() {
        if name == ".." {
            reached.pop();
            continue;
        }
        let next = reached.join(&name);
        let stat = rustix::fs::lstat(&next).map_err(PathProblem::System)?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Symlink => {
                links += 1;
                if links > MOST_LINKS {
                    return Err(PathProblem::System(Errno::LOOP));
                }
                // In a sticky directory anybody may have made it.
                judge_owner(&next, &stat)?;
                let target = rustix::fs::readlink(&next, Vec::new());
                let target = target.map_err(PathProblem::System)?;
                let target = PathBuf::from(OsString::from_vec(target.into_bytes()));
                if target.is_absolute() {
                    reached = PathBuf::from("/");
                }
                for name in names(&target).into_iter().rev() {
                    ahead.push_front(name);
                }
            }
            FileType::Directory => {
                judge_directory(&next)?;
                reached = next;
            }
            _ => reached = next,
        }
    }
    Ok(reached)
}

/// Returns the components to walk, `..` included: behind a link it means the link's target.
fn names(path: &Path) -> VecDeque<OsString> {
    let walked = |component: &Component<'_>| {
        matches!(component, Component::Normal(_) | Component::ParentDir)
    };
    path.components().filter(walked).map(|c| c.as_os_str().to_owned()).collect()
}

fn judge_directory(path: &Path) -> Result<(), PathProblem> {
    let stat = rustix::fs::lstat(path).map_err(PathProblem::System)?;
    judge_owner(path, &stat)?;
    // In a sticky directory only the owner of an entry may replace it.
    if stat.st_mode & WRITABLE_BY_OTHERS != 0 && stat.st_mode & STICKY == 0 {
        return Err(refuse(path, &format!("has mode {:04o}", stat.st_mode & 0o7777)));
    }
    Ok(())
}

fn judge_owner(path: &Path, stat: &Stat) -> Result<(), PathProblem> {
    if stat.st_uid == 0 || stat.st_uid == rustix::process::geteuid().as_raw() {
        return Ok(());
    }
    Err(refuse(path, &format!("belongs to uid {}", stat.st_uid)))
}

fn refuse(path: &Path, why: &str) -> PathProblem {
    PathProblem::Unsafe(format!(
        "`{}` on the way {why}",
        crate::diagnostic::shown(&path.to_string_lossy())
    ))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, chown, symlink};

    use super::*;

    fn set_mode(path: &Path, mode: u32) {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    }

    struct Tree(tempfile::TempDir);

    impl Tree {
        /// Makes `bin/program`, `link` to it by way of `far/hop`, and `up` with a `..`.
        fn new() -> Self {
            let tree = tempfile::tempdir().unwrap();
            for directory in ["bin", "far"] {
                std::fs::create_dir(tree.path().join(directory)).unwrap();
                set_mode(&tree.path().join(directory), 0o755);
            }
            std::fs::write(tree.path().join("bin/program"), "").unwrap();
            symlink("../bin/program", tree.path().join("far/hop")).unwrap();
            symlink(tree.path().join("far/hop"), tree.path().join("link")).unwrap();
            symlink("far", tree.path().join("dir")).unwrap();
            Self(tree)
        }

        fn at(&self, name: &str) -> PathBuf {
            self.0.path().join(name)
        }

        fn is_safe(&self, name: &str) -> bool {
            match follow(&self.at(name)) {
                Ok(real) => {
                    assert_eq!(real, std::fs::canonicalize(self.at(name)).unwrap());
                    true
                }
                Err(PathProblem::Unsafe(_)) => false,
                Err(PathProblem::System(error)) => panic!("{name}: {error}"),
            }
        }
    }

    const NAMES: [&str; 5] = ["bin/program", "far/hop", "link", "dir/hop", "far/../bin/program"];

    #[test]
    fn every_directory_on_the_way_counts() {
        let tree = Tree::new();
        assert!(NAMES.iter().all(|name| tree.is_safe(name)));
        for mode in [0o775, 0o757, 0o777] {
            set_mode(&tree.at("bin"), mode);
            assert!(NAMES.iter().all(|name| !tree.is_safe(name)), "bin {mode:o}");
            set_mode(&tree.at("bin"), 0o755);
            set_mode(&tree.at("far"), mode);
            assert!(tree.is_safe("bin/program"));
            assert!(NAMES[1..].iter().all(|name| !tree.is_safe(name)), "far {mode:o}");
            set_mode(&tree.at("far"), 0o755);
        }
        set_mode(&tree.at("bin"), 0o1777);
        assert!(NAMES.iter().all(|name| tree.is_safe(name)), "nobody else can replace it");
    }

    #[test]
    fn nobody_else_may_own_a_directory_or_a_link() {
        if !rustix::process::geteuid().is_root() {
            return; // Only root can give something away.
        }
        let tree = Tree::new();
        chown(tree.at("bin"), Some(65534), None).unwrap();
        assert!(NAMES.iter().all(|name| !tree.is_safe(name)));
        chown(tree.at("bin"), Some(0), None).unwrap();
        std::os::unix::fs::lchown(tree.at("link"), Some(65534), None).unwrap();
        assert!(!tree.is_safe("link") && tree.is_safe("far/hop"));
    }

    #[test]
    fn links_in_a_circle_end() {
        let tree = Tree::new();
        symlink("b", tree.at("a")).unwrap();
        symlink("a", tree.at("b")).unwrap();
        let problem = follow(&tree.at("a")).unwrap_err();
        assert!(matches!(problem, PathProblem::System(Errno::LOOP)), "{problem:?}");
    }
}
