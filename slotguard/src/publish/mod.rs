//! `slotguard publish`: a worktree into a slot, step by step, with proof of each.

mod children;
mod fingerprint;
pub(crate) mod free_page;
mod fresh;
mod html;
mod journey;
mod memory;
mod readiness;
pub(crate) mod release;
mod step;

use std::fmt;
use std::time::{Duration, SystemTime};

use guard::diagnostic::{Code, Denial, shown};
use guard::environment::Environment;
use guard::io::{LoadedConfig, environment_snapshot, load_config};
use guard::path::AbsolutePath;
use guard::slot::SlotId;
use serde::Serialize;
use slot_runtime::StateRoot;
use slot_runtime::hold::{self, Held};
use slot_runtime::lease::{Acting, Activity, EmbeddedStore, Mode, begin};
use step_report::console::{Console, refuse_on_stderr};
use step_report::exit::ExitStatus;

use crate::flow::{Flow, State, StepReport, Stop};
use crate::options::Publish;
use crate::{artifacts, interrupt};
use fresh::FreshDatabase;
use journey::{Preflight, Ready, Request};
use step::Step;

/// How long a claim or a release that is under way is waited for.
const WAIT: Duration = Duration::from_secs(10);

const SCHEMA: &str = "slotguard.publish/1";

/// Set where the contract's dev fallback is in use.
const DIRECT_API: &str = "WORKER_SLOT_API_DIRECT_TEMPLATE";

/// How a publish ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Outcome {
    Published,
    Unchanged,
    Planned,
    Failed,
    Interrupted,
}

/// Which of two a part of the slot is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Standing {
    /// What was there before.
    Previous,
    /// What was published.
    New,
    /// A step failed in the middle of it; the step's report says more.
    Unknown,
}

/// The object that a publish ends with.
#[derive(Serialize)]
struct Summary<'a> {
    schema: &'static str,
    slot: SlotId,
    verdict: &'static str,
    outcome: Outcome,
    worktree: &'a str,
    /// What the database, the backend and the frontend are at now.
    database_schema: Standing,
    backend: Standing,
    frontend: Standing,
    duration_ms: u64,
    steps: &'a [StepReport<Step>],
    #[serde(flatten)]
    refusal: Option<Denial>,
}

/// Publishes and says how it ended.
pub(crate) fn run(console: &Console, options: &Publish) -> ExitStatus {
    let begun = SystemTime::now();
    match prepare(options) {
        Err(denial) => console.refuse(Some(&options.slot), &denial),
        Ok(prepared) => publish(console, options, &prepared, begun),
    }
}

/// What a publish needs before its first step.
struct Prepared {
    environment: Environment,
    loaded: LoadedConfig,
    slot: SlotId,
    worktree: AbsolutePath,
}

fn prepare(options: &Publish) -> Result<Prepared, Denial> {
    interrupt::listen()?;
    let environment = environment_snapshot()?;
    let loaded = load_config(options.config.config.as_deref(), &environment)?;
    let slot = loaded.config.slot(&options.slot)?;
    let worktree = AbsolutePath::parse(&options.worktree)?;
    Ok(Prepared { environment, loaded, slot, worktree })
}

fn publish(
    console: &Console,
    options: &Publish,
    prepared: &Prepared,
    begun: SystemTime,
) -> ExitStatus {
    let Prepared { loaded, slot, worktree, .. } = prepared;
    let slot = *slot;
    let opened = StateRoot::open_or_create(&loaded.config.roots)
        .and_then(|state| hold_slot(&state, slot, options, loaded))
        .and_then(|held| console.begin(&loaded.config.roots, slot, "publish").map(|()| held));
    let _held = match opened {
        Ok(held) => held,
        Err(denial) => return console.refuse(Some(&options.slot), &denial),
    };
    let mut flow = Flow::new(console, Some(slot), options.dry_run);
    let result = request(options, prepared).map(|request| travel(&mut flow, request));
    let result = match result {
        Ok(result) => result,
        Err(denial) => return console.refuse(Some(&options.slot), &denial),
    };
    let elapsed = begun.elapsed().unwrap_or_default().as_millis();
    let (outcome, refusal) = judge(&flow, &result);
    let status = refusal.as_ref().map_or(ExitStatus::Done, |denial| denial.code().into());
    let reports = flow.reports();
    let summary = Summary {
        schema: SCHEMA,
        slot,
        verdict: if refusal.is_some() { "denied" } else { "allowed" },
        outcome,
        worktree: worktree.as_str(),
        database_schema: standing(reports, &[Step::DatabaseReset, Step::Migration]),
        backend: standing(reports, &[Step::BackendRestart, Step::BackendReadiness]),
        frontend: standing(reports, &[Step::FrontendSwitch]),
        duration_ms: u64::try_from(elapsed).unwrap_or(u64::MAX),
        steps: reports,
        refusal,
    };
    attach_files(console, &summary, begun);
    console.conclude(&summary, || tell(console, &summary));
    artifacts::keep_newest(&loaded.config, &slot.to_string(), loaded.config.publish.keep_artifacts);
    status
}

