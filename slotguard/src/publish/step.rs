//! The steps of a publish, in order, and how each ended.

use std::fmt;

use guard::diagnostic::Denial;
use serde::Serialize;
use serde_json::{Map, Value};

/// A step of the flow; what people see switches last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Step {
    /// Everything is checked, nothing is changed.
    Preflight,
    /// The branch's dependencies, by the branch's own code, confined.
    DependencySync,
    /// The frontend is built and copied beside the one that is served.
    FrontendStage,
    /// Pending migrations run on the slot's database.
    Migration,
    /// The slot's backend, and no other, starts anew.
    BackendRestart,
    /// The backend answers on its own port.
    BackendReadiness,
    /// The new release is the one that is served.
    FrontendSwitch,
    /// Frontend and backend together.
    Readiness,
}

impl Step {
    /// Returns the name as it stands in JSON and in the names of artifacts.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Preflight => "preflight",
            Self::DependencySync => "dependency-sync",
            Self::FrontendStage => "frontend-stage",
            Self::Migration => "migration",
            Self::BackendRestart => "backend-restart",
            Self::BackendReadiness => "backend-readiness",
            Self::FrontendSwitch => "frontend-switch",
            Self::Readiness => "readiness",
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.name())
    }
}

/// How a step ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum State {
    /// It did its work.
    Done,
    /// There was nothing to do since the last time.
    Unchanged,
    /// The configuration or the worktree has nothing for it.
    Skipped,
    /// It would do its work; nothing was changed.
    Planned,
    /// It stopped the flow.
    Failed,
}

impl fmt::Display for State {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::Done => "done",
            Self::Unchanged => "unchanged",
            Self::Skipped => "skipped",
            Self::Planned => "planned",
            Self::Failed => "failed",
        })
    }
}

/// What there is to say of a step that has ended.
#[derive(Debug, Serialize)]
pub(crate) struct StepReport {
    /// Which one.
    pub(crate) step: Step,
    /// How it ended.
    pub(crate) state: State,
    /// How long it took, in milliseconds.
    pub(crate) duration_ms: u64,
    /// What it did, in a line for people.
    pub(crate) summary: String,
    /// What it found and did, for programs.
    #[serde(flatten)]
    pub(crate) details: Map<String, Value>,
    /// The last lines that its child said, for a step that failed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) output: Vec<String>,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) refusal: Option<Denial>,
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Step; 8] = [
        Step::Preflight,
        Step::DependencySync,
        Step::FrontendStage,
        Step::Migration,
        Step::BackendRestart,
        Step::BackendReadiness,
        Step::FrontendSwitch,
        Step::Readiness,
    ];

    #[test]
    fn a_name_is_what_json_says() {
        for step in ALL {
            assert_eq!(serde_json::to_value(step).unwrap(), step.name());
        }
    }
}
