//! Clauses RT-6, SE-3, SE-6: what a program of a slot can reach, tried from within by three
//! languages, and the close neighbour that works.

#![expect(clippy::unwrap_used, reason = "helpers of tests, outside of what the lint takes for one")]

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::fs::symlink;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener};
use std::path::Path;
use std::process::Child;
use std::sync::MutexGuard;
use std::time::Duration;

use guard::diagnostic::Code;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::support::parent::Parent;
use crate::support::place::Place;
use crate::support::ports;
use crate::support::programs;
use crate::support::run::{Run, say};
use crate::support::server::Server;

/// Everything that a program may try to reach, and the slot that tries.
struct Scene {
    server: Server,
    _ports: MutexGuard<'static, ()>,
    /// Another slot's backend.
    _backend: TcpListener,
    /// A server that is no backend.
    relay: TcpListener,
    _stream: UnixListener,
    _datagram: UnixDatagram,
    _abstract: UnixListener,
    victim: Victim,
}

/// A process of another slot, started by the wrapper as ours is.
struct Victim(Child);

impl Drop for Victim {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

const ABSTRACT: &str = "slotguard-test-abstract";

impl Scene {
    fn new() -> Self {
        let ports = ports::reserve();
        let server = Server::new();
        let place = &server.place;
        for (name, text) in [
            ("outside/secret", "x"),
            ("previews/feature/inside", "x"),
            ("state/preview-2/home/note", "x"),
        ] {
            place.write(name, 0o600, text);
        }
        for part in ["state/preview-2/home", "state/preview-2", "state/preview-2/tmp"] {
            std::fs::create_dir_all(place.path(part)).unwrap();
            set_mode(&place.path(part), 0o700);
        }
        symlink(place.path("outside/secret"), place.path("previews/feature/out")).unwrap();
        symlink("inside", place.path("previews/feature/in")).unwrap();
        for file in ["probe.py", "probe.js"] {
            let text = std::fs::read_to_string(fixtures::probe().join(file)).unwrap();
            place.write(&format!("previews/feature/{file}"), 0o600, &text);
        }
        place.install(&programs::program("sandbox-probe"), "bin/sandbox-probe");
        place.install(&programs::program("sample-backend"), "bin/sample-backend");
        let abstract_address = SocketAddr::from_abstract_name(ABSTRACT).unwrap();
        configure(&server, "require = []", true);
        let wait = exec(place, 2, &["/bin/sleep", "600"]);
        let victim = Victim(wait.start());
        let scene = Self {
            _backend: ports::listen(8102).unwrap(),
            relay: TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap(),
            _stream: UnixListener::bind(place.path("outside/stream")).unwrap(),
            _datagram: UnixDatagram::bind(place.path("outside/datagram")).unwrap(),
            _abstract: UnixListener::bind_addr(&abstract_address).unwrap(),
            victim,
            _ports: ports,
            server,
        };
        scene.wait_for_victim();
        scene
    }

