//! `slotguard backend`: start, stop, restart, status and health of exactly one slot's backend.

mod assignment;
mod keep;
pub(crate) mod options;
mod report;

use std::time::SystemTime;

use guard::config::LifecyclePolicy;
use guard::diagnostic::Denial;
use guard::io::{LoadedConfig, environment_snapshot, load_config};
use guard::slot::SlotId;
use slot_runtime::lease::{self, Acting, Activity, EmbeddedStore, Generation, Mode};
use slot_runtime::lifecycle::{Backend, KeeperProgram, Locked, Observation, RunningAs, State};
use slot_runtime::pending_reset;
use slot_runtime::record::{self, Assignment};
use slot_runtime::{StateRoot, sidecar};
use step_report::console::Console;
use step_report::exit::ExitStatus;

use crate::{artifacts, ask, sibling};
use options::{Start, Stop, Target, Verb};
use report::{Outcome, Report};

pub(crate) use keep::run as keep;

/// Does what the verb says and reports it.
pub(crate) fn run(console: &Console, options: &options::Backend) -> ExitStatus {
    let (verb, target) = match &options.verb {
        Verb::Start(start) => ("start", &start.target),
        Verb::Restart(start) => ("restart", &start.target),
        Verb::Stop(stop) => ("stop", &stop.target),
        Verb::Status(target) => ("status", target),
        Verb::Health(target) => ("health", target),
    };
    let desk = match Desk::open(target) {
        Ok(desk) => desk,
        Err(denial) => return console.refuse(Some(&target.slot), &denial),
    };
    let changes = matches!(&options.verb, Verb::Start(_) | Verb::Restart(_) | Verb::Stop(_));
    if changes && let Err(denial) = desk.begin_artifact(console, verb) {
        return console.refuse(Some(&target.slot), &denial);
    }
    let mut report = Report::new(desk.slot, verb, desk.loaded.config.lifecycle.manager);
    let done = match &options.verb {
        Verb::Start(start) => desk.start(start, &mut report),
        Verb::Restart(start) => desk.restart(start, &mut report),
        Verb::Stop(stop) => desk.stop(stop, &mut report),
        Verb::Status(_) => desk.status(&mut report),
        Verb::Health(_) => desk.health(&mut report),
    };
    // What cannot be looked at must not hide why the verb failed.
    let looked = desk.look(&mut report);
    let denial = done.and(looked).err();
    // What the backend said helps where it is looked at, and where it was started in vain.
    if verb == "status" || denial.is_some() && report.outcome.is_some() {
        report.log = desk.backend.last_lines();
    }
    if changes {
        console.attach("backend.log", &desk.backend.last_lines().join("\n"));
    }
    let status = report.say(console, denial);
    if changes {
        let config = &desk.loaded.config;
        artifacts::keep_newest(config, &desk.slot.to_string(), config.publish.keep_artifacts);
    }
    status
}

/// Everything that the verbs of one slot work with.
struct Desk {
    slot: SlotId,
    loaded: LoadedConfig,
    state: StateRoot,
    backend: Backend,
    keeper: KeeperProgram,
}

impl Desk {
    fn open(target: &Target) -> Result<Self, Denial> {
        let environment = environment_snapshot()?;
        let loaded = load_config(target.config.config.as_deref(), &environment)?;
        let slot = loaded.config.slot(&target.slot)?;
        let state = StateRoot::open_or_create(&loaded.config.roots)?;
        let config = loaded.source.as_deref().map(std::path::absolute).transpose();
        let config = config.map_err(|error| {
            let message = "the path of the configuration is unknown";
            Denial::new(guard::diagnostic::Code::Internal, message, error.to_string(), "a path")
        })?;
        let keeper = KeeperProgram { program: sibling::beside("slotguard")?, config };
        let backend = Backend::open(&state, slot, &loaded.config.lifecycle)?;
        Ok(Self { slot, loaded, state, backend, keeper })
    }

    /// What changes the backend leaves something behind, inside of a publish or not.
    fn begin_artifact(&self, console: &Console, verb: &str) -> Result<(), Denial> {
        console.begin(&self.loaded.config.roots, self.slot, &format!("backend-{verb}"))
    }

    fn start(&self, options: &Start, report: &mut Report) -> Result<(), Denial> {
        let acting = self.begin(options.lease, report)?;
        pending_reset::refuse(&self.loaded.config.roots, self.slot)?;
        let locked = self.backend.lock()?;
        let wanted = self.wanted(options, &acting)?;
        let seen = self.backend.observe()?;
        if seen.state == State::Running {
            if let Some(running) = self.running_as(&seen)? {
                locked.require_same(&running, &wanted)?;
            }
            report.outcome = Some(Outcome::AlreadyRunning);
        } else {
            self.clear(&locked, &seen)?;
            locked.require_port()?;
            self.prepare(&wanted, report)?;
            locked.start(&self.keeper)?;
            report.outcome = Some(Outcome::Started);
        }
        self.wait(options, report)
    }

