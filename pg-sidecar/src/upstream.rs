//! Logging in to the server: by SCRAM-SHA-256 with keys that are kept, or by who we are.

use std::cell::{Cell, RefCell};
use std::io;
use std::time::Duration;

use guard::config::SidecarMode;
use guard::diagnostic::{Code, Denial, shown};
use pg_tls::Unproved;
use tokio::net::{TcpStream, UnixStream};

use crate::exchange::{Exchange, Message};
use crate::handshake::CancelKey;
use crate::message::{framed, message};
use crate::nonce;
use crate::scram::{Challenge, ClientExchange, Keys, MECHANISM, Problem};
use crate::settings::{ServerAddress, Settings};
use crate::stream::Stream;

/// How long the server may take for a login.
const PATIENCE: Duration = Duration::from_secs(10);

/// Longest message of a login, in bytes.
const LONGEST: usize = 64 * 1024;

/// Most messages between a login and its end.
const MOST_MESSAGES: usize = 200;

/// The code of a cancel request.
const CANCEL: u32 = 80_877_102;

/// What is known of the server from one session to the next.
#[derive(Debug, Default)]
pub(crate) struct Upstream {
    keys: RefCell<Option<Keys>>,
    /// Who had the server's socket when the server proved who it is.
    owner: Cell<Option<u32>>,
}

/// A session of the server that has begun.
pub(crate) struct LoggedIn {
    pub(crate) exchange: Exchange,
    /// What the client is told of it, up to the key and behind it.
    pub(crate) told: Told,
    pub(crate) key: CancelKey,
    /// The minor version of the protocol that the server fell back to, if it did.
    pub(crate) minor: Option<u16>,
    /// Whose socket it is, on a Unix socket.
    pub(crate) owner: Option<u32>,
}

/// Who must have the server's socket.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Owner {
    /// Whoever had it when the server proved who it is.
    AsProved,
    /// Anybody: the server is about to prove it.
    ToBeProved,
}

/// The server's words about a session, with a gap where its key stood.
#[derive(Debug, Default)]
pub(crate) struct Told {
    pub(crate) before_key: Vec<u8>,
    pub(crate) behind_key: Vec<u8>,
}

/// Why there is no session.
pub(crate) enum Failure {
    /// We refuse.
    Denied(Denial),
    /// The server refuses; its own words.
    Said(Message),
}

impl Failure {
    /// Returns it as a refusal of ours.
    pub(crate) fn into_denial(self, settings: &Settings) -> Denial {
        match self {
            Self::Denied(denial) => denial,
            Self::Said(message) => refuse(settings, &words(&message)),
        }
    }
}

impl From<Denial> for Failure {
    fn from(denial: Denial) -> Self {
        Self::Denied(denial)
    }
}

impl Upstream {
    /// Trusts the owner of the server's socket, who has proved to be the right server.
    pub(crate) fn trust(&self, owner: Option<u32>) {
        self.owner.set(owner);
    }

    /// Connects, and returns whose socket it is if that can be told.
    async fn connect(
        &self,
        settings: &Settings,
        owner: Owner,
    ) -> Result<(Stream, Option<u32>), Denial> {
        let connecting = async {
            match &settings.server {
                ServerAddress::Tcp(address) => {
                    let stream = Stream::tcp(TcpStream::connect(address).await?)?;
                    match (stream, &settings.tls) {
                        (Stream::Tcp(stream), Some(tls)) => {
                            Ok((Stream::Tls(Box::new(tls.begin(stream).await?)), None))
                        }
                        (stream, _) => Ok((stream, None)),
                    }
                }
                ServerAddress::Unix(path) => {
                    let stream = UnixStream::connect(path).await?;
                    let owner = stream.peer_cred()?.uid();
                    Ok((Stream::Unix(stream), Some(owner)))
                }
            }
        };
        let connected = tokio::time::timeout(PATIENCE, connecting).await;
        let connected =
            connected.unwrap_or_else(|_| Err(io::Error::from(io::ErrorKind::TimedOut).into()));
        let (stream, found) = connected.map_err(|why| match why {
            Unproved::Refused(refusal) => refusal.into_denial(Code::SidecarTls),
            Unproved::Lost(error) => refuse(settings, &error.to_string()),
        })?;
        match (owner, found, self.owner.get()) {
            // Whoever could put another socket in the place of the server's is another user.
            (Owner::AsProved, Some(found), Some(proved)) if found != proved => {
                let message = "somebody else has the server's socket than before";
                let (found, expected) = (format!("uid {found}"), format!("uid {proved}"));
                Err(Denial::new(Code::SidecarIdentity, message, found, expected))
            }
            _ => Ok((stream, found)),
        }
    }

