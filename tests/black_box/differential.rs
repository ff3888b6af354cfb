//! Real drivers, two look-alike servers: what the guard accepts leads every driver to the slot.
//!
//! `tests/differential/README.md` tells what is measured and how to add a driver.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "helpers of tests, outside of what the lint takes for a test"
)]

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use throwaway_postgres::{Cluster, ServerPrograms};

use crate::support::environment;
use crate::support::place::Place;
use crate::support::run::{Run, say};

/// Needs escapes, has a spelling without most of them, and is the same on both servers.
const PASSWORD: &str = "s3cret:+,;=&'!$*()~._-@/?#% x";

/// Of 63 bytes, which is all of a longer name that a server looks at.
const LONG: &str = "app_preview_1__________________________________________________";

/// How long one driver may take for the whole corpus.
const PATIENCE: Duration = Duration::from_secs(90);

#[test]
fn db_1_what_is_accepted_leads_every_driver_to_the_slot() {
    let cache = cache();
    let drivers = Driver::prepared(&cache);
    for skipped in &drivers.skipped {
        say(skipped);
    }
    let names: Vec<&str> = drivers.ready.iter().map(|driver| driver.name).collect();
    for needed in ["psql", "tokio-postgres"] {
        assert!(names.contains(&needed), "{needed} is needed: {:?}", drivers.skipped);
    }

    let servers = Servers::start();
    let corpus = corpus(&servers);
    let verdicts = verdicts(&servers, &corpus);
    let accepted: Vec<bool> = verdicts.iter().map(Verdict::is_allowed).collect();
    let answers = landings_of_all(&drivers, &servers, &corpus);
    say(&matrix(&names, &accepted, &answers));

    assert!(corpus.len() >= 150, "{} URLs", corpus.len());
    let accepted_count = accepted.iter().filter(|accepted| **accepted).count();
    assert!(accepted_count >= 25, "{accepted_count} accepted URLs");
    assert_eq!((corpus[0].why.as_str(), accepted[0]), ("canonical", true));
    let mut defects = String::new();
    for (name, answers) in names.iter().zip(&answers) {
        assert_eq!(answers[0], Landing::Slot, "{name} does not take the canonical URL");
        for ((case, accepted), landing) in corpus.iter().zip(&accepted).zip(answers) {
            if let (true, Landing::Elsewhere(place)) = (accepted, landing) {
                writeln!(defects, "{name} takes {} ({}) to {place}", case.template, case.why)
                    .unwrap();
            }
        }
    }
    assert_eq!(defects, "", "accepted, and still elsewhere");
    // A corpus that nobody falls for would prove nothing.
    let traps = (0..corpus.len()).filter(|case| {
        !accepted[*case] && answers.iter().any(|answers| answers[*case].is_elsewhere())
    });
    let traps = traps.count();
    println!("{traps} refused URLs lead at least one driver elsewhere");
    assert!(traps >= 20, "only {traps} refused URLs lead a driver elsewhere");
    every_suggestion_leads_to_the_slot(&drivers, &servers, &verdicts);
}

/// What a refusal says to write instead is accepted, and every driver takes it to the slot.
fn every_suggestion_leads_to_the_slot(drivers: &Drivers, servers: &Servers, verdicts: &[Verdict]) {
    let given: Vec<&str> = verdicts.iter().filter_map(Verdict::suggestion).collect();
    let urls: BTreeSet<&str> = given.iter().copied().collect();
    let password = escaped(|byte| !byte.is_ascii_alphanumeric());
    let case = |url: &&str| Case {
        why: "suggested".to_owned(),
        template: (*url).to_owned(),
        url: url.replace("<password>", &password),
    };
    let suggested: Vec<Case> = urls.iter().map(case).collect();
    for (case, verdict) in suggested.iter().zip(self::verdicts(servers, &suggested)) {
        assert!(verdict.is_allowed(), "{}: {verdict:?}", case.template);
    }
    let answers = landings_of_all(drivers, servers, &suggested);
    for (at, case) in suggested.iter().enumerate() {
        let landings: Vec<&Landing> = answers.iter().map(|answers| &answers[at]).collect();
        assert!(!landings.iter().any(|at| at.is_elsewhere()), "{}: {landings:?}", case.template);
        // The servers offer no TLS.
        let needs_tls =
            ["require", "verify", "ssl=true"].iter().any(|word| case.url.contains(word));
        let arrives = landings.iter().any(|at| **at == Landing::Slot);
        assert!(arrives || needs_tls, "no driver takes {}", case.template);
    }
    let (refusals, different) = (given.len(), suggested.len());
    say(&format!("{refusals} refusals say what to write, {different} different URLs"));
    assert!(refusals >= 100 && different >= 5, "{refusals} suggestions, {different} different");
}

