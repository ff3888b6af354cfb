//! How sessions end when the sidecar stops or the server is no longer the slot's own.

#![expect(clippy::unwrap_used, reason = "helpers of tests, outside of what the lint takes for one")]

use guard::diagnostic::Code;
use rustix::process::Signal;

use crate::support::run::assert_whole;
use crate::support::server::{Server, password};
use crate::support::sidecar::{self, Sidecar, serve};
use crate::support::talk::Talk;

#[test]
fn a_sidecar_that_stops_lets_transactions_end_and_nobody_in() {
    let server = Server::new();
    sidecar::configure(&server, "");
    let mut sidecar = Sidecar::start(&server);
    sidecar.sql("CREATE TABLE t (id int)");
    let (mut idle, mut busy) = (Talk::start(&sidecar), Talk::start(&sidecar));
    assert_eq!(busy.ask("BEGIN; INSERT INTO t VALUES (7) RETURNING id"), "7\n");
    sidecar.signal(Signal::TERM);
    sidecar.wait_for("session.closed", |event| event["ended_by"] == "sidecar");

    // The idle one was told; a new one is; the one in a transaction goes on to its end.
    assert_eq!(idle.ask("SELECT 1"), "");
    let told = idle.complaint();
    assert!(told.contains("FATAL:  SG8722: "), "{told}");
    let refused = sidecar.psql("slot_1", "app_preview_1", &["-c", "SELECT 1"]).run();
    assert!(refused.stderr.contains("FATAL:  SG8722: "), "{refused:#?}");
    let event = sidecar.wait_for("session.refused", |event| event["code"] == "SG8722");
    let text = format!("{}--- event\nmessage: {}\n", refused.stderr, event["message"]);
    assert_whole(Code::WireDraining.id(), &text);
    assert_eq!(busy.ask("INSERT INTO t VALUES (8) RETURNING id"), "8\n");
    assert_eq!(sidecar.status(&server)["standing"], "draining");
    // Answered with a line of its own, so that the next one is not sent to a session that ends.
    assert_eq!(busy.ask("COMMIT \\; SELECT 'committed'"), "committed\n");
    sidecar.wait_for("sidecar.stopped", |_| true);
    assert_eq!(busy.ask("SELECT 1"), "");
    let told = busy.complaint();
    assert!(told.contains("FATAL:  SG8722: "), "{told}");
    assert_eq!(sidecar.ended(), Some(0));
    let rows = server.sql("app_preview_1", "SELECT string_agg(id::text, ' ') FROM t");
    assert_eq!(rows.trim(), "7 8");
}

#[test]
fn a_second_signal_ends_what_the_first_would_wait_for() {
    let server = Server::new();
    sidecar::configure(&server, "");
    let mut sidecar = Sidecar::start(&server);
    let mut busy = Talk::start(&sidecar);
    assert_eq!(busy.ask("BEGIN; SELECT 'open'"), "open\n");
    sidecar.signal(Signal::TERM);
    sidecar.wait_for("sidecar.draining", |_| true);
    sidecar.signal(Signal::INT);
    assert_eq!(sidecar.ended(), Some(0));
    busy.complaint();
}

#[test]
fn a_server_that_is_no_longer_the_slots_ends_every_session() {
    let server = Server::new();
    server.configure("require_stamp = true\n");
    sidecar::configure(&server, "confirm_every_s = 1\n");
    let config = std::fs::read_to_string(server.place.config()).unwrap();
    let config = config.replace("[sidecar]", "require_stamp = true\n[sidecar]");
    server.place.write("slotguard.toml", 0o600, &config);
    let sidecar = Sidecar::start(&server);
    let stamp = server.sql(
        "postgres",
        "SELECT format('COMMENT ON DATABASE app_preview_1 IS %L', \
         shobj_description(oid, 'pg_database')) FROM pg_database WHERE datname = 'app_preview_1'",
    );
    let (mut idle, sleeper) = (Talk::start(&sidecar), {
        let args = ["-c", "SELECT pg_sleep(600)"];
        let child = sidecar.psql("slot_1", "app_preview_1", &args).start();
        crate::sidecar::wait_for_sleeper(&server);
        child
    });

    server.sql("postgres", "COMMENT ON DATABASE app_preview_1 IS NULL");
    let event = sidecar.wait_for("sidecar.unconfirmed", |_| true);
    assert_eq!(event["code"], Code::WireUnconfirmed.id(), "{event}");
    assert_eq!(idle.ask("SELECT 1"), "");
    let told = idle.complaint();
    assert!(told.contains("FATAL:  SG8724: "), "{told}");
    let output = sleeper.wait_with_output().unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(told.contains("canceling statement") || told.contains("SG8724"), "{told}");
    // Nothing of the session goes on at the server.
    let asleep = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'";
    assert_eq!(server.sql("postgres", asleep).trim(), "0");
    let refused = sidecar.psql("slot_1", "app_preview_1", &["-c", "SELECT 1"]).run();
    let event = sidecar.wait_for("session.refused", |event| event["code"] == "SG8724");
    let text = format!("{}--- event\nfound: {}\n", refused.stderr, event["found"]);
    assert_whole(Code::WireUnconfirmed.id(), &text);
    assert_eq!(sidecar.status(&server)["standing"], "unconfirmed");

    server.sql("postgres", &stamp);
    sidecar.wait_for("sidecar.confirmed", |_| true);
    assert_eq!(sidecar.sql("SELECT 1"), "1\n");
    sidecar.stop();
}

