//! The store for one host: small files beneath `<state root>/leases`.
//!
//! A slot has three files: `<slot>.json` says how it stands and is replaced whole; whoever holds the
//! lock on `<slot>.lock` may replace it; an act holds the lock on `<slot>.activity`.
//!
//! Everybody may read how a slot stands: a backend that starts as the slot's own user asks. Only the
//! owner may open the locks, or a backend could keep its slot from being freed.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use guard::config::Roots;
use guard::diagnostic::{Code, Denial, shown};
use guard::io::{Directory, FileProblem};
use guard::path::AbsolutePath;
use guard::slot::SlotId;
use rustix::fs::Mode as FileMode;

use super::flock::{Activity, lock};
use super::record;
use super::standing::Standing;
use super::store::{Change, LeaseStore, Mode};
use crate::{StateRoot, file};

/// The directory of the leases beneath the state root.
const DIRECTORY: &str = "leases";

/// What others may do there: look.
const READABLE_DIRECTORY: FileMode = FileMode::from_raw_mode(0o755);
const READABLE_FILE: FileMode = FileMode::from_raw_mode(0o644);

/// Largest record that is read, in bytes.
const LIMIT: usize = 4096;

/// Leases beneath the state root of this host.
#[derive(Debug, Clone)]
pub struct EmbeddedStore {
    roots: Roots,
}

impl EmbeddedStore {
    /// Names the store; nothing is opened or made yet.
    #[must_use]
    pub fn new(roots: &Roots) -> Self {
        Self { roots: roots.clone() }
    }

    /// Opens the directory of the leases; `None` where it or the state root was never made.
    fn existing(&self) -> Result<Option<OwnedFd>, Denial> {
        let state = self.roots.state.as_str();
        if is_missing(state) {
            return Ok(None);
        }
        let root = StateRoot::open_or_create(&self.roots)?;
        let path = format!("{state}/{DIRECTORY}");
        if is_missing(&path) {
            return Ok(None);
        }
        let beneath = AbsolutePath::parse(&path)?.beneath(&self.roots.state);
        let relative = beneath.ok_or_else(|| self.distrust("it is not beneath the state root"))?;
        let directory = root.root().open_directory(&relative)?;
        self.refuse_foreign(&directory)?;
        Ok(Some(directory))
    }

    fn open_or_create(&self) -> Result<OwnedFd, Denial> {
        if let Some(directory) = self.existing()? {
            return Ok(directory);
        }
        let root = StateRoot::open_or_create(&self.roots)?;
        let directory = root.root().create_directory(&[DIRECTORY])?;
        rustix::fs::fchmod(&directory, READABLE_DIRECTORY)
            .map_err(|error| self.distrust(std::io::Error::from(error)))?;
        self.refuse_foreign(&directory)?;
        Ok(directory)
    }

    /// Whoever else can write there could free a slot or claim it.
    fn refuse_foreign(&self, directory: &OwnedFd) -> Result<(), Denial> {
        let stat = rustix::fs::fstat(directory)
            .map_err(|error| self.distrust(std::io::Error::from(error)))?;
        let is_ours = stat.st_uid == 0 || stat.st_uid == rustix::process::geteuid().as_raw();
        if is_ours && stat.st_mode & 0o022 == 0 {
            return Ok(());
        }
        let mode = stat.st_mode & 0o7777;
        Err(self.distrust(format!("a directory of uid {} with mode {mode:04o}", stat.st_uid)))
    }

    fn distrust(&self, found: impl std::fmt::Display) -> Denial {
        Denial::new(
            Code::LeaseStore,
            "it cannot be told how the slots are leased",
            format!("`{}/{DIRECTORY}`: {found}", shown(self.roots.state.as_str())),
            "a directory of root or the caller that nobody else can write to",
        )
    }