/// Where a driver went with one URL.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Landing {
    Slot,
    Elsewhere(String),
    Refused,
}

impl Landing {
    fn of(answer: &Value, servers: &Servers) -> Self {
        if answer["error"].is_string() {
            return Self::Refused;
        }
        let own =
            json!({"database": "app_preview_1", "port": servers.slot.port(), "user": "slot_1"});
        if *answer == own { Self::Slot } else { Self::Elsewhere(answer.to_string()) }
    }

    fn is_elsewhere(&self) -> bool {
        matches!(self, Self::Elsewhere(_))
    }
}

/// Counts, for each driver, what became of the accepted and of the refused URLs.
fn matrix(names: &[&str], accepted: &[bool], answers: &[Vec<Landing>]) -> String {
    let all = accepted.len();
    let taken = accepted.iter().filter(|accepted| **accepted).count();
    let mut text = format!(
        "{all} URLs, {taken} accepted by the guard, {} refused\n\n\
         | driver | accepted: slot | accepted: driver refuses | accepted: ELSEWHERE \
         | refused: slot | refused: driver refuses | refused: elsewhere |\n\
         |---|---|---|---|---|---|---|\n",
        all - taken
    );
    for (name, answers) in names.iter().zip(answers) {
        write!(text, "| {name} |").unwrap();
        for verdict in [true, false] {
            let of = |wanted: fn(&Landing) -> bool| {
                let pairs = accepted.iter().zip(answers);
                pairs.filter(|(accepted, at)| **accepted == verdict && wanted(at)).count()
            };
            let slot = of(|at| *at == Landing::Slot);
            let refused = of(|at| *at == Landing::Refused);
            write!(text, " {slot} | {refused} | {} |", of(Landing::is_elsewhere)).unwrap();
        }
        text.push('\n');
    }
    text
}

/// One line of the corpus.
struct Case {
    why: String,
    template: String,
    url: String,
}

fn corpus(servers: &Servers) -> Vec<Case> {
    let (a, b) = (servers.slot.port(), servers.production.port());
    let wrapped = |port: u16| (u32::from(port) + 65536).to_string();
    let places = [
        ("{A}", a.to_string()),
        ("{B}", b.to_string()),
        ("{A+65536}", wrapped(a)),
        ("{B+65536}", wrapped(b)),
        ("{PW}", escaped(|byte| !byte.is_ascii_alphanumeric() && !b"._~-".contains(&byte))),
        ("{RAW}", escaped(|byte| b"@/?#% ".contains(&byte))),
        ("{ALL}", escaped(|_| true)),
        ("{low}", escaped(|byte| !byte.is_ascii_alphanumeric()).to_ascii_lowercase()),
        ("{LONG}", LONG.to_owned()),
    ];
    let text = include_str!("../differential/corpus.jsonl");
    let cases: Vec<Case> = text
        .lines()
        .map(|line| {
            let case: Value = serde_json::from_str(line).expect(line);
            let part = |name: &str| case[name].as_str().expect(line).to_owned();
            let template = part("url");
            let url = places.iter().fold(template.clone(), |url, (at, is)| url.replace(at, is));
            assert!(!url.contains('{'), "unknown placeholder: {line}");
            Case { why: part("why"), template, url }
        })
        .collect();
    let urls: BTreeSet<&str> = cases.iter().map(|case| case.url.as_str()).collect();
    assert_eq!(urls.len(), cases.len(), "a URL is there twice");
    cases
}

fn escaped(must_be: impl Fn(u8) -> bool) -> String {
    PASSWORD.bytes().fold(String::new(), |mut text, byte| {
        if must_be(byte) {
            write!(text, "%{byte:02X}").unwrap();
        } else {
            text.push(char::from(byte));
        }
        text
    })
}

