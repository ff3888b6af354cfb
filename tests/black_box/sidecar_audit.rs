//! The audit says what it saw and stops nothing; without a word in the configuration there is none.

use serde_json::Value;

use crate::support::run::SECRET;
use crate::support::server::Server;
use crate::support::sidecar::{self, Sidecar};

/// Each of them is up to the rights of the role: the first is undone, the others fail.
fn ask_for_everything(sidecar: &Sidecar) {
    let alter = format!("BEGIN; ALTER ROLE slot_1 PASSWORD '{SECRET}'; ROLLBACK");
    let run = |command: &str| {
        let outcome = sidecar.psql("slot_1", "app_preview_1", &["-c", command]).run();
        outcome.stderr.clone()
    };
    assert_eq!(run(&alter), "");
    assert!(run("SELECT dblink('host=elsewhere', 'SELECT 1')").contains("does not exist"));
    assert!(run("COPY (SELECT 1) TO PROGRAM 'id'").contains("external program"));
    assert!(run("\\lo_unlink 4711").contains("does not exist"));
    assert_eq!(run("SELECT 'passwords and programs'"), "");
}

fn audited(sidecar: &Sidecar) -> Vec<Value> {
    let events = sidecar.events().into_iter();
    events.filter(|event| event["event"] == "session.audit").collect()
}

#[test]
fn what_matters_is_said_without_the_statement() {
    let server = Server::new();
    sidecar::configure(&server, "audit = true\n");
    let sidecar = Sidecar::start(&server);
    ask_for_everything(&sidecar);
    sidecar.wait_for("session.audit", |event| event["kind"] == "fast-path");
    let mut kinds: Vec<String> =
        audited(&sidecar).iter().map(|event| event["kind"].to_string()).collect();
    kinds.dedup();
    assert_eq!(kinds, ["\"role-password\"", "\"dblink\"", "\"copy-program\"", "\"fast-path\""]);
    for event in audited(&sidecar) {
        assert!(event["peer"]["address"].is_string(), "{event}");
        assert!(!event.to_string().contains("elsewhere"), "{event}");
    }
    // A session that asks without end is counted and not said without end.
    let before = sidecar.status(&server)["audited"].as_u64();
    let many = ["-c", "SELECT 1 AS dblink"].repeat(80);
    let outcome = sidecar.psql("slot_1", "app_preview_1", &many).run();
    assert_eq!(outcome.status, Some(0), "{outcome:#?}");
    sidecar.wait_for("session.closed", |event| event["bytes_to_server"].as_u64() > Some(1500));
    let said = audited(&sidecar).iter().filter(|event| event["kind"] == "dblink").count();
    assert_eq!(said, 1 + 50);
    assert_eq!(sidecar.status(&server)["audited"].as_u64(), before.map(|count| count + 80));
    sidecar.stop();
}

#[test]
fn without_an_audit_the_same_is_let_pass_in_silence() {
    let server = Server::new();
    sidecar::configure(&server, "");
    let sidecar = Sidecar::start(&server);
    ask_for_everything(&sidecar);
    assert_eq!(audited(&sidecar), Vec::<Value>::new());
    assert_eq!(sidecar.status(&server)["audited"], 0);
    sidecar.stop();
}
