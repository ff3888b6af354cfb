//! The files of the system that a program may use, and how a rule on files is written down.
//!
//! Of `/etc` only what runtimes and resolvers read; `/proc` without other processes. What is not
//! listed does not exist for the program: homes, `/run`, `/srv`, `/var`, other slots.

/// What a program may do to the files of a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Access {
    /// Read files and list directories.
    Read,
    /// And execute files.
    ReadExecute,
    /// Read and write a file that is there, such as a device.
    ReadWrite,
    /// Everything, except to make devices.
    Full,
}

impl std::fmt::Display for Access {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Read => "read",
            Self::ReadExecute => "read, execute",
            Self::ReadWrite => "read, write",
            Self::Full => "everything",
        })
    }
}

/// One rule: a file or a directory with everything in it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct FileRule {
    /// The absolute path.
    pub path: String,
    /// What is allowed.
    pub access: Access,
    /// Whether a start is refused when the path is not there.
    pub required: bool,
    /// Who asks for it.
    pub reason: &'static str,
}

impl FileRule {
    /// Returns what every program may use of the system, where it is there.
    #[must_use]
    pub(super) fn of_the_system() -> Vec<Self> {
        let rule = |(path, access, reason): &(&str, Access, &'static str)| Self {
            path: (*path).to_owned(),
            access: *access,
            required: false,
            reason,
        };
        SYSTEM.iter().map(rule).collect()
    }

    /// Returns the rule of a path in the configuration.
    pub(super) fn configured(path: String, access: Access) -> Self {
        Self { path, access, required: true, reason: "configured" }
    }

    /// Returns whether a path lies in what the rule opens.
    #[must_use]
    pub fn covers(&self, path: &str) -> bool {
        let rest = path.strip_prefix(self.path.as_str());
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }
}

const PROGRAMS: &str = "programs and libraries";
const LOADER: &str = "the loader";
const NAMES: &str = "names of users, hosts and services";
const TLS: &str = "public certificates";
const LOCAL: &str = "time zone and language";
const PYTHON: &str = "start-up of Python";
const DEVICE: &str = "devices without content";
const MACHINE: &str = "size and load of the machine";
const OWN: &str = "the program's own process";

#[rustfmt::skip]
const SYSTEM: &[(&str, Access, &str)] = &[
    ("/usr", Access::ReadExecute, PROGRAMS),
    ("/bin", Access::ReadExecute, PROGRAMS),
    ("/sbin", Access::ReadExecute, PROGRAMS),
    ("/lib", Access::ReadExecute, PROGRAMS),
    ("/lib64", Access::ReadExecute, PROGRAMS),
    ("/etc/ld.so.cache", Access::Read, LOADER),
    ("/etc/alternatives", Access::Read, LOADER),
    ("/etc/passwd", Access::Read, NAMES),
    ("/etc/group", Access::Read, NAMES),
    ("/etc/nsswitch.conf", Access::Read, NAMES),
    ("/etc/hosts", Access::Read, NAMES),
    ("/etc/host.conf", Access::Read, NAMES),
    ("/etc/gai.conf", Access::Read, NAMES),
    ("/etc/resolv.conf", Access::Read, NAMES),
    ("/etc/services", Access::Read, NAMES),
    ("/etc/protocols", Access::Read, NAMES),
    ("/etc/mime.types", Access::Read, NAMES),
    ("/etc/ssl/openssl.cnf", Access::Read, TLS),
    ("/etc/ssl/certs", Access::Read, TLS),
    ("/etc/pki/tls/openssl.cnf", Access::Read, TLS),
    ("/etc/pki/tls/certs", Access::Read, TLS),
    ("/etc/pki/ca-trust", Access::Read, TLS),
    ("/etc/crypto-policies", Access::Read, TLS),
    ("/etc/localtime", Access::Read, LOCAL),
    ("/etc/timezone", Access::Read, LOCAL),
    ("/etc/locale.alias", Access::Read, LOCAL),
    ("/etc/python3", Access::Read, PYTHON),
    ("/etc/python3.11", Access::Read, PYTHON),
    ("/etc/python3.12", Access::Read, PYTHON),
    ("/etc/python3.13", Access::Read, PYTHON),
    ("/dev/null", Access::ReadWrite, DEVICE),
    ("/dev/zero", Access::Read, DEVICE),
    ("/dev/full", Access::ReadWrite, DEVICE),
    ("/dev/random", Access::Read, DEVICE),
    ("/dev/urandom", Access::Read, DEVICE),
    ("/proc/cpuinfo", Access::Read, MACHINE),
    ("/proc/meminfo", Access::Read, MACHINE),
    ("/proc/loadavg", Access::Read, MACHINE),
    ("/proc/stat", Access::Read, MACHINE),
    ("/proc/uptime", Access::Read, MACHINE),
    ("/proc/sys/vm/overcommit_memory", Access::Read, MACHINE),
    ("/sys/devices/system/cpu", Access::Read, MACHINE),
    ("/proc/self", Access::Read, OWN),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn se_2_nothing_of_the_system_is_writable_or_holds_secrets() {
        for rule in FileRule::of_the_system() {
            let device = rule.path.starts_with("/dev/");
            assert!(rule.access != Access::Full, "{rule:?}");
            assert!(rule.access != Access::ReadWrite || device, "{rule:?}");
        }
        let rules = FileRule::of_the_system();
        for closed in [
            "/etc/shadow",
            "/etc/ssl/private/key.pem",
            "/proc/1/environ",
            "/root/.pgpass",
            "/etc/slotguard/slot_1.pw",
            "/var/lib/slotguard/state/preview-2/home",
            "/run/x",
            "/dev/sda",
            "/dev/shm",
        ] {
            assert!(!rules.iter().any(|rule| rule.covers(closed)), "{closed}");
        }
        for open in ["/usr/bin/node", "/lib64/ld-linux-x86-64.so.2", "/etc/hosts", "/dev/urandom"] {
            assert!(rules.iter().any(|rule| rule.covers(open)), "{open}");
        }
    }

    #[test]
    fn a_rule_covers_whole_components() {
        let rule = FileRule::configured("/opt/node".to_owned(), Access::ReadExecute);
        assert!(rule.covers("/opt/node") && rule.covers("/opt/node/bin/node"));
        assert!(!rule.covers("/opt/node-evil/bin") && !rule.covers("/opt"));
    }
}