    /// Opens a session with this start-up message.
    pub(crate) async fn login(
        &self,
        settings: &Settings,
        startup: &[u8],
        owner: Owner,
    ) -> Result<LoggedIn, Failure> {
        let (stream, owner) = self.connect(settings, owner).await?;
        let mut exchange = Exchange::new(stream, Vec::new());
        let login = async {
            exchange.send(startup).await.map_err(|error| lost(settings, &error))?;
            let minor = self.authenticate(settings, &mut exchange).await?;
            let (told, key) = until_ready(settings, &mut exchange).await?;
            Ok((minor, told, key))
        };
        match tokio::time::timeout(PATIENCE, login).await {
            Ok(Ok((minor, told, key))) => Ok(LoggedIn { exchange, told, key, minor, owner }),
            Ok(Err(failure)) => Err(failure),
            Err(_) => Err(refuse(settings, "no answer within 10 seconds").into()),
        }
    }

    /// Proves who we are, and in the mode `inject` lets the server prove that it knows us.
    async fn authenticate(
        &self,
        settings: &Settings,
        exchange: &mut Exchange,
    ) -> Result<Option<u16>, Failure> {
        let mut minor = None;
        let mut request = next(settings, exchange).await?;
        if request.kind == b'v' {
            let version = request.content().first_chunk::<4>().map(|bytes| bytes[3]);
            minor = version.map(u16::from);
            request = next(settings, exchange).await?;
        }
        match (settings.mode, method(settings, &request)?) {
            (SidecarMode::Peer, Method::Done) => Ok(minor),
            (SidecarMode::Inject, Method::Sasl) => {
                self.prove(settings, exchange, &request).await?;
                Ok(minor)
            }
            (SidecarMode::Peer, method) => {
                let expected = "a login without a password, by `peer` in pg_hba.conf";
                Err(refuse_method(settings, &method, expected).into())
            }
            (SidecarMode::Inject, method) => {
                let expected = "a login by `scram-sha-256`, in which the server proves itself too";
                Err(refuse_method(settings, &method, expected).into())
            }
        }
    }

    async fn prove(
        &self,
        settings: &Settings,
        exchange: &mut Exchange,
        request: &Message,
    ) -> Result<(), Failure> {
        let offered = request.content().get(4..).unwrap_or_default();
        if !offered.split(|byte| *byte == 0).any(|name| name == MECHANISM.as_bytes()) {
            return Err(refuse(settings, "no SCRAM-SHA-256 is offered").into());
        }
        let broken = |problem: Problem| refuse(settings, &problem.to_string());
        let ours = ClientExchange::new(nonce::fresh()?);
        let first = ours.first();
        let length = u32::try_from(first.len()).unwrap_or_default();
        let content =
            [MECHANISM.as_bytes(), &[0], &length.to_be_bytes(), first.as_bytes()].concat();
        send(settings, exchange, &message(b'p', &content)).await?;

        let answer = sasl(settings, exchange, SASL_CONTINUE).await?;
        let challenge = ours.challenge(&answer.content()[4..]).map_err(broken)?;
        let keys = self.keys_for(settings, &challenge).await?;
        let (proof, expected) = ours.prove(&challenge, &keys);
        send(settings, exchange, &message(b'p', proof.as_bytes())).await?;

        let answer = sasl(settings, exchange, SASL_FINAL).await?;
        expected.check(&answer.content()[4..]).map_err(broken)?;
        *self.keys.borrow_mut() = Some(keys);
        sasl(settings, exchange, DONE).await?;
        Ok(())
    }

    /// Returns the keys that were derived before, or derives them; the password is not kept.
    async fn keys_for(&self, settings: &Settings, asked: &Challenge) -> Result<Keys, Denial> {
        let Challenge { salt, rounds, .. } = asked;
        let kept = self.keys.borrow().as_ref().filter(|keys| keys.fit(salt, *rounds)).cloned();
        if let Some(keys) = kept {
            return Ok(keys);
        }
        let login = settings.login.clone();
        let login = login.ok_or_else(|| refuse(settings, "no password is configured"))?;
        let (salt, rounds) = (salt.clone(), *rounds);
        let derive = move || {
            let password = login.password()?;
            Ok(Keys::derive(password.dangerous_expose(), &salt, rounds))
        };
        // A second of rounds must not hold up the other sessions.
        let derived = tokio::task::spawn_blocking(derive).await;
        derived.unwrap_or_else(|error| Err(refuse(settings, &error.to_string())))
    }

