//! TLS between `migrate-runner` and the slots' server: nothing is said before the server is proved.

#![expect(clippy::unwrap_used, reason = "helpers of tests, outside of what the lint takes for one")]

use guard::diagnostic::Code;
use rustix::process::Signal;

use crate::support::between::Between;
use crate::support::run::{Outcome, Run, assert_whole};
use crate::support::secured::Secured;
use crate::support::server::{Server, password};
use crate::support::wiretap::Wiretap;

/// Shown here, since it needs certificates.
pub(crate) const SHOWN: [Code; 1] = [Code::ServerTls];

/// The question for TLS, as the protocol has it.
const REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];

/// Writes migrations and returns their directory.
fn write(server: &Server, files: &[(&str, &str)]) -> String {
    for (name, text) in files {
        server.place.write(&format!("previews/feature/migrations/{name}"), 0o644, text);
    }
    server.place.text("previews/feature/migrations")
}

/// Confirms `preview-1` with a URL.
fn confirm(server: &Server, url: &str) -> Outcome {
    server.confirm(1).with("DATABASE_URL", url).format("json").run()
}

/// Expects that the server is not believed, and returns why.
#[track_caller]
fn found(server: &Server) -> String {
    let denial = server.confirm(1).format("json").run().denied(Code::ServerTls);
    denial["found"].as_str().unwrap().to_owned()
}

#[test]
fn every_command_works_with_a_server_that_lets_nobody_in_without_tls() {
    // Roles, databases and stamps were made by an administrator's URL and the files' passwords.
    let Some(secured) = Secured::alone() else { return };
    let server = &secured.server;
    assert!(server.findings().is_empty(), "{:?}", server.findings());
    server.confirmed(1);
    let migrations = write(server, &[("V1__a.sql", "CREATE TABLE a ();")]);
    for command in ["plan", "trace", "apply", "status"] {
        server.migrate(command, 1, &migrations).run().accepted();
    }
    assert_eq!(server.tables("app_preview_1"), "a refinery_schema_history");
    server.seed(&migrations, &[]).run().accepted();
    server.reset(2).run().accepted();
    assert_eq!(server.tables("app_preview_2"), "a refinery_schema_history");
    server.place.check(&["--slot", "preview-1", "--live"]).run().accepted();

    // The same server, spoken to in clear.
    server.configure("");
    let denial = server.confirm(1).format("json").run().denied(Code::LoginRefused);
    assert!(denial["found"].as_str().unwrap().contains("no pg_hba.conf entry"), "{denial}");
    server.provision(&["--check"]).run().refused(Code::LoginRefused);
}

#[test]
fn a_url_that_demands_tls_needs_an_authority_and_nothing_weakens_what_is_configured() {
    let Some(secured) = Secured::alone() else { return };
    let server = &secured.server;
    for query in ["sslmode=require", "sslmode=verify-full", "ssl=true", "sslmode=disable"] {
        let outcome = confirm(server, &secured.url(1, query));
        assert_eq!(outcome.status, Some(0), "{query}: {outcome:#?}");
    }
    let root = server.cluster().password();
    let at = format!("postgresql://postgres:{root}@127.0.0.1:{}/postgres", server.port());
    server.place.write("secrets/root.url", 0o600, &format!("{at}?sslmode=verify-full"));
    assert!(server.findings().is_empty());

    secured.let_in_by("host");
    server.configure("");
    confirm(server, &secured.url(1, "sslmode=require")).denied(Code::TlsUnavailable);
    assert_eq!(confirm(server, &secured.url(1, "sslmode=prefer")).status, Some(0));
    // An administrator's URL is held to the same.
    server.provision(&["--check"]).run().refused(Code::TlsUnavailable);
    server.place.write("secrets/root.url", 0o600, &format!("{at}?sslmode=prefer"));
    assert!(server.findings().is_empty());
}

#[test]
fn a_server_that_does_not_prove_itself_is_told_nothing() {
    let Some(secured) = Secured::alone() else { return };
    let server = &secured.server;
    secured.configure_server("theirs", "");
    let shown = ["human", "json"].map(|format| {
        let outcome = server.confirm(1).format(format).run();
        outcome.refused(Code::ServerTls);
        outcome.snapshot(&server.redactor())
    });
    assert_whole(Code::ServerTls.id(), &shown.join("\n"));
    server.provision(&["--check"]).run().refused(Code::ServerTls);
    server.reset(1).run().refused(Code::ServerTls);

    secured.configure_server("ours", "tls_server_name = \"other.internal\"\n");
    assert!(found(server).contains("other.internal"));
    secured.configure_server("ours", "tls_server_name = \"db.internal\"\n");
    server.confirmed(1);
    secured.configure_server("ours", "");
    for (names, days, why) in [
        ("IP:127.0.0.9", "2", "not valid for name"),
        ("DNS:127.0.0.1", "2", "not valid for"),
        ("IP:127.0.0.1", "-1", "Expired"),
    ] {
        secured.present_as("ours", names, &["-days", days]);
        let found = found(server);
        assert!(found.contains(why), "{names}: {found}");
        secured.present("ours", "IP:127.0.0.1");
        server.confirmed(1);
    }
    secured.switch("off");
    assert!(found(server).contains("it declines TLS"));
    secured.let_in_by("host");
    assert!(found(server).contains("it declines TLS"));
    server.configure("");
    server.confirmed(1);
}

