//! The command: a run that is watched, and its report.

use guard::diagnostic::Denial;
use step_report::console::{Console, Format, refuse_on_stderr};
use step_report::exit::ExitStatus;

use super::record::Migration;
use super::report::Report;
use super::tracer::Trace;
use super::{markdown, words};
use crate::files::{MigrationFile, MigrationSet};
use crate::migrate::{hazards_of, run_pending};
use crate::options::Plan;
use crate::output::Output;
use crate::screening::{ScreenedFile, refusal};

/// The formats that only this command has.
pub(crate) const OUTPUTS: [Output; 1] = [Output::Markdown];

/// Runs what is pending and says what production would feel of it.
///
/// # Errors
/// As `apply`, and with `--deny hazard` afterwards for the first hazard.
pub(crate) async fn run(
    console: &Console,
    options: &Plan,
    output: Option<Output>,
) -> Result<ExitStatus, Denial> {
    let hazards = &options.hazards;
    let (trace, mut files) = (Trace::default(), Vec::new());
    let watched = |set: &MigrationSet| {
        let is_new = |file: &&MigrationFile| !hazards.is_deployed(file.migration.version());
        files = set.files().iter().filter(is_new).cloned().collect();
        trace.watch(files.iter().map(|file| file.file.clone()));
        Some(trace.clone())
    };
    // The report is the data; how far the run is, is for people.
    let ran = run_pending(console, &options.run, "trace", Console::note, watched).await?;
    let traced: Vec<Migration> = trace.take();
    let is_applied =
        |file: &&MigrationFile| ran.outcome.applied.contains(&file.migration.version());
    let pending: Vec<&MigrationFile> = files.iter().filter(is_applied).collect();
    let found: Vec<ScreenedFile> = hazards_of(&pending, hazards, ran.server);
    let applied = (&ran.outcome.applied[..], ran.server);
    let report = Report::new(&ran.place, applied, traced.iter().collect(), &found, &ran.warnings);
    let document = markdown::document(&report);
    console.attach("report.md", &document);
    console.conclude(&report, || match output {
        Some(Output::Markdown) => console.line(document.trim_end()),
        _ => words::say(console, &report),
    });
    let Some(denial) = refusal(&found).filter(|_| hazards.denies()) else {
        return Ok(ExitStatus::Done);
    };
    // The run itself is done and reported; this only says how the program ends.
    if console.format() == Format::Human {
        refuse_on_stderr(&denial);
    }
    Ok(denial.code().into())
}