/// What the guard says about one URL.
#[derive(Debug)]
enum Verdict {
    Allowed,
    Denied { help: String },
}

impl Verdict {
    fn is_allowed(&self) -> bool {
        matches!(self, Self::Allowed)
    }

    /// Returns the URL that shall be written instead.
    fn suggestion(&self) -> Option<&str> {
        let Self::Denied { help } = self else { return None };
        let url = help.strip_prefix("Write ")?.split([',', ' ']).next()?;
        url.starts_with("postgresql://").then_some(url)
    }
}

/// Asks the guard for every URL.
fn verdicts(servers: &Servers, corpus: &[Case]) -> Vec<Verdict> {
    let place = Place::new();
    let (a, b) = (servers.slot.port(), servers.production.port());
    place.configure(&format!(
        "[database]\n\
         endpoints = [\"127.0.0.1:{a}\", \"[::1]:{a}\"]\n\
         role = \"slot_{{slot}}\"\n\
         [production]\n\
         databases = [\"app_production\"]\n\
         endpoints = [\"127.0.0.1:{b}\"]\n"
    ));
    let line = |(id, case): (usize, &Case)| {
        let request = json!({"id": id, "slot": "preview-1", "url": case.url, "env": {}});
        format!("{request}\n")
    };
    let requests: String = corpus.iter().enumerate().map(line).collect();
    let outcome = place.check(&["--stdin"]).with_stdin(&requests).run();
    let answers = outcome.objects();
    assert_eq!((outcome.status, answers.len()), (Some(0), corpus.len()), "{}", outcome.stderr);
    answers
        .iter()
        .enumerate()
        .map(|(id, answer)| {
            assert_eq!(answer["id"], id);
            match answer["verdict"].as_str() {
                Some("allowed") => Verdict::Allowed,
                Some("denied") => {
                    Verdict::Denied { help: answer["help"].as_str().unwrap().to_owned() }
                }
                _ => panic!("no verdict: {answer}"),
            }
        })
        .collect()
}

/// The slot's server and production's, with the same roles and databases, reached in more ways.
struct Servers {
    // Dropped first: they lead to the servers.
    _forwards: Vec<Forward>,
    slot: Cluster,
    production: Cluster,
}

impl Servers {
    fn start() -> Self {
        let start = || {
            let programs = ServerPrograms::find(environment::postgres().as_deref(), None).unwrap();
            Cluster::builder(programs).start().unwrap()
        };
        let (slot, production) = (start(), start());
        for server in [&slot, &production] {
            provision(server);
        }
        admit(&production);
        let (a, b) = (slot.port(), production.port());
        let foreign = IpAddr::from(Ipv4Addr::new(127, 0, 0, 9));
        let mut forwards = vec![Forward::start(foreign, a, b), Forward::start(foreign, b, b)];
        let six = IpAddr::from(Ipv6Addr::LOCALHOST);
        if TcpListener::bind((six, 0)).is_ok() {
            forwards.extend([Forward::start(six, a, a), Forward::start(six, b, b)]);
        }
        Self { _forwards: forwards, slot, production }
    }
}

/// Makes what could be hit: privileges hide no wrong target, since everybody may go everywhere.
fn provision(server: &Cluster) {
    let password = PASSWORD.replace('\'', "''");
    let mut text = format!(
        "CREATE ROLE prod_admin LOGIN REPLICATION PASSWORD '{password}';
         CREATE ROLE slot_1 LOGIN REPLICATION IN ROLE prod_admin PASSWORD '{password}';"
    );
    for database in ["app_preview_1", "app_preview_2", "app_preview_11", "app_production", LONG] {
        writeln!(text, "CREATE DATABASE {database};").unwrap();
    }
    server.run_sql("postgres", &text).unwrap();
}

