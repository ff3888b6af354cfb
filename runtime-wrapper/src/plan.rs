//! What would be started, decided in one go: the proof that `exec` needs.
//!
//! [`plan`] reads the configuration, the target and the file of the program, and opens directories.
//! It changes nothing but to make the state root and the slot's private directories. The environment
//! is the one snapshot that it is handed; `SLOTGUARD_CONFIG` and `SLOT_IDS_CSV` in it are not asked,
//! because a hostile environment must not choose the policy.

use std::convert::Infallible;
use std::ffi::OsString;
use std::time::SystemTime;

use guard::config::Config;
use guard::diagnostic::{Code, Denial, Warning, shown};
use guard::environment::{ChildEnvironment, Decision, Environment};
use guard::io::{Directory, inspect_program, load_config_at};
use guard::program::ApprovedProgram;
use guard::sandbox::{DotenvInWorktree, FileRule};
use guard::slot::SlotId;
use guard::verify::{VerifiedTarget, verify};
use slot_runtime::lease::{self, Admission, EmbeddedStore, Generation};
use slot_runtime::record::{self, Assignment};
use slot_runtime::{StateRoot, identity, pending_reset, sidecar};

use crate::cli::{ExecOptions, Purpose};
use crate::launch;
use crate::places::{self, Places};
use crate::privileges;
use crate::report::{Dropped, Reporter, Start, Target};
use crate::sandbox::{self, Sandbox};
use crate::sockets::{self, Inherited};

/// The way out where the sandbox may be what keeps the program from running.
const CLOSED: &str = "Make it executable and check its architecture. Its interpreter must be part of \
                      the system, or under `[sandbox] read`.";

/// Proof that a program with its target, environment and directory may be started for a slot.
///
/// Made only by [`plan`], and consumed by [`ExecPlan::apply`].
///
/// ```
/// use guard::diagnostic::Denial;
/// use runtime_wrapper::{plan::ExecPlan, report::Reporter};
/// fn start(plan: ExecPlan, reporter: &Reporter) -> Denial {
///     let Err(denial) = plan.apply(reporter);
///     denial
/// }
/// ```
///
/// A plan is used once:
///
/// ```compile_fail
/// use guard::diagnostic::Denial;
/// use runtime_wrapper::{plan::ExecPlan, report::Reporter};
/// fn start(plan: ExecPlan, reporter: &Reporter) -> Denial {
///     let Err(denial) = plan.apply(reporter).or_else(|_| plan.apply(reporter));
///     denial
/// }
/// ```
///
/// An environment snapshot and options become a plan through [`plan`] only:
///
/// ```
/// use guard::{diagnostic::Denial, environment::Environment};
/// use runtime_wrapper::{cli::ExecOptions, plan::{ExecPlan, plan}};
/// fn decide(options: &ExecOptions, environment: &Environment) -> Result<ExecPlan, Denial> {
///     plan(options, environment)
/// }
/// ```
///
/// ```compile_fail
/// use guard::{diagnostic::Denial, environment::Environment};
/// use runtime_wrapper::{cli::ExecOptions, plan::{ExecPlan, plan}};
/// fn decide(options: &ExecOptions, environment: &Environment) -> Result<ExecPlan, Denial> {
///     plan(options, environment).map(|plan| ExecPlan { warnings: Vec::new(), ..plan })
/// }
/// ```
#[derive(Debug)]
pub struct ExecPlan {
    slot: SlotId,
    purpose: Purpose,
    target: Option<VerifiedTarget>,
    program: ApprovedProgram,
    places: Places,
    environment: ChildEnvironment,
    sandbox: Sandbox,
    sockets: usize,
    /// Whether this is the slot's backend, started from its record.
    is_recorded: bool,
    warnings: Vec<Warning>,
}

