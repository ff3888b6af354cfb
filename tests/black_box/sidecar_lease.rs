//! Sessions belong to the lease under which their client was started.

use guard::diagnostic::Code;
use rustix::process::Signal;

use crate::leases::{claimed, end_at, on_one};
use crate::support::run::{Run, assert_whole};
use crate::support::server::Server;
use crate::support::sidecar::{self, Sidecar};
use crate::support::talk::Talk;

fn started() -> (Server, Sidecar) {
    let server = Server::new();
    sidecar::configure(&server, "");
    let sidecar = Sidecar::start(&server);
    (server, sidecar)
}

/// Prepares psql as a client that was started under a lease.
fn psql(sidecar: &Sidecar, generation: &str, args: &[&str]) -> Run {
    let password = format!("{}-{generation}", sidecar.password());
    sidecar.psql("slot_1", "app_preview_1", args).with("PGPASSWORD", &password)
}

fn talk(sidecar: &Sidecar, generation: &str) -> Talk {
    Talk::of(psql(sidecar, generation, &["-f", "-"]))
}

const ONE: [&str; 2] = ["-c", "SELECT 1"];

#[test]
fn a_released_lease_ends_the_sessions_of_its_backend_and_lets_in_no_more() {
    let (server, sidecar) = started();
    let place = &server.place;
    let first = claimed(place);
    let mut idle = talk(&sidecar, &first);
    let sleeper = psql(&sidecar, &first, &["-c", "SELECT pg_sleep(600)"]).start();
    crate::sidecar::wait_for_sleeper(&server);
    // Who has no lease, or shows another one, is not the holder's.
    let stranger = sidecar.psql("slot_1", "app_preview_1", &ONE).run();
    assert!(stranger.stderr.contains("FATAL:  SG8726: "), "{stranger:#?}");
    let stranger = psql(&sidecar, "7", &ONE).run();
    assert!(stranger.stderr.contains("FATAL:  SG8721: "), "{stranger:#?}");

    // A renewed lease keeps its sessions.
    on_one(place, "renew", &["--lease", &first, "--for", "3h"]).run().accepted();
    for _ in 0..3 {
        std::thread::sleep(std::time::Duration::from_secs(1));
        assert_eq!(idle.ask("SELECT 'still'"), "still\n");
    }
    on_one(place, "release", &["--lease", &first]).run().accepted();
    let freed = |event: &serde_json::Value| event["lease"]["standing"] == "unclaimed";
    sidecar.wait_for("sidecar.held", freed);
    sidecar.wait_for("session.closed", |event| event["ended_by"] == "sidecar");
    let output = sleeper.wait_with_output().unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(told.contains("canceling statement") || told.contains("SG8726"), "{told}");
    assert_eq!(idle.ask("SELECT 1"), "");
    let told = idle.complaint();
    assert!(told.contains("FATAL:  SG8726: "), "{told}");
    let asleep = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'";
    assert_eq!(server.sql("postgres", asleep).trim(), "0");

    // It does not come back, and the next holder's client does.
    let refused = psql(&sidecar, &first, &ONE).run();
    let by_it = format!("a client of the lease with generation {first}");
    let event = sidecar.wait_for("session.refused", |event| event["found"] == by_it.as_str());
    let text = format!("{}--- event\nfound: {}\n", refused.stderr, event["found"]);
    assert_whole(Code::WireLease.id(), &text);
    let second = claimed(place);
    assert_ne!(first, second);
    assert_eq!(psql(&sidecar, &second, &ONE).run().accepted().stdout, "1\n");
    assert!(psql(&sidecar, &first, &ONE).run().stderr.contains("FATAL:  SG8721: "));
    sidecar.stop();
}

#[test]
fn an_expired_lease_ends_every_session_and_a_claim_lets_in_again() {
    let (server, sidecar) = started();
    let first = claimed(&server.place);
    let mut idle = talk(&sidecar, &first);
    end_at(&server.place, 1000);
    let event = sidecar.wait_for("sidecar.unleased", |_| true);
    assert_eq!(event["code"], Code::WireLease.id(), "{event}");
    assert_eq!(idle.ask("SELECT 1"), "");
    let told = idle.complaint();
    assert!(told.contains("FATAL:  SG8726: ") && told.contains("1970-01-01"), "{told}");
    for run in [
        psql(&sidecar, &first, &ONE),
        sidecar.psql("slot_1", "app_preview_1", &ONE),
        sidecar.psql_unix("slot_1", "app_preview_1", &ONE),
    ] {
        let refused = run.run();
        assert!(refused.stderr.contains("has expired"), "{refused:#?}");
    }
    assert_eq!(sidecar.status(&server)["standing"], "unleased");

    on_one(&server.place, "release", &["--lease", &first]).run().accepted();
    assert_eq!(sidecar.sql("SELECT 1"), "1\n");
    assert_eq!(sidecar.status(&server)["standing"], "serving");
    // A record that cannot be understood is not taken for free.
    server.place.write("state/leases/preview-1.json", 0o600, "{}");
    let refused = sidecar.psql("slot_1", "app_preview_1", &ONE).run();
    assert!(refused.stderr.contains("FATAL:  SG8205: "), "{refused:#?}");
    sidecar.stop();
}

/// A start under a lease has the password of that lease, whenever the sidecar notices the claim.
#[test]
fn a_program_under_a_lease_has_the_password_of_that_lease() {
    let (server, sidecar) = started();
    let programs = "[programs.asks]\npath = \"/bin/sh\"\nargs = [\"asks.sh\"]\n";
    sidecar::configure(&server, programs);
    let script = "psql -XqAtw \"$DATABASE_URL\" -c 'SELECT current_user'\n";
    server.place.write("previews/feature/asks.sh", 0o644, script);
    let worktree = server.place.text("previews/feature");
    for _ in 0..3 {
        let generation = claimed(&server.place);
        let options = ["--worktree", &worktree, "--lease", &generation];
        let outcome = server.place.exec(&options, &["/bin/sh", "asks.sh"]).format("json").run();
        assert_eq!(outcome.started().stdout, "slot_1\n");
        on_one(&server.place, "release", &["--lease", &generation]).run().accepted();
    }
    let outcome = server.place.exec(&["--worktree", &worktree], &["/bin/sh", "asks.sh"]);
    assert_eq!(outcome.format("json").run().started().stdout, "slot_1\n");
    sidecar.signal(Signal::TERM);
    sidecar.wait_for("sidecar.stopped", |_| true);
}
