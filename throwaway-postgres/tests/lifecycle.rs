//! Starts real clusters, ends them in every way there is, and looks for what they leave.
//!
//! Each cluster lives in a scratch directory of its test, so "nothing is left" can be asserted by
//! looking. A test that needs a parent to die runs this same binary again as that parent: see
//! [`parent_process`]. Waits are bounded and never the thing that is tested.

#![expect(
    clippy::unwrap_used,
    reason = "all of this file is tests; clippy sees only the functions marked so"
)]

use std::collections::BTreeMap;
use std::env;
use std::ffi::OsString;
use std::fs::{self, Permissions};
use std::io::{self, BufRead, BufReader, Read};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use throwaway_postgres::{
    Cluster, ClusterBuilder, CopyAs, ServerPrograms, SettingError, SqlError, StartError,
};

#[test]
fn a_cluster_serves_sql_and_stops_without_a_trace() {
    let scratch = Scratch::new();
    let cluster = scratch.cluster().start().unwrap();
    let major = cluster.programs().major() * 10_000;

    let version = cluster.run_sql("postgres", "SHOW server_version_num").unwrap();
    assert_eq!(version.trim().parse::<u32>().unwrap() / 10_000 * 10_000, major);
    assert_eq!(cluster.run_sql("postgres", "SELECT 1, 'ä'; SELECT NULL").unwrap(), "1|ä\n\n");
    assert_eq!(cluster.socket_dir().metadata().unwrap().mode() & 0o777, 0o700);

    let processes = Processes::below(std::process::id()).within(&scratch);
    // The server and the watchdog at least.
    assert!(processes.count() >= 2, "{processes:?}");
    cluster.stop().unwrap();
    assert_eq!(processes.still_there(), []);
    scratch.assert_empty();
}

#[test]
fn dropping_a_cluster_stops_it() {
    let scratch = Scratch::new();
    let cluster = scratch.cluster().start().unwrap();
    let server = Processes::one(cluster.pid());
    drop(cluster);
    assert_eq!(server.still_there(), []);
    scratch.assert_empty();
}

#[test]
fn the_server_is_not_root_and_in_no_group_of_ours() {
    let scratch = Scratch::new();
    let cluster = scratch.cluster().start().unwrap();
    let status = fs::read_to_string(format!("/proc/{}/status", cluster.pid())).unwrap();
    let field = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        let values = line[name.len()..].split_whitespace();
        values.map(|id| id.parse().unwrap()).collect::<Vec<u32>>()
    };
    assert!(!field("Uid:").contains(&0), "{status}");
    if rustix::process::geteuid().is_root() {
        assert!(!field("Gid:").contains(&0), "{status}");
        assert_eq!(field("Groups:"), [0; 0], "{status}");
    }
    assert_eq!(cluster.socket_dir().metadata().unwrap().uid(), field("Uid:")[0]);
}

#[test]
fn a_password_is_demanded_from_everybody() {
    let scratch = Scratch::new();
    let cluster = scratch.cluster().start().unwrap();
    let (superuser, password) = (cluster.superuser(), cluster.password());
    let login =
        |role, password| cluster.run_sql_as(role, password, "postgres", "SELECT session_user");

    assert_eq!(login(superuser, password).unwrap(), "postgres\n");
    for (role, password) in [(superuser, "wrong"), (superuser, ""), ("stranger", password)] {
        let message = failure(login(role, password));
        let refused = message.contains("password authentication failed")
            || message.contains("no password supplied");
        assert!(refused, "{message}");
    }
    // The method is in the one file that decides it, for the unix socket as well.
    let rules = cluster.run_sql("postgres", "SELECT DISTINCT auth_method FROM pg_hba_file_rules");
    assert_eq!(rules.unwrap(), "scram-sha-256\n");
    assert!(!format!("{cluster:?}").contains(cluster.password()));
}

