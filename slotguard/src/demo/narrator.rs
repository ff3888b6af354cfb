//! What the demo says, to people as a story and to programs as one object a line.

use std::path::Path;
use std::process::Output;

use guard::diagnostic::{Code, Denial};
use serde::Serialize;
use serde_json::Value;
use step_report::console::{Console, Format};
use step_report::exit::ExitStatus;

use super::failure::unexpected;
use super::stage::Stage;
use crate::child;

/// A command as somebody types it.
pub(super) struct Typed {
    program: &'static str,
    args: Vec<String>,
    environment: Vec<(&'static str, String)>,
}

impl Typed {
    pub(super) fn new(program: &'static str, args: &[&str]) -> Self {
        let args = args.iter().map(ToString::to_string).collect();
        Self { program, args, environment: Vec::new() }
    }

    /// Adds a variable to the environment the command runs in.
    pub(super) fn with(mut self, name: &'static str, value: &str) -> Self {
        self.environment.push((name, value.to_owned()));
        self
    }

    fn shown(&self) -> String {
        let args: Vec<&str> = self.args.iter().map(String::as_str).collect();
        let variables = self.environment.iter().map(|(name, value)| format!("{name}={value} "));
        variables.collect::<String>() + &child::typed(Path::new(self.program), &args)
    }

    /// Runs the command with the stage's configuration.
    fn run(&self, stage: &Stage, format: Format) -> std::io::Result<Output> {
        let format = if format == Format::Human { "human" } else { "json" };
        let config = stage.config();
        // Options of ours go in front of `--`, behind which the program's own begin.
        let end = self.args.iter().position(|arg| arg == "--").unwrap_or(self.args.len());
        let (front, back) = self.args.split_at(end);
        let mut args: Vec<&str> = front.iter().map(String::as_str).collect();
        args.extend(["--config", &config, "--format", format]);
        args.extend(back.iter().map(String::as_str));
        let environment = self.environment.iter().map(|(name, value)| (*name, value.as_str()));
        child::command(stage.sibling(self.program), &args).envs(environment).output()
    }
}

/// A command that must be refused, and how.
pub(super) struct Mistake {
    pub(super) title: &'static str,
    pub(super) typed: Typed,
    pub(super) code: Code,
}

#[derive(Serialize)]
struct Step<'a> {
    schema: &'static str,
    act: usize,
    title: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    command: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    exit: Option<i32>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    output: Vec<Value>,
}

/// Tells the demo.
pub(super) struct Narrator<'a> {
    console: &'a Console,
    act: usize,
    proved: usize,
}

impl<'a> Narrator<'a> {
    pub(super) fn new(console: &'a Console) -> Self {
        let narrator = Self { console, act: 0, proved: 0 };
        narrator.line("Slotguard demo: preview environments that cannot hurt production");
        narrator
    }

    fn is_human(&self) -> bool {
        self.console.format() == Format::Human
    }

    fn line(&self, text: &str) {
        if self.is_human() {
            self.console.line(text);
        }
    }

    fn step(&self, title: &str, command: Option<String>, output: Option<&Output>) {
        let lines = output.map(|output| [&output.stdout[..], &output.stderr[..]].concat());
        let lines = lines.unwrap_or_default();
        let lines = String::from_utf8_lossy(&lines);
        let output_lines = lines.lines().filter_map(|line| serde_json::from_str(line).ok());
        self.console.object(&Step {
            schema: "slotguard.demo/1",
            act: self.act,
            title,
            command,
            exit: output.and_then(|output| output.status.code()),
            output: output_lines.collect(),
        });
    }

    /// Begins an act.
    pub(super) fn act(&mut self, title: &str) {
        self.act += 1;
        self.line(&format!("\n{}. {title}", self.act));
        if !self.is_human() {
            self.step(title, None, None);
        }
    }

    /// Says something within an act.
    pub(super) fn say(&self, text: &str) {
        if self.is_human() {
            self.line(&format!("   {text}"));
        } else {
            self.step(text, None, None);
        }
    }

    /// Counts something that was shown to hold.
    pub(super) fn prove(&mut self, text: &str) {
        self.proved += 1;
        tracing::info!("shown: {text}");
    }

    /// Runs a command that must succeed.
    pub(super) fn success(
        &mut self,
        stage: &Stage,
        typed: &Typed,
        in_full: bool,
    ) -> Result<(), Denial> {
        let output = self.run(stage, typed, "")?;
        if self.is_human() {
            let text = String::from_utf8_lossy(&output.stdout);
            let last = text.lines().last().into_iter();
            let lines: Vec<&str> = if in_full { text.lines().collect() } else { last.collect() };
            lines.iter().for_each(|line| self.line(&format!("     {line}")));
        }
        if output.status.success() {
            return Ok(());
        }
        let why = refusal_message(&output);
        Err(unexpected(&format!("`{}` failed", typed.shown()), &why, "exit status 0"))
    }

    /// Runs a command that must be refused with a certain code.
    pub(super) fn refusal(&mut self, stage: &Stage, mistake: &Mistake) -> Result<(), Denial> {
        self.line(&format!("\n   {}:", mistake.title));
        let output = self.run(stage, &mistake.typed, mistake.title)?;
        let said = [&output.stdout[..], &output.stderr[..]].concat();
        let said = String::from_utf8_lossy(&said);
        if self.is_human() {
            said.lines().for_each(|line| self.line(&format!("     {line}")));
        }
        let exit = i32::from(ExitStatus::from(mistake.code).number());
        self.line(&format!("     exit status {}", output.status.code().unwrap_or(-1)));
        if output.status.code() != Some(exit) || !said.contains(mistake.code.id()) {
            let expected = format!("{} and exit status {exit}", mistake.code);
            return Err(unexpected("a refusal did not happen as it must", &said, &expected));
        }
        self.prove(mistake.title);
        Ok(())
    }

    fn run(&self, stage: &Stage, typed: &Typed, title: &str) -> Result<Output, Denial> {
        self.line(&format!("   $ {}", typed.shown()));
        let output = typed.run(stage, self.console.format());
        let output = output.map_err(|error| {
            unexpected(&format!("`{}` cannot run", typed.shown()), &error.to_string(), "a program")
        })?;
        if !self.is_human() {
            self.step(title, Some(typed.shown()), Some(&output));
        }
        Ok(output)
    }

    /// Ends the demo.
    pub(super) fn summary(&self) {
        let proved = self.proved;
        self.line("");
        let text = format!(
            "Demo done: 3 slots migrated, 3 backends answered from their own database, \
             {proved} of {proved} dangers shown to be refused, production untouched."
        );
        if self.is_human() {
            self.line(&text);
        } else {
            self.step(&text, None, None);
        }
    }
}

/// Finds what a program refused with, in the words of its last verdict or on standard error.
fn refusal_message(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stdout);
    let verdict = text.lines().last().and_then(|line| serde_json::from_str::<Value>(line).ok());
    if let Some(message) = verdict.as_ref().and_then(|verdict| verdict["message"].as_str()) {
        return message.to_owned();
    }
    let words = String::from_utf8_lossy(&output.stderr);
    words.lines().find(|line| line.starts_with("error")).unwrap_or("nothing").to_owned()
}