    /// Waits until the wrapper has become the other slot's program.
    fn wait_for_victim(&self) {
        let path = format!("/proc/{}/cmdline", self.victim.0.id());
        for _ in 0..500 {
            if std::fs::read(&path).unwrap().starts_with(b"/bin/sleep") {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("the other slot's program does not start");
    }

    /// What every language tries and none may reach.
    fn forbidden(&self) -> Vec<String> {
        let at = |name: &str| self.server.place.text(name);
        let (victim, relay) = (self.victim.0.id(), self.relay.local_addr().unwrap().port());
        vec![
            "bind:8103".to_owned(),
            "connect:8102".to_owned(),
            format!("connect:{relay}"),
            format!("udp:{relay}"),
            format!("unix:{}", at("outside/stream")),
            format!("signal:{victim}"),
            format!("read:/proc/{victim}/environ"),
            format!("read:{}", at("outside/secret")),
            format!("read:{}", at("state/preview-2/home/note")),
            format!("read:{}", at("secrets/slot_1.pw")),
            "read:out".to_owned(),
            format!("write:{}", at("outside/new")),
            format!("write:{}", at("outside/secret")),
        ]
    }

    /// What only some languages can try.
    fn forbidden_below(&self) -> Vec<String> {
        let at = |name: &str| self.server.place.text(name);
        vec![
            format!("abstract:{ABSTRACT}"),
            "mptcp:8102".to_owned(),
            "fastopen:8102".to_owned(),
            format!("pair:{}", at("outside/datagram")),
        ]
    }

    /// The close neighbours, all of which must work.
    fn allowed(&self) -> Vec<String> {
        let port = self.server.port();
        let names = [
            "bind:8101".to_owned(),
            format!("connect:{port}"),
            "read:inside".to_owned(),
            "read:in".to_owned(),
            "read:/proc/self/environ".to_owned(),
            "write:new".to_owned(),
        ];
        names.into()
    }

    fn tries(&self, words: &[&str], tries: &[Vec<String>]) -> BTreeMap<String, String> {
        let tries = tries.concat();
        let words: Vec<&str> =
            words.iter().copied().chain(tries.iter().map(String::as_str)).collect();
        let outcome = exec(&self.server.place, 1, &words).run();
        let answers: BTreeMap<String, String> = outcome
            .started()
            .stdout
            .lines()
            .map(|line| line.split_once(' ').unwrap())
            .map(|(attempt, answer)| (attempt.to_owned(), answer.to_owned()))
            .collect();
        assert_eq!(answers.len(), tries.len(), "{outcome:#?}");
        answers
    }
}

fn set_mode(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

/// Writes the configuration: every program of the tests, and these lines in `[sandbox]`.
fn configure(server: &Server, sandbox: &str, pinned: bool) {
    let at = server.place.text("");
    let at = at.trim_end_matches('/');
    let endpoints = format!("endpoints = [\"127.0.0.1:{}\"]\n", server.port());
    server.place.configure(&format!(
        "[database]\n{}role = \"slot_{{slot}}\"\npassword_file = \"{at}/secrets/slot_{{slot}}.pw\"\n\
         admin_password_file = \"{at}/secrets/admin.pw\"\n\
         [production]\ndatabases = [\"app_production\"]\n\
         [programs.backend]\npath = \"{at}/bin/sample-backend\"\n\
         [programs.rust]\npath = \"{at}/bin/sandbox-probe\"\nargs = [\"...\"]\n\
         [programs.python]\npath = \"/usr/bin/python3\"\nargs = [\"probe.py\", \"...\"]\n\
         [programs.node]\npath = \"/usr/bin/node\"\nargs = [\"probe.js\", \"...\"]\n\
         [programs.wait]\npath = \"/bin/sleep\"\nargs = [\"600\"]\n\
         [sandbox]\n{sandbox}\n",
        if pinned { endpoints.as_str() } else { "" }
    ));
}

fn exec(place: &Place, slot: u8, words: &[&str]) -> Run {
    let (config, worktree) = (place.config(), place.text("previews/feature"));
    let slot = format!("preview-{slot}");
    let front = ["exec", "--config", &config, "--slot", &slot, "--worktree", &worktree, "--"];
    Run::new("runtime-wrapper", &[&front, words].concat()).format("json")
}

/// The words that start the probe of each language that is installed; the Rust one always is.
fn languages(place: &Place) -> Vec<(&'static str, Vec<String>)> {
    let mut found = vec![("rust", vec![place.text("bin/sandbox-probe")])];
    for (name, path, script) in
        [("python", "/usr/bin/python3", "probe.py"), ("node", "/usr/bin/node", "probe.js")]
    {
        if Path::new(path).is_file() {
            found.push((name, vec![path.to_owned(), script.to_owned()]));
        } else {
            say(&format!("SKIPPED: {path} is not installed, so {name} tries nothing"));
        }
    }
    found
}

fn is_refused(answer: &str) -> bool {
    ["EACCES", "EPERM", "ENOSYS"].contains(&answer)
}

#[test]
fn se_3_se_6_three_languages_reach_their_own_slot_and_nothing_else() {
    let scene = Scene::new();
    for (language, words) in languages(&scene.server.place) {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let mut forbidden = scene.forbidden();
        if language != "node" {
            forbidden.extend(scene.forbidden_below());
        }
        configure(&scene.server, "", true);
        let answers = scene.tries(&words, &[forbidden.clone(), scene.allowed()]);
        for attempt in &forbidden {
            assert!(is_refused(&answers[attempt]), "{language}: {attempt} {}", answers[attempt]);
        }
        for attempt in scene.allowed() {
            assert_eq!(answers[&attempt], "ok", "{language}: {attempt}");
        }
        assert!(!scene.server.place.path("outside/new").exists());
        // Without the sandbox each of them succeeds, so it is the sandbox that refuses.
        configure(&scene.server, "require = []", true);
        for (attempt, answer) in scene.tries(&words, &[forbidden]) {
            match answer.as_str() {
                "EPROTONOSUPPORT" => say(&format!("SKIPPED: this kernel cannot {attempt}")),
                answer => assert_eq!(answer, "ok", "{language}: {attempt}"),
            }
        }
        std::fs::remove_file(scene.server.place.path("outside/new")).unwrap();
    }
}

#[test]
fn calls_that_reach_other_processes_or_the_kernel_are_refused() {
    let scene = Scene::new();
    let probe = scene.server.place.text("bin/sandbox-probe");
    let victim = scene.victim.0.id();
    let tries: Vec<(String, &str)> = vec![
        ("raw".to_owned(), "EPERM"),
        (format!("trace:{victim}"), "EPERM"),
        (format!("memory:{victim}"), "EPERM"),
        ("uring".to_owned(), "ENOSYS"),
        ("namespace".to_owned(), "EPERM"),
        ("keys".to_owned(), "EPERM"),
        ("x32".to_owned(), "ENOSYS"),
        ("terminal".to_owned(), "EPERM"),
        ("carrier".to_owned(), "EPERM"),
        ("foreign".to_owned(), "KILLED"),
        ("dump".to_owned(), "EFBIG"),
        ("pairs".to_owned(), "ok"),
        ("thread".to_owned(), "ok"),
        ("child".to_owned(), "ok"),
    ];
    configure(&scene.server, "", true);
    let names: Vec<String> = tries.iter().map(|(attempt, _)| attempt.clone()).collect();
    let answers = scene.tries(&[&probe], &[names]);
    for (attempt, wanted) in tries {
        assert_eq!(answers[&attempt], wanted, "{attempt}");
    }
    configure(&scene.server, "require = []", true);
    // Where nothing is filtered the kernel answers for itself: there is no terminal, and so on.
    let unfiltered = ["terminal".to_owned(), "carrier".to_owned(), format!("memory:{victim}")];
    for (attempt, answer) in scene.tries(&[&probe], &[unfiltered.to_vec()]) {
        assert_ne!(answer, "EPERM", "{attempt}");
    }
}

#[test]
fn postgres_itself_is_closed_where_the_target_has_another_port() {
    let scene = Scene::new();
    let (postgres, relay) = (scene.server.port(), scene.relay.local_addr().unwrap().port());
    let probe = scene.server.place.text("bin/sandbox-probe");
    let tries = [format!("connect:{postgres}"), format!("connect:{relay}")];
    let answers = |sandbox: &str| {
        configure(&scene.server, sandbox, false);
        let url = format!("postgresql://slot_1@127.0.0.1:{relay}/app_preview_1");
        let words = [probe.as_str(), &tries[0], &tries[1]];
        let outcome = exec(&scene.server.place, 1, &words).with("DATABASE_URL", &url).run();
        outcome.started().stdout.clone()
    };
    assert_eq!(answers(""), format!("{} EACCES\n{} ok\n", tries[0], tries[1]));
    let listed = format!("connect_tcp = [{postgres}]");
    assert_eq!(answers(&listed), format!("{} ok\n{} ok\n", tries[0], tries[1]));
}

#[test]
fn sockets_and_paths_open_as_far_as_the_policy_says() {
    let scene = Scene::new();
    let place = &scene.server.place;
    let at = |name: &str| place.text(name);
    let probe = at("bin/sandbox-probe");
    std::fs::create_dir_all(place.path("cache-1")).unwrap();
    let tries = [
        format!("unix:{}", at("outside/stream")),
        format!("pair:{}", at("outside/datagram")),
        format!("udp:{}", scene.server.port()),
        format!("read:{}", at("outside/secret")),
        format!("write:{}", at("outside/secret")),
        format!("write:{}", at("cache-1/new")),
    ];
    let answers = |sandbox: &str| {
        configure(&scene.server, sandbox, true);
        let answers = scene.tries(&[&probe], &[tries.to_vec()]);
        tries.clone().map(|attempt| if answers[&attempt] == "ok" { '+' } else { '-' })
    };
    let read = format!("read = [\"{}\"]", at("outside"));
    let write = format!("write = [\"{}/cache-{{slot}}\"]", at("").trim_end_matches('/'));
    for (sandbox, wanted) in [
        ("", "------"),
        ("unix_sockets = \"notify\"", "-+----"),
        ("unix_sockets = \"allow\"", "++----"),
        ("udp = \"allow\"", "--+---"),
        (&read, "---+--"),
        (&write, "-----+"),
        ("require = [\"fs\"]", "------"),
        ("require = [\"tcp\"]", "---+++"),
    ] {
        assert_eq!(String::from_iter(answers(sandbox)), wanted, "{sandbox}");
    }
}

#[test]
fn se_6_a_dependency_sync_reaches_listed_ports_and_neither_database_nor_home() {
    let scene = Scene::new();
    let place = &scene.server.place;
    let relay = scene.relay.local_addr().unwrap().port();
    configure(&scene.server, "", true);
    exec(place, 1, &[&place.text("bin/sandbox-probe")]).run().started();
    place.write("state/preview-1/home/note", 0o600, "x");
    let tries = [
        (format!("connect:{}", scene.server.port()), false),
        (format!("connect:{relay}"), true),
        ("bind:8101".to_owned(), false),
        (format!("read:{}", place.text("state/preview-1/home/note")), false),
        (format!("write:{}", place.text("state/preview-1/cache/new")), true),
        ("write:node_modules".to_owned(), true),
        (format!("read:{}", place.text("outside/secret")), false),
    ];
    configure(&scene.server, &format!("[sync]\nconnect_tcp = [{relay}]"), true);
    let (config, worktree) = (place.config(), place.text("previews/feature"));
    let probe = place.text("bin/sandbox-probe");
    let options = ["--slot", "preview-1", "--worktree", &worktree, "--purpose", "sync"];
    let front = [&["exec", "--config", &config], &options[..], &["--", &probe]].concat();
    let run = |words: &[&str]| {
        let run = Run::new("runtime-wrapper", &[&front, words].concat()).format("json");
        run.with("DATABASE_URL", "postgresql://app@127.0.0.1:5432/app_production").run()
    };
    let words: Vec<&str> = tries.iter().map(|(attempt, _)| attempt.as_str()).collect();
    let outcome = run(&words);
    for ((attempt, works), line) in tries.iter().zip(outcome.started().stdout.lines()) {
        let answer = line.strip_prefix(attempt.as_str()).unwrap().trim();
        assert!(if *works { answer == "ok" } else { is_refused(answer) }, "{line}");
    }
    let inherited: Value = serde_json::from_str(&run(&[]).started().stdout).unwrap();
    let names = inherited["names"].as_array().unwrap();
    assert!(!names.iter().any(|name| name == "DATABASE_URL"), "{inherited}");
    assert!(names.iter().any(|name| name == "SLOT_WORKTREE_PATH"), "{inherited}");
}

#[test]
fn the_sample_backend_serves_from_its_database_within_the_sandbox() {
    let scene = Scene::new();
    let place = &scene.server.place;
    configure(&scene.server, "", true);
    let migrations = place.copy_migrations(&fixtures::sample_app().join("migrations"), "feature");
    scene.server.migrate("apply", 1, &migrations).run().accepted();
    let mut child = exec(place, 1, &[&place.text("bin/sample-backend")]).start();
    let mut events = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
    let start: Value = serde_json::from_str(&events.next().unwrap()).unwrap();
    assert_eq!(start["sandbox"]["enforced"], serde_json::json!(["fs", "tcp", "scope"]), "{start}");
    let mut backend = Victim(child);
    let answer = get(8101, "/api/products").expect("the backend does not answer");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    kill_process(Pid::from_child(&backend.0), Signal::TERM).unwrap();
    assert!(backend.0.wait().unwrap().success());
}

/// Asks a backend until it answers; `None` when it never does.
fn get(port: u16, path: &str) -> Option<String> {
    for _ in 0..500 {
        if let Ok(mut stream) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)) {
            let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
            stream.write_all(request.as_bytes()).ok()?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).ok()?;
            return Some(answer);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    None
}

#[test]
fn sm_2_a_socket_is_handed_on_only_when_it_listens_on_the_slot_s_own_port() {
    let _ports = ports::reserve();
    let place = Place::new();
    place.install(&programs::program("sandbox-probe"), "bin/sandbox-probe");
    let probe = place.text("bin/sandbox-probe");
    place.configure(&format!("[programs.probe]\npath = \"{probe}\"\n"));
    let wrapper = programs::program("runtime-wrapper");
    let (wrapper, config) = (wrapper.to_str().unwrap(), place.config());
    // As a service manager does: the variables are written by the process that becomes the service.
    let script = "LISTEN_FDS=1 LISTEN_PID=$$ exec \"$@\"";
    let exec = ["exec", "--config", &config, "--slot", "preview-1", "--", &probe];
    let words = [&["-c", script, "sh", wrapper, "--format", "json"], &exec[..]].concat();
    let url = "postgresql://slot_1@127.0.0.1:5432/app_preview_1";
    let arrives = |port: u16| {
        let socket = File::from(OwnedFd::from(ports::listen(port).unwrap()));
        let run = Run::at(Path::new("/bin/sh"), &words).with("DATABASE_URL", url);
        let outcome = run.under(Parent::descriptor(3, &socket)).run();
        let inherited: Value = serde_json::from_str(&outcome.started().stdout).unwrap();
        let has = |list: &str, wanted: &str| {
            inherited[list].as_array().unwrap().iter().any(|name| name == wanted)
        };
        let handed_on = has("descriptors", "3");
        assert_eq!(has("names", "LISTEN_FDS"), handed_on, "{inherited}");
        assert_eq!(has("names", "LISTEN_PID"), handed_on, "{inherited}");
        let warned = outcome.said().contains(Code::ListenSocketsDropped.id());
        assert_eq!(warned, !handed_on, "{outcome:#?}");
        handed_on
    };
    assert!(arrives(8101));
    assert!(!arrives(8102));
    assert!(!arrives(0), "some other port");
}

#[test]
fn se_2_within_a_hardened_unit_a_program_of_its_own_user_is_started() {
    if !rustix::process::geteuid().is_root() {
        say("SKIPPED: only root can become the user of a unit");
        return;
    }
    let place = Place::new();
    place.configure("[programs.probe]\npath = \"/bin/cat\"\nargs = [\"/proc/self/status\"]\n");
    give_to_nobody(&place);
    place.install(&programs::program("runtime-wrapper"), "bin/runtime-wrapper");
    let config = place.config();
    let exec = ["exec", "--config", &config, "--slot", "preview-1", "--"];
    let words = [&exec[..], &["/bin/cat", "/proc/self/status"]].concat();
    let run = Run::at(&place.path("bin/runtime-wrapper"), &words).under(Parent::Unit);
    let url = "postgresql://slot_1@127.0.0.1:5432/app_preview_1";
    let outcome = run.with("DATABASE_URL", url).run();
    let status = &outcome.started().stdout;
    for line in ["CapEff:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t2", "Uid:\t65534"] {
        assert!(status.contains(line), "{line}: {status}");
    }
    assert!(!outcome.said().contains(Code::NotASlotUser.id()), "{outcome:#?}");
}

fn give_to_nobody(place: &Place) {
    for part in ["", "slotguard.toml", "state", "previews"] {
        std::os::unix::fs::chown(place.path(part), Some(65534), Some(65534)).unwrap();
    }
}

#[test]
fn root_is_said_and_an_own_user_is_not() {
    if !rustix::process::geteuid().is_root() {
        say("SKIPPED: only root can start the wrapper as root, and as somebody with groups");
        return;
    }
    let place = Place::new();
    place.configure("[programs.nothing]\npath = \"/bin/true\"\n");
    let run = || place.exec(&[], &["/bin/true"]).format("json");
    let url = "postgresql://slot_1@127.0.0.1:5432/app_preview_1";
    let outcome = run().with("DATABASE_URL", url).run();
    assert!(outcome.started().said().contains(Code::NotASlotUser.id()), "{outcome:#?}");
    std::fs::remove_dir_all(place.path("state/preview-1")).unwrap();
    give_to_nobody(&place);
    place.install(&programs::program("runtime-wrapper"), "bin/runtime-wrapper");
    let wrapper = place.text("bin/runtime-wrapper");
    for (groups, said) in [("--clear-groups", false), ("--groups=65534,100", true)] {
        let config = place.config();
        let ids = ["--reuid=65534", "--regid=65534", groups, &wrapper];
        let exec = ["exec", "--config", &config, "--slot", "preview-1", "--", "/bin/true"];
        let run = Run::at(Path::new("/usr/bin/setpriv"), &[&ids[..], &exec].concat());
        let outcome = run.with("DATABASE_URL", url).run();
        let is_said = outcome.started().said().contains(Code::NotASlotUser.id());
        assert_eq!(is_said, said, "{groups}: {outcome:#?}");
    }
}
