//! The programs that steps are done by: our siblings, with all they say kept.

use std::path::PathBuf;

use guard::diagnostic::{Code, Denial, shown};
use guard::io::LoadedConfig;
use serde_json::Value;

use super::step::Step;
use crate::ask::Said;
use crate::flow::Teller;
use crate::flow::capture::{self, Leash, Ran, Stream};
use crate::{child, sibling};

/// The siblings of this installation, all of our own version.
pub(crate) struct Siblings {
    migrate_runner: PathBuf,
    runtime_wrapper: PathBuf,
    slotguard: PathBuf,
}

/// Which of them does a step.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Program {
    /// Migrations.
    MigrateRunner,
    /// The branch's own code, confined.
    RuntimeWrapper,
    /// The lifecycle of the slot's backend.
    Slotguard,
}

impl Program {
    fn name(self) -> &'static str {
        match self {
            Self::MigrateRunner => "migrate-runner",
            Self::RuntimeWrapper => "runtime-wrapper",
            Self::Slotguard => "slotguard",
        }
    }
}

impl Siblings {
    /// Finds all of them.
    ///
    /// # Errors
    /// Refuses one that is missing or of another version.
    pub(crate) fn find() -> Result<Self, Denial> {
        Ok(Self {
            migrate_runner: sibling::find(Program::MigrateRunner.name())?,
            runtime_wrapper: sibling::find(Program::RuntimeWrapper.name())?,
            slotguard: sibling::find(Program::Slotguard.name())?,
        })
    }

    fn command(
        &self,
        program: Program,
        args: &[&str],
        loaded: &LoadedConfig,
    ) -> std::process::Command {
        let path = match program {
            Program::MigrateRunner => &self.migrate_runner,
            Program::RuntimeWrapper => &self.runtime_wrapper,
            Program::Slotguard => &self.slotguard,
        };
        let mut command = child::command(path, args);
        // The slots may come from our environment alone, which a child does not see.
        command.env("SLOT_IDS_CSV", loaded.config.slots().to_string());
        command
    }

    /// Runs one that answers with JSON objects, and returns the last of them.
    ///
    /// # Errors
    /// Refuses as the program itself does, and an answer that cannot be read.
    pub(crate) fn ask(
        &self,
        program: Program,
        args: &[&str],
        loaded: &LoadedConfig,
        teller: &mut Teller<'_, Step>,
    ) -> Result<Value, Denial> {
        let mut last = None;
        let ran = capture::run(self.command(program, args, loaded), Leash::Step, |stream, line| {
            teller.line(line);
            if stream == Stream::Out {
                last = serde_json::from_str::<Value>(line).ok().or_else(|| last.take());
            }
        });
        let ran = ran.map_err(|error| cannot_start(&error))?;
        let ended = ran.status;
        teller.last_lines(&ran.last_lines);
        match last {
            Some(answer) if answer["verdict"] == "denied" => Err(said(answer)),
            Some(answer) if ended.success() => Ok(answer),
            _ => Err(child_failed(program.name(), ended)),
        }
    }

    /// Runs a program of the branch through the wrapper, confined to the worktree.
    ///
    /// # Errors
    /// Refuses as the wrapper does, and a program that ends with anything but 0.
    pub(crate) fn run_confined(
        &self,
        args: &[&str],
        loaded: &LoadedConfig,
        teller: &mut Teller<'_, Step>,
    ) -> Result<(), Denial> {
        let (mut refusal, mut passed) = (None, None);
        let command = self.command(Program::RuntimeWrapper, args, loaded);
        let ran = capture::run(command, Leash::Step, |stream, line| {
            teller.foreign_line(line);
            // Only the wrapper speaks before the program starts; later objects are the program's.
            if stream == Stream::Err && refusal.is_none() && passed.is_none() {
                let object = serde_json::from_str::<Value>(line).unwrap_or_default();
                if object["event"] == "exec.start" {
                    passed = Some(object["passed"].clone());
                } else if object["verdict"] == "denied" {
                    refusal = Some(object);
                }
            }
        });
        let Ran { status, mut last_lines, .. } = ran.map_err(|error| cannot_start(&error))?;
        last_lines.retain(|line| !line.starts_with("{\"schema\":\"slotguard.event/1\""));
        teller.last_lines(&last_lines);
        if let Some(passed) = passed {
            teller.note("passed", passed);
        }
        match refusal {
            _ if status.success() => Ok(()),
            Some(answer) => Err(said(answer)),
            None => Err(child_failed("a program of the branch", status)),
        }
    }
}

fn said(answer: Value) -> Denial {
    match serde_json::from_value::<Said>(answer) {
        Ok(said) => said.into_denial(),
        Err(error) => Denial::new(
            Code::Internal,
            "the answer of a sibling cannot be read",
            shown(&error.to_string()),
            "a refusal with a code",
        ),
    }
}

fn cannot_start(error: &std::io::Error) -> Denial {
    let message = "a sibling cannot be started";
    Denial::new(Code::SiblingMissing, message, error.to_string(), "a running program")
}

/// Refuses a step whose child ended badly without saying why itself.
fn child_failed(what: &str, status: std::process::ExitStatus) -> Denial {
    Denial::new(Code::PublishStep, format!("{what} failed"), status.to_string(), "exit status 0")
}