/// What keeps others from the slot; it ends with this process, however that ends.
type Hold = (Held, Acting<Activity>);

/// Only one publish works on a slot, under its lease, and nobody frees the slot meanwhile.
fn hold_slot(
    state: &StateRoot,
    slot: SlotId,
    options: &Publish,
    loaded: &LoadedConfig,
) -> Result<Hold, Denial> {
    let store = EmbeddedStore::new(&loaded.config.roots);
    let act = begin(&store, slot, options.lease, Mode::Shared, SystemTime::now, WAIT)?;
    let held = hold::hold(state, "publish", &format!("{slot}.lock"))?.ok_or_else(|| {
        Denial::new(
            Code::PublishBusy,
            format!("another publish works on {slot}"),
            "a lock that is held",
            "one publish at a time for each slot",
        )
    })?;
    Ok((held, act))
}

fn request<'a>(options: &'a Publish, prepared: &'a Prepared) -> Result<Request<'a>, Denial> {
    let Prepared { environment, loaded, slot, worktree } = prepared;
    let web = &loaded.config.web;
    let others = loaded.config.slots().iter().filter(|other| other != slot);
    // Addresses with a port are known without configuration.
    let is_name = |host: &&str| host.contains('.') && !host.contains(':');
    let named = |other: SlotId| {
        let hosts = web.hosts(other);
        let names: Vec<_> =
            hosts.iter().filter(is_name).map(|name| (other, name.to_owned())).collect();
        names
    };
    Ok(Request {
        slot: *slot,
        worktree: worktree.clone(),
        program: &options.program,
        args: &options.args,
        lease: options.lease,
        loaded,
        web_root: web.root(*slot)?,
        other_hosts: others.flat_map(named).collect(),
        direct_api: environment.value(DIRECT_API).is_some(),
    })
}

fn travel(flow: &mut Flow<'_, Step>, request: Request<'_>) -> Result<Ready, Stop<Step>> {
    let database = FreshDatabase::obtain(flow, &request)?;
    Preflight::run(flow, request, &database)?
        .sync(flow)?
        .stage(flow)?
        .migrate(flow)?
        .restart(flow)?
        .wait(flow)?
        .switch(flow)?
        .finish(flow)
}

/// Says how the flow ended, and the refusal that it ends with.
fn judge(flow: &Flow<'_, Step>, result: &Result<Ready, Stop<Step>>) -> (Outcome, Option<Denial>) {
    match result {
        Ok(_) if flow.dry_run() => (Outcome::Planned, None),
        Ok(_) => {
            let acted = |report: &&StepReport<Step>| {
                report.state == State::Done
                    && !matches!(
                        report.step,
                        Step::Preflight | Step::BackendReadiness | Step::Readiness
                    )
            };
            let acted = flow.reports().iter().any(|report| acted(&report));
            (if acted { Outcome::Published } else { Outcome::Unchanged }, None)
        }
        Err(Stop::Interrupted(next)) => {
            let denial = Denial::new(
                Code::PublishInterrupted,
                format!("the publish was interrupted before {next}"),
                "a signal",
                "a run to the end",
            );
            (Outcome::Interrupted, Some(denial))
        }
        Err(Stop::Failed(step)) => {
            let refusal = flow.refusal_of(*step).map(|denial| {
                let help = next_action(flow.reports(), &denial);
                denial.help(help)
            });
            (Outcome::Failed, refusal)
        }
    }
}

