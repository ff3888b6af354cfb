//! What configuration says about databases: endpoints, proofs, roles, and what is production.
//!
//! The contract's mapping of slot to database name is not policy and cannot be configured.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::database_url::Host;
use crate::template::Template;
use crate::tls::ServerTls;

/// A host and port that a database server answers on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// The host, as it stands in a URL.
    pub host: Host,
    /// The port.
    pub port: u16,
}

impl Endpoint {
    /// Parses `127.0.0.1:5432`, `[::1]:5432` or `db.example:5432`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        // The URL grammar is the one reader of hosts and ports in this project.
        let url = format!("postgresql://x@{text}/x");
        let target = crate::database_url::DatabaseTarget::parse(&url).ok()?;
        let endpoint = Self { host: target.host().clone(), port: target.port() };
        (target.parameters().is_empty() && target.database() == "x").then_some(endpoint)
    }

    /// Returns whether this is an address of this host, written as an address.
    #[must_use]
    pub fn is_loopback_address(&self) -> bool {
        match &self.host {
            Host::V4(address) => address.is_loopback(),
            Host::V6(address) => address.is_loopback(),
            Host::Name(_) => false,
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}", self.host, self.port)
    }
}

/// What the databases of the slots may be, beyond the contract's mapping.
#[derive(Debug, Clone, Default)]
pub struct DatabasePolicy {
    /// The only endpoints that are the slots' server; empty means `127.0.0.1` or `[::1]` at
    /// any port.
    pub endpoints: Vec<Endpoint>,
    /// The system identifier that the slots' server must have, as `pg_control_system()` says it.
    pub system_identifier: Option<u64>,
    /// How the slots' server proves by TLS who it is; `None` is connections in clear.
    pub tls: Option<ServerTls>,
    /// Whether a database must carry the stamp of its slot to be acted on.
    pub require_stamp: bool,
    /// The role of each slot; `None` means that any role passes the offline check.
    pub role: Option<Template>,
    /// Names of production databases, so that hitting one is called by its name.
    pub production_databases: Vec<String>,
    /// Endpoints of production, refused whatever else is configured.
    pub production_endpoints: Vec<Endpoint>,
}

impl DatabasePolicy {
    /// Returns the address to connect to if the endpoint is the slots' server.
    #[must_use]
    pub fn allowed_address(&self, endpoint: &Endpoint) -> Option<IpAddr> {
        let allowed = if self.endpoints.is_empty() {
            [Host::V4(Ipv4Addr::LOCALHOST), Host::V6(Ipv6Addr::LOCALHOST)].contains(&endpoint.host)
        } else {
            self.endpoints.contains(endpoint)
        };
        match &endpoint.host {
            Host::V4(address) if allowed => Some(IpAddr::V4(*address)),
            Host::V6(address) if allowed => Some(IpAddr::V6(*address)),
            _ => None,
        }
    }

    /// Returns the allowed endpoints in words, for a diagnostic.
    #[must_use]
    pub fn describe_endpoints(&self) -> String {
        if self.endpoints.is_empty() {
            return "127.0.0.1 or [::1]".to_owned();
        }
        let names: Vec<String> = self.endpoints.iter().map(ToString::to_string).collect();
        names.join(" or ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_read_by_the_url_grammar() {
        assert_eq!(Endpoint::parse("127.0.0.1:5432").unwrap().to_string(), "127.0.0.1:5432");
        assert_eq!(Endpoint::parse("[::1]:5432").unwrap().to_string(), "[::1]:5432");
        assert!(Endpoint::parse("db.example:5432").is_some());
        for bad in ["127.0.0.1", "127.1:5432", "127.0.0.1:05432", "a@b:1", "127.0.0.1:1/x?", ""] {
            assert!(Endpoint::parse(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn without_endpoints_only_the_two_loopback_addresses_pass() {
        let policy = DatabasePolicy::default();
        let allowed = |text| policy.allowed_address(&Endpoint::parse(text).unwrap()).is_some();
        assert!(allowed("127.0.0.1:5432") && allowed("[::1]:1"));
        assert!(!allowed("127.0.0.9:5432") && !allowed("localhost:5432"));
        assert!(!allowed("[::2]:5432"));
    }

    #[test]
    fn with_endpoints_only_those_pass() {
        let endpoints = vec![Endpoint::parse("127.0.0.1:5433").unwrap()];
        let policy = DatabasePolicy { endpoints, ..DatabasePolicy::default() };
        let allowed = |text| policy.allowed_address(&Endpoint::parse(text).unwrap()).is_some();
        assert!(allowed("127.0.0.1:5433"));
        assert!(!allowed("127.0.0.1:5432") && !allowed("[::1]:5433"));
    }
}
