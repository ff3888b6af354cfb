//! From the command line to an exit status; the only caller of everything else.

use std::convert::Infallible;

use guard::diagnostic::Denial;
use guard::io::environment_snapshot;
use guard::slot::SlotId;
use rustix::fs::Mode;
use step_report::console::{self, Console};
use step_report::exit::ExitStatus;

use crate::cli::{Cli, Command, ExecOptions, ExplainOptions};
use crate::plan::plan;
use crate::report::Reporter;
use crate::{explain_env, plan_view, probe, sandbox, sys};

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
    let format = cli.format.format;
    match cli.command {
        Command::Exec(options) => exec(&options, Reporter::new(format)),
        Command::Plan(options) => show_plan(&options, &Console::new(format)),
        Command::Probe => {
            probe::show(&Console::new(format), sandbox::kernel());
            ExitStatus::Done
        }
        Command::ExplainEnv(options) => explain(&options, &Console::new(format)),
    }
}

fn show_plan(options: &ExecOptions, console: &Console) -> ExitStatus {
    let planned = environment_snapshot().and_then(|environment| plan(options, &environment));
    match planned {
        Ok(plan) => {
            plan_view::show(console, &plan);
            ExitStatus::Done
        }
        Err(denial) => refuse(console, &options.slot, &denial),
    }
}

/// Only a canonical id is repeated in the verdict's own field.
fn refuse(console: &Console, slot: &str, denial: &Denial) -> ExitStatus {
    let slot: Option<SlotId> = slot.parse().ok();
    console.refuse(slot.map(|slot| slot.to_string()).as_deref(), denial)
}

fn explain(options: &ExplainOptions, console: &Console) -> ExitStatus {
    match explain_env::explain(options) {
        Ok(explanation) => {
            explain_env::show(console, &explanation);
            ExitStatus::Done
        }
        Err(denial) => refuse(console, &options.slot, &denial),
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
    let environment = environment_snapshot()?;
    console::settle_colours();
    sys::clear_environment();
    plan(options, &environment)?.apply(reporter)
}
