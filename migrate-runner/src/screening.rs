//! Screens the migrations of a set before anything connects.

use std::path::Path;

use guard::diagnostic::{Denial, shown};
use guard::migration::{Execution, Exempted, Screening, in_transaction, screen};
use serde::Serialize;
use step_report::console::Console;

use crate::files::{MigrationFile, MigrationSet};
use crate::finding::{self, Finding};
use crate::hazard::Hazard;
use crate::parallel;

/// What was found in one file.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct ScreenedFile {
    pub(crate) path: String,
    pub(crate) findings: Vec<Finding>,
    pub(crate) exempted: Vec<Exempted>,
}

impl ScreenedFile {
    /// Screens a text that was read from a path, and that runs in a certain way.
    pub(crate) fn new(path: &Path, text: &str, execution: &Execution<'_>) -> Self {
        Self::with_hazards(path, text, &screened(text, execution), Vec::new())
    }

    /// Joins what the screening and the rules about hazards found in a text.
    pub(crate) fn with_hazards(
        path: &Path,
        text: &str,
        screening: &Screening,
        hazards: Vec<Hazard>,
    ) -> Self {
        Self {
            path: path.to_string_lossy().into_owned(),
            findings: finding::all(text, screening, hazards),
            exempted: screening.exempted.clone(),
        }
    }
}

/// Screens a text, and adds why it cannot run as it must.
pub(crate) fn screened(text: &str, execution: &Execution<'_>) -> Screening {
    let mut screening = screen(text);
    screening.findings.extend_from_slice(&execution.findings);
    screening
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
        file.findings.iter().for_each(|finding| say_finding(console, &path, finding));
        file.exempted.iter().for_each(|exempted| console.line(&exemption(&path, exempted)));
    }
}

/// Says one finding in words, with its source line underlined.
pub(crate) fn say_finding(console: &Console, path: &str, finding: &Finding) {
    let Finding { code, rule, line, column, message, help, source, .. } = finding;
    let level = if finding.refuses() { "error" } else { "warning" };
    let rule = rule.as_ref().map(|rule| format!(" ({rule})")).unwrap_or_default();
    console.line(&format!("{path}:{line}:{column}: {level}[{code}]: {message}{rule}"));
    if !source.is_empty() {
        let underlined = finding.underlined();
        // A tab stays one, so that the mark stands where the eye looks for it.
        let indent = |c: char| if c == '\t' { '\t' } else { ' ' };
        let indent: String = source.chars().take(underlined.start).map(indent).collect();
        console.line(&format!("{line:>5} | {source}"));
        console.line(&format!("      | {indent}{}", "^".repeat(underlined.len())));
    }
    console.line(&format!("  help: {help}"));
}

/// Returns the line for people about an exempted finding.
pub(crate) fn exemption(path: &str, exempted: &Exempted) -> String {
    let Exempted { code, line, column, message, reason } = exempted;
    format!("{path}:{line}:{column}: exempt[{code}]: {message}; reason: {}", shown(reason))
}

/// Control characters in a name would reach the terminal; what else is in it is the caller's own.
pub(crate) fn shown_path(path: &str) -> String {
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
        ScreenedFile::new(Path::new(&file.file), file.text(), &file.execution())
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
        ScreenedFile::new(Path::new(path), text, &in_transaction(text))
    };
    require_no_finding(console, parallel::map(texts, screen))
}

fn require_no_finding(
    console: &Console,
    screened: Vec<ScreenedFile>,
) -> Result<Vec<ScreenedFile>, Denial> {
    let expected = "migrations whose effect stays within the slot's own database";
    match first_of(&screened, expected) {
        None => Ok(screened),
        Some(denial) => {
            say(console, &screened);
            Err(denial)
        }
    }
}

/// Returns the refusal for the first hazard of files; none without one.
pub(crate) fn refusal(files: &[ScreenedFile]) -> Option<Denial> {
    first_of(files, "migrations that do not hurt production")
}

/// Refuses for the first finding, saying how many there are in all.
fn first_of(files: &[ScreenedFile], expected: &str) -> Option<Denial> {
    let file = files.iter().find(|file| !file.findings.is_empty())?;
    let Finding { code, line, column, message, help, .. } = &file.findings[0];
    let count: usize = files.iter().map(|file| file.findings.len()).sum();
    let others =
        if count == 1 { String::new() } else { format!(", the first of {count} findings") };
    let found = format!("`{}` line {line}, column {column}{others}", shown(&file.path));
    Some(Denial::new(*code, message, found, expected).help(help))
}
