//! The report for the reviewer of a pull request.

use std::fmt::Write as _;

use super::record::Waits;
use super::report::{Report, Traced};
use super::words;
use crate::finding::Finding;

/// Returns the report as Markdown, as GitHub and others render it.
pub(super) fn document(report: &Report<'_>) -> String {
    let mut out = "## What production would feel\n\n".to_owned();
    let server =
        report.server.map_or_else(String::new, |server| format!("Run on PostgreSQL {server}. "));
    let conclusion = words::conclusion(report);
    let _ = writeln!(out, "{conclusion}. {server}Rows and times are those of the preview.\n");
    if report.migrations.is_empty() {
        return out;
    }
    out.push_str("| migration | waits | hazards |\n|---|---|---|\n");
    for migration in &report.migrations {
        let (waits, hazards) = (waits(migration).join("<br>"), hazards(migration).join("<br>"));
        let _ = writeln!(out, "| {} | {waits} | {hazards} |", code(migration.file));
    }
    for migration in &report.migrations {
        details(&mut out, migration);
    }
    out
}

fn waits(migration: &Traced<'_>) -> Vec<String> {
    let line = |felt: &super::report::Felt| {
        let sign = if felt.waits == Waits::ReadsAndWrites { "**" } else { "" };
        format!("{sign}{}{sign}", words::headline(felt, &code(&felt.relation)))
    };
    match migration.feels.len() {
        0 if migration.is_in_part() => vec![words::nothing(migration).to_owned()],
        0 => vec!["nothing".to_owned()],
        _ => migration.feels.iter().map(line).collect(),
    }
}

fn hazards(migration: &Traced<'_>) -> Vec<String> {
    let line = |finding: &&Finding| {
        let rule = finding.rule.as_deref().unwrap_or_default();
        format!("line {}: {} {}", finding.line, finding.code, code(rule))
    };
    migration.hazards.iter().map(line).collect()
}

fn details(out: &mut String, migration: &Traced<'_>) {
    let _ = write!(out, "\n<details><summary>{}</summary>\n\n", html(migration.file));
    for earlier in migration.earlier {
        let _ = writeln!(out, "- line {}: {}", earlier.line, code(&earlier.summary));
        let _ = writeln!(out, "  - {}", words::EARLIER);
    }
    for statement in migration.statements {
        let (line, summary) = (statement.line, code(&statement.summary));
        let _ = writeln!(out, "- line {line}, {} ms: {summary}", statement.duration_ms);
        for deed in words::deeds(statement) {
            let _ = writeln!(out, "  - {}", code(&deed));
        }
    }
    for finding in &migration.hazards {
        let (message, help) = (html(&finding.message), html(&finding.help));
        let (line, code) = (finding.line, finding.code);
        let _ = writeln!(out, "- line {line}, {code}: {message}\n  - {help}");
    }
    out.push_str("\n</details>\n");
}

/// Returns text as a span of code that ends where it must, also in a cell of a table.
fn code(text: &str) -> String {
    let plain: String =
        text.chars().map(|c| if c.is_control() || c == '`' { '\'' } else { c }).collect();
    format!("`{}`", plain.replace('|', "\\|"))
}

/// Returns text in which nothing is markup; backticks stay, because messages quote with them.
fn html(text: &str) -> String {
    let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_ends_neither_a_span_nor_a_cell() {
        assert_eq!(code("a`|b\n"), "`a'\\|b'`");
        assert_eq!(html("</details> & `a`"), "&lt;/details&gt; &amp; `a`");
    }
}
