//! Who the server is: `migrate-runner` says it, and our own login must lead to the same.
//!
//! The sibling has the SQL client and the rules. What it saw is worth something here only if the
//! sessions of this process reach the same database, so the same two numbers are asked for over a
//! login of our own.

use std::time::Duration;

use guard::diagnostic::{Class, Code, Denial};
use guard::io::LoadedConfig;
use slot_runtime::installation::ask::{self, Live};
use tokio::io::AsyncWriteExt as _;

use crate::exchange::{Exchange, Message};
use crate::handshake::{Handshake, Step};
use crate::login::UrlFile;
use crate::message::{framed, message, put_text};
use crate::settings::Settings;
use crate::upstream::{LoggedIn, Owner, Upstream, words};

/// How long the sibling may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Longest answer to the question, in bytes.
const LONGEST: usize = 64 * 1024;

/// Most messages of the answer.
const MOST_MESSAGES: usize = 50;

/// Asked with full names, so that nothing of the slot's own can stand in for the server's.
const SERVER_AND_DATABASE: &str = "SELECT d.oid, c.system_identifier \
     FROM pg_catalog.pg_database d, pg_catalog.pg_control_system() c \
     WHERE d.datname OPERATOR(pg_catalog.=) pg_catalog.current_database()";
const DATABASE: &str = "SELECT d.oid FROM pg_catalog.pg_database d \
     WHERE d.datname OPERATOR(pg_catalog.=) pg_catalog.current_database()";

/// What a server that is the slot's own speaks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Confirmed {
    pub(crate) newest_minor: u16,
}

/// Why the server is not confirmed.
#[derive(Debug)]
pub(crate) enum Doubt {
    /// It is another one, or not as it must be.
    Mismatch(Denial),
    /// It could not be asked.
    Unanswered(Denial),
}

impl Doubt {
    /// Returns the refusal.
    pub(crate) fn into_denial(self) -> Denial {
        match self {
            Self::Mismatch(denial) | Self::Unanswered(denial) => denial,
        }
    }

    /// A server that is away, or has no connection left for the question, is no other server.
    fn of(denial: Denial) -> Self {
        let asked_in_vain = [Class::Unavailable, Class::Busy, Class::Internal];
        let code = denial.code();
        if asked_in_vain.contains(&code.class()) || code == Code::LoginRefused {
            Self::Unanswered(denial)
        } else {
            Self::Mismatch(denial)
        }
    }
}

/// Asks the sibling, then the server behind our own login.
pub(crate) async fn confirm(
    settings: &Settings,
    loaded: &LoadedConfig,
    upstream: &Upstream,
) -> Result<Confirmed, Doubt> {
    let live = asked(settings, loaded).await.map_err(Doubt::of)?;
    probe(settings, upstream, &live).await.map_err(Doubt::of)
}

async fn asked(settings: &Settings, loaded: &LoadedConfig) -> Result<Live, Denial> {
    let unanswered = |why: String| {
        let message = "`migrate-runner confirm` gives no answer";
        Denial::new(Code::SiblingMissing, message, why, "an answer within 30 seconds")
    };
    let url = settings.url_file.as_ref().map(UrlFile::text).transpose()?;
    let command = ask::confirmation(settings.slot, url.is_some(), loaded)?;
    let mut command = tokio::process::Command::from(command);
    command.kill_on_drop(true);
    let answer = async {
        let mut running = command.spawn()?;
        if let (Some(url), Some(mut pipe)) = (&url, running.stdin.take()) {
            // A child that ended already says why itself.
            let _ = pipe.write_all(url.dangerous_expose().as_bytes()).await;
        }
        running.wait_with_output().await
    };
    match tokio::time::timeout(PATIENCE, answer).await {
        Ok(Ok(output)) => ask::read_confirmation(&output),
        Ok(Err(error)) => Err(unanswered(error.to_string())),
        Err(_) => Err(unanswered("none in time".to_owned())),
    }
}

