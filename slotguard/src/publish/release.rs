//! A frontend's release: copied beneath the slot's web root, then switched to in one step.
//!
//! A release is named by what is in it, so publishing the same files twice is one release, and a
//! copy that a crash cut short is never taken for a whole one: it has another name until it is whole.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use guard::diagnostic::{Code, Denial, shown};
use guard::frontend::AddressRules;
use guard::io::Root;
use guard::path::AbsolutePath;
use rustix::fs::{AtFlags, Dir, DirEntry, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use sha2::{Digest as _, Sha256};

use crate::tree;

/// Most files of one release.
const MOST_FILES: usize = 20_000;

/// Most bytes of one release.
const MOST_BYTES: u64 = 512 * 1024 * 1024;

/// Deepest directory of a release.
const DEEPEST: usize = 32;

/// How many bytes of the digest name a release.
const NAME_BYTES: usize = 12;

/// How the name of a copy begins that is not whole yet.
const UNFINISHED: &str = ".unfinished-";

const FILE_MODE: Mode = Mode::from_raw_mode(0o644);
const DIRECTORY_MODE: Mode = Mode::from_raw_mode(0o755);

/// Most literal addresses that one refusal names.
const NAMED_LITERALS: usize = 5;

const NO_LINKS: ResolveFlags =
    ResolveFlags::BENEATH.union(ResolveFlags::NO_SYMLINKS).union(ResolveFlags::NO_MAGICLINKS);

const DIRECTORY: OFlags = OFlags::DIRECTORY.union(OFlags::CLOEXEC).union(OFlags::RDONLY);

/// A release that lies whole beneath the slot's web root and is not served yet.
///
/// Made by [`stage`] only, and consumed by [`StagedRelease::switch`].
#[derive(Debug)]
pub(crate) struct StagedRelease {
    root: OwnedFd,
    name: String,
    files: usize,
    bytes: u64,
    unchanged: bool,
}

/// What a switch came to.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub(crate) struct Switched {
    /// The release that is served now.
    pub(crate) release: String,
    /// The one that was served before.
    pub(crate) previous: Option<String>,
}

/// One file of the built frontend, as it was when it was read.
struct SourceFile {
    path: String,
    size: u64,
    digest: [u8; 32],
}

/// Reads the built frontend, refuses what may not be served, and copies it into a release.
///
/// # Errors
/// Refuses a frontend without `index.html`, with links or special files, one that is too large, and
/// one with a literal address that is not the slot's own `/api`; and a web root that cannot be used.
pub(crate) fn stage(
    dist: &OwnedFd,
    web_root: &AbsolutePath,
    rules: &AddressRules,
) -> Result<StagedRelease, Denial> {
    let files = look(dist.as_fd(), rules)?;
    place(&files, web_root, |target| {
        files.iter().try_for_each(|file| copy_file(dist.as_fd(), file, target))
    })
}

