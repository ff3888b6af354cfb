//! A second session that stops a statement for a look, and lets it go on.
//!
//! It holds locks in a transaction before the statement is sent, asks again and again whether the
//! statement waits, reads then which locks it has and asks for, and gives up one lock after the
//! other. It waits for nothing itself, so there is no deadlock. Whatever is not as expected, it lets
//! go: the statement goes on, and its locks count as not seen. The server ends it when it is not
//! heard of, so that it never stays in the way.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use tokio_postgres::{Client, SimpleQueryMessage, SimpleQueryRow};

use super::record::Mode;
use super::stages::{Stage, Stop, Unseen};
use crate::live::rows;
use crate::session::{GuardedSession, beginning};
use crate::sql_error;

/// What the session is called in the server's list.
const NAME: &str = "slotguard-trace";

/// How long between two looks.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// How long a statement may take from one place to the next.
const PATIENCE: Duration = Duration::from_secs(10);

/// How often a lock that somebody has is tried, such as an autovacuum.
const TRIES: u32 = 20;

/// How long between two tries.
const TRY_AGAIN: Duration = Duration::from_millis(50);

/// How long the end of the transaction may take.
const FAREWELL: Duration = Duration::from_secs(2);

/// With a shorter lock timeout the statement might give up before it is let go.
const SHORTEST_LOCK_TIMEOUT: Duration = Duration::from_secs(1);

/// The longest time without a word from us.
const LONGEST_SILENCE: Duration = Duration::from_secs(1);

/// What was seen of one statement.
#[derive(Debug, Default)]
pub(super) struct Sight {
    /// The modes that it had or asked for, by relation.
    pub(super) modes: BTreeMap<u32, BTreeSet<Mode>>,
    /// Why some are missing.
    pub(super) unseen: Option<Unseen>,
    /// How long it stood still for us.
    pub(super) stopped: Duration,
}

/// The session, with the places that are still to come.
pub(super) struct Witness {
    client: Client,
    stages: Vec<Stage>,
    at: usize,
    sight: Sight,
}

impl Witness {
    /// Takes every place, with what the statement's session waits for a lock at most; zero is
    /// without end.
    ///
    /// # Errors
    /// Says why it cannot; nothing is held then.
    pub(super) async fn take(
        session: &GuardedSession,
        stages: Vec<Stage>,
        lock_timeout: Duration,
    ) -> Result<Self, Unseen> {
        let silence = silence(lock_timeout).ok_or(Unseen::NoTime)?;
        let client = session.another().await.map_err(|_| Unseen::NotHeld)?;
        let settings = format!(
            "SET application_name = '{NAME}'; SET search_path = pg_catalog; \
             SET default_transaction_isolation = 'read committed'; \
             SET statement_timeout = {silence}; \
             SET idle_in_transaction_session_timeout = {silence}",
            silence = silence.as_millis()
        );
        client.batch_execute(&settings).await.map_err(|_| Unseen::NotHeld)?;
        for _ in 0..TRIES {
            let answer = client.simple_query(&beginning("NULL")).await;
            let answer = answer.map_err(|_| Unseen::NotHeld)?;
            session.begun(&answer).map_err(|_| Unseen::NotHeld)?;
            match client.batch_execute(&locks(&stages)).await {
                Ok(()) => return Ok(Self { client, stages, at: 0, sight: Sight::default() }),
                Err(error) if !sql_error::is_lock_timeout(&error) => break,
                Err(_) => {}
            }
            client.batch_execute("ROLLBACK").await.map_err(|_| Unseen::NotHeld)?;
            tokio::time::sleep(TRY_AGAIN).await;
        }
        Err(Unseen::NotHeld)
    }

    /// Runs a statement of the session with this server process, and returns beside its outcome
    /// what was seen of it. Nothing is held afterwards.
    pub(super) async fn over<T>(
        mut self,
        pid: i32,
        statement: impl Future<Output = T>,
    ) -> (T, Sight) {
        let mut statement = std::pin::pin!(statement);
        let early = tokio::select! {
            biased;
            done = statement.as_mut() => Some(done),
            () = self.follow(pid) => None,
        };
        self.let_go().await;
        let done = match early {
            Some(done) => done,
            None => statement.await,
        };
        (done, self.sight)
    }

