//! What belongs to the front of a slot: paths, hosts, origins and names of headers.
//!
//! The web surface decides by these functions, and the configurations for nginx and Caddy are made
//! from the same facts. Nothing here opens a socket or reads a request from one.

mod header;
mod host;
mod path;

pub use header::{is_dropped_from_request, is_dropped_from_response};
pub use host::Hosts;
pub use path::{PagePath, PathFault, Target, classify};
