//! A slot's backend, started through the wrapper and stopped for certain.

use std::fs::File;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use guard::diagnostic::{Code, Denial, shown};
use guard::slot::SlotId;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::failure::unexpected;
use super::interrupt;
use super::stage::Stage;
use crate::{child, http};

const READY_WITHIN: Duration = Duration::from_secs(20);
const STOPPED_WITHIN: Duration = Duration::from_secs(10);
const BETWEEN_LOOKS: Duration = Duration::from_millis(50);

/// What the worker's environment holds and no preview may see.
pub(super) fn planted_secrets() -> [(&'static str, &'static str); 4] {
    [
        ("STRIPE_SECRET_KEY", "demo-secret-key"),
        ("PRODUCTION_DATABASE_URL", "postgresql://app:demo-secret@127.0.0.9:5432/app_production"),
        ("DEPLOY_BACKEND_RELOAD_CMD", "systemctl reload app"),
        ("PGPASSWORD", "demo-secret"),
    ]
}

/// Gets a JSON document; `None` when nothing answers with one and with status 200.
fn get(port: u16, path: &str) -> Option<Value> {
    match http::get(port, path, "application/json").ok()? {
        (200, body) => serde_json::from_slice(&body).ok(),
        _ => None,
    }
}

/// A running backend.
pub(super) struct Backend {
    slot: SlotId,
    child: Child,
    typed: String,
    log: std::path::PathBuf,
}

impl Backend {
    /// Starts the sample's backend for a slot, from an environment full of production's secrets.
    pub(super) fn start(stage: &Stage, slot: SlotId) -> Result<Self, Denial> {
        let wrapper = stage.sibling("runtime-wrapper");
        let (slot_text, config) = (slot.to_string(), stage.config());
        let (worktree, program) = (stage.worktree(slot), stage.backend_program());
        let args = [
            "exec",
            "--slot",
            &slot_text,
            "--config",
            &config,
            "--worktree",
            &worktree,
            "--",
            &program,
        ];
        let log = stage.log(slot);
        let cannot = |error: std::io::Error| {
            let message = format!("the backend of {slot} cannot be started");
            Denial::new(Code::DemoStep, message, error.to_string(), "a running wrapper")
        };
        let stderr = File::create(&log).map_err(cannot)?;
        let child = child::command(wrapper, &args)
            .envs(planted_secrets())
            .stdout(Stdio::null())
            .stderr(stderr)
            .spawn()
            .map_err(cannot)?;
        let shown_args = ["exec", "--slot", &slot_text, "…", "--", "sample-backend"];
        let typed = child::typed(wrapper, &shown_args);
        Ok(Self { slot, child, typed, log })
    }

    pub(super) fn describe_start(&self) -> String {
        let Self { typed, child, .. } = self;
        format!("$ {typed}  (pid {}, the wrapper became the backend)", child.id())
    }

    /// Waits until the backend answers from its database.
    pub(super) fn wait_until_ready(&self) -> Result<Value, Denial> {
        let begun = Instant::now();
        loop {
            interrupt::check()?;
            if let Some(answer) = get(self.slot.backend_port(), "/api/health") {
                return Ok(answer);
            }
            if begun.elapsed() > READY_WITHIN || !self.is_alive() {
                let log = std::fs::read_to_string(&self.log).unwrap_or_default();
                let last = log.lines().last().unwrap_or("nothing in its log");
                let what = format!("the backend of {} does not become ready", self.slot);
                return Err(unexpected(&what, &shown(last), "an answer from /api/health"));
            }
            std::thread::sleep(BETWEEN_LOOKS);
        }
    }

    fn is_alive(&self) -> bool {
        let status = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()));
        // The state stands behind the name in parentheses; Z is a process that has ended.
        status.is_ok_and(|text| !text.rsplit(") ").next().unwrap_or("Z").starts_with('Z'))
    }

    /// Returns the names of the variables that the backend has.
    pub(super) fn environment(&self) -> Result<Vec<String>, Denial> {
        let answer = get(self.slot.backend_port(), "/api/environment");
        let names = answer
            .as_ref()
            .and_then(Value::as_array)
            .map(|names| names.iter().filter_map(Value::as_str).map(ToOwned::to_owned).collect());
        names.ok_or_else(|| {
            unexpected("a backend does not tell its environment", "no answer", "a list of names")
        })
    }

    /// Stops the backend as its process manager would.
    pub(super) fn stop(mut self) -> Result<(), Denial> {
        let status = self.end();
        if status.is_some_and(|status| status.success()) {
            return Ok(());
        }
        let found = status.map_or("it had to be killed".to_owned(), |status| status.to_string());
        let what = format!("the backend of {} did not end well", self.slot);
        Err(unexpected(&what, &found, "exit status 0 after SIGTERM"))
    }

    fn end(&mut self) -> Option<std::process::ExitStatus> {
        if let Ok(Some(status)) = self.child.try_wait() {
            return Some(status);
        }
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw)?;
        let _ = kill_process(pid, Signal::TERM);
        let begun = Instant::now();
        while begun.elapsed() < STOPPED_WITHIN {
            if let Ok(Some(status)) = self.child.try_wait() {
                return Some(status);
            }
            std::thread::sleep(BETWEEN_LOOKS);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        None
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.end();
    }
}
