//! How a server proves by TLS who it is. Reading certificates and speaking TLS is `pg-tls`'s work.

use crate::path::AbsolutePath;

/// TLS towards the server: always with a certificate that is verified as a whole, never less.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerTls {
    /// A file with the certificates of the only authorities that are believed.
    pub ca: AbsolutePath,
    /// The name in the server's certificate; `None` is the address of the endpoint.
    pub server_name: Option<String>,
}
