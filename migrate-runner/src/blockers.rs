//! Who keeps a statement waiting, asked by a second session while it waits.
//!
//! Afterwards it is too late: a statement that gave up is blocked by nobody. The second session is
//! opened only when a statement takes long.

use std::time::Duration;

use guard::diagnostic::shown;
use tokio_postgres::Client;

use crate::live;
use crate::session::GuardedSession;

/// From here on a statement takes long.
const LONG: Duration = Duration::from_millis(500);

/// How long between two looks.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// Watches one statement of a session.
pub(crate) struct Watch<'a> {
    session: &'a GuardedSession,
}

impl<'a> Watch<'a> {
    pub(crate) fn new(session: &'a GuardedSession) -> Self {
        Self { session }
    }

    /// Runs a statement and returns, beside its outcome, who kept it waiting at last.
    pub(crate) async fn over<T>(self, statement: impl Future<Output = T>) -> (T, Option<String>) {
        let mut statement = std::pin::pin!(statement);
        if let Ok(done) = tokio::time::timeout(LONG, statement.as_mut()).await {
            return (done, None);
        }
        let mut watching = std::pin::pin!(self.look());
        let mut seen = None;
        loop {
            tokio::select! {
                biased;
                done = statement.as_mut() => return (done, seen),
                look = watching.as_mut() => {
                    seen = look.or(seen);
                    watching.set(self.look());
                }
            }
        }
    }

    /// Looks once, after a while; what cannot be seen is not said.
    async fn look(&self) -> Option<String> {
        tokio::time::sleep(LOOK_AGAIN).await;
        let client = self.session.second().await?;
        ask(client, self.session.pid()).await
    }
}

async fn ask(client: &Client, pid: i32) -> Option<String> {
    let question = format!(
        "SELECT 'pid ' || a.pid || coalesce(' (' || nullif(a.application_name, '') || ')', '') \
         || coalesce(', ' || a.state, '') \
         || coalesce(' for ' || extract(epoch FROM pg_catalog.clock_timestamp() - a.xact_start)::int8 || ' s', '') \
         || coalesce(': ' || nullif(pg_catalog.regexp_replace(a.query, '''[^'']*''', '''…''', 'g'), ''), '') \
         FROM pg_catalog.unnest(pg_catalog.pg_blocking_pids({pid})) b \
         JOIN pg_catalog.pg_stat_activity a ON a.pid = b LIMIT 3"
    );
    let rows = live::first_columns(&client.simple_query(&question).await.ok()?);
    let who: Vec<String> = rows.iter().map(|row| shown(row)).collect();
    (!who.is_empty()).then(|| who.join("; "))
}
