//! The session that migrates, and the proof that the server at the other end agreed.

use guard::admin::AdminTarget;
use guard::diagnostic::{Code, Denial, Warning, shown};
use guard::identity::{ConfirmedTarget, IdentityFacts, confirm};
use guard::provision::{SEED_DATABASE, next_name};
use guard::verify::VerifiedTarget;
use tokio::sync::OnceCell;
use tokio_postgres::{Client, Error, SimpleQueryMessage};

use crate::connection::{Login, cause};
use crate::limits::Limits;
use crate::live;
use crate::stop::{self, StopSign, Stopper};

/// A connection whose server said that it is the slot's own database.
///
/// Connection and proof are one value, so they cannot be mixed up with another pair.
///
/// ```no_run
/// # async fn example(proof: guard::verify::VerifiedTarget) -> Result<(), guard::diagnostic::Denial> {
/// use migrate_runner::session::GuardedSession;
/// let limits = migrate_runner::limits::Limits::default();
/// let session: GuardedSession = GuardedSession::open(proof, &limits).await?;
/// # drop(session); Ok(()) }
/// ```
///
/// A parsed target is not enough to connect:
///
/// ```compile_fail
/// # async fn example(proof: guard::database_url::DatabaseTarget) -> Result<(), guard::diagnostic::Denial> {
/// use migrate_runner::session::GuardedSession;
/// let limits = migrate_runner::limits::Limits::default();
/// let session: GuardedSession = GuardedSession::open(proof, &limits).await?;
/// # drop(session); Ok(()) }
/// ```
#[derive(Debug)]
pub struct GuardedSession {
    client: Client,
    proof: Proof,
    login: Login,
    pid: i32,
    stopper: Option<Stopper>,
    stop: StopSign,
    /// Opened when a statement takes long, to see who keeps it waiting.
    second: OnceCell<Option<Client>>,
}

/// Whose database the session is in.
#[derive(Debug)]
enum Proof {
    /// A slot's own.
    Slot(Box<ConfirmedTarget>),
    /// The seed that is being built, as the role that owns nothing else.
    Seed { role: String, database: String },
}

impl GuardedSession {
    /// Connects and asks the server who it is, over this very connection.
    ///
    /// # Errors
    /// Refuses a target that demands TLS where none is configured, a server that does not answer, does
    /// not prove itself by TLS where it must, or refuses the login, one that turns out to be another
    /// database, another role or a standby, a stamp that does not hold, and a role with rights that no
    /// slot may have.
    pub async fn open(target: VerifiedTarget, limits: &Limits) -> Result<Self, Denial> {
        let login = Login::of_slot(&target, limits)?;
        tracing::info!(slot = %target.slot(), target = %target.canonical(), "connecting");
        let client = login.connect().await?;
        let facts = match tokio::time::timeout(login.patience(), live::ask(&client)).await {
            Ok(Ok(facts)) => facts?,
            Ok(Err(error)) => {
                let said = error.as_db_error().map(|server| server.message().to_owned());
                return Err(login.unreachable(&said.unwrap_or_else(|| cause(&error))));
            }
            Err(_) => return Err(login.unreachable("no answer in time")),
        };
        let proof = Proof::Slot(Box::new(confirm(target, facts)?));
        Self::new(client, proof, login).await
    }

    /// Connects to the seed that is being built, as the role that fills it.
    ///
    /// # Errors
    /// As [`GuardedSession::open`].
    pub(crate) async fn open_seed(target: &AdminTarget) -> Result<Self, Denial> {
        let database = next_name(SEED_DATABASE);
        let login = Login::of_seed(target, &database)?;
        let client = login.connect().await?;
        let proof = Proof::Seed { role: target.role().to_owned(), database };
        let session = Self::new(client, proof, login).await?;
        let question = format!("SELECT {}", live::IDENTITY_COLUMN);
        let answer = session.client.simple_query(&question).await;
        let answer = answer.map_err(|error| crate::sql_error::lost("who are you?", &error))?;
        session.still_holds(&live::identity(&answer, 0)?)?;
        Ok(session)
    }

