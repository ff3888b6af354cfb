//! How the demo says that a step did not come out as announced.

use guard::diagnostic::{Code, Denial};

/// A step that did not come out as announced.
pub(super) fn unexpected(what: &str, found: &str, expected: &str) -> Denial {
    let found = found.lines().map(str::trim).collect::<Vec<_>>().join("; ");
    Denial::new(Code::DemoStep, format!("the demo stops: {what}"), found, expected)
}
