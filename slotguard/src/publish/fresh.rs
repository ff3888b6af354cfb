//! The database of a slot that was given back, replaced before anybody works with it.

use guard::diagnostic::Denial;
use serde_json::Value;
use slot_runtime::pending_reset;

use super::children::{Program, Siblings};
use super::journey::Request;
use super::step::Step;
use crate::flow::{Flow, State, Stop, Teller};

/// Nothing of the slot's last holder is in its database; in a dry run, nothing will be.
pub(crate) struct FreshDatabase {
    planned: bool,
}

impl FreshDatabase {
    /// Resets the database if that is due; otherwise there is no step.
    ///
    /// # Errors
    /// Stops as `migrate-runner reset` refuses: the slot stays closed until a reset succeeded.
    pub(crate) fn obtain(
        flow: &mut Flow<'_, Step>,
        request: &Request<'_>,
    ) -> Result<Self, Stop<Step>> {
        let roots = &request.loaded.config.roots;
        if matches!(pending_reset::since(roots, request.slot), Ok(None)) {
            return Ok(Self { planned: false });
        }
        let dry_run = flow.dry_run();
        flow.step(Step::DatabaseReset, |teller| {
            let Some(due) = pending_reset::since(roots, request.slot)? else {
                let ended = (State::Unchanged, "somebody else has reset it".to_owned());
                return Ok((ended, Self { planned: false }));
            };
            teller.note("due_since", due);
            let Some(words) = request.loaded.config.released_database.reset_to() else {
                // It was scheduled under another configuration; nobody says how it is done.
                pending_reset::refuse(roots, request.slot)?;
                let ended = (State::Unchanged, "somebody else has reset it".to_owned());
                return Ok((ended, Self { planned: false }));
            };
            let source = words.join(" ");
            if dry_run {
                let ended = (State::Planned, format!("reset to {source}"));
                return Ok((ended, Self { planned: true }));
            }
            let answer = reset(request, &words, teller)?;
            teller.note("reset_artifact", &answer["artifact"]);
            pending_reset::refuse(roots, request.slot)?;
            Ok(((State::Done, format!("reset to {source}")), Self { planned: false }))
        })
    }

    /// Returns whether the database that is there now will be another one.
    pub(crate) fn is_planned(&self) -> bool {
        self.planned
    }
}

fn reset(
    request: &Request<'_>,
    words: &[&str],
    teller: &mut Teller<'_, Step>,
) -> Result<Value, Denial> {
    let slot = request.slot.to_string();
    let generation = request.lease.map(|generation| generation.to_string());
    let config = request.config_path();
    let mut args = vec!["--format", "json", "reset", "--if-due", "--slot", &slot];
    if let Some(config) = &config {
        args.extend(["--config", config]);
    }
    if let Some(generation) = &generation {
        args.extend(["--lease", generation]);
    }
    args.push("--to");
    args.extend(words);
    Siblings::find()?.ask(Program::MigrateRunner, &args, request.loaded, teller)
}
