//! The options of `backend` and its verbs, as clap reads them.

use clap::{Args, Subcommand};
use slot_runtime::lease::Generation;
use step_report::cli::ConfigOption;

/// Options of `backend`.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Backend {
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

const EXAMPLES: &str = "\
Examples:
  slotguard backend start --slot preview-1 --worktree /srv/previews/feature-7
  slotguard backend start --slot preview-1 --worktree /srv/previews/feature-7 \\
      --program worker -- --queue mail
  slotguard backend status --slot preview-1
  slotguard backend restart --slot preview-1
  slotguard backend stop --slot preview-1 --format json

Exit codes: 0 done, 66 the slot has no record, 69 the backend has ended or is not healthy,
75 another command works on the slot, 77 denied by the guard.";

/// What can be done to a backend.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Start the backend, and wait until it is healthy
    ///
    /// What is to run is written into the slot's record: worktree, program and arguments. With none
    /// of them given, the record decides. A backend that runs already as wanted is left alone; one
    /// that runs something else is refused. Before anything starts, the database is asked whether it
    /// is the slot's own, and nobody else may listen on the slot's port.
    Start(Start),
    /// Stop the backend, and show that nothing of it is left
    ///
    /// SIGTERM, then SIGKILL after `[backend] stop_timeout_s`. A backend that does not run is no
    /// failure. The stop is done when no process of the slot is left and its port is free.
    Stop(Stop),
    /// Stop the backend and start it, by default as its record says
    ///
    /// What is to run is judged before anything is stopped.
    Restart(Start),
    /// Show whether the backend runs, since when, as what, and how it ended last
    Status(Target),
    /// Ask the backend once, and say what answers
    ///
    /// Told apart: nobody listens, a foreign process listens, nobody can tell who does, the backend
    /// answers badly, the backend is healthy.
    Health(Target),
}

/// The slot that a verb acts on.
#[derive(Debug, Args)]
pub(crate) struct Target {
    /// The slot, such as preview-1
    #[arg(long, value_name = "SLOT")]
    pub(crate) slot: String,
    #[command(flatten)]
    pub(crate) config: ConfigOption,
}

/// Options of `backend stop`.
#[derive(Debug, Args)]
pub(crate) struct Stop {
    #[command(flatten)]
    pub(crate) target: Target,
    /// Generation under which the slot was claimed; a claimed slot needs it
    #[arg(long, value_name = "GEN")]
    pub(crate) lease: Option<Generation>,
}

/// Options of `backend start` and `backend restart`.
#[derive(Debug, Args)]
pub(crate) struct Start {
    #[command(flatten)]
    pub(crate) target: Target,
    /// Directory beneath `[roots] worktree` to run in [default: the slot's private home]
    #[arg(long, value_name = "DIR")]
    pub(crate) worktree: Option<String>,
    /// Key under `[programs]` [default: backend]
    #[arg(long, value_name = "KEY")]
    pub(crate) program: Option<String>,
    /// Generation under which the slot was claimed; a claimed slot needs it
    #[arg(long, value_name = "GEN")]
    pub(crate) lease: Option<Generation>,
    /// Wait until the backend is healthy, which is the default
    #[arg(long, overrides_with = "no_wait")]
    pub(crate) wait: bool,
    /// Return as soon as the program has been started
    #[arg(long)]
    pub(crate) no_wait: bool,
    /// What follows the arguments of the program's entry, where it allows more
    #[arg(last = true, value_name = "ARGS")]
    pub(crate) args: Vec<String>,
}

/// Options of the hidden command that keeps a backend.
#[derive(Debug, Args)]
pub(crate) struct Keep {
    /// The slot
    #[arg(long)]
    pub(crate) slot: String,
    #[command(flatten)]
    pub(crate) config: ConfigOption,
}
