//! `slotguard check --live` and `slotguard doctor`, which ask `migrate-runner`.

#![expect(clippy::unwrap_used, reason = "helpers of tests, outside of what the lint takes for one")]

use guard::diagnostic::Code;
use serde_json::Value;

use crate::support::programs;
use crate::support::run::{Outcome, Run, assert_whole};
use crate::support::server::Server;

fn live(server: &Server) -> Run {
    server.place.check(&["--slot", "preview-1", "--live"])
}

fn doctor(server: &Server, more: &[&str]) -> Run {
    let config = server.place.config();
    Run::new("slotguard", &[&["doctor", "--config", &config], more].concat())
}

fn with_root(server: &Server) -> Run {
    doctor(server, &["--admin-url-file", &server.place.text("secrets/root.url")])
}

/// Returns name and state of each check.
fn states(outcome: &Outcome) -> Vec<(String, String)> {
    let objects = outcome.objects();
    let text = |check: &Value, key: &str| check[key].as_str().unwrap().to_owned();
    let checks = objects[0]["checks"].as_array().unwrap();
    checks.iter().map(|check| (text(check, "name"), text(check, "state"))).collect()
}

#[test]
fn a_live_check_asks_the_server_and_refuses_as_it_answers() {
    let server = Server::new();
    let allowed = live(&server).format("json").run();
    let verdict = &allowed.accepted().objects()[0];
    assert_eq!(
        (&verdict["verdict"], &verdict["live"]["stamped"]),
        (&"allowed".into(), &true.into())
    );
    live(&server).format("human").run().accepted();

    // Offline nothing is wrong; the server knows better.
    server.sql("postgres", "ALTER ROLE slot_1 CREATEDB");
    server.place.check(&["--slot", "preview-1"]).run().accepted();
    live(&server).format("json").run().denied(Code::LiveRights);
    server.sql("postgres", "ALTER ROLE slot_1 NOCREATEDB");
    live(&server).run().accepted();

    // A URL with its password goes to the sibling without being said.
    let password = crate::support::server::password(1);
    let url = server.url(1, "app_preview_1").replace('@', &format!(":{password}@"));
    live(&server).with("DATABASE_URL", &url).format("json").run().accepted();
    let other = url.replace("app_preview_1", "app_preview_2");
    live(&server).with("DATABASE_URL", &other).run().refused(Code::OtherSlotsDatabase);
}

#[test]
fn a_live_check_of_what_does_not_answer_is_no_pass() {
    let server = Server::new();
    server.place.configure("[database]\nendpoints = [\"127.0.0.1:1\"]\nrole = \"slot_{slot}\"\n");
    server.place.check(&["--slot", "preview-1"]).run().accepted();
    live(&server).run().refused(Code::ServerUnreachable);
}

#[test]
fn the_doctor_finds_a_sound_installation_sound() {
    let server = Server::new();
    let outcome = with_root(&server).format("json").run();
    let all: Vec<(String, String)> = states(outcome.accepted());
    let names: Vec<&str> = all.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names[..3], ["programs", "configuration", "cluster"]);
    assert_eq!(names.len(), 6, "one for each slot");
    assert!(all.iter().all(|(_, state)| state == "ok"), "{all:?}");

    let unasked = doctor(&server, &[]).format("json").run();
    assert_eq!(states(unasked.accepted())[2].1, "not-checked");
}

#[test]
fn the_doctor_names_what_needs_mending() {
    let server = Server::new();
    server.sql("postgres", "ALTER ROLE slot_2 REPLICATION; GRANT slot_1 TO slot_3");
    let shown = ["human", "json"].map(|format| {
        let outcome = with_root(&server).format(format).run();
        assert_eq!(outcome.status, Some(65), "{outcome:?}");
        outcome.snapshot(&server.redactor())
    });
    assert_whole("doctor", &shown.join("\n"));
    let outcome = with_root(&server).format("json").run();
    let findings = |name: &str| {
        let objects = outcome.objects();
        let checks = objects[0]["checks"].as_array().unwrap();
        let check = checks.iter().find(|check| check["name"] == name).unwrap();
        check["findings"].as_array().unwrap().len()
    };
    assert!(findings("cluster") >= 2);
    assert_eq!(findings("database of preview-1"), 0);
    assert_eq!(findings("database of preview-2"), 1);
    assert_eq!(findings("database of preview-3"), 1);
}

#[test]
fn the_doctor_misses_every_program_that_is_not_there() {
    let server = Server::new();
    let siblings = ["migrate-runner", "pg-sidecar", "runtime-wrapper", "web-surface"];
    for name in siblings.iter().chain(&["slotguard"]) {
        server.place.install(&programs::program(name), &format!("bin/{name}"));
    }
    let checked = || {
        let args = ["doctor", "--config", &server.place.config()];
        let outcome = Run::at(&server.place.path("bin/slotguard"), &args).format("json").run();
        outcome.objects()[0]["checks"][0].clone()
    };
    assert_eq!(checked()["state"], "ok");
    for name in siblings {
        let path = server.place.path(&format!("bin/{name}"));
        let aside = path.with_extension("aside");
        std::fs::rename(&path, &aside).unwrap();
        let programs = checked();
        assert_eq!(programs["findings"].as_array().unwrap().len(), 1, "{name}: {programs}");
        assert_eq!(programs["findings"][0]["code"], Code::SiblingMissing.id(), "{programs}");
        std::fs::rename(&aside, &path).unwrap();
    }
}

#[test]
fn the_doctor_says_what_it_cannot_read() {
    let server = Server::new();
    server.place.write("slotguard.toml", 0o600, "version = 2\n");
    let outcome = doctor(&server, &[]).format("json").run();
    assert_eq!(outcome.status, Some(65), "{outcome:?}");
    assert_eq!(states(&outcome)[1], ("configuration".to_owned(), "finding".to_owned()));
}
