//! refinery's ledger: what has been applied, read without trusting its content.

use guard::diagnostic::{Code, Denial, shown};
use refinery::Migration;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio_postgres::SimpleQueryMessage;

use crate::half_applied::{self, HalfApplied};
use crate::live::{cell, rows};
use crate::session::GuardedSession;
use crate::sql_error;

/// The ledger, qualified: a migration that changes `search_path` must not move it.
pub(crate) const LEDGER: &str = "public.refinery_schema_history";

/// One row of the ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryRow {
    /// The version.
    pub version: i64,
    /// The name.
    pub name: String,
    /// When it was applied, as refinery wrote it.
    pub applied_on: String,
    /// refinery's checksum.
    pub checksum: u64,
}

/// What a database says about its migrations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct History {
    /// The ledger.
    pub rows: Vec<HistoryRow>,
    /// The migration that began and did not end, if there is one.
    pub half_applied: Option<HalfApplied>,
}

/// Reads the ledger, and how far a migration came; what is absent is empty.
///
/// # Errors
/// Refuses a database that is no longer the confirmed one and rows that are not refinery's or ours,
/// and reports what the server refuses.
pub async fn read(session: &GuardedSession) -> Result<History, Denial> {
    let half = half_applied::probe();
    let probe = format!("pg_catalog.to_regclass('{LEDGER}') IS NOT NULL, {half}");
    let found = session.begin(&probe, refused).await?;
    let is_there = cell(&found, 1) == Some("t");
    let half_applied = match half_applied::is_there(&found, 2)? {
        true => half_applied::parse(&query(session, &half_applied::question()).await?)?,
        false => None,
    };
    let text = format!("SELECT version, name, applied_on, checksum FROM {LEDGER} ORDER BY version");
    let history = if is_there { query(session, &text).await? } else { Vec::new() };
    query(session, "COMMIT").await?;
    Ok(History { rows: parse(&history)?, half_applied })
}

/// Runs one of refinery's own statements about the ledger in a transaction of the confirmed database.
///
/// # Errors
/// Refuses a database that is no longer the confirmed one, and reports what the server refuses.
pub(crate) async fn run(
    session: &GuardedSession,
    text: &str,
) -> Result<Vec<SimpleQueryMessage>, Denial> {
    session.begin("NULL", refused).await?;
    let answer = query(session, text).await;
    // The connection may be gone; either way nothing stays open.
    let end = if answer.is_ok() { "COMMIT" } else { "ROLLBACK" };
    let ended = query(session, end).await;
    answer.and_then(|answer| ended.map(|_| answer))
}

async fn query(session: &GuardedSession, text: &str) -> Result<Vec<SimpleQueryMessage>, Denial> {
    let answer = session.client().simple_query(text).await;
    answer.map_err(|error| refused(&error))
}

/// Explains why the server refused to read or write the ledger.
pub(crate) fn refused(error: &tokio_postgres::Error) -> Denial {
    let Some(server) = error.as_db_error() else { return sql_error::lost(LEDGER, error) };
    Denial::new(
        Code::LedgerUnreadable,
        format!("`{LEDGER}` cannot be read or written"),
        format!("{} (SQLSTATE {})", shown(server.message()), server.code().code()),
        "refinery's own table, readable and writable by the slot's role",
    )
}

/// Parses the rows of an answer, whoever asked.
pub(crate) fn parse(answer: &[SimpleQueryMessage]) -> Result<Vec<HistoryRow>, Denial> {
    rows(answer)
        .map(|row| {
            let column = |index: usize| row.try_get(index).ok().flatten().unwrap_or_default();
            parse_row(column(0), column(1), column(2), column(3))
        })
        .collect()
}

fn parse_row(
    version: &str,
    name: &str,
    applied_on: &str,
    checksum: &str,
) -> Result<HistoryRow, Denial> {
    let refuse = |what: &str, found: &str| {
        Denial::new(
            Code::LedgerUnreadable,
            format!("a row of `{LEDGER}` cannot be read"),
            format!("{what} `{}` of version `{}`", shown(found), shown(version)),
            "the row as refinery writes it",
        )
    };
    OffsetDateTime::parse(applied_on, &Rfc3339).map_err(|_| refuse("applied_on", applied_on))?;
    Ok(HistoryRow {
        version: version.parse().map_err(|_| refuse("version", version))?,
        name: name.to_owned(),
        applied_on: applied_on.to_owned(),
        checksum: checksum.parse().map_err(|_| refuse("checksum", checksum))?,
    })
}

impl HistoryRow {
    /// Returns the row as refinery's own type; `None` when its time cannot be read.
    pub(crate) fn to_migration(&self) -> Option<Migration> {
        let applied_on = OffsetDateTime::parse(&self.applied_on, &Rfc3339).ok()?;
        Some(Migration::applied(self.version, self.name.clone(), applied_on, self.checksum))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_that_refinery_did_not_write_are_refused() {
        let good = ("1", "a", "2026-01-02T03:04:05Z", "18446744073709551615");
        assert_eq!(parse_row(good.0, good.1, good.2, good.3).unwrap().checksum, u64::MAX);
        for (version, applied_on, checksum) in
            [("x", good.2, good.3), (good.0, "yesterday", good.3), (good.0, good.2, "words")]
        {
            let denial = parse_row(version, "a", applied_on, checksum).unwrap_err();
            assert_eq!(denial.code(), Code::LedgerUnreadable);
        }
    }
}
