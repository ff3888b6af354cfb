//! `slotguard check`: one verdict on one target and the environment of this process.

use guard::diagnostic::{Denial, Warning};
use guard::io::{environment_snapshot, judge_worktree, load_config, warn_of_home};
use guard::verify::VerifiedTarget;
use step_report::console::{Console, Format};
use step_report::exit::ExitStatus;
use step_report::verdict::Verdict;

use crate::options::Check;

/// Judges and says the verdict.
pub(crate) fn run(console: &Console, options: &Check) -> ExitStatus {
    let slot = options.slot.as_deref().unwrap_or_default();
    match judge(slot, options) {
        Ok((target, warnings)) => {
            allow(console, &target, &warnings);
            ExitStatus::Done
        }
        Err(denial) => console.refuse(Some(slot), &denial),
    }
}

fn judge(slot: &str, options: &Check) -> Result<(VerifiedTarget, Vec<Warning>), Denial> {
    let environment = environment_snapshot();
    let config = load_config(options.config.config.as_deref(), &environment)?.config;
    let slot = config.slot(slot)?;
    let (target, mut warnings) = options.target.verify(slot, &environment, &config)?;
    if let Some(worktree) = &options.worktree {
        judge_worktree(worktree, &config.roots)?;
    }
    warnings.extend(warn_of_home(&environment));
    Ok((target, warnings))
}

fn allow(console: &Console, target: &VerifiedTarget, warnings: &[Warning]) {
    if console.format() == Format::Json {
        console.object(&Verdict::allowed(&target.slot().to_string(), target, warnings));
        return;
    }
    for warning in warnings {
        console.warn(warning);
    }
    console.line(&format!("{}: allowed", target.slot()));
    console.line(&format!("  database   {}", target.database()));
    console.line(&format!("  server     {}:{}", target.host(), target.port()));
    console.line(&format!("  role       {}", target.role()));
    console.line(&format!("  canonical  {}", target.canonical()));
}
