//! Clause DB-1 on the wire: what a program of a slot reaches when its sidecar is on.

#![expect(clippy::unwrap_used, reason = "helpers of tests, outside of what the lint takes for one")]

use guard::diagnostic::Code;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::ports;
use crate::support::preview::{Preview, process, said};
use crate::support::processes::wait_for_end;
use crate::support::run::{Outcome, Run, assert_whole};
use crate::support::server::{Server, password};
use crate::support::sidecar::{self, PORT, Sidecar};

/// Tries one database after the other and says how each answered.
const TRIES: &str = "\
try() { printf '%s: %s\\n' \"$1\" \"$(psql -XqAtw \"$2\" -c \"$ASK\" 2>&1 | head -1)\"; }
ASK='SELECT current_database(), current_user'
try own \"$DATABASE_URL\"
try other \"${DATABASE_URL%/*}/app_preview_2\"
try production \"${DATABASE_URL%/*}/app_production\"
try postgres \"$(echo \"$DATABASE_URL\" | sed 's/slot_1:/postgres:/')\"
";

/// As [`TRIES`], at the port of the server itself, with the login that the sidecar holds.
fn directly(server: &Server) -> String {
    let url = format!("postgresql://slot_1:{}@127.0.0.1:{}", password(1), server.port());
    format!("try directly '{url}/app_preview_1'\n")
}

/// A server whose slot has a program that tries what it can reach.
fn scene(sandbox: &str) -> Server {
    let server = Server::new();
    let script = format!("{TRIES}{}echo \"$DATABASE_URL\" >url\n", directly(&server));
    server.place.write("previews/feature/tries.sh", 0o644, &script);
    configure(&server, sandbox);
    server
}

fn configure(server: &Server, sandbox: &str) {
    sidecar::configure(
        server,
        &format!(
            "[sandbox]\n{sandbox}\n[programs.tries]\npath = \"/bin/sh\"\nargs = [\"tries.sh\"]\n"
        ),
    );
}

fn wrapper(server: &Server, command: &str, more: &[&str]) -> Run {
    let (config, worktree) = (server.place.config(), server.place.text("previews/feature"));
    let front = [command, "--config", &config, "--slot", "preview-1", "--worktree", &worktree];
    let program = ["--", "/bin/sh", "tries.sh"];
    Run::new("runtime-wrapper", &[&front, more, &program].concat())
}

fn exec(server: &Server) -> Run {
    wrapper(server, "exec", &[]).format("json")
}

#[track_caller]
fn answers(outcome: &Outcome) -> Vec<(String, String)> {
    let lines = outcome.started().stdout.lines();
    lines
        .map(|line| line.split_once(": ").unwrap())
        .map(|(name, answer)| (name.to_owned(), answer.to_owned()))
        .collect()
}

#[test]
fn db_1_a_running_program_reaches_its_own_database_and_nothing_else() {
    let server = scene("");
    let sidecar = Sidecar::start(&server);
    let tried = answers(&exec(&server).run());
    let names: Vec<&str> = tried.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["own", "other", "production", "postgres", "directly"]);
    assert_eq!(tried[0].1, "app_preview_1|slot_1");
    for (index, code) in [(1, "SG8713"), (2, "SG8713"), (3, "SG8714")] {
        assert!(tried[index].1.contains(&format!("FATAL:  {code}: ")), "{tried:?}");
    }
    assert!(tried[4].1.ends_with("Permission denied"), "{tried:?}");

    // What it was given opens the sidecar and nothing else.
    let url = std::fs::read_to_string(server.place.path("previews/feature/url")).unwrap();
    assert_eq!(url.trim_end(), sidecar.url("slot_1", "app_preview_1"));
    assert!(!url.contains(&password(1)), "the server's login reached the program");

    // It is the kernel's rules that close the server's own port.
    configure(&server, "require = [\"fs\"]");
    let open = answers(&exec(&server).run());
    assert_eq!(open[4].1, "app_preview_1|slot_1");
    assert_eq!(open[..4], tried[..4]);
    sidecar.stop();
}

#[test]
fn the_wrapper_needs_no_login_of_the_server_and_judges_what_it_is_given() {
    let server = scene("");
    let sidecar = Sidecar::start(&server);
    std::fs::remove_file(server.place.path("secrets/slot_1.pw")).unwrap();
    let own = "app_preview_1|slot_1";
    assert_eq!(answers(&exec(&server).run())[0].1, own);
    // A URL of the server is judged as ever; what it carries does not arrive.
    let given = format!("postgresql://slot_1:{}@127.0.0.1:{}", password(1), server.port());
    let url = format!("{given}/app_preview_1?sslmode=require&application_name=web");
    assert_eq!(answers(&exec(&server).with("DATABASE_URL", &url).run())[0].1, own);
    let arrived = std::fs::read_to_string(server.place.path("previews/feature/url")).unwrap();
    let expected = sidecar.url("slot_1", "app_preview_1?application_name=web");
    assert_eq!(arrived.trim_end(), expected);
    let foreign = format!("{given}/app_production");
    exec(&server).with("DATABASE_URL", &foreign).run().denied(Code::ProductionDatabase);
    sidecar.stop();
}

