//! The pair of settings by which a server must prove itself, beneath whichever table.

use super::file::refuse_value;
use crate::diagnostic::Denial;
use crate::path::AbsolutePath;
use crate::tls::ServerTls;

/// Reads `tls_ca` and `tls_server_name` of a table.
pub(super) fn parse(
    table: &str,
    ca: Option<String>,
    server_name: Option<String>,
) -> Result<Option<ServerTls>, Denial> {
    let (ca_key, name_key) = (format!("{table} tls_ca"), format!("{table} tls_server_name"));
    let Some(ca) = ca else {
        return match server_name {
            None => Ok(None),
            Some(name) => {
                let expected = "a `tls_ca` beside it, since nobody else is believed";
                Err(refuse_value(&name_key, &name, expected))
            }
        };
    };
    let expected = "the absolute path of a file with certificates";
    let path = AbsolutePath::parse(&ca);
    let ca = path.map_err(|_| refuse_value(&ca_key, &ca, expected))?;
    match server_name {
        Some(name) if !is_server_name(&name) => {
            let expected = "a host name in lower case, such as \"db.internal\"";
            Err(refuse_value(&name_key, &name, expected))
        }
        server_name => Ok(Some(ServerTls { ca, server_name })),
    }
}

/// A plain name: no address, which the endpoint has, and no pattern, which only a certificate has.
fn is_server_name(name: &str) -> bool {
    let byte = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(byte)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let last = name.rsplit('.').next().unwrap_or_default();
    name.len() <= 253 && name.split('.').all(label) && !last.bytes().all(|b| b.is_ascii_digit())
}
