//! `plan`, `apply`, `status` and `adopt --migrations`: from the options of a slot to a run and its
//! report.

use std::path::Path;

use guard::config::Config;
use guard::diagnostic::{Code, Denial, Warning};
use guard::environment::Environment;
use guard::io::environment_snapshot;
use guard::layout::Layout;
use guard::slot::SlotId;
use guard::verify::VerifiedTarget;
use slot_runtime::pending_reset;
use step_report::cli::{ConfigOption, TargetOptions};
use step_report::console::{Console, Format};
use step_report::exit::ExitStatus;

use crate::cli::configured;
use crate::examination::{self, Text};
use crate::files::{MigrationFile, MigrationSet};
use crate::hazard::{HazardOptions, Judgement};
use crate::interrupt::Interrupt;
use crate::lease::LeasedAct;
use crate::limits::Limits;
use crate::live;
use crate::options::{Adopt, Migrations, Plan};
use crate::report::{self, Place, Planned};
use crate::run::{MigrationRun, Outcome};
use crate::screening::{ScreenedFile, refusal, require_clean};
use crate::session::GuardedSession;
use crate::stop::Stopper;
use crate::trace::Trace;

/// Shows what would run.
///
/// # Errors
/// Refuses what can be refused before anything runs, and files and ledger that disagree.
pub(crate) async fn plan(console: &Console, options: &Plan) -> Result<ExitStatus, Denial> {
    let Plan { run, hazards } = options;
    let ground = Ground::of(run)?;
    run.lease.check(&ground.config, ground.slot)?;
    let prepared = ground.prepare_run(run)?;
    let screened = require_clean(console, &prepared.set)?;
    stand(console, prepared, Some((&screened, hazards))).await
}

/// Shows every version.
///
/// # Errors
/// Refuses what can be refused before anything runs, and files and ledger that disagree.
pub(crate) async fn status(console: &Console, options: &Migrations) -> Result<ExitStatus, Denial> {
    let ground = Ground::of(options)?;
    options.lease.check(&ground.config, ground.slot)?;
    stand(console, ground.prepare_run(options)?, None).await
}

/// Runs what is pending.
///
/// # Errors
/// As [`plan`], and as [`MigrationRun::apply`].
pub(crate) async fn apply(console: &Console, options: &Migrations) -> Result<ExitStatus, Denial> {
    let ran = run_pending(console, options, "apply", Console::line, |_| None).await?;
    report::finished(console, &ran.place, &ran.outcome, &ran.screened, &ran.warnings);
    Ok(ExitStatus::Done)
}

/// A run that came to its end.
pub(crate) struct Ran {
    pub(crate) place: Place,
    pub(crate) outcome: Outcome,
    pub(crate) screened: Vec<ScreenedFile>,
    pub(crate) warnings: Vec<Warning>,
    /// The major version of the server, for a run that was watched.
    pub(crate) server: Option<u32>,
}

/// Runs what is pending, as the step that is called so; progress is said to people by `says`.
///
/// `watched` returns who wants to know what each statement of a set does.
///
/// # Errors
/// As [`apply`].
pub(crate) async fn run_pending(
    console: &Console,
    options: &Migrations,
    step: &str,
    says: fn(&Console, &str),
    watched: impl FnOnce(&MigrationSet) -> Option<Trace>,
) -> Result<Ran, Denial> {
    // From here on a signal ends the run with a word, also in the artifact.
    let mut interrupt = Interrupt::listen()?;
    let ground = Ground::of(options)?;
    let slot = ground.slot;
    console.begin(&ground.config.roots, slot, step)?;
    let act = LeasedAct::begin(&ground.config, slot, options.lease)?;
    pending_reset::refuse(&ground.config.roots, slot)?;
    act.announce(console);
    let Prepared { target, set, limits, mut warnings } = ground.prepare_run(options)?;
    warnings.extend(act.warning());
    let screened = require_clean(console, &set)?;
    let place = Place::of(&target, set.layout());
    let mut session = open(console, &mut interrupt, target, &limits, &mut warnings).await?;
    let stopper = session.stopper();
    let trace = watched(&set);
    let server = if trace.is_some() { live::major_version(&session).await? } else { None };
    let run = MigrationRun::new(session, set).within(limits).under(Some(act)).traced(trace);
    let mut observer = |progress: crate::progress::Progress<'_>| {
        report::progress(console, slot, &progress, says);
    };
    let outcome = until_interrupted(&mut interrupt, run.apply(&mut observer), stopper).await?;
    Ok(Ran { place, outcome, screened, warnings, server })
}

/// Records files as applied without running them.
///
/// # Errors
/// As [`plan`], for a version that no file has, and as [`MigrationRun::adopt`].
pub(crate) async fn adopt(console: &Console, options: &Adopt) -> Result<ExitStatus, Denial> {
    let mut interrupt = Interrupt::listen()?;
    let ground = Ground::new(&options.admin.config, &options.slot)?;
    let slot = ground.slot;
    if !options.dry_run {
        console.begin(&ground.config.roots, slot, "adopt")?;
    }
    let act = LeasedAct::begin(&ground.config, slot, options.lease)?;
    pending_reset::refuse(&ground.config.roots, slot)?;
    act.announce(console);
    let migrations = options.migrations.as_deref().unwrap_or_else(|| Path::new(""));
    let Prepared { target, set, limits, mut warnings } =
        ground.prepare(&options.target, (migrations, options.layout.layout))?;
    warnings.extend(act.warning());
    let last = set.last_up_to(options.up_to)?;
    // What the next plan refuses must not be recorded: its file could not be changed any more.
    require_clean(console, &set)?;
    let place = Place::of(&target, set.layout());
    let mut session = open(console, &mut interrupt, target, &limits, &mut warnings).await?;
    let stopper = session.stopper();
    let run = MigrationRun::new(session, set).within(limits).under(Some(act));
    let mut observer = |progress: crate::progress::Progress<'_>| {
        report::progress(console, slot, &progress, Console::line);
    };
    let (adopted, outcome) = if options.dry_run {
        (run.adoptable(last).await?, "planned")
    } else {
        let adopting = run.adopt(last, &mut observer);
        (until_interrupted(&mut interrupt, adopting, stopper).await?, "recorded")
    };
    report::adopted(console, &place, &adopted, outcome, &warnings);
    Ok(ExitStatus::Done)
}

