//! The question who a backend is, and what an answer proves.
//!
//! A backend that knows the key of its start answers a nonce with a code that only this key makes.
//! An `index.html` with status 200, a cache, a backend of another slot and one of an earlier start
//! do not.

use guard::diagnostic::Denial;
use guard::slot::SlotId;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde::Deserialize;
use sha2::Sha256;
use slot_runtime::identity::{self, Key};
use slot_runtime::{StateRoot, random};

use crate::http;

const PATH: &str = "/api/__slotguard/identity";

/// The keys of the slots whose backends were started from their records.
pub(super) struct Keys(Vec<(SlotId, Key)>);

/// What an answer proves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Identity {
    /// The backend of this slot answered.
    Of(SlotId),
    /// Somebody answered who has no key of a slot.
    Invalid,
    /// No backend answered the question; the status of what did, if it was HTTP.
    NotOffered(Option<u16>),
}

#[derive(Deserialize)]
struct Answer {
    slot: String,
    mac: String,
}

impl Keys {
    /// Reads the keys; a slot without one can prove nothing.
    pub(super) fn read(state: &StateRoot, slots: impl Iterator<Item = SlotId>) -> Self {
        // A key that the caller may not read is one that nothing can be proved with.
        let read = |slot| identity::key(state, slot).ok().flatten().map(|key| (slot, key));
        Self(slots.filter_map(read).collect())
    }

    /// Asks who answers at a port of loopback, under the host of a slot's front or backend.
    pub(super) fn ask(&self, port: u16, host: &str) -> Result<Identity, Denial> {
        let nonce = nonce()?;
        let path = format!("{PATH}?nonce={nonce}");
        let answer = http::get_by_name(port, host, &path, "application/json");
        Ok(match answer {
            Ok((200, body)) => self.judge(&nonce, &body),
            Ok((status, _)) => Identity::NotOffered(Some(status)),
            Err(_) => Identity::NotOffered(None),
        })
    }

    /// Judges an answer; one that names no slot is none to this question.
    fn judge(&self, nonce: &str, body: &[u8]) -> Identity {
        let Ok(Answer { slot, mac }) = serde_json::from_slice(body) else {
            return Identity::NotOffered(Some(200));
        };
        let proves = |(own, key): &&(SlotId, Key)| {
            own.to_string() == slot && is_proof(key.dangerous_expose(), &slot, nonce, &mac)
        };
        self.0.iter().find(proves).map_or(Identity::Invalid, |(slot, _)| Identity::Of(*slot))
    }
}

/// Compares in a time that tells nothing of where the code differs.
fn is_proof(key: &[u8], slot: &str, nonce: &str, mac: &str) -> bool {
    let Ok(mut own) = Hmac::<Sha256>::new_from_slice(key) else { return false };
    own.update(format!("slotguard-identity/1 {slot} {nonce}").as_bytes());
    from_hex(mac).is_some_and(|mac| own.verify_slice(&mac).is_ok())
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes().chunks(2);
    digits.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
}

fn nonce() -> Result<String, Denial> {
    random::hex(32).map_err(|error| {
        let message = "no random number for a question";
        Denial::new(guard::diagnostic::Code::Internal, message, error.to_string(), "random bytes")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_proves_one_slot_one_nonce_and_one_key() {
        // Computed with Python's hmac, as docs/routes.md shows it.
        let mac = "cfaa02be437294bf77f43fd663ad19fac021bf5094094f7c5d5e734169085c03";
        assert!(is_proof(b"key", "preview-1", "n", mac));
        for (key, slot, nonce) in
            [("kez", "preview-1", "n"), ("key", "preview-2", "n"), ("key", "preview-1", "m")]
        {
            assert!(!is_proof(key.as_bytes(), slot, nonce, mac), "{key} {slot} {nonce}");
        }
        for bad in ["", "0", "zz", &mac[2..], &format!("{mac}00")] {
            assert!(!is_proof(b"key", "preview-1", "n", bad), "{bad}");
        }
    }

    #[test]
    fn an_answer_of_another_kind_is_none() {
        let keys = Keys(Vec::new());
        for other in ["<html>", "{}", "{\"slot\":\"preview-1\"}", "[]"] {
            assert_eq!(keys.judge("n", other.as_bytes()), Identity::NotOffered(Some(200)));
        }
        let unknown = "{\"slot\":\"preview-1\",\"mac\":\"00\"}";
        assert_eq!(keys.judge("n", unknown.as_bytes()), Identity::Invalid);
    }
}
