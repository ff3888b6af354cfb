//! Starts one program of a preview slot: checked, confined to the slot, in place of this process.
//!
//! [`plan::plan`] decides and returns an [`plan::ExecPlan`]; [`plan::ExecPlan::apply`] consumes it
//! and becomes the program. Between the two nothing is decided again and nothing is read from the
//! environment. There is no SQL client here, no async runtime, no child process and, so far, no
//! kernel sandbox: a configuration that demands one is refused.

pub mod cli;
mod launch;
pub mod places;
pub mod plan;
pub mod report;
mod run;
mod sys;

pub use run::run;