/// Decides whether the program may be started, and with what.
///
/// # Errors
/// Every refusal of the configuration, the slot, the required sandbox, the target, the program, a
/// reset that is due, the directories and the environment, in this order.
pub fn plan(options: &ExecOptions, environment: &Environment) -> Result<ExecPlan, Denial> {
    let mut config = load_config_at(options.config.as_deref())?.config;
    if config.sidecar.enabled {
        // What the sidecar logs in with is not this process's to read.
        config.password_file = None;
    }
    let slot = config.slot(&options.slot)?;
    sandbox::kernel().require(&config.sandbox.require)?;
    let (target, mut warnings) = match options.purpose {
        Purpose::Backend => verify_target(options, environment, &config, slot)?,
        Purpose::Sync => refuse_target(options)?,
    };
    let Chosen { program, worktree, lease } = choose_program(slot, options, &config)?;
    if target.is_some() {
        pending_reset::refuse(&config.roots, slot)?;
    }
    let target = by_sidecar(target, lease, &config)?;
    let places = places::prepare(slot, &config.roots, worktree.as_deref(), options.purpose)?;
    let demand = match &target {
        Some(target) => config.sandbox.demand(target),
        None => config.sandbox.demand_for_sync(slot, &config.sync),
    };
    let sandbox = Sandbox::prepare(demand, &program, &places)?;
    if sandbox.is_off() {
        let message = "`[sandbox] require` is empty: the kernel enforces nothing";
        warnings.push(Warning::new(Code::SandboxOff, message));
    }
    warnings.extend(privileges::warn_of_identity());
    warnings.extend(judge_env_files(&places, config.sandbox.dotenv_in_worktree)?);
    let mut child = match &target {
        Some(target) => config.child.build(environment, target, places.child()),
        None => config.child.build_for_sync(environment, slot, places.child()),
    };
    warnings.extend_from_slice(child.warnings());
    let sockets = match options.purpose {
        Purpose::Backend => hand_over(environment, slot, &mut child, &mut warnings),
        Purpose::Sync => 0,
    };
    let purpose = options.purpose;
    Ok(ExecPlan {
        slot,
        purpose,
        target,
        program,
        places,
        environment: child,
        sandbox,
        sockets,
        is_recorded: options.from_record && purpose == Purpose::Backend,
        warnings,
    })
}

/// Tells the program of inherited sockets that are the slot's own; returns how many there are.
fn hand_over(
    environment: &Environment,
    slot: SlotId,
    child: &mut ChildEnvironment,
    warnings: &mut Vec<Warning>,
) -> usize {
    match sockets::inherited(environment, slot) {
        Inherited::Nothing => 0,
        Inherited::Own(count) => {
            child.hand_over_sockets(count, std::process::id());
            count
        }
        Inherited::Foreign(warning) => {
            warnings.push(warning);
            0
        }
    }
}

impl ExecPlan {
    /// Becomes the program, after saying so.
    ///
    /// # Errors
    /// Returns only what went wrong; nothing was started then.
    pub fn apply(self, reporter: &Reporter) -> Result<Infallible, Denial> {
        if self.is_recorded {
            identity::renew(self.places.home_handle())?;
        }
        launch::confine(self.places.working_handle(), self.sockets)?;
        self.sandbox.enforce()?;
        reporter.start(self.slot, &self.start())?;
        let denial = match launch::become_program(&self.program, &self.environment) {
            Ok(never) => match never {},
            Err(denial) => denial,
        };
        let may_be_closed = denial.code() == Code::ProgramNotRunnable && !self.sandbox.is_off();
        Err(if may_be_closed { denial.help(CLOSED) } else { denial })
    }

    pub(crate) fn slot(&self) -> SlotId {
        self.slot
    }

    pub(crate) fn decisions(&self) -> &[Decision] {
        self.environment.decisions()
    }

    pub(crate) fn file_rules(&self) -> impl Iterator<Item = &FileRule> {
        self.sandbox.rules()
    }

    pub(crate) fn sockets(&self) -> usize {
        self.sockets
    }

    /// Returns what is about to be started, without values.
    #[must_use]
    pub fn start(&self) -> Start<'_> {
        Start {
            program_key: self.program.key(),
            program_path: self.program.path(),
            argument_count: self.program.args().len(),
            purpose: self.purpose,
            target: self.target.as_ref().map(|target| Target {
                canonical: target.canonical(),
                database: target.database(),
                user: target.role(),
                host: target.host().to_string(),
                port: target.port(),
            }),
            backend_port: self.slot.backend_port(),
            working_directory: self.places.working_directory(),
            passed: self.environment.names().collect(),
            dropped: self
                .environment
                .dropped()
                .map(|decision| Dropped { name: &decision.name, reason: &decision.reason })
                .collect(),
            warnings: &self.warnings,
            sandbox: self.sandbox.enforced(),
            pid: std::process::id(),
        }
    }
}

/// The target alone is judged: the environment that came with it is not passed on.
fn verify_target(
    options: &ExecOptions,
    environment: &Environment,
    config: &Config,
    slot: SlotId,
) -> Result<(Option<VerifiedTarget>, Vec<Warning>), Denial> {
    let (target, _, mut warnings) = options.target.obtain(slot, environment, config)?;
    let target = verify(slot, target, &config.database)?;
    warnings.extend(target.warnings(&config.database));
    Ok((Some(target), warnings))
}

