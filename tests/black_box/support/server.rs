//! A throw-away server with three slots and a pretended production database.

#![expect(clippy::unwrap_used, reason = "helpers of tests, outside of what the lint takes for one")]

use throwaway_postgres::{Cluster, ServerPrograms};

use super::place::Place;
use super::redact::Redactor;
use super::run::{Run, SECRET};

/// A place whose configuration points to a server of its own.
pub(crate) struct Server {
    pub(crate) place: Place,
    cluster: Cluster,
}

impl Server {
    /// Starts and provisions a server; both are gone when dropped.
    pub(crate) fn new() -> Self {
        let programs = ServerPrograms::find(None, None).unwrap();
        let server =
            Self { place: Place::new(), cluster: Cluster::builder(programs).start().unwrap() };
        server.provision();
        server.configure("");
        server
    }

    /// Writes the configuration of this server, with more lines under `[database]`.
    pub(crate) fn configure(&self, more: &str) {
        let (port, at) = (self.port(), self.place.text("secrets"));
        self.place.configure(&format!(
            "[database]\n\
             endpoints = [\"127.0.0.1:{port}\"]\n\
             role = \"slot_{{slot}}\"\n\
             password_file = \"{at}/slot_{{slot}}.pw\"\n\
             {more}\n\
             [production]\n\
             databases = [\"app_production\"]\n"
        ));
    }

    fn provision(&self) {
        self.sql("postgres", "REVOKE ALL ON DATABASE postgres, template1 FROM PUBLIC");
        for slot in 1..=3 {
            let (database, password) = (format!("app_preview_{slot}"), password(slot));
            self.place.write(&format!("secrets/slot_{slot}.pw"), 0o600, &password);
            self.sql("postgres", &format!("CREATE ROLE slot_{slot} LOGIN PASSWORD '{password}'"));
            self.sql("postgres", &format!("CREATE DATABASE {database}"));
            self.sql(
                &database,
                &format!(
                    "REVOKE ALL ON DATABASE {database} FROM PUBLIC;
                     GRANT CONNECT, CREATE, TEMPORARY ON DATABASE {database} TO slot_{slot};
                     ALTER SCHEMA public OWNER TO slot_{slot};"
                ),
            );
        }
        self.sql("postgres", "CREATE DATABASE app_production");
        self.sql(
            "app_production",
            "REVOKE ALL ON DATABASE app_production FROM PUBLIC;
             CREATE TABLE customers (id int PRIMARY KEY, name text NOT NULL);
             INSERT INTO customers VALUES (1, 'a real customer');",
        );
    }

    /// Runs SQL as the superuser and returns what it prints.
    #[track_caller]
    pub(crate) fn sql(&self, database: &str, text: &str) -> String {
        self.cluster.run_sql(database, text).unwrap()
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
