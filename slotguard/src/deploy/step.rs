//! The steps of a deploy, in order.

use std::fmt;

use serde::Serialize;

use crate::flow::FlowStep;

/// A step of the flow; production is proved last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Step {
    /// Everything is checked, nothing is changed.
    Preflight,
    /// Production's backend is reloaded.
    Reload,
    /// The reloaded backend says that it is healthy.
    HealthGate,
}

impl FlowStep for Step {
    const FLOW: &'static str = "deploy";
}

impl fmt::Display for Step {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::Preflight => "preflight",
            Self::Reload => "reload",
            Self::HealthGate => "health-gate",
        })
    }
}
