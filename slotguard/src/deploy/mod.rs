//! `slotguard deploy`: the reload of production after a merge, and the proof that it is healthy.

mod journey;
mod step;

use std::time::SystemTime;

use guard::config::Config;
use guard::diagnostic::{Code, Denial, shown};
use guard::environment::Environment;
use guard::io::{environment_snapshot, load_config};
use serde::Serialize;
use slot_runtime::StateRoot;
use slot_runtime::hold::{self, Held};
use step_report::console::{Console, refuse_on_stderr};
use step_report::exit::ExitStatus;

use crate::artifacts::{self, PRODUCTION};
use crate::flow::{Flow, State, StepReport, Stop};
use crate::interrupt;
use crate::options::Deploy;
use journey::{Healthy, Preflight};
use step::Step;

const SCHEMA: &str = "slotguard.deploy/1";

/// How a deploy ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Outcome {
    Deployed,
    Planned,
    Failed,
    Interrupted,
}

/// The object that a deploy ends with.
#[derive(Serialize)]
struct Summary<'a> {
    schema: &'static str,
    verdict: &'static str,
    outcome: Outcome,
    /// Whether production was asked to reload, whatever came of it.
    reload_begun: bool,
    duration_ms: u64,
    steps: &'a [StepReport<Step>],
    #[serde(flatten)]
    refusal: Option<Denial>,
}

/// Deploys and says how it ended.
pub(crate) fn run(console: &Console, options: &Deploy) -> ExitStatus {
    let begun = SystemTime::now();
    match prepare(options) {
        Err(denial) => console.refuse(None, &denial),
        Ok((environment, config)) => deploy(console, options, &environment, &config, begun),
    }
}

fn prepare(options: &Deploy) -> Result<(Environment, Config), Denial> {
    interrupt::listen()?;
    let environment = environment_snapshot()?;
    let config = load_config(options.config.config.as_deref(), &environment)?.config;
    Ok((environment, config))
}

fn deploy(
    console: &Console,
    options: &Deploy,
    environment: &Environment,
    config: &Config,
    begun: SystemTime,
) -> ExitStatus {
    let opened = hold(config)
        .and_then(|held| console.begin(&config.roots, PRODUCTION, "deploy").map(|()| held));
    let _held = match opened {
        Ok(held) => held,
        Err(denial) => return console.refuse(None, &denial),
    };
    let mut flow = Flow::new(console, None, options.dry_run);
    let result = travel(&mut flow, environment, config);
    let elapsed = begun.elapsed().unwrap_or_default().as_millis();
    let (outcome, refusal) = judge(&flow, &result);
    let status = refusal.as_ref().map_or(ExitStatus::Done, |denial| denial.code().into());
    let reports = flow.reports();
    let begun = |report: &StepReport<Step>| {
        report.step == Step::Reload && matches!(report.state, State::Done | State::Failed)
    };
    let summary = Summary {
        schema: SCHEMA,
        verdict: if refusal.is_some() { "denied" } else { "allowed" },
        outcome,
        reload_begun: reports.iter().any(begun),
        duration_ms: u64::try_from(elapsed).unwrap_or(u64::MAX),
        steps: reports,
        refusal,
    };
    console.conclude(&summary, || tell(console, &summary));
    artifacts::keep_newest(config, PRODUCTION, config.publish.keep_artifacts);
    status
}

/// Only one deploy at a time: the health check of one must not judge the reload of another.
fn hold(config: &Config) -> Result<Held, Denial> {
    let state = StateRoot::open_or_create(&config.roots)?;
    hold::hold(&state, "deploy", "production.lock")?.ok_or_else(|| {
        let message = "another deploy runs";
        Denial::new(Code::DeployBusy, message, "a lock that is held", "one deploy at a time")
    })
}

fn travel(
    flow: &mut Flow<'_, Step>,
    environment: &Environment,
    config: &Config,
) -> Result<Healthy, Stop<Step>> {
    Preflight::run(flow, environment, config)?.reload(flow)?.wait(flow)
}

fn judge(flow: &Flow<'_, Step>, result: &Result<Healthy, Stop<Step>>) -> (Outcome, Option<Denial>) {
    match result {
        Ok(_) if flow.dry_run() => (Outcome::Planned, None),
        Ok(_) => (Outcome::Deployed, None),
        Err(Stop::Interrupted(next)) => {
            let message = format!("the deploy was interrupted before {next}");
            let denial =
                Denial::new(Code::DeployInterrupted, message, "a signal", "a run to the end");
            (Outcome::Interrupted, Some(denial))
        }
        Err(Stop::Failed(step)) => {
            let refusal = flow.refusal_of(*step);
            let asked = refusal.as_ref().is_some_and(|it| it.code() == Code::DeployInterrupted);
            (if asked { Outcome::Interrupted } else { Outcome::Failed }, refusal)
        }
    }
}

fn tell(console: &Console, summary: &Summary<'_>) {
    let outcome = match summary.outcome {
        Outcome::Deployed => "deployed, and healthy",
        Outcome::Planned => "planned; nothing was run",
        Outcome::Failed => "failed",
        Outcome::Interrupted => "interrupted",
    };
    console.line(&format!("production: {outcome}, after {} ms", summary.duration_ms));
    let Some(refusal) = &summary.refusal else { return };
    let failed = summary.steps.iter().rev().find(|report| report.state == State::Failed);
    for line in failed.iter().flat_map(|report| &report.output) {
        console.note(&format!("  | {}", shown(line)));
    }
    refuse_on_stderr(refusal);
}
