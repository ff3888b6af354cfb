//! Where an administrator connects to: the slots' own server, never production's.
//!
//! An administrator may enter more than one database, so the name of a database is no part of the
//! proof. Which database is acted on, and whether it is provably a slot's, is decided by its stamp.

use std::net::IpAddr;

use crate::database_url::DatabaseTarget;
use crate::diagnostic::{Code, Denial};
use crate::path::AbsolutePath;
use crate::policy::{DatabasePolicy, Endpoint};
use crate::provision::{ADMIN_ROLE, SEED_ROLE};
use crate::secret::Secret;
use crate::tls::{self, ServerTls};

/// The database that an administrator connects to first.
pub const MAINTENANCE_DATABASE: &str = "postgres";

/// Proof that an administrator's connection leads to the slots' own server.
///
/// ```
/// use guard::{admin::AdminTarget, database_url::DatabaseTarget, policy::DatabasePolicy};
/// let target = DatabaseTarget::parse("postgresql://postgres@127.0.0.1:5432/postgres").unwrap();
/// let admin: AdminTarget = AdminTarget::verify(&target, &DatabasePolicy::default()).unwrap();
/// assert_eq!(admin.role(), "postgres");
/// ```
///
/// A target that was not verified is none:
///
/// ```compile_fail
/// use guard::{admin::AdminTarget, database_url::DatabaseTarget, policy::DatabasePolicy};
/// let target = DatabaseTarget::parse("postgresql://postgres@127.0.0.1:5432/postgres").unwrap();
/// let admin: AdminTarget = target;
/// assert_eq!(admin.role(), "postgres");
/// ```
#[derive(Debug)]
pub struct AdminTarget {
    door: Door,
    role: String,
    password: Option<Secret>,
    system_identifier: Option<u64>,
    tls: Option<ServerTls>,
}

/// How the server is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Door {
    /// By TCP.
    Tcp {
        /// The address; no name is ever resolved.
        address: IpAddr,
        /// The port.
        port: u16,
    },
    /// By a unix socket of this host.
    Socket {
        /// The directory of the socket.
        directory: AbsolutePath,
        /// The port that names the socket.
        port: u16,
    },
}

impl AdminTarget {
    /// Judges the URL of an administrator; its database must be the maintenance database.
    ///
    /// # Errors
    /// Refuses another database, a production server, a server that is not the slots' own, and a
    /// demand for TLS where none is configured.
    pub fn verify(target: &DatabaseTarget, policy: &DatabasePolicy) -> Result<Self, Denial> {
        let endpoint = Endpoint { host: target.host().clone(), port: target.port() };
        let address = allowed(&endpoint, policy)?;
        if target.database() != MAINTENANCE_DATABASE {
            return Err(Denial::new(
                Code::AdminTarget,
                "an administrator connects to the maintenance database",
                target.place(),
                format!("database `{MAINTENANCE_DATABASE}` at {endpoint}"),
            ));
        }
        tls::judge_demands(target.parameters(), policy.tls.as_ref())?;
        Ok(Self {
            door: Door::Tcp { address, port: target.port() },
            role: target.user().to_owned(),
            password: target.password().cloned(),
            system_identifier: policy.system_identifier,
            tls: policy.tls.clone(),
        })
    }

    /// Judges a unix socket of this host.
    ///
    /// # Errors
    /// Refuses a port that is not the slots' server, and a role that is no plain name.
    pub fn socket(
        directory: AbsolutePath,
        port: u16,
        role: &str,
        policy: &DatabasePolicy,
    ) -> Result<Self, Denial> {
        let ports: Vec<u16> = policy.endpoints.iter().map(|endpoint| endpoint.port).collect();
        if !ports.is_empty() && !ports.contains(&port) {
            let expected = policy.describe_endpoints();
            return Err(refuse(format!("the socket of port {port}"), expected));
        }
        let url = format!("postgresql://{role}@127.0.0.1:1/{MAINTENANCE_DATABASE}");
        let role = DatabaseTarget::parse(&url)?.user().to_owned();
        Ok(Self {
            door: Door::Socket { directory, port },
            role,
            password: None,
            system_identifier: policy.system_identifier,
            tls: None,
        })
    }

    /// Builds the login of the role that owns the slots' databases.
    ///
    /// # Errors
    /// Refuses a configuration without exactly one endpoint.
    pub fn preview_admin(password: Secret, policy: &DatabasePolicy) -> Result<Self, Denial> {
        Self::configured(ADMIN_ROLE, password, policy)
    }

    /// Builds the login of the role that fills the seed.
    ///
    /// # Errors
    /// Refuses a configuration without exactly one endpoint.
    pub fn seed_owner(password: Secret, policy: &DatabasePolicy) -> Result<Self, Denial> {
        Self::configured(SEED_ROLE, password, policy)
    }

    /// Builds the login of another role by the same way.
    ///
    /// # Errors
    /// Refuses a role that is no plain name.
    pub fn as_role(&self, role: &str, password: Secret) -> Result<Self, Denial> {
        let url = format!("postgresql://{role}@127.0.0.1:1/{MAINTENANCE_DATABASE}");
        Ok(Self {
            door: self.door.clone(),
            role: DatabaseTarget::parse(&url)?.user().to_owned(),
            password: Some(password),
            system_identifier: self.system_identifier,
            tls: self.tls.clone(),
        })
    }