/// Leads to the slot's sidecar where there is to be one: a start without it is refused.
fn by_sidecar(
    target: Option<VerifiedTarget>,
    lease: Option<Generation>,
    config: &Config,
) -> Result<Option<VerifiedTarget>, Denial> {
    match target {
        Some(target) if config.sidecar.enabled => {
            let password = sidecar::obtain(&config.roots, target.slot(), lease)?;
            Ok(Some(target.through_sidecar(password)))
        }
        target => Ok(target),
    }
}

/// A dependency sync works on a worktree and gets no database: who names one means something else.
fn refuse_target(options: &ExecOptions) -> Result<(Option<VerifiedTarget>, Vec<Warning>), Denial> {
    let given = options.target.database_url.is_some() || options.target.database_url_file.is_some();
    let found = match (given, &options.worktree) {
        (true, _) => "a database URL",
        (false, None) => "no `--worktree`",
        (false, Some(_)) => return Ok((None, Vec::new())),
    };
    let message = "`--purpose sync` works on a worktree and gets no database";
    Err(Denial::new(Code::Usage, message, found, "`--worktree`, and no database URL")
        .help("Name the worktree and leave the database URL out."))
}

/// A slot that changed hands since its record was written starts nothing of its former holder.
///
/// Returns under which lease it acts.
fn admit(
    slot: SlotId,
    lease: Option<Generation>,
    config: &Config,
) -> Result<Option<Generation>, Denial> {
    let store = EmbeddedStore::new(&config.roots);
    lease::admit(&store, slot, lease, SystemTime::now()).map(Admission::generation)
}

/// What is to be started, where, and under which lease.
struct Chosen {
    program: ApprovedProgram,
    worktree: Option<OsString>,
    lease: Option<Generation>,
}

/// Takes the program from the command line or the slot's record; both are judged alike.
fn choose_program(slot: SlotId, options: &ExecOptions, config: &Config) -> Result<Chosen, Denial> {
    if !options.from_record {
        let lease = admit(slot, options.lease, config)?;
        let program = approve_program(slot, &options.words, config)?;
        return Ok(Chosen { program, worktree: options.worktree.clone(), lease });
    }
    let state = StateRoot::open_or_create(&config.roots)?;
    let record = record::read(&state, slot)?;
    record.require_generation(options.lease)?;
    let lease = admit(slot, record.assignment.lease_generation, config)?;
    let Assignment { program, args, worktree, .. } = record.assignment;
    let program = config.programs.approve_key(slot, &program, &args)?;
    inspect_program(&program)?;
    Ok(Chosen { program, worktree: worktree.map(OsString::from), lease })
}

/// What a framework would load from the worktree behind the environment's back.
fn judge_env_files(places: &Places, policy: DotenvInWorktree) -> Result<Option<Warning>, Denial> {
    let Some(worktree) = places.worktree_handle() else { return Ok(None) };
    let held = worktree.try_clone().map_err(|error| sandbox::incomplete("a handle", &error))?;
    match guard::io::judge_env_files(&Directory::from(held)) {
        Err(denial) if policy == DotenvInWorktree::Warn => {
            Ok(Some(Warning::new(Code::EnvFileInWorktree, denial.found())))
        }
        other => other.map(|()| None),
    }
}

fn approve_program(
    slot: SlotId,
    words: &[OsString],
    config: &Config,
) -> Result<ApprovedProgram, Denial> {
    let (path, args) = read_words(words)?;
    let program = config.programs.approve(slot, path, &args)?;
    inspect_program(&program)?;
    Ok(program)
}

/// Reads the program and its arguments as text, since the allowlist compares text.
fn read_words(words: &[OsString]) -> Result<(&str, Vec<String>), Denial> {
    let Some((path, args)) = words.split_first() else {
        return Err(Denial::new(
            Code::Usage,
            "no program was given",
            "nothing after `--`",
            "a program",
        ));
    };
    let path = path.to_str().ok_or_else(|| {
        let lossy = shown(&path.to_string_lossy());
        Denial::new(
            Code::ProgramNotAllowed,
            format!("`{lossy}` is not an allowed program"),
            format!("program `{lossy}`, which is not UTF-8"),
            "a path of UTF-8 text",
        )
    })?;
    let args = args.iter().enumerate().map(|(index, arg)| {
        let text = arg.to_str().map(str::to_owned);
        text.ok_or_else(|| refuse_argument(path, index + 1))
    });
    Ok((path, args.collect::<Result<_, _>>()?))
}

