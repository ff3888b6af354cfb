//! One client from its first byte to its last.

use std::cell::Cell;
use std::future::{Future as _, poll_fn};
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::{Duration, Instant};

use guard::diagnostic::{Code, Denial};
use serde::Serialize;
use slot_runtime::lease::Generation;
use tokio::io::AsyncWriteExt as _;
use tokio::sync::watch;

use crate::audit::{Audit, Kind};
use crate::cancel::Registered;
use crate::counters::{Standing, add};
use crate::door::Closed;
use crate::exchange::Exchange;
use crate::handshake::{CancelKey, Handshake, Refusal, Startup, Step};
use crate::message::{fatal, message, sqlstate};
use crate::peer::Peer;
use crate::pump::{Ended, Pump, Until};
use crate::sidecar::{Gate, Permit, Sidecar};
use crate::stream::Stream;
use crate::upstream::{Failure, LoggedIn, Owner};

/// How long a client may take to log in.
const STARTUP: Duration = Duration::from_secs(10);

/// How long a session may take to come to the end of its transaction when the sidecar stops.
const GRACE: Duration = Duration::from_secs(15);

/// How long the end of a message is waited for.
const MESSAGE: Duration = Duration::from_secs(1);

/// Events of the audit that one session may cause; what comes after them is only counted.
const MOST_AUDITED: u32 = 50;

/// Serves one client.
pub(crate) async fn serve(
    sidecar: Rc<Sidecar>,
    stream: Stream,
    peer: Peer,
    waiting: Rc<Cell<u16>>,
) {
    // Boxed, so that an idle session does not keep the memory of its start.
    if let Some(session) = Box::pin(begin(&sidecar, stream, &peer, &waiting)).await {
        // Boxed, so that it is not held twice.
        Box::new(session).run(&sidecar, &peer).await;
    }
}

/// A session that is open.
struct Session {
    // Dropped in this order: a key is never valid for a socket that is gone.
    registered: Registered,
    pump: Pump,
    lease: Option<Generation>,
    _permit: Permit,
}

#[derive(Serialize)]
struct Opened<'a> {
    peer: &'a Peer,
    application_name: Option<String>,
}

#[derive(Serialize)]
struct Audited<'a> {
    peer: &'a Peer,
    kind: Kind,
}

#[derive(Serialize)]
struct Finished<'a> {
    peer: &'a Peer,
    ended_by: &'static str,
    duration_ms: u128,
    bytes_to_server: u64,
    bytes_to_client: u64,
}

/// Why a client gets no session.
enum NoSession {
    /// It went away, or wanted none.
    Left,
    /// It is told why.
    Refused(Box<Farewell>),
}

/// What a refused client is told.
struct Farewell {
    stream: Stream,
    words: Vec<u8>,
    denial: Denial,
}

impl NoSession {
    fn refused(stream: Stream, denial: Denial) -> Self {
        Self::of_refusal(stream, &Refusal::postgres(denial))
    }

    fn of_refusal(stream: Stream, refusal: &Refusal) -> Self {
        Self::said(stream, refusal.bytes(), refusal.denial().clone())
    }

    fn said(stream: Stream, words: Vec<u8>, denial: Denial) -> Self {
        Self::Refused(Box::new(Farewell { stream, words, denial }))
    }
}

async fn begin(
    sidecar: &Rc<Sidecar>,
    stream: Stream,
    peer: &Peer,
    waiting: &Rc<Cell<u16>>,
) -> Option<Session> {
    let outcome = match sidecar.take_waiting(waiting) {
        Ok(_counted) => admit(sidecar, stream, peer).await,
        Err(denial) => Err(NoSession::refused(stream, denial)),
    };
    match outcome {
        Ok((session, application_name)) => {
            add(&sidecar.counters.sessions, 1);
            let opened = Opened { peer, application_name };
            sidecar.events.say("session.opened", &format!("opened for {peer}"), opened);
            Some(session)
        }
        Err(NoSession::Left) => None,
        Err(NoSession::Refused(farewell)) => {
            let Farewell { stream, words, denial } = *farewell;
            add(&sidecar.counters.refused, 1);
            sidecar.events.refused(peer, &denial);
            stream.end_with(&words).await;
            None
        }
    }
}

