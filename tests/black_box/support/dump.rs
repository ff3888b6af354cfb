//! Dumps of a server's databases as `pg_dump` writes them, and their restores.

#![expect(clippy::unwrap_used, reason = "helpers of tests, outside of what the lint takes for one")]

use super::run::Run;
use super::server::Server;

impl Server {
    /// Returns a plain dump of a database, made by the superuser.
    pub(crate) fn dump(&self, database: &str, options: &[&str]) -> String {
        let file = self.place.text("dump.sql");
        let (port, program) = (self.port().to_string(), self.program("pg_dump"));
        let args = ["-w", "-h", "127.0.0.1", "-p", &port, "-U", "postgres", "-f", &file];
        let run = Run::at(&program, &[&args[..], options, &[database]].concat());
        let outcome = run.with("PGPASSWORD", self.cluster().password()).run();
        assert_eq!(outcome.status, Some(0), "{outcome:?}");
        std::fs::read_to_string(file).unwrap()
    }

    /// Runs a dump in a database as the superuser, going on after errors as `psql` does.
    pub(crate) fn restore(&self, database: &str, dump: &str) {
        self.sql(database, &format!("\\set ON_ERROR_STOP off\n{dump}"));
    }

    /// As [`Server::restore`], by a slot's own role.
    pub(crate) fn restore_as(&self, role: &str, password: &str, database: &str, dump: &str) {
        let text = format!("\\set ON_ERROR_STOP off\n{dump}");
        self.cluster().run_sql_as(role, password, database, &text).unwrap();
    }

    /// Returns the path of a program beside the server's.
    fn program(&self, name: &str) -> std::path::PathBuf {
        self.cluster().programs().directory().join(name)
    }
}
