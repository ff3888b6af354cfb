//! A session of psql that stays open.

#![expect(clippy::unwrap_used, reason = "helpers of tests, outside of what the lint takes for one")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::process::{Child, ChildStdin, ChildStdout};

use super::run::Run;
use super::sidecar::Sidecar;

/// A psql that is fed one statement at a time.
pub(crate) struct Talk {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

impl Talk {
    /// Begins one as a backend of an unclaimed slot would.
    pub(crate) fn start(sidecar: &Sidecar) -> Self {
        Self::of(sidecar.psql("slot_1", "app_preview_1", &["-f", "-"]))
    }

    /// Begins one by a psql that reads from standard input.
    pub(crate) fn of(psql: Run) -> Self {
        let mut child = psql.start();
        let stdin = child.stdin.take().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let mut talk = Self { child, stdin, stdout };
        assert_eq!(talk.ask("SELECT 'begun'"), "begun\n");
        talk
    }

    /// Sends a statement and returns the line that it prints; empty when psql has ended.
    pub(crate) fn ask(&mut self, statement: &str) -> String {
        let _ = writeln!(self.stdin, "{statement};");
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        line
    }

    /// Ends psql and returns what it complained of.
    pub(crate) fn complaint(self) -> String {
        let Self { mut child, stdin, .. } = self;
        drop(stdin);
        let mut text = String::new();
        child.stderr.take().unwrap().read_to_string(&mut text).unwrap();
        child.wait().unwrap();
        text
    }
}
