//! The slot record: what a slot runs, kept so that a restart or a reboot brings the same back.
//!
//! It holds names only: a worktree, the key of a program, arguments. What it says is judged again at
//! every start, exactly as if it came from the command line. Arguments that look like secrets are
//! never written.

use std::os::fd::OwnedFd;
use std::time::SystemTime;

use guard::diagnostic::{Code, Denial, shown};
use guard::environment::{looks_like_database_url, looks_secret};
use guard::io::{FileProblem, SafeFile};
use guard::slot::SlotId;
use rustix::fs::Mode;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::lease::Generation;
use crate::{StateRoot, file};

/// The schema that every record names.
pub const SCHEMA: &str = "slotguard.slot-record/1";

/// Where the records lie beneath the state root.
const DIRECTORY: &str = "records";

/// Largest record that is read, in bytes.
const LIMIT: usize = 64 * 1024;

/// Others may read a record, since a unit of another user starts from it, but not write it.
const RULE: SafeFile = SafeFile::of_caller(LIMIT, 0o022);
const MODE: Mode = Mode::from_raw_mode(0o644);

/// What a slot runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assignment {
    /// The worktree, an absolute path; without one the program starts in the slot's home.
    pub worktree: Option<String>,
    /// The key under `[programs]`.
    pub program: String,
    /// What follows the arguments of that entry.
    pub args: Vec<String>,
    /// The release of the frontend that belongs to it.
    pub release: Option<String>,
    /// The generation of the lease under which it was assigned.
    pub lease_generation: Option<Generation>,
}

impl Assignment {
    /// Requires that everybody may read the arguments.
    ///
    /// # Errors
    /// Refuses an argument that looks like a secret, without repeating it.
    pub fn require_plain(&self) -> Result<(), Denial> {
        let is_secret = |arg: &String| {
            let value = arg.split_once('=').map_or(arg.as_str(), |(_, value)| value);
            looks_secret(arg) || looks_secret(value) || looks_like_database_url(value)
        };
        match self.args.iter().position(is_secret) {
            None => Ok(()),
            Some(index) => Err(Denial::new(
                Code::RecordSecret,
                "an argument looks like a secret, and is kept in no record",
                format!("argument {}, which is not shown", index + 1),
                "arguments that anybody may read",
            )),
        }
    }
}

/// A record as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlotRecord {
    /// The slot.
    pub slot: SlotId,
    /// What it runs.
    pub assignment: Assignment,
    /// When it was written, in RFC 3339.
    pub written_at: String,
    /// The program that wrote it.
    pub written_by: String,
}

impl SlotRecord {
    /// Requires that the record was written under this generation, where one is named.
    ///
    /// # Errors
    /// Refuses a record of another generation.
    pub fn require_generation(&self, given: Option<Generation>) -> Result<(), Denial> {
        let own = self.assignment.lease_generation;
        if given.is_none() || given == own {
            return Ok(());
        }
        let name = |generation: Option<Generation>| {
            generation.map_or("no lease".to_owned(), |number| format!("generation {number}"))
        };
        Err(Denial::new(
            Code::LeaseGeneration,
            format!("the record of {} was written under another lease", self.slot),
            format!("a record of {}", name(own)),
            format!("a record of {}", name(given)),
        )
        .help("Name what the slot is to run: `slotguard backend start --slot SLOT --worktree DIR --lease GEN`."))
    }
}

/// The record as it is stored.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    schema: String,
    slot: String,
    worktree: Option<String>,
    program: String,
    args: Vec<String>,
    release: Option<String>,
    lease_generation: Option<u64>,
    written_at: String,
    written_by: String,
}

/// Writes the record of a slot, over the one before.
///
/// # Errors
/// Refuses an argument that looks like a secret, and a state root that cannot be written.
pub fn write(
    state: &StateRoot,
    slot: SlotId,
    assignment: &Assignment,
    writer: &str,
    now: SystemTime,
) -> Result<(), Denial> {
    assignment.require_plain()?;
    let Assignment { worktree, program, args, release, lease_generation } = assignment.clone();
    let lease_generation = lease_generation.map(Generation::number);
    let stored = Stored {
        schema: SCHEMA.to_owned(),
        slot: slot.to_string(),
        worktree,
        program,
        args,
        release,
        lease_generation,
        written_at: OffsetDateTime::from(now).format(&Rfc3339).unwrap_or_default(),
        written_by: writer.to_owned(),
    };
    let directory = state.root().create_readable_directory(DIRECTORY)?;
    let content = serde_json::to_vec(&stored).map_err(|error| cannot_write(slot, &error))?;
    file::replace(&directory, &name(slot), MODE, &content).map_err(|e| cannot_write(slot, &e))
}

