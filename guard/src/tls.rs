//! How a server proves by TLS who it is. Reading certificates and speaking TLS is `pg-tls`'s work.

use crate::database_url::Parameter;
use crate::diagnostic::{Code, Denial};
use crate::path::AbsolutePath;

/// TLS towards the server: always with a certificate that is verified as a whole, never less.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerTls {
    /// A file with the certificates of the only authorities that are believed.
    pub ca: AbsolutePath,
    /// The name in the server's certificate; `None` is the address of the endpoint.
    pub server_name: Option<String>,
}

/// Judges what a URL demands of a connection that this project makes itself.
///
/// Where a server must prove itself, every demand is met by more than it asks for, and a URL that
/// wants no TLS changes nothing: it may be written for the way to a sidecar, which speaks none.
///
/// # Errors
/// Refuses a parameter that demands TLS where none is configured.
pub fn judge_demands(parameters: &[Parameter], tls: Option<&ServerTls>) -> Result<(), Denial> {
    match parameters.iter().find(|parameter| parameter.demands_tls()) {
        Some(parameter) if tls.is_none() => Err(Denial::new(
            Code::TlsUnavailable,
            "the target demands TLS, and no authority is configured to verify the server by",
            parameter.to_string(),
            "a `[database] tls_ca`, or sslmode=disable or sslmode=prefer",
        )),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use crate::database_url::DatabaseTarget;

    use super::*;

    #[test]
    fn a_demand_is_met_by_an_authority_and_never_weakened() {
        let ca = AbsolutePath::parse("/etc/ca.pem").unwrap();
        let tls = ServerTls { ca, server_name: None };
        let judge = |query: &str, tls: Option<&ServerTls>| {
            let url = format!("postgresql://slot_1@127.0.0.1:5432/app_preview_1?{query}");
            let target = DatabaseTarget::parse(&url).unwrap();
            judge_demands(target.parameters(), tls).map_err(|denial| denial.code())
        };
        for demand in ["sslmode=require", "sslmode=verify-ca", "sslmode=verify-full", "ssl=true"] {
            assert_eq!(judge(demand, None), Err(Code::TlsUnavailable), "{demand}");
            assert_eq!(judge(demand, Some(&tls)), Ok(()), "{demand}");
        }
        for other in ["sslmode=prefer", "sslmode=disable", "ssl=false"] {
            assert_eq!(judge(other, None), Ok(()), "{other}");
            assert_eq!(judge(other, Some(&tls)), Ok(()), "{other}");
        }
    }
}
