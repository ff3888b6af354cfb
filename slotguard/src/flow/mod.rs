//! One run of a flow: each step is announced, timed, recorded, and may stop the rest.

pub(crate) mod capture;
mod report;
mod spinner;

use std::fmt::Display;
use std::time::Instant;

use guard::diagnostic::Denial;
use guard::output::plain_line;
use guard::slot::SlotId;
use serde::Serialize;
use serde_json::{Map, Value};
use step_report::console::Console;
use step_report::event::Event;

use crate::interrupt;

use spinner::Spinner;

pub(crate) use report::{State, StepReport};

const PROGRAM: &str = "slotguard";

/// Most that is kept of what the programs of one step say, in bytes.
const LONGEST_LOG: usize = 4 * 1024 * 1024;

/// Stands where more was said than is kept.
const CUT: &str = "[…]\n";

/// Longest line of a child that is kept, in characters.
const LONGEST_LINE: usize = 2000;

/// The steps of one kind of flow.
pub(crate) trait FlowStep: Copy + PartialEq + Display + Serialize {
    /// How the names of the flow's events begin.
    const FLOW: &'static str;
}

/// Why the flow goes no further.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop<S> {
    /// A step failed; its report says why.
    Failed(S),
    /// Somebody asked to stop; this step was next.
    Interrupted(S),
}

/// What every step is handed.
pub(crate) struct Flow<'a, S> {
    console: &'a Console,
    slot: Option<SlotId>,
    dry_run: bool,
    reports: Vec<StepReport<S>>,
}

/// What a step gathers while it works.
#[derive(Default)]
pub(crate) struct Notes {
    details: Map<String, Value>,
    output: Vec<String>,
    log: String,
}

impl Notes {
    /// Keeps a line for the step's own file; of what is too much, nothing is.
    fn keep(&mut self, line: &str) {
        if self.log.len() + line.len() < LONGEST_LOG {
            self.log.push_str(line);
            self.log.push('\n');
        } else if !self.log.ends_with(CUT) {
            self.log.push_str(CUT);
        }
    }
}

/// How a step that did not fail ended: its state and a line for people.
pub(crate) type Ended = (State, String);

#[derive(Serialize)]
struct Started<S> {
    step: S,
}

#[derive(Serialize)]
struct Said<'a, S> {
    step: S,
    line: &'a str,
}

impl<'a, S: FlowStep> Flow<'a, S> {
    /// Begins a run that is about a slot, or about production.
    pub(crate) fn new(console: &'a Console, slot: Option<SlotId>, dry_run: bool) -> Self {
        Self { console, slot, dry_run, reports: Vec::new() }
    }

    /// Returns whether nothing may be changed.
    pub(crate) fn dry_run(&self) -> bool {
        self.dry_run
    }

    /// Returns the reports of the steps so far.
    pub(crate) fn reports(&self) -> &[StepReport<S>] {
        &self.reports
    }

    /// Returns why a step failed, as the flow's own refusal; the step's name stands in front.
    pub(crate) fn refusal_of(&self, step: S) -> Option<Denial> {
        let report = self.reports.iter().rev().find(|report| report.step == step)?;
        let denial = report.refusal.as_ref()?;
        let message = format!("{step}: {}", denial.message());
        let refusal = Denial::new(denial.code(), message, denial.found(), denial.expected());
        Some(refusal.help(denial.next_step()))
    }

    /// Does one step, unless somebody asked to stop.
    ///
    /// # Errors
    /// Stops the flow when the step fails, and before it when a signal came.
    pub(crate) fn step<T>(
        &mut self,
        step: S,
        work: impl FnOnce(&mut Teller<'_, S>) -> Result<(Ended, T), Denial>,
    ) -> Result<T, Stop<S>> {
        if interrupt::asked() {
            return Err(Stop::Interrupted(step));
        }
        say::<S>(self.console, self.slot, "step-started", Started { step }, || {});
        let begun = Instant::now();
        let mut teller =
            Teller { console: self.console, slot: self.slot, step, notes: Notes::default() };
        let spinner = self.console.draws_notes().then(|| Spinner::start(step.to_string()));
        let result = work(&mut teller);
        drop(spinner);
        let Notes { details, output, log } = teller.notes;
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
        // Each step has a file of its own: what its programs said, and then how it ended.
        let end = serde_json::to_string(&report).unwrap_or_default();
        self.console.attach(&format!("{step}.log"), &format!("{log}{end}"));
        self.reports.push(report);
        result
    }

    fn say(&self, report: &StepReport<S>) {
        say::<S>(self.console, self.slot, "step", report, || {
            let (step, state, summary) = (report.step, report.state, &report.summary);
            let time = report.duration_ms;
            self.console.line(&format!("  {step:<18} {state:<9} {time:>7} ms  {summary}"));
        });
    }
}

/// Says one thing of a flow: to programs and the artifact as an event, to people in words.
fn say<S: FlowStep>(
    console: &Console,
    slot: Option<SlotId>,
    what: &str,
    details: impl Serialize,
    words: impl FnOnce(),
) {
    let name = format!("{}.{what}", S::FLOW);
    console.say(&Event::now(PROGRAM, slot, &name, details), words);
}

/// Says what a step does, while it does it.
pub(crate) struct Teller<'a, S> {
    console: &'a Console,
    slot: Option<SlotId>,
    step: S,
    notes: Notes,
}

impl<S: FlowStep> Teller<'_, S> {
    /// Adds something for programs to the step's report.
    pub(crate) fn note(&mut self, name: &str, value: impl Serialize) {
        let value = serde_json::to_value(value).unwrap_or(Value::Null);
        self.notes.details.insert(name.to_owned(), value);
    }

    /// Says a line of a child: to the artifact, and to programs.
    pub(crate) fn line(&mut self, line: &str) {
        self.notes.keep(line);
        let said = Said { step: self.step, line };
        say::<S>(self.console, self.slot, "output", said, || {});
    }

    /// As [`Teller::line`], of a child that is not ours and may say anything.
    pub(crate) fn foreign_line(&mut self, line: &str) {
        self.line(&plain_line(line, LONGEST_LINE));
    }

    /// Keeps the last lines of a child for the case that the step fails.
    pub(crate) fn last_lines(&mut self, lines: &[String]) {
        self.notes.output = lines.iter().map(|line| plain_line(line, LONGEST_LINE)).collect();
    }
}
