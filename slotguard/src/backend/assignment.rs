//! What a slot is to run, judged before anything is stopped or started.
//!
//! The wrapper judges the same again when it starts; this makes a mistake cost nothing.

use guard::config::Config;
use guard::diagnostic::{Code, Denial, shown};
use guard::io::{Root, inspect_program};
use guard::path::AbsolutePath;
use guard::slot::SlotId;
use slot_runtime::StateRoot;
use slot_runtime::lease::Generation;
use slot_runtime::record::{self, Assignment};

use super::options::Start;

/// The program of a slot whose start names none.
const DEFAULT_PROGRAM: &str = "backend";

/// Decides what is wanted: what the options say, or else what the slot's record says.
///
/// # Errors
/// Refuses a missing record, or one of another lease, where no option is given, and what the allowlist or the roots refuse.
pub(super) fn wanted(
    state: &StateRoot,
    slot: SlotId,
    options: &Start,
    lease: Option<Generation>,
    config: &Config,
) -> Result<Assignment, Denial> {
    let Start { worktree, program, args, .. } = options;
    let assignment = if worktree.is_none() && program.is_none() && args.is_empty() {
        let record = record::read(state, slot)?;
        // What a former holder ran is nobody's wish any more.
        record.require_generation(lease)?;
        Assignment { lease_generation: lease, ..record.assignment }
    } else {
        Assignment {
            worktree: worktree.clone(),
            program: program.clone().unwrap_or_else(|| DEFAULT_PROGRAM.to_owned()),
            args: args.clone(),
            release: None,
            lease_generation: lease,
        }
    };
    judge(slot, &assignment, config)?;
    Ok(assignment)
}

fn judge(slot: SlotId, assignment: &Assignment, config: &Config) -> Result<(), Denial> {
    assignment.require_plain()?;
    let program = config.programs.approve_key(slot, &assignment.program, &assignment.args)?;
    inspect_program(&program)?;
    assignment.worktree.as_deref().map_or(Ok(()), |worktree| judge_worktree(worktree, config))
}

fn judge_worktree(text: &str, config: &Config) -> Result<(), Denial> {
    let path = AbsolutePath::parse(text)?;
    let root = config.roots.worktree.as_ref();
    let (root, beneath) =
        root.and_then(|root| Some((root, path.beneath(root)?))).ok_or_else(|| {
            let expected = root.map_or("a configured `[roots] worktree`".to_owned(), |root| {
                format!("a directory beneath `{}`", shown(root.as_str()))
            });
            let message = "the worktree is not beneath the root for worktrees";
            Denial::new(Code::PathOutsideRoot, message, format!("`{}`", shown(text)), expected)
        })?;
    let root = Root::open(root)?.crossing_mounts(config.roots.cross_mounts);
    root.open_directory(&beneath).map(drop)
}