/// Takes a client through its start; nothing reaches the server before the verdict.
async fn admit(
    sidecar: &Rc<Sidecar>,
    mut stream: Stream,
    peer: &Peer,
) -> Result<(Session, Option<String>), NoSession> {
    let deadline = tokio::time::Instant::now() + STARTUP;
    let verdict = tokio::time::timeout_at(deadline, handshake(sidecar, &mut stream)).await;
    let (startup, said) = match verdict {
        Ok(Ok((Step::Start(startup), said))) => (startup, said),
        Ok(Ok((Step::Cancel(key), _))) => {
            cancel(sidecar, peer, &key).await;
            return Err(NoSession::Left);
        }
        Ok(Ok((Step::Refuse(refusal), _))) => return Err(NoSession::of_refusal(stream, &refusal)),
        Ok(Ok((Step::Wait | Step::Answer(_), _)) | Err(_)) => return Err(NoSession::Left),
        Err(_) => return Err(NoSession::refused(stream, late())),
    };
    let lease = match peer.require_own_user().and_then(|()| sidecar.lease()) {
        Ok(lease) => lease,
        Err(denial) => return Err(NoSession::refused(stream, denial)),
    };
    let Startup { message: for_server, negotiation, application_name } = startup;
    let mut exchange = Exchange::new(stream, said);
    let proof = prove(sidecar, peer, &mut exchange, negotiation);
    match tokio::time::timeout_at(deadline, proof).await {
        Ok(Ok(())) => {}
        Ok(Err(Closed::Left)) => return Err(NoSession::Left),
        Ok(Err(Closed::Refused(denial))) => {
            return Err(NoSession::refused(exchange.into_parts().0, denial));
        }
        Ok(Err(Closed::Former(began))) => {
            return Err(NoSession::refused(exchange.into_parts().0, sidecar.over(began)));
        }
        Err(_) => return Err(NoSession::refused(exchange.into_parts().0, late())),
    }
    let session = connect(sidecar, peer, exchange, &for_server, lease).await?;
    Ok((session, application_name))
}

/// Feeds the state machine until its verdict; what was read beyond it belongs to the session.
async fn handshake(sidecar: &Sidecar, stream: &mut Stream) -> io::Result<(Step, Vec<u8>)> {
    let mut handshake = Handshake::default();
    loop {
        let mut bytes = stream.read_some().await?;
        if bytes.is_empty() {
            return Ok((Step::Wait, bytes));
        }
        loop {
            let (taken, step) = handshake.advance(&bytes, &sidecar.rules());
            bytes.drain(..taken);
            match step {
                Step::Wait => break,
                Step::Answer(answer) => stream.write_all(answer).await?,
                verdict => return Ok((verdict, bytes)),
            }
        }
    }
}

async fn cancel(sidecar: &Sidecar, peer: &Peer, key: &CancelKey) {
    let server = peer.require_own_user().ok().and_then(|()| sidecar.cancels.find(key));
    let Some(server) = server else {
        add(&sidecar.counters.unknown_cancels, 1);
        return;
    };
    add(&sidecar.counters.cancels, 1);
    sidecar.upstream.cancel(&sidecar.settings, &server).await;
}

/// On the Unix socket the kernel has said who it is; on TCP the client proves the password.
async fn prove(
    sidecar: &Sidecar,
    peer: &Peer,
    exchange: &mut Exchange,
    negotiation: Option<Vec<u8>>,
) -> Result<(), Closed> {
    if let Some(words) = negotiation {
        exchange.send(&words).await.map_err(|_| Closed::Left)?;
    }
    match peer {
        Peer::Process { .. } => Ok(()),
        Peer::Address(_) => sidecar.door.admit(exchange).await,
    }
}

/// Opens the session at the server and tells the client of it, with a key of our own.
async fn connect(
    sidecar: &Rc<Sidecar>,
    peer: &Peer,
    client: Exchange,
    for_server: &[u8],
    lease: Option<Generation>,
) -> Result<Session, NoSession> {
    let (mut stream, said) = client.into_parts();
    let refused = |stream, denial| Err(NoSession::refused(stream, denial));
    let permit = match sidecar.take_session() {
        Ok(permit) => permit,
        Err(denial) => return refused(stream, denial),
    };
    let login = sidecar.upstream.login(&sidecar.settings, for_server, Owner::AsProved).await;
    let LoggedIn { exchange, told, key, minor, .. } = match login {
        Ok(login) => login,
        Err(Failure::Denied(denial)) => return refused(stream, denial),
        Err(Failure::Said(words)) => {
            let bytes = words.bytes.clone();
            let denial = Failure::Said(words).into_denial(&sidecar.settings);
            return Err(NoSession::said(stream, bytes, denial));
        }
    };
    if let Some(minor) = minor {
        return refused(stream, another_server(sidecar, minor));
    }
    let registered = match sidecar.cancels.register(key) {
        Ok(registered) => registered,
        Err(error) => {
            let message = "the system has no random numbers";
            let found = error.to_string();
            return refused(stream, Denial::new(Code::Internal, message, found, "random numbers"));
        }
    };
    let CancelKey { process, secret } = registered.key();
    let key = message(b'K', &[&process.to_be_bytes()[..], secret].concat());
    let words = [message(b'R', &[0; 4]), told.before_key, key, told.behind_key].concat();
    if stream.write_all(&words).await.is_err() {
        return Err(NoSession::Left);
    }
    let (server, more) = exchange.into_parts();
    let pump = Pump::new(stream, server, said, more, audit(sidecar, peer));
    Ok(Session { registered, pump, lease, _permit: permit })
}

