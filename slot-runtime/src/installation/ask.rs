//! Asking `migrate-runner` what only a database can answer.
//!
//! Who asks has no SQL client. The question goes to the sibling of our own directory and version;
//! its answer comes back as facts or as the refusal that it would print itself.

use std::io::Write as _;
use std::process::{Command, Output, Stdio};

use guard::diagnostic::{Code, Denial, Warning, shown};
use guard::io::LoadedConfig;
use guard::secret::Secret;
use guard::slot::SlotId;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{child, sibling};

/// What a live server said of a slot's database.
#[derive(Debug, Clone, Deserialize, Serialize)]
pub struct Live {
    /// The server, as `pg_control_system()` says it, where the role may ask.
    pub system_identifier: Option<String>,
    /// The object id of the database.
    pub oid: u32,
    /// Whether the database carries a stamp, which held.
    pub stamped: bool,
    /// What is worth knowing.
    #[serde(skip_serializing)]
    pub warnings: Vec<Said>,
}

/// A refusal, a finding or a warning as another program printed it.
#[derive(Debug, Clone, Deserialize)]
pub struct Said {
    code: String,
    message: String,
    #[serde(default)]
    found: String,
    #[serde(default)]
    expected: String,
    help: String,
}

impl Said {
    /// Returns its code.
    #[must_use]
    pub fn code(&self) -> &str {
        &self.code
    }

    /// Returns it as a refusal of ours.
    #[must_use]
    pub fn into_denial(self) -> Denial {
        let code = Code::parse(&self.code).unwrap_or(Code::Internal);
        Denial::new(code, self.message, self.found, self.expected).help(self.help)
    }

    /// Returns it as a warning of ours.
    #[must_use]
    pub fn into_warning(self) -> Warning {
        Warning::new(Code::parse(&self.code).unwrap_or(Code::Internal), self.message)
    }
}

/// Asks whether a live database is the slot's own; the URL goes by standard input.
///
/// # Errors
/// Refuses as `migrate-runner confirm` does.
pub fn confirm(slot: SlotId, url: Option<&Secret>, loaded: &LoadedConfig) -> Result<Live, Denial> {
    read_confirmation(&ask(confirmation(slot, url.is_some(), loaded)?, url)?)
}

/// Prepares the same question for who waits for the answer in another way. [`read_confirmation`]
/// reads it.
///
/// It is about the target that the configuration alone determines, or about the URL that the caller
/// is going to write to its standard input.
///
/// # Errors
/// Refuses when `migrate-runner` is missing or of another version.
pub fn confirmation(
    slot: SlotId,
    url_on_stdin: bool,
    loaded: &LoadedConfig,
) -> Result<Command, Denial> {
    let slot = slot.to_string();
    let mut args = vec!["confirm", "--slot", &slot];
    if url_on_stdin {
        args.extend(["--database-url-file", "-"]);
    }
    let mut command = question(&args, loaded)?;
    if url_on_stdin {
        command.stdin(Stdio::piped());
    }
    Ok(command)
}

/// Reads the answer to [`confirmation`].
///
/// # Errors
/// Refuses as `migrate-runner confirm` does.
pub fn read_confirmation(output: &Output) -> Result<Live, Denial> {
    let answer = last_object(output)?;
    serde_json::from_value(answer).map_err(|error| misunderstood(&error.to_string()))
}

/// Has a slot's database replaced, if that is due; `to` are the words of `migrate-runner reset --to`.
///
/// # Errors
/// Refuses as `migrate-runner reset` does.
pub fn reset(slot: SlotId, to: &[&str], loaded: &LoadedConfig) -> Result<(), Denial> {
    let slot = slot.to_string();
    let args = [&["reset", "--if-due", "--slot", &slot, "--to"], to].concat();
    last_object(&ask(question(&args, loaded)?, None)?).map(drop)
}

/// Asks how a cluster differs from what provisioning makes.
///
/// # Errors
/// Refuses as `migrate-runner provision --check` does; findings are no refusal.
pub fn provision_check(admin: &[&str], loaded: &LoadedConfig) -> Result<Vec<Denial>, Denial> {
    #[derive(Deserialize)]
    struct Check {
        findings: Vec<Said>,
    }
    let args = [&["provision", "--check"], admin].concat();
    let answer = last_object(&ask(question(&args, loaded)?, None)?)?;
    let check: Check =
        serde_json::from_value(answer).map_err(|error| misunderstood(&error.to_string()))?;
    Ok(check.findings.into_iter().map(Said::into_denial).collect())
}

fn question(args: &[&str], loaded: &LoadedConfig) -> Result<Command, Denial> {
    let program = sibling::find("migrate-runner")?;
    let config = loaded.source.as_ref().map(|path| path.to_string_lossy().into_owned());
    let mut all = vec!["--format", "json"];
    all.extend(args);
    if let Some(config) = &config {
        all.extend(["--config", config]);
    }
    let mut command = child::command(&program, &all);
    // The slots may come from our environment alone, which a child does not see.
    command.env("SLOT_IDS_CSV", loaded.config.slots().to_string());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    Ok(command)
}

fn ask(mut command: Command, stdin: Option<&Secret>) -> Result<Output, Denial> {
    let failed = |error: std::io::Error| {
        let message = "`migrate-runner` cannot be asked";
        Denial::new(Code::SiblingMissing, message, error.to_string(), "an answer")
    };
    let mut running = command.spawn().map_err(failed)?;
    if let (Some(secret), Some(mut pipe)) = (stdin, running.stdin.take()) {
        // A child that ended already says why itself.
        let _ = pipe.write_all(secret.dangerous_expose().as_bytes());
    }
    running.wait_with_output().map_err(failed)
}

/// Returns the last object that was printed, or the refusal that it is.
fn last_object(output: &Output) -> Result<Value, Denial> {
    let text = String::from_utf8_lossy(&output.stdout);
    let last = text.lines().last().and_then(|line| serde_json::from_str::<Value>(line).ok());
    let Some(answer) = last else {
        let words = String::from_utf8_lossy(&output.stderr);
        return Err(misunderstood(words.lines().next().unwrap_or("nothing")));
    };
    if answer["verdict"] != "denied" {
        return Ok(answer);
    }
    match serde_json::from_value::<Said>(answer) {
        Ok(said) => Err(said.into_denial()),
        Err(error) => Err(misunderstood(&error.to_string())),
    }
}

fn misunderstood(found: &str) -> Denial {
    let message = "the answer of `migrate-runner` cannot be read";
    Denial::new(Code::Internal, message, shown(found), "one JSON object")
}
