//! The program's life: confirm, listen, serve, stop.

use std::cell::Cell;
use std::os::unix::net::UnixDatagram;
use std::rc::Rc;
use std::time::Duration;

use guard::diagnostic::{Code, Denial};
use guard::environment::Environment;
use guard::io::LoadedConfig;
use rustix::process::{DumpableBehavior, Resource, Rlimit};
use serde::Serialize;
use slot_runtime::lease::EmbeddedStore;
use step_report::console::Console;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, UnixListener};
use tokio::runtime::LocalOptions;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::door::Door;
use crate::events::Events;
use crate::identity::{self, Doubt};
use crate::peer::Peer;
use crate::place::Place;
use crate::session;
use crate::settings::Settings;
use crate::sidecar::Sidecar;
use crate::stream::Stream;
use crate::upstream::Upstream;

/// How long sessions may take to end when the sidecar stops.
const DRAIN: Duration = Duration::from_secs(20);

/// How often it is looked whether they have.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// How long to wait when the system has no descriptor left.
const EXHAUSTED: Duration = Duration::from_millis(100);

/// How often it is looked who holds the slot.
const LEASE: Duration = Duration::from_secs(1);

/// Questions that may stay unanswered before the server counts as another one.
const MOST_UNANSWERED: u32 = 3;

#[derive(Serialize)]
struct Ready {
    port: u16,
    socket: String,
    server: String,
    most_sessions: u16,
}

/// Serves a slot until a signal comes.
///
/// # Errors
/// Refuses when the server is not confirmed, and when the slot's sockets cannot be made.
pub(crate) fn run(
    console: &Rc<Console>,
    settings: Settings,
    loaded: LoadedConfig,
    environment: &Environment,
) -> Result<(), Denial> {
    keep_memory_private()?;
    allow_descriptors();
    // Not a `LocalSet`: that one asks this very future, signals and all, at every message of a session.
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().build_local(LocalOptions::default());
    let runtime = runtime.map_err(|error| internal("the runtime cannot start", &error))?;
    runtime.block_on(serve(console, settings, loaded, environment))
}

async fn serve(
    console: &Rc<Console>,
    settings: Settings,
    loaded: LoadedConfig,
    environment: &Environment,
) -> Result<(), Denial> {
    let mut stop = Stop::listen()?;
    let place = Rc::new(Place::open(settings.slot, &loaded.config)?);
    // Who has the port is the slot's only sidecar, and may write what lies in its directory.
    let tcp = place.listen_tcp()?;
    // What a killed one left must not be taken for this start's.
    place.clear();
    let upstream = Upstream::default();
    let confirmed = tokio::select! {
        confirmed = identity::confirm(&settings, &loaded, &upstream) => {
            confirmed.map_err(Doubt::into_denial)?
        }
        () = stop.came() => return Ok(()),
    };
    let leases = EmbeddedStore::new(&loaded.config.roots);
    let door = Door::new(None)?;
    place.write_secret(door.secret())?;
    let (unix, control) = (place.listen_unix()?, place.listen_control()?);
    let ready = Ready {
        port: settings.slot.sidecar_port(),
        socket: place.socket().display().to_string(),
        server: settings.server.to_string(),
        most_sessions: settings.most_sessions,
    };
    let people = format!("serving 127.0.0.1:{} and {}", ready.port, ready.socket);
    let events = Events::new(Rc::clone(console), settings.slot);
    let sidecar = Rc::new(Sidecar::new(settings, upstream, confirmed, door, leases, events));
    sidecar.look_at_lease();
    for task in [
        tokio::task::spawn_local(accept_tcp(Rc::clone(&sidecar), tcp)),
        tokio::task::spawn_local(accept_unix(Rc::clone(&sidecar), unix)),
        tokio::task::spawn_local(answer(Rc::clone(&sidecar), Rc::clone(&place), control)),
        tokio::task::spawn_local(confirm_again(Rc::clone(&sidecar), loaded)),
        tokio::task::spawn_local(look_at_lease(Rc::clone(&sidecar))),
    ] {
        // They end with the program.
        drop(task);
    }
    sidecar.events.say("sidecar.ready", &people, ready);
    notify_ready(environment);

    stop.came().await;
    sidecar.drain();
    tokio::select! {
        () = until_empty(&sidecar) => {}
        () = stop.came() => {}
    }
    place.clear();
    sidecar.events.say("sidecar.stopped", "stopped", Nothing {});
    Ok(())
}

/// An event without details.
#[derive(Serialize)]
pub(crate) struct Nothing {}

async fn accept_tcp(sidecar: Rc<Sidecar>, listener: TcpListener) {
    let waiting = Rc::<Cell<u16>>::default();
    loop {
        match listener.accept().await.and_then(|(stream, from)| Ok((Stream::tcp(stream)?, from))) {
            Ok((stream, from)) => welcome(&sidecar, stream, Peer::Address(from), &waiting),
            Err(_) => tokio::time::sleep(EXHAUSTED).await,
        }
    }
}

