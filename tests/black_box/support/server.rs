//! A throw-away server with three slots and a pretended production database.

#![expect(clippy::unwrap_used, reason = "helpers of tests, outside of what the lint takes for one")]

use std::path::Path;

use throwaway_postgres::{Cluster, ClusterBuilder, ServerPrograms};

use super::environment;
use super::place::Place;
use super::redact::Redactor;
use super::run::{Run, SECRET};

/// The tables of a slot's database that nothing was applied to.
pub(crate) const EMPTY: &str = "refinery_schema_history";

/// A place whose configuration points to a server of its own.
pub(crate) struct Server {
    pub(crate) place: Place,
    cluster: Cluster,
}

impl Server {
    /// Starts a server that the program itself provisions; both are gone when dropped.
    pub(crate) fn new() -> Self {
        Self::bare().provisioned()
    }

    /// Lets the program make everything of the slots.
    pub(crate) fn provisioned(self) -> Self {
        self.provision(&["--yes"]).run().accepted();
        self.protect().run().accepted();
        self
    }

    /// Starts a server with production and without anything of the slots.
    pub(crate) fn bare() -> Self {
        Self::with_settings(&[])
    }

    /// As [`Server::bare`], with settings of the server.
    pub(crate) fn with_settings(settings: &[(&str, &str)]) -> Self {
        let mut builder = Self::cluster_builder();
        for (name, value) in settings {
            builder = builder.setting(*name, *value);
        }
        Self::with_cluster(builder)
    }

    /// Describes a cluster of the PostgreSQL that is tested on.
    pub(crate) fn cluster_builder() -> ClusterBuilder {
        let programs = ServerPrograms::find(environment::postgres().as_deref(), None);
        Cluster::builder(programs.unwrap())
    }

    /// As [`Server::bare`], on a cluster of one's own description.
    pub(crate) fn with_cluster(builder: ClusterBuilder) -> Self {
        let server = Self { place: Place::new(), cluster: builder.start().unwrap() };
        for slot in 1..=3 {
            server.place.write(&format!("secrets/slot_{slot}.pw"), 0o600, &password(slot));
        }
        let (port, root) = (server.port(), server.cluster.password());
        server.place.write("secrets/admin.pw", 0o600, &format!("{SECRET}-of-admin"));
        server.place.write("secrets/seed.pw", 0o600, &format!("{SECRET}-of-seed"));
        let url = format!("postgresql://postgres:{root}@127.0.0.1:{port}/postgres");
        server.place.write("secrets/root.url", 0o600, &url);
        server.configure("");
        server.make_production();
        server
    }

    /// Starts a provisioned server that flushes as one that matters does, in a directory or where
    /// servers usually are: one that may crash.
    pub(crate) fn durable(place: Option<&Path>) -> Self {
        let on = ["fsync", "synchronous_commit", "full_page_writes"];
        let builder = on.into_iter().fold(Self::cluster_builder(), |b, name| b.setting(name, "on"));
        let builder = place.into_iter().fold(builder, ClusterBuilder::base_directory);
        Self::with_cluster(builder).provisioned()
    }

    /// Starts a server with databases that somebody made by hand: no stamp, no administrator.
    pub(crate) fn by_hand() -> Self {
        let server = Self::bare();
        server.sql("postgres", "REVOKE ALL ON DATABASE postgres, template1 FROM PUBLIC");
        for slot in 1..=3 {
            let (database, password) = (format!("app_preview_{slot}"), password(slot));
            server.sql("postgres", &format!("CREATE ROLE slot_{slot} LOGIN PASSWORD '{password}'"));
            server.sql("postgres", &format!("CREATE DATABASE {database}"));
            server.sql(
                &database,
                &format!(
                    "REVOKE ALL ON DATABASE {database} FROM PUBLIC;
                     GRANT CONNECT, CREATE, TEMPORARY ON DATABASE {database} TO slot_{slot};
                     ALTER SCHEMA public OWNER TO slot_{slot};"
                ),
            );
        }
        server
    }

    /// Writes the configuration of this server, with more lines under `[database]`.
    pub(crate) fn configure(&self, more: &str) {
        self.configure_at(self.port(), more);
    }

    /// As [`Server::configure`], with another port of loopback as the slots' server.
    pub(crate) fn configure_at(&self, port: u16, more: &str) {
        let at = self.place.text("secrets");
        self.place.configure(&format!(
            "[database]\n\
             endpoints = [\"127.0.0.1:{port}\"]\n\
             role = \"slot_{{slot}}\"\n\
             password_file = \"{at}/slot_{{slot}}.pw\"\n\
             admin_password_file = \"{at}/admin.pw\"\n\
             seed_password_file = \"{at}/seed.pw\"\n\
             {more}\n\
             [production]\n\
             databases = [\"app_production\"]\n"
        ));
    }

    fn make_production(&self) {
        self.sql("postgres", "CREATE DATABASE app_production");
        self.sql(
            "app_production",
            "REVOKE ALL ON DATABASE app_production FROM PUBLIC;
             CREATE TABLE customers (id int PRIMARY KEY, name text NOT NULL);
             INSERT INTO customers VALUES (1, 'a real customer');",
        );
    }

    /// Prepares a command of the superuser.
    pub(crate) fn administer(&self, command: &str, args: &[&str]) -> Run {
        let root = self.place.text("secrets/root.url");
        self.place.migrate(command, &[&["--admin-url-file", &root], args].concat())
    }

    /// Prepares `migrate-runner provision`.
    pub(crate) fn provision(&self, args: &[&str]) -> Run {
        self.administer("provision", args)
    }

