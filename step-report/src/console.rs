//! Where a program's words go: data to standard output, words for people to standard error.

use std::fmt::Display;
use std::io::{ErrorKind, IsTerminal as _, Write as _};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use anstream::{AutoStream, ColorChoice};
use guard::config::Roots;
use guard::diagnostic::{Denial, Warning};
use serde::Serialize;

use crate::artifact::Artifact;
use crate::exit::ExitStatus;
use crate::render;
use crate::verdict::Verdict;

/// Who reads the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// People.
    Human,
    /// Programs: one JSON object, or one a line.
    Json,
}

impl Format {
    /// Returns the chosen format, or the one that fits standard output.
    #[must_use]
    pub fn or_fitting(choice: Option<Self>) -> Self {
        let fitting = if std::io::stdout().is_terminal() { Self::Human } else { Self::Json };
        choice.unwrap_or(fitting)
    }
}

/// The two output streams of a program.
///
/// A closed pipe is a quiet end of the output, not a failure of the work: later words are dropped.
#[derive(Debug)]
pub struct Console {
    format: Format,
    closed: AtomicBool,
    /// Set for a step that leaves an artifact, and holds one where a root is configured.
    artifact: OnceLock<Option<Artifact>>,
}

/// What a step ended with, and where the rest of it lies.
#[derive(Serialize)]
struct Concluded<'a, T: Serialize> {
    #[serde(flatten)]
    object: &'a T,
    artifact: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    artifact_warning: Option<&'a Warning>,
}

impl Console {
    /// Opens the console with the chosen format, or the one that fits standard output.
    #[must_use]
    pub fn new(choice: Option<Format>) -> Self {
        let format = Format::or_fitting(choice);
        Self { format, closed: AtomicBool::new(false), artifact: OnceLock::new() }
    }

    /// Begins a step that leaves an artifact: what is said from here on is written there too.
    ///
    /// `place` is what the step is about, such as a slot. Without a root nothing is written, and
    /// the step's last object says so.
    ///
    /// # Errors
    /// As [`Artifact::create`]; a step that is refused here has not begun.
    pub fn begin(&self, roots: &Roots, place: impl Display, step: &str) -> Result<(), Denial> {
        let create = |root| Artifact::create(root, &place.to_string(), step);
        let artifact = roots.artifact.as_ref().map(create).transpose()?;
        // A program does one step; a second one would write to the first one's.
        let _ = self.artifact.set(artifact);
        Ok(())
    }

    /// Returns who reads the output.
    #[must_use]
    pub fn format(&self) -> Format {
        self.format
    }

    /// Returns whether people read standard output on a terminal that draws: `TERM` says that it can,
    /// and nobody asked for plain text.
    #[must_use]
    pub fn draws(&self) -> bool {
        self.format == Format::Human && draws(&std::io::stdout())
    }

    /// As [`Console::draws`], of standard error: where progress is shown to people.
    #[must_use]
    pub fn draws_notes(&self) -> bool {
        self.format == Format::Human && draws(&std::io::stderr())
    }

    /// Returns whether nobody reads standard output any more.
    #[must_use]
    pub fn closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }

    /// Writes one JSON object on a line of standard output.
    pub fn object(&self, object: &impl Serialize) {
        if let Some(line) = self.serialized(object) {
            self.line(&line);
        }
    }

    /// Says one thing that happens on the way: to programs as an object, to people in words; the
    /// artifact gets the object either way.
    pub fn say(&self, object: &impl Serialize, words: impl FnOnce()) {
        if let Some(artifact) = self.artifact() {
            self.serialized(object).iter().for_each(|line| artifact.append(line));
        }
        match self.format {
            Format::Json => self.object(object),
            Format::Human => words(),
        }
    }

    /// Says how a step ended: as [`Console::say`], and names the artifact.
    pub fn conclude(&self, object: &impl Serialize, words: impl FnOnce()) {
        let Some(artifact) = self.artifact.get() else { return self.say(object, words) };
        let path = artifact.as_ref().map(Artifact::path);
        let concluded = |warning| Concluded { object, artifact: path, artifact_warning: warning };
        let finish = |artifact: &Artifact| {
            let report = self.serialized(&concluded(None)).unwrap_or_default();
            artifact.finish(&report).err()
        };
        let warning = artifact.as_ref().and_then(finish);
        match self.format {
            Format::Json => self.object(&concluded(warning.as_ref())),
            Format::Human => {
                words();
                warning.iter().for_each(|warning| self.warn(warning));
                path.iter().for_each(|path| self.note(&format!("  artifact  {path}")));
            }
        }
    }

    /// Puts a further file beside the step's events and report; what cannot be written is said there.
    pub fn attach(&self, name: &str, text: &str) {
        if let Some(artifact) = self.artifact() {
            artifact.attach(name, text);
        }
    }

    fn artifact(&self) -> Option<&Artifact> {
        self.artifact.get()?.as_ref()
    }

    fn serialized(&self, object: &impl Serialize) -> Option<String> {
        serde_json::to_string(object)
            .map_err(|error| self.note(&format!("an object cannot be written: {error}")))
            .ok()
    }

    /// Writes one line for people to standard output, styled only on a terminal.
    pub fn line(&self, line: &str) {
        if self.closed.load(Ordering::Relaxed) {
            return;
        }
        let mut out = anstream::stdout().lock();
        let written = writeln!(out, "{line}").and_then(|()| out.flush());
        if written.is_err_and(|error| error.kind() == ErrorKind::BrokenPipe) {
            self.closed.store(true, Ordering::Relaxed);
        }
    }

    /// Writes one line for people to standard error.
    pub fn note(&self, line: &str) {
        // Nowhere is left to say that standard error cannot be written.
        let _ = writeln!(anstream::stderr().lock(), "{line}");
    }

    /// Says a warning: to people at once; for programs it is part of the verdict.
    pub fn warn(&self, warning: &Warning) {
        if self.format == Format::Human {
            let _ = write!(anstream::stderr().lock(), "{}", render::warning(warning));
        }
    }

    /// Says a refusal and returns the exit status that goes with it.
    #[must_use]
    pub fn refuse(&self, slot: Option<&str>, denial: &Denial) -> ExitStatus {
        self.conclude(&Verdict::denied(slot, denial), || refuse_on_stderr(denial));
        denial.code().into()
    }
}

/// Decides now, and for good, whether standard error is styled.
///
/// For a program that empties its environment: `NO_COLOR` and `TERM` are gone when it speaks.
pub fn settle_colours() {
    AutoStream::choice(&std::io::stderr()).write_global();
}

fn draws(stream: &impl anstream::stream::RawStream) -> bool {
    stream.is_terminal() && AutoStream::choice(stream) != ColorChoice::Never
}

/// Says a refusal to people on standard error, styled only on a terminal.
pub fn refuse_on_stderr(denial: &Denial) {
    let _ = write!(anstream::stderr().lock(), "{}", render::denial(denial));
}
