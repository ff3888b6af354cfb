//! A connection of an administrator, after the server said that it is the slots' own.

use guard::admin::AdminTarget;
use guard::diagnostic::{Code, Denial, shown};
use guard::provision::ADMIN_ROLE;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio_postgres::{Client, Error};

use crate::connection::{ADMIN_SEARCH_PATH, Login, cause};
use crate::live;

/// The oldest major version whose defaults fit.
const OLDEST: u32 = 150_000;

/// Who acts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Authority {
    /// A superuser of the cluster.
    Superuser,
    /// The owner of the slots' databases, which is no superuser.
    PreviewAdmin,
}

/// An administrator's session in one database.
#[derive(Debug)]
pub(super) struct AdminSession {
    client: Client,
    server: Server,
}

/// What the session's server is.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Server {
    /// `server_version_num`.
    pub(super) version: u32,
    /// `system_identifier` of `pg_control_system()`.
    pub(super) system_identifier: u64,
    /// Process id of the server's end of the session.
    pub(super) pid: i32,
    in_recovery: bool,
    user: String,
    superuser: bool,
    search_path: String,
}

const SERVER: &str = "SELECT pg_catalog.json_build_object(\
     'version', pg_catalog.current_setting('server_version_num')::pg_catalog.int4, \
     'system_identifier', (SELECT s.system_identifier FROM pg_catalog.pg_control_system() s), \
     'pid', pg_catalog.pg_backend_pid(), \
     'in_recovery', pg_catalog.pg_is_in_recovery(), 'user', current_user, \
     'search_path', pg_catalog.current_setting('search_path'), \
     'superuser', (SELECT r.rolsuper FROM pg_catalog.pg_roles r WHERE r.rolname = current_user))";

/// From 15.8 on, a superuser can be kept from reading views at all.
const NO_VIEWS: &str = "SELECT pg_catalog.set_config(name, 'view,foreign-table', false) \
     FROM pg_catalog.pg_settings WHERE name = 'restrict_nonsystem_relation_kind'";

impl AdminSession {
    /// Connects and asks the server who it is and who we are.
    ///
    /// # Errors
    /// Refuses a server that is not pinned, too old or a standby, and a role of another kind.
    pub(super) async fn open(
        target: &AdminTarget,
        database: &str,
        authority: Authority,
    ) -> Result<Self, Denial> {
        tracing::info!(database, server = %target.place(), role = target.role(), "connecting");
        let client = Login::of_admin(target, database)?.connect().await?;
        let server: Server = ask(&client, SERVER).await?;
        judge(&server, target, authority)?;
        let session = Self { client, server };
        if authority == Authority::Superuser {
            // It is a system view that says whether the setting exists.
            session.run(NO_VIEWS).await?;
        }
        Ok(session)
    }

    /// Returns what the session's server is.
    pub(super) fn server(&self) -> &Server {
        &self.server
    }

    /// Runs statements.
    ///
    /// # Errors
    /// Refuses with what the server says.
    pub(super) async fn run(&self, sql: &str) -> Result<(), Denial> {
        self.attempt(sql).await.map_err(|error| refused(sql, &error))
    }

    /// Runs statements, leaving it to the caller what a refusal means.
    pub(super) async fn attempt(&self, sql: &str) -> Result<(), Error> {
        self.client.simple_query(sql).await.map(drop)
    }

    /// Asks for one JSON value.
    ///
    /// # Errors
    /// Refuses with what the server says, and an answer of another shape.
    pub(super) async fn ask<T: DeserializeOwned>(&self, sql: &str) -> Result<T, Denial> {
        ask(&self.client, sql).await
    }

    /// Asks for the first column of every row.
    ///
    /// # Errors
    /// Refuses with what the server says.
    pub(super) async fn list(&self, sql: &str) -> Result<Vec<String>, Denial> {
        let answer = self.client.simple_query(sql).await.map_err(|error| refused(sql, &error))?;
        Ok(live::first_columns(&answer))
    }
}

async fn ask<T: DeserializeOwned>(client: &Client, sql: &str) -> Result<T, Denial> {
    let answer = client.simple_query(sql).await.map_err(|error| refused(sql, &error))?;
    live::column(&answer, 0)
}

fn judge(server: &Server, target: &AdminTarget, authority: Authority) -> Result<(), Denial> {
    if server.in_recovery {
        return Err(Denial::new(
            Code::LiveRecovery,
            "the slots' server is a standby",
            format!("{} in recovery", target.place()),
            "a primary server",
        ));
    }
    if let Some(pinned) = target.system_identifier()
        && pinned != server.system_identifier
    {
        return Err(Denial::new(
            Code::LiveServer,
            "the server that answers is not the pinned one",
            format!("system_identifier {}", server.system_identifier),
            format!("system_identifier {pinned}"),
        ));
    }
    if server.version < OLDEST {
        return Err(Denial::new(
            Code::ServerTooOld,
            "the slots' server is too old",
            format!("PostgreSQL {}", server.version / 10_000),
            "PostgreSQL 15 or later",
        ));
    }
    // A pooler can drop the options; then a slot's operator could answer with our rights.
    if server.search_path != ADMIN_SEARCH_PATH {
        return Err(Denial::new(
            Code::AdminSettings,
            "an administrator's session lacks the settings that were asked for",
            format!("search_path = `{}`", shown(&server.search_path)),
            format!("search_path = `{ADMIN_SEARCH_PATH}`, on a direct connection"),
        ));
    }
    let fits = match authority {
        Authority::Superuser => server.superuser,
        Authority::PreviewAdmin => server.user == ADMIN_ROLE && !server.superuser,
    };
    if fits {
        return Ok(());
    }
    let kind = if server.superuser { "a superuser" } else { "no superuser" };
    let expected = match authority {
        Authority::Superuser => "a superuser".to_owned(),
        Authority::PreviewAdmin => format!("`{ADMIN_ROLE}`, which is none"),
    };
    Err(Denial::new(
        Code::NotAdministrator,
        "the role is not the administrator that this needs",
        format!("`{}`, {kind}", shown(&server.user)),
        expected,
    ))
}

/// Explains what the server refused; the statement is ours and holds no secret.
pub(super) fn refused(sql: &str, error: &Error) -> Denial {
    let Some(server) = error.as_db_error() else {
        return crate::sql_error::lost("an administrator's statement", error);
    };
    let detail = server.detail().map(|detail| format!("; {}", shown(detail))).unwrap_or_default();
    let first_words: Vec<&str> = sql.split_whitespace().take(4).collect();
    tracing::debug!(error = %cause(error), "the server refused a statement");
    Denial::new(
        Code::AdminSql,
        format!("the server refused `{} …`", shown(&first_words.join(" "))),
        format!("{} (SQLSTATE {}){detail}", shown(server.message()), server.code().code()),
        "a statement that the server accepts",
    )
}
