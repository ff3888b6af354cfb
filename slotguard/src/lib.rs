//! The front door: what people and workers type.
//!
//! Holds no SQL client. What another privilege is needed for is done by a sibling program, started
//! from this program's own directory with an environment built from nothing.

mod artifacts;
mod backend;
mod check;
pub mod cli;
mod columns;
mod demo;
mod deploy;
mod doctor;
mod explain;
mod flow;
mod http;
mod install;
mod interrupt;
mod options;
mod pages;
mod publish;
mod request;
mod routes;
mod schema;
mod slot;
mod status;
mod tree;

use slot_runtime::installation::{ask, child, sibling};
