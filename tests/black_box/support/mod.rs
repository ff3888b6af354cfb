//! What the tests share: built programs, runs of them, one redactor, throw-away servers.

pub(crate) mod bench;
pub(crate) mod browser;
pub(crate) mod canary;
pub(crate) mod dice;
pub(crate) mod dump;
pub(crate) mod environment;
pub(crate) mod hold;
pub(crate) mod observer;
pub(crate) mod parent;
pub(crate) mod place;
pub(crate) mod pooler;
pub(crate) mod ports;
pub(crate) mod preview;
pub(crate) mod processes;
pub(crate) mod programs;
pub(crate) mod proxies;
pub(crate) mod raw_exec;
pub(crate) mod redact;
pub(crate) mod run;
pub(crate) mod schema;
pub(crate) mod server;
pub(crate) mod sidecar;
pub(crate) mod systemd_box;
pub(crate) mod talk;
pub(crate) mod web;