#[test]
fn two_clusters_run_side_by_side() {
    let scratch = Scratch::new();
    let one = scratch.cluster().start().unwrap();
    let other = scratch.cluster().start().unwrap();
    assert_ne!(one.port(), other.port());
    assert_ne!(one.password(), other.password());

    let identity = "SELECT system_identifier FROM pg_control_system()";
    let identities = [&one, &other].map(|c| c.run_sql("postgres", identity).unwrap());
    assert_ne!(identities[0], identities[1]);

    one.stop().unwrap();
    assert_eq!(other.run_sql("postgres", "SELECT 1").unwrap(), "1\n");
}

#[test]
fn a_copy_goes_its_own_way_and_a_standby_follows() {
    let scratch = Scratch::new();
    let cluster = scratch.cluster().start().unwrap();
    cluster.run_sql("postgres", "CREATE TABLE before (); CHECKPOINT").unwrap();
    let identity = "SELECT system_identifier, pg_is_in_recovery() FROM pg_control_system()";
    let original = cluster.run_sql("postgres", identity).unwrap();
    let copy = cluster.copy(CopyAs::Primary).unwrap();
    assert_eq!(copy.run_sql("postgres", identity).unwrap(), original);
    copy.run_sql("postgres", "DROP TABLE before").unwrap();

    let standby = cluster.copy(CopyAs::Standby).unwrap();
    assert_eq!(standby.run_sql("postgres", identity).unwrap(), original.replace("|f", "|t"));
    let message = failure(standby.run_sql("postgres", "DROP TABLE before"));
    assert!(message.contains("read-only transaction"), "{message}");
    cluster.run_sql("postgres", "CREATE TABLE after ()").unwrap();
    wait_until(|| standby.run_sql("postgres", "TABLE after").is_ok(), "the standby streams");
    for cluster in [standby, copy, cluster] {
        cluster.stop().unwrap();
    }
    scratch.assert_empty();
}

#[test]
fn a_chosen_port_is_used_or_named_as_taken() {
    let scratch = Scratch::new();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();

    let error = scratch.cluster().port(port).start().unwrap_err();
    assert!(matches!(error, StartError::PortInUse { port: p } if p == port), "{error}");
    scratch.assert_empty();

    let first = scratch.cluster().start().unwrap();
    let error = scratch.cluster().port(first.port()).start().unwrap_err();
    assert!(matches!(error, StartError::PortInUse { .. }), "{error}");

    drop(listener);
    let second = scratch.cluster().port(port).start().unwrap();
    assert_eq!(second.port(), port);
    let (user, password) = (second.superuser(), second.password());
    let asked = second.run_sql_as(user, password, "postgres", "SHOW port").unwrap();
    assert_eq!(asked, format!("{port}\n"));
}

#[test]
fn a_server_that_gives_up_tells_why_and_leaves_nothing() {
    let scratch = Scratch::new();
    let builder = scratch.cluster().setting("max_connections", "a few");
    let error = builder.start().unwrap_err();
    assert!(matches!(error, StartError::Ended { .. }), "{error}");
    assert!(error.to_string().contains("\"max_connections\""), "{error}");
    scratch.assert_empty();

    let error = scratch.cluster().setting("port", "5432").start().unwrap_err();
    let reserved = StartError::from(SettingError::Reserved { name: "port".into() });
    assert_eq!(error.to_string(), reserved.to_string());
    scratch.assert_empty();
}

#[test]
fn settings_reach_the_server() {
    let scratch = Scratch::new();
    let cluster = scratch.cluster().setting("max_connections", "17");
    let cluster = cluster.setting("app.greeting", "good 'day'").start().unwrap();
    let sql = "SHOW max_connections; SHOW app.greeting; SHOW fsync";
    assert_eq!(cluster.run_sql("postgres", sql).unwrap(), "17\ngood 'day'\noff\n");
}

#[test]
fn a_directory_with_a_space_in_its_path_serves() {
    let scratch = Scratch::new();
    let base = scratch.path().join("with space");
    fs::create_dir(&base).unwrap();
    fs::set_permissions(&base, Permissions::from_mode(0o1777)).unwrap();
    let cluster = scratch.cluster().base_directory(&base).start().unwrap();
    assert!(cluster.data_dir().starts_with(&base));
    assert_eq!(cluster.run_sql("postgres", "SELECT 1").unwrap(), "1\n");
    cluster.stop().unwrap();
    fs::remove_dir(&base).unwrap();
}

