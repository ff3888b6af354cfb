//! What the kernel must enforce for a program of a slot: which files, which ports, which sockets.
//!
//! Everything here follows from the configuration, the slot and its verified target. Nothing is
//! opened and no rule is made: that is the work of who starts the program.

mod files;
mod kernel;
mod limits;

pub use files::{Access, FileRule};
pub use kernel::{Kernel, KernelFeature};
pub use limits::{LIMITS, Limit, Resource};

use crate::slot::SlotId;
use crate::template::Template;
use crate::verify::VerifiedTarget;

/// A kind of kernel rule that `[sandbox] require` can demand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SandboxFeature {
    /// Rules on files.
    Fs,
    /// Rules on TCP ports.
    Tcp,
    /// Rules on signals and abstract sockets.
    Scope,
}

impl SandboxFeature {
    /// Every feature; what is demanded when the configuration does not say.
    pub const ALL: [Self; 3] = [Self::Fs, Self::Tcp, Self::Scope];
}

impl std::fmt::Display for SandboxFeature {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Fs => "fs",
            Self::Tcp => "tcp",
            Self::Scope => "scope",
        })
    }
}

/// Which Unix sockets a program may open; pairs of connected ones are always its own affair.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum UnixSockets {
    /// None.
    #[default]
    Deny,
    /// Datagram sockets, by which a service reports to its manager; databases, agents and buses
    /// listen on streams.
    Notify,
    /// Every kind.
    Allow,
}

impl std::fmt::Display for UnixSockets {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Deny => "deny",
            Self::Notify => "notify",
            Self::Allow => "allow",
        })
    }
}

/// Whether a program may open UDP sockets, which no rule on ports covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Udp {
    /// It may not; names of other hosts are then not resolved by DNS.
    #[default]
    Deny,
    /// It may, to any address.
    Allow,
}

impl std::fmt::Display for Udp {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Deny => "deny",
            Self::Allow => "allow",
        })
    }
}

/// What becomes of a start when a `.env` file of the worktree holds what a preview may not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DotenvInWorktree {
    /// The start goes on and says so.
    #[default]
    Warn,
    /// The start is refused.
    Refuse,
}

/// The checked table `[sandbox]`.
#[derive(Debug, Clone)]
pub struct SandboxPolicy {
    /// What the kernel must enforce.
    pub require: Vec<SandboxFeature>,
    /// Ports that a program may connect to beside its own database.
    pub connect_tcp: Vec<u16>,
    /// Further trees and files to read and execute.
    pub read: Vec<Template>,
    /// Further directories of each slot to write to.
    pub write: Vec<Template>,
    /// Which Unix sockets may be opened.
    pub unix_sockets: UnixSockets,
    /// Whether UDP sockets may be opened.
    pub udp: Udp,
    /// What a suspicious `.env` file leads to.
    pub dotenv_in_worktree: DotenvInWorktree,
}

/// The checked table `[sync]`.
#[derive(Debug, Clone, Default)]
pub struct SyncPolicy {
    /// The only ports that a dependency sync or a build may connect to.
    pub connect_tcp: Vec<u16>,
}

impl Default for SandboxPolicy {
    fn default() -> Self {
        Self {
            require: SandboxFeature::ALL.to_vec(),
            connect_tcp: Vec::new(),
            read: Vec::new(),
            write: Vec::new(),
            unix_sockets: UnixSockets::default(),
            udp: Udp::default(),
            dotenv_in_worktree: DotenvInWorktree::default(),
        }
    }
}

impl SandboxPolicy {
    /// Returns whether a program may report to its service manager.
    #[must_use]
    pub fn may_notify(&self) -> bool {
        self.require.is_empty() || self.unix_sockets != UnixSockets::Deny
    }

    /// Returns what must be enforced for a program with this target.
    #[must_use]
    pub fn demand(&self, target: &VerifiedTarget) -> Demand {
        let slot = target.slot();
        let mut connect_tcp = self.connect_tcp.clone();
        connect_tcp.push(target.port());
        connect_tcp.sort_unstable();
        connect_tcp.dedup();
        Demand {
            features: self.require.clone(),
            bind_tcp: vec![slot.backend_port()],
            connect_tcp,
            unix_sockets: self.unix_sockets,
            udp: self.udp,
            files: self.files(slot, &self.write),
        }
    }

    /// Returns what must be enforced for a dependency sync or a build of this slot: no database, no
    /// port to serve on, nothing to write to but the slot's own directories.
    ///
    /// Where it may connect to other hosts at all, their names must be found: DNS is UDP, and says
    /// no more than the open ports do.
    #[must_use]
    pub fn demand_for_sync(&self, slot: SlotId, sync: &SyncPolicy) -> Demand {
        Demand {
            features: self.require.clone(),
            bind_tcp: Vec::new(),
            connect_tcp: sync.connect_tcp.clone(),
            unix_sockets: UnixSockets::Deny,
            udp: if sync.connect_tcp.is_empty() { Udp::Deny } else { Udp::Allow },
            files: self.files(slot, &[]),
        }
    }

