//! What a step leaves behind: its events as they were said, and the object it ended with.
//!
//! Each step has a directory of its own beneath the artifact root,
//! `<place>/<UTC time>-<step>-<process>`, opened beneath the root's handle and through no symbolic
//! link. Only what a program says anyway is written, so whatever keeps secrets out of its output
//! keeps them out of here. Nothing here decides what a step does when its artifact cannot be written.

use std::fs::File;
use std::io::Write as _;
use std::os::fd::OwnedFd;
use std::sync::{Mutex, PoisonError};

use guard::diagnostic::{Code, Denial, Warning, shown};
use guard::io::Root;
use guard::path::AbsolutePath;
use rustix::fs::{Mode, OFlags};
use serde::Serialize;
use time::OffsetDateTime;

/// The file with everything that was said on the way, one JSON object a line.
pub const EVENTS: &str = "events.jsonl";

/// The file with the object that a step ended with.
pub const REPORT: &str = "report.json";

/// Largest file of an artifact, in bytes.
pub const LIMIT: usize = 16 * 1024 * 1024;

/// Room for the line that says that a file ends early.
const MARK: usize = 256;

/// Readable by the group, so that a worker need not be the one who ran the step.
const FILE_MODE: Mode = Mode::RUSR.union(Mode::WUSR).union(Mode::RGRP);

/// The artifact of one step, while it is written.
#[derive(Debug)]
pub struct Artifact {
    path: String,
    directory: OwnedFd,
    events: Mutex<Events>,
}

#[derive(Debug)]
struct Events {
    file: File,
    written: usize,
    limit: usize,
    state: State,
}

#[derive(Debug)]
enum State {
    Open,
    Full,
    Broken(String),
}

/// Stands in the place of what is larger than an artifact may be.
#[derive(Serialize)]
struct Truncated<'a> {
    schema: &'static str,
    file: &'a str,
    limit: usize,
}

impl Artifact {
    /// Makes the directory of a step, and in it the file of events.
    ///
    /// `place` is what the step is about, such as a slot; `step` is its name.
    ///
    /// # Errors
    /// Refuses when it cannot be made beneath the root without passing a symbolic link.
    pub fn create(root: &AbsolutePath, place: &str, step: &str) -> Result<Self, Denial> {
        Self::within(root, place, step, LIMIT)
    }

    fn within(root: &AbsolutePath, place: &str, step: &str, limit: usize) -> Result<Self, Denial> {
        let name = format!("{}-{step}-{}", stamp(), std::process::id());
        let path = format!("{}/{place}/{name}", root.as_str());
        let parts = Root::open_or_create(root).and_then(|root| {
            let above = root.create_shared_directory(&[place])?;
            Ok((above, root.create_shared_directory(&[place, &name])?))
        });
        let (above, directory) = parts
            .map_err(|denial| not_writable(&format!("{}: {}", denial.message(), denial.found())))?;
        let file = create(&directory, EVENTS).and_then(|file| {
            rustix::fs::fsync(&directory)?;
            rustix::fs::fsync(&above)?;
            Ok(file)
        });
        let file = file.map_err(|error| not_writable(&format!("`{}`: {error}", shown(&path))))?;
        let events = Events { file, written: 0, limit, state: State::Open };
        Ok(Self { path, directory, events: Mutex::new(events) })
    }

    /// Returns the path of the directory.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Appends one object to the events; it is there when this returns, also for a killed program.
    ///
    /// What cannot be written is not lost on the step: see [`Artifact::finish`].
    pub fn append(&self, line: &str) {
        self.events.lock().unwrap_or_else(PoisonError::into_inner).append(line);
    }

    /// Writes a further file of the step, whole or not at all.
    ///
    /// What cannot be written is not lost on the step: see [`Artifact::finish`].
    pub fn attach(&self, name: &str, text: &str) {
        let mut events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = self.replace(name, text, events.limit) {
            events.state = State::Broken(error.to_string());
        }
    }

    /// Writes the object that the step ended with, whole or not at all.
    ///
    /// # Errors
    /// Warns when this, or an event before it, could not be written.
    pub fn finish(&self, report: &str) -> Result<(), Warning> {
        let events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        let written = self.replace(REPORT, report, events.limit);
        let problem = match &events.state {
            State::Broken(problem) => Some(problem.clone()),
            State::Open | State::Full => None,
        };
        let synced = events.file.sync_all();
        let problem = problem.or(written.and(synced).err().map(|error| error.to_string()));
        problem.map_or(Ok(()), |problem| Err(incomplete(&problem)))
    }

    /// Puts a whole file in its place: a reader sees all of it or none of it, also after a crash.
    fn replace(&self, name: &str, text: &str, limit: usize) -> std::io::Result<()> {
        let draft = format!(".{name}.new");
        let mut file = create(&self.directory, &draft)?;
        let mark = mark(name, limit);
        let text = if text.len() < limit { text } else { &mark };
        file.write_all(format!("{text}\n").as_bytes())?;
        file.sync_all()?;
        rustix::fs::renameat(&self.directory, &draft, &self.directory, name)?;
        Ok(rustix::fs::fsync(&self.directory)?)
    }
}

