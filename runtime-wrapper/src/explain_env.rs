//! `explain-env`: why a variable reaches the programs of a slot, or not.

use guard::diagnostic::Denial;
use guard::environment::{Decision, Outcome};
use guard::io::{environment_snapshot, load_config_at};
use guard::slot::SlotId;
use serde::Serialize;
use step_report::console::{Console, Format};

use crate::cli::ExplainOptions;

#[derive(Serialize)]
pub(crate) struct Explanation {
    schema: &'static str,
    slot: SlotId,
    #[serde(flatten)]
    decision: Decision,
    /// Whether the present environment has the name.
    present: bool,
}

/// Decides on the name as `exec` would.
///
/// # Errors
/// Refuses an unknown slot, an unusable configuration, and an environment with a name twice.
pub(crate) fn explain(options: &ExplainOptions) -> Result<Explanation, Denial> {
    let config = load_config_at(options.config.as_deref())?.config;
    let slot = config.slot(&options.slot)?;
    let environment = environment_snapshot()?;
    Ok(Explanation {
        schema: "slotguard.explain-env/1",
        slot,
        decision: config.child.explain(&options.name, &environment),
        present: environment.value(&options.name).is_some(),
    })
}

/// Shows the decision.
pub(crate) fn show(console: &Console, explanation: &Explanation) {
    if console.format() == Format::Json {
        return console.object(explanation);
    }
    let Decision { name, outcome, reason } = &explanation.decision;
    let becomes = match outcome {
        Outcome::Computed => "computed",
        Outcome::Set => "set",
        Outcome::Inherited => "inherited",
        Outcome::Dropped => "left out",
    };
    let judged = match (outcome, explanation.present) {
        (Outcome::Computed | Outcome::Set, _) | (_, true) => "",
        (_, false) => " (not in the present environment; judged by its name)",
    };
    console.line(&format!("{name} is {becomes}: {reason}{judged}"));
}
