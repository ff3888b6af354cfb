//! TLS between the sidecar and its server: one authority, one name, and no way back.

#![expect(clippy::unwrap_used, reason = "helpers of tests, outside of what the lint takes for one")]

use guard::diagnostic::Code;
use rustix::process::{Pid, Signal, kill_process};

use crate::support::run::assert_whole;
use crate::support::secured::Secured;
use crate::support::sidecar::{self, Sidecar, serve};

/// Expects that the sidecar does not serve, and returns what it found.
#[track_caller]
fn found(secured: &Secured) -> String {
    let _port = sidecar::reserve();
    let denial = serve(&secured.server).format("json").run().denied(Code::SidecarTls);
    denial["found"].as_str().unwrap().to_owned()
}

#[test]
fn ordinary_work_goes_over_tls() {
    let Some(secured) = Secured::new() else { return };
    secured.configure("ours", "");
    let sidecar = Sidecar::start(&secured.server);
    let version = "SELECT ssl, version FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
    assert_eq!(sidecar.sql(version), "t|TLSv1.3\n");
    let large = sidecar.sql("SELECT repeat('y', 20 * 1024 * 1024)");
    assert_eq!(large.len(), 20 * 1024 * 1024 + 1);
    sidecar.sql("CREATE TABLE t (words text)");
    let rows: String = (0..50_000).map(|_| format!("{}\n", "x".repeat(200))).collect();
    secured.server.place.write("rows", 0o644, &rows);
    let copy = format!("\\copy t FROM '{}'", secured.server.place.text("rows"));
    let outcome = sidecar.psql("slot_1", "app_preview_1", &["-c", &copy]).run();
    assert_eq!(outcome.status, Some(0), "{outcome:#?}");
    assert_eq!(sidecar.sql("SELECT count(*) FROM t"), "50000\n");

    // A request to cancel takes the same way.
    let sleeps = ["-c", "SELECT pg_sleep(60)"];
    let child = sidecar.psql("slot_1", "app_preview_1", &sleeps).start();
    crate::sidecar::wait_for_sleeper(&secured.server);
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let output = child.wait_with_output().unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(told.contains("canceling statement due to user request"), "{told}");
    sidecar.stop();
}

#[test]
fn a_server_that_does_not_prove_itself_by_tls_is_not_used() {
    let Some(secured) = Secured::new() else { return };
    // Another authority than the configured one.
    secured.configure("theirs", "");
    let shown = ["human", "json"].map(|format| {
        let _port = sidecar::reserve();
        let outcome = serve(&secured.server).format(format).run();
        outcome.refused(Code::SidecarTls);
        outcome.snapshot(&secured.server.redactor())
    });
    assert_whole(Code::SidecarTls.id(), &shown.join("\n"));
    // Another name than the certificate's, and its neighbour.
    secured.configure("ours", "tls_server_name = \"other.internal\"\n");
    assert!(found(&secured).contains("other.internal"));
    secured.configure("ours", "tls_server_name = \"db.internal\"\n");
    let sidecar = Sidecar::start(&secured.server);
    assert_eq!(sidecar.sql("SELECT 1"), "1\n");

    // What was trusted once is judged again: a certificate for another address, then no TLS.
    secured.present("ours", "IP:127.0.0.9");
    let refused = sidecar.psql("slot_1", "app_preview_1", &["-c", "SELECT 1"]).run();
    assert!(refused.stderr.contains("FATAL:  SG8727: "), "{refused:#?}");
    secured.switch("off");
    let refused = sidecar.psql("slot_1", "app_preview_1", &["-c", "SELECT 1"]).run();
    assert!(refused.stderr.contains("it declines TLS"), "{refused:#?}");
    sidecar.stop();
    secured.configure("ours", "");
    assert!(found(&secured).contains("it declines TLS"));
    // Without an authority the same server is spoken to in clear, within this host.
    sidecar::configure(&secured.server, "");
    let sidecar = Sidecar::start(&secured.server);
    assert_eq!(sidecar.sql("SELECT 1"), "1\n");
    sidecar.stop();
}

#[test]
fn an_authority_that_cannot_be_used_is_refused_before_a_socket_opens() {
    let Some(secured) = Secured::new() else { return };
    let denied = |authority: &str, found: &str| {
        secured.configure(authority, "");
        let _port = sidecar::reserve();
        let denial = serve(&secured.server).format("json").run().denied(Code::SidecarUpstream);
        assert!(denial["found"].as_str().unwrap().contains(found), "{denial}");
    };
    denied("gone", "no such file");
    secured.server.place.write("tls/empty.pem", 0o644, "no certificate\n");
    denied("empty", "no certificate");
    let ours = std::fs::read_to_string(secured.at("ours.pem")).unwrap();
    secured.server.place.write("tls/open.pem", 0o666, &ours);
    denied("open", "0666");
}

#[test]
fn a_server_that_lets_nobody_in_without_tls_is_confirmed_and_served() {
    let Some(secured) = Secured::alone() else { return };
    // By its own pair alone the sidecar has TLS, and who must confirm the server has not.
    secured.configure("ours", "");
    {
        let _port = sidecar::reserve();
        let denial = serve(&secured.server).format("json").run().denied(Code::LoginRefused);
        assert!(denial["found"].as_str().unwrap().contains("no pg_hba.conf entry"), "{denial}");
    }
    secured.configure_server("ours", "[sidecar]\nenabled = true\nconfirm_every_s = 1\n");
    let sidecar = Sidecar::start(&secured.server);
    let version = "SELECT ssl, version FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
    assert_eq!(sidecar.sql(version), "t|TLSv1.3\n");

    // Who confirms it does not believe another authority either.
    secured.present("theirs", "IP:127.0.0.1");
    sidecar.wait_for("sidecar.unconfirmed", |event| {
        event["found"].as_str().is_some_and(|found| found.starts_with(Code::ServerTls.id()))
    });
    secured.present("ours", "IP:127.0.0.1");
    sidecar.wait_for("sidecar.confirmed", |_| true);
    assert_eq!(sidecar.sql("SELECT 1"), "1\n");
    sidecar.stop();
    // The pair of its own is taken before the server's.
    let ca = secured.at("theirs.pem");
    let own = format!("[sidecar]\nenabled = true\ntls_ca = \"{ca}\"\n");
    secured.configure_server("ours", &own);
    assert!(found(&secured).contains("UnknownIssuer"));
}
