//! `slotguard artifacts`: what the steps of each slot left behind.

use std::os::fd::AsFd as _;

use guard::config::Config;
use guard::diagnostic::{Code, Denial, shown};
use guard::io::{Directory, FileProblem, Root, environment_snapshot, load_config};
use guard::slot::SlotId;
use serde::Serialize;
use serde_json::Value;
use step_report::artifact::{EVENTS, LIMIT, REPORT};
use step_report::cli::ConfigOption;
use step_report::console::{Console, Format};
use step_report::exit::ExitStatus;

use crate::options::{ArtifactsCommand, ArtifactsList, ArtifactsShow};
use crate::tree;

const LIST_SCHEMA: &str = "slotguard.artifacts/1";
const SHOW_SCHEMA: &str = "slotguard.artifact/1";

/// Where the deploys of production are kept, beside the slots.
pub(crate) const PRODUCTION: &str = "production";

/// What one step left behind.
#[derive(Debug, Serialize)]
struct Artifact {
    /// None for what concerns production.
    slot: Option<SlotId>,
    name: String,
    step: String,
    /// How it ended; none for a step that was killed or still runs.
    outcome: Option<String>,
    path: String,
}

#[derive(Serialize)]
struct List {
    schema: &'static str,
    artifacts: Vec<Artifact>,
}

#[derive(Serialize)]
struct Shown {
    schema: &'static str,
    #[serde(flatten)]
    artifact: Artifact,
    files: Vec<String>,
    report: Value,
}

/// Runs one of the commands.
pub(crate) fn run(console: &Console, command: &ArtifactsCommand) -> ExitStatus {
    let done = match command {
        ArtifactsCommand::List(options) => list(console, options),
        ArtifactsCommand::Show(options) => show(console, options),
    };
    done.map_or_else(|denial| console.refuse(None, &denial), |()| ExitStatus::Done)
}

/// Removes all but the newest artifacts of a slot or of production; what cannot be removed is left.
pub(crate) fn keep_newest(config: &Config, place: &str, count: usize) {
    let shelf = Shelf::open(config).ok();
    let Some(directory) = shelf.and_then(|shelf| shelf.of_place(place)) else { return };
    let mut names = names(&directory);
    names.sort_unstable_by(|a, b| b.cmp(a));
    for name in names.iter().skip(count) {
        let _ = tree::remove(directory.as_fd(), name);
    }
}

/// A slot, or production.
type Place = Option<SlotId>;

fn title(place: Place) -> String {
    place.map_or_else(|| PRODUCTION.to_owned(), |slot| slot.to_string())
}

/// The end of a step, as its artifact tells it.
#[derive(Debug, Serialize)]
pub(crate) struct Past {
    /// When it began, in RFC 3339.
    pub(crate) at: Option<String>,
    /// How it ended; none for a step that was killed or still runs.
    pub(crate) outcome: Option<String>,
    /// The directory of the artifact.
    pub(crate) path: String,
}

/// Returns the newest of a slot's artifacts of one step, where artifacts are kept.
pub(crate) fn newest(config: &Config, slot: SlotId, step: &str) -> Option<Past> {
    let shelf = Shelf::open(config).ok()?;
    let directory = shelf.of_place(&slot.to_string())?;
    let is_step = |name: &String| step_of(name) == step;
    let name = names(&directory).into_iter().filter(is_step).max()?;
    let (artifact, _) = shelf.read(Some(slot), &directory, &name);
    let Artifact { outcome, path, .. } = artifact;
    Some(Past { at: time_of(&name), outcome, path })
}

/// The time and the process stand around the step.
fn step_of(name: &str) -> &str {
    let step = name.split_once('-').and_then(|(_, rest)| rest.rsplit_once('-'));
    step.map_or("", |(step, _)| step)
}

/// Writes the time of a name, `20261125T193000.123Z`, as RFC 3339 does.
fn time_of(name: &str) -> Option<String> {
    let (time, _) = name.split_once('-')?;
    let (date, time) = time.split_once('T')?;
    let part = |text: &str, from: usize, to: usize| text.get(from..to).map(str::to_owned);
    let (year, month, day) = (part(date, 0, 4)?, part(date, 4, 6)?, part(date, 6, 8)?);
    let (hour, minute, rest) = (part(time, 0, 2)?, part(time, 2, 4)?, time.get(4..)?);
    Some(format!("{year}-{month}-{day}T{hour}:{minute}:{rest}"))
}

/// The artifact root, held open.
struct Shelf(Directory, String);

