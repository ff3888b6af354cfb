//! A pgbouncer in front of a server, which can lead a database's name anywhere.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests, outside of what the lint takes for one"
)]

use std::fmt::Write as _;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Child;
use std::time::Duration;

use throwaway_postgres::Cluster;

use super::ports;
use super::run::{Outcome, Run};

const PROGRAM: &str = "/usr/sbin/pgbouncer";

/// Who may tell the pooler to read its configuration again.
const KEEPER: (&str, &str) = ("keeper", "of-the-pooler");

const TRIES: u32 = 200;

/// A pooler that ends when dropped.
pub(crate) struct Pooler {
    directory: tempfile::TempDir,
    process: Child,
    port: u16,
    psql: std::path::PathBuf,
    settings: String,
}

/// Returns whether a pooler is installed; says so past the test runner's capture if it is not, since
/// a skipped test must never go unseen.
pub(crate) fn installed(test: &str) -> bool {
    let found = Path::new(PROGRAM).is_file();
    if !found {
        let line = format!("SKIPPED {test}: pgbouncer is missing (apt-get install pgbouncer)\n");
        let _ = std::io::stderr().write_all(line.as_bytes());
    }
    found
}

impl Pooler {
    /// Starts one with these lines of `[databases]`, these logins and these further settings.
    pub(crate) fn start(
        cluster: &Cluster,
        databases: &str,
        logins: &[(&str, &str)],
        settings: &str,
    ) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let port = ports::listen(0).unwrap().local_addr().unwrap().port();
        let open = std::fs::Permissions::from_mode(0o777);
        std::fs::set_permissions(directory.path(), open).unwrap();
        let mut users = String::new();
        for (role, password) in logins.iter().copied().chain([KEEPER]) {
            writeln!(users, "\"{role}\" \"{password}\"").unwrap();
        }
        let at = directory.path().to_str().unwrap();
        std::fs::write(directory.path().join("users.txt"), users).unwrap();
        let settings = format!(
            "listen_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n\
             auth_type = scram-sha-256\nauth_file = {at}/users.txt\nadmin_users = {}\n\
             logfile = {at}/log\npidfile = {at}/pid\nserver_login_retry = 1\n\
             query_wait_timeout = 10\n{settings}\n",
            KEEPER.0
        );
        write(directory.path(), databases, &settings);
        let process = command(directory.path()).start();
        let psql = cluster.programs().psql().to_owned();
        let pooler = Self { directory, process, port, psql, settings };
        pooler.wait();
        pooler
    }

    /// Returns its port.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Leads names elsewhere from now on; transactions that run are left to end.
    pub(crate) fn remap(&self, databases: &str) {
        write(self.directory.path(), databases, &self.settings);
        let outcome = self.sql(KEEPER, "pgbouncer", "RELOAD");
        assert_eq!(outcome.status, Some(0), "{outcome:?}");
    }

    /// Lets nobody begin a transaction in a database; returns when the running ones have ended.
    pub(crate) fn pause(&self, database: &str) {
        let outcome = self.sql(KEEPER, "pgbouncer", &format!("PAUSE {database}"));
        assert_eq!(outcome.status, Some(0), "{outcome:?}");
    }

    /// Waits until [`Pooler::pause`] has begun.
    pub(crate) fn wait_until_pausing(&self, database: &str) {
        for _ in 0..TRIES {
            let shown = self.sql(KEEPER, "pgbouncer", "SHOW DATABASES").stdout;
            let line = shown.lines().find(|line| line.starts_with(&format!("{database}|")));
            // `paused` and `disabled` are the last two of the columns.
            if line.is_some_and(|line| line.ends_with("|1|0")) {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("the pooler does not pause");
    }

    /// Ends [`Pooler::pause`].
    pub(crate) fn resume(&self, database: &str) {
        let outcome = self.sql(KEEPER, "pgbouncer", &format!("RESUME {database}"));
        assert_eq!(outcome.status, Some(0), "{outcome:?}");
    }

    /// Runs SQL through the pooler.
    pub(crate) fn sql(&self, login: (&str, &str), database: &str, text: &str) -> Outcome {
        let (port, (role, password)) = (self.port.to_string(), login);
        let args = ["-X", "-q", "-A", "-t", "-w", "-h", "127.0.0.1", "-p", &port, "-U", role];
        Run::at(&self.psql, &[&args[..], &["-d", database, "-c", text]].concat())
            .with("PGPASSWORD", password)
            .run()
    }

    fn wait(&self) {
        for _ in 0..TRIES {
            if std::net::TcpStream::connect(("127.0.0.1", self.port)).is_ok() {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let log = std::fs::read_to_string(self.directory.path().join("log"));
        panic!("the pooler does not answer: {log:?}");
    }
}

impl Drop for Pooler {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn write(directory: &Path, databases: &str, settings: &str) {
    let text = format!("[databases]\n{databases}\n[pgbouncer]\n{settings}");
    std::fs::write(directory.join("pooler.ini"), text).unwrap();
}

/// It refuses to be root, so root hands over to nobody.
fn command(directory: &Path) -> Run {
    let file = directory.join("pooler.ini");
    let program = ["--pdeathsig", "KILL", PROGRAM, "-q", file.to_str().unwrap()];
    let setpriv = Path::new("/usr/bin/setpriv");
    if rustix::process::geteuid().is_root() {
        let nobody = ["--reuid", "65534", "--regid", "65534", "--clear-groups"];
        return Run::at(setpriv, &[&nobody[..], &program].concat());
    }
    Run::at(setpriv, &program)
}
