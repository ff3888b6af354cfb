//! `routes verify --live`: which backend each front reaches, asked of what runs.
//!
//! A backend that offers its identity proves the route by itself. Otherwise two owners must agree:
//! the slot's backend listens on its port, and the front is the slot's own `web-surface`, which can
//! reach nothing else. Who cannot be told is a finding.

use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

use guard::config::Config;
use guard::diagnostic::{Code, Denial};
use guard::slot::SlotId;
use serde::Serialize;
use slot_runtime::StateRoot;
use slot_runtime::lifecycle::{self, Backend};

use super::identity::{Identity, Keys};
use crate::{http, sibling};

/// How long a port of this host may take to accept.
const PATIENCE: Duration = Duration::from_secs(2);

/// One way to a backend.
#[derive(Debug, Serialize)]
pub(super) struct Route {
    slot: String,
    kind: Kind,
    address: String,
    /// Whether anybody listens there.
    listening: bool,
    /// What proves that it leads to the slot's own backend.
    proof: Option<Proof>,
    pub(super) findings: Vec<Denial>,
}

/// Kinds of ways.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Kind {
    /// By the slot's front.
    Front,
    /// Straight to the backend, as `WORKER_SLOT_API_DIRECT_TEMPLATE` has it.
    Direct,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Proof {
    /// The backend answered with its key.
    Identity,
    /// The slot's processes hold the sockets.
    Owner,
}

/// Looks at both ways of each slot.
///
/// # Errors
/// Refuses a state root that cannot be used.
pub(super) fn verify(config: &Config, only: Option<SlotId>) -> Result<Vec<Route>, Denial> {
    let state = StateRoot::open_or_create(&config.roots)?;
    let keys = Keys::read(&state, config.slots().iter());
    let mut routes = Vec::new();
    for slot in config.slots().iter().filter(|slot| only.is_none_or(|only| only == *slot)) {
        let backend = Backend::open(&state, slot, &config.lifecycle)?;
        let others = config.slots().iter().filter(|other| *other != slot).collect();
        let sleeps = backend.sleeps();
        let look = Look { slot, keys: &keys, backend: &backend, sleeps, others };
        let (direct, offered) = look.direct()?;
        routes.extend([look.front(offered)?, direct]);
    }
    Ok(routes)
}

struct Look<'a> {
    slot: SlotId,
    keys: &'a Keys,
    backend: &'a Backend,
    sleeps: bool,
    others: Vec<SlotId>,
}

impl Look<'_> {
    /// Looks at the backend's own port; returns also whether it offers its identity.
    fn direct(&self) -> Result<(Route, bool), Denial> {
        let port = self.slot.backend_port();
        let mut route = self.route(Kind::Direct, !self.sleeps && connects(port));
        if !route.listening {
            return Ok((route, false));
        }
        let identity = self.keys.ask(port, &address(port))?;
        match self.judge(identity) {
            Judged::Proof => route.proof = Some(Proof::Identity),
            Judged::Finding(denial) => route.findings.push(denial),
            Judged::Open => match self.backend.listens() {
                Ok(true) => route.proof = Some(Proof::Owner),
                // It ended between the two looks.
                Ok(false) => route.listening = false,
                Err(denial) => route.findings.push(denial),
            },
        }
        Ok((route, identity == Identity::Of(self.slot)))
    }

    fn front(&self, offered: bool) -> Result<Route, Denial> {
        let port = self.slot.frontend_port();
        let mut route = self.route(Kind::Front, connects(port));
        if !route.listening {
            return Ok(route);
        }
        // A question would wake a backend that sleeps behind its socket.
        let identity = if self.sleeps {
            Identity::NotOffered(None)
        } else {
            self.keys.ask(port, &address(port))?
        };
        match self.judge(identity) {
            Judged::Proof => route.proof = Some(Proof::Identity),
            Judged::Finding(denial) => route.findings.push(denial),
            Judged::Open if offered => {
                let found = format!("{}, where the backend proves itself", shown(identity));
                route.findings.push(self.crossed(found));
            }
            Judged::Open => match self.owners() {
                Ok(()) => route.proof = Some(Proof::Owner),
                Err(denial) => route.findings.push(denial),
            },
        }
        for other in &self.others {
            route.findings.extend(self.answers_for(*other)?);
        }
        Ok(route)
    }

    fn route(&self, kind: Kind, listening: bool) -> Route {
        let port = match kind {
            Kind::Front => self.slot.frontend_port(),
            Kind::Direct => self.slot.backend_port(),
        };
        Route {
            slot: self.slot.to_string(),
            kind,
            address: address(port),
            listening,
            proof: None,
            findings: Vec::new(),
        }
    }

    fn judge(&self, identity: Identity) -> Judged {
        match identity {
            Identity::Of(slot) if slot == self.slot => Judged::Proof,
            Identity::Of(_) => Judged::Finding(self.crossed(shown(identity))),
            Identity::Invalid => Judged::Finding(Denial::new(
                Code::RouteIdentity,
                format!("what answers for {} has no key of a slot", self.slot),
                shown(identity),
                format!("the backend of {} with the key of its present start", self.slot),
            )),
            Identity::NotOffered(_) => Judged::Open,
        }
    }

    fn crossed(&self, found: String) -> Denial {
        Denial::new(
            Code::RouteCrossed,
            format!("a way of {} does not lead to its own backend", self.slot),
            found,
            format!("the backend of {} on {}", self.slot, address(self.slot.backend_port())),
        )
    }

    /// Requires that the slot's own processes hold both ends.
    fn owners(&self) -> Result<(), Denial> {
        // A slot without a backend has a front all the same; it can reach nobody.
        self.backend.listens()?;
        let port = self.slot.frontend_port();
        let program = sibling::beside("web-surface")?;
        let pids = lifecycle::holders(port).unwrap_or_default();
        if !pids.is_empty() && pids.iter().all(|pid| is_front(*pid, &program, self.slot)) {
            return Ok(());
        }
        let found = match pids.first() {
            Some(pid) => {
                format!("pid {pid}, which is no `web-surface` of this installation for it")
            }
            None => "a process that is not shown".to_owned(),
        };
        Err(Denial::new(
            Code::RouteUnproven,
            format!("nobody can tell which backend the front of {} reaches", self.slot),
            format!("{found}, on {}; the backend offers no identity", address(port)),
            format!(
                "a backend that offers its identity, or `web-surface serve --slot {}`",
                self.slot
            ),
        ))
    }

    /// Asks the front by the name of another slot, which it must refuse.
    fn answers_for(&self, other: SlotId) -> Result<Option<Denial>, Denial> {
        const MISDIRECTED: u16 = 421;
        let (port, name) = (self.slot.frontend_port(), other.dns_alias());
        let page = http::get_by_name(port, &name, "/", "text/html");
        let identity = self.keys.ask(port, &name)?;
        // Who hangs up has not answered either.
        let refuses_page = page.map_or(true, |(status, _)| status == MISDIRECTED);
        if refuses_page && matches!(identity, Identity::NotOffered(None | Some(MISDIRECTED))) {
            return Ok(None);
        }
        Ok(Some(Denial::new(
            Code::RouteHost,
            format!("the front of {} answers to a name of {other}", self.slot),
            format!("host `{name}`: {}", shown(identity)),
            format!("status {MISDIRECTED}"),
        )))
    }
}

