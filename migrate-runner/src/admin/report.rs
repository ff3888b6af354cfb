//! What the administrator's commands say: JSON objects for programs, lines for people.

use std::time::Duration;

use guard::diagnostic::Denial;
use guard::provision::SlotRole;
use guard::slot::SlotId;
use serde::Serialize;
use step_report::console::{Console, Format};
use step_report::event::Event;

use super::build::{Built, Source};
use super::copy::{Strategy, megabytes};
use super::plan::Step;

const PROGRAM: &str = "migrate-runner";

/// A plan, and what came of it.
#[derive(Debug, Serialize)]
pub(super) struct Plan<'a> {
    schema: &'static str,
    command: &'static str,
    /// What was found before anything was changed.
    pub(super) found: Vec<String>,
    /// The statements of a superuser.
    pub(super) steps: &'a [Step],
    /// The databases that are missing and will be made.
    pub(super) databases: &'a [String],
    /// Databases that every slot's role may enter and that were not named.
    pub(super) open: Vec<String>,
    /// Lines for pg_hba.conf.
    pub(super) hba: Vec<String>,
    /// Lines for slotguard.toml.
    pub(super) configuration: Vec<String>,
    /// Whether it was done.
    pub(super) outcome: &'static str,
}

impl<'a> Plan<'a> {
    /// Begins the report of a command.
    pub(super) fn new(command: &'static str, steps: &'a [Step]) -> Self {
        Self {
            schema: "slotguard.provision/1",
            command,
            found: Vec::new(),
            steps,
            databases: &[],
            open: Vec::new(),
            hba: Vec::new(),
            configuration: Vec::new(),
            outcome: "planned",
        }
    }

    /// Returns whether there is nothing to do.
    pub(super) fn is_empty(&self) -> bool {
        self.steps.is_empty() && self.databases.is_empty()
    }

    /// Says the plan before it is agreed to; programs get it with its outcome.
    pub(super) fn show(&self, console: &Console) {
        if console.format() == Format::Json {
            return;
        }
        for line in &self.found {
            console.line(line);
        }
        for step in self.steps {
            console.line(&format!("-- {}", step.why));
            console.line(&format!("{};", step.sql));
        }
        for database in self.databases {
            console.line(&format!("-- database `{database}` will be made as `preview_admin`"));
        }
        if self.is_empty() {
            console.line("nothing to do");
        }
    }

    /// Says how it ended.
    pub(super) fn finish(mut self, console: &Console, outcome: &'static str) {
        self.outcome = outcome;
        console.conclude(&self, || self.say_words(console));
    }

    fn say_words(&self, console: &Console) {
        let outcome = self.outcome;
        if outcome == "unchanged" {
            return;
        }
        for database in &self.open {
            console.line(&format!(
                "`{database}` is open to every role; name it with --database to close it to slots"
            ));
        }
        for (title, lines) in
            [("At the top of pg_hba.conf:", &self.hba), ("In slotguard.toml:", &self.configuration)]
        {
            if !lines.is_empty() {
                console.line(title);
            }
            for line in lines {
                console.line(&format!("  {line}"));
            }
        }
        if outcome == "done" {
            let (steps, made) = (self.steps.len(), self.databases.len());
            let count =
                |n: usize, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
            let (steps, made) = (count(steps, "statement"), count(made, "new database"));
            console.line(&format!("{}: done, {steps} and {made}", self.command));
        }
    }
}

#[derive(Serialize)]
struct Check<'a> {
    schema: &'static str,
    findings: &'a [Denial],
}

/// Says every difference between what is and what shall be.
pub(super) fn check(console: &Console, findings: &[Denial]) {
    if console.format() == Format::Json {
        console.object(&Check { schema: "slotguard.provision-check/1", findings });
        return;
    }
    for finding in findings {
        console.line(&format!("{}  {}", finding.code(), finding.message()));
        console.line(&format!("        found:    {}", finding.found()));
        console.line(&format!("        expected: {}", finding.expected()));
    }
    match findings.len() {
        0 => console.line("nothing differs from what provisioning makes"),
        1 => console.line("1 finding"),
        many => console.line(&format!("{many} findings")),
    }
}

