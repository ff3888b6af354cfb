//! Rules on files as handles: what a path leads to is settled once, when it is opened.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use guard::diagnostic::{Code, Denial, shown};
use guard::sandbox::{Access, FileRule};
use rustix::fs::{FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::incomplete;
use crate::places::Places;

/// A rule with the handle that it is about.
#[derive(Debug)]
pub(crate) struct HeldRule {
    rule: FileRule,
    handle: OwnedFd,
    pub(super) is_directory: bool,
}

impl HeldRule {
    /// Returns the rule as it was written down.
    pub(crate) fn rule(&self) -> &FileRule {
        &self.rule
    }

    /// Returns the handle that the rule is about.
    pub(super) fn handle(&self) -> BorrowedFd<'_> {
        self.handle.as_fd()
    }

    fn new(rule: FileRule, handle: OwnedFd) -> Result<Self, Errno> {
        let mode = rustix::fs::fstat(&handle)?.st_mode;
        let is_directory = FileType::from_raw_mode(mode) == FileType::Directory;
        Ok(Self { rule, handle, is_directory })
    }
}

/// Opens every rule; what the system does not have is left out.
pub(super) fn open(rules: &[FileRule]) -> Result<Vec<HeldRule>, Denial> {
    let mut held = Vec::with_capacity(rules.len());
    for rule in rules {
        match open_one(rule) {
            Ok(opened) => held.push(opened),
            Err(error) if rule.required => return Err(refuse(rule, error)),
            Err(_) => {}
        }
    }
    Ok(held)
}

/// Opens one path without using it; a configured one must not lead through a link, because it was
/// judged as a text.
pub(super) fn open_one(rule: &FileRule) -> Result<HeldRule, Errno> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let handle = if rule.required {
        let resolve = ResolveFlags::NO_SYMLINKS;
        rustix::fs::openat2(rustix::fs::CWD, rule.path.as_str(), flags, Mode::empty(), resolve)?
    } else {
        rustix::fs::open(rule.path.as_str(), flags, Mode::empty())?
    };
    HeldRule::new(rule.clone(), handle)
}

/// Returns the rules on the slot's own directories, which are held open already.
pub(super) fn of_places(places: &Places) -> Result<Vec<HeldRule>, Denial> {
    let rule = |(path, reason, handle): (&str, &'static str, &OwnedFd)| {
        let path = path.to_owned();
        let rule = FileRule { path, access: Access::Full, required: true, reason };
        let handle = handle.as_fd().try_clone_to_owned();
        let handle = handle.map_err(|error| incomplete("a handle", &error))?;
        HeldRule::new(rule, handle).map_err(|error| incomplete("a handle", &error))
    };
    places.directories().map(rule).collect()
}

fn refuse(rule: &FileRule, error: Errno) -> Denial {
    let path = shown(&rule.path);
    let why = match error {
        Errno::LOOP => "a component is a symbolic link".to_owned(),
        other => std::io::Error::from(other).to_string(),
    };
    Denial::new(
        Code::SandboxPath,
        format!("the path `{path}` of `[sandbox]` cannot be opened"),
        format!("`{path}`: {why}"),
        "an existing path without symbolic links",
    )
}