/// Makes the release of these files, unless it is there already.
fn place(
    files: &[SourceFile],
    web_root: &AbsolutePath,
    fill: impl FnOnce(BorrowedFd<'_>) -> Result<(), Denial>,
) -> Result<StagedRelease, Denial> {
    let name = name_of(files);
    let bytes = files.iter().map(|file| file.size).sum();
    let root = Root::open_or_create(web_root)?;
    let releases = directory_in(root.handle(), "releases")?;
    let unchanged = rustix::fs::statat(&releases, &name, AtFlags::SYMLINK_NOFOLLOW).is_ok();
    if !unchanged {
        copy(fill, releases.as_fd(), &name)?;
    }
    let root = root.handle().try_clone_to_owned().map_err(|error| unwritable("", &error))?;
    Ok(StagedRelease { root, name, files: files.len(), bytes, unchanged })
}

/// Puts files of our own into a release.
///
/// # Errors
/// Refuses a web root that cannot be written.
pub(crate) fn stage_files(
    contents: &[(&str, &[u8])],
    web_root: &AbsolutePath,
) -> Result<StagedRelease, Denial> {
    let file = |(path, content): &(&str, &[u8])| SourceFile {
        path: (*path).to_owned(),
        size: content.len() as u64,
        digest: Sha256::digest(content).into(),
    };
    let files: Vec<SourceFile> = contents.iter().map(file).collect();
    place(&files, web_root, |target| {
        contents.iter().try_for_each(|(path, content)| write(path, content, target))
    })
}

/// Reads the built frontend and refuses what may not be served; returns how many files there are.
///
/// # Errors
/// As [`stage`], but for the web root.
pub(crate) fn check(dist: &OwnedFd, rules: &AddressRules) -> Result<usize, Denial> {
    look(dist.as_fd(), rules).map(|files| files.len())
}

/// Opens the directory of a built frontend beneath its worktree.
///
/// # Errors
/// Refuses one that is missing or reached through a link.
pub(crate) fn open_directory(worktree: BorrowedFd<'_>, path: &str) -> Result<OwnedFd, Denial> {
    open_beneath(worktree, path, DIRECTORY).map_err(|error| match error {
        Errno::NOENT => Denial::new(
            Code::FrontendMissing,
            "the built frontend is not there",
            format!("no `{}` in the worktree", shown(path)),
            "the directory of `[frontend] dist`",
        ),
        error => unreadable(path, &error.into()),
    })
}

/// Returns the page of the release that a web root serves.
///
/// # Errors
/// Refuses a web root without a release of ours.
pub(crate) fn served_index(root: BorrowedFd<'_>) -> Result<Vec<u8>, Denial> {
    let name = current(root).ok_or_else(|| unreadable("current", &Errno::NOENT.into()))?;
    read(root, &format!("releases/{name}/index.html"), MOST_BYTES)
}

impl StagedRelease {
    /// Returns the release's name.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Returns how many files it has.
    pub(crate) fn files(&self) -> usize {
        self.files
    }

    /// Returns how many bytes its files have.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Returns whether the same files were staged before.
    pub(crate) fn unchanged(&self) -> bool {
        self.unchanged
    }

    /// Makes the release the one that is served, in one rename, and removes all but the newest.
    ///
    /// # Errors
    /// Refuses a web root in which the link cannot be replaced; the previous release then stays.
    pub(crate) fn switch(self, keep: usize) -> Result<Switched, Denial> {
        let previous = current(self.root.as_fd());
        if previous.as_deref() != Some(&self.name) {
            let new = format!(".current-{}", std::process::id());
            let target = format!("releases/{}", self.name);
            let failed = |error: Errno| unwritable("current", &error.into());
            let _ = rustix::fs::unlinkat(&self.root, &new, AtFlags::empty());
            rustix::fs::symlinkat(&target, &self.root, &new).map_err(failed)?;
            rustix::fs::renameat(&self.root, &new, &self.root, "current").map_err(failed)?;
            rustix::fs::fsync(&self.root).map_err(failed)?;
        }
        let keeps = [Some(self.name.as_str()), previous.as_deref()];
        remove_old(self.root.as_fd(), &keeps, keep);
        Ok(Switched { release: self.name, previous })
    }
}

/// Returns the release that a web root serves, if its link is one of ours.
pub(crate) fn current(root: BorrowedFd<'_>) -> Option<String> {
    let target = rustix::fs::readlinkat(root, "current", Vec::new()).ok()?;
    let name = target.to_str().ok()?.strip_prefix("releases/")?;
    is_release_name(name).then(|| name.to_owned())
}

fn is_release_name(name: &str) -> bool {
    name.len() == 2 * NAME_BYTES
        && name.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

fn look(dist: BorrowedFd<'_>, rules: &AddressRules) -> Result<Vec<SourceFile>, Denial> {
    let mut paths = Vec::new();
    collect(dist, "", 0, &mut paths)?;
    paths.sort_unstable();
    if !paths.iter().any(|path| path == "index.html") {
        return Err(Denial::new(
            Code::FrontendMissing,
            "the built frontend has no `index.html`",
            format!("{} files, none of them `index.html`", paths.len()),
            "`index.html` at the top of `[frontend] dist`",
        ));
    }
    examine(dist, paths, rules)
}

/// Lists the files below a directory; anything but files and directories is refused.
fn collect(
    directory: BorrowedFd<'_>,
    prefix: &str,
    depth: usize,
    paths: &mut Vec<String>,
) -> Result<(), Denial> {
    if depth > DEEPEST {
        return Err(too_large(&format!("directories nested deeper than {DEEPEST}")));
    }
    let failed = |error: Errno| unreadable(prefix, &error.into());
    for entry in Dir::read_from(directory).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let Ok(name) = entry.file_name().to_str() else {
            return Err(unservable(prefix, "a name that is not UTF-8"));
        };
        if name == "." || name == ".." {
            continue;
        }
        let path = if prefix.is_empty() { name.to_owned() } else { format!("{prefix}/{name}") };
        let stat = rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|error| unreadable(&path, &error.into()))?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => {
                let inner = open_beneath(directory, name, DIRECTORY)
                    .map_err(|error| unreadable(&path, &error.into()))?;
                collect(inner.as_fd(), &path, depth + 1, paths)?;
            }
            FileType::RegularFile => paths.push(path),
            FileType::Symlink => return Err(unservable(&path, "a symbolic link")),
            _ => return Err(unservable(&path, "neither a file nor a directory")),
        }
        if paths.len() > MOST_FILES {
            return Err(too_large(&format!("more than {MOST_FILES} files")));
        }
    }
    Ok(())
}

