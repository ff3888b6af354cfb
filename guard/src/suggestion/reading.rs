//! A generous reading of a refused text: what its author most likely meant.
//!
//! It decides nothing. A part is taken only where it cannot be a piece of a password, and only if
//! it is plain; everything else is left out.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::agreed::Agreed;
use super::keyword_value;
use crate::database_url::{DatabaseTarget, Host, Parameter, decode, is_name};

/// Longest text that is looked at, in bytes.
const LIMIT: usize = 4096;

/// Schemes that mean PostgreSQL to some program.
const SCHEMES: &[&str] = &["postgres", "postgresql", "postgre", "postgis", "pgsql", "psql", "pg"];

/// The parts that are beyond doubt.
#[derive(Debug, Default)]
pub(super) struct Reading {
    /// A plain name.
    pub(super) user: Option<String>,
    /// Whether the text seems to carry a password.
    pub(super) has_password: bool,
    /// The host, as an address where the text means one.
    pub(super) host: Option<Host>,
    /// The port.
    pub(super) port: Option<u16>,
    /// Allowed parameters with a value from a closed list.
    pub(super) parameters: Vec<Parameter>,
}

impl Reading {
    /// Reads a text; `None` for an address of another database system.
    pub(super) fn of(text: &str) -> Option<Self> {
        let noise = |c: char| c.is_whitespace() || c.is_control() || "\u{feff}\"'".contains(c);
        let text = text.trim_matches(noise);
        if text.len() > LIMIT {
            return Some(Self::default());
        }
        match behind_scheme(text) {
            Some(rest) => Some(match rest.strip_prefix("//") {
                Some(rest) => read_url(rest, true),
                None if rest.contains('@') => Self::unclear(rest),
                None => read_pairs(rest),
            }),
            None if text.contains("://") => None,
            None if text.contains('=') && !text.contains('@') => Some(read_pairs(text)),
            None => Some(read_url(text.strip_prefix("//").unwrap_or(text), false)),
        }
    }

    /// Takes the parts of a well-formed target that may be repeated.
    pub(super) fn of_target(target: &DatabaseTarget) -> Self {
        let parameters = target.parameters().iter();
        Self {
            user: Some(target.user().to_owned()),
            has_password: target.password().is_some(),
            host: Some(plain_host(target.host().clone())),
            port: Some(target.port()),
            parameters: parameters
                .filter_map(|parameter| Parameter::repaired(parameter.name(), parameter.value()))
                .collect(),
        }
    }

    /// What is left of a text that cannot be split: whether a password is in it.
    fn unclear(text: &str) -> Self {
        let before_host = text.rsplit_once('@').map_or("", |(before, _)| before);
        let lower = text.to_ascii_lowercase();
        let keyword = lower.contains("password") || lower.contains("pwd");
        Self { has_password: before_host.contains(':') || keyword, ..Self::default() }
    }
}

/// Returns what stands behind the scheme and its colon, if the scheme means PostgreSQL.
fn behind_scheme(text: &str) -> Option<&str> {
    let text = match text.get(..5) {
        Some(start) if start.eq_ignore_ascii_case("jdbc:") => &text[5..],
        _ => text,
    };
    let (scheme, rest) = text.split_once(':')?;
    let base = scheme.split('+').next().unwrap_or(scheme).to_ascii_lowercase();
    SCHEMES.contains(&base.as_str()).then_some(rest)
}

fn read_pairs(text: &str) -> Reading {
    let Some(pairs) = keyword_value::pairs(text) else { return Reading::unclear(text) };
    let mut parts = Parts::default();
    pairs.iter().for_each(|(keyword, value)| parts.see(keyword, value));
    parts.reading()
}

/// Reads what stands behind `scheme://`; without a scheme nothing says that the first word is a user.
fn read_url(text: &str, has_scheme: bool) -> Reading {
    let Some(text) = clear_part(text) else { return Reading::unclear(text) };
    let (userinfo, rest) = match text.split_once('@') {
        Some((userinfo, rest)) => (Some(userinfo), rest),
        None => (None, text),
    };
    let (location, query) = rest.split_once('?').unwrap_or((rest, ""));
    let authority = location.split('/').next().unwrap_or(location);
    let mut parts = Parts::default();
    if let Some(userinfo) = userinfo {
        let (user, password) = userinfo.split_once(':').unwrap_or((userinfo, ""));
        parts.has_password = !password.is_empty();
        if has_scheme && !user.is_empty() {
            parts.user.see(plain_name(user));
        }
    }
    parts.see_authority(authority, userinfo.is_some());
    for item in query.split('&').filter(|item| !item.is_empty()) {
        let (name, value) = item.split_once('=').unwrap_or((item, ""));
        parts.see(&decoded(name).to_ascii_lowercase(), &decoded(value));
    }
    parts.reading()
}

