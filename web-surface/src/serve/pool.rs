//! Connections to the one backend of the slot.
//!
//! The address is a function of the slot, and who accepts there must be its backend. A connection
//! that was used is kept for a moment; one that fails is never replaced once a byte of a request was
//! sent on it.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use guard::slot::SlotId;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use slot_runtime::lifecycle::Owner;
use tokio::net::TcpStream;

use super::body::RequestBody;
use super::limits;
use super::owner::Watch;

/// The backend of one slot.
#[derive(Debug)]
pub(super) struct Pool {
    address: SocketAddr,
    watch: Watch,
    kept: Mutex<Vec<Kept>>,
}

#[derive(Debug)]
struct Kept {
    sender: SendRequest<RequestBody>,
    since: Instant,
}

/// Why there is no new connection.
#[derive(Debug)]
pub(super) enum Failure {
    /// The system's error, or that it took too long.
    Connection(std::io::Error),
    /// Somebody else accepted it.
    Foreign,
}

/// A connection in use.
#[derive(Debug)]
pub(super) struct Lease {
    pub(super) sender: SendRequest<RequestBody>,
    pool: Arc<Pool>,
}

impl Lease {
    /// Keeps the connection for the next request.
    pub(super) fn give_back(self) {
        let Self { sender, pool } = self;
        let mut kept = pool.lock();
        if !sender.is_closed() && kept.len() < limits::IDLE_UPSTREAM {
            kept.push(Kept { sender, since: Instant::now() });
        }
    }
}

impl Pool {
    /// Returns the pool of a slot's own backend.
    pub(super) fn of(slot: SlotId, owner: Owner) -> Arc<Self> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, slot.backend_port()));
        Arc::new(Self { address, watch: Watch::new(owner), kept: Mutex::default() })
    }

    /// Returns a kept connection that is still open.
    pub(super) fn kept(self: &Arc<Self>) -> Option<Lease> {
        let mut kept = self.lock();
        while let Some(Kept { sender, since }) = kept.pop() {
            if since.elapsed() > limits::UPSTREAM_KEPT {
                // Those below it have been kept for longer still.
                kept.clear();
                return None;
            }
            if !sender.is_closed() {
                return Some(Lease { sender, pool: Arc::clone(self) });
            }
        }
        None
    }

    /// Opens a new connection to what is the slot's backend.
    ///
    /// # Errors
    /// Returns the system's error, that it took too long, and that somebody else accepted.
    pub(super) async fn connect(self: &Arc<Self>) -> Result<Lease, Failure> {
        let lease = self.open().await.map_err(Failure::Connection)?;
        self.watch.require_own(tokio::time::Instant::now()).await?;
        Ok(lease)
    }

    async fn open(self: &Arc<Self>) -> std::io::Result<Lease> {
        let stream =
            tokio::time::timeout(limits::CONNECT, TcpStream::connect(self.address)).await??;
        stream.set_nodelay(true)?;
        let (sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(std::io::Error::other)?;
        // It ends with the sender, the backend or the body, and says its errors to them.
        tokio::spawn(connection.with_upgrades());
        Ok(Lease { sender, pool: Arc::clone(self) })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Kept>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
