//! `trace`: what each statement of a run really locks, rewrites, builds and reads.
//!
//! The migrations run for real on the preview database, as `apply` runs them. Behind each statement,
//! and still in its transaction, the session asks the server which locks it holds, so nothing is
//! missed that a look from outside would come too late for. What is reported is about relations that
//! were there before the run: nobody in production can wait for a table that does not exist yet.
//!
//! A statement that cannot run in a transaction gives its locks back itself. A second session holds
//! what it must ask for, sees its request, and lets go.
//!
//! Not seen is what happens at the commit, such as deferred constraints.

mod command;
mod difference;
mod look;
mod markdown;
mod record;
mod report;
mod solo;
mod stages;
mod tracer;
mod witness;
mod words;

pub(crate) use command::{OUTPUTS, run};
pub(crate) use look::Look;
pub(crate) use solo::Solo;
pub(crate) use tracer::Trace;
