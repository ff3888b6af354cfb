//! One run at a time on a database.
//!
//! An advisory lock of the session that migrates: when the client dies, the server frees it. It is
//! tried again and again and never waited for, because a blocking wait is a transaction, and
//! `CREATE INDEX CONCURRENTLY` of the holder would wait for that in turn.

use std::time::{Duration, Instant};

use guard::diagnostic::{Code, Denial};
use tokio_postgres::SimpleQueryMessage;

use crate::limits::Limits;
use crate::live::cell;
use crate::progress::Progress;
use crate::session::GuardedSession;
use crate::sql_error;

/// The key: a number of ours; advisory locks are per database anyway.
const KEY: i64 = 0x736c_6f74_6775_6172;

/// How long between two tries.
const TRY_AGAIN: Duration = Duration::from_millis(200);

/// A condition on `pg_locks` or its function, as `l`: it is the lock of a run on this database, and somebody has it.
///
/// The view shows the locks of every database, and every slot's run takes the same key.
fn is_the_lock() -> String {
    let (high, low) = (KEY >> 32, KEY & 0xffff_ffff);
    format!(
        "l.locktype OPERATOR(pg_catalog.=) 'advisory' AND l.granted \
         AND l.classid OPERATOR(pg_catalog.=) {high}::pg_catalog.oid \
         AND l.objid OPERATOR(pg_catalog.=) {low}::pg_catalog.oid \
         AND l.database OPERATOR(pg_catalog.=) (SELECT d.oid FROM pg_catalog.pg_database d \
             WHERE d.datname OPERATOR(pg_catalog.=) pg_catalog.current_database())"
    )
}

/// A condition that is true while this session holds the lock.
pub(crate) fn is_held() -> String {
    format!(
        "EXISTS (SELECT FROM pg_catalog.pg_lock_status() l WHERE {} \
         AND l.pid OPERATOR(pg_catalog.=) pg_catalog.pg_backend_pid())",
        is_the_lock()
    )
}

/// Takes the lock, trying as long as the limits allow.
///
/// # Errors
/// Refuses when another run holds it to the end, and reports what the server refuses.
pub(crate) async fn take(
    session: &GuardedSession,
    limits: &Limits,
    observer: &mut (dyn FnMut(Progress<'_>) + Send),
) -> Result<(), Denial> {
    let started = Instant::now();
    let patience = Duration::from_secs(limits.other_run.into());
    let question = format!("SELECT pg_catalog.pg_try_advisory_lock({KEY})");
    let mut told = false;
    loop {
        if cell(&ask(session, &question).await?, 0) == Some("t") {
            return Ok(());
        }
        if !told {
            let holder = holder(session).await?;
            observer(Progress::Waiting { holder: &holder });
            told = true;
        }
        if session.stop().is_up() || started.elapsed() >= patience {
            return Err(Denial::new(
                Code::RunLocked,
                "another run on this database does not end",
                holder(session).await?,
                "one run at a time",
            ));
        }
        session.stop().pause(TRY_AGAIN).await;
    }
}

/// Gives the lock back; a connection that broke has done so already.
pub(crate) async fn release(session: &GuardedSession) {
    let _ = ask(session, &format!("SELECT pg_catalog.pg_advisory_unlock({KEY})")).await;
}

/// Says who holds the lock, as far as a slot's role may know.
async fn holder(session: &GuardedSession) -> Result<String, Denial> {
    let question = format!(
        "SELECT 'pid ' || l.pid || coalesce(', ' || nullif(a.application_name, ''), '') \
         || coalesce(', since ' || pg_catalog.to_char(\
             a.backend_start AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"'), '') \
         FROM pg_catalog.pg_locks l LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid \
         WHERE {} LIMIT 1",
        is_the_lock()
    );
    let answer = ask(session, &question).await?;
    Ok(cell(&answer, 0).unwrap_or("a run that just ended").to_owned())
}

async fn ask(session: &GuardedSession, question: &str) -> Result<Vec<SimpleQueryMessage>, Denial> {
    let answer = session.client().simple_query(question).await;
    answer.map_err(|error| sql_error::lost("the lock of the run", &error))
}
