//! The one place that connects, and the proof that the server at the other end agreed.

use std::time::Duration;

use guard::database_url::Parameter;
use guard::diagnostic::{Code, Denial, shown};
use guard::identity::{ConfirmedTarget, IdentityFacts, confirm};
use guard::verify::VerifiedTarget;
use tokio_postgres::config::SslMode;
use tokio_postgres::{Client, Config, NoTls, SimpleQueryMessage};

const DEFAULT_CONNECT_SECONDS: u16 = 10;

/// Start-up options beat `ALTER ROLE … SET`. The first frees a killed client's locks quickly; the
/// second makes the server read strings as every reader of the files does.
const STARTUP_OPTIONS: &str =
    "-c client_connection_check_interval=500ms -c standard_conforming_strings=on";

/// What is asked of a server before anything else; qualified, so that no other function answers.
pub(crate) const IDENTITY_COLUMNS: &str = "pg_catalog.current_database(), session_user, \
     current_user, pg_catalog.pg_is_in_recovery(), \
     (SELECT system_identifier FROM pg_catalog.pg_control_system())";

/// A connection whose server said that it is the slot's own database.
///
/// Connection and proof are one value, so they cannot be mixed up with another pair.
///
/// ```no_run
/// # async fn example(proof: guard::verify::VerifiedTarget) -> Result<(), guard::diagnostic::Denial> {
/// use migrate_runner::session::GuardedSession;
/// let session: GuardedSession = GuardedSession::open(proof).await?;
/// # drop(session); Ok(()) }
/// ```
///
/// A parsed target is not enough to connect:
///
/// ```compile_fail
/// # async fn example(proof: guard::database_url::DatabaseTarget) -> Result<(), guard::diagnostic::Denial> {
/// use migrate_runner::session::GuardedSession;
/// let session: GuardedSession = GuardedSession::open(proof).await?;
/// # drop(session); Ok(()) }
/// ```
#[derive(Debug)]
pub struct GuardedSession {
    client: Client,
    target: ConfirmedTarget,
}

impl GuardedSession {
    /// Connects and asks the server who it is, over this very connection.
    ///
    /// # Errors
    /// Refuses a target that demands TLS, a server that does not answer or refuses the login, and
    /// one that turns out to be another database, another role or a standby.
    pub async fn open(target: VerifiedTarget) -> Result<Self, Denial> {
        let (settings, patience) = connection_settings(&target)?;
        tracing::info!(slot = %target.slot(), target = %target.canonical(), "connecting");
        #[expect(clippy::disallowed_methods, reason = "the one place that connects, with a proof")]
        let connecting = settings.connect(NoTls);
        let connected = tokio::time::timeout(patience, connecting).await;
        let (client, connection) = match connected {
            Ok(Ok(pair)) => pair,
            Ok(Err(error)) => return Err(refuse_connection(&target, &error)),
            Err(_) => return Err(unreachable(&target, "no answer in time")),
        };
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "the connection ended");
            }
        });
        let asked = tokio::time::timeout(patience, ask_identity(&client)).await;
        let facts = match asked {
            Ok(Ok(facts)) => facts,
            Ok(Err(error)) => {
                let said = error.as_db_error().map(|server| server.message().to_owned());
                return Err(unreachable(&target, &said.unwrap_or_else(|| error.to_string())));
            }
            Err(_) => return Err(unreachable(&target, "no answer in time")),
        };
        Ok(Self { client, target: confirm(target, &facts)? })
    }

    /// Returns the confirmed target.
    #[must_use]
    pub fn target(&self) -> &ConfirmedTarget {
        &self.target
    }

    /// Returns the client, for the modules of this crate that run SQL over it.
    pub(crate) fn client(&self) -> &Client {
        &self.client
    }
}

