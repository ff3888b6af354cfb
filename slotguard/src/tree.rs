//! Removing a directory with everything in it, through handles: no link is followed.

use std::os::fd::{AsFd as _, BorrowedFd};

use rustix::fs::{AtFlags, Dir, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

/// Deepest directory that is entered.
const DEEPEST: usize = 64;

/// Removes what has this name, whatever it is; what is not there is removed already.
///
/// # Errors
/// Returns the system's error; what came before it is removed.
pub(crate) fn remove(parent: BorrowedFd<'_>, name: &str) -> std::io::Result<()> {
    remove_beneath(parent, name, 0)
}

fn remove_beneath(parent: BorrowedFd<'_>, name: &str, depth: usize) -> std::io::Result<()> {
    let flags = OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::RDONLY;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    let directory = match rustix::fs::openat2(parent, name, flags, Mode::empty(), resolve) {
        Err(Errno::NOENT) => return Ok(()),
        Err(Errno::NOTDIR | Errno::LOOP) => {
            return Ok(rustix::fs::unlinkat(parent, name, AtFlags::empty())?);
        }
        opened => opened?,
    };
    if depth > DEEPEST {
        return Err(Errno::NAMETOOLONG.into());
    }
    for entry in Dir::read_from(&directory)? {
        let entry = entry?;
        match entry.file_name().to_str() {
            Ok("." | "..") => {}
            Ok(inner) => remove_beneath(directory.as_fd(), inner, depth + 1)?,
            Err(_) => rustix::fs::unlinkat(&directory, entry.file_name(), AtFlags::empty())?,
        }
    }
    Ok(rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR)?)
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_link_goes_and_what_it_leads_to_stays() {
        let place = tempfile::tempdir().unwrap();
        let at = |name: &str| place.path().join(name);
        std::fs::create_dir_all(at("tree/inner")).unwrap();
        std::fs::create_dir(at("other")).unwrap();
        std::fs::write(at("other/file"), "").unwrap();
        symlink(at("other"), at("tree/inner/link")).unwrap();
        let directory = File::open(place.path()).unwrap();
        remove(directory.as_fd(), "tree").unwrap();
        remove(directory.as_fd(), "tree").unwrap();
        assert!(!at("tree").exists() && at("other/file").exists());
    }
}
