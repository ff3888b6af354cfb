//! What this program says: JSON objects for programs, lines for people.

use guard::diagnostic::{Code, Denial, Warning, shown};
use guard::layout::Layout;
use guard::migration::{Exempted, Mode};
use guard::slot::SlotId;
use guard::verify::VerifiedTarget;
use serde::Serialize;
use step_report::console::{Console, Format};
use step_report::event::Event;

use crate::comparison::{Comparison, Entry, Resumption, State};
use crate::files::MigrationFile;
use crate::finding::Finding;
use crate::progress::Progress;
use crate::run::{Adopted, Outcome};
use crate::screening::{self, ScreenedFile};

/// The name of this program in events.
const PROGRAM: &str = "migrate-runner";

/// Where a report is about.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Place {
    pub(crate) slot: SlotId,
    pub(crate) database: String,
    canonical: String,
    layout: Layout,
}

impl Place {
    pub(crate) fn of(target: &VerifiedTarget, layout: Layout) -> Self {
        Self {
            slot: target.slot(),
            database: target.database().to_owned(),
            canonical: target.canonical(),
            layout,
        }
    }
}

#[derive(Serialize)]
struct Standing<'a> {
    schema: &'static str,
    #[serde(flatten)]
    place: &'a Place,
    migrations: Vec<&'a Entry>,
    pending: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    exempted: Option<Vec<Exemption<'a>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hazards: Option<Vec<FileFinding<'a>>>,
    problems: &'a [Denial],
    warnings: &'a [Warning],
}

/// What a reasoned comment in a file exempts from the screening.
#[derive(Serialize)]
struct Exemption<'a> {
    file: &'a str,
    #[serde(flatten)]
    exempted: &'a Exempted,
}

/// A hazard and the file that holds it.
#[derive(Serialize)]
pub(crate) struct FileFinding<'a> {
    pub(crate) file: &'a str,
    #[serde(flatten)]
    pub(crate) finding: &'a Finding,
}

/// What a plan knows of the files beside how they stand.
pub(crate) struct Planned<'a> {
    pub(crate) screened: &'a [ScreenedFile],
    /// The pending ones, with what would hurt production.
    pub(crate) hazards: Vec<ScreenedFile>,
}

/// Returns every finding with its file.
pub(crate) fn by_file(files: &[ScreenedFile]) -> Vec<FileFinding<'_>> {
    let mut all = Vec::new();
    for ScreenedFile { path: file, findings, .. } in files {
        all.extend(findings.iter().map(|finding| FileFinding { file, finding }));
    }
    all
}

fn exemptions(screened: &[ScreenedFile]) -> Vec<Exemption<'_>> {
    let mut exemptions = Vec::new();
    for ScreenedFile { path: file, exempted, .. } in screened {
        exemptions.extend(exempted.iter().map(|exempted| Exemption { file, exempted }));
    }
    exemptions
}