#[test]
fn sql_errors_carry_what_the_server_said() {
    let scratch = Scratch::new();
    let cluster = scratch.cluster().start().unwrap();
    let message = failure(cluster.run_sql("postgres", "SELECT 1; SELECT nonsense; SELECT 2"));
    assert!(message.contains("column \"nonsense\" does not exist"), "{message}");

    // The name of a database stays a name, whatever it looks like.
    for database in ["host=/nowhere", "postgresql://127.0.0.1:1/postgres"] {
        let message = failure(cluster.run_sql(database, "SELECT 1"));
        let expected = format!("database \"{database}\" does not exist");
        assert!(message.contains(&expected), "{message}");
    }
}

#[test]
fn long_texts_and_long_answers_do_not_wait_for_each_other() {
    let scratch = Scratch::new();
    let cluster = scratch.cluster().start().unwrap();
    let sql = "SELECT repeat('x', 1000);\n".repeat(1000);
    assert_eq!(cluster.run_sql("postgres", &sql).unwrap().len(), 1001 * 1000);
}

#[test]
fn a_crashed_server_comes_back_with_what_was_committed() {
    let scratch = Scratch::new();
    let cluster = scratch.cluster().setting("app.greeting", "hello");
    let mut cluster = cluster.setting("synchronous_commit", "on").start().unwrap();
    let identity = "SELECT system_identifier FROM pg_control_system()";
    let before = cluster.run_sql("postgres", identity).unwrap();
    let (port, password) = (cluster.port(), cluster.password().to_owned());
    cluster.run_sql("postgres", "CREATE TABLE kept AS SELECT 1 AS one").unwrap();
    for _ in 0..2 {
        let crashed = Processes::one(cluster.pid());
        cluster.crash().unwrap();
        assert_eq!(crashed.still_there(), []);
        failure(cluster.run_sql("postgres", "SELECT 1"));
        cluster.crash().unwrap();

        cluster.restart().unwrap();
        assert_eq!((cluster.port(), cluster.password()), (port, password.as_str()));
        assert_eq!(cluster.run_sql("postgres", identity).unwrap(), before);
        assert_eq!(
            cluster.run_sql("postgres", "TABLE kept; SHOW app.greeting").unwrap(),
            "1\nhello\n"
        );
    }
    let log = fs::read_to_string(cluster.socket_dir().join("server.log")).unwrap();
    assert_eq!(log.matches("automatic recovery in progress").count(), 2, "{log}");
    cluster.stop().unwrap();
    scratch.assert_empty();
}

#[test]
fn a_running_server_is_not_started_twice() {
    let scratch = Scratch::new();
    let mut cluster = scratch.cluster().start().unwrap();
    let server = cluster.pid();
    let error = cluster.restart().unwrap_err();
    assert!(error.to_string().contains("postmaster.pid"), "{error}");
    assert_eq!(cluster.pid(), server);
    assert_eq!(cluster.run_sql("postgres", "SELECT 1").unwrap(), "1\n");
}

#[test]
fn a_parent_that_dies_takes_its_server_along() {
    for way in [WAY_WAIT, WAY_ABORT, WAY_EXIT, WAY_CRASH, WAY_RESTART] {
        let scratch = Scratch::new();
        let mut parent = parent_process(&scratch, way);
        let mut lines = BufReader::new(parent.0.stdout.take().unwrap()).lines();
        let up = lines.find_map(|line| Some(line.unwrap().strip_prefix(UP)?.to_owned()));
        let server = Processes::one(up.unwrap().parse().unwrap());
        let everything = Processes::below(parent.0.id());
        if way == WAY_WAIT {
            assert_eq!(server.still_there().len(), 1);
        } else {
            // The parent holds its end back until its input ends.
            drop(parent.0.stdin.take());
            parent.0.wait().unwrap();
        }
        parent.kill();
        for processes in [server, everything] {
            wait_until(|| processes.still_there().is_empty(), way);
        }
        wait_until(|| scratch.is_empty(), way);
    }
}

