//! `slotguard check`: one verdict on one target and the environment of this process.

use guard::diagnostic::{Denial, Warning};
use guard::io::{environment_snapshot, judge_worktree, load_config, warn_of_home};
use guard::verify::VerifiedTarget;
use step_report::console::{Console, Format};
use step_report::exit::ExitStatus;
use step_report::verdict::Verdict;

use crate::ask::{self, Live, Said};
use crate::options::Check;

/// Judges and says the verdict.
pub(crate) fn run(console: &Console, options: &Check) -> ExitStatus {
    let slot = options.slot.as_deref().unwrap_or_default();
    match judge(slot, options) {
        Ok(allowed) => {
            allow(console, &allowed);
            ExitStatus::Done
        }
        Err(denial) => console.refuse(Some(slot), &denial),
    }
}

/// A target that passed, and what the live server said of it.
struct Allowed {
    target: VerifiedTarget,
    warnings: Vec<Warning>,
    live: Option<Live>,
}

fn judge(slot: &str, options: &Check) -> Result<Allowed, Denial> {
    let environment = environment_snapshot()?;
    let loaded = load_config(options.config.config.as_deref(), &environment)?;
    let config = &loaded.config;
    let slot = config.slot(slot)?;
    let (target, mut warnings) = options.target.verify(slot, &environment, config)?;
    if let Some(worktree) = &options.worktree {
        judge_worktree(worktree, &config.roots)?;
    }
    warnings.extend(warn_of_home(&environment));
    let mut live = None;
    if options.live {
        let mut answer = ask::confirm(slot, Some(&target.connection_url()), &loaded)?;
        // What was said offline is not said twice.
        let known = |said: &Said| warnings.iter().any(|w| w.code().id() == said.code());
        let news = std::mem::take(&mut answer.warnings).into_iter().filter(|said| !known(said));
        let news: Vec<Warning> = news.map(Said::into_warning).collect();
        warnings.extend(news);
        live = Some(answer);
    }
    Ok(Allowed { target, warnings, live })
}

fn allow(console: &Console, allowed: &Allowed) {
    let Allowed { target, warnings, live } = allowed;
    if console.format() == Format::Json {
        let slot = target.slot().to_string();
        let mut verdict = Verdict::allowed(&slot, target, warnings);
        if let Some(live) = live.as_ref().and_then(|live| serde_json::to_value(live).ok()) {
            verdict = verdict.confirmed(live);
        }
        console.object(&verdict);
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
    if let Some(live) = live {
        let stamp = if live.stamped { "and its stamp holds" } else { "which carries no stamp" };
        console.line(&format!("  live       the server says that it is this database, {stamp}"));
    }
}