/// Lets the two roles in with any password, so that a wrong one hides no wrong target either.
///
/// The slot's server goes on asking for it: a driver is only let in there when it reads the
/// password as the guard does.
fn admit(server: &Cluster) {
    let path = server.data_dir().join("pg_hba.conf");
    let rules = std::fs::read_to_string(&path).unwrap();
    let first = "host all slot_1,prod_admin 127.0.0.1/32 trust\n";
    std::fs::write(&path, format!("{first}{rules}")).unwrap();
    server.run_sql("postgres", "SELECT pg_reload_conf()").unwrap();
}

/// Another address of a server.
struct Forward {
    from: SocketAddr,
    ending: Arc<AtomicBool>,
    listening: Option<JoinHandle<()>>,
}

impl Forward {
    fn start(address: IpAddr, port: u16, to: u16) -> Self {
        let from = SocketAddr::new(address, port);
        let listener = TcpListener::bind(from).unwrap();
        let ending = Arc::new(AtomicBool::new(false));
        let end = Arc::clone(&ending);
        let listening = thread::spawn(move || {
            for client in listener.incoming() {
                if end.load(Ordering::Relaxed) {
                    break;
                }
                if let (Ok(client), Ok(server)) =
                    (client, TcpStream::connect((Ipv4Addr::LOCALHOST, to)))
                {
                    copy(&client, &server);
                    copy(&server, &client);
                }
            }
        });
        Self { from, ending, listening: Some(listening) }
    }
}

impl Drop for Forward {
    fn drop(&mut self) {
        self.ending.store(true, Ordering::Relaxed);
        // Wakes the listener up, to see that it shall end.
        if TcpStream::connect(self.from).is_ok()
            && let Some(listening) = self.listening.take()
        {
            let _ = listening.join();
        }
    }
}

