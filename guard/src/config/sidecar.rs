//! The guard on the wire: whether there is one, how it logs in, and what it lets through.

use serde::Deserialize;

use super::file::refuse_value;
use super::tls;
use crate::diagnostic::Denial;
use crate::path::AbsolutePath;
use crate::provision::Quotas;
use crate::tls::ServerTls;

/// How the sidecar logs in to the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SidecarMode {
    /// By the slot's password, which the backend never has.
    #[default]
    Inject,
    /// By who it is, on the server's Unix socket: there is no secret.
    Peer,
}

/// What the sidecar of each slot does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SidecarPolicy {
    /// Whether a slot's backend reaches its database through a sidecar.
    pub enabled: bool,
    /// How the sidecar logs in to the server.
    pub mode: SidecarMode,
    /// The directory of the server's Unix socket; `None` is TCP.
    pub upstream_socket: Option<AbsolutePath>,
    /// How the server proves by TLS who it is; `None` is a connection in clear, within this host.
    pub tls: Option<ServerTls>,
    /// Names of start-up settings that a client may send beside the usual ones.
    pub startup_keys: Vec<String>,
    /// How often the server must say again who it is, in seconds.
    pub confirm_every_s: u16,
    /// Whether it is said when a client asks for what would matter if its rights were wrong.
    pub audit: bool,
    max_sessions: Option<u16>,
}

impl SidecarPolicy {
    /// Returns how many sessions there may be at one time.
    ///
    /// Where nothing is configured, two of the role's connections are left for migrations and for
    /// the question who the server is.
    #[must_use]
    pub fn most_sessions(&self, quotas: &Quotas) -> u16 {
        self.max_sessions.unwrap_or_else(|| quotas.connections.saturating_sub(2).max(1))
    }
}

impl Default for SidecarPolicy {
    fn default() -> Self {
        Self {
            enabled: false,
            mode: SidecarMode::default(),
            upstream_socket: None,
            tls: None,
            startup_keys: Vec::new(),
            confirm_every_s: 60,
            audit: false,
            max_sessions: None,
        }
    }
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(super) struct RawSidecar {
    #[serde(default)]
    enabled: bool,
    #[serde(default)]
    mode: SidecarMode,
    upstream_socket: Option<String>,
    tls_ca: Option<String>,
    tls_server_name: Option<String>,
    max_sessions: Option<u16>,
    #[serde(default)]
    startup_keys: Vec<String>,
    confirm_every_s: Option<u16>,
    #[serde(default)]
    audit: bool,
}

/// Start-up settings that decide where a session is and as whom: never a client's to send.
const NEVER_SENT: [&str; 5] = ["user", "database", "replication", "role", "session_authorization"];

/// Most names of further start-up settings.
const MOST_KEYS: usize = 32;

/// Reads the table; how the slots' server proves itself is the sidecar's too, unless it has its own.
pub(super) fn parse(raw: RawSidecar, server: Option<&ServerTls>) -> Result<SidecarPolicy, Denial> {
    let default = SidecarPolicy::default();
    let socket = raw.upstream_socket.map(|text| parse_socket(&text)).transpose()?;
    if raw.mode == SidecarMode::Peer && socket.is_none() {
        let expected = "an `upstream_socket`: only on a Unix socket the server sees who connects";
        return Err(refuse_value("[sidecar] mode", "\"peer\" alone", expected));
    }
    let tls = tls::parse("[sidecar]", raw.tls_ca, raw.tls_server_name)?;
    if tls.is_some() && socket.is_some() {
        let expected = "either TLS or an `upstream_socket`, on which there is none";
        return Err(refuse_value("[sidecar] tls_ca", "beside an `upstream_socket`", expected));
    }
    let tls = tls.or_else(|| server.filter(|_| socket.is_none()).cloned());
    let number = |key: &str, value: Option<u16>, least, most| match value {
        Some(value) if value < least || value > most => {
            let expected = format!("a number from {least} to {most}");
            Err(refuse_value(&format!("[sidecar] {key}"), &value.to_string(), &expected))
        }
        value => Ok(value),
    };
    let every = number("confirm_every_s", raw.confirm_every_s, 1, 3600)?;
    Ok(SidecarPolicy {
        enabled: raw.enabled,
        mode: raw.mode,
        upstream_socket: socket,
        tls,
        startup_keys: parse_keys(raw.startup_keys)?,
        audit: raw.audit,
        confirm_every_s: every.unwrap_or(default.confirm_every_s),
        max_sessions: number("max_sessions", raw.max_sessions, 1, 1000)?,
    })
}

/// Longest directory in which a Unix socket of the server can be named.
const LONGEST_SOCKET_DIRECTORY: usize = 90;

fn parse_socket(text: &str) -> Result<AbsolutePath, Denial> {
    let path = AbsolutePath::parse(text).ok().filter(|_| text.len() <= LONGEST_SOCKET_DIRECTORY);
    let expected = "the absolute path of a directory, such as \"/run/postgresql\"";
    path.ok_or_else(|| refuse_value("[sidecar] upstream_socket", text, expected))
}

fn parse_keys(keys: Vec<String>) -> Result<Vec<String>, Denial> {
    let plain = |key: &String| {
        let letters = key.bytes().all(|b| b.is_ascii_lowercase() || b == b'_' || b == b'.');
        (1..=63).contains(&key.len()) && letters && !key.starts_with("_pq_")
    };
    let bad = |key: &&String| !plain(key) || NEVER_SENT.contains(&key.as_str());
    let expected = "names of settings in lower case, none of user, database, replication, role";
    match keys.iter().find(bad) {
        Some(key) => Err(refuse_value("[sidecar] startup_keys", key, expected)),
        None if keys.len() > MOST_KEYS => {
            let found = format!("{} names", keys.len());
            Err(refuse_value("[sidecar] startup_keys", &found, "at most 32 names"))
        }
        None => Ok(keys),
    }
}

#[cfg(test)]
mod tests {
    use crate::config::Config;
    use crate::diagnostic::Code;

