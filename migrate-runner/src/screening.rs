//! Screens the migrations of a set before anything connects.

use std::path::Path;

use guard::diagnostic::{Denial, shown};
use guard::migration::{Execution, Exempted, Finding, in_transaction, screen};
use serde::Serialize;
use step_report::console::Console;

use crate::files::{MigrationFile, MigrationSet};
use crate::parallel;

/// What the screening found in one file.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct ScreenedFile {
    pub(crate) path: String,
    pub(crate) findings: Vec<Finding>,
    pub(crate) exempted: Vec<Exempted>,
}

impl ScreenedFile {
    /// Screens a text that was read from a path, and that runs in a certain way.
    pub(crate) fn new(path: &Path, text: &str, execution: Execution<'_>) -> Self {
        let screening = screen(text);
        let mut findings = screening.findings;
        findings.extend(execution.findings);
        findings.sort_by_key(|finding| (finding.line, finding.column));
        Self { path: path.to_string_lossy().into_owned(), findings, exempted: screening.exempted }
    }
}

#[derive(Serialize)]
struct Lint<'a> {
    schema: &'static str,
    files: &'a [ScreenedFile],
}

/// Says what was found: one object for programs, lines like a compiler's for people.
pub(crate) fn say(console: &Console, files: &[ScreenedFile]) {
    let lint = Lint { schema: "slotguard.lint/1", files };
    console.say(&lint, || say_words(console, files));
}

fn say_words(console: &Console, files: &[ScreenedFile]) {
    for file in files {
        let path = shown_path(&file.path);
        for finding in &file.findings {
            let Finding { code, line, column, message, help, .. } = finding;
            console.line(&format!("{path}:{line}:{column}: error[{code}]: {message}"));
            console.line(&format!("  help: {help}"));
        }
        file.exempted.iter().for_each(|exempted| console.line(&exemption(&path, exempted)));
    }
}

/// Returns the line for people about an exempted finding.
pub(crate) fn exemption(path: &str, exempted: &Exempted) -> String {
    let Exempted { code, line, column, message, reason } = exempted;
    format!("{path}:{line}:{column}: exempt[{code}]: {message}; reason: {}", shown(reason))
}

/// Control characters in a name would reach the terminal; what else is in it is the caller's own.
fn shown_path(path: &str) -> String {
    path.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

/// Refuses a set with a finding, after every finding was said.
///
/// # Errors
/// Refuses with the code of the first finding.
pub(crate) fn require_clean(
    console: &Console,
    set: &MigrationSet,
) -> Result<Vec<ScreenedFile>, Denial> {
    let screen = |file: &MigrationFile| {
        ScreenedFile::new(Path::new(&file.file), file.text(), file.execution())
    };
    require_no_finding(console, parallel::map(set.files(), screen))
}

/// Refuses texts with a finding, after every finding was said. Each runs in a transaction.
///
/// # Errors
/// Refuses with the code of the first finding.
pub(crate) fn require_clean_texts(
    console: &Console,
    texts: &[(&str, &str)],
) -> Result<Vec<ScreenedFile>, Denial> {
    let screen = |(path, text): &(&str, &str)| {
        ScreenedFile::new(Path::new(path), text, in_transaction(text))
    };
    require_no_finding(console, parallel::map(texts, screen))
}

fn require_no_finding(
    console: &Console,
    screened: Vec<ScreenedFile>,
) -> Result<Vec<ScreenedFile>, Denial> {
    let Some(file) = screened.iter().find(|file| !file.findings.is_empty()) else {
        return Ok(screened);
    };
    say(console, &screened);
    let finding = &file.findings[0];
    let Finding { code, line, column, message, help, .. } = finding;
    let count: usize = screened.iter().map(|file| file.findings.len()).sum();
    let others =
        if count == 1 { String::new() } else { format!(", the first of {count} findings") };
    let found = format!("`{}` line {line}, column {column}{others}", shown(&file.path));
    let expected = "migrations whose effect stays within the slot's own database";
    Err(Denial::new(*code, message, found, expected).help(help))
}