fn copy(from: &TcpStream, to: &TcpStream) {
    let (mut from, mut to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
    thread::spawn(move || {
        let _ = std::io::copy(&mut from, &mut to);
        let _ = to.shutdown(Shutdown::Both);
    });
}

/// One driver program that is installed.
#[derive(Clone)]
pub(crate) struct Driver {
    pub(crate) name: &'static str,
    program: PathBuf,
    args: Vec<String>,
    /// What keeps it on this host.
    keeper: PathBuf,
}

/// What `prepare` says about the drivers.
pub(crate) struct Drivers {
    pub(crate) ready: Vec<Driver>,
    pub(crate) skipped: Vec<String>,
}

impl Driver {
    /// Installs the drivers, where that is not done yet.
    pub(crate) fn prepared(cache: &Path) -> Drivers {
        #[expect(
            clippy::disallowed_methods,
            reason = "the package managers need the caller's environment"
        )]
        let output =
            Command::new("sh").arg(here().join("prepare")).arg(cache).output().expect("sh runs");
        let said = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
        let line_of =
            |name: &str| said.lines().find(|line| line.split([' ', ':']).nth(1) == Some(name));
        let (mut ready, mut skipped) = (Vec::new(), Vec::new());
        for driver in Self::all(cache) {
            let name = driver.name;
            match line_of(name) {
                Some(line) if line == format!("ready {name}") => ready.push(driver),
                Some(line) => skipped.push(line.to_owned()),
                None => panic!("`prepare` says nothing about {name}: {said}"),
            }
        }
        Drivers { ready, skipped }
    }

    fn all(cache: &Path) -> [Self; 7] {
        let text = |path: PathBuf| path.to_str().unwrap().to_owned();
        let keeper = || cache.join("loopback_only.so");
        let rust = |name, args| Self {
            name,
            program: cache.join(format!("rust/debug/{name}-driver")),
            args,
            keeper: keeper(),
        };
        let python = |name, script: &str| Self {
            name,
            program: cache.join("python/bin/python"),
            args: vec!["-I".to_owned(), text(here().join("drivers").join(script))],
            keeper: keeper(),
        };
        let node = |name, script: &str, package: &str| Self {
            name,
            program: cache.join("node/node"),
            args: vec![
                text(here().join("drivers").join(script)),
                text(cache.join("node").join(package)),
            ],
            keeper: keeper(),
        };
        let psql = ServerPrograms::find(environment::postgres().as_deref(), None)
            .unwrap()
            .psql()
            .to_owned();
        [
            rust("psql", vec![text(psql)]),
            python("psycopg", "psycopg_driver.py"),
            python("asyncpg", "asyncpg_driver.py"),
            node("pg", "pg.mjs", "pg"),
            node("postgres.js", "postgres.mjs", "postgres"),
            rust("tokio-postgres", Vec::new()),
            rust("sqlx", Vec::new()),
        ]
    }

    /// Answers every request, in order.
    ///
    /// The environment is made from nothing. Its variables lead to production, but by what is
    /// measured elsewhere only where a URL leaves something open; an accepted one leaves nothing.
    fn answer(&self, requests: &str, production: u16) -> Vec<Value> {
        let run = self
            .run()
            .with("PGHOST", "127.0.0.1")
            .with("PGPORT", &production.to_string())
            .with("PGDATABASE", "app_production")
            .with("PGUSER", "prod_admin")
            .with("PGPASSWORD", PASSWORD);
        self.exchange(run, requests)
    }

    /// Does its ordinary work with each URL, in order; its environment names no server.
    pub(crate) fn work(&self, requests: &str) -> Vec<Value> {
        let mut worker = self.clone();
        let name = self.program.to_str().unwrap().replace("-driver", "-work");
        worker.program = name.into();
        for arg in &mut worker.args {
            *arg = arg.replace("/differential/drivers/", "/differential/work/");
        }
        worker.exchange(worker.run(), requests)
    }

    fn run(&self) -> Run {
        Run::at(&self.program, &self.args)
            .with("PATH", "/usr/bin:/bin")
            // Connects to the loopback only, and asks no name server.
            .with("LD_PRELOAD", self.keeper.to_str().unwrap())
            .with("LC_ALL", "C.UTF-8")
            .with("PGCONNECT_TIMEOUT", "3")
    }

    fn exchange(&self, run: Run, requests: &str) -> Vec<Value> {
        let home = tempfile::tempdir().unwrap();
        let mut child = run.with("HOME", home.path().to_str().unwrap()).start();
        let mut stdin = child.stdin.take().unwrap();
        let mut stdout = child.stdout.take().unwrap();
        let mut stderr = child.stderr.take().unwrap();
        let (said, complaints) = thread::scope(|scope| {
            // A driver that ends early is seen by its missing answers.
            scope.spawn(move || stdin.write_all(requests.as_bytes()));
            let said = scope.spawn(move || text_of(|text| stdout.read_to_end(text)));
            let complaints = scope.spawn(move || text_of(|text| stderr.read_to_end(text)));
            let deadline = Instant::now() + PATIENCE;
            while child.try_wait().unwrap().is_none() {
                if Instant::now() > deadline {
                    child.kill().unwrap();
                }
                thread::sleep(Duration::from_millis(20));
            }
            (said.join().unwrap(), complaints.join().unwrap())
        });
        let answers: Vec<Value> =
            said.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
        let asked = requests.lines().count();
        assert_eq!(answers.len(), asked, "{} stopped answering: {complaints}", self.name);
        answers
    }
}

fn landings_of_all(drivers: &Drivers, servers: &Servers, corpus: &[Case]) -> Vec<Vec<Landing>> {
    thread::scope(|scope| {
        let ask = |driver| scope.spawn(move || landings(driver, servers, corpus));
        let asked: Vec<_> = drivers.ready.iter().map(ask).collect();
        asked.into_iter().map(|answers| answers.join().unwrap()).collect()
    })
}

fn landings(driver: &Driver, servers: &Servers, corpus: &[Case]) -> Vec<Landing> {
    let line = |case: &Case| format!("{}\n", json!({"url": case.url}));
    let requests: String = corpus.iter().map(line).collect();
    let answers = driver.answer(&requests, servers.production.port());
    answers.iter().map(|answer| Landing::of(answer, servers)).collect()
}

fn text_of(read: impl FnOnce(&mut Vec<u8>) -> std::io::Result<usize>) -> String {
    let mut bytes = Vec::new();
    read(&mut bytes).unwrap();
    String::from_utf8_lossy(&bytes).into_owned()
}

fn here() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("differential")
}

/// Returns where the drivers are kept: beside the profiles of the target directory.
pub(crate) fn cache() -> PathBuf {
    let own = std::env::current_exe().unwrap();
    own.ancestors().nth(3).unwrap().join("differential")
}