impl Events {
    fn append(&mut self, line: &str) {
        if !matches!(self.state, State::Open) {
            return;
        }
        let fits = self.written + line.len() + MARK < self.limit;
        let text = if fits { format!("{line}\n") } else { mark(EVENTS, self.limit) + "\n" };
        self.state = match self.file.write_all(text.as_bytes()) {
            Ok(()) if fits => State::Open,
            Ok(()) => State::Full,
            Err(error) => State::Broken(error.to_string()),
        };
        self.written += text.len();
    }
}

fn create(directory: &OwnedFd, name: &str) -> std::io::Result<File> {
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::APPEND;
    let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(File::from(rustix::fs::openat(directory, name, flags, FILE_MODE)?))
}

fn mark(file: &str, limit: usize) -> String {
    let truncated = Truncated { schema: "slotguard.truncated/1", file, limit };
    serde_json::to_string(&truncated).unwrap_or_default()
}

/// The time of day in UTC, to the millisecond; names in this form sort by time.
fn stamp() -> String {
    let now = OffsetDateTime::now_utc();
    format!(
        "{:04}{:02}{:02}T{:02}{:02}{:02}.{:03}Z",
        now.year(),
        u8::from(now.month()),
        now.day(),
        now.hour(),
        now.minute(),
        now.second(),
        now.millisecond()
    )
}

fn not_writable(found: &str) -> Denial {
    Denial::new(
        Code::ArtifactNotWritable,
        "the artifact of this step cannot be written",
        found,
        "directories that can be made beneath `[roots] artifact`, none of them a link",
    )
}

fn incomplete(problem: &str) -> Warning {
    let message = format!("the artifact of this step is not complete: {}", shown(problem));
    Warning::new(Code::ArtifactIncomplete, message)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};
    use std::path::Path;

    use super::*;

    fn root(place: &Path) -> AbsolutePath {
        AbsolutePath::parse(place.to_str().unwrap()).unwrap()
    }

    fn read(artifact: &Artifact, name: &str) -> String {
        std::fs::read_to_string(Path::new(artifact.path()).join(name)).unwrap()
    }

    #[test]
    fn what_was_said_is_there_at_once_and_the_report_at_the_end() {
        let place = tempfile::tempdir().unwrap();
        let at = place.path().join("artifacts");
        let artifact = Artifact::create(&root(&at), "preview-1", "apply").unwrap();
        assert!(artifact.path().starts_with(at.join("preview-1").to_str().unwrap()));
        artifact.append("{\"a\":1}");
        assert_eq!(read(&artifact, EVENTS), "{\"a\":1}\n");
        artifact.finish("{\"b\":2}").unwrap();
        assert_eq!(read(&artifact, REPORT), "{\"b\":2}\n");
        let names = std::fs::read_dir(artifact.path()).unwrap().count();
        assert_eq!(names, 2, "no draft is left");
        for name in ["", EVENTS, REPORT] {
            let path = Path::new(artifact.path()).join(name);
            let mode = std::fs::metadata(path).unwrap().permissions().mode();
            assert_eq!(mode & 0o027, 0, "{name}: {mode:o}");
        }
    }

    #[test]
    fn links_beneath_the_root_and_what_is_no_directory_are_refused() {
        let place = tempfile::tempdir().unwrap();
        std::fs::create_dir(place.path().join("elsewhere")).unwrap();
        symlink(place.path().join("elsewhere"), place.path().join("preview-1")).unwrap();
        std::fs::write(place.path().join("file"), "").unwrap();
        let code = |root: &AbsolutePath, slot| {
            Artifact::create(root, slot, "apply").map(|_| ()).map_err(|denial| denial.code())
        };
        let refused = Err(Code::ArtifactNotWritable);
        assert_eq!(code(&root(place.path()), "preview-1"), refused);
        assert_eq!(code(&root(&place.path().join("file")), "preview-2"), refused);
        assert_eq!(std::fs::read_dir(place.path().join("elsewhere")).unwrap().count(), 0);
        assert_eq!(code(&root(place.path()), "preview-2"), Ok(()));
    }

    #[test]
    fn what_is_too_large_ends_with_a_mark() {
        let place = tempfile::tempdir().unwrap();
        let artifact = Artifact::within(&root(place.path()), "preview-1", "apply", 1000).unwrap();
        let line = format!("{{\"a\":\"{}\"}}", "x".repeat(300));
        (0..5).for_each(|_| artifact.append(&line));
        let events = read(&artifact, EVENTS);
        let lines: Vec<&str> = events.lines().collect();
        let mark = r#"{"schema":"slotguard.truncated/1","file":"events.jsonl","limit":1000}"#;
        assert_eq!(lines, [&line, &line, mark]);
        artifact.finish(&line.repeat(4)).unwrap();
        assert!(read(&artifact, REPORT).contains("slotguard.truncated/1"));
    }

    #[test]
    fn a_directory_that_goes_away_is_a_warning() {
        let place = tempfile::tempdir().unwrap();
        let artifact = Artifact::create(&root(place.path()), "preview-1", "apply").unwrap();
        std::fs::remove_dir_all(artifact.path()).unwrap();
        artifact.append("{}");
        assert_eq!(artifact.finish("{}").unwrap_err().code(), Code::ArtifactIncomplete);
    }
}