/// Reads every file once: its digest, and the literal addresses in it.
fn examine(
    dist: BorrowedFd<'_>,
    paths: Vec<String>,
    rules: &AddressRules,
) -> Result<Vec<SourceFile>, Denial> {
    let mut files = Vec::with_capacity(paths.len());
    let mut found = Vec::new();
    let mut total = 0;
    for path in paths {
        let content = read(dist, &path, MOST_BYTES - total)?;
        total += content.len() as u64;
        // A source map is read by a debugger only, and holds comments of every module.
        if !path.ends_with(".map") {
            let literals = rules.literals(&content).into_iter();
            found.extend(literals.map(|literal| (path.clone(), literal)));
        }
        let digest = Sha256::digest(&content).into();
        files.push(SourceFile { path, size: content.len() as u64, digest });
    }
    if found.is_empty() { Ok(files) } else { Err(refuse_literals(&found)) }
}

fn refuse_literals(found: &[(String, guard::frontend::Literal)]) -> Denial {
    let place = |(path, literal): &(String, guard::frontend::Literal)| {
        let (line, column) = (literal.line, literal.column);
        let text = shown(&literal.text);
        format!("{}:{line}:{column} `{text}` ({})", shown(path), literal.reach)
    };
    let named: Vec<String> = found.iter().take(NAMED_LITERALS).map(place).collect();
    let more = found.len() - named.len();
    let rest = if more == 0 { String::new() } else { format!(" and {more} more") };
    Denial::new(
        Code::FrontendAddress,
        "the built frontend names an address past its own `/api`",
        format!("{}{rest}", named.join(", ")),
        "relative `/api`",
    )
}

fn open_beneath(at: BorrowedFd<'_>, path: &str, flags: OFlags) -> Result<OwnedFd, Errno> {
    rustix::fs::openat2(at, path, flags, Mode::empty(), NO_LINKS)
}

fn read(dist: BorrowedFd<'_>, path: &str, limit: u64) -> Result<Vec<u8>, Denial> {
    let failed = |error: std::io::Error| unreadable(path, &error);
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let file = File::from(open_beneath(dist, path, flags).map_err(|error| failed(error.into()))?);
    if !file.metadata().map_err(failed)?.is_file() {
        return Err(unservable(path, "no longer a file"));
    }
    let mut content = Vec::new();
    file.take(limit + 1).read_to_end(&mut content).map_err(failed)?;
    if content.len() as u64 > limit {
        return Err(too_large(&format!("more than {MOST_BYTES} bytes")));
    }
    Ok(content)
}