/// Opens the session; a signal before the server has answered is an end of its own.
async fn open(
    console: &Console,
    interrupt: &mut Interrupt,
    target: VerifiedTarget,
    limits: &Limits,
    warnings: &mut Vec<Warning>,
) -> Result<GuardedSession, Denial> {
    warnings.iter().for_each(|warning| console.warn(warning));
    let session = tokio::select! {
        biased;
        signal = interrupt.came() => {
            let message = "interrupted before anything ran";
            Err(Denial::new(Code::RunInterrupted, message, signal, "a run to the end"))
        }
        session = GuardedSession::open(target, limits) => session,
    }?;
    take_warnings(console, &session, warnings);
    Ok(session)
}

struct Prepared {
    target: VerifiedTarget,
    set: MigrationSet,
    limits: Limits,
    warnings: Vec<Warning>,
}

/// The slot of a command, and what says what it may do.
struct Ground {
    environment: Environment,
    config: Config,
    slot: SlotId,
}

impl Ground {
    fn of(options: &Migrations) -> Result<Self, Denial> {
        Self::new(&options.config, &options.slot)
    }

    fn new(config: &ConfigOption, slot: &str) -> Result<Self, Denial> {
        let environment = environment_snapshot()?;
        let config = configured(config, &environment)?;
        let slot = config.slot(slot)?;
        Ok(Self { environment, config, slot })
    }

    fn prepare_run(self, options: &Migrations) -> Result<Prepared, Denial> {
        let migrations = (options.migrations.as_path(), options.layout.layout);
        let mut prepared = self.prepare(&options.target, migrations)?;
        prepared.limits = options.limits.over(prepared.limits);
        Ok(prepared)
    }

    /// Everything that can be refused before a socket opens, but for the screening.
    fn prepare(
        self,
        target: &TargetOptions,
        (migrations, layout): (&Path, Option<Layout>),
    ) -> Result<Prepared, Denial> {
        let Self { environment, config, slot } = self;
        let (target, warnings) = target.verify(slot, &environment, &config)?;
        let set = MigrationSet::read(migrations, &config, layout)?;
        Ok(Prepared { target, set, limits: Limits::of(&config.quotas), warnings })
    }
}

/// Says how the versions stand; what is at odds is a refusal. A plan says hazards too.
async fn stand(
    console: &Console,
    prepared: Prepared,
    plan: Option<(&[ScreenedFile], &HazardOptions)>,
) -> Result<ExitStatus, Denial> {
    let Prepared { target, set, limits, mut warnings } = prepared;
    let place = Place::of(&target, set.layout());
    warnings.iter().for_each(|warning| console.warn(warning));
    let session = GuardedSession::open(target, &limits).await?;
    take_warnings(console, &session, &mut warnings);
    let server = live::major_version(&session).await?;
    let run = MigrationRun::new(session, set);
    let comparison = run.compare().await?;
    let planned = plan.map(|(screened, options)| Planned {
        screened,
        hazards: hazards_of(&run.pending(&comparison), options, server),
    });
    report::standing(console, &place, &comparison, planned.as_ref(), &warnings);
    let denies = plan.is_some_and(|(_, options)| options.denies());
    let denied = || refusal(&planned.as_ref().filter(|_| denies)?.hazards);
    match comparison.problems().into_iter().next().or_else(denied) {
        None => Ok(ExitStatus::Done),
        Some(problem) if console.format() == Format::Human => Err(problem),
        Some(problem) => Ok(problem.code().into()),
    }
}

/// Returns what would hurt production in files that it does not have.
pub(crate) fn hazards_of(
    pending: &[&MigrationFile],
    options: &HazardOptions,
    connected: Option<u32>,
) -> Vec<ScreenedFile> {
    let is_new = |file: &&&MigrationFile| !options.is_deployed(file.migration.version());
    let new = pending.iter().filter(is_new);
    let texts: Vec<Text<'_>> = new
        .map(|file| Text {
            path: Path::new(&file.file),
            text: file.text(),
            execution: file.execution(),
            is_pending: true,
        })
        .collect();
    examination::examine(&texts, Judgement::of_server(options.server(connected)))
}

/// Says what the live database warns of, and keeps it for the report.
fn take_warnings(console: &Console, session: &GuardedSession, warnings: &mut Vec<Warning>) {
    session.warnings().iter().for_each(|warning| console.warn(warning));
    warnings.extend_from_slice(session.warnings());
}

/// Does the work to its end; a signal only asks it to come to its end soon.
async fn until_interrupted<T>(
    interrupt: &mut Interrupt,
    work: impl Future<Output = Result<T, Denial>>,
    stopper: Option<Stopper>,
) -> Result<T, Denial> {
    let Some(stopper) = stopper else { return work.await };
    let mut work = std::pin::pin!(work);
    loop {
        tokio::select! {
            done = work.as_mut() => return done,
            name = interrupt.came() => {
                tracing::warn!(signal = name, "stopping");
                stopper.stop().await;
            }
        }
    }
}
