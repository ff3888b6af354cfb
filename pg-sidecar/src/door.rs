//! The password of one start and one holder: what tells the slot's backend from every other user of
//! the port, and from a backend that was left by somebody who held the slot before.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;

use guard::diagnostic::{Code, Denial};
use guard::secret::Secret;
use slot_runtime::lease::Generation;
use slot_runtime::sidecar;

use crate::exchange::{Exchange, Message};
use crate::message::message;
use crate::nonce;
use crate::scram::{self, Keys, MECHANISM, Problem, ServerExchange};

/// What a client on TCP must prove to have.
#[derive(Debug)]
pub(crate) struct Door {
    secret: Secret,
    salt: Vec<u8>,
    locks: RefCell<Locks>,
}

/// What is kept of the passwords.
#[derive(Debug, Clone)]
struct Locks {
    lease: Option<Generation>,
    keys: Rc<Keys>,
    /// Those of the holder before, so that its clients are told why they are refused.
    former: Option<(Option<Generation>, Rc<Keys>)>,
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

/// The rounds of PostgreSQL's default: some drivers refuse fewer.
const ROUNDS: u32 = 4096;

impl Door {
    /// Makes the secret of this start, for clients of this lease.
    ///
    /// # Errors
    /// When the system has no random numbers.
    pub(crate) fn new(lease: Option<Generation>) -> Result<Self, Denial> {
        let (secret, salt) = (Secret::new(nonce::fresh()?), nonce::fresh()?);
        let salt = salt.as_bytes()[..16].to_vec();
        let keys = derive(&secret, &salt, lease);
        let locks = RefCell::new(Locks { lease, keys, former: None });
        Ok(Self { secret, salt, locks })
    }

    /// Returns the secret, for the file that the slot's user reads.
    pub(crate) fn secret(&self) -> &Secret {
        &self.secret
    }

    /// Lets clients of this lease in from now on, and no others.
    pub(crate) fn turn_to(&self, lease: Option<Generation>) {
        let mut locks = self.locks.borrow_mut();
        if locks.lease != lease {
            let keys = derive(&self.secret, &self.salt, lease);
            let former = Some((locks.lease, Rc::clone(&locks.keys)));
            *locks = Locks { lease, keys, former };
        }
    }

    /// Lets a client prove that it has the password.
    pub(crate) async fn admit(&self, exchange: &mut Exchange) -> Result<(), Closed> {
        let request = [&10u32.to_be_bytes()[..], MECHANISM.as_bytes(), &[0, 0]].concat();
        send(exchange, &message(b'R', &request)).await?;
        let Locks { keys, former, .. } = self.locks.borrow().clone();
        let first = said(exchange).await?;
        let first = initial(&first).map_err(refuse)?;
        let nonce = nonce::fresh().map_err(Closed::Refused)?;
        let ours = ServerExchange::new(&keys, first, &nonce).map_err(refuse)?;
        send(exchange, &sasl(11, ours.challenge())).await?;
        let last = said(exchange).await?;
        let signature = ours.verify(&keys, last.content()).map_err(|problem| match former {
            Some((lease, keys)) if ours.verify(&keys, last.content()).is_ok() => {
                Closed::Former(lease)
            }
            _ => refuse(problem),
        })?;
        send(exchange, &sasl(12, &signature)).await
    }
}

fn derive(secret: &Secret, salt: &[u8], lease: Option<Generation>) -> Rc<Keys> {
    let password = sidecar::password(secret, lease);
    Rc::new(Keys::derive(password.dangerous_expose(), salt, ROUNDS))
}

fn sasl(code: u32, text: &str) -> Vec<u8> {
    message(b'R', &[&code.to_be_bytes()[..], text.as_bytes()].concat())
}

async fn send(exchange: &mut Exchange, bytes: &[u8]) -> Result<(), Closed> {
    exchange.send(bytes).await.map_err(|_| Closed::Left)
}

async fn said(exchange: &mut Exchange) -> Result<Message, Closed> {
    match exchange.message(scram::LONGEST).await {
        Ok(message) if message.kind == b'p' => Ok(message),
        Ok(_) => Err(refuse(Problem::Form)),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => Err(refuse(Problem::Form)),
        Err(_) => Err(Closed::Left),
    }
}

/// Reads the first answer: the mechanism's name, a length, and as many bytes.
fn initial(message: &Message) -> Result<&[u8], Problem> {
    let rest = message.content().strip_prefix(MECHANISM.as_bytes()).ok_or(Problem::Form)?;
    let rest = rest.strip_prefix(&[0]).ok_or(Problem::Form)?;
    let (length, rest) = rest.split_first_chunk::<4>().ok_or(Problem::Form)?;
    let fits = usize::try_from(u32::from_be_bytes(*length)) == Ok(rest.len());
    if fits { Ok(rest) } else { Err(Problem::Form) }
}

fn refuse(problem: Problem) -> Closed {
    let (code, message) = match problem {
        Problem::Proof => (Code::WirePassword, "the password is not the one of this start"),
        _ => (Code::WireMalformed, "a message of the login cannot be read"),
    };
    let expected = "SCRAM-SHA-256 with the password in the slot's state directory";
    Closed::Refused(Denial::new(code, message, problem.to_string(), expected))
}
