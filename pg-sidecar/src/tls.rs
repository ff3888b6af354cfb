//! TLS towards the server: one authority, one name, no way back to a connection in clear.
//!
//! There are no weaker modes. A connection that is encrypted and not verified protects from nobody who
//! can stand between, and one that falls back protects from nobody at all.

use std::io::ErrorKind;
use std::sync::Arc;

use guard::config::SidecarTls;
use guard::diagnostic::{Code, Denial, shown};
use guard::io::SafeFile;
use guard::policy::Endpoint;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::message::framed;
use crate::upstream::Unconnected;

/// Asks a server for TLS; the code of the protocol.
const SSL: u32 = 80_877_103;

/// Largest file of certificates, in bytes.
const LARGEST: usize = 1024 * 1024;

/// What a server must prove.
#[derive(Clone)]
pub(crate) struct Tls {
    connector: TlsConnector,
    name: ServerName<'static>,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Tls").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Tls {
    /// Reads the certificates of the authorities.
    ///
    /// # Errors
    /// Refuses a file that others could have written, or without a certificate.
    pub(crate) fn new(policy: &SidecarTls, endpoint: &Endpoint) -> Result<Self, Denial> {
        let path = policy.ca.as_str();
        let refuse = |why: String| {
            let message = "the certificates of the server's authority cannot be used";
            let found = format!("`{}`: {}", shown(path), shown(&why));
            let expected = "a file of root or the caller with certificates in PEM";
            Denial::new(Code::SidecarUpstream, message, found, expected)
        };
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
            Some(name) => name.clone(),
            None => endpoint.host.to_string().trim_matches(['[', ']']).to_owned(),
        };
        let name = ServerName::try_from(name).map_err(|error| refuse(error.to_string()))?;
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
    pub(crate) async fn begin(
        &self,
        mut stream: TcpStream,
    ) -> Result<TlsStream<TcpStream>, Unconnected> {
        stream.write_all(&framed(&SSL.to_be_bytes())).await?;
        // One byte and no more: what follows it in clear must never count as said under TLS.
        match stream.read_u8().await? {
            b'S' => {}
            b'N' => return Err(self.refuse("it declines TLS").into()),
            _ => return Err(self.refuse("it answers neither yes nor no").into()),
        }
        let proved = self.connector.connect(self.name.clone(), stream).await;
        proved.map_err(|error| match error.kind() {
            ErrorKind::InvalidData => self.refuse(&error.to_string()).into(),
            _ => error.into(),
        })
    }

    fn refuse(&self, found: &str) -> Denial {
        let message = "the server does not prove by TLS who it is";
        let name = self.name.to_str();
        let expected = format!("a certificate for `{name}` of the authority in `[sidecar] tls_ca`");
        Denial::new(Code::SidecarTls, message, shown(found), expected)
    }
}