/// A server that is away for a moment, or has no connection left, is not taken for another one.
#[test]
fn a_question_that_stays_unanswered_once_ends_no_session() {
    let server = Server::new();
    sidecar::configure(&server, "confirm_every_s = 3\n");
    let sidecar = Sidecar::start(&server);
    let mut idle = Talk::start(&sidecar);
    server.sql("postgres", "ALTER ROLE slot_1 CONNECTION LIMIT 1");
    // At the third time it is; until then the session answers.
    let event = sidecar.wait_for("sidecar.unanswered", |_| true);
    assert_eq!(event["code"], Code::LoginRefused.id(), "{event}");
    assert_eq!(idle.ask("SELECT 'still'"), "still\n");
    sidecar.wait_for("sidecar.unconfirmed", |_| true);
    assert_eq!(idle.ask("SELECT 1"), "");
    idle.complaint();
    server.sql("postgres", "ALTER ROLE slot_1 CONNECTION LIMIT 20");
    sidecar.wait_for("sidecar.confirmed", |_| true);
    sidecar.stop();
}

/// Lets the slot's role in on the Unix socket by who it is, and puts the refusal of all else behind.
fn admit_peer(server: &Server) {
    let data = server.cluster().data_dir();
    let old = std::fs::read_to_string(data.join("pg_hba.conf")).unwrap();
    let rule = "local app_preview_1 slot_1 peer map=sidecar\n";
    std::fs::write(data.join("pg_hba.conf"), format!("{rule}{old}")).unwrap();
    let id = std::process::id().to_string();
    let uid = rustix::process::geteuid().as_raw();
    let names = std::fs::read_to_string("/etc/passwd").unwrap();
    let name = names.lines().find(|line| line.split(':').nth(2) == Some(&uid.to_string()));
    let name = name.and_then(|line| line.split(':').next()).unwrap_or(&id);
    std::fs::write(data.join("pg_ident.conf"), format!("sidecar {name} slot_1\n")).unwrap();
    server.sql("postgres", "SELECT pg_reload_conf()");
}

#[test]
fn without_any_secret_the_sidecar_logs_in_by_who_it_is() {
    let server = Server::new();
    admit_peer(&server);
    let socket = server.cluster().socket_dir().to_str().unwrap();
    let peer = format!("mode = \"peer\"\nupstream_socket = \"{socket}\"\n");
    sidecar::configure(&server, &peer);
    let sidecar = Sidecar::start(&server);
    assert_eq!(sidecar.sql("SELECT current_user, inet_server_port() IS NULL"), "slot_1|t\n");
    let outcome = sidecar.psql_unix("slot_1", "app_preview_1", &["-c", "SELECT 1"]).run();
    assert_eq!(outcome.accepted().stdout, "1\n");
    assert_eq!(sidecar.status(&server)["mode"], "peer");
    sidecar.stop();

    // With a password of its own there, the socket serves the other mode too.
    sidecar::configure(&server, &peer.replace("peer", "inject"));
    let _port = sidecar::reserve();
    let denial = serve(&server).format("json").run().denied(Code::WireUpstream);
    assert!(denial["found"].as_str().unwrap().contains("without any password"), "{denial}");
}