#[test]
fn a_parent_killed_during_initdb_leaves_nothing() {
    // What is there to see after each step, from the first to the last.
    for step in ["", "data", "data/base", "data/base/1", "data/base/1/2601", "data/base/1/2601_vm"]
    {
        let scratch = Scratch::new();
        let mut parent = parent_process(&scratch, WAY_WAIT);
        wait_until(|| scratch.only_entry().is_some_and(|e| e.join(step).exists()), step);
        let processes = Processes::below(parent.0.id());
        parent.kill();
        wait_until(|| processes.still_there().is_empty(), step);
        wait_until(|| scratch.is_empty(), step);
        assert_eq!(Processes::all().within(&scratch).still_there(), []);
    }
}

#[test]
fn a_running_cluster_does_not_hold_its_parents_output_open() {
    let scratch = Scratch::new();
    let mut parent = parent_process(&scratch, WAY_DETACH);
    let mut stdout = parent.0.stdout.take().unwrap();
    let (done, ended) = mpsc::channel();
    thread::spawn(move || {
        let mut text = String::new();
        stdout.read_to_string(&mut text).unwrap();
        done.send(text).unwrap();
    });
    // The parent gave its own output away and is still running, and so is its cluster.
    let text = ended.recv_timeout(PATIENCE).unwrap();
    let server = text.lines().find_map(|line| line.strip_prefix(UP)).unwrap();
    assert_eq!(Processes::one(server.parse().unwrap()).count(), 1);
    assert_eq!(parent.0.try_wait().unwrap(), None);

    drop(parent.0.stdin.take());
    assert!(parent.0.wait().unwrap().success());
    scratch.assert_empty();
}

/// Not a test of its own: the parent that other tests start, and kill.
#[test]
fn parent() {
    let (Some(base), Some(way)) = (variable(BASE), variable(WAY)) else {
        return;
    };
    let mut cluster = Cluster::builder(programs()).base_directory(base).start().unwrap();
    if way == WAY_RESTART {
        cluster.crash().unwrap();
        cluster.restart().unwrap();
    }
    // On a line of its own: the test harness has begun one.
    println!("\n{UP}{}", cluster.pid());
    if way == WAY_DETACH {
        let nowhere = fs::File::options().write(true).open("/dev/null").unwrap();
        rustix::stdio::dup2_stdout(&nowhere).unwrap();
    }
    io::copy(&mut io::stdin(), &mut io::sink()).unwrap();
    match way.to_str() {
        Some(WAY_ABORT | WAY_RESTART) => std::process::abort(),
        Some(WAY_EXIT) => std::process::exit(0),
        Some(WAY_CRASH) => {
            cluster.crash().unwrap();
            std::process::abort();
        }
        _ => cluster.stop().unwrap(),
    }
}

/// Starts a process that starts a cluster in `scratch` and keeps it until its standard input ends.
fn parent_process(scratch: &Scratch, way: &str) -> Parent {
    #[expect(
        clippy::disallowed_methods,
        reason = "runs this test binary again, as a process that may be killed"
    )]
    let mut command = Command::new(env::current_exe().unwrap());
    let child = command
        .args(["--exact", "parent", "--nocapture"])
        .env(BASE, scratch.path())
        .env(WAY, way)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn();
    Parent(child.unwrap())
}

/// A process that is killed when its test ends, however it ends.
struct Parent(Child);