async fn probe(settings: &Settings, upstream: &Upstream, live: &Live) -> Result<Confirmed, Denial> {
    let asked = 2;
    let startup = own_startup(settings, asked)?;
    let login = upstream.login(settings, &startup, Owner::ToBeProved).await;
    let LoggedIn { mut exchange, minor, owner, .. } =
        login.map_err(|failure| failure.into_denial(settings))?;
    let (query, expected) = match &live.system_identifier {
        Some(identifier) => (SERVER_AND_DATABASE, vec![live.oid.to_string(), identifier.clone()]),
        None => (DATABASE, vec![live.oid.to_string()]),
    };
    let found = tokio::time::timeout(PATIENCE, ask_for_row(settings, &mut exchange, query)).await;
    let found = found.unwrap_or_else(|_| Err(unreadable(settings, "no answer in time")))?;
    if found == expected {
        upstream.trust(owner);
        return Ok(Confirmed { newest_minor: minor.unwrap_or(asked).min(asked) });
    }
    let place = &settings.server;
    let name = |row: &[String]| match row {
        [oid, server] => format!("oid {oid} on the server {server}"),
        [oid] => format!("oid {oid}"),
        _ => "nothing".to_owned(),
    };
    Err(Denial::new(
        Code::SidecarIdentity,
        format!("the server at {place} is not the one that was confirmed"),
        name(&found),
        name(&expected),
    ))
}

/// Writes our own start-up message as a client would and takes it through the same gate.
fn own_startup(settings: &Settings, minor: u16) -> Result<Vec<u8>, Denial> {
    let rules = settings.rules(minor);
    let mut content = (3 << 16 | u32::from(minor)).to_be_bytes().to_vec();
    for text in
        ["user", &rules.role, "database", &rules.database, "application_name", "slotguard-sidecar"]
    {
        put_text(&mut content, text.as_bytes());
    }
    content.push(0);
    match Handshake::default().advance(&framed(&content), &rules).1 {
        Step::Start(startup) => Ok(startup.message),
        Step::Refuse(refusal) => Err(refusal.denial().clone()),
        Step::Wait | Step::Answer(_) | Step::Cancel(_) => {
            Err(unreadable(settings, "a start-up message of our own"))
        }
    }
}

/// Sends one query and returns the texts of its only row.
async fn ask_for_row(
    settings: &Settings,
    exchange: &mut Exchange,
    query: &str,
) -> Result<Vec<String>, Denial> {
    let mut content = Vec::new();
    put_text(&mut content, query.as_bytes());
    let lost = |error: std::io::Error| unreadable(settings, &error.to_string());
    exchange.send(&message(b'Q', &content)).await.map_err(lost)?;
    let mut row = None;
    for _ in 0..MOST_MESSAGES {
        let message = exchange.message(LONGEST).await.map_err(lost)?;
        match message.kind {
            b'D' => row = columns(&message),
            b'E' => return Err(unreadable(settings, &words(&message))),
            b'Z' => {
                // The server is told, so that its log has no lost connection.
                exchange.send(&crate::message::message(b'X', &[])).await.map_err(lost)?;
                return row.ok_or_else(|| unreadable(settings, "no row"));
            }
            _ => {}
        }
    }
    Err(unreadable(settings, "an answer without an end"))
}

fn columns(message: &Message) -> Option<Vec<String>> {
    let (count, mut rest) = message.content().split_first_chunk::<2>()?;
    let mut columns = Vec::new();
    for _ in 0..u16::from_be_bytes(*count) {
        let (length, after) = rest.split_first_chunk::<4>()?;
        let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
        let (text, after) = after.split_at_checked(length)?;
        columns.push(String::from_utf8(text.to_vec()).ok()?);
        rest = after;
    }
    rest.is_empty().then_some(columns)
}

fn unreadable(settings: &Settings, found: &str) -> Denial {
    let message = format!("the server of {} does not say who it is", settings.slot);
    let expected = "one row with the database and the server";
    Denial::new(Code::WireUpstream, message, guard::diagnostic::shown(found), expected)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_read_whole_or_not_at_all() {
        let row = |content: &[u8]| columns(&Message { kind: b'D', bytes: message(b'D', content) });
        assert_eq!(row(b"\0\x02\0\0\0\x015\0\0\0\x0277").unwrap(), ["5", "77"]);
        for bad in [&b""[..], b"\0\x01", b"\0\x01\xff\xff\xff\xff", b"\0\x01\0\0\0\x015x"] {
            assert!(row(bad).is_none(), "{bad:?}");
        }
    }

    #[test]
    fn a_server_that_is_away_is_no_other_server() {
        let doubt = |code| Doubt::of(Denial::new(code, "m", "f", "e"));
        for code in [Code::ServerUnreachable, Code::LoginRefused, Code::WireUpstream] {
            assert!(matches!(doubt(code), Doubt::Unanswered(_)), "{code}");
        }
        for code in [Code::StampMismatch, Code::SidecarIdentity, Code::LiveServer] {
            assert!(matches!(doubt(code), Doubt::Mismatch(_)), "{code}");
        }
    }
}