/// Reads the record of a slot.
///
/// # Errors
/// Refuses a record that is missing, unsafe to read, not in the expected form, or of another slot.
pub fn read(state: &StateRoot, slot: SlotId) -> Result<SlotRecord, Denial> {
    find(state, slot)?.ok_or_else(|| {
        Denial::new(
            Code::RecordMissing,
            format!("{slot} has no record"),
            format!("no `{DIRECTORY}/{}` beneath the state root", name(slot)),
            "a record, which the first `backend start` writes",
        )
    })
}

/// Reads the record of a slot; `None` where there is none.
///
/// # Errors
/// As [`read`], but for a missing record.
pub fn find(state: &StateRoot, slot: SlotId) -> Result<Option<SlotRecord>, Denial> {
    let Some(directory) = state.root().open_readable_directory(DIRECTORY)? else {
        return Ok(None);
    };
    let Some(text) = read_text(&directory, slot)? else { return Ok(None) };
    parse(slot, &text).map(Some)
}

fn read_text(directory: &OwnedFd, slot: SlotId) -> Result<Option<String>, Denial> {
    match RULE.read_in(directory, &name(slot)) {
        Ok(text) => Ok(Some(text)),
        Err(FileProblem::Missing) => Ok(None),
        Err(problem) => Err(distrust(slot, problem.to_string())),
    }
}

fn parse(slot: SlotId, text: &str) -> Result<SlotRecord, Denial> {
    // The parser's own words are not repeated: they quote what they could not read.
    let stored: Stored = serde_json::from_str(text)
        .map_err(|error| distrust(slot, format!("line {} cannot be read", error.line())))?;
    if stored.schema != SCHEMA {
        return Err(distrust(slot, format!("schema `{}`", shown(&stored.schema))));
    }
    if stored.slot != slot.to_string() {
        return Err(distrust(slot, format!("it speaks of slot `{}`", shown(&stored.slot))));
    }
    let Stored { worktree, program, args, release, lease_generation, .. } = stored;
    let lease_generation = lease_generation
        .map(|number| number.to_string().parse())
        .transpose()
        .map_err(|_| distrust(slot, "a lease that no claim gives".to_owned()))?;
    let assignment = Assignment { worktree, program, args, release, lease_generation };
    let (written_at, written_by) = (stored.written_at, stored.written_by);
    Ok(SlotRecord { slot, assignment, written_at, written_by })
}

fn name(slot: SlotId) -> String {
    format!("{slot}.json")
}

fn distrust(slot: SlotId, found: String) -> Denial {
    Denial::new(
        Code::RecordUnsafe,
        format!("the record of {slot} cannot be trusted"),
        found,
        format!("a record of {slot} of root or the caller, not writable by others"),
    )
}

