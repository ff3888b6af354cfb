//! Leases: who holds a slot, for what, and until when.
//!
//! A claim gives a [`Generation`], a fencing token that only ever rises for its slot, also across
//! releases. Whoever acts on a claimed slot shows it; an old one is refused. What may happen is
//! decided in pure functions that are handed the clock; what is true is kept behind [`LeaseStore`].
//!
//! Leases keep honest workers apart. They are no protection against somebody who may write to the
//! state root.

mod admission;
mod decision;
mod embedded;
pub(crate) mod flock;
mod label;
mod moment;
mod operation;
mod record;
mod standing;
mod store;

pub use admission::{Acting, Admission, admit, begin};
pub use decision::{Due, due, judge_admission, judge_claim, judge_release, judge_renewal};
pub use embedded::EmbeddedStore;
pub use flock::Activity;
pub use label::Label;
pub use moment::Moment;
pub use operation::{Claimed, Patience, Reaped, Request, Stop, claim, reap, release, renew};
pub use standing::{Generation, Lease, Standing};
pub use store::{Change, LeaseStore, Mode};
