//! Every refusal of the sidecar, as psql and a reader of events meet it, and a neighbour that passes.

#![expect(clippy::unwrap_used, reason = "helpers of tests, outside of what the lint takes for one")]

use std::io::{Read as _, Write as _};

use guard::diagnostic::Code;
use rustix::process::Signal;
use serde_json::Value;

use crate::support::ports;
use crate::support::run::{Outcome, Run, assert_whole};
use crate::support::server::{Server, password};
use crate::support::sidecar::{self, PORT, Sidecar, answer_to, connect, serve};

/// Shows what psql said and what the event says, without what changes from run to run.
#[track_caller]
fn compare(server: &Server, sidecar: &Sidecar, code: Code, client: &str) {
    let event = sidecar.wait_for("session.refused", |event| event["code"] == code.id());
    let parts = ["code", "message", "found", "expected", "help"];
    let event: Vec<String> = parts.iter().map(|part| format!("{part}: {}", event[*part])).collect();
    let state = sidecar.state().to_str().unwrap();
    let client = client.replace(state, "<state>").replace(&sidecar.password(), "<password>");
    let text = format!("{client}--- event\n{}\n", event.join("\n"));
    assert_whole(code.id(), &server.redactor().redact(&text));
}

/// Expects that psql is refused with this code and state.
#[track_caller]
fn refused(outcome: &Outcome, code: Code) -> String {
    assert_eq!(outcome.status, Some(2), "{outcome:#?}");
    assert!(outcome.stderr.contains(&format!("FATAL:  {code}: ")), "{outcome:#?}");
    for part in ["DETAIL:  found ", "HINT:  "] {
        assert!(outcome.stderr.contains(part), "{outcome:#?}");
    }
    outcome.stderr.clone()
}

fn start_up(pairs: &[(&str, &str)]) -> Vec<u8> {
    let mut content = (3u32 << 16).to_be_bytes().to_vec();
    for (key, value) in pairs {
        content.extend_from_slice(format!("{key}\0{value}\0").as_bytes());
    }
    content.push(0);
    let length = u32::try_from(content.len() + 4).unwrap();
    [&length.to_be_bytes()[..], &content].concat()
}

/// Returns the texts of an error, one a line, as they came.
fn fields(answer: &[u8]) -> String {
    assert_eq!(answer.first(), Some(&b'E'), "{answer:?}");
    let texts = answer[5..].split(|byte| *byte == 0).filter(|text| !text.is_empty());
    texts.map(|text| format!("{}\n", String::from_utf8_lossy(text))).collect()
}

