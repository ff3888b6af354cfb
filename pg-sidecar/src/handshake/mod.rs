//! The start of a connection, from bytes to a verdict.
//!
//! A pure state machine: bytes go in, [`Step`]s come out. It reads no socket, has no clock, and
//! answers the same however the bytes are cut into pieces. It never takes a byte that belongs to
//! what follows the verdict, and grows with what was received, not with what a length announces.

mod refusal;
mod startup;

use guard::diagnostic::{Code, Denial};
use guard::slot::SlotId;

pub use refusal::Refusal;
pub use startup::Startup;

/// Longest message that opens a connection, in bytes; the server's own bound.
pub const LONGEST: usize = 10_000;

/// Longest secret of a cancel request, in bytes; the protocol's own bound.
const LONGEST_KEY: usize = 256;

const CANCEL: u32 = 80_877_102;
const SSL: u32 = 80_877_103;
const GSS: u32 = 80_877_104;

/// What may pass.
#[derive(Debug, Clone)]
pub struct Rules {
    /// The slot, for what is said to people.
    pub slot: SlotId,
    /// The only database.
    pub database: String,
    /// The only role.
    pub role: String,
    /// Names of start-up settings beside the usual ones.
    pub startup_keys: Vec<String>,
    /// The newest minor version of protocol 3 that the server speaks.
    pub newest_minor: u16,
}

/// What to do next.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// Give more bytes.
    Wait,
    /// Send this and go on.
    Answer(&'static [u8]),
    /// A statement of another session shall end; nothing more comes.
    Cancel(CancelKey),
    /// A session of the slot may begin.
    Start(Startup),
    /// Send [`Refusal::bytes`] and end.
    Refuse(Refusal),
}

/// Names a session, with the secret that proves that the asker knows it.
#[derive(Clone, PartialEq, Eq)]
pub struct CancelKey {
    /// The process number that the session was told.
    pub process: u32,
    /// The secret that the session was told.
    pub secret: Vec<u8>,
}

impl std::fmt::Debug for CancelKey {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("CancelKey").field("process", &self.process).finish_non_exhaustive()
    }
}

/// One connection before its verdict.
#[derive(Debug, Default)]
pub struct Handshake {
    received: Vec<u8>,
    asked_for_tls: bool,
    asked_for_gss: bool,
}

impl Handshake {
    /// Takes as many bytes as belong to the present message and says what to do.
    ///
    /// Returns how many bytes were taken. What is left over is to be given again after an
    /// [`Step::Answer`], and belongs to the session after a [`Step::Start`].
    pub fn advance(&mut self, input: &[u8], rules: &Rules) -> (usize, Step) {
        let mut taken = 0;
        loop {
            let wanted = match self.wanted() {
                Ok(wanted) => wanted,
                Err(refusal) => return (taken, Step::Refuse(refusal)),
            };
            let missing = wanted.saturating_sub(self.received.len());
            if missing == 0 {
                let message = std::mem::take(&mut self.received);
                return (taken, self.judge(&message, rules));
            }
            let rest = &input[taken..];
            if rest.is_empty() {
                return (taken, Step::Wait);
            }
            let piece = &rest[..missing.min(rest.len())];
            self.received.extend_from_slice(piece);
            taken += piece.len();
        }
    }

    /// Returns how long the present message is, as far as its beginning tells.
    fn wanted(&self) -> Result<usize, Refusal> {
        if self.received.first() == Some(&refusal::TLS_HANDSHAKE) {
            return Err(Refusal::tls());
        }
        let Some((length, content)) = self.received.split_first_chunk::<4>() else {
            return Ok(if self.received.is_empty() { 1 } else { 4 });
        };
        if refusal::is_http(*length) {
            return Err(Refusal::http());
        }
        let length = u32::from_be_bytes(*length);
        match usize::try_from(length) {
            // The least that is worth reading: a length and a version.
            Ok(length @ 8..=LONGEST) => match content.split_first_chunk::<4>() {
                None => Ok(8),
                Some((code, _)) => within_kind(u32::from_be_bytes(*code), length),
            },
            _ => Err(malformed(
                "the length of the start-up message is out of bounds",
                format!("{length} bytes"),
                format!("8 to {LONGEST} bytes"),
            )),
        }
    }

    fn judge(&mut self, message: &[u8], rules: &Rules) -> Step {
        // `wanted` asked for the length and the code at least.
        let Some(([_, _, _, _, code @ ..], content)) = message.split_first_chunk::<8>() else {
            return Step::Wait;
        };
        let code = u32::from_be_bytes(*code);
        match code {
            SSL if !std::mem::replace(&mut self.asked_for_tls, true) => Step::Answer(b"N"),
            GSS if !std::mem::replace(&mut self.asked_for_gss, true) => Step::Answer(b"N"),
            SSL | GSS => Step::Refuse(malformed(
                "encryption was asked for twice",
                "a second request".to_owned(),
                "a start-up message after the answer".to_owned(),
            )),
            CANCEL => match content.split_first_chunk::<4>() {
                Some((process, secret)) => Step::Cancel(CancelKey {
                    process: u32::from_be_bytes(*process),
                    secret: secret.to_vec(),
                }),
                None => Step::Wait,
            },
            version => match startup::judge(version, content, rules) {
                Ok(startup) => Step::Start(startup),
                Err(refusal) => Step::Refuse(refusal),
            },
        }
    }
}

/// Requests without a text have a length of their own.
fn within_kind(code: u32, length: usize) -> Result<usize, Refusal> {
    let (name, least, most) = match code {
        SSL | GSS => ("a request for encryption", 8, 8),
        // A secret of no bytes would let every asker through.
        CANCEL => ("a cancel request", 16, 12 + LONGEST_KEY),
        version if version >> 16 != 3 => return Err(Refusal::version(version)),
        _ => ("a start-up message", 9, LONGEST),
    };
    if (least..=most).contains(&length) {
        return Ok(length);
    }
    let expected = if least == most { format!("{least}") } else { format!("{least} to {most}") };
    Err(malformed(
        &format!("{name} has an impossible length"),
        format!("{length} bytes"),
        format!("{expected} bytes"),
    ))
}

fn malformed(message: &str, found: String, expected: String) -> Refusal {
    Refusal::postgres(Denial::new(Code::WireMalformed, message, found, expected))
}

#[cfg(test)]
mod tests;
