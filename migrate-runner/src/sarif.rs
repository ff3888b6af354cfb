//! Findings as SARIF 2.1.0, the format that code scanners exchange.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use guard::diagnostic::Code;
use serde_json::{Value, json};

use crate::finding::Finding;
use crate::screening::ScreenedFile;

/// Returns the document.
pub(crate) fn document(files: &[ScreenedFile]) -> String {
    let codes: BTreeSet<Code> =
        files.iter().flat_map(|file| &file.findings).map(|finding| finding.code).collect();
    let rules: Vec<Value> = codes.iter().map(|code| rule(*code)).collect();
    let place = |code: Code| codes.iter().position(|other| *other == code);
    let of_file = |file: &ScreenedFile| {
        let result = |finding: &Finding| result(&file.path, finding, place(finding.code));
        file.findings.iter().map(result).collect::<Vec<Value>>()
    };
    let results: Vec<Value> = files.iter().flat_map(of_file).collect();
    let document = json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": {
                "name": "slotguard",
                "semanticVersion": env!("CARGO_PKG_VERSION"),
                "rules": rules,
            } },
            "columnKind": "unicodeCodePoints",
            "results": results,
        }],
    });
    document.to_string()
}

fn rule(code: Code) -> Value {
    let entry = code.entry();
    json!({
        "id": code.id(),
        "name": format!("{code:?}"),
        "shortDescription": { "text": entry.summary },
        "fullDescription": { "text": format!("{} {}", entry.condition, entry.effect) },
        "help": { "text": entry.way_out },
    })
}

fn result(path: &str, finding: &Finding, rule: Option<usize>) -> Value {
    let mut region = json!({ "startLine": finding.line, "startColumn": finding.column });
    if let Some(end) = finding.end {
        region["endLine"] = end.line.into();
        region["endColumn"] = end.column.into();
    }
    let mut result = json!({
        "ruleId": finding.code.id(),
        "ruleIndex": rule,
        "level": if finding.refuses() { "error" } else { "warning" },
        "message": { "text": format!("{}\n{}", finding.message, finding.help) },
        "locations": [{ "physicalLocation": {
            "artifactLocation": { "uri": uri(path) },
            "region": region,
        } }],
    });
    if let Some(name) = &finding.rule {
        result["properties"] = json!({ "tags": [name] });
    }
    result
}

/// Returns a path as a relative reference: what is no plain character of one is escaped.
fn uri(path: &str) -> String {
    let mut out = String::new();
    for byte in path.trim_start_matches("./").bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                out.push(char::from(byte));
            }
            other => {
                let _ = write!(out, "%{other:02X}");
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_becomes_a_reference() {
        assert_eq!(uri("./db/V1__a b#ü.sql"), "db/V1__a%20b%23%C3%BC.sql");
    }
}
