//! What a proxy in front of the slots is told: one model for every kind of proxy.

use crate::config::Config;
use crate::diagnostic::Denial;
use crate::path::AbsolutePath;
use crate::slot::SlotId;

use super::Hosts;

/// The front of one slot: everything that a proxy may know of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Front {
    slot: SlotId,
    hosts: Hosts,
    root: AbsolutePath,
}

impl Front {
    /// Returns the front of every slot of a host.
    ///
    /// # Errors
    /// As [`crate::config::Web::root`].
    pub fn all(config: &Config) -> Result<Vec<Self>, Denial> {
        let front =
            |slot| Ok(Self { slot, hosts: config.web.hosts(slot), root: config.web.root(slot)? });
        config.slots().iter().map(front).collect()
    }

    /// Returns the slot.
    #[must_use]
    pub fn slot(&self) -> SlotId {
        self.slot
    }

    /// Returns the address that the front listens on.
    pub(super) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.slot.frontend_port())
    }

    /// Returns the address of the slot's own backend.
    pub(super) fn upstream(&self) -> String {
        format!("127.0.0.1:{}", self.slot.backend_port())
    }

    pub(super) fn hosts(&self) -> impl Iterator<Item = &str> {
        self.hosts.iter()
    }

    /// Returns the directory of the current release.
    pub(super) fn release(&self) -> String {
        format!("{}/current", self.root.as_str())
    }

    /// Returns the hosts as an alternative of a regular expression.
    pub(super) fn hosts_pattern(&self) -> String {
        let hosts: Vec<String> = self.hosts().map(|host| host.replace('.', "[.]")).collect();
        hosts.join("|")
    }
}

/// Headers about the client that a proxy clears by name, because it cannot clear them by pattern.
pub(super) const CLEARED: &[&str] = &[
    "CF-Connecting-IP",
    "Client-IP",
    "Forwarded",
    "HTTP2-Settings",
    "Proxy",
    "Proxy-Authorization",
    "Proxy-Connection",
    "True-Client-IP",
    "Via",
    "X-Client-IP",
    "X-Cluster-Client-IP",
    "X-Forwarded",
    "X-Forwarded-Port",
    "X-Forwarded-Prefix",
    "X-Forwarded-Scheme",
    "X-Forwarded-Server",
    "X-Forwarded-Ssl",
    "X-Host",
    "X-HTTP-Host-Override",
    "X-Original-Host",
    "X-Original-URI",
    "X-Original-URL",
    "X-Real-IP",
    "X-Rewrite-URL",
];
