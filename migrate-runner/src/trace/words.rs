//! The report for people, in lines.

use step_report::console::Console;

use super::record::{Earlier, Statement, Waits};
use super::report::{Felt, Report, Traced};
use crate::screening;

/// What is said of a statement that this run did not do.
pub(super) const EARLIER: &str = "an earlier run did it: not watched";

/// Writes the report.
pub(super) fn say(console: &Console, report: &Report<'_>) {
    for migration in &report.migrations {
        console.line(migration.file);
        headlines(migration).iter().for_each(|line| console.line(&format!("  {line}")));
        for Earlier { line, column, summary, .. } in migration.earlier {
            console.line(&format!("  {line}:{column} {summary}"));
            console.line(&format!("      {EARLIER}"));
        }
        for statement in migration.statements {
            let Statement { line, column, summary, .. } = statement;
            let did = deeds(statement);
            if !did.is_empty() {
                console.line(&format!("  {line}:{column} {summary}"));
                did.iter().for_each(|deed| console.line(&format!("      {deed}")));
            }
        }
        for finding in &migration.hazards {
            screening::say_finding(console, migration.file, finding);
        }
    }
    console.line(&conclusion(report));
}

/// Returns what production would feel of a migration, a line for each relation.
pub(super) fn headlines(migration: &Traced<'_>) -> Vec<String> {
    if migration.feels.is_empty() {
        return vec![nothing(migration).to_owned()];
    }
    migration.feels.iter().map(|felt| headline(felt, &felt.relation)).collect()
}

/// Says that nothing waits, as far as that is known.
pub(super) fn nothing(migration: &Traced<'_>) -> &'static str {
    if migration.is_in_part() { "nothing waits, of what was seen" } else { "nothing waits" }
}

/// Returns what production would feel at a relation, called by `name`.
pub(super) fn headline(felt: &Felt, name: &str) -> String {
    let who = who(felt.waits);
    let rows = felt.meanwhile.touched();
    let until = match (felt.rewritten, rows) {
        (true, _) => "while it is written anew".to_owned(),
        (false, 0) => "for a moment".to_owned(),
        (false, 1) => "while 1 row is worked on".to_owned(),
        (false, rows) => format!("while {rows} rows are worked on"),
    };
    format!("{who} {name} wait {until} ({}, {} ms)", felt.mode.name(), felt.held_ms)
}

fn who(waits: Waits) -> &'static str {
    match waits {
        Waits::Nothing => "nobody at",
        Waits::SchemaChanges => "schema changes and vacuum of",
        Waits::Writes => "writes of",
        Waits::ReadsAndWrites => "reads and writes of",
    }
}

/// Returns what a statement did, a line for each kind of thing.
pub(super) fn deeds(statement: &Statement) -> Vec<String> {
    let mut deeds = Vec::new();
    let mut add = |what: &str, all: Vec<String>| {
        if !all.is_empty() {
            deeds.push(format!("{what} {}", all.join(", ")));
        }
    };
    let locks = statement.locks().iter();
    add(
        "locks",
        locks.map(|lock| format!("{} {}", lock.relation.name, lock.mode.name())).collect(),
    );
    let unseen = statement.unseen.iter();
    add("locks not seen:", unseen.map(|unseen| unseen.words().to_owned()).collect());
    add("rewrites", statement.rewrites.clone());
    let indexes = statement.indexes.iter();
    add("builds", indexes.map(|index| format!("{} on {}", index.index, index.table)).collect());
    add("drops", statement.drops.clone());
    let rows = statement.rows.iter();
    add(
        "rows",
        rows.map(|touched| {
            let (rows, name) = (touched.rows, &touched.relation);
            format!("{name} {} read, {} written", rows.scanned, rows.written)
        })
        .collect(),
    );
    deeds
}

/// Returns the last line of a report.
pub(super) fn conclusion(report: &Report<'_>) -> String {
    let plural = |count: usize, word: &str| match count {
        1 => format!("1 {word}"),
        count => format!("{count} {word}s"),
    };
    let (slot, database) = (report.place.slot, &report.place.database);
    match report.applied.len() {
        0 => format!("{slot}: nothing to apply"),
        applied => {
            let hazards = plural(report.hazards(), "hazard");
            format!("{slot}: {} applied to {database}, {hazards}", plural(applied, "migration"))
        }
    }
}
