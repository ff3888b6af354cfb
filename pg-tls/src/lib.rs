//! TLS towards a Postgres server: one authority, one name, no way back to a connection in clear.
//!
//! There are no weaker modes. A connection that is encrypted and not verified protects from nobody who
//! can stand between, and one that falls back protects from nobody at all.
//!
//! It connects nowhere: it is handed a connection, and what it says there in clear is one request.

mod refusal;

use std::io::ErrorKind;
use std::net::IpAddr;
use std::sync::Arc;

use guard::io::SafeFile;
use guard::tls::ServerTls;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

pub use refusal::{Refusal, Unproved};

/// A connection to a server that has proved who it is.
pub type Stream = tokio_rustls::client::TlsStream<TcpStream>;

/// Asks a server for TLS: the length of the message and the code of the protocol.
const REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];

/// Largest file of certificates, in bytes.
const LARGEST: usize = 1024 * 1024;

/// What a server must prove.
#[derive(Clone)]
pub struct Tls {
    connector: TlsConnector,
    name: ServerName<'static>,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Tls").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Tls {
    /// Reads the certificates of the authorities that may answer for a server at an address.
    ///
    /// # Errors
    /// Refuses a file that others could have written, or without a certificate.
    pub fn new(policy: &ServerTls, address: IpAddr) -> Result<Self, Refusal> {
        let path = policy.ca.as_str();
        let refuse = |why: String| Refusal::of_authority(path, &why);
        let rule = SafeFile::of_caller(LARGEST, 0o022);
        let text = rule.read(path.as_ref()).map_err(|problem| refuse(problem.to_string()))?;
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(text.as_bytes()) {
            let certificate = certificate.map_err(|error| refuse(error.to_string()))?;
            roots.add(certificate).map_err(|error| refuse(error.to_string()))?;
        }
        if roots.is_empty() {
            return Err(refuse("no certificate".to_owned()));
        }
        let name = match &policy.server_name {
            Some(name) => {
                ServerName::try_from(name.clone()).map_err(|error| refuse(error.to_string()))?
            }
            None => ServerName::from(address),
        };
        let provider = Arc::new(ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| refuse(error.to_string()))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self { connector: TlsConnector::from(Arc::new(config)), name })
    }

    /// Has a server that was connected to prove itself.
    ///
    /// # Errors
    /// Refuses one that declines TLS, or whose certificate does not hold; a connection that breaks
    /// proves nothing either way.
    pub async fn begin(&self, mut stream: TcpStream) -> Result<Stream, Unproved> {
        stream.write_all(&REQUEST).await?;
        // One byte and no more: what follows it in clear must never count as said under TLS.
        match stream.read_u8().await? {
            b'S' => {}
            b'N' => return Err(self.refuse("it declines TLS")),
            _ => return Err(self.refuse("it answers neither yes nor no")),
        }
        let proved = self.connector.connect(self.name.clone(), stream).await;
        proved.map_err(|error| match error.kind() {
            ErrorKind::InvalidData => self.refuse(&error.to_string()),
            _ => error.into(),
        })
    }

    fn refuse(&self, found: &str) -> Unproved {
        Refusal::of_server(&self.name.to_str(), found).into()
    }
}

/// Returns the certificate that the server has proved to hold, in DER.
#[must_use]
pub fn certificate(stream: &Stream) -> Option<&[u8]> {
    let (_, session) = stream.get_ref();
    session.peer_certificates()?.first().map(AsRef::as_ref)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_request_is_the_one_of_the_protocol() {
        assert_eq!(REQUEST, *[8_u32.to_be_bytes(), 80_877_103_u32.to_be_bytes()].as_flattened());
    }
}