#[test]
fn whoever_asks_for_something_else_is_told_what_and_what_not() {
    let server = Server::new();
    sidecar::configure(&server, "");
    let sidecar = Sidecar::start(&server);
    let own = [("user", "slot_1"), ("database", "app_preview_1")];
    let psql = |role: &str, database: &str, code| {
        let outcome = sidecar.psql(role, database, &["-c", "SELECT 1"]).run();
        compare(&server, &sidecar, code, &refused(&outcome, code));
        let outcome = sidecar.psql_unix(role, database, &["-c", "SELECT 1"]).run();
        refused(&outcome, code);
    };
    psql("slot_1", "app_production", Code::WireDatabase);
    psql("postgres", "app_preview_1", Code::WireRole);
    psql("slot_1", "dbname=app_preview_1 replication=database", Code::WireReplication);

    let run = sidecar.psql("slot_1", "app_preview_1", &["-c", "SELECT 1"]);
    let outcome = run.with("PGOPTIONS", "-c search_path=elsewhere").run();
    compare(&server, &sidecar, Code::WireParameter, &refused(&outcome, Code::WireParameter));
    let run = sidecar.psql("slot_1", "app_preview_1", &["-c", "SELECT 1"]);
    let outcome = run.with("PGPASSWORD", &password(1)).run();
    compare(&server, &sidecar, Code::WirePassword, &refused(&outcome, Code::WirePassword));

    let twice = [&own[..], &[("database", "app_production")]].concat();
    for (pairs, code) in [(&twice[..], Code::WireDuplicate), (&[], Code::WireMalformed)] {
        compare(&server, &sidecar, code, &fields(&answer_to(&start_up(pairs))));
    }
    let http = String::from_utf8(answer_to(b"GET / HTTP/1.1\r\n\r\n")).unwrap();
    assert!(http.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{http}");
    compare(&server, &sidecar, Code::WireProtocol, &http.replace('\r', ""));
    assert_eq!(answer_to(b"\x16\x03\x01\x02\x00\x01\x00"), [0x15, 3, 1, 0, 2, 2, 40]);

    // The neighbour.
    assert_eq!(sidecar.sql("SELECT 1"), "1\n");
    let status = sidecar.status(&server);
    assert_eq!((&status["refused"], &status["sessions"]), (&12.into(), &1.into()), "{status}");
    sidecar.stop();
}

#[test]
fn a_setting_that_is_named_passes() {
    let server = Server::new();
    sidecar::configure(&server, "startup_keys = [\"options\"]\n");
    let sidecar = Sidecar::start(&server);
    let run = sidecar.psql("slot_1", "app_preview_1", &["-c", "SHOW search_path"]);
    let outcome = run.with("PGOPTIONS", "-c search_path=elsewhere").run();
    assert_eq!(outcome.accepted().stdout, "elsewhere\n");
    sidecar.stop();
}

#[test]
fn there_are_as_many_sessions_as_there_may_be() {
    let server = Server::new();
    sidecar::configure(&server, "max_sessions = 1\n");
    let sidecar = Sidecar::start(&server);
    let held = sidecar.psql("slot_1", "app_preview_1", &["-c", "SELECT pg_sleep(60)"]).start();
    crate::sidecar::wait_for_sleeper(&server);
    let outcome = sidecar.psql("slot_1", "app_preview_1", &["-c", "SELECT 1"]).run();
    compare(&server, &sidecar, Code::WireFull, &refused(&outcome, Code::WireFull));
    rustix::process::kill_process(rustix::process::Pid::from_child(&held), Signal::INT).unwrap();
    held.wait_with_output().unwrap();
    sidecar.wait_for("session.closed", |_| true);
    assert_eq!(sidecar.sql("SELECT 1"), "1\n");
    sidecar.stop();
}

#[test]
fn a_client_that_says_nothing_is_told_that_it_is_late() {
    let server = Server::new();
    sidecar::configure(&server, "");
    let sidecar = Sidecar::start(&server);
    let (mut silent, mut slow) = (connect(), connect());
    slow.write_all(&start_up(&[("user", "slot_1"), ("database", "app_preview_1")])[..20]).unwrap();
    let said: Vec<String> = [&mut silent, &mut slow]
        .map(|stream| {
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).unwrap();
            fields(&answer)
        })
        .to_vec();
    assert_eq!(said[0], said[1]);
    compare(&server, &sidecar, Code::WireLate, &said[0]);
    assert_eq!(sidecar.sql("SELECT 1"), "1\n");
    sidecar.stop();
}

/// The superuser can reach every socket; the sidecar of another user does not serve it.
#[test]
fn another_user_on_the_socket_is_refused() {
    if !rustix::process::geteuid().is_root() {
        crate::support::run::say("SKIPPED another_user_on_the_socket_is_refused: needs root");
        return;
    }
    let server = Server::new();
    sidecar::configure(&server, "");
    let nobody = ["--reuid", "65534", "--regid", "65534", "--clear-groups"];
    give_to_nobody(&server);
    let config = server.place.config();
    let program = crate::support::programs::program("pg-sidecar");
    let program = program.to_str().unwrap();
    // The format is the first argument of the program, not of the one that changes the user.
    let args = [program, "--format", "json", "serve", "--slot", "preview-1", "--config", &config];
    let run = Run::at(std::path::Path::new("/usr/bin/setpriv"), &[&nobody[..], &args].concat());
    let sidecar = Sidecar::start_plain(&server, run);
    let outcome = sidecar.psql_unix("slot_1", "app_preview_1", &["-c", "SELECT 1"]).run();
    compare(&server, &sidecar, Code::WirePeer, &refused(&outcome, Code::WirePeer));
    assert_eq!(sidecar.sql("SELECT 1"), "1\n");
    // Its memory is not its user's to read: what lies in it is the slot's login.
    let memory = format!("/proc/{}/mem", sidecar.pid().as_raw_nonzero());
    assert_eq!(std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(memory).unwrap()), 0);
    sidecar.stop();
}

