//! Accepting connections until a signal.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use guard::diagnostic::Denial;
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::OwnedSemaphorePermit;

use super::front::Front;
use super::{connection, internal};

/// After a failure to accept, such as too many open files.
const BREATH: Duration = Duration::from_millis(50);

/// The signals that ask the front to end.
#[derive(Debug)]
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Listens from now on: before anybody is told that the front is there.
    ///
    /// # Errors
    /// Says when signals cannot be listened to.
    pub(super) fn listen() -> Result<Self, Denial> {
        let listen =
            |kind| signal(kind).map_err(|error| internal("signals cannot be heard", &error));
        let terminate = listen(SignalKind::terminate())?;
        Ok(Self { terminate, interrupt: listen(SignalKind::interrupt())? })
    }
}

/// Accepts until SIGTERM or SIGINT.
pub(super) async fn accept(listener: &TcpListener, front: &Arc<Front>, signals: &mut Signals) {
    loop {
        tokio::select! {
            biased;
            _ = signals.terminate.recv() => return,
            _ = signals.interrupt.recv() => return,
            next = next(listener, front) => match next {
                Ok((stream, peer, place)) => {
                    let connection = connection::serve(Arc::clone(front), stream, peer, place);
                    let mut work = front.lock_work();
                    work.spawn(connection);
                    // What has ended is forgotten, so that the set stays small.
                    while work.try_join_next().is_some() {}
                }
                Err(_) => tokio::time::sleep(BREATH).await,
            },
        }
    }
}

async fn next(
    listener: &TcpListener,
    front: &Front,
) -> std::io::Result<(TcpStream, IpAddr, OwnedSemaphorePermit)> {
    let place = Arc::clone(&front.places).acquire_owned().await.map_err(std::io::Error::other)?;
    let (stream, peer) = listener.accept().await?;
    stream.set_nodelay(true)?;
    Ok((stream, peer.ip(), place))
}
