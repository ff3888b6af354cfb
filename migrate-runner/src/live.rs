//! What is asked of a live server before a slot's session may act, as SQL and back as facts.
//!
//! Every name is qualified, so that no object of the database answers in the place of the server's
//! own. Only catalogs are read, and the stamp's table once the catalogs say that it is one.

use guard::diagnostic::{Code, Denial, shown};
use guard::identity::{IdentityFacts, LiveFacts, RightsFacts, TableFacts};
use guard::stamp::{Reading, Stamp, TABLE};
use serde::de::DeserializeOwned;
use tokio_postgres::{Client, Error, SimpleQueryMessage, SimpleQueryRow};

use crate::history::LEDGER;
use crate::session::GuardedSession;
use crate::sql_error;

/// Who the server is: one column with one JSON object.
pub(crate) const IDENTITY_COLUMN: &str = "(SELECT pg_catalog.json_build_object(\
     'database', d.datname, 'session_user', session_user, 'current_user', current_user, \
     'in_recovery', pg_catalog.pg_is_in_recovery(), \
     'system_identifier', (SELECT s.system_identifier FROM pg_catalog.pg_control_system() s), \
     'oid', d.oid::pg_catalog.int8, \
     'comment', (SELECT c.description FROM pg_catalog.pg_shdescription c \
         WHERE c.objoid OPERATOR(pg_catalog.=) d.oid AND c.classoid OPERATOR(pg_catalog.=) \
         'pg_catalog.pg_database'::pg_catalog.regclass::pg_catalog.oid)) \
     FROM pg_catalog.pg_database d \
     WHERE d.datname OPERATOR(pg_catalog.=) pg_catalog.current_database())";

/// What the role may do, and what stands beside the stamp.
fn rights_column() -> String {
    let flag = |column: &str, name: &str| format!("CASE WHEN r.{column} THEN '{name}' END");
    let attributes = [
        flag("rolsuper", "SUPERUSER"),
        flag("rolcreatedb", "CREATEDB"),
        flag("rolcreaterole", "CREATEROLE"),
        flag("rolreplication", "REPLICATION"),
        flag("rolbypassrls", "BYPASSRLS"),
    ];
    format!(
        "(SELECT pg_catalog.json_build_object(\
         'owner', pg_catalog.pg_get_userbyid(d.datdba), \
         'attributes', pg_catalog.array_remove(ARRAY[{}]::pg_catalog.text[], NULL), \
         'memberships', (WITH RECURSIVE m(id) AS (\
             SELECT a.roleid FROM pg_catalog.pg_auth_members a \
             WHERE a.member OPERATOR(pg_catalog.=) r.oid \
             UNION SELECT a.roleid FROM pg_catalog.pg_auth_members a, m \
             WHERE a.member OPERATOR(pg_catalog.=) m.id) \
             SELECT coalesce(pg_catalog.json_agg(pg_catalog.pg_get_userbyid(m.id)), '[]') FROM m), \
         'reaches', (SELECT coalesce(pg_catalog.json_agg(pg_catalog.json_build_object(\
             'database', o.datname, \
             'comment', pg_catalog.shobj_description(o.oid, 'pg_database'))), '[]') \
             FROM pg_catalog.pg_database o WHERE o.datallowconn \
             AND o.oid OPERATOR(pg_catalog.<>) d.oid \
             AND pg_catalog.has_database_privilege(o.oid, 'CONNECT')), \
         'stamp_table', {}, 'ledger', {}) \
         FROM pg_catalog.pg_database d, pg_catalog.pg_roles r \
         WHERE d.datname OPERATOR(pg_catalog.=) pg_catalog.current_database() \
         AND r.rolname OPERATOR(pg_catalog.=) session_user)",
        attributes.join(", "),
        table_column(TABLE),
        table_column(LEDGER),
    )
}

