//! Where a statement in no transaction is stopped for a look, one place behind the other.
//!
//! A lock that somebody waits for conflicts with `SHARE UPDATE EXCLUSIVE`. So whoever holds that on a
//! table sees each such lock before it is granted; a statement that is never stopped took none.

use guard::migration::{Alone, ObjectName};
use serde::{Serialize, Serializer};
use tokio_postgres::{Client, Error};

use super::record::Mode;
use crate::live::cell;
use crate::sql;

/// One place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stage {
    /// The relation that is held.
    pub(super) number: u32,
    /// Its name, as a statement takes it.
    pub(super) name: String,
    /// The mode in which it is held.
    pub(super) hold: Mode,
    pub(super) stop: Stop,
}

/// How a statement stands still.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stop {
    /// It asks for a lock on the relation.
    Asks,
    /// It waits for a transaction to end, whatever that lets go before.
    WaitsForEnd,
}

/// Why locks, or some of them, are not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unseen {
    /// Each table is locked when its turn comes, in an order that nobody knows.
    ManyTables,
    /// Whoever held the table would change what the statement does.
    SkipsLocked,
    /// `LOCK` takes tables only.
    Kind,
    /// They are locked at the end, when the partition is.
    ForeignKeys,
    /// The statement would give up before it is let go.
    NoTime,
    /// Somebody else holds the table, the role may not, or there is no session more.
    NotHeld,
    /// The statement took too long from one place to the next.
    Late,
    /// The server ended the second session, or its transaction.
    Lost,
}

impl Unseen {
    /// Returns the reason, as people and programs read it.
    pub(super) fn words(self) -> &'static str {
        match self {
            Self::ManyTables => "it works on many tables, one behind the other",
            Self::SkipsLocked => "it passes over a table that is locked",
            Self::Kind => "it works on something else than a table",
            Self::ForeignKeys => "those on tables that a foreign key of the partition refers to",
            Self::NoTime => "its lock timeout leaves no time for a look",
            Self::NotHeld => "a second session could not hold its table",
            Self::Late => "it took too long before it asked for them",
            Self::Lost => "the second session was lost",
        }
    }
}

impl Serialize for Unseen {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.words())
    }
}

/// The stages of one statement, and what they leave out.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) stages: Vec<Stage>,
    pub(super) unseen: Option<Unseen>,
}

impl From<Unseen> for Plan {
    fn from(unseen: Unseen) -> Self {
        Self { stages: Vec::new(), unseen: Some(unseen) }
    }
}

/// What is known about a table that a statement names.
#[derive(Debug)]
struct Table {
    number: u32,
    name: String,
    kind: String,
    has_children: bool,
    has_foreign_keys: bool,
}

/// Plans for a statement, with names as the session finds them; a relation that is not `old` is of
/// no interest to anybody.
///
/// # Errors
/// Returns the driver's error.
pub(super) async fn plan(
    client: &Client,
    alone: &Alone,
    old: impl Fn(u32) -> bool,
) -> Result<Plan, Error> {
    let names: Vec<&ObjectName> = match alone {
        Alone::CreateIndex { table, .. } => vec![table],
        Alone::DropIndex { index } => vec![index],
        Alone::Reindex { of } => of.iter().collect(),
        Alone::Detach { parent, partition } => vec![parent, partition],
        Alone::Vacuum { skips_locked: true, .. } => return Ok(Unseen::SkipsLocked.into()),
        Alone::Vacuum { tables, .. } => tables.iter().collect(),
        Alone::Again => Vec::new(),
    };
    if names.is_empty() {
        return Ok(Unseen::ManyTables.into());
    }
    let mut tables: Vec<Table> = Vec::new();
    for name in names {
        let table = table(client, name).await?.filter(|table| old(table.number));
        // A table that is named twice is met twice; the second time nobody holds it any more.
        tables.extend(table.filter(|new| tables.iter().all(|known| known.number != new.number)));
    }
    Ok(stages(alone, &tables))
}

/// Asks for the table behind the name of a table or of an index.
async fn table(client: &Client, name: &ObjectName) -> Result<Option<Table>, Error> {
    let number = sql::object_id(name);
    let question = format!(
        "SELECT t.oid::pg_catalog.int8, n.nspname, t.relname, t.relkind, t.relhassubclass, \
         EXISTS (SELECT FROM pg_catalog.pg_constraint k WHERE k.conrelid OPERATOR(pg_catalog.=) t.oid \
             AND k.contype OPERATOR(pg_catalog.=) 'f'::pg_catalog.\"char\") \
         FROM pg_catalog.pg_class t JOIN pg_catalog.pg_namespace n \
         ON n.oid OPERATOR(pg_catalog.=) t.relnamespace \
         WHERE t.oid OPERATOR(pg_catalog.=) coalesce((SELECT i.indrelid FROM pg_catalog.pg_index i \
             WHERE i.indexrelid OPERATOR(pg_catalog.=) {number}), {number})"
    );
    let answer = client.simple_query(&question).await?;
    let text = |index: usize| cell(&answer, index).unwrap_or_default();
    let is_so = |index: usize| text(index) == "t";
    let table = |number: u32| Table {
        number,
        name: format!("{}.{}", sql::name(text(1)), sql::name(text(2))),
        kind: text(3).to_owned(),
        has_children: is_so(4),
        has_foreign_keys: is_so(5),
    };
    Ok(text(0).parse().ok().map(table))
}

