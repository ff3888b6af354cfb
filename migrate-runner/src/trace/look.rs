//! One look at the server: the relations that the session's transaction holds locks on.

use std::collections::{BTreeMap, BTreeSet};

use tokio_postgres::{Client, Error, SimpleQueryRow};

use super::record::{Mode, Relation, Rows};
use crate::live::rows;

/// What is known about a relation at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    /// The locks on it, as far as they are this session's.
    pub(super) modes: BTreeSet<Mode>,
    /// What it is; none for one that is dropped, or that nobody else can meet.
    pub(super) relation: Option<Relation>,
    /// Where its rows lie; another number means that all were written anew.
    pub(super) file: u32,
    /// Whose index it is, else its own number.
    pub(super) table: u32,
    /// What the transaction has done to its rows so far.
    pub(super) rows: Rows,
}

/// The relations by their number.
pub(crate) type Look = BTreeMap<u32, Seen>;

/// Asks for the relations that this session holds locks on.
pub(super) async fn locked(client: &Client) -> Result<Look, Error> {
    ask(client, "l LEFT JOIN pg_catalog.pg_class c", "xact_").await
}

/// Asks for every relation, which takes as long as there are many.
pub(super) async fn all(client: &Client) -> Result<Look, Error> {
    ask(client, "pg_catalog.pg_class c LEFT JOIN l", "xact_").await
}

/// Asks for every relation outside of a transaction, with the rows that all sessions together have
/// handled so far; what the session has not handed on yet, it hands on first.
pub(super) async fn totals(client: &Client) -> Result<Look, Error> {
    client.simple_query("SELECT pg_catalog.pg_stat_force_next_flush()").await?;
    ask(client, "pg_catalog.pg_class c LEFT JOIN l", "").await
}

/// The counters of a transaction are those since they were last handed on; asking for that at its
/// end lets the next one begin with none.
async fn ask(client: &Client, from: &str, of: &str) -> Result<Look, Error> {
    let number = "pg_catalog.int8";
    let counters = ["returned", "fetched", "inserted", "updated", "deleted"]
        .map(|what| format!("pg_catalog.pg_stat_get_{of}tuples_{what}(c.oid)"))
        .join(", ");
    let question = format!(
        "WITH l AS (SELECT s.relation, pg_catalog.string_agg(s.mode, ' ') AS modes \
             FROM pg_catalog.pg_lock_status() s \
             WHERE s.locktype OPERATOR(pg_catalog.=) 'relation' AND s.granted \
             AND s.pid OPERATOR(pg_catalog.=) pg_catalog.pg_backend_pid() \
             AND s.database OPERATOR(pg_catalog.=) (SELECT d.oid FROM pg_catalog.pg_database d \
                 WHERE d.datname OPERATOR(pg_catalog.=) pg_catalog.current_database()) \
             GROUP BY s.relation) \
         SELECT coalesce(c.oid, l.relation)::{number}, coalesce(l.modes, ''), n.nspname, c.relname, c.relkind, \
             c.relfilenode::{number}, coalesce(i.indrelid, c.oid)::{number}, \
             {counters} \
         FROM {from} ON c.oid OPERATOR(pg_catalog.=) l.relation \
         LEFT JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace \
         LEFT JOIN pg_catalog.pg_index i ON i.indexrelid OPERATOR(pg_catalog.=) c.oid \
         WHERE c.oid IS NULL OR (c.relpersistence OPERATOR(pg_catalog.<>) 't' \
             AND n.nspname OPERATOR(pg_catalog.<>) ALL \
             ('{{pg_catalog,information_schema,pg_toast,slotguard}}'::pg_catalog.name[])); \
         SELECT pg_catalog.pg_stat_force_next_flush()"
    );
    let answer = client.simple_query(&question).await?;
    Ok(rows(&answer).filter_map(seen).collect())
}

fn seen(row: &SimpleQueryRow) -> Option<(u32, Seen)> {
    let text = |index: usize| row.try_get(index).ok().flatten();
    let number = |index: usize| text(index).and_then(|text| text.parse().ok()).unwrap_or(0_u64);
    let oid = |index: usize| u32::try_from(number(index)).unwrap_or_default();
    let modes = text(1)?.split(' ').filter_map(Mode::parse).collect();
    let relation = match (text(2), text(3), text(4)) {
        (Some(schema), Some(name), Some(kind)) => Relation::new(schema, name, kind),
        _ => None,
    };
    // An index counts the entries that it hands out; the rows are the table's.
    let is_index = oid(6) != oid(0);
    let scanned = if is_index { 0 } else { number(7) + number(8) };
    let written = number(9) + number(10) + number(11);
    let rows = Rows { scanned, written };
    (oid(0) > 0).then(|| (oid(0), Seen { modes, relation, file: oid(5), table: oid(6), rows }))
}
