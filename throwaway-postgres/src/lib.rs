//! A private Postgres that dies with its parent; for the demo and the tests.
//!
//! [`ServerPrograms`] finds an installed server, [`Cluster`] makes a fresh database cluster in a
//! directory of its own, serves it on loopback and on a unix socket, and removes every trace of it
//! when it is dropped. A watchdog process does the same when the parent cannot: after `kill -9`, an
//! abort, or an exit that runs no destructor.
//!
//! The crate deliberately does not speak the Postgres protocol (SQL goes through `psql`), does not
//! read its caller's environment, does not keep a cluster for later, and does not make one that is
//! fit for data anybody wants to keep: it does not wait for the disk. It needs Linux, for `/proc`.
//!
//! ```no_run
//! use throwaway_postgres::{Cluster, ServerPrograms};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let programs = ServerPrograms::find(None, None)?;
//! let cluster = Cluster::builder(programs).start()?;
//! assert_eq!(cluster.run_sql("postgres", "SELECT 1 + 1")?, "2\n");
//! cluster.stop()?;
//! # Ok(())
//! # }
//! ```

mod cluster;
mod command;
mod directory;
mod launch;
mod log;
mod password;
mod process;
mod programs;
mod settings;
mod sql;
mod user;
mod watchdog;

pub use cluster::{Cluster, ClusterBuilder, CopyAs};
pub use directory::{DirectoryError, Refusal};
pub use launch::StartError;
pub use process::StopError;
pub use programs::{FindError, ServerPrograms, UnsuitableDirectory};
pub use settings::SettingError;
pub use sql::SqlError;
pub use user::UserError;
