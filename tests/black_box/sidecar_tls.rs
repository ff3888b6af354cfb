//! TLS between the sidecar and its server: one authority, one name, and no way back.

#![expect(clippy::unwrap_used, reason = "helpers of tests, outside of what the lint takes for one")]

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use guard::diagnostic::Code;
use rustix::process::{Pid, Signal, kill_process};

use crate::support::run::{Run, assert_whole, say};
use crate::support::server::Server;
use crate::support::sidecar::{self, Sidecar, serve};

const OPENSSL: &str = "/usr/bin/openssl";

/// A server of TLS and the authority of its certificate; `None`, said aloud, without openssl.
struct Secured {
    server: Server,
}

impl Secured {
    fn new() -> Option<Self> {
        if !Path::new(OPENSSL).is_file() {
            say("SKIPPED: no openssl to make certificates with");
            return None;
        }
        let secured = Self { server: Server::new() };
        for name in ["ours", "theirs"] {
            secured.make_authority(name);
        }
        secured.present("ours", "IP:127.0.0.1,DNS:db.internal");
        secured.switch("on");
        Some(secured)
    }

    fn at(&self, name: &str) -> String {
        self.server.place.text(&format!("tls/{name}"))
    }

    fn openssl(args: &[&str]) {
        let outcome = Run::at(Path::new(OPENSSL), args).run();
        assert_eq!(outcome.status, Some(0), "{outcome:?}");
    }

    fn make_authority(&self, name: &str) {
        std::fs::create_dir_all(self.at("")).unwrap();
        let (key, pem) = (self.at(&format!("{name}.key")), self.at(&format!("{name}.pem")));
        let subject = format!("/CN=authority {name}");
        let front = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"];
        let rest = ["-nodes", "-days", "2", "-subj", &subject, "-keyout", &key, "-out", &pem];
        Self::openssl(&[&front[..], &rest].concat());
    }

    /// Gives the server a certificate of an authority for these names.
    fn present(&self, authority: &str, names: &str) {
        let (key, request, pem) = (self.at("key"), self.at("request"), self.at("pem"));
        self.server.place.write("tls/names", 0o644, &format!("subjectAltName={names}\n"));
        let (ca, ca_key) =
            (self.at(&format!("{authority}.pem")), self.at(&format!("{authority}.key")));
        let front = ["req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
        let rest = ["-subj", "/CN=server", "-keyout", &key, "-out", &request];
        Self::openssl(&[&front[..], &rest].concat());
        let front = ["x509", "-req", "-in", &request, "-CA", &ca, "-CAkey", &ca_key];
        let rest = ["-CAcreateserial", "-days", "2", "-extfile", &self.at("names"), "-out", &pem];
        Self::openssl(&[&front[..], &rest].concat());
        let data = self.server.cluster().data_dir();
        let owner = std::fs::metadata(data).unwrap();
        for (from, to) in [(&key, "server.key"), (&pem, "server.crt")] {
            let to = data.join(to);
            std::fs::copy(from, &to).unwrap();
            std::fs::set_permissions(&to, std::fs::Permissions::from_mode(0o600)).unwrap();
            std::os::unix::fs::chown(&to, Some(owner.uid()), Some(owner.gid())).unwrap();
        }
        self.server.sql("postgres", "SELECT pg_reload_conf()");
    }

    /// Switches TLS on or off at the server, and waits until it counts.
    fn switch(&self, on: &str) {
        self.server.sql("postgres", &format!("ALTER SYSTEM SET ssl = {on}"));
        self.server.sql("postgres", "SELECT pg_reload_conf()");
        for _ in 0..500 {
            if self.server.sql("postgres", "SHOW ssl").trim() == on {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        panic!("ssl is not {on}");
    }

    fn configure(&self, authority: &str, more: &str) {
        let ca = self.at(&format!("{authority}.pem"));
        sidecar::configure(&self.server, &format!("tls_ca = \"{ca}\"\n{more}"));
    }

    /// Expects that the sidecar does not serve, and returns what it found.
    #[track_caller]
    fn found(&self) -> String {
        let _port = sidecar::reserve();
        let denial = serve(&self.server).format("json").run().denied(Code::SidecarTls);
        denial["found"].as_str().unwrap().to_owned()
    }
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
    assert!(secured.found().contains("other.internal"));
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
    assert!(secured.found().contains("it declines TLS"));
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
