//! The one place that connects, from checked parts and with a proof of where it leads.

use std::time::Duration;

use guard::admin::{AdminTarget, Door};
use guard::database_url::Parameter;
use guard::diagnostic::{Code, Denial, shown};
use guard::verify::VerifiedTarget;
use tokio_postgres::config::SslMode;
use tokio_postgres::{Client, Config, NoTls};

use crate::limits::Limits;

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
    patience: Duration,
    /// Who logs in, for a refusal.
    who: String,
    /// Where to, for a refusal.
    place: String,
    role: String,
}

impl Login {
    /// Rebuilds the settings of a slot's own connection; no text is handed to the driver.
    pub(crate) fn of_slot(target: &VerifiedTarget, limits: &Limits) -> Result<Self, Denial> {
        let mut seconds = DEFAULT_CONNECT_SECONDS;
        let mut application_name = "slotguard-migrate";
        for parameter in target.parameters() {
            match (parameter.name(), parameter.value()) {
                _ if parameter.demands_tls() => return Err(refuse_tls(parameter)),
                ("application_name", name) => application_name = name,
                ("connect_timeout", given) => seconds = given.parse().unwrap_or(seconds),
                _ => {}
            }
        }
        let options = format!("{STARTUP_OPTIONS} {}", limits.options());
        let mut settings = base(target.role(), target.password(), target.database());
        settings.application_name(application_name).options(options);
        settings.host(target.address().to_string()).port(target.port());
        Ok(Self {
            settings,
            patience: Duration::from_secs(seconds.into()),
            who: target.slot().to_string(),
            place: target.place(),
            role: target.role().to_owned(),
        })
    }

    /// Rebuilds the settings of an administrator's connection to one database.
    pub(crate) fn of_admin(target: &AdminTarget, database: &str) -> Self {
        let mut settings = base(target.role(), target.password(), database);
        settings.application_name("slotguard-admin").options(format!(
            "{STARTUP_OPTIONS} {ADMIN_OPTIONS} -c search_path={ADMIN_SEARCH_PATH}"
        ));
        through(&mut settings, target.door());
        Self::of_door(settings, target, database)
    }

    /// Rebuilds the settings of the seed's role, which runs migrations as a slot's role does.
    pub(crate) fn of_seed(target: &AdminTarget, database: &str) -> Self {
        let mut settings = base(target.role(), target.password(), database);
        settings.application_name("slotguard-seed").options(STARTUP_OPTIONS);
        through(&mut settings, target.door());
        Self::of_door(settings, target, database)
    }

    fn of_door(settings: Config, target: &AdminTarget, database: &str) -> Self {
        Self {
            settings,
            patience: Duration::from_secs(DEFAULT_CONNECT_SECONDS.into()),
            who: format!("`{}`", target.role()),
            place: format!("database `{}` at {}", shown(database), target.place()),
            role: target.role().to_owned(),
        }
    }

    /// Connects.
    ///
    /// # Errors
    /// Refuses when the server does not answer in time or refuses the login.
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
        #[expect(clippy::disallowed_methods, reason = "the one place that connects, with a proof")]
        let connecting = self.settings.connect(NoTls);
        match tokio::time::timeout(self.patience, connecting).await {
            Ok(Ok((client, connection))) => {
                tokio::spawn(async move {
                    if let Err(error) = connection.await {
                        tracing::debug!(%error, "the connection ended");
                    }
                });
                Ok(Ok(client))
            }
            Ok(Err(error)) => Ok(Err(error)),
            Err(_) => Err(self.unreachable("no answer in time")),
        }
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

fn base(role: &str, password: Option<&guard::secret::Secret>, database: &str) -> Config {
    let mut settings = Config::new();
    settings.user(role).dbname(database).ssl_mode(SslMode::Disable);
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

fn refuse_tls(parameter: &Parameter) -> Denial {
    Denial::new(
        Code::TlsUnavailable,
        "the target demands TLS, which is not available here",
        parameter.to_string(),
        "sslmode=disable or sslmode=prefer",
    )
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
