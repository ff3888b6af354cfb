//! A session that stays in the way while something else is tried.

#![expect(clippy::unwrap_used, reason = "helpers of tests, outside of what the lint takes for one")]

use std::time::Duration;

use super::server::{Server, password};

/// Who holds, where, and by which statements.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Hold<'a> {
    /// The slot whose role it is; none is the superuser.
    pub(crate) slot: Option<u8>,
    pub(crate) database: &'a str,
    /// What keeps others waiting, such as a transaction with a lock.
    pub(crate) statements: &'a str,
}

impl Hold<'_> {
    /// Does something while the session is there; the session is ended afterwards.
    pub(crate) fn during<T>(self, server: &Server, work: impl FnOnce(u32) -> T) -> T {
        let name = format!("held-{}-{}", self.database, self.slot.unwrap_or(0));
        let text = format!(
            "SET application_name = '{name}';\n{};\nSELECT pg_sleep({LONGEST_S});",
            self.statements
        );
        std::thread::scope(|scope| {
            scope.spawn(|| match self.slot {
                Some(slot) => {
                    let (role, password) = (format!("slot_{slot}"), password(slot));
                    server.cluster().run_sql_as(&role, &password, self.database, &text)
                }
                None => server.cluster().run_sql(self.database, &text),
            });
            let _ended = Ended { server, name: &name };
            let pid = wait_for(server, &name);
            work(pid)
        })
    }
}

/// Returns the server process of a session that holds.
fn wait_for(server: &Server, name: &str) -> u32 {
    let question = format!(
        "SELECT pid FROM pg_stat_activity WHERE application_name = '{name}' \
         AND wait_event = 'PgSleep'"
    );
    for _ in 0..TRIES {
        if let Ok(pid) = server.sql("postgres", &question).trim().parse() {
            return pid;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    panic!("`{name}` does not get to hold anything");
}

/// Returns whether a session is still there.
pub(crate) fn is_there(server: &Server, pid: u32) -> bool {
    let question = format!("SELECT count(*) FROM pg_stat_activity WHERE pid = {pid}");
    server.sql("postgres", &question).trim() == "1"
}

struct Ended<'a> {
    server: &'a Server,
    name: &'a str,
}

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        let text = format!(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
             WHERE application_name = '{}'",
            self.name
        );
        self.server.cluster().run_sql("postgres", &text).unwrap();
    }
}

const TRIES: u32 = 500;
const LONGEST_S: u32 = 120;
