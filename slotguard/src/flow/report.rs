//! How a step of a flow ended.

use std::fmt;

use guard::diagnostic::Denial;
use serde::Serialize;
use serde_json::{Map, Value};

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
pub(crate) struct StepReport<S> {
    /// Which one.
    pub(crate) step: S,
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