    fn configured(role: &str, password: Secret, policy: &DatabasePolicy) -> Result<Self, Denial> {
        let [endpoint] = &policy.endpoints[..] else {
            let found = format!("{} endpoints", policy.endpoints.len());
            return Err(Denial::new(
                Code::ConfigValue,
                "the slots' server is not known",
                found,
                "exactly one `[database] endpoints`",
            ));
        };
        Ok(Self {
            door: Door::Tcp { address: allowed(endpoint, policy)?, port: endpoint.port },
            role: role.to_owned(),
            password: Some(password),
            system_identifier: policy.system_identifier,
            tls: policy.tls.clone(),
        })
    }

    /// Returns how the server is reached.
    #[must_use]
    pub fn door(&self) -> &Door {
        &self.door
    }

    /// Returns the role to log in as.
    #[must_use]
    pub fn role(&self) -> &str {
        &self.role
    }

    /// Returns the password, if there is one.
    #[must_use]
    pub fn password(&self) -> Option<&Secret> {
        self.password.as_ref()
    }

    /// Returns the system identifier that the live server must have, if one is pinned.
    #[must_use]
    pub fn system_identifier(&self) -> Option<u64> {
        self.system_identifier
    }

    /// Returns how the server must prove by TLS who it is, if it must; a socket has no TLS.
    #[must_use]
    pub fn tls(&self) -> Option<&ServerTls> {
        self.tls.as_ref()
    }

    /// Returns the server, the way diagnostics name it.
    #[must_use]
    pub fn place(&self) -> String {
        match &self.door {
            Door::Tcp { address: IpAddr::V4(address), port } => format!("{address}:{port}"),
            Door::Tcp { address: IpAddr::V6(address), port } => format!("[{address}]:{port}"),
            Door::Socket { directory, port } => format!("{}/.s.PGSQL.{port}", directory.as_str()),
        }
    }
}

fn allowed(endpoint: &Endpoint, policy: &DatabasePolicy) -> Result<IpAddr, Denial> {
    if policy.production_endpoints.contains(endpoint) {
        return Err(Denial::new(
            Code::ProductionEndpoint,
            "an administrator of previews would reach the production server",
            format!("server {endpoint}"),
            policy.describe_endpoints(),
        ));
    }
    policy
        .allowed_address(endpoint)
        .ok_or_else(|| refuse(format!("server {endpoint}"), policy.describe_endpoints()))
}

fn refuse(found: String, expected: String) -> Denial {
    let message = "an administrator of previews would reach a server that is not the slots' own";
    Denial::new(Code::ForeignEndpoint, message, found, expected)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy() -> DatabasePolicy {
        DatabasePolicy {
            endpoints: vec![Endpoint::parse("127.0.0.1:5432").unwrap()],
            production_endpoints: vec![Endpoint::parse("127.0.0.1:5433").unwrap()],
            ..DatabasePolicy::default()
        }
    }

    fn code(url: &str) -> Result<String, Code> {
        let target = DatabaseTarget::parse(url).unwrap();
        AdminTarget::verify(&target, &policy()).map(|a| a.place()).map_err(|denial| denial.code())
    }

    #[test]
    fn only_the_maintenance_database_of_the_slots_server_passes() {
        let on = |place: &str| code(&format!("postgresql://postgres:pw@{place}"));
        assert_eq!(on("127.0.0.1:5432/postgres"), Ok("127.0.0.1:5432".to_owned()));
        assert_eq!(on("127.0.0.1:5432/app_production"), Err(Code::AdminTarget));
        assert_eq!(on("127.0.0.1:5433/postgres"), Err(Code::ProductionEndpoint));
        assert_eq!(on("127.0.0.1:5434/postgres"), Err(Code::ForeignEndpoint));
        assert_eq!(on("127.0.0.9:5432/postgres"), Err(Code::ForeignEndpoint));
    }

    #[test]
    fn tls_is_of_every_way_but_the_socket() {
        let ca = AbsolutePath::parse("/etc/ca.pem").unwrap();
        let tls = ServerTls { ca, server_name: None };
        let secured = DatabasePolicy { tls: Some(tls.clone()), ..policy() };
        let url = "postgresql://postgres@127.0.0.1:5432/postgres?sslmode=require";
        let target = DatabaseTarget::parse(url).unwrap();
        let by_url = AdminTarget::verify(&target, &secured).unwrap();
        let secret = || Secret::new("s3cret".to_owned());
        let admin = AdminTarget::preview_admin(secret(), &secured).unwrap();
        let seed = AdminTarget::seed_owner(secret(), &secured).unwrap();
        let other = by_url.as_role("slot_1", secret()).unwrap();
        for target in [by_url, admin, seed, other] {
            assert_eq!(target.tls(), Some(&tls), "{target:?}");
        }
        let directory = AbsolutePath::parse("/run/postgresql").unwrap();
        let socket = AdminTarget::socket(directory, 5432, "postgres", &secured).unwrap();
        assert_eq!(socket.tls(), None);
        let refused = AdminTarget::verify(&target, &policy()).unwrap_err();
        assert_eq!(refused.code(), Code::TlsUnavailable);
    }

    #[test]
    fn a_socket_is_known_by_its_port() {
        let socket = |port, role| {
            let directory = AbsolutePath::parse("/run/postgresql").unwrap();
            AdminTarget::socket(directory, port, role, &policy()).map_err(|denial| denial.code())
        };
        assert_eq!(socket(5432, "postgres").unwrap().place(), "/run/postgresql/.s.PGSQL.5432");
        assert_eq!(socket(5433, "postgres").unwrap_err(), Code::ForeignEndpoint);
        assert_eq!(socket(5432, "post gres").unwrap_err(), Code::UrlBytes);
    }
}
