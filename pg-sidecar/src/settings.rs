//! What the configuration says of one slot's sidecar.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use guard::config::{Config, SidecarMode};
use guard::diagnostic::{Code, Denial};
use guard::policy::Endpoint;
use guard::slot::SlotId;
use pg_tls::Tls;

use crate::handshake::Rules;
use crate::login::{Login, UrlFile};

/// Everything that is decided before a socket opens.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) slot: SlotId,
    pub(crate) mode: SidecarMode,
    pub(crate) server: ServerAddress,
    /// What the server must prove beside its login.
    pub(crate) tls: Option<Tls>,
    /// Where the slot's password is; there is none in the mode `peer`.
    pub(crate) login: Option<Login>,
    /// What `migrate-runner` is handed instead of what the configuration says.
    pub(crate) url_file: Option<UrlFile>,
    pub(crate) most_sessions: u16,
    pub(crate) confirm_every: Duration,
    pub(crate) startup_keys: Vec<String>,
    pub(crate) role: String,
    /// Whether some of what clients ask for is said.
    pub(crate) audit: bool,
}

/// Where the server is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ServerAddress {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

impl std::fmt::Display for ServerAddress {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tcp(address) => write!(formatter, "{address}"),
            Self::Unix(path) => write!(formatter, "{}", path.display()),
        }
    }
}

impl Settings {
    /// Takes what belongs to one slot.
    ///
    /// # Errors
    /// Refuses when no sidecar is configured, and when it is open which server is behind it.
    pub(crate) fn of(
        slot: SlotId,
        config: &Config,
        url_file: Option<&Path>,
    ) -> Result<Self, Denial> {
        require_enabled(config)?;
        let policy = &config.sidecar;
        let [endpoint] = &config.database.endpoints[..] else {
            let found = format!("{} endpoints", config.database.endpoints.len());
            return Err(refuse(found, "exactly one `[database] endpoints`"));
        };
        let tcp = address(endpoint, policy.tls.is_some())?;
        let tls = policy.tls.as_ref().map(|tls| Tls::new(tls, tcp.ip())).transpose();
        let tls = tls.map_err(|refusal| refusal.into_denial(Code::SidecarUpstream))?;
        let Some(role) = &config.database.role else {
            return Err(refuse("no `[database] role`".to_owned(), "the role of the slots"));
        };
        let server = match &policy.upstream_socket {
            None => ServerAddress::Tcp(tcp),
            Some(directory) => {
                let name = format!(".s.PGSQL.{}", endpoint.port);
                ServerAddress::Unix(PathBuf::from(directory.as_str()).join(name))
            }
        };
        let url_file = url_file.map(|path| UrlFile::new(path, slot, &config.database));
        let login = match (policy.mode, &url_file, &config.password_file) {
            (SidecarMode::Peer, ..) => None,
            (SidecarMode::Inject, Some(file), _) => Some(Login::Url(file.clone())),
            (SidecarMode::Inject, None, Some(file)) => {
                Some(Login::Password(PathBuf::from(file.render(slot))))
            }
            (SidecarMode::Inject, None, None) => {
                let expected = "a `[database] password_file`, `--database-url-file`, or \
                                `[sidecar] mode = \"peer\"`";
                return Err(refuse("no password file".to_owned(), expected));
            }
        };
        Ok(Self {
            slot,
            mode: policy.mode,
            server,
            tls,
            login,
            url_file,
            most_sessions: policy.most_sessions(&config.quotas),
            confirm_every: Duration::from_secs(policy.confirm_every_s.into()),
            startup_keys: policy.startup_keys.clone(),
            role: role.render(slot),
            audit: policy.audit,
        })
    }

    /// Returns what may pass, for a server of this newest minor version.
    pub(crate) fn rules(&self, newest_minor: u16) -> Rules {
        Rules {
            slot: self.slot,
            database: self.slot.database_name(),
            role: self.role.clone(),
            startup_keys: self.startup_keys.clone(),
            newest_minor,
        }
    }
}

