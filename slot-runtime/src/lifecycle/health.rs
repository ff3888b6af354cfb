//! Whether a slot's backend can be used, told apart: nobody listens, a foreign process listens,
//! nobody can tell who does, the slot's own process answers badly, or well.

use std::time::Duration;

use guard::diagnostic::{Code, Denial};
use guard::slot::SlotId;
use serde::Serialize;

use super::listener::{self, Listener};
use super::probe::{self, Answer};
use super::process::Process;

/// What one look at a backend found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Health {
    /// The answer in one word.
    pub state: HealthState,
    /// The port that was asked.
    pub port: u16,
    /// The path that was asked for.
    pub path: String,
    /// The status of the answer, if one came.
    pub status: Option<u16>,
    /// How long the answer took, in milliseconds.
    pub latency_ms: Option<u64>,
    /// How long its body was, up to 64 KiB.
    pub body_bytes: Option<usize>,
    /// Why there is no usable answer.
    pub why: Option<&'static str>,
    /// A foreign process that listens, where it can be found.
    pub foreign_pid: Option<i32>,
}

/// The states of health.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum HealthState {
    /// The slot's own process answers with success.
    Healthy,
    /// The slot's own process answers badly or not at all.
    Unhealthy,
    /// Nobody listens.
    NotListening,
    /// A process that is none of the slot's listens.
    Foreign,
    /// Somebody listens, and nobody can tell who.
    Undecidable,
}

/// How long one question may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Looks at the slot's port, given a way to list the slot's processes.
pub(crate) fn look(slot: SlotId, path: &str, processes: impl Fn() -> Vec<Process>) -> Health {
    match whose(slot, &processes) {
        Listener::Slot => {}
        other => return unasked(slot, path, &other),
    }
    let answer = probe::ask(slot.backend_port(), path, PATIENCE);
    // Whoever answered must have been the one who was seen.
    match whose(slot, &processes) {
        Listener::Slot => answered(Health::unknown(slot, path), &answer),
        other => unasked(slot, path, &other),
    }
}

/// Looks at the slot's port without asking anybody: a question would start a unit with a socket.
pub(crate) fn glance(slot: SlotId, path: &str, processes: impl Fn() -> Vec<Process>) -> Health {
    unasked(slot, path, &whose(slot, &processes))
}

/// Returns whether the slot's own process listens on its port.
pub(crate) fn listens(
    slot: SlotId,
    path: &str,
    processes: impl Fn() -> Vec<Process>,
) -> Result<bool, Denial> {
    let listener = whose(slot, &processes);
    match listener {
        Listener::Nobody => Ok(false),
        Listener::Slot => Ok(true),
        Listener::Foreign(_) | Listener::Undecidable => {
            unasked(slot, path, &listener).denial(slot).map_or(Ok(false), Err)
        }
    }
}

fn whose(slot: SlotId, processes: &impl Fn() -> Vec<Process>) -> Listener {
    match listener::find(slot.backend_port(), &processes()) {
        // A process that was made a moment ago may be missing in the list.
        Listener::Foreign(_) => listener::find(slot.backend_port(), &processes()),
        listener => listener,
    }
}

fn unasked(slot: SlotId, path: &str, listener: &Listener) -> Health {
    let health = Health::unknown(slot, path);
    match listener {
        Listener::Foreign(pid) => {
            Health { state: HealthState::Foreign, foreign_pid: *pid, ..health }
        }
        Listener::Undecidable => Health { state: HealthState::Undecidable, ..health },
        Listener::Nobody | Listener::Slot => health,
    }
}

fn answered(health: Health, answer: &Answer) -> Health {
    match *answer {
        Answer::Status { status, latency, body_bytes } => Health {
            state: if matches!(status, 200..=399) {
                HealthState::Healthy
            } else {
                HealthState::Unhealthy
            },
            status: Some(status),
            latency_ms: u64::try_from(latency.as_millis()).ok(),
            body_bytes: Some(body_bytes),
            ..health
        },
        Answer::Refused => health,
        Answer::Useless(why) => Health { state: HealthState::Unhealthy, why: Some(why), ..health },
    }
}

