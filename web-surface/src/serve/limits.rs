//! Every bound of the front, in one place; `docs/web.md` shows the same table.

use std::time::Duration;

/// Connections at one time; further ones wait to be accepted.
pub(super) const CONNECTIONS: usize = 1024;
/// WebSockets at one time, beside the connections; further ones are refused.
pub(super) const TUNNELS: usize = 512;
/// Bytes of a request's line and headers.
pub(super) const HEADER_BYTES: usize = 32 * 1024;
/// Bytes of a request's body.
pub(super) const BODY_BYTES: u64 = 100 * 1024 * 1024;
/// Connections to the backend that are kept for the next request.
pub(super) const IDLE_UPSTREAM: usize = 64;

/// Between two looks whether anything moves on a connection.
pub(super) const QUIET_LOOK: Duration = Duration::from_secs(5);
/// After so many looks at which nothing was sent, a connection ends: 30 seconds, and one look at most.
pub(super) const QUIET_LOOKS: u32 = 6;
/// Between two pieces of a body, in either direction.
pub(super) const BODY_IDLE: Duration = Duration::from_secs(600);
/// Until the backend accepts a connection.
pub(super) const CONNECT: Duration = Duration::from_secs(1);
/// Until the backend begins to answer.
pub(super) const FIRST_BYTE: Duration = Duration::from_secs(60);
/// How long a kept connection to the backend is used: shorter than servers commonly keep theirs.
pub(super) const UPSTREAM_KEPT: Duration = Duration::from_secs(4);
/// How long a request without a body waits for a backend that is not there.
pub(super) const RESTART: Duration = Duration::from_secs(5);
/// Between two looks for a backend that is not there.
pub(super) const RESTART_LOOK: Duration = Duration::from_millis(50);
/// Between two looks for a new release.
pub(super) const RELEASE_LOOK: Duration = Duration::from_millis(500);
/// How long open requests get to end after SIGTERM.
pub(super) const DRAIN: Duration = Duration::from_secs(10);