/// Requires that a sidecar is configured.
///
/// # Errors
/// Refuses when it is not.
pub(crate) fn require_enabled(config: &Config) -> Result<(), Denial> {
    if config.sidecar.enabled {
        return Ok(());
    }
    let message = "no sidecar is configured";
    let expected = "`enabled = true` under `[sidecar]`";
    Err(Denial::new(Code::SidecarOff, message, "`[sidecar] enabled` is not true", expected))
}

/// Without TLS the server must be on this host.
fn address(endpoint: &Endpoint, proves_itself: bool) -> Result<SocketAddr, Denial> {
    let address = endpoint.to_string().parse::<SocketAddr>();
    match address {
        Ok(address) if proves_itself || endpoint.is_loopback_address() => Ok(address),
        _ => {
            let expected = "a loopback endpoint such as 127.0.0.1:5432, or a `tls_ca`";
            Err(refuse(format!("`{endpoint}`"), expected))
        }
    }
}

fn refuse(found: String, expected: &str) -> Denial {
    let message = "the configuration does not say which server is behind the sidecar";
    Denial::new(Code::SidecarUpstream, message, found, expected)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "version = 1
        [database]
        endpoints = [\"127.0.0.1:5432\"]
        role = \"slot_{slot}\"
        password_file = \"/etc/slotguard/slot_{slot}.pw\"
        [sidecar]
        enabled = true";

    fn settings(from: &str, to: &str) -> Result<Settings, Code> {
        let text = FILE.replace(from, to);
        let config = Config::parse(&text).unwrap();
        Settings::of("preview-2".parse().unwrap(), &config, None).map_err(|denial| denial.code())
    }

    #[test]
    fn everything_follows_from_slot_and_configuration() {
        let settings = settings("", "").unwrap();
        assert_eq!(settings.server.to_string(), "127.0.0.1:5432");
        let Some(Login::Password(file)) = &settings.login else { panic!("{settings:?}") };
        assert_eq!(file.to_str(), Some("/etc/slotguard/slot_2.pw"));
        let rules = settings.rules(2);
        assert_eq!((rules.database.as_str(), rules.role.as_str()), ("app_preview_2", "slot_2"));
    }

    #[test]
    fn a_socket_takes_the_endpoints_port() {
        let peer = "[sidecar]\nmode = \"peer\"\nupstream_socket = \"/run/postgresql\"";
        let settings = settings("[sidecar]", peer).unwrap();
        assert_eq!(settings.server.to_string(), "/run/postgresql/.s.PGSQL.5432");
        assert!(settings.login.is_none());
    }

    #[test]
    fn only_a_server_that_proves_itself_may_be_elsewhere() {
        let elsewhere = Endpoint::parse("192.0.2.1:5432").unwrap();
        assert_eq!(address(&elsewhere, false).unwrap_err().code(), Code::SidecarUpstream);
        assert_eq!(address(&elsewhere, true).unwrap().to_string(), "192.0.2.1:5432");
        let here = Endpoint::parse("[::1]:5432").unwrap();
        assert_eq!(address(&here, false).unwrap().to_string(), "[::1]:5432");
    }

    #[test]
    fn what_is_open_is_refused() {
        let password = "password_file = \"/etc/slotguard/slot_{slot}.pw\"";
        let remote = "[\"192.0.2.1:5432\"]\nsystem_identifier = \"7\"";
        let two = "[\"127.0.0.1:5432\", \"127.0.0.1:5433\"]";
        for (from, to, code) in [
            ("enabled = true", "", Code::SidecarOff),
            ("[\"127.0.0.1:5432\"]", remote, Code::SidecarUpstream),
            ("[\"127.0.0.1:5432\"]", two, Code::SidecarUpstream),
            ("[\"127.0.0.1:5432\"]", "[]", Code::SidecarUpstream),
            ("role = \"slot_{slot}\"", "", Code::SidecarUpstream),
            (password, "", Code::SidecarUpstream),
            ("[sidecar]", "[sidecar]\ntls_ca = \"/nonexistent/ca.pem\"", Code::SidecarUpstream),
        ] {
            assert_eq!(settings(from, to).unwrap_err(), code, "{to}");
        }
    }
}
