//! Applies preview migrations, only with the proof that the database is the slot's own.
//!
//! The only crate with a SQL client. It starts no process. The order is fixed by types: a
//! [`guard::verify::VerifiedTarget`] is needed to open a [`session::GuardedSession`], which exists
//! only when the live server agreed; a session is needed for a [`run::MigrationRun`].

mod admin;
mod adoption;
mod blockers;
mod channel_binding;
mod checksum;
pub mod cli;
pub mod comparison;
mod confirm;
mod connection;
mod examination;
mod executor;
pub mod files;
mod finding;
mod github;
pub mod half_applied;
mod hazard;
pub mod history;
mod interrupt;
mod layout;
pub mod lease;
pub mod limits;
mod lint;
mod live;
mod migrate;
mod name;
mod options;
mod output;
mod parallel;
pub mod progress;
mod report;
pub mod run;
mod run_lock;
mod sarif;
mod screening;
mod secured;
pub mod session;
mod sql;
mod sql_error;
mod stepwise;
mod stop;
mod trace;
mod transaction;
mod way;
