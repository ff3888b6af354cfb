//! What an administrator does with the slots' databases: make, check, stamp and replace them.
//!
//! Two roles act. A superuser makes roles and revokes defaults; it reads system catalogs only, and
//! never anything that a slot's role owns, because a view runs with the rights of its reader.
//! `preview_admin` makes, stamps and replaces databases; it is no superuser, so a defect here cannot
//! reach production's.

mod adopt;
mod build;
mod cluster;
mod consent;
mod copy;
mod exchange;
mod interrupt;
mod plan;
mod protect;
mod provision;
mod report;
mod reset;
mod secrets;
mod seed;
mod session;

pub(crate) use adopt::adopt;
pub(crate) use protect::protect;
pub(crate) use provision::provision;
pub(crate) use reset::reset;
pub(crate) use seed::seed;