fn cannot_write(slot: SlotId, error: &dyn std::fmt::Display) -> Denial {
    Denial::new(
        Code::RootUnusable,
        format!("the record of {slot} cannot be written"),
        error.to_string(),
        "a state root that can be written",
    )
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};
    use std::path::PathBuf;

    use guard::config::Roots;
    use guard::path::AbsolutePath;

    use super::*;

    struct Bench {
        directory: tempfile::TempDir,
        state: StateRoot,
    }

    fn bench() -> Bench {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("state");
        let state = AbsolutePath::parse(path.to_str().unwrap()).unwrap();
        let state = StateRoot::open_or_create(&Roots { state, ..Roots::default() }).unwrap();
        Bench { directory, state }
    }

    impl Bench {
        fn path(&self) -> PathBuf {
            self.directory.path().join("state/records/preview-1.json")
        }

        fn write(&self) {
            write(&self.state, slot(1), &assignment(), "slotguard", SystemTime::UNIX_EPOCH)
                .unwrap();
        }

        fn code(&self) -> Option<Code> {
            read(&self.state, slot(1)).err().map(|denial| denial.code())
        }

        fn change(&self, from: &str, to: &str) {
            let text = std::fs::read_to_string(self.path()).unwrap();
            assert!(text.contains(from), "{from}: {text}");
            std::fs::write(self.path(), text.replace(from, to)).unwrap();
        }
    }

    fn slot(number: u8) -> SlotId {
        format!("preview-{number}").parse().unwrap()
    }

    fn assignment() -> Assignment {
        Assignment {
            worktree: Some("/srv/previews/x".to_owned()),
            program: "backend".to_owned(),
            args: vec!["--verbose".to_owned()],
            release: None,
            lease_generation: Some("7".parse().unwrap()),
        }
    }

    #[test]
    fn what_was_written_is_read() {
        let bench = bench();
        assert_eq!(bench.code(), Some(Code::RecordMissing));
        bench.write();
        let record = read(&bench.state, slot(1)).unwrap();
        assert_eq!(record.assignment, assignment());
        assert_eq!(record.written_at, "1970-01-01T00:00:00Z");
        assert_eq!(read(&bench.state, slot(2)).unwrap_err().code(), Code::RecordMissing);
        let mode = std::fs::metadata(bench.path()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o644);
    }

    proptest::proptest! {
        // Each case flushes a file to the disk.
        #![proptest_config(proptest::test_runner::Config::with_cases(32))]

        #[test]
        fn what_is_written_survives_being_read(
            worktree: Option<String>, program: String, args: Vec<String>, lease in 0_u64..3,
        ) {
            let lease_generation = lease.to_string().parse().ok();
            let wanted = Assignment { worktree, program, args, release: None, lease_generation };
            let bench = bench();
            let now = SystemTime::UNIX_EPOCH;
            if write(&bench.state, slot(1), &wanted, "test", now).is_ok() {
                match read(&bench.state, slot(1)) {
                    Ok(record) => assert_eq!(record.assignment, wanted),
                    Err(denial) => assert!(denial.found().contains("larger"), "{denial}"),
                }
            }
        }

        #[test]
        fn any_text_is_no_record_or_one_of_the_slot(text: String) {
            assert!(parse(slot(1), &text).is_err());
        }
    }

    #[test]
    fn a_record_that_others_could_have_written_is_refused() {
        let bench = bench();
        bench.write();
        for mode in [0o666, 0o664, 0o646] {
            std::fs::set_permissions(bench.path(), std::fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(bench.code(), Some(Code::RecordUnsafe), "{mode:o}");
        }
        bench.write();
        assert_eq!(bench.code(), None);
        std::fs::rename(bench.path(), bench.directory.path().join("elsewhere")).unwrap();
        symlink(bench.directory.path().join("elsewhere"), bench.path()).unwrap();
        assert_eq!(bench.code(), Some(Code::RecordUnsafe));
        let records = bench.directory.path().join("state/records");
        std::fs::set_permissions(records, std::fs::Permissions::from_mode(0o777)).unwrap();
        assert_eq!(bench.code(), Some(Code::RootUnusable));
    }

    #[test]
    fn a_record_of_another_form_or_slot_is_refused() {
        for (from, to) in [
            ("\"slot\":\"preview-1\"", "\"slot\":\"preview-2\""),
            ("slot-record/1", "slot-record/2"),
            ("\"program\"", "\"command\""),
            ("\"lease_generation\":7", "\"lease_generation\":0"),
            ("\"release\":null", "\"release\":null,\"user\":\"root\""),
            ("{", "["),
        ] {
            let bench = bench();
            bench.write();
            assert_eq!(bench.code(), None);
            bench.change(from, to);
            assert_eq!(bench.code(), Some(Code::RecordUnsafe), "{to}");
        }
        let bench = bench();
        bench.write();
        bench.change("--verbose", &"v".repeat(LIMIT));
        assert_eq!(bench.code(), Some(Code::RecordUnsafe));
    }

    #[test]
    fn a_record_of_another_generation_is_refused() {
        let bench = bench();
        bench.write();
        let record = read(&bench.state, slot(1)).unwrap();
        let code = |given: Option<&str>| {
            let given = given.map(|text| text.parse().unwrap());
            record.require_generation(given).err().map(|denial| denial.code())
        };
        assert_eq!((code(None), code(Some("7"))), (None, None));
        assert_eq!(code(Some("8")), Some(Code::LeaseGeneration));
    }

    #[test]
    fn a_secret_is_not_written() {
        for secret in [
            "sk_live_0123456789abcdef",
            "--token=sk_live_0123456789abcdef",
            "--db=postgresql://u:hunter2@127.0.0.1/x",
        ] {
            let bench = bench();
            let args = vec!["--plain".to_owned(), secret.to_owned()];
            let assignment = Assignment { args, ..assignment() };
            let now = SystemTime::UNIX_EPOCH;
            let denial = write(&bench.state, slot(1), &assignment, "test", now).unwrap_err();
            assert_eq!(denial.code(), Code::RecordSecret);
            assert!(!format!("{denial:?}").contains(secret), "{denial:?}");
            assert!(!bench.path().exists());
        }
    }
}