/// The name is the content: paths and digests of all files, in order.
fn name_of(files: &[SourceFile]) -> String {
    let mut hash = Sha256::new();
    for file in files {
        hash.update((file.path.len() as u64).to_be_bytes());
        hash.update(&file.path);
        hash.update(file.digest);
    }
    hash.finalize().iter().take(NAME_BYTES).map(|byte| format!("{byte:02x}")).collect()
}

/// Fills a directory of another name, and gives the release its name when it is whole on disk.
fn copy(
    fill: impl FnOnce(BorrowedFd<'_>) -> Result<(), Denial>,
    releases: BorrowedFd<'_>,
    name: &str,
) -> Result<(), Denial> {
    let unfinished = format!("{UNFINISHED}{name}-{}", std::process::id());
    tree::remove(releases, &unfinished).map_err(|error| unwritable(&unfinished, &error))?;
    let target = directory_in(releases, &unfinished)?;
    let finished = fill(target.as_fd()).and_then(|()| {
        let failed = |error: Errno| unwritable(name, &error.into());
        sync_directories(target.as_fd(), 0).map_err(|error| unwritable(name, &error))?;
        match rustix::fs::renameat(releases, &unfinished, releases, name) {
            // The same files were published by somebody else at this moment.
            Err(Errno::NOTEMPTY | Errno::EXIST) => Ok(()),
            renamed => renamed.and_then(|()| rustix::fs::fsync(releases)).map_err(failed),
        }
    });
    // What a crash leaves of it goes with the next switch.
    let _ = tree::remove(releases, &unfinished);
    finished
}

fn copy_file(dist: BorrowedFd<'_>, file: &SourceFile, to: BorrowedFd<'_>) -> Result<(), Denial> {
    let content = read(dist, &file.path, MOST_BYTES)?;
    if Sha256::digest(&content)[..] != file.digest {
        return Err(unservable(&file.path, "a file that changed while it was read"));
    }
    write(&file.path, &content, to)
}

fn write(path: &str, content: &[u8], to: BorrowedFd<'_>) -> Result<(), Denial> {
    let failed = |error: std::io::Error| unwritable(path, &error);
    let mut directory = to.try_clone_to_owned().map_err(failed)?;
    let (parents, name) = path.rsplit_once('/').unwrap_or(("", path));
    for parent in parents.split('/').filter(|parent| !parent.is_empty()) {
        directory = directory_in(directory.as_fd(), parent)?;
    }
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let target = rustix::fs::openat2(&directory, name, flags, FILE_MODE, NO_LINKS)
        .map_err(|error| failed(error.into()))?;
    // Whatever the caller's mask: the web surface is another user.
    rustix::fs::fchmod(&target, FILE_MODE).map_err(|error| failed(error.into()))?;
    let mut target = File::from(target);
    target.write_all(content).and_then(|()| target.sync_all()).map_err(failed)
}

/// Makes a directory of mode 0755, or opens the one that is there.
fn directory_in(parent: BorrowedFd<'_>, name: &str) -> Result<OwnedFd, Denial> {
    let failed = |error: Errno| unwritable(name, &error.into());
    let made = rustix::fs::mkdirat(parent, name, DIRECTORY_MODE);
    let directory = match made {
        Ok(()) | Err(Errno::EXIST) => open_beneath(parent, name, DIRECTORY).map_err(failed)?,
        Err(error) => return Err(failed(error)),
    };
    if made.is_ok() {
        rustix::fs::fchmod(&directory, DIRECTORY_MODE).map_err(failed)?;
    }
    Ok(directory)
}

fn sync_directories(directory: BorrowedFd<'_>, depth: usize) -> std::io::Result<()> {
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        let inner = !matches!(name.to_bytes(), b"." | b"..");
        if inner && entry.file_type() == FileType::Directory && depth <= DEEPEST {
            let inner = rustix::fs::openat2(directory, name, DIRECTORY, Mode::empty(), NO_LINKS)?;
            sync_directories(inner.as_fd(), depth + 1)?;
        }
    }
    Ok(rustix::fs::fsync(directory)?)
}

