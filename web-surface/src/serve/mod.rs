//! Serving: one listener, one release at a time, one backend.

mod access_log;
mod api;
mod body;
mod connection;
mod front;
mod headers;
mod limits;
mod listener;
mod negotiate;
mod owner;
mod page;
mod pool;
mod ready;
mod refusal;
mod stopping;
mod upgrade;
mod watch;

use std::net::Ipv4Addr;
use std::sync::Arc;

use guard::diagnostic::{Code, Denial};
use guard::route::Hosts;
use guard::slot::SlotId;
use slot_runtime::lifecycle::Owner;
use step_report::console::{Console, Format};
use step_report::event::Event;
use tokio::net::TcpListener;

use crate::release::{Release, WebRoot};
use access_log::AccessLog;
use front::Front;
use headers::Own;
use hyper::HeaderMap;
use listener::Signals;
use watch::Shelf;

/// The name that events carry.
const PROGRAM: &str = "web-surface";

/// What a front is made of.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) slot: SlotId,
    pub(crate) hosts: Hosts,
    /// Whose the listener on the backend port is.
    pub(crate) owner: Owner,
    pub(crate) root: WebRoot,
    pub(crate) access_log: bool,
    /// Where the service manager waits to hear that the front is ready.
    pub(crate) ready_socket: Option<Vec<u8>>,
}

/// Serves until a signal, then lets open requests end.
///
/// # Errors
/// Refuses a release that cannot be served and a port that cannot be used.
pub(crate) fn run(console: &Console, settings: Settings) -> Result<(), Denial> {
    let published = settings.root.look()?;
    let mut common = HeaderMap::new();
    Own::of(settings.slot).mark(&mut common);
    let release = Release::load(&published, &common)?;
    let shelf = Arc::new(Shelf::new(&published, release, common));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| internal("the runtime cannot start", &error))?;
    let served = runtime.block_on(serve(console, settings, shelf));
    // A file that is still being read must not keep the process.
    runtime.shutdown_background();
    served
}

async fn serve(console: &Console, settings: Settings, shelf: Arc<Shelf>) -> Result<(), Denial> {
    let Settings { slot, hosts, owner, root, access_log, ready_socket } = settings;
    let mut signals = Signals::listen()?;
    let listener = bind(slot).await?;
    say(console, slot, "web.started", &shelf.release());
    let log = access_log.then(|| AccessLog::start(slot, console.format()));
    let front = Arc::new(Front::new(slot, hosts, owner, Arc::clone(&shelf), log));
    ready::tell(ready_socket.as_deref(), "READY=1\n");
    let watching = watch::follow(console, slot, &root, &shelf);
    tokio::select! {
        () = watching => {}
        () = listener::accept(&listener, &front, &mut signals) => {}
    }
    drop(listener);
    ready::tell(ready_socket.as_deref(), "STOPPING=1\n");
    let left = front.drain().await;
    if let Some(log) = front.take_log() {
        log.finish();
    }
    stopped(console, slot, left);
    Ok(())
}

async fn bind(slot: SlotId) -> Result<TcpListener, Denial> {
    let address = (Ipv4Addr::LOCALHOST, slot.frontend_port());
    TcpListener::bind(address).await.map_err(|error| {
        Denial::new(
            Code::FrontendPort,
            format!("the frontend port of {slot} cannot be used"),
            format!("127.0.0.1:{}: {error}", slot.frontend_port()),
            "a free port",
        )
    })
}

fn internal(message: &str, error: &std::io::Error) -> Denial {
    Denial::new(Code::Internal, message, error.to_string(), "an answer of the system")
}

/// Says that a release is served.
fn say(console: &Console, slot: SlotId, event: &str, release: &Release) {
    let name = release.name();
    match console.format() {
        Format::Json => {
            let details = serde_json::json!({
                "release": name,
                "files": release.len(),
                "address": format!("127.0.0.1:{}", slot.frontend_port()),
                "upstream": format!("127.0.0.1:{}", slot.backend_port()),
            });
            console.object(&Event::now(PROGRAM, slot, event, details));
        }
        Format::Human => console.line(&format!(
            "{slot}: http://127.0.0.1:{} serves {} ({} files), /api from 127.0.0.1:{}",
            slot.frontend_port(),
            name.map_or_else(|| "the directory".to_owned(), |name| format!("release {name}")),
            release.len(),
            slot.backend_port(),
        )),
    }
}

fn stopped(console: &Console, slot: SlotId, cut: usize) {
    match console.format() {
        Format::Json => {
            let details = serde_json::json!({ "cut": cut });
            console.object(&Event::now(PROGRAM, slot, "web.stopped", details));
        }
        Format::Human => console.line(&format!("{slot}: stopped, {cut} connections cut")),
    }
}