/// Returns the text without a fragment, if nobody can split it in another way.
fn clear_part(text: &str) -> Option<&str> {
    let end = text.find(['/', '?']).unwrap_or(text.len());
    let text = match text.find('#') {
        Some(hash) if hash > end && !text[hash..].contains('@') => &text[..hash],
        Some(_) => return None,
        None => text,
    };
    let one_at = text.matches('@').count() <= 1 && text.find('@').is_none_or(|at| at < end);
    let plain = text.bytes().all(|byte| (0x21..=0x7e).contains(&byte) && byte != b'\\');
    (one_at && plain).then_some(text)
}

/// The parts of a target, each perhaps named in several places.
struct Parts {
    user: Agreed<String>,
    has_password: bool,
    host: Agreed<Host>,
    port: Agreed<u16>,
    parameters: Vec<Parameter>,
    /// Parameters that stand twice with different values.
    contradicting: Vec<&'static str>,
}

impl Default for Parts {
    fn default() -> Self {
        Self {
            user: Agreed::Nothing,
            has_password: false,
            host: Agreed::Nothing,
            port: Agreed::Nothing,
            parameters: Vec::new(),
            contradicting: Vec::new(),
        }
    }
}

impl Parts {
    /// Without an `@` in front, a word and a number may be a user and a password.
    fn see_authority(&mut self, authority: &str, behind_user: bool) {
        let end = if authority.starts_with('[') {
            authority.find(']').map_or(authority.len(), |end| end + 1)
        } else {
            authority.find(':').unwrap_or(authority.len())
        };
        let (host, port) = authority.split_at(end);
        let is_address = matches!(read_host(host), Some(Host::V4(_) | Host::V6(_)));
        if !behind_user && !is_address && !host.is_empty() {
            return;
        }
        self.see_host(host);
        if let Some(port) = port.strip_prefix(':').filter(|port| !port.is_empty()) {
            self.port.see(plain_port(port));
        }
    }

    /// Takes note of one keyword, in lower case, of a query or of pairs.
    fn see(&mut self, keyword: &str, value: &str) {
        match keyword {
            "host" | "hostaddr" | "server" => self.see_host(value),
            "port" => self.port.see(plain_port(value)),
            "user" | "username" | "user id" | "uid" => self.user.see(plain_name(value)),
            "password" | "pwd" => self.has_password |= !value.is_empty(),
            // Another file or server decides.
            "service" | "servicefile" => self.host.see(None),
            _ => self.see_parameter(keyword, value),
        }
    }

    /// A socket of this host is the loopback address in another dress; it has no name to repeat.
    fn see_host(&mut self, text: &str) {
        let text = decoded(text);
        if !text.is_empty() && !text.starts_with(['/', '@']) {
            self.host.see(read_host(&text));
        }
    }

    fn see_parameter(&mut self, name: &str, value: &str) {
        let Some(parameter) = Parameter::repaired(name, value) else { return };
        let before = self.parameters.iter().find(|before| before.name() == parameter.name());
        match before {
            None => self.parameters.push(parameter),
            Some(before) if *before == parameter => {}
            Some(_) => self.contradicting.push(parameter.name()),
        }
    }

    fn reading(self) -> Reading {
        let Self { user, has_password, host, port, mut parameters, contradicting } = self;
        parameters.retain(|parameter| !contradicting.contains(&parameter.name()));
        // Where the server is in doubt, its port is no better.
        let port = if host.is_contradiction() { None } else { port.value() };
        Reading { user: user.value(), has_password, host: host.value(), port, parameters }
    }
}

fn decoded(text: &str) -> String {
    String::from_utf8_lossy(&decode(text).collect::<Vec<u8>>()).into_owned()
}

fn plain_name(text: &str) -> Option<String> {
    Some(decoded(text)).filter(|name| is_name(name))
}

fn plain_port(text: &str) -> Option<u16> {
    let plain = !text.starts_with('0') && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| plain)
}

/// Reads a host as a browser would, number forms included; the result is only ever compared.
fn read_host(text: &str) -> Option<Host> {
    Some(plain_host(match url::Host::parse(text).ok()? {
        url::Host::Ipv4(address) => Host::V4(address),
        url::Host::Ipv6(address) => Host::V6(address),
        url::Host::Domain(name) => Host::Name(name),
    }))
}

/// Returns the address where a host is another spelling of the loopback address.
fn plain_host(host: Host) -> Host {
    match host {
        Host::V6(address) => match address.to_ipv4_mapped() {
            Some(v4) => Host::V4(v4),
            None => Host::V6(address),
        },
        Host::Name(name) => match name.as_str() {
            "localhost" | "localhost.localdomain" => Host::V4(Ipv4Addr::LOCALHOST),
            "ip6-localhost" | "ip6-loopback" => Host::V6(Ipv6Addr::LOCALHOST),
            _ => Host::Name(name),
        },
        Host::V4(address) => Host::V4(address),
    }
}