    /// Asks the server to end what a session of it does, and waits until it has seen that.
    pub(crate) async fn cancel(&self, settings: &Settings, key: &CancelKey) {
        let asking = async {
            let connected = self.connect(settings, Owner::AsProved).await;
            let (mut stream, _) = connected.map_err(io::Error::other)?;
            let code = CANCEL.to_be_bytes();
            let content = [&code[..], &key.process.to_be_bytes(), &key.secret].concat();
            stream.say(&framed(&content)).await?;
            stream.read_some().await
        };
        // A request that comes too late is none, whoever asks.
        let _ = tokio::time::timeout(PATIENCE, asking).await;
    }
}

/// What the server asks for.
#[derive(Debug, PartialEq, Eq)]
enum Method {
    Done,
    Sasl,
    Other(u32),
}

const DONE: u32 = 0;
const SASL: u32 = 10;
const SASL_CONTINUE: u32 = 11;
const SASL_FINAL: u32 = 12;

fn method(settings: &Settings, message: &Message) -> Result<Method, Denial> {
    match (message.kind, message.content().first_chunk::<4>()) {
        (b'R', Some(code)) => Ok(match u32::from_be_bytes(*code) {
            DONE => Method::Done,
            SASL => Method::Sasl,
            other => Method::Other(other),
        }),
        _ => Err(refuse(settings, "a message that is no part of a login")),
    }
}

async fn sasl(
    settings: &Settings,
    exchange: &mut Exchange,
    wanted: u32,
) -> Result<Message, Failure> {
    let message = next(settings, exchange).await?;
    let code = message.content().first_chunk::<4>().map(|code| u32::from_be_bytes(*code));
    if message.kind == b'R' && code == Some(wanted) {
        return Ok(message);
    }
    Err(refuse(settings, "another message than the login has here").into())
}

/// Takes what the server says of the session until it is ready.
async fn until_ready(
    settings: &Settings,
    exchange: &mut Exchange,
) -> Result<(Told, CancelKey), Failure> {
    let mut told = Told::default();
    let mut key = None;
    for _ in 0..MOST_MESSAGES {
        let message = next(settings, exchange).await?;
        match (message.kind, message.content().split_first_chunk::<4>()) {
            (b'K', Some((process, secret))) if key.is_none() => {
                let process = u32::from_be_bytes(*process);
                key = Some(CancelKey { process, secret: secret.to_vec() });
            }
            (b'S' | b'N' | b'Z', _) => {
                let words = if key.is_none() { &mut told.before_key } else { &mut told.behind_key };
                words.extend_from_slice(&message.bytes);
            }
            _ => return Err(refuse(settings, "a message that is no part of a login").into()),
        }
        if message.kind == b'Z' {
            let none = || refuse(settings, "a session without a key to cancel it");
            return Ok((told, key.ok_or_else(none)?));
        }
    }
    Err(refuse(settings, "a login without an end").into())
}

async fn next(settings: &Settings, exchange: &mut Exchange) -> Result<Message, Failure> {
    let message = exchange.message(LONGEST).await.map_err(|error| lost(settings, &error))?;
    if message.kind == b'E' { Err(Failure::Said(message)) } else { Ok(message) }
}

async fn send(settings: &Settings, exchange: &mut Exchange, bytes: &[u8]) -> Result<(), Denial> {
    exchange.send(bytes).await.map_err(|error| lost(settings, &error))
}

/// Returns the SQLSTATE and the message of an error.
pub(crate) fn words(message: &Message) -> String {
    let field = |wanted: u8| {
        let mut fields = message.content().split(|byte| *byte == 0);
        fields.find(|field| field.first() == Some(&wanted)).unwrap_or_default()
    };
    let text = |field: &[u8]| shown(&String::from_utf8_lossy(field.get(1..).unwrap_or_default()));
    format!("{} ({})", text(field(b'M')), text(field(b'C')))
}

fn lost(settings: &Settings, error: &io::Error) -> Denial {
    refuse(settings, &error.to_string())
}

fn refuse_method(settings: &Settings, method: &Method, expected: &str) -> Denial {
    let found = match method {
        Method::Done => "a login without any password".to_owned(),
        Method::Sasl => "a login by SCRAM-SHA-256".to_owned(),
        Method::Other(3) => "a login by a clear password".to_owned(),
        Method::Other(5) => "a login by md5".to_owned(),
        Method::Other(code) => format!("a login by method {code}"),
    };
    let message = format!("the server of {} wants another login", settings.slot);
    Denial::new(Code::WireUpstream, message, found, expected)
}

fn refuse(settings: &Settings, found: &str) -> Denial {
    let message = format!("the server of {} does not let the sidecar in", settings.slot);
    let expected = format!("a session of `{}` at {}", settings.role, settings.server);
    Denial::new(Code::WireUpstream, message, shown(found), expected)
}