/// Keeps the releases that are named and the newest others; what a crash left unfinished goes. What
/// cannot be removed is left.
fn remove_old(root: BorrowedFd<'_>, named: &[Option<&str>], keep: usize) {
    let Ok(releases) = open_beneath(root, "releases", DIRECTORY) else { return };
    let Ok(entries) = Dir::read_from(&releases) else { return };
    let name = |entry: DirEntry| entry.file_name().to_str().ok().map(str::to_owned);
    let names: Vec<String> = entries.flatten().filter_map(name).collect();
    let (unfinished, whole): (Vec<_>, Vec<_>) =
        names.into_iter().partition(|name| name.starts_with(UNFINISHED));
    let written = |name: String| {
        let stat = rustix::fs::statat(&releases, &name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
        let old = is_release_name(&name) && !named.contains(&Some(name.as_str()));
        old.then_some((stat.st_mtime, name))
    };
    let mut others: Vec<_> = whole.into_iter().filter_map(written).collect();
    others.sort_unstable_by(|a, b| b.cmp(a));
    let others = others.into_iter().skip(keep).map(|(_, name)| name);
    // One publish works on a slot at a time, so nobody fills what is unfinished.
    for name in unfinished.into_iter().chain(others) {
        let _ = tree::remove(releases.as_fd(), &name);
    }
}

fn unreadable(path: &str, error: &std::io::Error) -> Denial {
    Denial::new(
        Code::FrontendTree,
        "the built frontend cannot be read",
        format!("`{}`: {error}", shown(path)),
        "files and directories that the caller can read",
    )
}

fn unservable(path: &str, found: &str) -> Denial {
    Denial::new(
        Code::FrontendTree,
        "the built frontend holds what cannot be served",
        format!("`{}`: {found}", shown(path)),
        "plain files and directories",
    )
}

fn too_large(found: &str) -> Denial {
    Denial::new(
        Code::FrontendTree,
        "the built frontend is too large",
        found,
        format!("at most {MOST_FILES} files and {} MiB", MOST_BYTES >> 20),
    )
}

fn unwritable(path: &str, error: &std::io::Error) -> Denial {
    Denial::new(
        Code::ReleaseNotWritable,
        "the release cannot be written",
        format!("`{}`: {error}", shown(path)),
        "a web root that the caller can write to",
    )
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};
    use std::path::PathBuf;

    use super::*;

    struct Bench {
        directory: tempfile::TempDir,
    }

    impl Bench {
        fn new() -> Self {
            let bench = Self { directory: tempfile::tempdir().unwrap() };
            std::fs::create_dir_all(bench.at("dist/assets")).unwrap();
            bench.write("index.html", "<script src=assets/app.js></script>");
            bench.write("assets/app.js", "fetch('/api/orders')");
            bench
        }

        fn at(&self, path: &str) -> PathBuf {
            self.directory.path().join(path)
        }

        fn write(&self, path: &str, text: &str) {
            std::fs::write(self.at("dist").join(path), text).unwrap();
        }

        fn stage(&self) -> Result<StagedRelease, Denial> {
            let dist = OwnedFd::from(File::open(self.at("dist")).unwrap());
            let root = AbsolutePath::parse(self.at("web").to_str().unwrap()).unwrap();
            let rules = AddressRules::new("preview-1".parse().unwrap());
            stage(&dist, &root, &rules)
        }

        fn served(&self) -> String {
            std::fs::read_to_string(self.at("web/current/assets/app.js")).unwrap()
        }

        fn releases(&self) -> usize {
            std::fs::read_dir(self.at("web/releases")).unwrap().count()
        }
    }

    #[test]
    fn a_release_is_served_only_after_the_switch() {
        let bench = Bench::new();
        let staged = bench.stage().unwrap();
        assert!(!bench.at("web/current").exists());
        let switched = staged.switch(2).unwrap();
        assert_eq!(switched.previous, None);
        assert_eq!(bench.served(), "fetch('/api/orders')");
        let mode = |path: &str| std::fs::metadata(bench.at(path)).unwrap().permissions().mode();
        assert_eq!(mode("web/current/assets/app.js") & 0o777, 0o644);
        assert_eq!(mode("web/current/assets") & 0o777, 0o755);
    }

    #[test]
    fn the_same_files_are_the_same_release() {
        let bench = Bench::new();
        let first = bench.stage().unwrap();
        assert!(!first.unchanged());
        let name = first.switch(2).unwrap().release;
        let again = bench.stage().unwrap();
        assert!(again.unchanged());
        assert_eq!(again.switch(2).unwrap().previous, Some(name));
        bench.write("assets/app.js", "fetch('/api/customers')");
        let changed = bench.stage().unwrap();
        assert!(!changed.unchanged());
        assert_eq!(bench.served(), "fetch('/api/orders')");
        changed.switch(2).unwrap();
        assert_eq!(bench.served(), "fetch('/api/customers')");
    }

    #[test]
    fn old_releases_are_removed_but_not_the_one_before() {
        let bench = Bench::new();
        for round in 0..6 {
            bench.write("assets/app.js", &round.to_string());
            bench.stage().unwrap().switch(1).unwrap();
        }
        assert_eq!(bench.releases(), 3);
        assert_eq!(bench.served(), "5");
    }

    #[test]
    fn a_literal_address_is_refused_with_file_and_line() {
        let bench = Bench::new();
        bench.write(
            "assets/app.js",
            "x
fetch('http://127.0.0.1:8102/api')",
        );
        let denial = bench.stage().unwrap_err();
        assert_eq!(denial.code(), Code::FrontendAddress);
        let found = "assets/app.js:2:15 `127.0.0.1:8102` (preview-2)";
        assert_eq!(denial.found(), found);
        assert!(!bench.at("web").exists());
        bench.write(
            "assets/app.js",
            "x
fetch('/api')",
        );
        bench.write("assets/app.js.map", "http://127.0.0.1:8102");
        assert!(bench.stage().is_ok());
    }

    #[test]
    fn links_and_special_files_are_refused() {
        let bench = Bench::new();
        symlink("/etc/passwd", bench.at("dist/passwd")).unwrap();
        assert_eq!(bench.stage().unwrap_err().code(), Code::FrontendTree);
        std::fs::remove_file(bench.at("dist/passwd")).unwrap();
        let socket = std::os::unix::net::UnixListener::bind(bench.at("dist/s")).unwrap();
        assert_eq!(bench.stage().unwrap_err().code(), Code::FrontendTree);
        drop(socket);
        std::fs::remove_file(bench.at("dist/s")).unwrap();
        assert!(bench.stage().is_ok());
    }

    #[test]
    fn a_frontend_needs_its_page() {
        let bench = Bench::new();
        std::fs::remove_file(bench.at("dist/index.html")).unwrap();
        assert_eq!(bench.stage().unwrap_err().code(), Code::FrontendMissing);
    }

    #[test]
    fn what_a_crash_left_is_not_taken_for_a_release() {
        let bench = Bench::new();
        let name = bench.stage().unwrap().name().to_owned();
        let whole = bench.at("web/releases").join(&name);
        let left = bench.at("web/releases").join(format!("{UNFINISHED}{name}-1"));
        std::fs::rename(&whole, &left).unwrap();
        std::fs::remove_file(left.join("index.html")).unwrap();
        let staged = bench.stage().unwrap();
        assert!(!staged.unchanged());
        assert!(whole.join("index.html").exists());
        staged.switch(1).unwrap();
        assert!(!left.exists() && whole.join("index.html").exists());
    }

    #[test]
    fn a_link_that_is_not_ours_is_no_release() {
        let bench = Bench::new();
        std::fs::create_dir(bench.at("web")).unwrap();
        let root = OwnedFd::from(File::open(bench.at("web")).unwrap());
        symlink("/etc", bench.at("web/current")).unwrap();
        assert_eq!(current(root.as_fd()), None);
        let switched = bench.stage().unwrap().switch(1).unwrap();
        assert_eq!(current(root.as_fd()), Some(switched.release));
    }
}