/// The socket of another cluster, at the same port: everything fits but who the server is.
#[test]
fn a_socket_of_another_server_is_found_out_before_anybody_is_served() {
    let server = Server::new();
    let other = Server::with_cluster(Server::cluster_builder()).provisioned();
    let socket = server.place.path("sockets");
    std::fs::create_dir(&socket).unwrap();
    let name = |port: u16| format!(".s.PGSQL.{port}");
    let link = |to: &Server| {
        let at = socket.join(name(server.port()));
        let _ = std::fs::remove_file(&at);
        let to = to.cluster().socket_dir().join(name(to.port()));
        std::os::unix::fs::symlink(to, at).unwrap();
    };
    sidecar::configure(&server, &format!("upstream_socket = \"{}\"\n", socket.display()));
    link(&other);
    let shown = ["human", "json"].map(|format| {
        let _port = sidecar::reserve();
        let outcome = serve(&server).format(format).run();
        outcome.refused(Code::SidecarIdentity);
        let oid = |of: &Server| of.oid("app_preview_1").to_string();
        let mut text = outcome.snapshot(&server.redactor());
        for oid in [oid(&server), oid(&other)] {
            text = text.replace(&oid, "<oid>");
        }
        text.replace(socket.to_str().unwrap(), "<sockets>")
    });
    assert_whole(Code::SidecarIdentity.id(), &shown.join("\n"));
    // The neighbour: the own server's.
    link(&server);
    let sidecar = Sidecar::start(&server);
    assert_eq!(sidecar.sql("SELECT 1"), "1\n");
    // Later the socket is another user's: ours, while the server is not root's.
    if rustix::process::geteuid().is_root() {
        let at = socket.join(name(server.port()));
        std::fs::remove_file(&at).unwrap();
        let _rogue = std::os::unix::net::UnixListener::bind(&at).unwrap();
        let refused = sidecar.psql("slot_1", "app_preview_1", &["-c", "SELECT 1"]).run();
        assert!(refused.stderr.contains("FATAL:  SG8705: "), "{refused:#?}");
    }
    sidecar.stop();
}

/// What a service manager hands over in the place of a password file that only root can read.
#[test]
fn a_login_from_a_file_with_the_url_serves_as_well() {
    let server = Server::new();
    sidecar::configure(&server, "");
    let config = std::fs::read_to_string(server.place.config()).unwrap();
    let keys = config.lines().filter(|line| !line.starts_with("password_file"));
    let without = keys.map(|line| format!("{line}\n")).collect::<String>();
    server.place.write("slotguard.toml", 0o600, &without);
    let file = server.place.text("secrets/preview-1.url");
    let with = || serve(&server).format("json").and(&["--database-url-file", &file]);
    let write = |url: &str| server.place.write("secrets/preview-1.url", 0o640, url);
    {
        let _port = sidecar::reserve();
        serve(&server).format("json").run().denied(Code::SidecarUpstream);
        with().run().denied(Code::TargetUnreadable);
        write(&server.url(1, "app_production"));
        with().run().denied(Code::ProductionDatabase);
    }
    let url = server.url(1, "app_preview_1");
    write(&url.replace("slot_1@", &format!("slot_1:{}@", password(1))));
    let sidecar = Sidecar::start_plain(&server, with());
    assert_eq!(sidecar.sql("SELECT current_user"), "slot_1\n");
    // Read anew when the server's password has changed; one without a password is none.
    let changed = format!("{}-changed", password(1));
    server.sql("postgres", &format!("ALTER ROLE slot_1 PASSWORD '{changed}'"));
    write(&url);
    let refused = sidecar.psql("slot_1", "app_preview_1", &["-c", "SELECT 1"]).run();
    assert!(refused.stderr.contains("FATAL:  SG8702: "), "{refused:#?}");
    write(&url.replace("slot_1@", &format!("slot_1:{changed}@")));
    assert_eq!(sidecar.sql("SELECT 2"), "2\n");
    sidecar.stop();
}

/// The service manager is told when, and not before, sessions are let in.
#[test]
fn a_service_manager_is_told_that_it_is_ready() {
    let server = Server::new();
    sidecar::configure(&server, "");
    let path = server.place.path("notify");
    let socket = std::os::unix::net::UnixDatagram::bind(&path).unwrap();
    let run = serve(&server).format("json").with("NOTIFY_SOCKET", path.to_str().unwrap());
    let sidecar = Sidecar::start_plain(&server, run);
    let mut words = [0; 64];
    let length = socket.recv(&mut words).unwrap();
    assert_eq!(&words[..length], b"READY=1");
    sidecar.stop();
}
