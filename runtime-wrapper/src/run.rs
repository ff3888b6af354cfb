//! From the command line to an exit status; the only caller of everything else.

use std::convert::Infallible;

use guard::diagnostic::Denial;
use guard::io::environment_snapshot;
use rustix::fs::Mode;
use step_report::exit::ExitStatus;

use crate::cli::{Cli, Command, ExecOptions};
use crate::plan::plan;
use crate::report::Reporter;

/// Directories that the wrapper makes are not writable by others, whatever the parent's umask.
const OWN_UMASK: Mode = Mode::WGRP.union(Mode::WOTH);

/// Runs the program; returns only when no other program took this one's place.
#[must_use]
pub fn run() -> ExitStatus {
    let cli: Cli = match step_report::cli::parse() {
        Ok(cli) => cli,
        Err(status) => return status,
    };
    rustix::process::umask(OWN_UMASK);
    let reporter = Reporter::new(cli.format.format);
    match cli.command {
        Command::Exec(options) => exec(&options, reporter),
    }
}

fn exec(options: &ExecOptions, mut reporter: Reporter) -> ExitStatus {
    let Err(denial) = start(options, &mut reporter);
    // Only a canonical id is repeated in the verdict's own field.
    reporter.refuse(options.slot.parse().ok(), &denial)
}

fn start(options: &ExecOptions, reporter: &mut Reporter) -> Result<Infallible, Denial> {
    if let Some(number) = options.events_fd {
        reporter.send_events_to(number)?;
    }
    plan(options, &environment_snapshot()?)?.apply(reporter)
}
