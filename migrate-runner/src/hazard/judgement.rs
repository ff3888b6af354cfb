//! The hazards of a pending set: each text by the rules, then all of them in order.

use guard::diagnostic::{Code, shown};
use guard::migration::{self, Embedded, Runs, Screening};

use super::Hazard;
use super::linter::{Finding, Linted, Mode, lint};
use super::objects::{Deed, Made};

/// What the rules say about a text, before it is known what earlier files made; nothing by default.
#[derive(Debug, Default)]
pub(crate) struct Judged {
    steps: Vec<Step>,
}

/// One statement and what the rules say about it.
#[derive(Debug)]
struct Step {
    /// Where it begins in the file.
    at: usize,
    deed: Deed,
    runs: Runs,
    hazards: Vec<Hazard>,
}

/// How texts are judged.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Judgement {
    server: u32,
}

impl Judgement {
    /// Judges as for a server of this major version.
    pub(crate) fn of_server(server: u32) -> Self {
        Self { server }
    }

    /// Applies the rules to a text that runs in a certain way, its bodies and the texts that it
    /// executes.
    pub(crate) fn judge(
        self,
        text: &str,
        screening: &Screening,
        execution: migration::Mode,
    ) -> Judged {
        let in_transaction = execution == migration::Mode::Transaction;
        let mode = Mode { server: self.server, in_transaction };
        let mut steps = steps(lint(text, mode), None);
        // A body runs in the transaction of whoever runs it.
        let inner = Mode { in_transaction: true, ..mode };
        for embedded in &screening.embedded {
            steps.extend(self::steps(lint(&embedded.text, inner), Some(embedded)));
        }
        steps.sort_by_key(|step| step.at);
        Judged { steps }
    }
}

/// Pairs statements with what the rules say about them, in places of the file.
fn steps(linted: Linted, embedded: Option<&Embedded>) -> Vec<Step> {
    let Linted { deeds, findings } = linted;
    let mut findings = findings.into_iter().peekable();
    let mut step = |deed: Deed| {
        let mut hazards = Vec::new();
        while let Some(finding) = findings.next_if(|next| next.bytes.start < deed.bytes.end) {
            hazards.push(hazard(finding, embedded));
        }
        let at = embedded.map_or(deed.bytes.start, Embedded::start);
        let runs = embedded.map_or(Runs::Now, |embedded| embedded.runs);
        Step { at, deed, runs, hazards }
    };
    deeds.into_iter().map(&mut step).collect()
}

fn hazard(finding: Finding, embedded: Option<&Embedded>) -> Hazard {
    let Finding { code, rule, bytes, message, help } = finding;
    let message =
        format!("{}: {message}{}", code.entry().summary, embedded.map_or_else(String::new, around));
    let bytes = embedded.map_or_else(|| bytes.clone(), |embedded| embedded.in_file(bytes.clone()));
    Hazard { code, rule, bytes, message, help }
}

/// Says what the place in the file does not show.
fn around(embedded: &Embedded) -> String {
    let text = if embedded.is_assembled() {
        format!(" in `{}`", shown(&embedded.text))
    } else {
        String::new()
    };
    match embedded.runs {
        Runs::Now => text,
        Runs::WhenCalled => format!("{text} (when the routine is called)"),
    }
}

/// Returns the hazards of each text of a pending set, in the order of the texts.
pub(crate) fn pending(set: Vec<Judged>) -> Vec<Vec<Hazard>> {
    let mut made = Made::default();
    set.into_iter().map(|judged| left(judged, &mut made)).collect()
}

/// Drops what is said about objects that the set itself has made before.
fn left(judged: Judged, made: &mut Made) -> Vec<Hazard> {
    let mut hazards = Vec::new();
    for step in judged.steps {
        let covered = made.covers(&step.deed);
        let hurts = |hazard: &Hazard| !covered || hazard.code == Code::HazardMeaning;
        hazards.extend(step.hazards.into_iter().filter(hurts));
        if step.runs == Runs::Now {
            made.note(&step.deed);
        }
    }
    hazards.sort_by_key(|hazard| hazard.bytes.start);
    hazards.dedup();
    hazards
}

#[cfg(test)]
mod tests {
    use guard::migration::{execution, screen};

    use super::*;

    /// Returns the rules that speak in each text, separated by blanks.
    fn rules(texts: &[&str]) -> Vec<String> {
        let judge = |text: &&str| {
            Judgement::of_server(15).judge(text, &screen(text), execution(text, false).mode)
        };
        let hazards = pending(texts.iter().map(judge).collect());
        let rules = |hazards: Vec<Hazard>| {
            let rules: Vec<String> = hazards.into_iter().map(|hazard| hazard.rule).collect();
            rules.join(" ")
        };
        hazards.into_iter().map(rules).collect()
    }

    fn place(text: &str) -> &str {
        let hazards = pending(vec![Judgement::of_server(15).judge(
            text,
            &screen(text),
            execution(text, false).mode,
        )]);
        &text[hazards[0][0].bytes.clone()]
    }

    #[test]
    fn an_earlier_file_of_the_set_makes_the_table_new() {
        let index = "CREATE INDEX i ON a (b)";
        let alarm = "require-concurrent-index-creation";
        assert_eq!(rules(&[index]), [alarm]);
        assert_eq!(rules(&["CREATE TABLE a (b bigint)", index]), ["", ""]);
        assert_eq!(rules(&[index, "CREATE TABLE a (b bigint)"]), [alarm, ""]);
        let block = "DO $$ BEGIN EXECUTE 'CREATE TABLE a (b bigint)'; END $$";
        assert_eq!(rules(&[block, index]), ["", ""]);
        let routine =
            "CREATE FUNCTION f() RETURNS void LANGUAGE sql AS 'CREATE TABLE a (b bigint)'";
        assert_eq!(rules(&[routine, index]), ["", alarm]);
    }

    #[test]
    fn places_in_bodies_are_those_of_the_file() {
        let index = "CREATE INDEX i ON a (b)";
        assert_eq!(place(index), index);
        assert_eq!(place(&format!("DO $$ BEGIN\n  {index};\nEND $$")), index);
        assert_eq!(place(&format!("DO $$ BEGIN EXECUTE '{index}'; END $$")), index);
        let into =
            "DO $$ DECLARE x int; BEGIN\nUPDATE t SET n = 1, n = 2 RETURNING n INTO x; END $$";
        assert_eq!(place(into), "n");
    }

    #[test]
    fn the_server_decides_what_is_quick() {
        let text = "ALTER TABLE a ADD COLUMN b int DEFAULT 1";
        let on = |server: u32| {
            let hazards = pending(vec![Judgement::of_server(server).judge(
                text,
                &screen(text),
                execution(text, false).mode,
            )]);
            hazards[0].iter().any(|hazard| hazard.code == Code::HazardRewrite)
        };
        assert!(!on(15));
        assert!(on(10));
    }

    #[test]
    fn what_runs_outside_of_a_transaction_must_be_repeatable() {
        let text = "CREATE INDEX CONCURRENTLY i ON a (b)";
        assert_eq!(rules(&[text]), ["prefer-robust-stmts"]);
        let again = "CREATE INDEX CONCURRENTLY IF NOT EXISTS i ON a (b)";
        assert_eq!(rules(&[again]), [""]);
        assert_eq!(rules(&["DROP TABLE a"]), ["ban-drop-table"]);
    }
}
