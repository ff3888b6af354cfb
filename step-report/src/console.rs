//! Where a program's words go: data to standard output, words for people to standard error.

use std::io::{ErrorKind, IsTerminal as _, Write as _};
use std::sync::atomic::{AtomicBool, Ordering};

use guard::diagnostic::{Denial, Warning};
use serde::Serialize;

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
}

impl Console {
    /// Opens the console with the chosen format, or the one that fits standard output.
    #[must_use]
    pub fn new(choice: Option<Format>) -> Self {
        Self { format: Format::or_fitting(choice), closed: AtomicBool::new(false) }
    }

    /// Returns who reads the output.
    #[must_use]
    pub fn format(&self) -> Format {
        self.format
    }

    /// Returns whether nobody reads standard output any more.
    #[must_use]
    pub fn closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }

    /// Writes one JSON object on a line of standard output.
    pub fn object(&self, object: &impl Serialize) {
        match serde_json::to_string(object) {
            Ok(line) => self.line(&line),
            Err(error) => self.note(&format!("an object cannot be written: {error}")),
        }
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
        match self.format {
            Format::Human => {
                let _ = write!(anstream::stderr().lock(), "{}", render::denial(denial));
            }
            Format::Json => self.object(&Verdict::denied(slot, denial)),
        }
        denial.code().into()
    }
}

/// Says a refusal to people on standard error, styled only on a terminal.
pub fn refuse_on_stderr(denial: &Denial) {
    let _ = write!(anstream::stderr().lock(), "{}", render::denial(denial));
}
