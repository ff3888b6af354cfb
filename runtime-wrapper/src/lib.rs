//! Starts one program of a preview slot: checked, confined to the slot, in place of this process.
//!
//! [`plan::plan`] decides and returns an [`plan::ExecPlan`]; [`plan::ExecPlan::apply`] consumes it
//! and becomes the program. Between the two nothing is decided again and nothing is read from the
//! environment. There is no SQL client here, no async runtime and no child process.

pub mod cli;
mod explain_env;
mod launch;
pub mod places;
pub mod plan;
mod plan_view;
mod privileges;
mod probe;
pub mod report;
mod run;
pub mod sandbox;
mod sockets;
mod sys;

pub use run::run;