async fn accept_unix(sidecar: Rc<Sidecar>, listener: UnixListener) {
    let waiting = Rc::<Cell<u16>>::default();
    loop {
        let accepted = listener.accept().await.and_then(|(stream, _)| {
            let peer = Peer::of_process(stream.peer_cred()?);
            Ok((Stream::Unix(stream), peer))
        });
        match accepted {
            Ok((stream, peer)) => welcome(&sidecar, stream, peer, &waiting),
            Err(_) => tokio::time::sleep(EXHAUSTED).await,
        }
    }
}

/// Clients of one kind of socket cannot keep out those of the other.
fn welcome(sidecar: &Rc<Sidecar>, stream: Stream, peer: Peer, waiting: &Rc<Cell<u16>>) {
    let task = session::serve(Rc::clone(sidecar), stream, peer, Rc::clone(waiting));
    tokio::task::spawn_local(task);
}

/// Says how the sidecar stands to whoever of our own user connects.
async fn answer(sidecar: Rc<Sidecar>, place: Rc<Place>, listener: UnixListener) {
    loop {
        let Ok((mut stream, _)) = listener.accept().await else {
            tokio::time::sleep(EXHAUSTED).await;
            continue;
        };
        let status = sidecar.status(place.socket().display().to_string());
        let text = serde_json::to_vec(&status).unwrap_or_default();
        // Smaller than a socket's buffer, so nobody can keep us waiting.
        let _ = tokio::time::timeout(EXHAUSTED, stream.write_all(&text)).await;
    }
}

/// Asks again and again who the server is, and acts on the answer.
async fn confirm_again(sidecar: Rc<Sidecar>, loaded: LoadedConfig) {
    let mut unanswered = 0;
    loop {
        tokio::time::sleep(sidecar.settings.confirm_every).await;
        match identity::confirm(&sidecar.settings, &loaded, &sidecar.upstream).await {
            Ok(confirmed) => {
                unanswered = 0;
                sidecar.confirmed(confirmed);
            }
            Err(Doubt::Mismatch(denial)) => sidecar.doubted(&denial),
            Err(Doubt::Unanswered(denial)) => {
                unanswered += 1;
                if unanswered >= MOST_UNANSWERED {
                    sidecar.doubted(&denial);
                } else {
                    sidecar.events.say("sidecar.unanswered", &denial.to_string(), &denial);
                }
            }
        }
    }
}

/// Sees a lease that ended; a session that begins is judged by a look of its own.
async fn look_at_lease(sidecar: Rc<Sidecar>) {
    loop {
        tokio::time::sleep(LEASE).await;
        sidecar.look_at_lease();
    }
}

async fn until_empty(sidecar: &Sidecar) {
    let empty = async {
        while !sidecar.is_empty() {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        // The last words of the last session are on their way.
        tokio::time::sleep(LOOK_AGAIN).await;
    };
    let _ = tokio::time::timeout(DRAIN, empty).await;
}

/// The signals that end the program.
struct Stop {
    terminate: Signal,
    interrupt: Signal,
}

impl Stop {
    fn listen() -> Result<Self, Denial> {
        let listen = |kind| signal(kind).map_err(|error| internal("no signal can be had", &error));
        let (terminate, interrupt) = (SignalKind::terminate(), SignalKind::interrupt());
        Ok(Self { terminate: listen(terminate)?, interrupt: listen(interrupt)? })
    }

    async fn came(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// A process of the same user could otherwise read the keys out of this one's memory.
fn keep_memory_private() -> Result<(), Denial> {
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .map_err(|error| internal("the memory cannot be kept private", &error.into()))
}

/// Every session has two descriptors, and the usual limit is that of a small program.
fn allow_descriptors() {
    let limit = rustix::process::getrlimit(Resource::Nofile);
    // Without it there are fewer sessions, which is said when there are.
    let _ = rustix::process::setrlimit(
        Resource::Nofile,
        Rlimit { current: limit.maximum, maximum: limit.maximum },
    );
}

/// Tells the service manager, if one waits for it.
fn notify_ready(environment: &Environment) {
    use std::os::linux::net::SocketAddrExt as _;
    use std::os::unix::ffi::OsStrExt as _;
    use std::os::unix::net::SocketAddr;

    let Some(name) = environment.value("NOTIFY_SOCKET") else { return };
    let address = match name.strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name),
        None => SocketAddr::from_pathname(std::ffi::OsStr::from_bytes(name)),
    };
    let told =
        address.and_then(|address| UnixDatagram::unbound()?.send_to_addr(b"READY=1", &address));
    if let Err(error) = told {
        tracing::warn!(%error, "the service manager cannot be told");
    }
}

fn internal(message: &str, error: &std::io::Error) -> Denial {
    Denial::new(Code::Internal, message, error.to_string(), "a usual Linux")
}
