//! What belongs to the front of a slot: paths, hosts, origins and names of headers.
//!
//! The web surface decides by these functions, and the configurations for nginx and Caddy are made
//! from the same facts. Nothing here opens a socket or reads a request from one.

pub mod caddy;
mod finding;
mod front;
mod header;
mod host;
pub mod nginx;
mod path;

pub use finding::Finding;
pub use front::Front;
pub use header::{is_dropped_from_request, is_dropped_from_response};
pub use host::Hosts;
pub use path::{PagePath, PathFault, Target, classify};
