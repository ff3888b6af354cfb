//! The one place that connects: as the driver does, or to a server that proves itself by TLS first.

use std::net::SocketAddr;
use std::time::Duration;

use guard::diagnostic::{Code, Denial};
use guard::tls::ServerTls;
use pg_tls::{Tls, Unproved};
use tokio::net::TcpSocket;
use tokio_postgres::config::{SslMode, SslNegotiation};
use tokio_postgres::tls::TlsStream;
use tokio_postgres::{CancelToken, Client, Config, Connection, Error, NoTls};

use crate::secured::{AlreadySecured, Secured};

/// How a server is reached.
#[derive(Debug, Clone)]
pub(crate) enum Way {
    /// By a unix socket, or by TCP in clear.
    Clear,
    /// By TCP, to a server that must prove itself before it is told anything.
    Secured {
        /// Where it listens.
        address: SocketAddr,
        /// What it must prove.
        tls: Tls,
    },
}

impl Way {
    /// Returns the way to an address, by what is configured for it.
    ///
    /// # Errors
    /// Refuses when the certificates of the authority cannot be used.
    pub(crate) fn to(address: SocketAddr, tls: Option<&ServerTls>) -> Result<Self, Denial> {
        let Some(tls) = tls else { return Ok(Self::Clear) };
        let tls = Tls::new(tls, address.ip());
        let tls = tls.map_err(|refusal| refusal.into_denial(Code::TlsAuthority))?;
        Ok(Self::Secured { address, tls })
    }

    /// Says in the settings what the driver must not do without.
    pub(crate) fn mark(&self, settings: &mut Config) {
        match self {
            Self::Clear => settings.ssl_mode(SslMode::Disable),
            // It must have TLS, and must not ask for it: that was done before it had the connection.
            Self::Secured { .. } => {
                settings.ssl_mode(SslMode::Require).ssl_negotiation(SslNegotiation::Direct)
            }
        };
    }

    /// Connects and logs in; the inner error is the driver's.
    ///
    /// # Errors
    /// Says why no server has proved itself.
    pub(crate) async fn connect(
        &self,
        settings: &Config,
    ) -> Result<Result<Client, Error>, Unproved> {
        match self {
            Self::Clear => {
                #[expect(clippy::disallowed_methods, reason = "connects with a proof, in clear")]
                let connected = settings.connect(NoTls).await;
                Ok(connected.map(|(client, connection)| run(client, connection)))
            }
            Self::Secured { address, tls } => {
                let stream = secure(*address, tls).await?;
                #[expect(clippy::disallowed_methods, reason = "connects with a proof, by TLS")]
                let connected = settings.connect_raw(stream, AlreadySecured).await;
                Ok(connected.map(|(client, connection)| run(client, connection)))
            }
        }
    }
}

/// Asks a server to end what one session of it does, by the way that the session came.
pub(crate) struct Canceller {
    token: CancelToken,
    way: Way,
    patience: Duration,
}

impl Canceller {
    /// Returns the means to cancel what a session does.
    pub(crate) fn new(client: &Client, way: Way, patience: Duration) -> Self {
        Self { token: client.cancel_token(), way, patience }
    }

    /// Asks once; whether it helped is seen at the session itself.
    pub(crate) async fn cancel(&self) {
        let asking = async {
            match &self.way {
                #[expect(clippy::disallowed_methods, reason = "the session's own way, in clear")]
                Way::Clear => Ok(self.token.cancel_query(NoTls).await),
                Way::Secured { address, tls } => {
                    let stream = secure(*address, tls).await?;
                    #[expect(clippy::disallowed_methods, reason = "the session's own way, by TLS")]
                    let asked = self.token.cancel_query_raw(stream, AlreadySecured).await;
                    Ok::<_, Unproved>(asked)
                }
            }
        };
        match tokio::time::timeout(self.patience, asking).await {
            Ok(Ok(Ok(()))) => {}
            failure => tracing::debug!(?failure, "the statement could not be cancelled"),
        }
    }
}

/// Connects and has the server prove itself; nothing but the question for TLS is said before.
async fn secure(address: SocketAddr, tls: &Tls) -> Result<Secured, Unproved> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    // As the driver sets up its own sockets.
    socket.set_keepalive(true)?;
    socket.set_nodelay(true)?;
    tls.begin(socket.connect(address).await?).await.map(Secured)
}

/// Lets the connection do its work beside its client, until either ends.
fn run<S, T>(client: Client, connection: Connection<S, T>) -> Client
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
    T: TlsStream + Unpin + Send + 'static,
{
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "the connection ended");
        }
    });
    client
}
