//! Resets that are due: the database of a slot that was given back holds its last holder's data until
//! it is replaced, and until then nobody works with it.
//!
//! The note is written before a slot is freed and removed by the reset itself, after it succeeded. A
//! crash in between costs a second reset, before anybody was admitted.

use std::time::SystemTime;

use guard::config::Roots;
use guard::diagnostic::{Code, Denial, shown};
use guard::io::{FileProblem, SafeFile};
use guard::slot::SlotId;
use rustix::fs::{AtFlags, Mode};
use rustix::io::Errno;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::{StateRoot, file};

/// Where the notes lie beneath the state root.
const DIRECTORY: &str = "resets";

/// Others may read a note, as they may read a record.
const RULE: SafeFile = SafeFile::of_caller(256, 0o022);
const MODE: Mode = Mode::from_raw_mode(0o644);

/// Notes that the slot's database has to be reset; it is on the disk when this returns.
///
/// # Errors
/// Refuses a state root that cannot be written.
pub fn schedule(roots: &Roots, slot: SlotId, now: SystemTime) -> Result<(), Denial> {
    let state = StateRoot::open_or_create(roots)?;
    let directory = state.root().create_readable_directory(DIRECTORY)?;
    let since = OffsetDateTime::from(now).format(&Rfc3339).unwrap_or_default();
    file::replace(&directory, &slot.to_string(), MODE, since.as_bytes()).map_err(|error| {
        let message = format!("that {slot} has to be reset cannot be noted");
        let expected = "a state root that the caller can write to";
        Denial::new(Code::RootUnusable, message, error.to_string(), expected)
    })
}

/// Returns since when the slot's database has to be reset; `None` if it has not.
///
/// # Errors
/// Refuses a note that cannot be read: what it says is not guessed.
pub fn since(roots: &Roots, slot: SlotId) -> Result<Option<String>, Denial> {
    // Where nothing was ever kept, nothing is due; asking makes no directory.
    if !std::path::Path::new(roots.state.as_str()).exists() {
        return Ok(None);
    }
    let state = StateRoot::open_or_create(roots)?;
    let Some(directory) = state.root().open_readable_directory(DIRECTORY)? else { return Ok(None) };
    match RULE.read_in(&directory, &slot.to_string()) {
        Ok(text) => Ok(Some(shown(text.trim()))),
        Err(FileProblem::Missing) => Ok(None),
        Err(problem) => Err(pending(slot, &format!("a note that cannot be read: {problem}"))),
    }
}

/// Refuses to work with a database that still has to be reset.
///
/// # Errors
/// Refuses while a reset is due.
pub fn refuse(roots: &Roots, slot: SlotId) -> Result<(), Denial> {
    match since(roots, slot)? {
        None => Ok(()),
        Some(since) => Err(pending(slot, &format!("a reset that is due since {since}"))),
    }
}

/// Removes the note; for the reset itself, once it succeeded.
///
/// # Errors
/// Refuses a state root that cannot be written: the slot then stays closed.
pub fn done(roots: &Roots, slot: SlotId) -> Result<(), Denial> {
    if since(roots, slot)?.is_none() {
        return Ok(());
    }
    let state = StateRoot::open_or_create(roots)?;
    let directory = state.root().create_readable_directory(DIRECTORY)?;
    let removed = rustix::fs::unlinkat(&directory, slot.to_string(), AtFlags::empty());
    let gone = match removed {
        Err(Errno::NOENT) => Ok(()),
        other => other.and_then(|()| rustix::fs::fsync(&directory)),
    };
    gone.map_err(|error| pending(slot, &format!("a note that cannot be removed: {error}")))
}

fn pending(slot: SlotId, found: &str) -> Denial {
    let message = format!("the database of {slot} still has to be reset");
    Denial::new(Code::ResetDue, message, found, "a database without its last holder's data")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use guard::path::AbsolutePath;

    use super::*;

    #[test]
    fn what_is_noted_is_due_until_it_is_done_and_what_cannot_be_read_is_due_too() {
        let place = tempfile::tempdir().unwrap();
        let at = place.path().join("state");
        let state = AbsolutePath::parse(at.to_str().unwrap()).unwrap();
        let roots = Roots { state, ..Roots::default() };
        let (slot, other) = ("preview-1".parse().unwrap(), "preview-2".parse().unwrap());
        refuse(&roots, slot).unwrap();
        assert!(!at.exists(), "asking makes nothing");
        schedule(&roots, slot, SystemTime::UNIX_EPOCH).unwrap();
        let denial = refuse(&roots, slot).unwrap_err();
        assert_eq!(denial.code(), Code::ResetDue);
        assert!(denial.found().contains("1970-01-01"), "{denial}");
        refuse(&roots, other).unwrap();
        let note = at.join("resets/preview-1");
        std::fs::set_permissions(&note, std::fs::Permissions::from_mode(0o666)).unwrap();
        assert_eq!(refuse(&roots, slot).unwrap_err().code(), Code::ResetDue);
        assert!(done(&roots, slot).is_err(), "a note that others can write is nobody's to remove");
        std::fs::set_permissions(&note, std::fs::Permissions::from_mode(0o644)).unwrap();
        done(&roots, slot).unwrap();
        refuse(&roots, slot).unwrap();
        done(&roots, slot).unwrap();
    }
}
