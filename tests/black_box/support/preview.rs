//! Slots with backends that the program starts, on a server of their own.

#![expect(clippy::unwrap_used, reason = "helpers of tests, outside of what the lint takes for one")]

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::sync::MutexGuard;

use serde_json::Value;

use super::place::Place;
use super::processes::Process;
use super::run::{Outcome, Run};
use super::server::Server;
use super::{ports, programs};

/// Misbehaving backends, as scripts of a worktree.
const SCRIPTS: [(&str, &str); 4] = [
    ("crashes.sh", "echo 'cannot go on' >&2\nexit 3\n"),
    ("hangs.sh", "echo waiting >&2\nexec sleep 1000\n"),
    // Its children leave the session, lose their parent and do not listen to SIGTERM.
    (
        "escapes.sh",
        "trap '' TERM\n\
         for round in 1 2; do\n\
           (setsid sh -c 'trap \"\" TERM; echo $$ >>escaped; sleep 300' &)\n\
         done\n\
         while [ \"$(wc -l <escaped)\" -lt 2 ]; do sleep 0.05; done 2>/dev/null\n\
         echo escaped >&2\n\
         for second in $(seq 300); do sleep 1; done\n",
    ),
    (
        "talks.sh",
        "head -c 20000000 /dev/zero | tr '\\000' 'x' | fold -w 99\necho\necho said\nexec sleep 1000\n",
    ),
];

/// A server, the ports of the slots and a configuration for backends; whatever a test starts is
/// stopped when it is dropped.
pub(crate) struct Preview {
    pub(crate) server: Server,
    _ports: MutexGuard<'static, ()>,
}

impl Preview {
    /// Reserves the ports, starts a server and allows the sample backend and the misbehaving ones.
    pub(crate) fn new() -> Self {
        let preview = Self { _ports: ports::reserve(), server: Server::new() };
        let place = &preview.server.place;
        place.install(&programs::program("sample-backend"), "bin/sample-backend");
        for (name, text) in SCRIPTS {
            place.write(&format!("previews/feature/{name}"), 0o644, text);
        }
        preview.configure("");
        preview
    }

    /// Writes the configuration, with further tables.
    pub(crate) fn configure(&self, tables: &str) {
        let at = self.server.place.text("bin");
        let scripts = SCRIPTS.map(|(name, _)| {
            let key = name.trim_end_matches(".sh");
            format!("[programs.{key}]\npath = \"/bin/sh\"\nargs = [\"{name}\"]\n")
        });
        self.server.configure(&format!(
            "[backend]\nhealth_path = \"/api/health\"\nready_timeout_s = 20\nstop_timeout_s = 2\n\
             [sandbox]\nrequire = []\n\
             [programs.backend]\npath = \"{at}/sample-backend\"\nargs = [\"...\"]\n{}{tables}",
            scripts.concat()
        ));
    }

    pub(crate) fn place(&self) -> &Place {
        &self.server.place
    }

    /// Prepares a verb of `slotguard backend` for a slot.
    pub(crate) fn backend(&self, verb: &str, slot: u8, more: &[&str]) -> Run {
        backend(self.place(), verb, slot, more)
    }

    /// Prepares the start of a program in the worktree `feature`.
    pub(crate) fn start(&self, slot: u8, program: &str) -> Run {
        let worktree = self.place().text("previews/feature");
        self.backend("start", slot, &["--worktree", &worktree, "--program", program])
    }

    /// Starts the sample's backend, expects that it is healthy, and returns the process.
    #[track_caller]
    pub(crate) fn started(&self, slot: u8) -> Process {
        let outcome = self.start(slot, "backend").run();
        let said = said(outcome.accepted());
        assert_eq!(said["state"], "running", "{said}");
        process(&said)
    }

    /// Expects that a stop succeeds and says that nothing is left; returns what it said.
    #[track_caller]
    pub(crate) fn stopped(&self, slot: u8) -> Value {
        let outcome = self.backend("stop", slot, &[]).run();
        let said = said(outcome.accepted());
        assert_eq!(said["state"], "stopped", "{said}");
        assert_eq!(
            (&said["freed"]["processes"], &said["freed"]["port"]),
            (&0.into(), &"free".into())
        );
        assert!(ports::listen(8100 + u16::from(slot)).is_ok());
        said
    }

    /// Returns what the keeper noted of the last run of a slot.
    #[track_caller]
    pub(crate) fn run(&self, slot: u8) -> Value {
        let path = self.place().path(&format!("state/run/preview-{slot}/run.json"));
        serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
    }

    /// Changes what the keeper noted.
    pub(crate) fn write_run(&self, slot: u8, run: &Value) {
        self.place().write(&format!("state/run/preview-{slot}/run.json"), 0o600, &run.to_string());
    }
}

impl Drop for Preview {
    fn drop(&mut self) {
        for slot in 1..=3 {
            // A test that fails must not leave a backend, and must not fail twice.
            let stop = self.backend("stop", slot, &[]);
            let _ = std::panic::catch_unwind(|| stop.run());
        }
    }
}

/// Prepares a verb of `slotguard backend` with a place's configuration.
pub(crate) fn backend(place: &Place, verb: &str, slot: u8, more: &[&str]) -> Run {
    let (config, slot) = (place.config(), format!("preview-{slot}"));
    let front = ["backend", verb, "--config", &config, "--slot", &slot];
    Run::new("slotguard", &[&front, more].concat())
}

/// Returns the one object that a verb printed.
#[track_caller]
pub(crate) fn said(outcome: &Outcome) -> Value {
    let objects = outcome.objects();
    assert_eq!(objects.len(), 1, "{outcome:#?}");
    objects[0].clone()
}

/// Returns the process that a verb says the backend is.
#[track_caller]
pub(crate) fn process(said: &Value) -> Process {
    let pid = said["pid"].as_i64().unwrap_or_else(|| panic!("no process: {said}"));
    Process::look(i32::try_from(pid).unwrap()).unwrap_or_else(|| panic!("it is gone: {said}"))
}

/// A connection to a slot's backend that stays open.
pub(crate) struct Connection(BufReader<TcpStream>);

impl Connection {
    /// Connects to a slot.
    pub(crate) fn open(slot: u8) -> Self {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, 8100 + u16::from(slot))).unwrap();
        stream.set_read_timeout(Some(std::time::Duration::from_secs(30))).unwrap();
        Self(BufReader::new(stream))
    }

    /// Asks over this connection and returns the status line.
    pub(crate) fn ask(&mut self) -> String {
        let request = b"GET /api/environment HTTP/1.1\r\nHost: x\r\n\r\n";
        self.0.get_mut().write_all(request).unwrap();
        let mut first = String::new();
        self.0.read_line(&mut first).unwrap();
        let mut length = 0;
        loop {
            let mut line = String::new();
            self.0.read_line(&mut line).unwrap();
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length: ") {
                length = value.trim().parse().unwrap();
            }
            if line == "\r\n" {
                break;
            }
        }
        let mut body = vec![0; length];
        std::io::Read::read_exact(&mut self.0, &mut body).unwrap();
        first.trim_end().to_owned()
    }
}