    /// Returns what runs: a keeper has noted it; a unit was started from the record.
    fn running_as(&self, seen: &Observation) -> Result<Option<RunningAs>, Denial> {
        if seen.running_as.is_some() {
            return Ok(seen.running_as.clone());
        }
        let record = record::find(&self.state, self.slot)?;
        Ok(record.map(|record| record.assignment.into()))
    }

    fn restart(&self, options: &Start, report: &mut Report) -> Result<(), Denial> {
        let acting = self.begin(options.lease, report)?;
        pending_reset::refuse(&self.loaded.config.roots, self.slot)?;
        let locked = self.backend.lock()?;
        let wanted = self.wanted(options, &acting)?;
        locked.require_port()?;
        self.prepare(&wanted, report)?;
        locked.restart(&self.keeper)?;
        report.outcome = Some(Outcome::Restarted);
        self.wait(options, report)
    }

    fn stop(&self, options: &Stop, report: &mut Report) -> Result<(), Denial> {
        let _acting = self.begin(options.lease, report)?;
        let locked = self.backend.lock()?;
        let seen = self.backend.observe()?;
        report.freed = Some(locked.stop()?);
        let ran = matches!(seen.state, State::Running | State::Stopping) || seen.is_lost();
        report.outcome = Some(if ran { Outcome::Stopped } else { Outcome::AlreadyStopped });
        Ok(())
    }

    fn status(&self, report: &mut Report) -> Result<(), Denial> {
        let seen = self.backend.observe()?;
        let ended = (seen.state == State::Failed).then(|| self.backend.refuse_ended(&seen));
        report.seen = seen.into();
        ended.map_or(Ok(()), Err)
    }

    fn health(&self, report: &mut Report) -> Result<(), Denial> {
        // A manager that cannot be asked is said as such, and not as a port without an owner.
        self.backend.observe()?;
        let health = self.backend.health();
        let denial = health.denial(self.slot);
        report.health = Some(health);
        denial.map_or(Ok(()), Err)
    }

    /// Holds the slot for this act, so that it does not change hands meanwhile.
    fn begin(
        &self,
        lease: Option<Generation>,
        report: &mut Report,
    ) -> Result<Acting<Activity>, Denial> {
        let LifecyclePolicy { ready_timeout, stop_timeout, .. } = &self.loaded.config.lifecycle;
        let store = EmbeddedStore::new(&self.loaded.config.roots);
        let (clock, wait) = (SystemTime::now, *ready_timeout + *stop_timeout);
        // Shared: who acts on the backend is told apart by its own lock.
        let acting = lease::begin(&store, self.slot, lease, Mode::Shared, clock, wait)?;
        let admission = acting.admission();
        let warn_before = self.loaded.config.leases.warn_before;
        report.warnings.extend(admission.warning(self.slot, clock(), warn_before));
        report.lease = Some(admission);
        Ok(acting)
    }

    fn wanted(&self, options: &Start, acting: &Acting<Activity>) -> Result<Assignment, Denial> {
        let lease = acting.admission().generation();
        assignment::wanted(&self.state, self.slot, options, lease, &self.loaded.config)
    }

    /// Finishes what an earlier run left behind.
    fn clear(&self, locked: &Locked<'_>, seen: &Observation) -> Result<(), Denial> {
        if seen.state == State::Stopping || seen.is_lost() {
            locked.stop().map(drop)
        } else {
            Ok(())
        }
    }

    /// Asks the database, then writes down what the slot runs.
    fn prepare(&self, wanted: &Assignment, report: &mut Report) -> Result<(), Denial> {
        // Of another version it would not understand the record.
        sibling::find("runtime-wrapper")?;
        let database = &self.loaded.config.database;
        // A unit may have its address from elsewhere; then the wrapper judges it alone.
        let is_known = database.endpoints.len() == 1 && database.role.is_some();
        if is_known {
            let live = ask::confirm(self.slot, None, &self.loaded)?;
            report.warnings.extend(live.warnings.into_iter().map(ask::Said::into_warning));
        }
        report.confirmed = Some(is_known);
        // The wrapper asks again.
        sidecar::require(&self.loaded.config, self.slot)?;
        record::write(&self.state, self.slot, wanted, "slotguard backend", SystemTime::now())
    }

    fn wait(&self, options: &Start, report: &mut Report) -> Result<(), Denial> {
        if options.no_wait {
            return Ok(());
        }
        let ready = self.backend.wait_until_ready();
        report.health = Some(match &ready {
            Ok(health) => health.clone(),
            Err(_) => self.backend.health(),
        });
        ready.map(drop).map_err(|not_ready| {
            report.seen = not_ready.seen.map(|seen| (*seen).into()).unwrap_or_default();
            not_ready.denial
        })
    }

    /// Adds what is seen in the end, whatever became of the verb; a look that the verdict rests on
    /// stays.
    fn look(&self, report: &mut Report) -> Result<(), Denial> {
        report.record = record::find(&self.state, self.slot)?.map(Into::into);
        if report.seen.is_nothing() {
            report.seen = self.backend.observe()?.into();
        }
        Ok(())
    }
}