fn refuse_argument(path: &str, position: usize) -> Denial {
    Denial::new(
        Code::ProgramArguments,
        format!("`{}` is not allowed with these arguments", shown(path)),
        format!("argument {position} is not UTF-8"),
        "arguments of UTF-8 text",
    )
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt as _;

    use clap::Parser as _;

    use super::*;
    use crate::cli::{Cli, Command};

    const URL: &str = "postgresql://slot_1:s3cret@127.0.0.1:5432/app_preview_1";

    struct Bench {
        directory: tempfile::TempDir,
    }

    impl Bench {
        fn new(extra: &str) -> Self {
            let directory = tempfile::tempdir().unwrap();
            let at = directory.path().display();
            let text = format!(
                "version = 1\n[roots]\nstate = \"{at}/state\"\nworktree = \"{at}/previews\"\n\
                 [programs.backend]\npath = \"/bin/cat\"\nargs = [\"x\"]\n{extra}"
            );
            let path = directory.path().join("slotguard.toml");
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600))
                .unwrap();
            Self { directory }
        }

        fn plan(&self, words: &[&str], environment: &[(&str, &str)]) -> Result<ExecPlan, Denial> {
            let config = self.directory.path().join("slotguard.toml");
            let start = ["runtime-wrapper", "exec", "--config"].map(OsString::from);
            let line = start
                .into_iter()
                .chain([config.into_os_string()])
                .chain(words.iter().map(OsString::from));
            let Command::Exec(options) = Cli::parse_from(line).command else {
                unreachable!("the word `exec` is in front")
            };
            let pairs = environment.iter().map(|(n, v)| ((*n).into(), (*v).into()));
            plan(&options, &Environment::new(pairs)?)
        }
    }

    const GOOD: [&str; 5] = ["--slot", "preview-1", "--", "/bin/cat", "x"];

    #[test]
    fn a_plan_says_what_would_be_started_without_values() {
        let bench = Bench::new("");
        let parent = [("DATABASE_URL", URL), ("PGHOST", "h1dden"), ("LANG", "C")];
        let plan = bench.plan(&GOOD, &parent).unwrap();
        let start = plan.start();
        assert_eq!(start.program_key, "backend");
        assert_eq!(start.argument_count, 1);
        let target = start.target.as_ref().unwrap();
        assert_eq!(target.canonical, "postgresql://slot_1@127.0.0.1:5432/app_preview_1");
        assert!(start.passed.contains(&"LANG") && !start.passed.contains(&"PGHOST"));
        assert_eq!(start.dropped[0].name, "PGHOST");
        assert_eq!(start.sandbox.bind_tcp, Some(vec![8101]));
        assert_eq!(start.sandbox.connect_tcp, Some(vec![5432]));
        assert_eq!(start.warnings[0].code(), Code::EndpointNotPinned);
        let said = serde_json::to_string(&start).unwrap() + &format!("{plan:?}");
        assert!(!said.contains("s3cret") && !said.contains("h1dden"), "{said}");
    }

    #[test]
    fn the_environment_chooses_neither_policy_nor_slots() {
        let bench = Bench::new("");
        let parent = [
            ("DATABASE_URL", URL),
            ("SLOTGUARD_CONFIG", "/nonexistent"),
            ("SLOT_IDS_CSV", "preview-9"),
        ];
        assert!(bench.plan(&GOOD, &parent).is_ok());
    }

    #[test]
    fn an_option_beats_the_environment_s_target() {
        let bench = Bench::new("");
        let parent = [("DATABASE_URL", "postgresql://a@127.0.0.1:5432/app_production")];
        let line: Vec<&str> = ["--database-url", URL].into_iter().chain(GOOD).collect();
        let plan = bench.plan(&line, &parent).unwrap();
        assert_eq!(plan.start().target.unwrap().database, "app_preview_1");
        assert!(plan.warnings.iter().any(|warning| warning.code() == Code::PasswordOnCommandLine));
        assert_eq!(bench.plan(&GOOD, &parent).unwrap_err().code(), Code::ForeignDatabase);
    }

    #[test]
    fn a_sandbox_that_is_off_is_said_in_every_start() {
        let parent = [("DATABASE_URL", URL)];
        let bench = Bench::new("[sandbox]\nrequire = []\n");
        let plan = bench.plan(&GOOD, &parent).unwrap();
        assert!(plan.warnings.iter().any(|warning| warning.code() == Code::SandboxOff));
        assert!(plan.start().sandbox.enforced.is_empty() && !plan.start().sandbox.filter);
        let plan = Bench::new("[sandbox]\nrequire = [\"fs\"]\n").plan(&GOOD, &parent).unwrap();
        assert!(plan.warnings.iter().all(|warning| warning.code() != Code::SandboxOff));
        assert_eq!(plan.start().sandbox.bind_tcp, None, "ports are open");
    }

    impl Bench {
        fn record(&self, program: &str, args: &[&str], worktree: Option<&str>) {
            self.record_under(program, args, worktree, None);
        }

        fn record_under(
            &self,
            program: &str,
            args: &[&str],
            worktree: Option<&str>,
            lease_generation: Option<Generation>,
        ) {
            let config = load_config_at(Some(&self.directory.path().join("slotguard.toml")));
            let state = StateRoot::open_or_create(&config.unwrap().config.roots).unwrap();
            let assignment = Assignment {
                worktree: worktree.map(str::to_owned),
                program: program.to_owned(),
                args: args.iter().map(ToString::to_string).collect(),
                release: None,
                lease_generation,
            };
            let slot = "preview-1".parse().unwrap();
            let now = SystemTime::now();
            record::write(&state, slot, &assignment, "test", now).unwrap();
        }
    }

    #[test]
    fn a_record_of_a_former_holder_starts_nothing() {
        let bench = Bench::new("");
        let config = load_config_at(Some(&bench.directory.path().join("slotguard.toml"))).unwrap();
        let store = EmbeddedStore::new(&config.config.roots);
        let slot: SlotId = "preview-1".parse().unwrap();
        let claim = || {
            let owner = lease::Label::parse("owner", "test").unwrap();
            let term = std::time::Duration::from_secs(600);
            let request = lease::Request { owner, purpose: None, term };
            let patience = lease::Patience { clock: SystemTime::now, wait: term };
            let claimed = lease::claim(&store, slot, request, &patience, &mut |_| Ok(()));
            claimed.unwrap().lease.generation
        };
        let release = |generation| {
            let wait = std::time::Duration::from_secs(60);
            lease::release(&store, slot, generation, wait, &mut |_| Ok(())).unwrap();
        };
        let code = |words: &[&str]| {
            bench.plan(words, &[("DATABASE_URL", URL)]).err().map(|denial| denial.code())
        };
        let from_record = ["--slot", "preview-1", "--from-record"];
        let first = claim();
        bench.record_under("backend", &[], None, Some(first));
        assert_eq!(code(&from_record), None);
        assert_eq!(code(&[&from_record[..], &["--lease", "1"]].concat()), None);
        assert_eq!(
            code(&[&from_record[..], &["--lease", "9"]].concat()),
            Some(Code::LeaseGeneration)
        );
        assert_eq!(code(&GOOD), Some(Code::LeaseHeld));
        assert_eq!(code(&[&["--lease", "1"], &GOOD[..]].concat()), None);
        release(first);
        assert_eq!(code(&from_record), Some(Code::LeaseGeneration));
        assert_eq!(code(&GOOD), None);
        claim();
        assert_eq!(code(&from_record), Some(Code::LeaseGeneration));
    }

    #[test]
    fn nothing_starts_on_the_data_of_the_last_holder() {
        let bench = Bench::new("");
        bench.record("backend", &[], None);
        let config = load_config_at(Some(&bench.directory.path().join("slotguard.toml"))).unwrap();
        let (roots, slot) = (config.config.roots, "preview-1".parse().unwrap());
        let code = |words: &[&str]| {
            bench.plan(words, &[("DATABASE_URL", URL)]).err().map(|denial| denial.code())
        };
        let from_record = ["--slot", "preview-1", "--from-record"];
        pending_reset::schedule(&roots, slot, SystemTime::now()).unwrap();
        assert_eq!(code(&GOOD), Some(Code::ResetDue));
        assert_eq!(code(&from_record), Some(Code::ResetDue));
        // A sync has no database.
        std::fs::create_dir_all(bench.directory.path().join("previews/x")).unwrap();
        let worktree = bench.directory.path().join("previews/x");
        let sync = ["--purpose", "sync", "--worktree", worktree.to_str().unwrap()];
        let sync = [&sync[..], &GOOD[..]].concat();
        assert_eq!(bench.plan(&sync, &[]).err().map(|denial| denial.code()), None);
        pending_reset::done(&roots, slot).unwrap();
        assert_eq!((code(&GOOD), code(&from_record)), (None, None));
    }

    #[test]
    fn se_1_se_3_a_record_is_judged_as_the_command_line_is() {
        let bench = Bench::new("[programs.open]\npath = \"/bin/cat\"\nargs = [\"...\"]\n");
        let worktree = bench.directory.path().join("previews/x");
        std::fs::create_dir_all(&worktree).unwrap();
        let inside = worktree.to_str().unwrap();
        let plan =
            || bench.plan(&["--slot", "preview-1", "--from-record"], &[("DATABASE_URL", URL)]);
        let code = || plan().err().map(|denial| denial.code());
        assert_eq!(code(), Some(Code::RecordMissing));
        bench.record("backend", &[], Some(inside));
        let good = plan().unwrap();
        assert_eq!(good.start().program_key, "backend");
        assert_eq!(good.start().working_directory, inside);
        for (program, args, worktree, wanted) in [
            ("gone", &[][..], inside, Code::ProgramKey),
            ("backend", &["y"], inside, Code::ProgramArguments),
            ("backend", &[], "/etc", Code::PathOutsideRoot),
            ("backend", &[], "x", Code::PathMalformed),
        ] {
            bench.record(program, args, Some(worktree));
            assert_eq!(code(), Some(wanted), "{program} {worktree}");
        }
        bench.record("open", &["y"], None);
        assert_eq!(plan().unwrap().start().argument_count, 1);
    }

    #[test]
    fn a_sync_has_a_worktree_and_no_database() {
        let bench = Bench::new("");
        let parent = [("DATABASE_URL", "postgresql://a@127.0.0.1:5432/app_production")];
        let worktree = bench.directory.path().join("previews/x");
        std::fs::create_dir_all(&worktree).unwrap();
        let worktree = ["--worktree", worktree.to_str().unwrap()];
        let sync = ["--purpose", "sync"];
        let plan = |more: &[&str]| bench.plan(&[&sync, more, &GOOD[..]].concat(), &parent);
        let planned = plan(&worktree).unwrap();
        let start = planned.start();
        assert!(start.target.is_none() && !start.passed.contains(&"DATABASE_URL"));
        assert_eq!(start.sandbox.bind_tcp, Some(vec![]));
        assert_eq!(start.sandbox.connect_tcp, Some(vec![]));
        assert_eq!(plan(&[]).unwrap_err().code(), Code::Usage);
        let with_url = [&worktree[..], &["--database-url", URL]].concat();
        assert_eq!(plan(&with_url).unwrap_err().code(), Code::Usage);
    }

    #[test]
    fn a_name_that_stands_twice_is_refused() {
        let parent = [("DATABASE_URL", URL), ("X", "1"), ("X", "2")];
        let denial = Bench::new("").plan(&GOOD, &parent).unwrap_err();
        assert_eq!(denial.code(), Code::EnvDuplicate);
        let foreign = "postgresql://a@127.0.0.1:5432/app_production";
        let parent = [("DATABASE_URL", foreign), ("DATABASE_URL", URL)];
        let denial = Bench::new("").plan(&GOOD, &parent).unwrap_err();
        assert_eq!(denial.code(), Code::EnvDuplicate);
    }

    #[test]
    fn a_refused_program_leaves_no_directories() {
        let bench = Bench::new("");
        let line = ["--slot", "preview-1", "--", "/bin/cat", "y"];
        let denial = bench.plan(&line, &[("DATABASE_URL", URL)]).unwrap_err();
        assert_eq!(denial.code(), Code::ProgramArguments);
        assert!(!bench.directory.path().join("state").exists());
    }

    #[test]
    fn words_that_are_not_text_are_refused_without_repeating_arguments() {
        let bad = || OsString::from_vec(b"hunter2\xff".to_vec());
        let denial = read_words(&[bad()]).unwrap_err();
        assert_eq!(denial.code(), Code::ProgramNotAllowed);
        let denial = read_words(&["/x".into(), "a".into(), bad()]).unwrap_err();
        assert_eq!(denial.code(), Code::ProgramArguments);
        assert_eq!(denial.found(), "argument 2 is not UTF-8");
        assert!(!format!("{denial:?}").contains("hunter2"));
        assert_eq!(read_words(&[]).unwrap_err().code(), Code::Usage);
    }
}