/// Rebuilds the connection settings from checked parts; no text is handed to the driver.
fn connection_settings(target: &VerifiedTarget) -> Result<(Config, Duration), Denial> {
    let mut settings = Config::new();
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
    settings
        .host(target.address().to_string())
        .port(target.port())
        .user(target.role())
        .dbname(target.database())
        .ssl_mode(SslMode::Disable)
        .application_name(application_name)
        .options(STARTUP_OPTIONS);
    if let Some(password) = target.password() {
        settings.password(password.dangerous_expose());
    }
    Ok((settings, Duration::from_secs(seconds.into())))
}

fn refuse_tls(parameter: &Parameter) -> Denial {
    Denial::new(
        Code::TlsUnavailable,
        "the target demands TLS, which is not available here",
        parameter.to_string(),
        "sslmode=disable or sslmode=prefer",
    )
}

async fn ask_identity(client: &Client) -> Result<IdentityFacts, tokio_postgres::Error> {
    let answer = client.simple_query(&format!("SELECT {IDENTITY_COLUMNS}")).await?;
    Ok(identity_facts(&answer, 0))
}

/// Reads the identity columns from an answer, beginning at column `first`.
///
/// What is missing becomes an empty text, which no target has.
pub(crate) fn identity_facts(answer: &[SimpleQueryMessage], first: usize) -> IdentityFacts {
    let row = answer.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some(row),
        _ => None,
    });
    let column = |index: usize| {
        let value = row.and_then(|row| row.try_get(first + index).ok().flatten());
        value.unwrap_or_default().to_owned()
    };
    IdentityFacts {
        database: column(0),
        session_user: column(1),
        current_user: column(2),
        in_recovery: column(3) != "f",
        system_identifier: column(4).parse().ok(),
    }
}

fn refuse_connection(target: &VerifiedTarget, error: &tokio_postgres::Error) -> Denial {
    match error.as_db_error() {
        Some(server) => Denial::new(
            Code::LoginRefused,
            format!("the server refused the login of {}", target.slot()),
            format!("{} ({})", shown(server.message()), server.code().code()),
            format!("a login as `{}` to {}", target.role(), target.place()),
        ),
        None => {
            let source = std::error::Error::source(error);
            unreachable(target, &source.map_or_else(|| error.to_string(), ToString::to_string))
        }
    }
}

fn unreachable(target: &VerifiedTarget, why: &str) -> Denial {
    Denial::new(
        Code::ServerUnreachable,
        format!("the database server of {} does not answer", target.slot()),
        shown(why),
        format!("a server at {}:{}", target.host(), target.port()),
    )
}

#[cfg(test)]
mod tests {
    use guard::database_url::DatabaseTarget;
    use guard::policy::DatabasePolicy;
    use guard::verify::verify;

    use super::*;

    fn settings(query: &str) -> Result<(Config, Duration), Denial> {
        let url = format!("postgresql://slot_1:pw@127.0.0.1:5432/app_preview_1{query}");
        let target = DatabaseTarget::parse(&url).unwrap();
        let slot = "preview-1".parse().unwrap();
        connection_settings(&verify(slot, target, &DatabasePolicy::default()).unwrap())
    }

    #[test]
    fn settings_are_built_from_parts() {
        let (config, patience) = settings("?connect_timeout=3&application_name=x").unwrap();
        assert_eq!(config.get_dbname(), Some("app_preview_1"));
        assert_eq!(config.get_user(), Some("slot_1"));
        assert_eq!(config.get_ports(), [5432]);
        assert_eq!(config.get_hosts().len(), 1);
        assert_eq!(config.get_application_name(), Some("x"));
        assert_eq!(patience, Duration::from_secs(3));
    }

    #[test]
    fn a_demand_for_tls_is_never_weakened() {
        for mode in ["require", "verify-ca", "verify-full"] {
            let denial = settings(&format!("?sslmode={mode}")).unwrap_err();
            assert_eq!(denial.code(), Code::TlsUnavailable);
        }
        assert!(settings("?sslmode=prefer").is_ok());
    }

    #[test]
    fn an_empty_answer_is_nobodys_identity() {
        let facts = identity_facts(&[], 0);
        assert!(facts.database.is_empty() && facts.in_recovery);
        assert_eq!(facts.system_identifier, None);
    }
}
