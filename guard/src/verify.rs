//! Whether a target is the slot's own: the decision on which everything else rests.
//!
//! [`VerifiedTarget`] is the proof. Its only constructor is [`verify`]; it cannot be copied, read
//! from data or made for a test. It says nothing about the live server, see [`crate::identity`].

use std::net::{IpAddr, Ipv4Addr};

use crate::database_url::{DatabaseTarget, Host, Parameter};
use crate::diagnostic::{Code, Denial, Warning};
use crate::policy::{DatabasePolicy, Endpoint};
use crate::secret::Secret;
use crate::slot::SlotId;
use crate::suggestion;
use crate::tls::ServerTls;

/// Proof that a target names the slot's own database on the slots' own server.
///
/// ```
/// use guard::{database_url::DatabaseTarget, policy::DatabasePolicy, verify::verify};
/// let slot = "preview-1".parse().unwrap();
/// let target = DatabaseTarget::parse("postgresql://slot_1@127.0.0.1:5432/app_preview_1").unwrap();
/// let proof = verify(slot, target, &DatabasePolicy::default()).unwrap();
/// assert_eq!(proof.database(), "app_preview_1");
/// ```
///
/// A target is not a proof:
///
/// ```compile_fail
/// use guard::{database_url::DatabaseTarget, policy::DatabasePolicy, verify::VerifiedTarget};
/// let slot = "preview-1".parse().unwrap();
/// let target = DatabaseTarget::parse("postgresql://slot_1@127.0.0.1:5432/app_preview_1").unwrap();
/// let address = [127, 0, 0, 1].into();
/// let proof = VerifiedTarget {
///     slot,
///     target,
///     address,
///     system_identifier: None,
///     tls: None,
///     require_stamp: false,
///     production_databases: Vec::new(),
/// };
/// assert_eq!(proof.database(), "app_preview_1");
/// ```
///
/// A proof is used once and cannot be duplicated:
///
/// ```compile_fail
/// use guard::{database_url::DatabaseTarget, policy::DatabasePolicy, verify::verify};
/// let slot = "preview-1".parse().unwrap();
/// let target = DatabaseTarget::parse("postgresql://slot_1@127.0.0.1:5432/app_preview_1").unwrap();
/// let proof = verify(slot, target, &DatabasePolicy::default()).unwrap().clone();
/// assert_eq!(proof.database(), "app_preview_1");
/// ```
#[derive(Debug)]
pub struct VerifiedTarget {
    slot: SlotId,
    target: DatabaseTarget,
    address: IpAddr,
    system_identifier: Option<u64>,
    tls: Option<ServerTls>,
    require_stamp: bool,
    production_databases: Vec<String>,
}

/// Judges a target for a slot (contract clauses DB-1 to DB-4).
///
/// # Errors
/// Refuses another slot's database, a production database, any other database, a server that is
/// not the slots' own, and a role that is not the slot's own.
pub fn verify(
    slot: SlotId,
    target: DatabaseTarget,
    policy: &DatabasePolicy,
) -> Result<VerifiedTarget, Denial> {
    match judge(slot, &target, policy) {
        Ok(address) => Ok(VerifiedTarget {
            slot,
            target,
            address,
            system_identifier: policy.system_identifier,
            tls: policy.tls.clone(),
            require_stamp: policy.require_stamp,
            production_databases: policy.production_databases.clone(),
        }),
        Err(denial) if is_production(denial.code()) => Err(denial),
        Err(denial) => Err(match suggestion::for_target(slot, &target, policy) {
            Some(url) => denial.help(format!("Write {url}")),
            None => denial,
        }),
    }
}

/// A URL to paste would hide that production's address got here.
fn is_production(code: Code) -> bool {
    matches!(code, Code::ProductionDatabase | Code::ProductionEndpoint)
}

/// Judges without a suggestion, so that a suggestion can be judged as well.
pub(crate) fn judge(
    slot: SlotId,
    target: &DatabaseTarget,
    policy: &DatabasePolicy,
) -> Result<IpAddr, Denial> {
    let endpoint = Endpoint { host: target.host().clone(), port: target.port() };
    judge_production(slot, target, &endpoint, policy)?;
    judge_database(slot, target, policy)?;
    let address = judge_endpoint(slot, &endpoint, policy)?;
    judge_role(slot, target, policy)?;
    Ok(address)
}

/// Production first: whatever else is wrong with such a target, this is what must be said.
fn judge_production(
    slot: SlotId,
    target: &DatabaseTarget,
    endpoint: &Endpoint,
    policy: &DatabasePolicy,
) -> Result<(), Denial> {
    let (code, what) = if policy.production_endpoints.contains(endpoint) {
        (Code::ProductionEndpoint, "server")
    } else if policy.production_databases.iter().any(|name| name == target.database()) {
        (Code::ProductionDatabase, "database")
    } else {
        return Ok(());
    };
    let message = format!("{slot} would reach the production {what}");
    Err(Denial::new(code, message, target.place(), own_place(slot, target, policy)))
}