impl Parent {
    fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Parent {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A directory of one test, which any user may make a cluster in.
struct Scratch(TempDir);

impl Scratch {
    fn new() -> Self {
        let builder = || {
            let mut builder = tempfile::Builder::new();
            builder.prefix("lifecycle-").permissions(Permissions::from_mode(0o1777));
            builder
        };
        let directory = builder().tempdir_in("/dev/shm").or_else(|_| builder().tempdir());
        let directory = directory.unwrap();
        fs::set_permissions(directory.path(), Permissions::from_mode(0o1777)).unwrap();
        Self(directory)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn cluster(&self) -> ClusterBuilder {
        Cluster::builder(programs()).base_directory(self.path())
    }

    fn only_entry(&self) -> Option<PathBuf> {
        let mut entries = fs::read_dir(self.path()).unwrap();
        entries.next().map(|entry| entry.unwrap().path())
    }

    fn is_empty(&self) -> bool {
        self.only_entry().is_none()
    }

    fn assert_empty(&self) {
        assert_eq!(self.only_entry(), None);
    }
}

/// Processes by pid, each with the time it started, which tells it from a later one.
#[derive(Debug)]
struct Processes(BTreeMap<u32, ProcessEntry>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct ProcessEntry {
    parent: u32,
    started: String,
}

impl Processes {
    fn all() -> Self {
        let pids = fs::read_dir("/proc").unwrap();
        let pids = pids.filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok());
        Self(pids.filter_map(|pid| Some((pid, ProcessEntry::read(pid)?))).collect())
    }

    fn one(pid: u32) -> Self {
        Self(ProcessEntry::read(pid).map(|entry| (pid, entry)).into_iter().collect())
    }

    /// Returns the children of a process, their children, and so on.
    fn below(ancestor: u32) -> Self {
        let all = Self::all().0;
        let is_below = |pid: &u32| {
            let parents = std::iter::successors(all.get(pid), |entry| all.get(&entry.parent));
            parents.take(100).any(|entry| entry.parent == ancestor)
        };
        let below = all.iter().filter(|(pid, _)| is_below(pid));
        Self(below.map(|(pid, entry)| (*pid, entry.clone())).collect())
    }

    /// Keeps the processes that work in `scratch` or have it among their arguments.
    ///
    /// The current directory of another user's process may be hidden, even from root in a
    /// container; arguments never are.
    fn within(mut self, scratch: &Scratch) -> Self {
        let scratch = scratch.path().to_str().unwrap();
        self.0.retain(|pid, _| {
            let directory = fs::read_link(format!("/proc/{pid}/cwd")).unwrap_or_default();
            let arguments = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            directory.starts_with(scratch) || String::from_utf8_lossy(&arguments).contains(scratch)
        });
        self
    }

    fn count(&self) -> usize {
        self.0.len()
    }

    fn still_there(&self) -> Vec<u32> {
        let same = |(pid, entry): &(&u32, &ProcessEntry)| {
            ProcessEntry::read(**pid).is_some_and(|now| now.started == entry.started)
        };
        self.0.iter().filter(same).map(|(pid, _)| *pid).collect()
    }
}

impl ProcessEntry {
    /// Reads what the kernel says about a process that is not a zombie.
    fn read(pid: u32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let (_, fields) = stat.rsplit_once(") ")?;
        let fields: Vec<_> = fields.split(' ').collect();
        let (state, parent, started) = (fields[0], fields[1], fields[19]);
        (state != "Z" && state != "X")
            .then(|| Self { parent: parent.parse().unwrap(), started: started.to_owned() })
    }
}

fn programs() -> ServerPrograms {
    ServerPrograms::find(None, variable("PATH").as_deref()).unwrap()
}

fn variable(name: &str) -> Option<OsString> {
    #[expect(
        clippy::disallowed_methods,
        reason = "the tests use the server of the machine, and tell a second process its part"
    )]
    env::var_os(name)
}

/// Returns what `psql` said; fails if it had nothing to complain about.
fn failure(result: Result<String, SqlError>) -> String {
    match result.unwrap_err() {
        SqlError::Failed { message, .. } => message,
        other => panic!("{other}"),
    }
}

fn wait_until(mut condition: impl FnMut() -> bool, what: &str) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "waited in vain: {what:?}");
        thread::sleep(Duration::from_millis(2));
    }
}

const PATIENCE: Duration = Duration::from_secs(90);

/// What the parent prints in front of the pid of its server.
const UP: &str = "server is up: ";

const BASE: &str = "THROWAWAY_POSTGRES_TEST_BASE";
const WAY: &str = "THROWAWAY_POSTGRES_TEST_WAY";
const WAY_WAIT: &str = "wait";
const WAY_CRASH: &str = "crash";
const WAY_RESTART: &str = "restart";
const WAY_ABORT: &str = "abort";
const WAY_EXIT: &str = "exit";
const WAY_DETACH: &str = "detach";