fn say_exemptions(console: &Console, exemptions: &[Exemption<'_>]) {
    for exemption in exemptions {
        console.line(&format!("  {}", screening::exemption(exemption.file, exemption.exempted)));
    }
}

/// Says how the versions stand: all of them, or, for files that were screened, those that would
/// run.
pub(crate) fn standing(
    console: &Console,
    place: &Place,
    comparison: &Comparison,
    planned: Option<&Planned<'_>>,
    warnings: &[Warning],
) {
    let only_pending = planned.is_some();
    let exempted = planned.map(|planned| exemptions(planned.screened));
    let hazards = planned.map(|planned| by_file(&planned.hazards));
    let shown = |entry: &&Entry| !only_pending || entry.state == State::Pending;
    let migrations: Vec<&Entry> = comparison.entries().iter().filter(shown).collect();
    let pending = comparison.in_state(State::Pending).count();
    let problems = comparison.problems();
    if console.format() == Format::Json {
        let schema = if only_pending {
            "slotguard.migration-plan/1"
        } else {
            "slotguard.migration-status/1"
        };
        let problems = &problems[..];
        console.object(&Standing {
            schema,
            place,
            migrations,
            pending,
            exempted,
            hazards,
            problems,
            warnings,
        });
        return;
    }
    console.line(&format!("{} ({})", place.slot, place.canonical));
    if place.layout != Layout::Refinery {
        console.line(&format!("  layout    {}", place.layout));
    }
    for entry in &migrations {
        let state = entry.state.name();
        let since = entry.applied_on.clone().unwrap_or_else(|| manner(entry));
        let line = format!("  {state:<9} {}  {since}", called(place.layout, entry));
        console.line(line.trim_end());
    }
    say_exemptions(console, exempted.as_deref().unwrap_or_default());
    for FileFinding { file, finding } in hazards.iter().flatten() {
        screening::say_finding(console, file, finding);
    }
    match pending {
        0 => console.line("nothing to apply"),
        1 => console.line("1 migration to apply"),
        many => console.line(&format!("{many} migrations to apply")),
    }
}

/// How an entry is called: refinery's names say the version, the others' files do.
fn called(layout: Layout, entry: &Entry) -> String {
    match &entry.file {
        Some(file) if layout != Layout::Refinery => shown(file),
        _ => format!("V{}__{}", entry.version, entry.name),
    }
}

/// How a pending migration runs, where there is something to say about that.
fn manner(entry: &Entry) -> String {
    match (entry.resumes_at, entry.mode) {
        (Some(Resumption { statement, of }), _) if statement > of => {
            "statement by statement; every one has run".to_owned()
        }
        (Some(Resumption { statement, of }), _) => {
            format!("statement by statement; goes on at statement {statement} of {of}")
        }
        (None, Some(Mode::Statements)) => "statement by statement".to_owned(),
        (None, _) => String::new(),
    }
}

#[derive(Serialize)]
struct MigrationDetails<'a> {
    version: i64,
    name: &'a str,
    file: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    duration_ms: Option<u128>,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'static str>,
}

/// Says what is happening, one event for each step of each migration; `says` is how people hear it.
pub(crate) fn progress(
    console: &Console,
    slot: SlotId,
    progress: &Progress<'_>,
    says: fn(&Console, &str),
) {
    let (kind, file, duration, code) = match progress {
        Progress::Waiting { holder } => return waiting(console, slot, holder),
        Progress::Blocked { file, found, pause } => {
            return blocked(console, slot, file, found, *pause);
        }
        Progress::Resumed { file, statement, of } => {
            return resumed(console, slot, file, (*statement, *of), says);
        }
        Progress::IndexDropped { file, index } => {
            return index_dropped(console, slot, file, index, says);
        }
        Progress::Started { file } => ("migration.started", file, None, None),
        Progress::Applied { file, duration } => ("migration.applied", file, Some(duration), None),
        Progress::Failed { file, code } => ("migration.failed", file, None, Some(code.id())),
    };
    let details = MigrationDetails {
        version: file.migration.version(),
        name: file.migration.name(),
        file: &file.file,
        duration_ms: duration.map(std::time::Duration::as_millis),
        code,
    };
    console.say(&Event::now(PROGRAM, slot, kind, details), || match progress {
        Progress::Applied { duration, .. } => {
            says(console, &format!("  applied   {}  ({} ms)", file.file, duration.as_millis()));
        }
        // What a migration committed itself cannot be rolled back any more.
        Progress::Failed { code: Code::MigrationTransaction, .. } => {
            says(console, &format!("  failed    {}  (not recorded)", file.file));
        }
        Progress::Failed { .. } if file.execution().mode == Mode::Statements => {
            says(console, &format!("  failed    {}  (what ran before stays)", file.file));
        }
        Progress::Failed { .. } => {
            says(console, &format!("  failed    {}  (rolled back)", file.file));
        }
        _ => tracing::info!(file = file.file, "applying"),
    });
}

/// Says where a half-applied migration goes on.
fn resumed(
    console: &Console,
    slot: SlotId,
    file: &MigrationFile,
    (statement, of): (usize, usize),
    says: fn(&Console, &str),
) {
    #[derive(Serialize)]
    struct Details<'a> {
        version: i64,
        file: &'a str,
        statement: usize,
        of: usize,
    }
    let details = Details { version: file.migration.version(), file: &file.file, statement, of };
    console.say(&Event::now(PROGRAM, slot, "migration.resumed", details), || {
        says(console, &format!("  resumed   {}  (statement {statement} of {of})", file.file));
    });
}