/// Begins the audit of a session, where one is wanted.
fn audit(sidecar: &Rc<Sidecar>, peer: &Peer) -> Option<Box<Audit>> {
    if !sidecar.settings.audit {
        return None;
    }
    let (sidecar, peer, mut left) = (Rc::clone(sidecar), peer.clone(), MOST_AUDITED);
    Some(Box::new(Audit::new(Box::new(move |kind| {
        add(&sidecar.counters.audited, 1);
        if left > 0 {
            left -= 1;
            let people = format!("{kind:?} seen of {peer}");
            sidecar.events.say("session.audit", &people, Audited { peer: &peer, kind });
        }
    }))))
}

impl Session {
    async fn run(mut self: Box<Self>, sidecar: &Rc<Sidecar>, peer: &Peer) {
        let started = Instant::now();
        let lease = self.lease;
        let ended = match self.run_while_admitted(sidecar.watch_gate()).await {
            Some(ended) => ended,
            // Boxed like every end, which no session that goes on has to make room for.
            None => Box::pin(self.wind_up(sidecar)).await,
        };
        let (to_server, to_client) = self.pump.totals();
        let can_be_told = self.pump.at_boundary();
        let Self { registered, pump, _permit, .. } = *self;
        drop(registered);
        let (client, server) = pump.into_parts();
        drop(server);
        let ended_by = match ended {
            Ended::Client => "client",
            Ended::Server => {
                Box::pin(client.end_with(&[])).await;
                "server"
            }
            Ended::Reached => {
                let denial = sidecar.closed().unwrap_or_else(|| sidecar.over(lease));
                let words = can_be_told.then(|| fatal(sqlstate::ADMIN_SHUTDOWN, &denial));
                Box::pin(client.end_with(&words.unwrap_or_default())).await;
                "sidecar"
            }
        };
        add(&sidecar.counters.bytes_to_server, to_server);
        add(&sidecar.counters.bytes_to_client, to_client);
        let finished = Finished {
            peer,
            ended_by,
            duration_ms: started.elapsed().as_millis(),
            bytes_to_server: to_server,
            bytes_to_client: to_client,
        };
        sidecar.events.say("session.closed", &format!("closed for {peer}"), finished);
    }

    /// Moves bytes until one side ends; `None` when the session is admitted no longer.
    async fn run_while_admitted(&mut self, mut gate: watch::Receiver<Gate>) -> Option<Ended> {
        // This one only tells that something changed, which costs less than to wait for it anew at
        // every message.
        let mut glance = gate.clone();
        while gate.has_changed().is_ok() && gate.borrow_and_update().admits(self.lease) {
            glance.mark_unchanged();
            let mut change = pin!(gate.changed());
            let mut is_first = true;
            let ended = poll_fn(|context| {
                if let Poll::Ready(ended) = self.pump.poll_end(context) {
                    return Poll::Ready(Some(ended));
                }
                let is_told = if std::mem::take(&mut is_first) {
                    // Asked once, it wakes this task by itself.
                    change.as_mut().poll(context).is_ready()
                } else {
                    glance.has_changed().unwrap_or(true)
                };
                if is_told { Poll::Ready(None) } else { Poll::Pending }
            });
            if let Some(ended) = ended.await {
                return Some(ended);
            }
        }
        None
    }

    /// Goes on until the session can be ended well, but not for ever.
    async fn wind_up(&mut self, sidecar: &Sidecar) -> Ended {
        if sidecar.standing() == Standing::Draining
            && let Ok(ended) = tokio::time::timeout(GRACE, self.pump.run(Until::Idle)).await
        {
            return ended;
        }
        // What still runs at the server shall not outlive its session.
        if let Some(key) = self.registered.server() {
            let cancelled = sidecar.upstream.cancel(&sidecar.settings, &key);
            let _ = tokio::time::timeout(MESSAGE, cancelled).await;
        }
        let boundary = tokio::time::timeout(MESSAGE, self.pump.run(Until::Boundary)).await;
        boundary.unwrap_or(Ended::Reached)
    }
}

fn late() -> Denial {
    let (found, expected) = ("no login within 10 seconds", "a login at once");
    let message = "the client takes too long to log in";
    Denial::new(Code::WireLate, message, found, expected)
}

fn another_server(sidecar: &Sidecar, minor: u16) -> Denial {
    let message = format!("the server of {} speaks another protocol", sidecar.settings.slot);
    let found = format!("protocol 3.{minor}");
    Denial::new(Code::WireUpstream, message, found, "the protocol that it spoke before")
}