    /// Follows the statement from one place to the next.
    async fn follow(&mut self, pid: i32) {
        let mut since = Instant::now();
        while let Some(stage) = self.stages.get(self.at) {
            if since.elapsed() > PATIENCE {
                self.sight.unseen = Some(Unseen::Late);
                return;
            }
            let Ok(answer) = self.client.simple_query(&question(pid)).await else {
                self.sight.unseen = Some(Unseen::Lost);
                return;
            };
            let answered = Instant::now();
            let Some(waited) = stopped(&answer, stage) else {
                tokio::time::sleep(LOOK_AGAIN).await;
                continue;
            };
            self.note(&answer);
            // What was taken behind the savepoint is given back with it.
            let pass = format!("ROLLBACK TO SAVEPOINT s{}", self.at);
            if self.client.batch_execute(&pass).await.is_err() {
                self.sight.unseen = Some(Unseen::Lost);
                return;
            }
            self.at += 1;
            self.sight.stopped += waited + answered.elapsed();
            since = Instant::now();
        }
    }

    fn note(&mut self, answer: &[SimpleQueryMessage]) {
        for row in rows(answer) {
            if let (Ok(number), Some(mode)) = (text(row, 0).parse(), Mode::parse(text(row, 1))) {
                self.sight.modes.entry(number).or_default().insert(mode);
            }
        }
    }

    /// Ends the transaction. If it had ended before, a lock may have been taken unseen.
    async fn let_go(&mut self) {
        let ended = tokio::time::timeout(FAREWELL, self.client.batch_execute("ROLLBACK")).await;
        if !matches!(ended, Ok(Ok(()))) {
            self.sight.unseen = self.sight.unseen.or(Some(Unseen::Lost));
        }
    }
}

/// Returns how long the server waits for our next word; `None` when there is no time for any.
fn silence(lock_timeout: Duration) -> Option<Duration> {
    if lock_timeout.is_zero() {
        return Some(LONGEST_SILENCE);
    }
    (lock_timeout >= SHORTEST_LOCK_TIMEOUT).then(|| (lock_timeout / 4).min(LONGEST_SILENCE))
}

/// The last place is taken first, so that the first one is given up first. Whoever has to queue for
/// a lock makes others queue, so nothing is waited for.
fn locks(stages: &[Stage]) -> String {
    let lock = |(at, stage): (usize, &Stage)| {
        let Stage { name, hold, .. } = stage;
        format!("SAVEPOINT s{at}; LOCK TABLE ONLY {name} IN {} MODE NOWAIT", hold.name())
    };
    stages.iter().enumerate().rev().map(lock).collect::<Vec<_>>().join("; ")
}

fn question(pid: i32) -> String {
    format!(
        "SELECT l.relation::int8, l.mode, l.granted, l.locktype, \
         (extract(epoch FROM clock_timestamp() - l.waitstart) * 1000)::int8 \
         FROM pg_lock_status() l WHERE l.pid = {pid} AND l.locktype IN ('relation', 'virtualxid')"
    )
}

/// Returns for how long the statement has stood still at a place; `None` when it does not.
fn stopped(answer: &[SimpleQueryMessage], stage: &Stage) -> Option<Duration> {
    let number = stage.number.to_string();
    let stands = |row: &&SimpleQueryRow| {
        let (is_granted, kind) = (text(row, 2) == "t", text(row, 3));
        let is_here = match stage.stop {
            Stop::Asks => kind == "relation" && text(row, 0) == number,
            Stop::WaitsForEnd => kind == "virtualxid",
        };
        is_here && !is_granted
    };
    let row = rows(answer).find(stands)?;
    Some(Duration::from_millis(text(row, 4).parse().unwrap_or_default()))
}

fn text(row: &SimpleQueryRow, index: usize) -> &str {
    row.try_get(index).ok().flatten().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_is_let_go_well_before_it_gives_up() {
        let ms = Duration::from_millis;
        assert_eq!(silence(ms(0)), Some(ms(1000)));
        assert_eq!(silence(ms(5000)), Some(ms(1000)));
        assert_eq!(silence(ms(1000)), Some(ms(250)));
        assert_eq!(silence(ms(999)), None);
    }

    #[test]
    fn what_is_met_first_is_given_up_first() {
        let stage = |name: &str, hold| {
            let name = name.to_owned();
            Stage { number: 1, name, hold, stop: Stop::Asks }
        };
        let stages = [stage("a", Mode::ShareUpdateExclusive), stage("b", Mode::AccessShare)];
        assert_eq!(
            locks(&stages),
            "SAVEPOINT s1; LOCK TABLE ONLY b IN ACCESS SHARE MODE NOWAIT; \
             SAVEPOINT s0; LOCK TABLE ONLY a IN SHARE UPDATE EXCLUSIVE MODE NOWAIT"
        );
    }
}