/// Says what to do; applied migrations are not undone, so that is said as well.
fn next_action(reports: &[StepReport<Step>], denial: &Denial) -> String {
    let schema = standing(reports, &[Step::DatabaseReset, Step::Migration]);
    let backend = standing(reports, &[Step::BackendRestart, Step::BackendReadiness]);
    let help = denial.next_step();
    match (schema, backend) {
        (Standing::New, Standing::Previous) => format!(
            "{help} The schema is new and the backend is the previous one: publish again, or \
             `migrate-runner reset --slot …` for a fresh database."
        ),
        _ => help.to_owned(),
    }
}

/// Says what a part of the slot is at, from the steps that change it.
fn standing(reports: &[StepReport<Step>], steps: &[Step]) -> Standing {
    let mut standing = Standing::Previous;
    for report in reports.iter().filter(|report| steps.contains(&report.step)) {
        match report.state {
            State::Done | State::Unchanged => standing = Standing::New,
            State::Failed => return Standing::Unknown,
            State::Skipped | State::Planned => {}
        }
    }
    standing
}

impl fmt::Display for Outcome {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Published => "published",
            Self::Unchanged => "unchanged",
            Self::Planned => "planned",
            Self::Failed => "failed",
            Self::Interrupted => "interrupted",
        })
    }
}

impl fmt::Display for Standing {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Previous => "previous",
            Self::New => "new",
            Self::Unknown => "unknown",
        })
    }
}

impl Summary<'_> {
    fn standing(&self) -> String {
        let Self { database_schema, backend, frontend, .. } = self;
        format!("schema: {database_schema}, backend: {backend}, frontend: {frontend}")
    }
}

/// Leaves the summary by its own name, and as a page for people.
fn attach_files(console: &Console, summary: &Summary<'_>, begun: SystemTime) {
    if let Ok(text) = serde_json::to_string(summary) {
        console.attach("summary.json", &text);
    }
    let page = html::Page {
        slot: &summary.slot.to_string(),
        outcome: &summary.outcome.to_string(),
        standing: &summary.standing(),
        began: &step_report::event::rfc3339(begun),
        worktree: summary.worktree,
        steps: summary.steps,
    };
    console.attach("report.html", &html::render(&page));
}

fn tell(console: &Console, summary: &Summary<'_>) {
    let Summary { slot, outcome, duration_ms, .. } = summary;
    console.line(&format!("{slot} {outcome} in {duration_ms} ms; {}", summary.standing()));
    if let Some(refusal) = &summary.refusal {
        let failed = summary.steps.iter().rev().find(|report| report.state == State::Failed);
        for line in failed.iter().flat_map(|report| &report.output) {
            console.note(&format!("  | {}", shown(line)));
        }
        refuse_on_stderr(refusal);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(step: Step, state: State) -> StepReport<Step> {
        let (summary, details) = (String::new(), serde_json::Map::new());
        StepReport {
            step,
            state,
            duration_ms: 0,
            summary,
            details,
            output: Vec::new(),
            refusal: None,
        }
    }

    #[test]
    fn an_applied_migration_before_a_failed_restart_is_said() {
        let reports = [
            report(Step::Preflight, State::Done),
            report(Step::Migration, State::Done),
            report(Step::BackendRestart, State::Failed),
        ];
        assert_eq!(standing(&reports, &[Step::Migration]), Standing::New);
        let backend = [Step::BackendRestart, Step::BackendReadiness];
        assert_eq!(standing(&reports, &backend), Standing::Unknown);
        assert_eq!(standing(&reports[..2], &backend), Standing::Previous);
        assert_eq!(standing(&reports, &[Step::FrontendSwitch]), Standing::Previous);
    }

    #[test]
    fn the_next_action_depends_on_what_is_new() {
        let denial = Denial::new(Code::PublishStep, "m", "f", "e").help("Look at the output.");
        let migrated = [report(Step::Migration, State::Done)];
        assert!(next_action(&migrated, &denial).contains("publish again"));
        assert_eq!(next_action(&[], &denial), "Look at the output.");
    }
}
