//! The other side, as a server has it: what our own side is tried against.

use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use super::{Hash, Keys, Problem, attribute, decode, encode, hmac, nonce, text, xor};

/// An exchange whose challenge was sent.
#[derive(Debug)]
pub(crate) struct ServerExchange {
    header: String,
    nonce: String,
    /// The client's first message and the challenge, as both sides sign them.
    signed: String,
    challenge: String,
}

impl ServerExchange {
    /// Reads the client's first message; [`Self::challenge`] answers it.
    ///
    /// # Errors
    /// Refuses another form, channel binding, which was not offered, and another identity.
    pub(crate) fn new(keys: &Keys, message: &[u8], own_nonce: &str) -> Result<Self, Problem> {
        let message = text(message)?;
        let mut parts = message.splitn(3, ',');
        let (binding, identity) = (parts.next(), parts.next());
        // `y` is said by who could bind and was not offered it, which is so.
        let (Some(binding @ ("n" | "y")), Some("")) = (binding, identity) else {
            return Err(Problem::Form);
        };
        let bare = parts.next().ok_or(Problem::Form)?;
        let mut attributes = bare.split(',');
        // The role is the one of the start-up message; the protocol says to pass over this one.
        attribute(attributes.next(), "n")?;
        let theirs = nonce(attribute(attributes.next(), "r")?)?;
        if theirs.len() > super::LONGEST_NONCE || attributes.next().is_some() {
            return Err(Problem::Form);
        }
        let nonce = format!("{theirs}{own_nonce}");
        let challenge = format!("r={nonce},s={},i={}", encode(&keys.salt), keys.rounds);
        let signed = format!("{bare},{challenge}");
        Ok(Self { header: format!("{binding},,"), nonce, signed, challenge })
    }

    /// Returns the challenge.
    pub(crate) fn challenge(&self) -> &str {
        &self.challenge
    }

    /// Checks the client's proof and returns the last message, which proves us to the client.
    ///
    /// # Errors
    /// Refuses another form and a proof of another password.
    pub(crate) fn verify(&self, keys: &Keys, message: &[u8]) -> Result<String, Problem> {
        let message = text(message)?;
        let (without_proof, proof) = message.rsplit_once(",p=").ok_or(Problem::Form)?;
        let mut parts = without_proof.split(',');
        let header = attribute(parts.next(), "c")?;
        let nonce = attribute(parts.next(), "r")?;
        if header != encode(self.header.as_bytes()) || nonce != self.nonce || parts.next().is_some()
        {
            return Err(Problem::Form);
        }
        let proof: Hash = decode(proof)?.try_into().map_err(|_| Problem::Form)?;
        let signed = format!("{},{without_proof}", self.signed);
        let client = xor(&proof, &hmac(&keys.stored, &[signed.as_bytes()]));
        if !bool::from(Hash::from(Sha256::digest(client)).ct_eq(&keys.stored)) {
            return Err(Problem::Proof);
        }
        Ok(format!("v={}", encode(&hmac(&keys.server, &[signed.as_bytes()]))))
    }
}
