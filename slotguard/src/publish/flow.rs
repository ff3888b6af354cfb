//! One run of the flow: each step is announced, timed, recorded, and may stop the rest.

use std::time::Instant;

use guard::diagnostic::{Code, Denial};
use guard::slot::SlotId;
use serde::Serialize;
use serde_json::{Map, Value};
use step_report::console::Console;
use step_report::event::Event;

use super::step::{State, Step, StepReport};
use crate::interrupt;

const PROGRAM: &str = "slotguard";

/// Why the flow goes no further.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    /// A step failed; its report says why.
    Failed(Step),
    /// Somebody asked to stop; this step was next.
    Interrupted(Step),
}

/// What every step is handed.
pub(crate) struct Flow<'a> {
    console: &'a Console,
    slot: SlotId,
    dry_run: bool,
    reports: Vec<StepReport>,
}

/// What a step gathers while it works.
#[derive(Default)]
pub(crate) struct Notes {
    details: Map<String, Value>,
    output: Vec<String>,
}

/// How a step that did not fail ended: its state and a line for people.
pub(crate) type Ended = (State, String);

#[derive(Serialize)]
struct Started {
    step: Step,
}

#[derive(Serialize)]
struct Said<'a> {
    step: Step,
    line: &'a str,
}

impl<'a> Flow<'a> {
    /// Begins a run.
    pub(crate) fn new(console: &'a Console, slot: SlotId, dry_run: bool) -> Self {
        Self { console, slot, dry_run, reports: Vec::new() }
    }

    /// Returns whether nothing may be changed.
    pub(crate) fn dry_run(&self) -> bool {
        self.dry_run
    }

    /// Returns the reports of the steps so far.
    pub(crate) fn reports(&self) -> &[StepReport] {
        &self.reports
    }

    /// Does one step, unless somebody asked to stop.
    ///
    /// # Errors
    /// Stops the flow when the step fails, and before it when a signal came.
    pub(crate) fn step<T>(
        &mut self,
        step: Step,
        work: impl FnOnce(&mut Teller<'_>) -> Result<(Ended, T), Denial>,
    ) -> Result<T, Stop> {
        if interrupt::asked() {
            return Err(Stop::Interrupted(step));
        }
        let started = Event::now(PROGRAM, self.slot, "publish.step-started", Started { step });
        self.console.say(&started, || {});
        let begun = Instant::now();
        let mut teller =
            Teller { console: self.console, slot: self.slot, step, notes: Notes::default() };
        let result = work(&mut teller);
        let Notes { details, output } = teller.notes;
        let duration_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        let mut report = StepReport {
            step,
            state: State::Failed,
            duration_ms,
            summary: String::new(),
            details,
            output: Vec::new(),
            refusal: None,
        };
        let result = match result {
            Ok(((state, summary), value)) => {
                (report.state, report.summary) = (state, summary);
                Ok(value)
            }
            Err(denial) => {
                report.summary = denial.message().to_owned();
                report.output = output;
                report.refusal = Some(denial);
                Err(Stop::Failed(step))
            }
        };
        self.say(&report);
        self.reports.push(report);
        result
    }

    fn say(&self, report: &StepReport) {
        let event = Event::now(PROGRAM, self.slot, "publish.step", report);
        self.console.say(&event, || {
            let (step, state, summary) = (report.step, report.state, &report.summary);
            let time = report.duration_ms;
            self.console.line(&format!("  {step:<18} {state:<9} {time:>7} ms  {summary}"));
        });
    }
}

/// Says what a step does, while it does it.
pub(crate) struct Teller<'a> {
    console: &'a Console,
    slot: SlotId,
    step: Step,
    notes: Notes,
}

impl Teller<'_> {
    /// Adds something for programs to the step's report.
    pub(crate) fn note(&mut self, name: &str, value: impl Serialize) {
        let value = serde_json::to_value(value).unwrap_or(Value::Null);
        self.notes.details.insert(name.to_owned(), value);
    }

    /// Says a line of a child: to the artifact, and to programs.
    pub(crate) fn line(&self, line: &str) {
        let said = Said { step: self.step, line };
        self.console.say(&Event::now(PROGRAM, self.slot, "publish.output", said), || {});
    }

    /// Keeps the last lines of a child for the case that the step fails.
    pub(crate) fn last_lines(&mut self, lines: Vec<String>) {
        self.notes.output = lines;
    }
}

/// Refuses a step whose child ended badly without saying why itself.
pub(crate) fn child_failed(what: &str, status: std::process::ExitStatus) -> Denial {
    Denial::new(Code::PublishStep, format!("{what} failed"), status.to_string(), "exit status 0")
}