impl Shelf {
    fn open(config: &Config) -> Result<Self, Denial> {
        let root = config.roots.artifact.as_ref().ok_or_else(|| {
            Denial::new(
                Code::PathMissing,
                "no artifacts are kept",
                "no `[roots] artifact`",
                "`[roots] artifact`, the directory that holds all artifacts",
            )
        })?;
        let path = root.as_str().to_owned();
        Root::open(root).map(|root| Self(root.into_directory(), path))
    }

    fn of_place(&self, place: &str) -> Option<Directory> {
        self.0.open_directory(place).ok()
    }

    fn read(&self, place: Place, directory: &Directory, name: &str) -> (Artifact, Value) {
        let report = directory
            .open_directory(name)
            .and_then(|directory| directory.read_text(REPORT, LIMIT))
            .ok()
            .and_then(|text| serde_json::from_str::<Value>(&text).ok())
            .unwrap_or(Value::Null);
        let said = report["outcome"].as_str().or_else(|| report["verdict"].as_str());
        let outcome = said.map(str::to_owned);
        let step = step_of(name).to_owned();
        let path = format!("{}/{}/{name}", self.1, title(place));
        (Artifact { slot: place, name: name.to_owned(), step, outcome, path }, report)
    }
}

fn names(directory: &Directory) -> Vec<String> {
    let names = directory.names().unwrap_or_default().into_iter();
    names.filter_map(|name| String::from_utf8(name).ok()).collect()
}

fn configured(option: &ConfigOption) -> Result<Config, Denial> {
    let environment = environment_snapshot()?;
    Ok(load_config(option.config.as_deref(), &environment)?.config)
}

fn list(console: &Console, options: &ArtifactsList) -> Result<(), Denial> {
    let config = configured(&options.config)?;
    let places: Vec<Place> = match &options.slot {
        Some(slot) => vec![Some(config.slot(slot)?)],
        None if options.production => vec![None],
        None => config.slots().iter().map(Some).chain([None]).collect(),
    };
    let shelf = Shelf::open(&config)?;
    let mut artifacts = Vec::new();
    for place in places {
        let Some(directory) = shelf.of_place(&title(place)) else { continue };
        let mut names = names(&directory);
        names.sort_unstable_by(|a, b| b.cmp(a));
        artifacts.extend(names.iter().map(|name| shelf.read(place, &directory, name).0));
    }
    if console.format() == Format::Json {
        console.object(&List { schema: LIST_SCHEMA, artifacts });
        return Ok(());
    }
    for artifact in &artifacts {
        let Artifact { slot, name, outcome, .. } = artifact;
        let outcome = outcome.as_deref().unwrap_or("no end");
        console.line(&format!("{:<10} {outcome:<12} {}", title(*slot), shown(name)));
    }
    if artifacts.is_empty() {
        console.line("no artifacts");
    }
    Ok(())
}

fn show(console: &Console, options: &ArtifactsShow) -> Result<(), Denial> {
    let config = configured(&options.config)?;
    let place = options.slot.as_deref().map(|slot| config.slot(slot)).transpose()?;
    let shelf = Shelf::open(&config)?;
    let directory = shelf.of_place(&title(place));
    let name = options.name.as_str();
    let found = directory.as_ref().and_then(|directory| {
        let inner = directory.open_directory(name).ok()?;
        Some((directory, inner))
    });
    let Some((directory, inner)) = found.filter(|_| !name.contains('/')) else {
        return Err(Denial::new(
            Code::PathMissing,
            "there is no such artifact",
            format!("`{}` of {}", shown(name), title(place)),
            "a name that `artifacts list` shows",
        ));
    };
    let (artifact, report) = shelf.read(place, directory, name);
    let mut files = names(&inner);
    files.sort_unstable();
    if console.format() == Format::Json {
        console.object(&Shown { schema: SHOW_SCHEMA, artifact, files, report });
        return Ok(());
    }
    console.line(&artifact.path);
    for file in &files {
        console.line(&format!("  {}", shown(file)));
    }
    let events = inner.read_text(EVENTS, LIMIT).map_err(|problem| unreadable(&problem))?;
    events.lines().for_each(|line| console.line(line));
    if !report.is_null() {
        console.line(&serde_json::to_string_pretty(&report).unwrap_or_default());
    }
    Ok(())
}

fn unreadable(problem: &FileProblem) -> Denial {
    Denial::new(
        Code::PathMissing,
        "the artifact cannot be read",
        problem.to_string(),
        "a readable file of events",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_when_and_what() {
        let name = "20261125T193000.123Z-seed-build-42";
        assert_eq!(step_of(name), "seed-build");
        assert_eq!(time_of(name).as_deref(), Some("2026-11-25T19:30:00.123Z"));
        assert_eq!((step_of("odd"), time_of("odd")), ("", None));
    }
}
