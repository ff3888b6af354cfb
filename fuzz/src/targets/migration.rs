//! `migration::screen` and `execution`: any text is answered, places lie within it, and a disguise
//! hides nothing.

use std::collections::BTreeSet;

use guard::migration::{Class, Finding, Screening, execution, screen};

use super::{SECRET, Target};
use crate::engine::Signature;

pub(super) const TARGET: Target = Target {
    name: "migration",
    check,
    #[rustfmt::skip]
    dictionary: &[
        "DROP DATABASE x", "CREATE ROLE x", "pg_read_file(", "SELECT ", "DO $$ BEGIN ", " END $$", "EXECUTE ", "'",
        "''", "E'", "U&'", "U&\"", "UESCAPE '!'", "$$", "$a$", "--", "/*", "*/", "\n", "\r", ";", "(", ")", "[", "]",
        "||", "::regproc", "INTO ", "INTO STRICT x", "BEGIN ATOMIC ", "END", "CASE ", "LANGUAGE sql ", "AS ", "format(",
        "-- slotguard: allow undecidable: because", "set_config('role'", "query_to_xml(", "COPY a FROM stdin;\n",
        "\\.\n", "\\", "..", ":=", "<<a>>", "LOOP", "FOR i IN ", "DECLARE ", "EXCEPTION WHEN ", "RAISE ", "\u{a0}",
        "\u{feff}", "\0", "ä", "hunter2", "CREATE FUNCTION f() RETURNS int ", "RETURN ", "ONLY ", "CONCURRENTLY ",
        "CREATE INDEX CONCURRENTLY i ON a (b);", "-- slotguard: no-transaction\n", "VACUUM ", "SET LOCAL ",
    ],
};

fn check(input: &[u8]) -> Signature {
    let text = String::from_utf8_lossy(input);
    let screening = screen(&text);
    let executions = [false, true].map(|declared| execution(&text, declared));
    let lines: Vec<&str> = text.split('\n').collect();
    let of_executions = executions.iter().flat_map(|execution| &execution.findings);
    let findings: Vec<&Finding> = screening.findings.iter().chain(of_executions).collect();
    for finding in &findings {
        let line = lines.get(finding.line - 1).copied();
        let length = line.map_or(0, |line| line.chars().count());
        assert!((1..=length + 1).contains(&finding.column), "outside of the text: {finding:?}");
    }
    says_no_string(&text, &findings);
    for (number, step) in (1..).zip(&executions[1].steps) {
        assert!(step.piece.number == number && text.contains(step.piece.text), "{step:?}");
    }
    let (shown, hidden) = (escapes(&screening), escapes(&screen(&disguised(&text))));
    assert!(shown.is_subset(&hidden), "hidden by a disguise: {shown:?} {hidden:?}");
    match screening.findings.first() {
        None => format!("accepted {}", screening.exempted.len().min(2)),
        Some(finding) => format!("{} {}", finding.code, screening.findings.len().min(4)),
    }
}

/// The secret stands in strings only, unless a mutation took it for a name.
fn says_no_string(text: &str, findings: &[&Finding]) {
    let quoted = text.matches(SECRET).count() == text.matches("'hunter2'").count();
    let said = || findings.iter().any(|finding| finding.message.contains(SECRET));
    assert!(!quoted || !said(), "a string is repeated");
}

fn escapes(screening: &Screening) -> BTreeSet<&'static str> {
    let escapes = screening.findings.iter().filter(|finding| finding.class == Class::Escape);
    escapes.map(|finding| finding.code.id()).collect()
}

/// Writes the beginning of a text, up to the first quote or comment, in capitals and with a comment
/// and a line break for each blank. The server reads the same.
fn disguised(text: &str) -> String {
    let end = text.find(['\'', '"', '$', '-', '/', '\\']).unwrap_or(text.len());
    let (plain, rest) = text.split_at(end);
    plain.to_ascii_uppercase().replace(' ', " /* ; ' /* */ $$ */\t\n ") + rest
}
