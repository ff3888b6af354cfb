//! Decides whether a database, an environment, a program or a path belongs to a preview slot.
//!
//! Every decision is a pure function from values to a verdict: this crate has no clock, starts no
//! process and opens no socket. With the feature `io` it also holds the few functions that read the
//! machine on behalf of those decisions (the environment, the configuration file, directory roots). The
//! feature `migration` adds the screening of migrations, which brings a grammar of SQL.
//!
//! The chain of proofs starts here: `&str` → [`slot::SlotId`] → [`database_url::DatabaseTarget`] →
//! [`verify::VerifiedTarget`] → [`identity::ConfirmedTarget`]. Text that was checked is never handed
//! on; connection settings and the child's `DATABASE_URL` are rebuilt from parts.

pub mod admin;
pub mod config;
pub mod database_url;
pub mod deploy;
pub mod diagnostic;
pub mod environment;
pub mod frontend;
pub mod identity;
#[cfg(feature = "io")]
pub mod io;
pub mod layout;
#[cfg(feature = "migration")]
pub mod migration;
pub mod output;
pub mod path;
pub mod policy;
pub mod program;
pub mod provision;
pub mod route;
pub mod sandbox;
pub mod secret;
pub mod slot;
pub mod stamp;
pub mod suggestion;
pub mod template;
pub mod tls;
pub mod verify;