fn judge_database(
    slot: SlotId,
    target: &DatabaseTarget,
    policy: &DatabasePolicy,
) -> Result<(), Denial> {
    let own = slot.database_name();
    if target.database() == own {
        return Ok(());
    }
    let (code, message) = match SlotId::owning_database(target.database()) {
        Some(other) => {
            (Code::OtherSlotsDatabase, format!("{slot} would use the database of {other}"))
        }
        None => (Code::ForeignDatabase, format!("{slot} would use a database that is not its own")),
    };
    Err(Denial::new(code, message, target.place(), own_place(slot, target, policy)))
}

fn judge_endpoint(
    slot: SlotId,
    endpoint: &Endpoint,
    policy: &DatabasePolicy,
) -> Result<IpAddr, Denial> {
    policy.allowed_address(endpoint).ok_or_else(|| {
        let message = format!("{slot} would connect to a server that is not the slots' own");
        let expected = policy.describe_endpoints();
        Denial::new(Code::ForeignEndpoint, message, format!("server {endpoint}"), expected)
    })
}

fn judge_role(
    slot: SlotId,
    target: &DatabaseTarget,
    policy: &DatabasePolicy,
) -> Result<(), Denial> {
    let Some(own) = policy.role.as_ref().map(|role| role.render(slot)) else {
        return Ok(());
    };
    if target.user() == own {
        return Ok(());
    }
    let message = format!("{slot} would log in as a role that is not its own");
    let found = format!("role `{}`", target.user());
    Err(Denial::new(Code::ForeignRole, message, found, format!("role `{own}`")))
}

/// The slot's own database on the server that was meant, or on the configured one.
fn own_place(slot: SlotId, target: &DatabaseTarget, policy: &DatabasePolicy) -> String {
    match suggestion::endpoint_for(target, policy) {
        Some(endpoint) => format!("database `{}` at {endpoint}", slot.database_name()),
        None => format!("database `{}` on the slots' own server", slot.database_name()),
    }
}

impl VerifiedTarget {
    /// Returns the slot that the target belongs to.
    #[must_use]
    pub fn slot(&self) -> SlotId {
        self.slot
    }

    /// Returns the address to connect to; no name is ever resolved.
    #[must_use]
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// Returns the system identifier that the live server must have, if one is pinned.
    #[must_use]
    pub fn system_identifier(&self) -> Option<u64> {
        self.system_identifier
    }

    /// Returns how the server must prove by TLS who it is, if it must.
    #[must_use]
    pub fn tls(&self) -> Option<&ServerTls> {
        self.tls.as_ref()
    }

    /// Returns whether the live database must carry the slot's stamp.
    #[must_use]
    pub fn requires_stamp(&self) -> bool {
        self.require_stamp
    }

    /// Returns whether a name is one of the configured production databases.
    #[must_use]
    pub fn is_production_database(&self, name: &str) -> bool {
        self.production_databases.iter().any(|production| production == name)
    }

    /// Returns the host as it stands in a URL.
    #[must_use]
    pub fn host(&self) -> &Host {
        self.target.host()
    }