/// What kind of relation carries a qualified name, as a JSON object or NULL.
pub(crate) fn table_column(qualified: &str) -> String {
    let (schema, name) = qualified.split_once('.').unwrap_or(("public", qualified));
    format!(
        "(SELECT pg_catalog.json_build_object('oid', c.oid::pg_catalog.int8, \
         'owner', pg_catalog.pg_get_userbyid(c.relowner), \
         'plain', c.relkind OPERATOR(pg_catalog.=) 'r'::pg_catalog.\"char\" \
             AND NOT c.relhasrules AND NOT c.relhastriggers AND NOT c.relrowsecurity) \
         FROM pg_catalog.pg_class c, pg_catalog.pg_namespace n \
         WHERE n.oid OPERATOR(pg_catalog.=) c.relnamespace \
         AND n.nspname OPERATOR(pg_catalog.=) '{schema}' \
         AND c.relname OPERATOR(pg_catalog.=) '{name}')"
    )
}

/// Asks everything that decides whether the session may act.
///
/// # Errors
/// Returns the driver's error, or a refusal when an answer cannot be read.
pub(crate) async fn ask(client: &Client) -> Result<Result<LiveFacts, Denial>, Error> {
    let question = format!("SELECT {IDENTITY_COLUMN}, {}", rights_column());
    let answer = client.simple_query(&question).await?;
    let (identity, rights) = match (identity(&answer, 0), column::<RightsFacts>(&answer, 1)) {
        (Ok(identity), Ok(rights)) => (identity, rights),
        (Err(denial), _) | (_, Err(denial)) => return Ok(Err(denial)),
    };
    let stamped = matches!(Stamp::read(identity.comment.as_deref()), Reading::Stamp(_));
    let is_plain = |table: &TableFacts| table.plain && table.owner == rights.owner;
    let stamp_rows = if stamped && rights.stamp_table.as_ref().is_some_and(is_plain) {
        // A role that may not read it is another role than the slot's, which is judged by name.
        let rows = client.simple_query(&format!("SELECT nonce FROM ONLY {TABLE} LIMIT 2")).await;
        rows.ok().map(|rows| first_columns(&rows))
    } else {
        None
    };
    Ok(Ok(LiveFacts { identity, rights, stamp_rows }))
}

/// Asks for the major version of the server.
///
/// # Errors
/// Refuses when the connection is lost.
pub(crate) async fn major_version(session: &GuardedSession) -> Result<Option<u32>, Denial> {
    let question = "SELECT pg_catalog.current_setting('server_version_num')";
    let answer = session.client().simple_query(question).await;
    let answer = answer.map_err(|error| sql_error::lost("which version?", &error))?;
    let number = cell(&answer, 0).and_then(|number| number.parse::<u32>().ok());
    Ok(number.map(|number| number / 10_000))
}

/// Reads the identity from an answer.
///
/// # Errors
/// Refuses an answer without it: nobody is not the slot's server.
pub(crate) fn identity(
    answer: &[SimpleQueryMessage],
    index: usize,
) -> Result<IdentityFacts, Denial> {
    column(answer, index)
}

/// Reads one column of the first row as JSON.
///
/// # Errors
/// Refuses an answer without a row, and one that is not what was asked for.
pub(crate) fn column<T: DeserializeOwned>(
    answer: &[SimpleQueryMessage],
    index: usize,
) -> Result<T, Denial> {
    let text = cell(answer, index).unwrap_or_default();
    serde_json::from_str(text).map_err(|error| {
        Denial::new(
            Code::LiveServer,
            "the server does not say who it is",
            shown(&error.to_string()),
            "the catalogs of PostgreSQL",
        )
    })
}

/// Returns the rows of an answer.
pub(crate) fn rows(answer: &[SimpleQueryMessage]) -> impl Iterator<Item = &SimpleQueryRow> {
    answer.iter().filter_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some(row),
        _ => None,
    })
}

/// Returns a column of the first row; `None` for NULL and for what is not there.
pub(crate) fn cell(answer: &[SimpleQueryMessage], index: usize) -> Option<&str> {
    rows(answer).next()?.try_get(index).ok().flatten()
}

/// Returns the first column of every row.
pub(crate) fn first_columns(answer: &[SimpleQueryMessage]) -> Vec<String> {
    rows(answer).map(|row| row.get(0).unwrap_or_default().to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_answer_is_nobodys_identity() {
        assert_eq!(identity(&[], 0).unwrap_err().code(), Code::LiveServer);
    }
}
