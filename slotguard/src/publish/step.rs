//! The steps of a publish, in order.

use std::fmt;

use serde::Serialize;

use crate::flow::FlowStep;

/// A step of the flow; what people see switches last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Step {
    /// The database of a slot that was given back is replaced; only if that is due.
    DatabaseReset,
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
            Self::DatabaseReset => "database-reset",
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

impl FlowStep for Step {
    const FLOW: &'static str = "publish";
}

impl fmt::Display for Step {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Step; 9] = [
        Step::DatabaseReset,
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
