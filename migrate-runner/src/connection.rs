//! The settings of a connection, from checked parts and with a proof of where it leads.

use std::net::SocketAddr;
use std::time::Duration;

use guard::admin::{AdminTarget, Door};
use guard::diagnostic::{Code, Denial, shown};
use guard::tls;
use guard::verify::VerifiedTarget;
use pg_tls::Unproved;
use tokio_postgres::{Client, Config};

use crate::limits::Limits;
use crate::way::{Canceller, Way};

const DEFAULT_CONNECT_SECONDS: u16 = 10;

/// Start-up options beat `ALTER ROLE … SET`. The first frees a killed client's locks quickly; the
/// second makes the server read strings as every reader of the files does.
const STARTUP_OPTIONS: &str =
    "-c client_connection_check_interval=500ms -c standard_conforming_strings=on";

/// An administrator finds the server's own objects first and last, whatever a database holds.
pub(crate) const ADMIN_SEARCH_PATH: &str = "pg_catalog";

const ADMIN_OPTIONS: &str =
    "-c default_transaction_read_only=off -c statement_timeout=0 -c lock_timeout=0";

/// Settings of a connection that a proof stands behind; there is no other way to make them.
#[derive(Debug)]
pub(crate) struct Login {
    settings: Config,
    way: Way,
    patience: Duration,
    /// Who logs in, for a refusal.
    who: String,
    /// Where to, for a refusal.
    place: String,
    role: String,
}

impl Login {
    /// Rebuilds the settings of a slot's own connection; no text is handed to the driver.
    ///
    /// # Errors
    /// Refuses a demand for TLS where none is configured, and certificates of an authority that
    /// cannot be used.
    pub(crate) fn of_slot(target: &VerifiedTarget, limits: &Limits) -> Result<Self, Denial> {
        tls::judge_demands(target.parameters(), target.tls())?;
        let mut seconds = DEFAULT_CONNECT_SECONDS;
        let mut application_name = "slotguard-migrate";
        for parameter in target.parameters() {
            match (parameter.name(), parameter.value()) {
                ("application_name", name) => application_name = name,
                ("connect_timeout", given) => seconds = given.parse().unwrap_or(seconds),
                _ => {}
            }
        }
        let options = format!("{STARTUP_OPTIONS} {}", limits.options());
        let address = SocketAddr::new(target.address(), target.port());
        let way = Way::to(address, target.tls())?;
        let mut settings = base(target.role(), target.password(), target.database(), &way);
        settings.application_name(application_name).options(options);
        settings.host(target.address().to_string()).port(target.port());
        Ok(Self {
            settings,
            way,
            patience: Duration::from_secs(seconds.into()),
            who: target.slot().to_string(),
            place: target.place(),
            role: target.role().to_owned(),
        })
    }

    /// Rebuilds the settings of an administrator's connection to one database.
    ///
    /// # Errors
    /// Refuses certificates of an authority that cannot be used.
    pub(crate) fn of_admin(target: &AdminTarget, database: &str) -> Result<Self, Denial> {
        let options =
            format!("{STARTUP_OPTIONS} {ADMIN_OPTIONS} -c search_path={ADMIN_SEARCH_PATH}");
        Self::of_door(target, database, "slotguard-admin", &options)
    }

    /// Rebuilds the settings of the seed's role, which runs migrations as a slot's role does.
    ///
    /// # Errors
    /// As [`Login::of_admin`].
    pub(crate) fn of_seed(target: &AdminTarget, database: &str) -> Result<Self, Denial> {
        Self::of_door(target, database, "slotguard-seed", STARTUP_OPTIONS)
    }

    fn of_door(
        target: &AdminTarget,
        database: &str,
        application_name: &str,
        options: &str,
    ) -> Result<Self, Denial> {
        let way = match target.door() {
            Door::Tcp { address, port } => Way::to(SocketAddr::new(*address, *port), target.tls())?,
            Door::Socket { .. } => Way::Clear,
        };
        let mut settings = base(target.role(), target.password(), database, &way);
        settings.application_name(application_name).options(options);
        through(&mut settings, target.door());
        Ok(Self {
            settings,
            way,
            patience: Duration::from_secs(DEFAULT_CONNECT_SECONDS.into()),
            who: format!("`{}`", target.role()),
            place: format!("database `{}` at {}", shown(database), target.place()),
            role: target.role().to_owned(),
        })
    }

