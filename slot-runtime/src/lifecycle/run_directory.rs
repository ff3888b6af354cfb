//! What is known of the present and the last run of a slot's backend, in a directory of the slot.

use std::fs::File;
use std::io::Error;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use guard::diagnostic::{Code, Denial, shown};
use guard::io::{FileProblem, SafeFile};
use guard::slot::SlotId;
use rustix::fs::{FlockOperation, Mode, OFlags, flock};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::process::Process;
use super::state::LastExit;
use crate::{StateRoot, file};

pub(super) const DIRECTORY: &str = "run";
const RUN: &str = "run.json";
const LOCK: &str = "lock";

const RULE: SafeFile = SafeFile::of_caller(64 * 1024, 0o022);
const PRIVATE: Mode = Mode::from_raw_mode(0o600);

const BETWEEN_TRIES: Duration = Duration::from_millis(50);

/// One run of a backend, as its keeper writes it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Run {
    pub(crate) slot: String,
    /// The run of the host; after a reboot the processes mean nothing.
    pub(crate) boot: String,
    pub(crate) keeper: Process,
    pub(crate) backend: Process,
    pub(crate) started_at: String,
    pub(crate) worktree: Option<String>,
    pub(crate) program: String,
    pub(crate) args: Vec<String>,
    pub(crate) ended: Option<LastExit>,
}

/// The directory of one slot.
#[derive(Debug)]
pub(crate) struct RunDirectory {
    slot: SlotId,
    directory: OwnedFd,
}

impl RunDirectory {
    /// Opens the directory of a slot, making it where it is missing.
    pub(crate) fn open(state: &StateRoot, slot: SlotId) -> Result<Self, Denial> {
        let directory = state.root().create_directory(&[DIRECTORY, &slot.to_string()])?;
        Ok(Self::held(slot, directory))
    }

    /// Takes the directory of a slot that is held open already.
    pub(crate) fn held(slot: SlotId, directory: OwnedFd) -> Self {
        Self { slot, directory }
    }

    /// Returns the directory itself.
    pub(crate) fn handle(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }

    /// Waits until no other command works on the slot's backend.
    ///
    /// The kernel frees the lock when its holder ends, however that happens.
    pub(crate) fn lock(&self, patience: Duration) -> Result<Lock, Denial> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let descriptor = rustix::fs::openat(&self.directory, LOCK, flags, PRIVATE)
            .map_err(|error| self.unusable(&error.into()))?;
        let begun = Instant::now();
        loop {
            match flock(&descriptor, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(Lock { _file: File::from(descriptor) }),
                Err(Errno::WOULDBLOCK | Errno::INTR) if begun.elapsed() < patience => {
                    std::thread::sleep(BETWEEN_TRIES);
                }
                Err(Errno::WOULDBLOCK | Errno::INTR) => return Err(self.busy(patience)),
                Err(error) => return Err(self.unusable(&error.into())),
            }
        }
    }

    /// Reads the last run; `None` where none was written.
    pub(crate) fn read(&self) -> Result<Option<Run>, Denial> {
        let text = match RULE.read_in(&self.directory, RUN) {
            Ok(text) => text,
            Err(FileProblem::Missing) => return Ok(None),
            Err(problem) => return Err(self.distrust(&problem.to_string())),
        };
        let run: Run = serde_json::from_str(&text)
            .map_err(|error| self.distrust(&format!("line {} cannot be read", error.line())))?;
        if run.slot != self.slot.to_string() {
            return Err(self.distrust(&format!("it speaks of slot `{}`", shown(&run.slot))));
        }
        Ok(Some(run))
    }

    /// Writes the run, over the one before.
    pub(crate) fn write(&self, run: &Run) -> Result<(), Denial> {
        let content = serde_json::to_vec(run).map_err(Error::from);
        content
            .and_then(|content| file::replace(&self.directory, RUN, PRIVATE, &content))
            .map_err(|error| self.unusable(&error))
    }

    fn busy(&self, patience: Duration) -> Denial {
        Denial::new(
            Code::BackendBusy,
            format!("another command works on the backend of {}", self.slot),
            format!("a lock that was held for {} s", patience.as_secs()),
            "a lock that is free",
        )
    }

    fn distrust(&self, found: &str) -> Denial {
        Denial::new(
            Code::RecordUnsafe,
            format!("what is noted of the backend of {} cannot be trusted", self.slot),
            format!("`{DIRECTORY}/{}/{RUN}`: {found}", self.slot),
            "a note that the keeper of this slot wrote",
        )
    }

    fn unusable(&self, error: &Error) -> Denial {
        Denial::new(
            Code::RootUnusable,
            format!("the directory `{DIRECTORY}/{}` of the state root cannot be used", self.slot),
            error.to_string(),
            "a directory that can be written",
        )
    }
}

/// The right to change a slot's backend; only one command at a time has it.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

#[cfg(test)]
mod tests {
    use guard::config::Roots;
    use guard::path::AbsolutePath;

    use super::*;

    fn bench() -> (tempfile::TempDir, RunDirectory, RunDirectory) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("state");
        let state = AbsolutePath::parse(path.to_str().unwrap()).unwrap();
        let state = StateRoot::open_or_create(&Roots { state, ..Roots::default() }).unwrap();
        let open = |slot: &str| RunDirectory::open(&state, slot.parse().unwrap()).unwrap();
        let (one, two) = (open("preview-1"), open("preview-2"));
        (directory, one, two)
    }

    fn run() -> Run {
        let process = Process { pid: 7, start: 8 };
        Run {
            slot: "preview-1".to_owned(),
            boot: "b".to_owned(),
            keeper: process,
            backend: process,
            started_at: "t".to_owned(),
            worktree: None,
            program: "backend".to_owned(),
            args: Vec::new(),
            ended: None,
        }
    }

    #[test]
    fn one_command_at_a_time_works_on_a_slot_and_other_slots_do_not_wait() {
        let (_place, one, two) = bench();
        let held = one.lock(Duration::ZERO).unwrap();
        assert_eq!(one.lock(Duration::ZERO).unwrap_err().code(), Code::BackendBusy);
        two.lock(Duration::ZERO).unwrap();
        drop(held);
        one.lock(Duration::ZERO).unwrap();
    }

    #[test]
    fn a_run_is_read_as_written_and_only_for_its_own_slot() {
        let (place, one, two) = bench();
        assert_eq!(one.read().unwrap(), None);
        one.write(&run()).unwrap();
        assert_eq!(one.read().unwrap(), Some(run()));
        let path = |slot: &str| place.path().join(format!("state/run/{slot}/run.json"));
        std::fs::copy(path("preview-1"), path("preview-2")).unwrap();
        assert_eq!(two.read().unwrap_err().code(), Code::RecordUnsafe);
        std::fs::write(path("preview-1"), "{}").unwrap();
        assert_eq!(one.read().unwrap_err().code(), Code::RecordUnsafe);
    }
}
