//! The directories a program of a slot runs in, opened beneath their roots and held open.
//!
//! A worktree is only ever entered through the handle that was opened here; its text is handed to
//! the program as information, and never resolved again. Worktrees are not created or changed.

use std::ffi::OsStr;
use std::os::fd::OwnedFd;

use guard::config::Roots;
use guard::diagnostic::{Code, Denial, shown};
use guard::environment::ChildPlaces;
use guard::io::Root;
use guard::path::AbsolutePath;
use guard::slot::SlotId;

use crate::cli::Purpose;

/// The slot's private directories and the directory its program starts in.
#[derive(Debug)]
pub struct Places {
    child: ChildPlaces,
    home_is: &'static str,
    home: OwnedFd,
    temporary: OwnedFd,
    worktree: Option<OwnedFd>,
}

impl Places {
    /// Returns what the program is told of its directories.
    #[must_use]
    pub fn child(&self) -> &ChildPlaces {
        &self.child
    }

    /// Returns the directory that the program starts in, as text for people.
    #[must_use]
    pub fn working_directory(&self) -> &str {
        self.child.worktree.as_deref().unwrap_or(&self.child.home)
    }

    /// Returns the directory that the program starts in.
    #[must_use]
    pub fn working_handle(&self) -> &OwnedFd {
        self.worktree.as_ref().unwrap_or(&self.home)
    }

    /// Returns the slot's private home.
    pub(crate) fn home_handle(&self) -> &OwnedFd {
        &self.home
    }

    /// Returns the worktree, if there is one.
    pub(crate) fn worktree_handle(&self) -> Option<&OwnedFd> {
        self.worktree.as_ref()
    }

    /// Returns the slot's own directories: each path, what it is, and its handle.
    pub(crate) fn directories(&self) -> impl Iterator<Item = (&str, &'static str, &OwnedFd)> {
        let worktree = self.child.worktree.as_deref().zip(self.worktree.as_ref());
        let own = [
            Some((self.child.home.as_str(), self.home_is, &self.home)),
            Some((self.child.temporary.as_str(), "the slot's temporary files", &self.temporary)),
            worktree.map(|(path, handle)| (path, "the worktree", handle)),
        ];
        own.into_iter().flatten()
    }
}

/// Opens the worktree, if one is named, and makes the slot's private home and temporary directory.
///
/// # Errors
/// Refuses a worktree that is not written plainly, not beneath `[roots] worktree` or missing, a root
/// that cannot be used, and private directories that others can enter.
pub fn prepare(
    slot: SlotId,
    roots: &Roots,
    worktree: Option<&OsStr>,
    purpose: Purpose,
) -> Result<Places, Denial> {
    let worktree = worktree.map(|text| open_worktree(text, roots)).transpose()?;
    let state = Root::open_or_create(&roots.state)?;
    // What a build leaves in its home must not be what the backend finds in its own.
    let (home_name, home_is) = match purpose {
        Purpose::Backend => ("home", "the slot's home"),
        Purpose::Sync => ("cache", "the slot's cache"),
    };
    let (home_path, home) = private_directory(&state, slot, home_name)?;
    let (temporary_path, temporary) = private_directory(&state, slot, "tmp")?;
    let (worktree_path, worktree) =
        worktree.map(|(path, handle)| (path.as_str().to_owned(), handle)).unzip();
    let child = ChildPlaces { home: home_path, temporary: temporary_path, worktree: worktree_path };
    Ok(Places { child, home_is, home, temporary, worktree })
}

fn open_worktree(text: &OsStr, roots: &Roots) -> Result<(AbsolutePath, OwnedFd), Denial> {
    // A byte that is not UTF-8 stays visible in the refusal and cannot name anything else.
    let path = AbsolutePath::parse(text.to_str().ok_or_else(|| refuse_bytes(text))?)?;
    let root = roots.worktree.as_ref().ok_or_else(|| {
        Denial::new(
            Code::RootUnusable,
            "a worktree was given, but no root for worktrees is configured",
            "no `[roots] worktree`",
            "`[roots] worktree`, the directory that holds all worktrees",
        )
        .help("Set `[roots] worktree` in the configuration, or leave `--worktree` out.")
    })?;
    let beneath = path.beneath(root).ok_or_else(|| refuse_outside(&path, root))?;
    let handle = Root::open(root)?.crossing_mounts(roots.cross_mounts).open_directory(&beneath)?;
    Ok((path, handle))
}

fn refuse_bytes(text: &OsStr) -> Denial {
    Denial::new(
        Code::PathMalformed,
        "the path is not written plainly: it is not UTF-8",
        format!("`{}`", shown(&text.to_string_lossy())),
        "an absolute path of UTF-8 text",
    )
}

fn refuse_outside(path: &AbsolutePath, root: &AbsolutePath) -> Denial {
    Denial::new(
        Code::PathOutsideRoot,
        "the worktree is not beneath the root for worktrees",
        format!("`{}`", shown(path.as_str())),
        format!("a directory beneath `{}`", shown(root.as_str())),
    )
}

/// Makes or reuses a directory of the slot, and requires that nobody else can enter it.
fn private_directory(state: &Root, slot: SlotId, name: &str) -> Result<(String, OwnedFd), Denial> {
    let slot = slot.to_string();
    let path = format!("{}/{slot}/{name}", state.path().as_str());
    let handle = state.create_directory(&[&slot, name])?;
    let stat = rustix::fs::fstat(&handle)
        .map_err(|error| refuse_directory(&path, std::io::Error::from(error).to_string()))?;
    // One that was there before may be anybody's; start-up files in it would run as the slot.
    match private_problem(stat.st_uid, stat.st_mode, rustix::process::geteuid().as_raw()) {
        None => Ok((path, handle)),
        Some(found) => Err(refuse_directory(&path, found)),
    }
}