    fn lock(
        &self,
        directory: &OwnedFd,
        slot: SlotId,
        (kind, mode): (&str, Mode),
        wait: Duration,
    ) -> Result<OwnedFd, Denial> {
        let locked = lock(directory, &format!("{slot}.{kind}"), mode, wait)
            .map_err(|error| self.distrust(std::io::Error::from(error)))?;
        locked.ok_or_else(|| {
            Denial::new(
                Code::LeaseBusy,
                format!("{slot} is being acted on, claimed or released"),
                format!("`{slot}.{kind}` is still locked after {} s", wait.as_secs()),
                "a slot that nothing is happening to",
            )
        })
    }
}

fn is_missing(path: &str) -> bool {
    let missing = |error: std::io::Error| error.kind() == std::io::ErrorKind::NotFound;
    std::fs::symlink_metadata(Path::new(path)).is_err_and(missing)
}

impl LeaseStore for EmbeddedStore {
    type Change = EmbeddedChange;
    type Activity = Activity;

    fn read(&self, slot: SlotId) -> Result<Standing, Denial> {
        match self.existing()? {
            None => Ok(Standing::default()),
            Some(directory) => read(directory, slot).map(|(standing, _)| standing),
        }
    }

    fn change(&self, slot: SlotId, wait: Duration) -> Result<EmbeddedChange, Denial> {
        let directory = self.open_or_create()?;
        let lock = self.lock(&directory, slot, ("lock", Mode::Exclusive), wait)?;
        let (standing, directory) = read(directory, slot)?;
        Ok(EmbeddedChange { slot, directory, standing, _lock: lock })
    }

    fn hold(&self, slot: SlotId, mode: Mode, wait: Duration) -> Result<Option<Activity>, Denial> {
        let Some(directory) = self.existing()? else { return Ok(None) };
        self.lock(&directory, slot, ("activity", mode), wait).map(|lock| Some(lock.into()))
    }
}

/// A missing record is that of a slot that was never claimed; any other problem is a refusal.
fn read(directory: OwnedFd, slot: SlotId) -> Result<(Standing, OwnedFd), Denial> {
    let name = format!("{slot}.json");
    let again = directory.try_clone().map_err(|error| distrust_record(slot, error))?;
    let standing = match Directory::from(directory).read_text(&name, LIMIT) {
        Err(FileProblem::Missing) => Ok(Standing::default()),
        Err(problem) => Err(distrust_record(slot, problem)),
        Ok(text) => record::read(slot, &text).map_err(|found| distrust_record(slot, found)),
    };
    Ok((standing?, again))
}

fn distrust_record(slot: SlotId, found: impl std::fmt::Display) -> Denial {
    Denial::new(
        Code::LeaseStore,
        format!("it cannot be told how {slot} is leased"),
        format!("`{DIRECTORY}/{slot}.json`: {found}"),
        "a record that this program wrote",
    )
}

/// The right to replace the record of a slot.
#[derive(Debug)]
pub struct EmbeddedChange {
    slot: SlotId,
    directory: OwnedFd,
    standing: Standing,
    _lock: OwnedFd,
}

impl Change for EmbeddedChange {
    fn standing(&self) -> &Standing {
        &self.standing
    }

    fn keep(&mut self, standing: Standing) -> Result<(), Denial> {
        let cannot = |error: &dyn std::fmt::Display| {
            Denial::new(
                Code::LeaseStore,
                format!("it cannot be written down how {} is leased", self.slot),
                error.to_string(),
                "a state root that can be written to",
            )
        };
        let content = record::write(self.slot, &standing).map_err(|error| cannot(&error))?;
        self.replace(&content).map_err(|error| cannot(&error))?;
        self.standing = standing;
        Ok(())
    }
}

impl EmbeddedChange {
    /// Exchanges the record; only the holder of the lock writes.
    fn replace(&self, content: &[u8]) -> Result<(), std::io::Error> {
        let name = format!("{}.json", self.slot);
        file::replace_alone(&self.directory, &name, READABLE_FILE, content)
    }
}
