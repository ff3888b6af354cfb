//! Our side of a login at the server.

use subtle::ConstantTimeEq as _;

use super::{Hash, Keys, Problem, ROUNDS, attribute, decode, encode, hmac, nonce, text, xor};

/// Says that there is no channel binding; `biws` is the same in base64.
const HEADER: &str = "n,,";

/// Longest salt that is accepted, in bytes.
const LONGEST_SALT: usize = 128;

/// An exchange that has begun.
#[derive(Debug)]
pub(crate) struct ClientExchange {
    nonce: String,
}

/// What the server asks.
#[derive(Debug)]
pub(crate) struct Challenge {
    pub(crate) salt: Vec<u8>,
    pub(crate) rounds: u32,
    nonce: String,
    message: String,
}

/// What a server that has the password will answer.
#[derive(Debug)]
pub(crate) struct ExpectedServer(pub(super) Hash);

impl ClientExchange {
    /// Begins with a fresh nonce.
    pub(crate) fn new(nonce: String) -> Self {
        Self { nonce }
    }

    /// Returns the first message; the server knows the role from the start-up message.
    pub(crate) fn first(&self) -> String {
        format!("{HEADER}{}", self.bare())
    }

    fn bare(&self) -> String {
        format!("n=,r={}", self.nonce)
    }

    /// Reads the server's first message.
    ///
    /// # Errors
    /// Refuses another form, a nonce that is not a continuation of ours, and rounds out of bounds.
    pub(crate) fn challenge(&self, message: &[u8]) -> Result<Challenge, Problem> {
        let message = text(message)?;
        let mut parts = message.split(',');
        let nonce = nonce(attribute(parts.next(), "r")?)?;
        let salt = decode(attribute(parts.next(), "s")?)?;
        let rounds = attribute(parts.next(), "i")?;
        let is_number = rounds.bytes().all(|byte| byte.is_ascii_digit());
        let rounds = rounds.parse().ok().filter(|_| is_number).ok_or(Problem::Form)?;
        let continues = nonce.len() > self.nonce.len() && nonce.starts_with(&self.nonce);
        let salted = (1..=LONGEST_SALT).contains(&salt.len());
        if !continues || !salted || parts.next().is_some() {
            return Err(Problem::Form);
        }
        if !ROUNDS.contains(&rounds) {
            return Err(Problem::Rounds(rounds));
        }
        Ok(Challenge { salt, rounds, nonce: nonce.to_owned(), message: message.to_owned() })
    }

    /// Answers with keys that fit the challenge.
    pub(crate) fn prove(&self, challenge: &Challenge, keys: &Keys) -> (String, ExpectedServer) {
        let without_proof = format!("c={},r={}", encode(HEADER.as_bytes()), challenge.nonce);
        let signed = format!("{},{},{without_proof}", self.bare(), challenge.message);
        let signature = hmac(&keys.stored, &[signed.as_bytes()]);
        let proof = xor(&keys.client, &signature);
        let server = hmac(&keys.server, &[signed.as_bytes()]);
        (format!("{without_proof},p={}", encode(&proof)), ExpectedServer(server))
    }
}

impl ExpectedServer {
    /// Checks the server's last message: it has the password, or what was derived from it.
    ///
    /// # Errors
    /// Refuses another form and another signature.
    pub(crate) fn check(&self, message: &[u8]) -> Result<(), Problem> {
        let signature = decode(attribute(Some(text(message)?), "v")?)?;
        if signature.ct_eq(&self.0).into() { Ok(()) } else { Err(Problem::Proof) }
    }
}