/// Says that an invalid index is gone.
fn index_dropped(
    console: &Console,
    slot: SlotId,
    file: &MigrationFile,
    index: &str,
    says: fn(&Console, &str),
) {
    #[derive(Serialize)]
    struct Details<'a> {
        version: i64,
        file: &'a str,
        index: &'a str,
    }
    let details = Details { version: file.migration.version(), file: &file.file, index };
    console.say(&Event::now(PROGRAM, slot, "migration.index_dropped", details), || {
        says(console, &format!("  dropped   {index}  (invalid, left by an earlier try)"));
    });
}

/// Says that another run is waited for.
fn waiting(console: &Console, slot: SlotId, holder: &str) {
    #[derive(Serialize)]
    struct Details<'a> {
        holder: &'a str,
    }
    console.say(&Event::now(PROGRAM, slot, "run.waiting", Details { holder }), || {
        console.note(&format!("  waiting   for another run: {holder}"));
    });
}

/// Says who keeps a migration waiting, and when it is tried again.
fn blocked(
    console: &Console,
    slot: SlotId,
    file: &MigrationFile,
    found: &str,
    pause: std::time::Duration,
) {
    #[derive(Serialize)]
    struct Details<'a> {
        version: i64,
        file: &'a str,
        found: &'a str,
        pause_ms: u128,
    }
    let (version, name, pause_ms) = (file.migration.version(), &file.file, pause.as_millis());
    let details = Details { version, file: name, found, pause_ms };
    console.say(&Event::now(PROGRAM, slot, "migration.blocked", details), || {
        console.note(&format!("  blocked   {name}  ({found}); again in {pause_ms} ms"));
    });
}

#[derive(Serialize)]
struct Run<'a> {
    schema: &'static str,
    #[serde(flatten)]
    place: &'a Place,
    outcome: &'static str,
    applied: &'a [i64],
    exempted: &'a [Exemption<'a>],
    warnings: &'a [Warning],
}

/// Says how a run ended.
pub(crate) fn finished(
    console: &Console,
    place: &Place,
    outcome: &Outcome,
    screened: &[ScreenedFile],
    warnings: &[Warning],
) {
    let exempted = &exemptions(screened)[..];
    let applied = &outcome.applied[..];
    let word = if applied.is_empty() { "unchanged" } else { "applied" };
    let schema = "slotguard.migration-run/1";
    let run = Run { schema, place, outcome: word, applied, exempted, warnings };
    console.conclude(&run, || {
        say_exemptions(console, exempted);
        let (slot, database) = (place.slot, &place.database);
        match applied.len() {
            0 => console.line(&format!("{slot}: nothing to apply")),
            1 => console.line(&format!("{slot}: 1 migration applied to {database}")),
            n => console.line(&format!("{slot}: {n} migrations applied to {database}")),
        }
    });
}

#[derive(Serialize)]
struct Adoption<'a> {
    schema: &'static str,
    #[serde(flatten)]
    place: &'a Place,
    outcome: &'static str,
    recorded: &'a [Entry],
    pending: usize,
    warnings: &'a [Warning],
}

/// Says what was recorded as applied, or would be.
pub(crate) fn adopted(
    console: &Console,
    place: &Place,
    adopted: &Adopted,
    outcome: &'static str,
    warnings: &[Warning],
) {
    let Adopted { recorded, pending } = adopted;
    let (count, pending) = (recorded.len(), pending.len());
    let schema = "slotguard.migration-adoption/1";
    let outcome = if count == 0 { "unchanged" } else { outcome };
    let said = Adoption { schema, place, outcome, recorded, pending, warnings };
    console.conclude(&said, || {
        for entry in recorded {
            console.line(&format!("  {outcome:<9} {}", called(place.layout, entry)));
        }
        let what = match outcome {
            "unchanged" => "nothing to record".to_owned(),
            "planned" => format!("{count} would be recorded as applied"),
            _ => format!("{count} recorded as applied"),
        };
        console.line(&format!("{}: {what}, {pending} pending", place.slot));
    });
}
