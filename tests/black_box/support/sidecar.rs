//! A sidecar of `preview-1` that runs, and clients of it.

#![expect(clippy::unwrap_used, reason = "helpers of tests, outside of what the lint takes for one")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::path::PathBuf;
use std::process::Child;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::ports;
use super::run::{Run, SECRET};
use super::schema;
use super::server::Server;

/// The port of the sidecar of `preview-1`.
pub(crate) const PORT: u16 = 5101;

const TRIES: u32 = 2000;
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// How long a socket may be silent before a test fails.
const PATIENCE: Duration = Duration::from_secs(30);

static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// A program that ends when dropped; what it said is checked then.
pub(crate) struct Sidecar {
    child: Child,
    said: Arc<Mutex<String>>,
    reader: Option<std::thread::JoinHandle<()>>,
    state: PathBuf,
    psql: PathBuf,
    // Dropped last: the port is free again then.
    _port: MutexGuard<'static, ()>,
}

/// Waits until no other test has the port.
pub(crate) fn reserve() -> MutexGuard<'static, ()> {
    let guard = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    for _ in 0..TRIES {
        if ports::listen(PORT).is_ok() {
            return guard;
        }
        std::thread::sleep(LOOK_AGAIN);
    }
    panic!("something else listens on {PORT}");
}

/// Prepares `pg-sidecar serve` for `preview-1`.
pub(crate) fn serve(server: &Server) -> Run {
    let config = server.place.config();
    Run::new("pg-sidecar", &["serve", "--slot", "preview-1", "--config", &config])
}

/// Configures a sidecar with these lines, beside the server's usual configuration.
pub(crate) fn configure(server: &Server, lines: &str) {
    configure_at(server, server.port(), lines);
}

/// As [`configure`], with another port of loopback as the slots' server.
pub(crate) fn configure_at(server: &Server, port: u16, lines: &str) {
    server.configure_at(port, &format!("[sidecar]\nenabled = true\n{lines}"));
}

impl Sidecar {
    /// Starts one with the present configuration and waits until it serves.
    #[track_caller]
    pub(crate) fn start(server: &Server) -> Self {
        Self::start_plain(server, serve(server).format("json"))
    }

    /// As [`Sidecar::start`], by a run that chooses JSON itself.
    #[track_caller]
    pub(crate) fn start_plain(server: &Server, run: Run) -> Self {
        let port = reserve();
        let mut child = run.start();
        let said = Arc::<Mutex<String>>::default();
        let (out, written) = (child.stdout.take().unwrap(), Arc::clone(&said));
        let reader = std::thread::spawn(move || {
            for line in BufReader::new(out).lines().map_while(Result::ok) {
                written.lock().unwrap().push_str(&format!("{line}\n"));
            }
        });
        let sidecar = Self {
            child,
            said,
            reader: Some(reader),
            state: server.place.path("state/sidecar/preview-1"),
            psql: server.cluster().programs().psql().to_owned(),
            _port: port,
        };
        sidecar.wait_for("sidecar.ready", |_| true);
        sidecar
    }

    /// Returns every event so far.
    pub(crate) fn events(&self) -> Vec<Value> {
        let said = self.said.lock().unwrap();
        said.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Waits for an event of this name and kind.
    #[track_caller]
    pub(crate) fn wait_for(&self, name: &str, fits: impl Fn(&Value) -> bool) -> Value {
        for _ in 0..TRIES {
            let events = self.events();
            if let Some(event) = events.iter().find(|event| event["event"] == name && fits(event)) {
                return event.clone();
            }
            std::thread::sleep(LOOK_AGAIN);
        }
        panic!("no `{name}`: {}", self.said.lock().unwrap());
    }

    /// Returns the password of this start.
    pub(crate) fn password(&self) -> String {
        std::fs::read_to_string(self.state.join("password")).unwrap()
    }

    /// Returns the directory of its Unix socket.
    pub(crate) fn state(&self) -> &std::path::Path {
        &self.state
    }

    /// Returns the process id.
    pub(crate) fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Returns the URL that a backend would be given, with another role and database in it.
    pub(crate) fn url(&self, role: &str, database: &str) -> String {
        format!("postgresql://{role}:{}@127.0.0.1:{PORT}/{database}", self.password())
    }

    /// Prepares psql on TCP, with the password of this start.
    pub(crate) fn psql(&self, role: &str, database: &str, args: &[&str]) -> Run {
        self.psql_at("127.0.0.1", role, database, args).with("PGPASSWORD", &self.password())
    }

    /// Prepares psql on the Unix socket, without any password.
    pub(crate) fn psql_unix(&self, role: &str, database: &str, args: &[&str]) -> Run {
        self.psql_at(self.state.to_str().unwrap(), role, database, args)
    }

    fn psql_at(&self, host: &str, role: &str, database: &str, args: &[&str]) -> Run {
        let port = PORT.to_string();
        let front = ["-X", "-q", "-A", "-t", "-w", "-h", host, "-p", &port];
        let names = ["-U", role, "-d", database, "-v", "ON_ERROR_STOP=1"];
        Run::at(&self.psql, &[&front[..], &names, args].concat()).with("PATH", "/usr/bin:/bin")
    }

    /// Runs statements of the slot and returns what they print.
    #[track_caller]
    pub(crate) fn sql(&self, text: &str) -> String {
        let outcome = self.psql("slot_1", "app_preview_1", &["-c", text]).run();
        assert_eq!(outcome.status, Some(0), "{outcome:#?}");
        outcome.stdout
    }

    /// Asks how it stands.
    #[track_caller]
    pub(crate) fn status(&self, server: &Server) -> Value {
        let config = server.place.config();
        let args = ["status", "--slot", "preview-1", "--config", &config];
        let outcome = Run::new("pg-sidecar", &args).format("json").run();
        outcome.accepted().objects()[0].clone()
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap();
    }

    /// Waits until it has ended by itself and returns its status.
    pub(crate) fn ended(&mut self) -> Option<i32> {
        for _ in 0..6 * TRIES {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            std::thread::sleep(LOOK_AGAIN);
        }
        panic!("the sidecar does not end");
    }

    /// Stops it and expects an orderly end.
    pub(crate) fn stop(mut self) {
        self.signal(Signal::TERM);
        assert_eq!(self.ended(), Some(0));
    }
}

impl Drop for Sidecar {
    fn drop(&mut self) {
        let password = std::fs::read_to_string(self.state.join("password")).unwrap_or_default();
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut complaints = String::new();
        if let Some(mut errors) = self.child.stderr.take() {
            let _ = errors.read_to_string(&mut complaints);
        }
        said.push_str(&complaints);
        if std::thread::panicking() {
            let _ = std::io::stderr().write_all(said.as_bytes());
            return;
        }
        assert!(!said.contains(SECRET), "a secret was said: {said}");
        assert!(password.is_empty() || !said.contains(&password), "a password was said: {said}");
        schema::check_lines(&said);
    }
}

/// Connects to the sidecar's port.
pub(crate) fn connect() -> TcpStream {
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, PORT)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Sends bytes and returns everything that is answered; the end must be an orderly one.
#[track_caller]
pub(crate) fn answer_to(bytes: &[u8]) -> Vec<u8> {
    let mut stream = connect();
    stream.write_all(bytes).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    answer
}
