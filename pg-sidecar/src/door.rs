//! The password of one start and one holder: what tells the slot's backend from every other user of
//! the port, and from a backend that was left by somebody who held the slot before.
//!
//! It is asked for in clear. It opens this sidecar alone, for as long as this process has the port,
//! and does not leave the host's loopback: a proof that hides it would cost a client most of its
//! connect and protect it from nobody.

use std::cell::RefCell;
use std::io;

use guard::diagnostic::{Code, Denial};
use guard::secret::Secret;
use slot_runtime::lease::Generation;
use slot_runtime::sidecar;
use subtle::ConstantTimeEq as _;

use crate::exchange::Exchange;
use crate::message::message;
use crate::nonce;

/// What a client on TCP must have.
#[derive(Debug)]
pub(crate) struct Door {
    secret: Secret,
    turn: RefCell<Turn>,
}

/// Whose clients are let in.
#[derive(Debug, Clone, Copy)]
struct Turn {
    lease: Option<Generation>,
    /// The holder before, so that its clients are told why they are refused.
    former: Option<Option<Generation>>,
}

/// Why a client is not let in.
#[derive(Debug)]
pub(crate) enum Closed {
    /// It went away, as a client does that has no password yet and asks for one.
    Left,
    /// It has another password, or none.
    Refused(Denial),
    /// It has the password of whoever held the slot before.
    Former(Option<Generation>),
}

/// `AuthenticationCleartextPassword`.
const CLEAR_PASSWORD: u32 = 3;

/// Longest answer, in bytes, its length included.
const LONGEST: usize = 1024;

impl Door {
    /// Makes the secret of this start, for clients of this lease.
    ///
    /// # Errors
    /// When the system has no random numbers.
    pub(crate) fn new(lease: Option<Generation>) -> Result<Self, Denial> {
        let secret = Secret::new(nonce::fresh()?);
        Ok(Self { secret, turn: RefCell::new(Turn { lease, former: None }) })
    }

    /// Returns the secret, for the file that the slot's user reads.
    pub(crate) fn secret(&self) -> &Secret {
        &self.secret
    }

    /// Lets clients of this lease in from now on, and no others.
    pub(crate) fn turn_to(&self, lease: Option<Generation>) {
        let mut turn = self.turn.borrow_mut();
        if turn.lease != lease {
            *turn = Turn { lease, former: Some(turn.lease) };
        }
    }

    /// Asks a client for the password.
    pub(crate) async fn admit(&self, exchange: &mut Exchange) -> Result<(), Closed> {
        let request = message(b'R', &CLEAR_PASSWORD.to_be_bytes());
        exchange.send(&request).await.map_err(|_| Closed::Left)?;
        let answer = match exchange.message(LONGEST).await {
            Ok(answer) if answer.kind == b'p' => answer,
            Ok(_) => return Err(malformed()),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => return Err(malformed()),
            Err(_) => return Err(Closed::Left),
        };
        self.judge(answer.content())
    }

    /// Judges what a client answered: one text with its end.
    fn judge(&self, answer: &[u8]) -> Result<(), Closed> {
        let said = answer.strip_suffix(&[0]).filter(|said| !said.contains(&0));
        let said = said.ok_or_else(malformed)?;
        let opens = |lease| {
            let password = sidecar::password(&self.secret, lease);
            said.ct_eq(password.dangerous_expose().as_bytes()).into()
        };
        let Turn { lease, former } = *self.turn.borrow();
        match former {
            _ if opens(lease) => Ok(()),
            Some(former) if opens(former) => Err(Closed::Former(former)),
            _ => Err(refuse(
                Code::WirePassword,
                "the password is not the one of this start",
                "another password, or none",
            )),
        }
    }
}

fn malformed() -> Closed {
    let message = "a message of the login cannot be read";
    refuse(Code::WireMalformed, message, "a message of another form")
}

fn refuse(code: Code, message: &str, found: &str) -> Closed {
    let expected = "the password in the slot's state directory";
    Closed::Refused(Denial::new(code, message, found, expected))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(number: u64) -> Option<Generation> {
        Some(number.to_string().parse().unwrap())
    }

    #[test]
    fn one_password_opens_and_its_neighbours_do_not() {
        let door = Door::new(None).unwrap();
        let secret = door.secret().dangerous_expose().to_owned();
        let judge = |answer: &[u8]| match door.judge(answer) {
            Ok(()) => "open".to_owned(),
            Err(Closed::Left) => "left".to_owned(),
            Err(Closed::Former(lease)) => format!("former {lease:?}"),
            Err(Closed::Refused(denial)) => denial.code().id().to_owned(),
        };
        let ended = |text: &str| [text.as_bytes(), b"\0"].concat();
        assert_eq!(judge(&ended(&secret)), "open");
        for wrong in ["", "x", &secret[1..], &format!("{secret}0"), &format!("{secret}-7")] {
            assert_eq!(judge(&ended(wrong)), "SG8721", "{wrong}");
        }
        for malformed in [&b""[..], secret.as_bytes(), &ended(&format!("{secret}\0")), b"\0\0"] {
            assert_eq!(judge(malformed), "SG8711");
        }
        door.turn_to(of(7));
        assert_eq!(judge(&ended(&format!("{secret}-7"))), "open");
        assert_eq!(judge(&ended(&secret)), "former None");
        assert_eq!(judge(&ended(&format!("{secret}-8"))), "SG8721");
        door.turn_to(of(8));
        assert_eq!(judge(&ended(&format!("{secret}-8"))), "open");
        assert!(judge(&ended(&format!("{secret}-7"))).starts_with("former"));
        assert_eq!(judge(&ended(&secret)), "SG8721");
    }
}
