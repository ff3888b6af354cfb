//! SCRAM-SHA-256 (RFC 7677) towards the server, without channel binding.
//!
//! With keys that are derived once, since that is what a login costs. Messages in, messages out;
//! who sends them is somebody else's.

mod client;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};

pub(crate) use client::{Challenge, ClientExchange};

/// The only mechanism that is spoken.
pub(crate) const MECHANISM: &str = "SCRAM-SHA-256";

/// Longest message of an exchange, in bytes.
pub(crate) const LONGEST: usize = 4096;

/// Longest nonce of one side, in characters.
const LONGEST_NONCE: usize = 256;

/// Fewer rounds than PostgreSQL's default are a weaker secret than was asked for; more would let
/// the other side choose how long we calculate.
const ROUNDS: std::ops::RangeInclusive<u32> = 4096..=1_000_000;

type Hash = [u8; 32];

/// What is derived from a password for one salt; it proves the password and does not tell it.
#[derive(Clone)]
pub(crate) struct Keys {
    salt: Vec<u8>,
    rounds: u32,
    client: Hash,
    stored: Hash,
    server: Hash,
}

impl Keys {
    /// Derives the keys, which takes about a millisecond for each 4,096 rounds.
    pub(crate) fn derive(password: &str, salt: &[u8], rounds: u32) -> Self {
        // As the server does: a text that cannot be prepared is taken as it is.
        let prepared = stringprep::saslprep(password);
        let password = prepared.as_deref().unwrap_or(password);
        let salted = salted_password(password.as_bytes(), salt, rounds);
        let client = hmac(&salted, &[b"Client Key"]);
        let server = hmac(&salted, &[b"Server Key"]);
        Self { salt: salt.to_vec(), rounds, client, stored: Sha256::digest(client).into(), server }
    }

    /// Returns whether they answer this salt and number of rounds.
    pub(crate) fn fit(&self, salt: &[u8], rounds: u32) -> bool {
        self.salt == salt && self.rounds == rounds
    }
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Keys(***)")
    }
}

/// Why an exchange ends; never says what was received.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Problem {
    /// A message has another form than the exchange gives it.
    #[error("a message of the login has another form than SCRAM-SHA-256 gives it")]
    Form,
    /// The number of rounds is out of bounds.
    #[error("{0} rounds of SCRAM, which is not between 4096 and 1000000")]
    Rounds(u32),
    /// The other side does not have the password.
    #[error("the other side does not prove that it has the password")]
    Proof,
}

/// PBKDF2 with one block, which is all that a key of this length needs.
fn salted_password(password: &[u8], salt: &[u8], rounds: u32) -> Hash {
    let keyed = keyed(password);
    let once = |pieces: &[&[u8]]| {
        let mut mac = keyed.clone();
        pieces.iter().for_each(|piece| mac.update(piece));
        Hash::from(mac.finalize().into_bytes())
    };
    let mut round = once(&[salt, &1u32.to_be_bytes()]);
    let mut result = round;
    for _ in 1..rounds {
        round = once(&[&round]);
        result = xor(&result, &round);
    }
    result
}

fn keyed(key: &[u8]) -> Hmac<Sha256> {
    #[expect(clippy::expect_used, reason = "HMAC takes a key of any length")]
    Hmac::new_from_slice(key).expect("any length is a key")
}

fn hmac(key: &[u8], pieces: &[&[u8]]) -> Hash {
    let mut mac = keyed(key);
    pieces.iter().for_each(|piece| mac.update(piece));
    mac.finalize().into_bytes().into()
}

fn xor(one: &Hash, other: &Hash) -> Hash {
    std::array::from_fn(|at| one[at] ^ other[at])
}

fn encode(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

fn decode(text: &str) -> Result<Vec<u8>, Problem> {
    STANDARD.decode(text).map_err(|_| Problem::Form)
}

fn text(message: &[u8]) -> Result<&str, Problem> {
    let text = std::str::from_utf8(message).ok().filter(|_| message.len() <= LONGEST);
    text.ok_or(Problem::Form)
}

/// Takes `name=value` from a list of attributes.
fn attribute<'a>(part: Option<&'a str>, name: &str) -> Result<&'a str, Problem> {
    let value = part.and_then(|part| part.strip_prefix(name)?.strip_prefix('='));
    value.ok_or(Problem::Form)
}

/// Checks a nonce: printable, without a comma, bounded.
fn nonce(text: &str) -> Result<&str, Problem> {
    let printable = |byte: u8| byte.is_ascii_graphic() && byte != b',';
    let fits = (1..=2 * LONGEST_NONCE).contains(&text.len()) && text.bytes().all(printable);
    if fits { Ok(text) } else { Err(Problem::Form) }
}

#[cfg(test)]
mod server;
#[cfg(test)]
mod tests;
