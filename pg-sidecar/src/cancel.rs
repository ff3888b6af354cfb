//! Which session a cancel request means: keys of our own, for our own sessions only.
//!
//! A client never learns the server's key of its session. So what it can cancel here is a session
//! that this sidecar opened, and what it learned here is of no use at the server.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use subtle::ConstantTimeEq as _;

use crate::handshake::CancelKey;

/// Every session that is open.
#[derive(Debug, Default)]
pub(crate) struct Keys {
    sessions: RefCell<HashMap<u32, Entry>>,
}

#[derive(Debug)]
struct Entry {
    secret: Vec<u8>,
    server: CancelKey,
}

/// Keeps a key valid; dropped before the session's sockets are.
#[derive(Debug)]
pub(crate) struct Registered {
    keys: Rc<Keys>,
    key: CancelKey,
}

const TRIES: u32 = 100;

impl Keys {
    /// Makes a key of the same length as the server's, valid until the answer is dropped.
    ///
    /// # Errors
    /// When the system has no random numbers, or none that is free.
    pub(crate) fn register(
        self: &Rc<Self>,
        server: CancelKey,
    ) -> Result<Registered, getrandom::Error> {
        let mut secret = vec![0; server.secret.len()];
        getrandom::fill(&mut secret)?;
        let mut sessions = self.sessions.borrow_mut();
        for _ in 0..TRIES {
            // A driver may take a negative number for none.
            let process = getrandom::u32()? & 0x7fff_ffff;
            if process == 0 || sessions.contains_key(&process) {
                continue;
            }
            sessions.insert(process, Entry { secret: secret.clone(), server });
            let key = CancelKey { process, secret };
            return Ok(Registered { keys: Rc::clone(self), key });
        }
        Err(getrandom::Error::UNSUPPORTED)
    }

    /// Returns the server's key of the session that a request means.
    pub(crate) fn find(&self, asked: &CancelKey) -> Option<CancelKey> {
        let sessions = self.sessions.borrow();
        let entry = sessions.get(&asked.process)?;
        bool::from(entry.secret.ct_eq(&asked.secret)).then(|| entry.server.clone())
    }
}

impl Registered {
    /// Returns the key that the client is told.
    pub(crate) fn key(&self) -> &CancelKey {
        &self.key
    }

    /// Returns the server's key.
    pub(crate) fn server(&self) -> Option<CancelKey> {
        self.keys.find(&self.key)
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.keys.sessions.borrow_mut().remove(&self.key.process);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(process: u32, length: usize) -> CancelKey {
        CancelKey { process, secret: vec![5; length] }
    }

    #[test]
    fn a_key_leads_to_its_own_session_while_that_lives() {
        let keys = Rc::new(Keys::default());
        let one = keys.register(server(1, 4)).unwrap();
        let two = keys.register(server(2, 32)).unwrap();
        assert_eq!(keys.find(one.key()), Some(server(1, 4)));
        assert_eq!(two.server(), Some(server(2, 32)));
        assert_eq!((one.key().secret.len(), two.key().secret.len()), (4, 32));
        assert_ne!(two.key().secret, server(2, 32).secret);

        let with = |process, secret: &[u8]| CancelKey { process, secret: secret.to_vec() };
        let mut guessed = two.key().secret.clone();
        guessed[31] ^= 1;
        assert_eq!(keys.find(&with(two.key().process, &guessed)), None);
        assert_eq!(keys.find(&with(two.key().process, &two.key().secret[..31])), None);
        assert_eq!(keys.find(&with(two.key().process, &one.key().secret)), None);
        // The server's own key means nothing here.
        assert_eq!(keys.find(&server(1, 4)), None);

        let gone = one.key().clone();
        drop(one);
        assert_eq!(keys.find(&gone), None);
        assert!(keys.find(two.key()).is_some());
    }
}
