//! A server with TLS, and throw-away authorities for its certificate.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests, outside of what the lint takes for one"
)]

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::time::Duration;

use super::run::{Run, say};
use super::server::{Server, password};
use super::sidecar;

pub(crate) const OPENSSL: &str = "/usr/bin/openssl";

const TRIES: u32 = 500;
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// A server of TLS and the authorities `ours`, which its certificate is of, and `theirs`.
pub(crate) struct Secured {
    pub(crate) server: Server,
}

impl Secured {
    /// Starts a provisioned server; `None`, said aloud, without openssl.
    pub(crate) fn new() -> Option<Self> {
        Self::of(Server::new)
    }

    /// Starts a server that lets nobody in by TCP without TLS, and lets the program provision it.
    pub(crate) fn alone() -> Option<Self> {
        let mut secured = Self::of(Server::bare)?;
        secured.let_in_by("hostssl");
        secured.configure_server("ours", "");
        secured.server = secured.server.provisioned();
        Some(secured)
    }

    fn of(server: fn() -> Server) -> Option<Self> {
        if !Path::new(OPENSSL).is_file() {
            say("SKIPPED: no openssl to make certificates with");
            return None;
        }
        let secured = Self { server: server() };
        for name in ["ours", "theirs"] {
            secured.make_authority(name, &["ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]);
        }
        secured.present("ours", "IP:127.0.0.1,DNS:db.internal");
        secured.switch("on");
        Some(secured)
    }

    /// Returns the path of a file of an authority.
    pub(crate) fn at(&self, name: &str) -> String {
        self.server.place.text(&format!("tls/{name}"))
    }

    fn openssl(args: &[&str]) {
        let outcome = Run::at(Path::new(OPENSSL), args).run();
        assert_eq!(outcome.status, Some(0), "{outcome:?}");
    }

    /// Makes an authority with a key of this kind.
    pub(crate) fn make_authority(&self, name: &str, key_kind: &[&str]) {
        std::fs::create_dir_all(self.at("")).unwrap();
        let (key, pem) = (self.at(&format!("{name}.key")), self.at(&format!("{name}.pem")));
        let subject = format!("/CN=authority {name}");
        let rest = ["-nodes", "-days", "2", "-subj", &subject, "-keyout", &key, "-out", &pem];
        Self::openssl(&[&["req", "-x509", "-newkey"], key_kind, &rest].concat());
    }

    /// Gives the server a certificate of an authority for these names.
    pub(crate) fn present(&self, authority: &str, names: &str) {
        self.present_as(authority, names, &["-days", "2"]);
    }

    /// As [`Secured::present`], with further arguments of who signs it.
    pub(crate) fn present_as(&self, authority: &str, names: &str, more: &[&str]) {
        let (key, pem) = (self.at("key"), self.at("pem"));
        self.issue(authority, names, more);
        let data = self.server.cluster().data_dir();
        let owner = std::fs::metadata(data).unwrap();
        for (from, to) in [(&key, "server.key"), (&pem, "server.crt")] {
            let to = data.join(to);
            std::fs::copy(from, &to).unwrap();
            std::fs::set_permissions(&to, std::fs::Permissions::from_mode(0o600)).unwrap();
            std::os::unix::fs::chown(&to, Some(owner.uid()), Some(owner.gid())).unwrap();
        }
        self.server.sql("postgres", "SELECT pg_reload_conf()");
        if self.server.sql("postgres", "SHOW ssl").trim() == "on" {
            let pem = std::fs::read_to_string(pem).unwrap();
            Self::wait_for(|| self.presented().contains(pem.trim()));
        }
    }

    /// Returns what the server says of itself to whoever asks for TLS.
    fn presented(&self) -> String {
        let at = format!("127.0.0.1:{}", self.server.port());
        let args = ["s_client", "-starttls", "postgres", "-connect", &at];
        Run::at(Path::new(OPENSSL), &args).run().stdout
    }

    /// Makes a key and a certificate of an authority, as the files `key` and `pem`.
    pub(crate) fn issue(&self, authority: &str, names: &str, more: &[&str]) {
        let (key, request, pem) = (self.at("key"), self.at("request"), self.at("pem"));
        self.server.place.write("tls/names", 0o644, &format!("subjectAltName={names}\n"));
        let (ca, ca_key) =
            (self.at(&format!("{authority}.pem")), self.at(&format!("{authority}.key")));
        let front = ["req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
        let rest = ["-subj", "/CN=server", "-keyout", &key, "-out", &request];
        Self::openssl(&[&front[..], &rest].concat());
        let front = ["x509", "-req", "-in", &request, "-CA", &ca, "-CAkey", &ca_key];
        let rest = ["-CAcreateserial", "-extfile", &self.at("names"), "-out", &pem];
        Self::openssl(&[&front[..], &rest, more].concat());
    }

    /// Switches TLS on or off at the server, and waits until it counts.
    pub(crate) fn switch(&self, on: &str) {
        self.server.sql("postgres", &format!("ALTER SYSTEM SET ssl = {on}"));
        self.server.sql("postgres", "SELECT pg_reload_conf()");
        Self::wait_for(|| self.server.sql("postgres", "SHOW ssl").trim() == on);
    }

    /// Lets everybody in by this kind of connection alone, beside the superuser's socket.
    pub(crate) fn let_in_by(&self, kind: &str) {
        let lines = format!(
            "local all postgres scram-sha-256\n{kind} all all 127.0.0.1/32 scram-sha-256\n"
        );
        std::fs::write(self.server.cluster().data_dir().join("pg_hba.conf"), lines).unwrap();
        self.server.sql("postgres", "SELECT pg_reload_conf()");
        Self::wait_for(|| self.is_let_in_in_clear() == (kind == "host"));
    }

    fn is_let_in_in_clear(&self) -> bool {
        let at = format!(
            "host=127.0.0.1 port={} user=postgres dbname=postgres sslmode=disable",
            self.server.port()
        );
        let psql = Run::at(self.server.cluster().programs().psql(), &["-X", "-c", "", &at]);
        psql.with("PGPASSWORD", self.server.cluster().password()).run().status == Some(0)
    }

    fn wait_for(holds: impl Fn() -> bool) {
        for _ in 0..TRIES {
            if holds() {
                return;
            }
            std::thread::sleep(LOOK_AGAIN);
        }
        panic!("the server does not take over what was set");
    }

    /// Configures the sidecar alone with an authority.
    pub(crate) fn configure(&self, authority: &str, more: &str) {
        let ca = self.at(&format!("{authority}.pem"));
        sidecar::configure(&self.server, &format!("tls_ca = \"{ca}\"\n{more}"));
    }

    /// Configures everybody with an authority, and with more lines.
    pub(crate) fn configure_server(&self, authority: &str, more: &str) {
        self.configure_server_at(self.server.port(), authority, more);
    }

    /// As [`Secured::configure_server`], with another port of loopback as the slots' server.
    pub(crate) fn configure_server_at(&self, port: u16, authority: &str, more: &str) {
        let ca = self.at(&format!("{authority}.pem"));
        self.server.configure_at(port, &format!("tls_ca = \"{ca}\"\n{more}"));
    }

    /// Returns the URL of a slot's own database with its password and this query.
    pub(crate) fn url(&self, slot: u8, query: &str) -> String {
        let port = self.server.port();
        let password = password(slot);
        format!("postgresql://slot_{slot}:{password}@127.0.0.1:{port}/app_preview_{slot}?{query}")
    }
}
