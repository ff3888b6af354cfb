//! What a statement without a transaction leaves behind when it does not come to its end, as SQL
//! and back.

use std::fmt;

use guard::diagnostic::shown;
use guard::migration::Alone;
use tokio_postgres::SimpleQueryMessage;

use crate::live::rows;
use crate::sql;

/// What becomes of a statement that began and may have ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It came to its end.
    Done,
    /// It runs again.
    Again,
    /// Another statement completes it.
    Finalize(String),
}

/// An index, wherever it is.
#[derive(Debug)]
pub(super) struct Index {
    schema: String,
    name: String,
}

impl Index {
    pub(super) fn drop_statement(&self) -> String {
        let (schema, name) = (sql::name(&self.schema), sql::name(&self.name));
        format!("DROP INDEX CONCURRENTLY {schema}.{name}")
    }
}

impl fmt::Display for Index {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}.{}", shown(&self.schema), shown(&self.name))
    }
}

/// Names indexes in one line.
pub(super) fn names(indexes: &[Index]) -> String {
    let names: Vec<String> = indexes.iter().map(|index| format!("`{index}`")).collect();
    format!("invalid {}", names.join(", "))
}

/// An expression for what the statement changes, as it is now; NULL where nothing is.
pub(super) fn state(alone: &Alone) -> String {
    match alone {
        Alone::CreateIndex { index: Some(index), table } => format!(
            "(SELECT c.oid::pg_catalog.text FROM pg_catalog.pg_class c, pg_catalog.pg_class t \
             WHERE c.relname OPERATOR(pg_catalog.=) {} \
             AND c.relnamespace OPERATOR(pg_catalog.=) t.relnamespace \
             AND t.oid OPERATOR(pg_catalog.=) {})",
            sql::text(&index.name),
            sql::object_id(table)
        ),
        Alone::DropIndex { index } => format!("{}::pg_catalog.text", sql::object_id(index)),
        Alone::Detach { parent, partition } => format!(
            "(SELECT CASE WHEN i.inhdetachpending THEN '{PENDING}' ELSE 'attached' END \
             FROM pg_catalog.pg_inherits i WHERE i.inhrelid OPERATOR(pg_catalog.=) {} \
             AND i.inhparent OPERATOR(pg_catalog.=) {})",
            sql::object_id(partition),
            sql::object_id(parent)
        ),
        Alone::CreateIndex { index: None, .. }
        | Alone::Reindex { .. }
        | Alone::Vacuum { .. }
        | Alone::Again => "NULL".to_owned(),
    }
}

const PENDING: &str = "pending";

/// Decides by what a statement was to change, as it was before and as it is now.
pub(super) fn judge(alone: &Alone, before: Option<&str>, now: Option<&str>) -> Verdict {
    let done = match alone {
        // Invalid ones are gone by now, so another index than before is the one that was made.
        Alone::CreateIndex { .. } => now.is_some() && now != before,
        Alone::DropIndex { .. } => before.is_some() && now.is_none(),
        Alone::Detach { parent, partition } if now == Some(PENDING) => {
            let (parent, partition) = (sql::object(parent), sql::object(partition));
            let finalize = format!("ALTER TABLE {parent} DETACH PARTITION {partition} FINALIZE");
            return Verdict::Finalize(finalize);
        }
        Alone::Detach { .. } => before.is_some() && now.is_none(),
        Alone::Reindex { .. } | Alone::Vacuum { .. } | Alone::Again => false,
    };
    if done { Verdict::Done } else { Verdict::Again }
}

/// The question for the invalid indexes that the statement may have left; `None` where it leaves
/// none of its own.
pub(super) fn invalid_indexes(alone: &Alone) -> Option<String> {
    let which = match alone {
        Alone::CreateIndex { index: Some(index), table } => format!(
            "c.relname OPERATOR(pg_catalog.=) {} AND i.indrelid OPERATOR(pg_catalog.=) {}",
            sql::text(&index.name),
            sql::object_id(table)
        ),
        // Those of large values lie where only a superuser drops them.
        Alone::Reindex { .. } => "c.relname OPERATOR(pg_catalog.~) '_cc(new|old)[0-9]*$' \
             AND n.nspname OPERATOR(pg_catalog.<>) 'pg_toast' \
             AND pg_catalog.pg_get_userbyid(c.relowner) OPERATOR(pg_catalog.=) current_user"
            .to_owned(),
        _ => return None,
    };
    Some(format!(
        "SELECT n.nspname, c.relname FROM pg_catalog.pg_index i, pg_catalog.pg_class c, \
         pg_catalog.pg_namespace n WHERE NOT i.indisvalid \
         AND c.oid OPERATOR(pg_catalog.=) i.indexrelid \
         AND n.oid OPERATOR(pg_catalog.=) c.relnamespace AND {which} ORDER BY 1, 2"
    ))
}

/// Reads the answer to [`invalid_indexes`].
pub(super) fn indexes(answer: &[SimpleQueryMessage]) -> Vec<Index> {
    let text =
        |row: &tokio_postgres::SimpleQueryRow, at| row.get(at).unwrap_or_default().to_owned();
    rows(answer).map(|row| Index { schema: text(row, 0), name: text(row, 1) }).collect()
}

#[cfg(test)]
mod tests {
    use guard::migration::ObjectName;

    use super::*;

    fn name(name: &str) -> ObjectName {
        ObjectName { schema: None, name: name.to_owned() }
    }

    #[test]
    fn what_is_there_says_whether_a_statement_ran() {
        let create = Alone::CreateIndex { index: Some(name("i")), table: name("t") };
        let drop = Alone::DropIndex { index: name("i") };
        let detach = Alone::Detach { parent: name("t"), partition: name("Odd") };
        for (alone, before, now, verdict) in [
            (&create, None, None, Verdict::Again),
            (&create, None, Some("7"), Verdict::Done),
            // Somebody else's index of that name was there already, and the statement was refused.
            (&create, Some("7"), Some("7"), Verdict::Again),
            (&drop, Some("7"), Some("7"), Verdict::Again),
            (&drop, Some("7"), None, Verdict::Done),
            (&drop, None, None, Verdict::Again),
            (&detach, Some("attached"), Some("attached"), Verdict::Again),
            (&detach, Some("attached"), None, Verdict::Done),
            (&Alone::Reindex { of: None }, None, None, Verdict::Again),
            (&Alone::Again, None, None, Verdict::Again),
        ] {
            assert_eq!(judge(alone, before, now), verdict, "{alone:?} {before:?} {now:?}");
        }
        let finalize = "ALTER TABLE \"t\" DETACH PARTITION \"Odd\" FINALIZE".to_owned();
        assert_eq!(judge(&detach, Some("attached"), Some("pending")), Verdict::Finalize(finalize));
    }
}