enum Judged {
    Proof,
    Finding(Denial),
    /// Nothing was said; who owns the sockets decides.
    Open,
}

fn shown(identity: Identity) -> String {
    match identity {
        Identity::Of(slot) => format!("the backend of {slot} answers"),
        Identity::Invalid => "an identity that no key of a slot makes".to_owned(),
        Identity::NotOffered(Some(status)) => format!("status {status} without an identity"),
        Identity::NotOffered(None) => "no answer".to_owned(),
    }
}

fn connects(port: u16) -> bool {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    TcpStream::connect_timeout(&address, PATIENCE).is_ok()
}

fn address(port: u16) -> String {
    format!("127.0.0.1:{port}")
}

/// Returns whether a process is this program, started for this slot.
fn is_front(pid: i32, program: &Path, slot: SlotId) -> bool {
    let same = |program: &Path| {
        use std::os::unix::fs::MetadataExt as _;
        let running = std::fs::metadata(format!("/proc/{pid}/exe")).ok()?;
        let installed = std::fs::metadata(program).ok()?;
        Some((running.dev(), running.ino()) == (installed.dev(), installed.ino()))
    };
    let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    same(program) == Some(true) && serves(&line, slot)
}

/// Reads the command line of a front, whose words end with a null byte each.
fn serves(line: &[u8], slot: SlotId) -> bool {
    let words: Vec<&[u8]> = line.split(|byte| *byte == 0).skip(1).collect();
    let slot = slot.to_string();
    let apart = words.windows(2).any(|two| two[0] == b"--slot" && two[1] == slot.as_bytes());
    let joined = format!("--slot={slot}");
    words.contains(&&b"serve"[..]) && (apart || words.contains(&joined.as_bytes()))
}

impl Route {
    /// Returns the way in a line.
    pub(super) fn line(&self) -> String {
        let kind = match self.kind {
            Kind::Front => "front",
            Kind::Direct => "direct",
        };
        let outcome = match (self.listening, self.proof, self.findings.len()) {
            (false, ..) => "nobody listens",
            (true, Some(Proof::Identity), 0) => "its own backend, which proved it",
            (true, Some(Proof::Owner), 0) => "its own backend, by the owners of the sockets",
            (true, _, 1) => "1 finding",
            (true, ..) => "several findings",
        };
        format!("{}: {kind} {}: {outcome}", self.slot, self.address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_front_is_known_by_its_words() {
        let slot = "preview-1".parse().unwrap();
        let serves = |words: &[&str]| serves(words.join("\0").as_bytes(), slot);
        assert!(serves(&["web-surface", "serve", "--slot", "preview-1", ""]));
        assert!(serves(&["web-surface", "serve", "--slot=preview-1", "--format", "json", ""]));
        for other in [
            &["web-surface", "serve", "--slot", "preview-2", ""][..],
            &["web-surface", "serve", "--slot", "preview-11", ""],
            &["web-surface", "--slot", "preview-1", ""],
            &["serve", "--slot", "preview-1"],
            &[""],
        ] {
            assert!(!serves(other), "{other:?}");
        }
    }
}