/// Says what keeps a directory from being private to the caller.
fn private_problem(owner: u32, mode: u32, caller: u32) -> Option<String> {
    if owner != caller && owner != 0 {
        return Some(format!("a directory of uid {owner}"));
    }
    (mode & 0o077 != 0).then(|| format!("a directory of mode {:04o}", mode & 0o7777))
}

fn refuse_directory(path: &str, found: String) -> Denial {
    Denial::new(
        Code::RootUnusable,
        format!("the slot's directory `{}` is not private", shown(path)),
        found,
        "a directory of root or the caller with mode 0700",
    )
    .help("Correct its owner and mode, or remove it: it is made again.")
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStrExt as _;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    struct Bench {
        directory: tempfile::TempDir,
        roots: Roots,
    }

    fn bench() -> Bench {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| {
            AbsolutePath::parse(directory.path().join(name).to_str().unwrap()).unwrap()
        };
        let roots =
            Roots { worktree: Some(at("previews")), state: at("state"), ..Roots::default() };
        std::fs::create_dir_all(directory.path().join("previews/x")).unwrap();
        Bench { directory, roots }
    }

    impl Bench {
        fn path(&self, name: &str) -> String {
            format!("{}/{name}", self.directory.path().display())
        }

        fn prepare(&self, worktree: Option<&str>) -> Result<Places, Code> {
            let slot = "preview-1".parse().unwrap();
            let worktree = worktree.map(OsStr::new);
            prepare(slot, &self.roots, worktree, Purpose::Backend).map_err(|denial| denial.code())
        }
    }

    #[test]
    fn without_a_worktree_the_program_starts_in_its_home() {
        let bench = bench();
        let places = bench.prepare(None).unwrap();
        assert_eq!(places.working_directory(), bench.path("state/preview-1/home"));
        assert_eq!(places.child().worktree, None);
        for name in ["home", "tmp"] {
            let path = bench.path(&format!("state/preview-1/{name}"));
            let mode = std::fs::metadata(path).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o700, "{name}");
        }
    }

    #[test]
    fn a_sync_has_a_home_of_its_own() {
        let bench = bench();
        let slot = "preview-1".parse().unwrap();
        let places = prepare(slot, &bench.roots, None, Purpose::Sync).unwrap();
        assert_eq!(places.child().home, bench.path("state/preview-1/cache"));
        assert!(!bench.directory.path().join("state/preview-1/home").exists());
    }

    #[test]
    fn en_8_a_worktree_beneath_the_root_is_told_as_written() {
        let bench = bench();
        let worktree = bench.path("previews/x");
        let places = bench.prepare(Some(&worktree)).unwrap();
        assert_eq!(places.child().worktree.as_deref(), Some(worktree.as_str()));
        assert_eq!(places.working_directory(), worktree);
    }

    #[test]
    fn se_3_other_worktrees_are_refused() {
        let bench = bench();
        symlink("/tmp", bench.path("previews/link")).unwrap();
        let table = [
            (bench.path("previews"), Code::PathOutsideRoot),
            (bench.path("previews-evil"), Code::PathOutsideRoot),
            (bench.path("previews/link"), Code::PathOutsideRoot),
            (bench.path("previews/../state"), Code::PathMalformed),
            (bench.path("previews/gone"), Code::PathMissing),
            ("previews/x".to_owned(), Code::PathMalformed),
            (String::new(), Code::PathMalformed),
        ];
        for (worktree, code) in table {
            assert_eq!(bench.prepare(Some(&worktree)).unwrap_err(), code, "{worktree}");
        }
        assert!(!bench.directory.path().join("state").exists());
    }

    #[test]
    fn a_worktree_needs_a_configured_root_and_plain_text() {
        let mut bench = bench();
        let slot = "preview-1".parse().unwrap();
        let denial = {
            let odd = Some(OsStr::from_bytes(b"/\xff"));
            prepare(slot, &bench.roots, odd, Purpose::Backend).unwrap_err()
        };
        assert_eq!(denial.code(), Code::PathMalformed);
        bench.roots.worktree = None;
        let worktree = bench.path("previews/x");
        assert_eq!(bench.prepare(Some(&worktree)).unwrap_err(), Code::RootUnusable);
    }

    #[test]
    fn a_home_that_others_can_enter_is_refused() {
        let bench = bench();
        bench.prepare(None).unwrap();
        let home = bench.path("state/preview-1/home");
        let set_mode = |mode| {
            std::fs::set_permissions(&home, std::fs::Permissions::from_mode(mode)).unwrap();
        };
        set_mode(0o755);
        assert_eq!(bench.prepare(None).unwrap_err(), Code::RootUnusable);
        set_mode(0o700);
        assert!(bench.prepare(None).is_ok());
    }

    #[test]
    fn private_means_owner_and_mode() {
        assert_eq!(private_problem(1000, 0o40700, 1000), None);
        assert_eq!(private_problem(0, 0o40700, 1000), None);
        assert!(private_problem(1001, 0o40700, 1000).unwrap().contains("1001"));
        assert!(private_problem(1000, 0o40770, 1000).unwrap().contains("0770"));
    }
}