    use super::*;

    fn sidecar(lines: &str) -> Result<SidecarPolicy, Denial> {
        Config::parse(&format!("version = 1\n[sidecar]\n{lines}")).map(|config| config.sidecar)
    }

    #[test]
    fn without_the_table_there_is_no_sidecar() {
        let policy = Config::parse("version = 1").unwrap().sidecar;
        assert_eq!(policy, SidecarPolicy::default());
        assert!(!policy.enabled);
        assert_eq!(policy.most_sessions(&Quotas::default()), 18);
    }

    #[test]
    fn values_out_of_bounds_are_refused_and_their_neighbours_are_not() {
        for (good, bad) in [
            ("mode = \"inject\"", "mode = \"peer\""),
            ("mode = \"peer\"\nupstream_socket = \"/run/postgresql\"", "mode = \"relay\""),
            ("upstream_socket = \"/run/postgresql\"", "upstream_socket = \"run/postgresql\""),
            ("tls_ca = \"/etc/ca.pem\"", "tls_ca = \"ca.pem\""),
            (
                "tls_ca = \"/etc/ca.pem\"\ntls_server_name = \"db-1.internal\"",
                "tls_server_name = \"db-1.internal\"",
            ),
            (
                "tls_ca = \"/etc/ca.pem\"\ntls_server_name = \"db\"",
                "tls_ca = \"/etc/ca.pem\"\ntls_server_name = \"*.internal\"",
            ),
            (
                "tls_ca = \"/etc/ca.pem\"\ntls_server_name = \"1.db\"",
                "tls_ca = \"/etc/ca.pem\"\ntls_server_name = \"192.0.2.1\"",
            ),
            (
                "upstream_socket = \"/run/postgresql\"",
                "upstream_socket = \"/run/postgresql\"\ntls_ca = \"/etc/ca.pem\"",
            ),
            ("max_sessions = 1", "max_sessions = 0"),
            ("max_sessions = 1000", "max_sessions = 1001"),
            ("confirm_every_s = 1", "confirm_every_s = 0"),
            ("startup_keys = [\"options\", \"search_path\"]", "startup_keys = [\"Options\"]"),
            ("startup_keys = [\"lock_timeout\"]", "startup_keys = [\"role\"]"),
            ("startup_keys = [\"app.tenant\"]", "startup_keys = [\"_pq_.x\"]"),
            ("startup_keys = []", "startup_keys = [\"\"]"),
        ] {
            sidecar(good).expect(good);
            let code = sidecar(bad).expect_err(bad).code();
            assert!([Code::ConfigValue, Code::ConfigSyntax].contains(&code), "{bad}: {code}");
        }
    }

    #[test]
    fn the_server_proves_itself_to_the_sidecar_as_to_everybody_unless_it_says_otherwise() {
        let ca = |lines: &str| {
            let database = "version = 1\n[database]\ntls_ca = \"/etc/server.pem\"\n\
                            tls_server_name = \"db.internal\"\n";
            let config = Config::parse(&format!("{database}[sidecar]\n{lines}")).unwrap();
            assert_eq!(config.database.tls.unwrap().ca.as_str(), "/etc/server.pem");
            config.sidecar.tls.map(|tls| (tls.ca.as_str().to_owned(), tls.server_name))
        };
        let named = Some("db.internal".to_owned());
        assert_eq!(ca("enabled = true"), Some(("/etc/server.pem".to_owned(), named)));
        // A pair of its own is taken as a whole.
        assert_eq!(ca("tls_ca = \"/etc/own.pem\""), Some(("/etc/own.pem".to_owned(), None)));
        assert_eq!(ca("upstream_socket = \"/run/postgresql\""), None);
        let alone = Config::parse("version = 1\n[sidecar]\ntls_ca = \"/etc/own.pem\"").unwrap();
        assert_eq!(alone.database.tls, None);
    }

    #[test]
    fn the_server_s_pair_is_held_to_the_same_rules() {
        let database = |lines: &str| Config::parse(&format!("version = 1\n[database]\n{lines}"));
        assert!(database("tls_ca = \"/etc/ca.pem\"\ntls_server_name = \"db\"").is_ok());
        let denial = database("tls_server_name = \"db\"").unwrap_err();
        assert_eq!(denial.code(), Code::ConfigValue);
        assert!(denial.message().contains("`[database] tls_server_name`"), "{denial}");
        assert!(database("tls_ca = \"ca.pem\"").is_err());
    }

    #[test]
    fn a_configured_number_of_sessions_counts() {
        let quotas = Quotas { connections: 1, ..Quotas::default() };
        assert_eq!(sidecar("max_sessions = 7").unwrap().most_sessions(&quotas), 7);
        assert_eq!(sidecar("enabled = true").unwrap().most_sessions(&quotas), 1);
    }
}
