//! The way of a deploy: each step consumes the receipt of the one before.

use std::path::Path;
use std::time::{Duration, Instant};

use guard::config::{Config, DeployPolicy};
use guard::deploy::{self, HEALTHCHECK, Place, RELOAD};
use guard::diagnostic::{Code, Denial};
use guard::environment::Environment;
use guard::io::inspect_program;
use guard::path::AbsolutePath;
use guard::program::ApprovedProgram;
use serde::Serialize;

use super::step::Step;
use crate::flow::capture::{self, Cut, Leash, Ran};
use crate::flow::{Flow, State, Stop, Teller};
use crate::{child, interrupt};

/// How often a wait looks whether somebody asked to stop.
const BETWEEN_LOOKS: Duration = Duration::from_millis(100);

/// Most attempts that the report shows; the last ones say how it ended.
const SHOWN_ATTEMPTS: usize = 20;

/// The two commands, allowed and there; nothing has been changed.
pub(crate) struct Preflight {
    reload: ApprovedProgram,
    health: ApprovedProgram,
    policy: DeployPolicy,
}

/// The reload command ended well.
pub(crate) struct Reloaded {
    health: ApprovedProgram,
    policy: DeployPolicy,
}

/// A health check ended well; the end of the way.
pub(crate) struct Healthy(());

/// One run of the health check.
#[derive(Serialize)]
struct Attempt {
    attempt: u16,
    status: String,
    duration_ms: u128,
}

impl Preflight {
    /// Checks everything that can be checked without changing anything.
    ///
    /// # Errors
    /// Stops at the first refusal.
    pub(crate) fn run(
        flow: &mut Flow<'_, Step>,
        environment: &Environment,
        config: &Config,
    ) -> Result<Self, Stop<Step>> {
        flow.step(Step::Preflight, |teller| {
            refuse_preview(environment, config)?;
            let approved = |name| {
                let program = deploy::command(name, environment, &config.programs)?;
                inspect_program(&program).map(|()| program)
            };
            let (reload, health) = (approved(RELOAD)?, approved(HEALTHCHECK)?);
            teller.note("reload", reload.key());
            teller.note("health_check", health.key());
            let summary = format!("`{}`, then `{}`", reload.key(), health.key());
            let policy = config.deploy.clone();
            Ok(((State::Done, summary), Self { reload, health, policy }))
        })
    }

    /// Reloads production's backend.
    ///
    /// # Errors
    /// Stops when the command fails, takes too long, or is interrupted.
    pub(crate) fn reload(self, flow: &mut Flow<'_, Step>) -> Result<Reloaded, Stop<Step>> {
        let Self { reload, health, policy } = self;
        let dry_run = flow.dry_run();
        flow.step(Step::Reload, |teller| {
            let reloaded = Reloaded { health, policy };
            if dry_run {
                let summary = format!("run `{}`", reload.path());
                return Ok(((State::Planned, summary), reloaded));
            }
            let limit = reloaded.policy.reload_timeout;
            let ran = run(&reload, Instant::now() + limit, teller)?;
            match ran.cut {
                _ if ran.status.success() => {}
                Some(Cut::Asked) => return Err(interrupted("the reload command was ended")),
                cut => {
                    let found = cut.map_or_else(|| ran.status.to_string(), |_| over(limit));
                    let message = "the reload of production failed";
                    return Err(Denial::new(Code::DeployReload, message, found, "exit status 0"));
                }
            }
            Ok(((State::Done, format!("`{}` ended with 0", reload.key())), reloaded))
        })
    }
}

impl Reloaded {
    /// Runs the health check until it succeeds.
    ///
    /// # Errors
    /// Stops when the attempts or the time are over, and when it is interrupted.
    pub(crate) fn wait(self, flow: &mut Flow<'_, Step>) -> Result<Healthy, Stop<Step>> {
        let Self { health, policy } = self;
        let dry_run = flow.dry_run();
        flow.step(Step::HealthGate, |teller| {
            if dry_run {
                let summary = format!("run `{}` until it ends with 0", health.path());
                return Ok(((State::Planned, summary), Healthy(())));
            }
            let mut attempts = Vec::new();
            let judged = gate(&health, &policy, teller, &mut attempts);
            let skipped = attempts.len().saturating_sub(SHOWN_ATTEMPTS);
            teller.note("attempts", &attempts[skipped..]);
            teller.note("attempts_made", attempts.len());
            judged?;
            let summary = match attempts.len() {
                1 => "healthy at once".to_owned(),
                count => format!("healthy at attempt {count}"),
            };
            Ok(((State::Done, summary), Healthy(())))
        })
    }
}