    /// Returns what `provision --check` finds; its exit status must agree.
    #[track_caller]
    pub(crate) fn findings(&self) -> Vec<serde_json::Value> {
        let outcome = self.provision(&["--check"]).format("json").run();
        let findings = outcome.objects()[0]["findings"].as_array().unwrap().clone();
        assert_eq!(outcome.status, Some(if findings.is_empty() { 0 } else { 65 }), "{outcome:?}");
        findings
    }

    /// As [`Server::provision`], by another port of loopback.
    pub(crate) fn provision_at(&self, port: u16, args: &[&str]) -> Run {
        let root = self.cluster.password();
        let url = format!("postgresql://postgres:{root}@127.0.0.1:{port}/postgres");
        self.place.write("secrets/elsewhere.url", 0o600, &url);
        let file = self.place.text("secrets/elsewhere.url");
        self.place.migrate("provision", &[&["--admin-url-file", &file], args].concat())
    }

    /// Prepares the stamp of production.
    pub(crate) fn protect(&self) -> Run {
        let args = ["--as", "production", "--database", "app_production", "--yes"];
        self.administer("protect", &args)
    }

    /// Prepares `migrate-runner reset` of a slot from the seed.
    pub(crate) fn reset(&self, slot: u8) -> Run {
        self.place.migrate("reset", &["--slot", &format!("preview-{slot}"), "--to", "seed"])
    }

    /// Prepares `migrate-runner reset` of a slot from a template.
    pub(crate) fn reset_from(&self, slot: u8, template: &str) -> Run {
        let slot = format!("preview-{slot}");
        self.place.migrate("reset", &["--slot", &slot, "--to", "template", template])
    }

    /// Prepares `migrate-runner seed build`.
    pub(crate) fn seed(&self, migrations: &str, scripts: &[&str]) -> Run {
        let sql: &[&str] = if scripts.is_empty() { &[] } else { &["--sql"] };
        let config = self.place.config();
        let front = ["seed", "build", "--config", &config, "--migrations", migrations];
        Run::new("migrate-runner", &[&front, sql, scripts].concat())
    }

    /// Prepares `migrate-runner confirm` of a slot.
    pub(crate) fn confirm(&self, slot: u8) -> Run {
        self.place.migrate("confirm", &["--slot", &format!("preview-{slot}")])
    }

    /// Returns the server itself.
    pub(crate) fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// Returns the server itself, to crash it.
    pub(crate) fn cluster_mut(&mut self) -> &mut Cluster {
        &mut self.cluster
    }

    /// Returns the object id of a database.
    #[track_caller]
    pub(crate) fn oid(&self, database: &str) -> u32 {
        let text = format!("SELECT oid FROM pg_database WHERE datname = '{database}'");
        self.sql("postgres", &text).trim().parse().unwrap()
    }

    /// Returns the databases that a reset makes and drops, separated by blanks.
    #[track_caller]
    pub(crate) fn leftovers(&self) -> String {
        let text = "SELECT string_agg(datname, ' ' ORDER BY datname) FROM pg_database \
                    WHERE datname LIKE '%\\_\\_next' OR datname LIKE '%\\_\\_old'";
        self.sql("postgres", text).trim().to_owned()
    }

    /// Expects that the program finds the slot's database stamped, and returns its object id.
    #[track_caller]
    pub(crate) fn confirmed(&self, slot: u8) -> u32 {
        let outcome = self.confirm(slot).format("json").run();
        let said = &outcome.accepted().objects()[0];
        assert_eq!(said["stamped"], true, "{said}");
        u32::try_from(said["oid"].as_u64().unwrap()).unwrap()
    }

    /// Runs SQL as the superuser and returns what it prints.
    #[track_caller]
    pub(crate) fn sql(&self, database: &str, text: &str) -> String {
        self.cluster.run_sql(database, text).unwrap()
    }

    /// Runs SQL as the superuser; says what the server said against it.
    pub(crate) fn try_sql(&self, database: &str, text: &str) -> Result<String, String> {
        self.cluster.run_sql(database, text).map_err(|error| error.to_string())
    }

    /// Returns the tables of a database's public schema, in order, separated by blanks.
    #[track_caller]
    pub(crate) fn tables(&self, database: &str) -> String {
        let text = "SELECT string_agg(tablename, ' ' ORDER BY tablename) FROM pg_tables \
                    WHERE schemaname = 'public'";
        self.sql(database, text).trim().to_owned()
    }

    /// Returns the applied versions in the order they ran.
    #[track_caller]
    pub(crate) fn versions(&self, database: &str) -> String {
        let text = "SELECT string_agg(version::text, ' ' ORDER BY applied_on::timestamptz, ctid) \
                    FROM refinery_schema_history";
        self.sql(database, text).trim().to_owned()
    }

    /// Returns what production holds, as a text that changes with it.
    #[track_caller]
    pub(crate) fn production(&self) -> String {
        let tables = self.tables("app_production");
        tables + &self.sql("app_production", "SELECT * FROM customers")
    }

    /// Returns the server's port.
    pub(crate) fn port(&self) -> u16 {
        self.cluster.port()
    }

    /// Returns the URL of a database, without password.
    pub(crate) fn url(&self, slot: u8, database: &str) -> String {
        format!("postgresql://slot_{slot}@127.0.0.1:{}/{database}", self.port())
    }

    /// Returns a redactor that knows the place and the port.
    pub(crate) fn redactor(&self) -> Redactor {
        self.place.redactor().port(self.port())
    }

    /// Prepares a `migrate-runner` command for a slot.
    pub(crate) fn migrate(&self, command: &str, slot: u8, migrations: &str) -> Run {
        let slot = format!("preview-{slot}");
        self.place.migrate(command, &["--slot", &slot, "--migrations", migrations])
    }
}

/// Returns the password of a slot's role.
pub(crate) fn password(slot: u8) -> String {
    format!("{SECRET}-of-slot-{slot}")
}