    async fn new(client: Client, proof: Proof, login: Login) -> Result<Self, Denial> {
        let answer = client.simple_query("SELECT pg_catalog.pg_backend_pid()").await;
        let answer = answer.map_err(|error| login.unreachable(&cause(&error)))?;
        let pid = live::first_columns(&answer).first().and_then(|pid| pid.parse().ok());
        let pid = pid.unwrap_or_default();
        let (stopper, stop) = stop::pair(login.canceller(&client));
        let (stopper, second) = (Some(stopper), OnceCell::new());
        Ok(Self { client, proof, login, pid, stopper, stop, second })
    }

    /// Hands out, once, the means to stop what the session does.
    pub(crate) fn stopper(&mut self) -> Option<Stopper> {
        self.stopper.take()
    }

    /// Returns whether the session was asked to stop.
    pub(crate) fn stop(&self) -> &StopSign {
        &self.stop
    }

    /// Returns the server process of the session.
    pub(crate) fn pid(&self) -> i32 {
        self.pid
    }

    /// Returns a second session that only looks; `None` when there can be none.
    pub(crate) async fn second(&self) -> Option<&Client> {
        self.second.get_or_init(async || self.login.connect().await.ok()).await.as_ref()
    }

    /// Opens one more session with the same login, for whoever holds something in it for a while.
    ///
    /// # Errors
    /// As [`GuardedSession::open`] for a server that does not answer or refuses the login.
    pub(crate) async fn another(&self) -> Result<Client, Denial> {
        self.login.connect().await
    }

    /// Returns the confirmed target of a slot's session.
    #[must_use]
    pub fn target(&self) -> Option<&ConfirmedTarget> {
        match &self.proof {
            Proof::Slot(target) => Some(target),
            Proof::Seed { .. } => None,
        }
    }

    /// Returns what is worth knowing about the live database.
    #[must_use]
    pub fn warnings(&self) -> &[Warning] {
        self.target().map_or(&[], ConfirmedTarget::warnings)
    }

    /// Judges a later answer over the same connection.
    ///
    /// # Errors
    /// Refuses when it is no longer the database that was confirmed.
    pub(crate) fn still_holds(&self, facts: &IdentityFacts) -> Result<(), Denial> {
        match &self.proof {
            Proof::Slot(target) => target.still_holds(facts),
            Proof::Seed { role, database } => {
                let same = facts.session_user == *role && facts.current_user == *role;
                if same && facts.database == *database && !facts.in_recovery {
                    return Ok(());
                }
                let (found, user) = (shown(&facts.database), shown(&facts.current_user));
                Err(Denial::new(
                    Code::LiveDatabase,
                    "the session that fills the seed is somewhere else",
                    format!("database `{found}` as `{user}`"),
                    format!("database `{database}` as `{role}`"),
                ))
            }
        }
    }

    /// Begins a transaction and asks in it who the server is, and `more`; a pooler may lead every
    /// transaction to another database, but never a part of one.
    ///
    /// # Errors
    /// As [`GuardedSession::still_holds`], and as `refused` says when the server refuses.
    pub(crate) async fn begin(
        &self,
        more: &str,
        refused: impl FnOnce(&Error) -> Denial,
    ) -> Result<Vec<SimpleQueryMessage>, Denial> {
        let answer = self.client.simple_query(&beginning(more)).await;
        let answer = answer.map_err(|error| refused(&error))?;
        self.begun(&answer)?;
        Ok(answer)
    }

    /// Judges the answer to a [`beginning`]: nothing may run in the transaction before.
    ///
    /// # Errors
    /// As [`GuardedSession::still_holds`].
    pub(crate) fn begun(&self, answer: &[SimpleQueryMessage]) -> Result<(), Denial> {
        self.still_holds(&live::identity(answer, 0)?)
    }

    /// Returns the client, for the modules of this crate that run SQL over it.
    pub(crate) fn client(&self) -> &Client {
        &self.client
    }
}

/// Returns what begins a transaction and asks in it who the server is, and `more` behind that.
pub(crate) fn beginning(more: &str) -> String {
    // A pooler may have dropped the start-up options; texts were screened by this reading.
    let identity = live::IDENTITY_COLUMN;
    format!("BEGIN; SET LOCAL standard_conforming_strings = on; SELECT {identity}, {more}")
}