#[derive(Serialize)]
struct ResetDetails<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    strategy: Option<Strategy>,
    #[serde(skip_serializing_if = "Option::is_none")]
    duration_ms: Option<u128>,
}

#[derive(Serialize)]
struct LeftOver<'a> {
    database: &'a str,
    found: &'a str,
}

/// Says what a reset is doing.
pub(super) struct Progress<'a> {
    console: &'a Console,
    slot: SlotId,
}

impl<'a> Progress<'a> {
    pub(super) fn new(console: &'a Console, slot: SlotId) -> Self {
        Self { console, slot }
    }

    fn say(&self, event: &str, details: impl Serialize, words: &str) {
        let event = Event::now(PROGRAM, self.slot, event, details);
        self.console.say(&event, || self.console.note(words));
    }

    pub(super) fn copying(&self, source: &str, bytes: u64) {
        let details = ResetDetails {
            source: Some(source),
            bytes: Some(bytes),
            strategy: None,
            duration_ms: None,
        };
        let words = format!("  copying   {source} ({})", megabytes(bytes));
        self.say("reset.copying", details, &words);
    }

    pub(super) fn still_copying(&self, since: Duration) {
        let words = format!("  copying   … {} s", since.as_secs());
        self.say("reset.waiting", timed(None, since), &words);
    }

    pub(super) fn copied(&self, strategy: Strategy, since: Duration) {
        let words = format!("  copied    by {}", strategy.name());
        self.say("reset.copied", timed(Some(strategy), since), &words);
    }

    pub(super) fn exchanged(&self, gap: Duration) {
        let words = format!("  exchanged within {} ms", gap.as_millis());
        self.say("reset.exchanged", timed(None, gap), &words);
    }

    pub(super) fn not_due(&self) {
        self.say("reset.not_due", Nothing {}, "nothing to do: no reset is due");
    }

    pub(super) fn left_over(&self, database: &str, found: &str) {
        let words = format!("  left over {database} ({found}); the next reset drops it");
        self.say("reset.left_over", LeftOver { database, found }, &words);
    }
}

/// No details.
#[derive(Serialize)]
struct Nothing {}

fn timed(strategy: Option<Strategy>, duration: Duration) -> ResetDetails<'static> {
    ResetDetails { source: None, bytes: None, strategy, duration_ms: Some(duration.as_millis()) }
}

#[derive(Serialize)]
struct Reset<'a> {
    schema: &'static str,
    slot: SlotId,
    database: &'a str,
    source: &'a str,
    bytes: u64,
    strategy: Strategy,
    oid: u32,
    gap_ms: u128,
    duration_ms: u128,
}

/// Says how a reset ended.
pub(super) fn reset(
    console: &Console,
    own: &SlotRole,
    source: &Source,
    built: &Built,
    gap: Duration,
    duration: Duration,
) {
    let (database, from) = (&own.database[..], &source.database[..]);
    let reset = Reset {
        schema: "slotguard.reset/1",
        slot: own.slot,
        database,
        source: from,
        bytes: source.size,
        strategy: built.strategy,
        oid: built.stamp.oid,
        gap_ms: gap.as_millis(),
        duration_ms: duration.as_millis(),
    };
    console.conclude(&reset, || {
        console.line(&format!("{}: {database} is fresh, copied from {from}", own.slot));
    });
}

#[derive(Serialize)]
struct Seed<'a> {
    schema: &'static str,
    database: &'a str,
    fingerprint: &'a str,
    outcome: &'static str,
    migrations: usize,
    scripts: usize,
}

/// Says how building the seed ended.
pub(super) fn seed(
    console: &Console,
    database: &str,
    fingerprint: &str,
    outcome: &'static str,
    (migrations, scripts): (usize, usize),
) {
    let schema = "slotguard.seed/1";
    let seed = Seed { schema, database, fingerprint, outcome, migrations, scripts };
    // Enough to tell two seeds apart; the whole is in the stamp and for programs.
    let short: String = fingerprint.chars().take(12).collect();
    let said = match outcome {
        "unchanged" => "built from the same files already".to_owned(),
        _ => format!("built from {migrations} migrations and {scripts} scripts"),
    };
    console.conclude(&seed, || console.line(&format!("{database}: {said} ({short})")));
}