    fn files(&self, slot: SlotId, write: &[Template]) -> Vec<FileRule> {
        let configured = |templates: &[Template], access| {
            let rule = |template: &Template| FileRule::configured(template.render(slot), access);
            templates.iter().map(rule).collect::<Vec<_>>()
        };
        let mut files = FileRule::of_the_system();
        files.extend(configured(&self.read, Access::ReadExecute));
        files.extend(configured(write, Access::Full));
        files
    }
}

/// What must be enforced for one program, without the slot's own directories: those are rules on
/// handles that are held open.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Demand {
    /// The kinds of rules; with none of them, nothing below is enforced.
    pub features: Vec<SandboxFeature>,
    /// The ports that the program may bind: its slot's backend port.
    pub bind_tcp: Vec<u16>,
    /// The ports that the program may connect to, at any address.
    pub connect_tcp: Vec<u16>,
    /// Which Unix sockets it may open.
    pub unix_sockets: UnixSockets,
    /// Whether it may open UDP sockets.
    pub udp: Udp,
    /// The files that it may use.
    pub files: Vec<FileRule>,
}

impl Demand {
    /// Returns whether a kind of rule is demanded.
    #[must_use]
    pub fn includes(&self, feature: SandboxFeature) -> bool {
        self.features.contains(&feature)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::database_url::DatabaseTarget;
    use crate::policy::DatabasePolicy;
    use crate::verify::verify;

    fn demand(tables: &str, slot: u8, port: u16) -> Demand {
        let config = Config::parse(&format!("version = 1\n{tables}")).unwrap();
        let slot: SlotId = format!("preview-{slot}").parse().unwrap();
        let url = format!("postgresql://a@127.0.0.1:{port}/{}", slot.database_name());
        let target = DatabaseTarget::parse(&url).unwrap();
        config.sandbox.demand(&verify(slot, target, &DatabasePolicy::default()).unwrap())
    }

    #[test]
    fn rt_6_without_a_word_everything_is_demanded_and_only_the_slot_s_ports_are_open() {
        let demand = demand("", 2, 5432);
        assert_eq!(demand.features, SandboxFeature::ALL);
        assert_eq!(demand.bind_tcp, [8102]);
        assert_eq!(demand.connect_tcp, [5432]);
        assert_eq!((demand.unix_sockets, demand.udp), (UnixSockets::Deny, Udp::Deny));
    }

    #[test]
    fn the_database_s_port_is_the_target_s_and_listed_ports_are_added() {
        let demand = demand("[sandbox]\nconnect_tcp = [6379, 443]\n", 1, 5101);
        assert_eq!(demand.connect_tcp, [443, 5101, 6379]);
    }

    #[test]
    fn configured_paths_are_each_slot_s_own() {
        let tables = "[sandbox]\nread = [\"/opt/node\"]\nwrite = [\"/var/cache/app-{slot}\"]\n";
        let files = demand(tables, 3, 5432).files;
        let access = |path: &str| files.iter().find(|r| r.path == path).map(|rule| rule.access);
        assert_eq!(access("/opt/node"), Some(Access::ReadExecute));
        assert_eq!(access("/var/cache/app-3"), Some(Access::Full));
        assert_eq!(access("/var/cache/app-1"), None);
    }

    #[test]
    fn a_sync_serves_nothing_and_reaches_listed_ports_only() {
        let text = "version = 1\n[sandbox]\nconnect_tcp = [6379]\nunix_sockets = \"allow\"\n\
                    read = [\"/opt/node\"]\nwrite = [\"/var/cache/app-{slot}\"]\n";
        let demand = |sync: &str| {
            let config = Config::parse(&format!("{text}{sync}")).unwrap();
            config.sandbox.demand_for_sync("preview-1".parse().unwrap(), &config.sync)
        };
        let open = demand("[sync]\nconnect_tcp = [443]\n");
        assert_eq!((open.bind_tcp, open.connect_tcp), (vec![], vec![443]));
        assert_eq!((open.unix_sockets, open.udp), (UnixSockets::Deny, Udp::Allow));
        assert!(open.files.iter().any(|rule| rule.path == "/opt/node"));
        assert!(open.files.iter().all(|rule| rule.access != Access::Full));
        let closed = demand("");
        assert_eq!((closed.connect_tcp, closed.udp), (vec![], Udp::Deny));
    }

    #[test]
    fn only_where_unix_sockets_are_denied_is_a_manager_out_of_reach() {
        let may = |tables: &str| {
            Config::parse(&format!("version = 1\n[sandbox]\n{tables}"))
                .unwrap()
                .sandbox
                .may_notify()
        };
        assert!(!may(""));
        assert!(may("unix_sockets = \"notify\"\n") && may("unix_sockets = \"allow\"\n"));
        assert!(may("require = []\n"), "nothing is denied without a sandbox");
    }
}