    /// Connects.
    ///
    /// # Errors
    /// Refuses when the server does not answer in time, does not prove itself or refuses the login.
    pub(crate) async fn connect(&self) -> Result<Client, Denial> {
        match self.attempt().await? {
            Ok(client) => Ok(client),
            Err(error) => Err(match error.as_db_error() {
                Some(server) => Denial::new(
                    Code::LoginRefused,
                    format!("the server refused the login of {}", self.who),
                    format!("{} ({})", shown(server.message()), server.code().code()),
                    format!("a login as `{}` to {}", self.role, self.place),
                ),
                None => self.unreachable(&cause(&error)),
            }),
        }
    }

    /// Connects once, telling the server's refusal from everything else.
    pub(crate) async fn attempt(&self) -> Result<Result<Client, tokio_postgres::Error>, Denial> {
        let connecting = self.way.connect(&self.settings);
        match tokio::time::timeout(self.patience, connecting).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(Unproved::Refused(refusal))) => Err(refusal.into_denial(Code::ServerTls)),
            Ok(Err(Unproved::Lost(error))) => Err(self.unreachable(&error.to_string())),
            Err(_) => Err(self.unreachable("no answer in time")),
        }
    }

    /// Returns the means to cancel what a session of this login does.
    pub(crate) fn canceller(&self, client: &Client) -> Canceller {
        Canceller::new(client, self.way.clone(), self.patience)
    }

    /// Returns how long to wait for an answer that decides.
    pub(crate) fn patience(&self) -> Duration {
        self.patience
    }

    /// Explains that the server does not answer.
    pub(crate) fn unreachable(&self, why: &str) -> Denial {
        Denial::new(
            Code::ServerUnreachable,
            format!("the database server of {} does not answer", self.who),
            shown(why),
            format!("a server that answers for {}", self.place),
        )
    }
}

/// Returns what lies behind an error of the driver, whose own words say little.
pub(crate) fn cause(error: &tokio_postgres::Error) -> String {
    let source = std::error::Error::source(error);
    source.map_or_else(|| error.to_string(), ToString::to_string)
}

fn base(role: &str, password: Option<&guard::secret::Secret>, database: &str, way: &Way) -> Config {
    let mut settings = Config::new();
    settings.user(role).dbname(database);
    way.mark(&mut settings);
    if let Some(password) = password {
        settings.password(password.dangerous_expose());
    }
    settings
}

fn through(settings: &mut Config, door: &Door) {
    match door {
        Door::Tcp { address, port } => {
            // The driver wants an address without brackets.
            settings.host(address.to_string()).port(*port);
        }
        Door::Socket { directory, port } => {
            settings.host_path(directory.as_str()).port(*port);
        }
    }
}

#[cfg(test)]
mod tests {
    use guard::database_url::DatabaseTarget;
    use guard::policy::DatabasePolicy;
    use guard::verify::verify;

    use super::*;

    fn login(query: &str) -> Result<Login, Denial> {
        let url = format!("postgresql://slot_1:pw@127.0.0.1:5432/app_preview_1{query}");
        let target = DatabaseTarget::parse(&url).unwrap();
        let slot = "preview-1".parse().unwrap();
        let target = verify(slot, target, &DatabasePolicy::default()).unwrap();
        Login::of_slot(&target, &Limits::default())
    }

    #[test]
    fn settings_are_built_from_parts() {
        let login = login("?connect_timeout=3&application_name=x").unwrap();
        let config = &login.settings;
        assert_eq!(config.get_dbname(), Some("app_preview_1"));
        assert_eq!(config.get_user(), Some("slot_1"));
        assert_eq!(config.get_ports(), [5432]);
        assert_eq!(config.get_hosts().len(), 1);
        assert_eq!(config.get_application_name(), Some("x"));
        assert!(config.get_options().unwrap().contains("statement_timeout=900s"));
        assert_eq!(login.patience, Duration::from_secs(3));
    }

    #[test]
    fn a_demand_for_tls_is_never_weakened() {
        for mode in ["require", "verify-ca", "verify-full"] {
            let denial = login(&format!("?sslmode={mode}")).unwrap_err();
            assert_eq!(denial.code(), Code::TlsUnavailable);
        }
        assert!(login("?sslmode=prefer").is_ok());
    }
}