impl Health {
    fn unknown(slot: SlotId, path: &str) -> Self {
        Self {
            state: HealthState::NotListening,
            port: slot.backend_port(),
            path: path.to_owned(),
            status: None,
            latency_ms: None,
            body_bytes: None,
            why: None,
            foreign_pid: None,
        }
    }

    /// Returns the refusal that this health is, unless it is healthy.
    #[must_use]
    pub fn denial(&self, slot: SlotId) -> Option<Denial> {
        let (port, path) = (self.port, &self.path);
        let by = self
            .foreign_pid
            .map_or("a process that is not shown".to_owned(), |pid| format!("pid {pid}"));
        let (code, message, found) = match self.state {
            HealthState::Healthy => return None,
            HealthState::Unhealthy => (
                Code::BackendUnhealthy,
                format!("the backend of {slot} is not healthy"),
                match (self.status, self.why) {
                    (Some(status), _) => format!("status {status} from `{path}` on port {port}"),
                    (None, why) => format!("{} on port {port}", why.unwrap_or("no answer")),
                },
            ),
            HealthState::NotListening => (
                Code::BackendNotListening,
                format!("the backend of {slot} does not listen"),
                format!("nobody listens on port {port}"),
            ),
            HealthState::Foreign => (
                Code::PortForeign,
                format!("a foreign process listens on the port of {slot}"),
                format!("{by} listens on port {port}"),
            ),
            HealthState::Undecidable => (
                Code::PortUndecidable,
                format!("nobody can tell who listens on the port of {slot}"),
                format!("somebody listens on port {port}"),
            ),
        };
        Some(Denial::new(
            code,
            message,
            found,
            format!("the slot's own process, status 200 to 399 from `{path}`"),
        ))
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;

    use super::*;

    fn slot() -> SlotId {
        "preview-9".parse().unwrap()
    }

    /// Serves one answer on the port of the slot and returns the health as the slot's own or not.
    fn health(answer: &'static str, own: bool) -> Health {
        let listener = TcpListener::bind(("127.0.0.1", slot().backend_port())).unwrap();
        let server = std::thread::spawn(move || {
            listener.set_nonblocking(false).unwrap();
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 512];
            let _ = stream.read(&mut request);
            let _ = stream.write_all(answer.as_bytes());
            listener
        });
        let processes = move || if own { Process::own().into_iter().collect() } else { Vec::new() };
        let health = look(slot(), "/", processes);
        if !own {
            // Nobody asked; let the server go.
            drop(std::net::TcpStream::connect(("127.0.0.1", slot().backend_port())));
        }
        drop(server.join().unwrap());
        health
    }

    #[test]
    fn the_states_are_told_apart() {
        let nobody = look(slot(), "/", Vec::new);
        assert_eq!(nobody.state, HealthState::NotListening);
        assert_eq!(nobody.denial(slot()).unwrap().code(), Code::BackendNotListening);

        let good = health("HTTP/1.1 200 OK\r\n\r\nhello", true);
        assert_eq!((good.state, good.status), (HealthState::Healthy, Some(200)));
        assert!(good.latency_ms.is_some() && good.body_bytes == Some(5));
        assert_eq!(good.denial(slot()), None);

        let moved = health("HTTP/1.1 302 Found\r\n\r\n", true);
        assert_eq!(moved.state, HealthState::Healthy);
        let missing = health("HTTP/1.1 404 No\r\n\r\n", true);
        assert_eq!(missing.state, HealthState::Unhealthy);
        assert_eq!(missing.denial(slot()).unwrap().code(), Code::BackendUnhealthy);
        let garbage = health("garbage", true);
        assert_eq!(garbage.why, Some("an answer that is no HTTP/1"));

        let foreign = health("HTTP/1.1 200 OK\r\n\r\n", false);
        assert_eq!(foreign.state, HealthState::Foreign);
        assert_eq!(foreign.foreign_pid, Process::own().map(|own| own.pid));
        assert_eq!(foreign.denial(slot()).unwrap().code(), Code::PortForeign);
    }
}