    /// Returns the port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.target.port()
    }

    /// Returns the database, which is the slot's own.
    #[must_use]
    pub fn database(&self) -> &str {
        self.target.database()
    }

    /// Returns the role to log in as.
    #[must_use]
    pub fn role(&self) -> &str {
        self.target.user()
    }

    /// Returns the password, if the target carries one.
    #[must_use]
    pub fn password(&self) -> Option<&Secret> {
        self.target.password()
    }

    /// Returns the checked parameters.
    #[must_use]
    pub fn parameters(&self) -> &[Parameter] {
        self.target.parameters()
    }

    /// Returns the canonical URL without the password, fit for every output.
    #[must_use]
    pub fn canonical(&self) -> String {
        self.target.canonical()
    }

    /// Returns the canonical URL with the password, for the one child that must have it.
    #[must_use]
    pub fn connection_url(&self) -> Secret {
        self.target.connection_url()
    }

    /// Returns `database` at `host:port`, the way diagnostics name a target.
    #[must_use]
    pub fn place(&self) -> String {
        self.target.place()
    }

    /// Returns the slot's own database by way of the slot's sidecar, with the password of its start.
    ///
    /// What the target carried for the server itself is gone: its address, its password, and every
    /// demand for TLS, which the sidecar does not speak.
    #[must_use]
    pub fn through_sidecar(self, password: Secret) -> Self {
        let (host, port) = (Ipv4Addr::LOCALHOST, self.slot.sidecar_port());
        let target = self.target.by_way_of(host, port, password);
        Self { target, address: host.into(), tls: None, ..self }
    }

    /// Returns what is worth knowing about a target that passed.
    #[must_use]
    pub fn warnings(&self, policy: &DatabasePolicy) -> Vec<Warning> {
        let mut warnings = Vec::new();
        if policy.endpoints.is_empty() {
            let message = format!("endpoint not pinned: any port of {} passes", self.address);
            warnings.push(Warning::new(Code::EndpointNotPinned, message));
        }
        warnings
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::path::AbsolutePath;
    use crate::template::Template;

    fn judge(url: &str, policy: &DatabasePolicy) -> Result<VerifiedTarget, Denial> {
        verify("preview-1".parse().unwrap(), DatabaseTarget::parse(url).unwrap(), policy)
    }

    fn code(url: &str, policy: &DatabasePolicy) -> Code {
        judge(url, policy).unwrap_err().code()
    }

    #[test]
    fn db_1_the_slots_own_database_passes() {
        let proof =
            judge("postgres://slot_1:pw@127.0.0.1:5432/app_preview_1", &DatabasePolicy::default())
                .unwrap();
        assert_eq!(proof.canonical(), "postgresql://slot_1@127.0.0.1:5432/app_preview_1");
        assert_eq!(proof.warnings(&DatabasePolicy::default()).len(), 1);
    }

    #[test]
    fn db_1_by_way_of_the_sidecar_nothing_of_the_server_s_login_is_left() {
        let url = "postgresql://slot_1:s3cret@127.0.0.1:5432/app_preview_1\
                   ?sslmode=require&ssl=true&connect_timeout=5";
        let ca = AbsolutePath::parse("/etc/ca.pem").unwrap();
        let tls = Some(ServerTls { ca, server_name: None });
        let policy = DatabasePolicy { tls: tls.clone(), ..DatabasePolicy::default() };
        let proof = judge(url, &policy).unwrap();
        assert_eq!(proof.tls(), tls.as_ref());
        let proof = proof.through_sidecar(Secret::new("c0ffee-7".to_owned()));
        assert_eq!(
            proof.connection_url().dangerous_expose(),
            "postgresql://slot_1:c0ffee-7@127.0.0.1:5101/app_preview_1?connect_timeout=5"
        );
        assert_eq!((proof.port(), proof.address()), (5101, Ipv4Addr::LOCALHOST.into()));
        assert_eq!(proof.tls(), None);
        let plain = "postgresql://slot_1@[::1]:5432/app_preview_1?sslmode=disable";
        let proof = judge(plain, &DatabasePolicy::default()).unwrap();
        let proof = proof.through_sidecar(Secret::new("c0ffee".to_owned()));
        assert_eq!(
            proof.canonical(),
            "postgresql://slot_1@127.0.0.1:5101/app_preview_1?sslmode=disable"
        );
    }

    #[test]
    fn db_4_every_other_database_is_refused_by_what_it_is() {
        let policy = DatabasePolicy {
            production_databases: vec!["app_production".to_owned()],
            ..DatabasePolicy::default()
        };
        let on = |name: &str| format!("postgresql://slot_1@127.0.0.1:5432/{name}");
        assert_eq!(code(&on("app_production"), &policy), Code::ProductionDatabase);
        assert_eq!(code(&on("app_preview_2"), &policy), Code::OtherSlotsDatabase);
        for name in
            ["app_preview_10", "app_preview_", "App_Preview_1", "app_preview_1_", "postgres"]
        {
            assert_eq!(code(&on(name), &policy), Code::ForeignDatabase, "{name}");
        }
        assert!(judge(&on("app_preview_1"), &policy).is_ok());
    }

    #[test]
    fn another_server_is_refused_with_the_url_to_write() {
        let denial = judge(
            "postgresql://slot_1:pw@localhost:5432/app_preview_1",
            &DatabasePolicy::default(),
        )
        .unwrap_err();
        assert_eq!(denial.code(), Code::ForeignEndpoint);
        assert_eq!(
            denial.next_step(),
            "Write postgresql://slot_1:<password>@127.0.0.1:5432/app_preview_1"
        );
    }

    #[test]
    fn production_is_named_whatever_else_is_wrong() {
        let endpoint = Endpoint::parse("127.0.0.1:5999").unwrap();
        let policy =
            DatabasePolicy { production_endpoints: vec![endpoint], ..DatabasePolicy::default() };
        let denial =
            judge("postgresql://slot_1@127.0.0.1:5999/app_preview_1", &policy).unwrap_err();
        assert_eq!(denial.code(), Code::ProductionEndpoint);
        assert!(judge("postgresql://slot_1@127.0.0.1:5998/app_preview_1", &policy).is_ok());
    }

    #[test]
    fn a_configured_role_must_be_the_slots_own() {
        let policy =
            DatabasePolicy { role: Template::parse("slot_{slot}"), ..DatabasePolicy::default() };
        assert_eq!(
            code("postgresql://slot_2@127.0.0.1:5432/app_preview_1", &policy),
            Code::ForeignRole
        );
        assert!(judge("postgresql://slot_1@127.0.0.1:5432/app_preview_1", &policy).is_ok());
    }
}