/// Makes everything of the place belong to the user `nobody`.
fn give_to_nobody(server: &Server) {
    let at = server.place.text("");
    let chown = std::path::Path::new("/usr/bin/chown");
    let outcome = Run::at(chown, &["-R", "65534:65534", at.trim_end_matches('/')]).run();
    assert_eq!(outcome.status, Some(0), "{outcome:?}");
}

/// Puts a rule for the slot's role in front of the server's own.
fn admit_by(server: &Server, rules: &str) {
    let path = server.cluster().data_dir().join("pg_hba.conf");
    let old = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, format!("{rules}{old}")).unwrap();
    server.sql("postgres", "SELECT pg_reload_conf()");
}

#[test]
fn a_server_that_does_not_prove_itself_is_not_used() {
    let server = Server::new();
    sidecar::configure(&server, "");
    // It would take the password in clear, or nothing at all: a rogue would do the same.
    for method in ["password", "trust"] {
        admit_by(&server, &format!("host all slot_1 127.0.0.1/32 {method}\n"));
        let _port = sidecar::reserve();
        let outcome = serve(&server).format("json").run();
        let denial = outcome.denied(Code::WireUpstream);
        assert!(denial["expected"].as_str().unwrap().contains("scram-sha-256"), "{denial}");
    }
}

#[test]
fn a_server_that_refuses_is_heard_in_its_own_words() {
    let server = Server::new();
    sidecar::configure(&server, "");
    let sidecar = Sidecar::start(&server);
    assert_eq!(sidecar.sql("SELECT 1"), "1\n");
    server.sql("postgres", "ALTER ROLE slot_1 CONNECTION LIMIT 0");
    let outcome = sidecar.psql("slot_1", "app_preview_1", &["-c", "SELECT 1"]).run();
    assert!(outcome.stderr.contains("too many connections for role \"slot_1\""), "{outcome:#?}");
    compare(&server, &sidecar, Code::WireUpstream, &outcome.stderr);
    server.sql("postgres", "ALTER ROLE slot_1 CONNECTION LIMIT 20");
    assert_eq!(sidecar.sql("SELECT 1"), "1\n");
    sidecar.stop();
}

/// What is refused before anything is served: a code, and the run that gives it in either format.
#[track_caller]
fn played(server: &Server, code: Code, run: impl Fn() -> Run) -> Value {
    let shown = ["human", "json"].map(|format| {
        let outcome = run().format(format).run();
        outcome.refused(code);
        outcome.snapshot(&server.redactor())
    });
    assert_whole(code.id(), &shown.join("\n"));
    run().format("json").run().denied(code)
}

#[test]
fn what_cannot_be_served_is_refused_at_the_start() {
    let server = Server::new();
    let _port = sidecar::reserve();
    let status = || {
        let config = server.place.config();
        Run::new("pg-sidecar", &["status", "--slot", "preview-1", "--config", &config])
    };
    server.configure("");
    played(&server, Code::SidecarOff, || serve(&server));
    status().format("json").run().denied(Code::SidecarOff);

    sidecar::configure(&server, "");
    played(&server, Code::SidecarAbsent, status);
    let listener = ports::listen(PORT).unwrap();
    played(&server, Code::SidecarListen, || serve(&server));
    drop(listener);
    {
        use std::os::unix::fs::PermissionsExt as _;
        let directory = server.place.path("state/sidecar/preview-1");
        let open = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(directory, open).unwrap();
    }
    let denial = serve(&server).format("json").run().denied(Code::SidecarListen);
    assert!(denial["found"].as_str().unwrap().contains("mode 0755"), "{denial}");

    server.place.configure(&format!(
        "[database]\nendpoints = [\"127.0.0.1:{}\"]\n[sidecar]\nenabled = true\n",
        server.port()
    ));
    played(&server, Code::SidecarUpstream, || serve(&server));
}