fn stages(alone: &Alone, tables: &[Table]) -> Plan {
    let stage = |table: &Table, hold: Mode, stop: Stop| {
        let (number, name) = (table.number, table.name.clone());
        Stage { number, name, hold, stop }
    };
    let first = |table: &Table| stage(table, Mode::ShareUpdateExclusive, Stop::Asks);
    let plan = |stages: Vec<Stage>| Plan { stages, unseen: None };
    let is_parent = |table: &&Table| table.kind == "p" || table.has_children;
    match (alone, tables) {
        (Alone::Detach { .. }, [parent, partition]) => Plan {
            // The partition is locked in the end, once nobody uses the parent any more.
            stages: vec![first(parent), stage(partition, Mode::AccessShare, Stop::Asks)],
            unseen: partition.has_foreign_keys.then_some(Unseen::ForeignKeys),
        },
        (_, tables) if tables.iter().any(|table| !"rp".contains(&table.kind)) => {
            Unseen::Kind.into()
        }
        (Alone::Reindex { .. }, [table]) if table.kind == "p" => Unseen::ManyTables.into(),
        // It waits for whoever writes the table, and holds the locks on indexes by then.
        (Alone::Reindex { .. } | Alone::DropIndex { .. }, [table]) => {
            plan(vec![first(table), stage(table, Mode::RowExclusive, Stop::WaitsForEnd)])
        }
        (Alone::Vacuum { .. }, tables) if tables.iter().any(|table| is_parent(&table)) => {
            Unseen::ManyTables.into()
        }
        (_, tables) => plan(tables.iter().map(first).collect()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(number: u32, kind: &str) -> Table {
        let (name, kind) = (format!("public.t{number}"), kind.to_owned());
        Table { number, name, kind, has_children: false, has_foreign_keys: false }
    }

    fn shown(alone: &Alone, tables: &[Table]) -> (String, Option<Unseen>) {
        let plan = stages(alone, tables);
        let stages: Vec<String> = plan
            .stages
            .iter()
            .map(|stage| format!("{} {} {:?}", stage.number, stage.hold.name(), stage.stop))
            .collect();
        (stages.join(", "), plan.unseen)
    }

    #[test]
    fn each_kind_is_stopped_where_it_asks_for_its_strongest_locks() {
        let name = || ObjectName { schema: None, name: "t".to_owned() };
        let create = Alone::CreateIndex { index: None, table: name() };
        let reindex = Alone::Reindex { of: Some(name()) };
        let detach = Alone::Detach { parent: name(), partition: name() };
        let vacuum = Alone::Vacuum { tables: vec![name()], skips_locked: false };
        let both = "1 SHARE UPDATE EXCLUSIVE Asks, 1 ROW EXCLUSIVE WaitsForEnd";
        let asks = "1 SHARE UPDATE EXCLUSIVE Asks";
        for (alone, expected) in [
            (&create, asks),
            (&reindex, both),
            (&Alone::DropIndex { index: name() }, both),
            (&vacuum, asks),
        ] {
            assert_eq!(shown(alone, &[table(1, "r")]), (expected.to_owned(), None), "{alone:?}");
            // What is not there, or was made by the run, is of no interest.
            assert_eq!(shown(alone, &[]), (String::new(), None), "{alone:?}");
            let view = shown(alone, &[table(1, "m")]);
            assert_eq!(view, (String::new(), Some(Unseen::Kind)), "{alone:?}");
        }
        let two = [table(1, "p"), table(2, "r")];
        let expected = "1 SHARE UPDATE EXCLUSIVE Asks, 2 ACCESS SHARE Asks".to_owned();
        assert_eq!(shown(&detach, &two), (expected.clone(), None));
        let [parent, partition] = two;
        let refers = Table { has_foreign_keys: true, ..partition };
        assert_eq!(shown(&detach, &[parent, refers]), (expected, Some(Unseen::ForeignKeys)));
        for alone in [&reindex, &vacuum] {
            let many = (String::new(), Some(Unseen::ManyTables));
            assert_eq!(shown(alone, &[table(1, "p")]), many, "{alone:?}");
        }
    }
}
