//! How a connection that does not begin is told so, in the protocol that its client speaks.

use guard::diagnostic::{Code, Denial};

use crate::message::{fatal, sqlstate};

/// The first byte of a client that speaks TLS without asking first.
pub(super) const TLS_HANDSHAKE: u8 = 0x16;

/// A fatal alert, `handshake_failure`: what a client of TLS shows as a clean refusal.
const TLS_ALERT: [u8; 7] = [0x15, 3, 1, 0, 2, 2, 40];

/// The first four letters of every usual request.
const HTTP: [&[u8; 4]; 9] =
    [b"GET ", b"HEAD", b"POST", b"PUT ", b"DELE", b"OPTI", b"PATC", b"CONN", b"TRAC"];

pub(super) fn is_http(start: [u8; 4]) -> bool {
    HTTP.contains(&&start)
}

/// Why a connection ends before it begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    denial: Denial,
    speech: Speech,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Speech {
    Postgres,
    Tls,
    Http,
}

impl Refusal {
    /// Refuses a client of Postgres.
    #[must_use]
    pub fn postgres(denial: Denial) -> Self {
        Self { denial, speech: Speech::Postgres }
    }

    pub(super) fn tls() -> Self {
        let (found, expected) = ("the start of a TLS handshake", "a Postgres start-up message");
        let message = "a client speaks TLS without asking first";
        let denial = Denial::new(Code::WireProtocol, message, found, expected);
        Self { denial, speech: Speech::Tls }
    }

    pub(super) fn http() -> Self {
        let (found, expected) = ("a request of HTTP", "a Postgres start-up message");
        let message = "a client of HTTP is at the Postgres port";
        let help = "The slot's API has the port 810n, its database has this one.";
        let denial = Denial::new(Code::WireProtocol, message, found, expected).help(help);
        Self { denial, speech: Speech::Http }
    }

    pub(super) fn version(version: u32) -> Self {
        let found = format!("protocol {}.{}", version >> 16, version & 0xffff);
        let message = "a client asks for another protocol";
        let denial = Denial::new(Code::WireProtocol, message, found, "protocol 3.0 or 3.2");
        Self::postgres(denial)
    }

    /// Returns what was refused, for the event.
    #[must_use]
    pub fn denial(&self) -> &Denial {
        &self.denial
    }

    /// Returns what the client is sent.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        match self.speech {
            Speech::Postgres => fatal(state(self.denial.code()), &self.denial),
            Speech::Tls => TLS_ALERT.to_vec(),
            Speech::Http => {
                let text = format!("{}\n{}\n", self.denial, self.denial.next_step());
                let length = text.len();
                format!(
                    "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\n\
                     Content-Length: {length}\r\nConnection: close\r\n\r\n{text}"
                )
                .into_bytes()
            }
        }
    }
}

/// Returns the SQLSTATE that drivers know a refusal by.
fn state(code: Code) -> &'static str {
    match code {
        Code::WireMalformed | Code::WireProtocol | Code::WireDuplicate | Code::WireLate => {
            sqlstate::PROTOCOL_VIOLATION
        }
        Code::WireFull => sqlstate::TOO_MANY_CONNECTIONS,
        Code::WirePassword => sqlstate::INVALID_PASSWORD,
        Code::WireDraining | Code::WireUnconfirmed => sqlstate::CANNOT_CONNECT_NOW,
        Code::WireUpstream => sqlstate::CONNECTION_FAILURE,
        _ => sqlstate::INVALID_AUTHORIZATION,
    }
}