fn gate(
    health: &ApprovedProgram,
    policy: &DeployPolicy,
    teller: &mut Teller<'_, Step>,
    attempts: &mut Vec<Attempt>,
) -> Result<(), Denial> {
    let deadline = Instant::now() + policy.health_deadline;
    let mut found = "no attempt".to_owned();
    for attempt in 1..=policy.health_attempts {
        let begun = Instant::now();
        let ran = run(health, deadline.min(begun + policy.health_timeout), teller)?;
        let status = match ran.cut {
            Some(Cut::Late) => over(begun.elapsed()),
            _ => ran.status.to_string(),
        };
        found = format!("attempt {attempt}: {status}");
        attempts.push(Attempt { attempt, status, duration_ms: begun.elapsed().as_millis() });
        match ran.cut {
            _ if ran.status.success() => return Ok(()),
            Some(Cut::Asked) => return Err(interrupted("the health check was ended")),
            _ => {}
        }
        let next = Instant::now() + policy.health_interval;
        if next >= deadline || attempt == policy.health_attempts {
            break;
        }
        pause_until(next)?;
    }
    let expected = format!(
        "exit status 0 within {} attempts and {} s",
        policy.health_attempts,
        policy.health_deadline.as_secs()
    );
    let message = "production is not healthy after its reload";
    Err(Denial::new(Code::DeployUnhealthy, message, found, expected))
}

fn pause_until(moment: Instant) -> Result<(), Denial> {
    loop {
        let left = moment.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        if interrupt::asked() {
            return Err(interrupted("no health check had succeeded"));
        }
        std::thread::sleep(left.min(BETWEEN_LOOKS));
    }
}

/// Runs one of the two commands, with nothing of our environment and in no directory of ours.
fn run(
    program: &ApprovedProgram,
    until: Instant,
    teller: &mut Teller<'_, Step>,
) -> Result<Ran, Denial> {
    let args: Vec<&str> = program.args().iter().map(String::as_str).collect();
    let mut command = child::command(Path::new(program.path()), &args);
    command.current_dir("/");
    let ran = capture::run(command, Leash::Until(until), |_, line| teller.foreign_line(line));
    let ran = ran.map_err(|error| {
        let message = format!("`{}` cannot be started", program.path());
        Denial::new(Code::ProgramNotRunnable, message, error.to_string(), "a program that runs")
    })?;
    teller.last_lines(&ran.last_lines);
    Ok(ran)
}

fn over(limit: Duration) -> String {
    format!("no end after {} ms", limit.as_millis())
}

fn interrupted(what: &str) -> Denial {
    let message = format!("the deploy was interrupted: {what}");
    Denial::new(Code::DeployInterrupted, message, "a signal", "a run to the end")
}

fn refuse_preview(environment: &Environment, config: &Config) -> Result<(), Denial> {
    let directory = std::env::current_dir().ok();
    let directory = directory.as_deref().and_then(Path::to_str).map(AbsolutePath::parse);
    let directory = directory.and_then(Result::ok);
    let cgroup = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    // The directory is known without links, so the roots are compared without them too.
    let followed = |root: &AbsolutePath| {
        let real = std::fs::canonicalize(root.as_str()).ok()?;
        AbsolutePath::parse(real.to_str()?).ok()
    };
    let roots = config.roots.worktree.iter().chain([&config.roots.state]);
    let roots: Vec<AbsolutePath> = roots.filter_map(followed).collect();
    let place = Place { directory: directory.as_ref(), cgroup: &cgroup, of_previews: &roots };
    deploy::refuse_preview(environment, &place)
}