#[test]
fn a_plan_shows_the_sidecar_alone() {
    let server = scene("");
    let sidecar = Sidecar::start(&server);
    let outcome = wrapper(&server, "plan", &[]).format("json").run();
    let view: &Value = &outcome.accepted().objects()[0];
    assert_eq!((&view["port"], &view["host"]), (&json!(PORT), &json!("127.0.0.1")), "{view}");
    assert_eq!(view["sandbox"]["connect_tcp"], json!([PORT]));
    assert_eq!(view["database_port_is_shared"], false);
    let decisions = view["environment"].as_array().unwrap();
    let url = decisions.iter().find(|decision| decision["name"] == "DATABASE_URL").unwrap();
    assert!(url["reason"].as_str().unwrap().contains("sidecar"), "{url}");
    let config = server.place.config();
    let words = ["explain-env", "--config", &config, "--slot", "preview-1", "DATABASE_URL"];
    let explained = Run::new("runtime-wrapper", &words).format("json").run();
    assert_eq!(explained.objects()[0]["reason"], url["reason"]);
    sidecar.stop();
}

#[test]
fn without_the_sidecar_that_is_demanded_nothing_starts() {
    let server = scene("");
    let port = sidecar::reserve();
    let shown = ["human", "json"].map(|format| {
        let outcome = wrapper(&server, "exec", &[]).format(format).run();
        outcome.refused(Code::SidecarDemanded);
        outcome.snapshot(&server.redactor())
    });
    assert_whole(Code::SidecarDemanded.id(), &shown.join("\n"));
    let found = |run: Run| {
        let denial = run.format("json").run().denied(Code::SidecarDemanded);
        denial["found"].as_str().unwrap().to_owned()
    };
    assert!(found(wrapper(&server, "plan", &[])).contains("no directory"));
    drop(port);

    // What a killed one left leads nowhere, whoever has its port.
    let mut killed = Sidecar::start(&server);
    killed.signal(Signal::KILL);
    killed.ended();
    drop(killed);
    assert!(found(wrapper(&server, "exec", &[])).contains("nobody listens"));
    if rustix::process::geteuid().is_root() {
        let _port = sidecar::reserve();
        let listen = format!("exec python3 -m http.server --bind 127.0.0.1 {PORT}");
        let args = ["--reuid", "65534", "--clear-groups", "/bin/sh", "-c", &listen];
        let rogue = Run::at(std::path::Path::new("/usr/bin/setpriv"), &args)
            .with("PATH", "/usr/bin:/bin")
            .start();
        let rogue = Rogue(rogue);
        for _ in 0..500 {
            if ports::listen(PORT).is_err() {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        assert!(found(wrapper(&server, "exec", &[])).contains("uid 65534 listens"));
        drop(rogue);
    }

    // The neighbour; and without `[sidecar]` nobody is asked for one.
    let sidecar = Sidecar::start(&server);
    assert_eq!(answers(&exec(&server).run())[0].1, "app_preview_1|slot_1");
    sidecar.stop();
    server.configure("[programs.tries]\npath = \"/bin/sh\"\nargs = [\"tries.sh\"]\n");
    assert_eq!(answers(&exec(&server).run())[4].1, "app_preview_1|slot_1");
}

/// A program that has the slot's port; ended when dropped.
struct Rogue(std::process::Child);

impl Drop for Rogue {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_backend_works_by_way_of_the_sidecar_and_starts_with_no_other() {
    let preview = Preview::new();
    preview.configure("[sidecar]\nenabled = true\n");
    preview.start(1, "backend").run().denied(Code::SidecarDemanded);
    let sidecar = Sidecar::start(&preview.server);
    let first = preview.started(1);
    let opened = sidecar.wait_for("session.opened", |_| true);
    assert!(opened["peer"]["address"].as_str().unwrap().starts_with("127.0.0.1:"), "{opened}");
    sidecar.stop();

    // Whoever would be refused is told before anything stops.
    preview.backend("restart", 1, &[]).run().denied(Code::SidecarDemanded);
    assert!(first.is_running());
    let sidecar = Sidecar::start(&preview.server);
    let restarted = said(preview.backend("restart", 1, &[]).run().accepted());
    assert_ne!(process(&restarted), first);
    assert_eq!(wait_for_end(&[first]), []);
    preview.stopped(1);
    sidecar.stop();
}