#[test]
fn a_login_is_tied_to_the_certificate_whatever_signs_it() {
    let Some(secured) = Secured::alone() else { return };
    secured.make_authority("large", &["rsa:3072"]);
    secured.make_authority("small", &["ed25519"]);
    for (authority, digest) in
        [("ours", "-sha384"), ("large", "-sha256"), ("large", "-sha384"), ("large", "-sha512")]
    {
        secured.configure_server(authority, "");
        secured.present_as(authority, "IP:127.0.0.1", &["-days", "2", digest]);
        secured.server.confirmed(1);
    }
    // Its signature names no hash, so the login goes without.
    secured.configure_server("small", "");
    secured.present("small", "IP:127.0.0.1");
    secured.server.confirmed(1);
}

#[test]
fn a_login_is_not_passed_on_by_who_has_another_certificate_of_the_authority() {
    let Some(secured) = Secured::alone() else { return };
    // With the server's own key there is nothing to tell it by.
    let between = Between::start(&secured);
    secured.configure_server_at(between.port(), "ours", "");
    secured.server.confirmed(1);
    secured.issue("ours", "IP:127.0.0.1", &["-days", "2"]);
    let between = Between::start(&secured);
    secured.configure_server_at(between.port(), "ours", "");
    let denial = secured.server.confirm(1).format("json").run().denied(Code::LoginRefused);
    assert!(denial["found"].as_str().unwrap().contains("channel binding"), "{denial}");
}

/// Expects the question for TLS and then TLS alone, and none of what a login says.
#[track_caller]
fn assert_nothing_in_clear(said: &[u8]) {
    let (request, mut rest) = said.split_at(REQUEST.len());
    assert_eq!(request, REQUEST);
    while let Some((head, behind)) = rest.split_first_chunk::<5>() {
        let [kind, major, _, long, short] = *head;
        assert!((20..=23).contains(&kind) && major == 3, "not TLS: {head:?}");
        let length = usize::from(u16::from_be_bytes([long, short]));
        rest = behind.split_at_checked(length).unwrap_or_else(|| panic!("cut: {head:?}")).1;
    }
    assert!(rest.is_empty(), "not TLS: {rest:?}");
    let password = password(1);
    for word in ["slot_1", "app_preview_1", "slotguard-migrate", &password] {
        let is_there = said.windows(word.len()).any(|window| window == word.as_bytes());
        assert!(!is_there, "`{word}` in clear");
    }
}

/// Runs a migration without end until it is asked to stop, and returns what was said.
fn interrupted(server: &Server) -> Outcome {
    let sessions = "SELECT count(*) FROM pg_stat_activity \
                    WHERE application_name = 'slotguard-migrate'";
    let migrations =
        write(server, &[("V1__a.sql", "SELECT count(*) FROM generate_series(1, 30000000000);")]);
    server.migrate("apply", 1, &migrations).format("json").run_while(|running| {
        // The second is the one that looks who keeps a long statement waiting.
        while server.sql("postgres", sessions).trim() != "2" {
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        running.signal(Signal::INT);
    })
}

#[test]
fn nothing_but_the_question_for_tls_leaves_in_clear() {
    let Some(secured) = Secured::alone() else { return };
    let server = &secured.server;
    let tap = Wiretap::relay(server.port());
    secured.configure_server_at(tap.port(), "ours", "");
    interrupted(server).refused(Code::RunInterrupted);
    assert_eq!(server.versions("app_preview_1"), "");
    server.confirmed(1);
    let said = tap.end();
    // The run, its second session, the request to cancel and the confirmation.
    assert_eq!(said.len(), 4);
    said.iter().for_each(|said| assert_nothing_in_clear(said));

    // The tap hears what is said in clear, so its silence means something.
    let tap = Wiretap::relay(server.port());
    secured.let_in_by("host");
    server.configure_at(tap.port(), "");
    server.confirmed(1);
    let said = tap.end();
    assert!(said[0].windows(6).any(|window| window == b"slot_1"), "{said:?}");
}

#[test]
fn who_stands_between_and_answers_in_clear_hears_the_question_alone() {
    let Some(secured) = Secured::alone() else { return };
    let server = &secured.server;
    // A login that has succeeded, as a server says it in clear.
    const WELCOME: &[u8] = b"SR\0\0\0\x08\0\0\0\0Z\0\0\0\x05I";
    const PASSWORD: &[u8] = b"NR\0\0\0\x08\0\0\0\x03";
    const ERROR: &[u8] = b"E\0\0\0\x15SFATAL\0C0A000\0Mno\0\0";
    for (answer, why) in [
        (&b"N"[..], "it declines TLS"),
        (PASSWORD, "it declines TLS"),
        (ERROR, "it answers neither yes nor no"),
        (b"\0", "it answers neither yes nor no"),
        (WELCOME, "corrupt message"),
    ] {
        let tap = Wiretap::answering(answer);
        secured.configure_server_at(tap.port(), "ours", "");
        let found = found(server);
        assert!(found.contains(why), "{found}");
        let said = tap.end();
        assert_eq!(said.len(), 1);
        assert_nothing_in_clear(&said[0]);
        assert_eq!(said[0].len() == REQUEST.len(), answer != WELCOME, "{why}");
    }
    // An end without an answer is no answer, as from a server that is away.
    let away = |run: Run| run.run().refused(Code::ServerUnreachable).said();
    secured.configure_server_at(1, "ours", "");
    assert!(away(server.confirm(1)).contains("refused"));
    secured.configure_server("ours", "");
    server.confirmed(1);
}
