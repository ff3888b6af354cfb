//! A backend as a unit of the service manager, through `systemctl` at an absolute path.
//!
//! The name of the unit follows from the slot alone. What is shown is read as `key=value` and
//! believed only for the keys that were asked for.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use guard::diagnostic::{Code, Denial, shown};
use guard::slot::SlotId;

use super::process::Process;
use super::state::{ExitCause, LastExit, Observation, State, Unit};
use super::{children, log};

/// The slot's backend as a unit.
#[derive(Debug)]
pub(crate) struct Systemd {
    pub(crate) slot: SlotId,
    pub(crate) unit: String,
    pub(crate) patience: Duration,
}

const SYSTEMCTL: [&str; 2] = ["/usr/bin/systemctl", "/bin/systemctl"];
const JOURNALCTL: [&str; 2] = ["/usr/bin/journalctl", "/bin/journalctl"];

/// Where the trees of control groups are, new and hybrid.
const CONTROL_GROUPS: [&str; 3] =
    ["/sys/fs/cgroup", "/sys/fs/cgroup/unified", "/sys/fs/cgroup/systemd"];

const PROPERTIES: &str = "LoadState,ActiveState,SubState,Result,ExecMainCode,ExecMainStatus,\
                          ExecMainStartTimestamp,ExecMainExitTimestamp,NRestarts,MainPID,\
                          ControlGroup,TriggeredBy";

/// How long a question may take.
const ANSWER_PATIENCE: Duration = Duration::from_secs(20);

/// Most that is read of an answer, in bytes.
const LONGEST_ANSWER: u64 = 256 * 1024;

impl Systemd {
    /// Asks the manager for the unit.
    pub(crate) fn observe(&self) -> Result<Observation, Denial> {
        let shown = self.show()?;
        if shown.text("LoadState") != "loaded" {
            let found = format!("`{}` is {}", self.unit, shown.text("LoadState"));
            return Err(self.unavailable(found));
        }
        Ok(self.judge(&shown))
    }

    fn judge(&self, shown: &Properties) -> Observation {
        let unit = Unit {
            name: self.unit.clone(),
            active_state: shown.text("ActiveState").to_owned(),
            sub_state: shown.text("SubState").to_owned(),
            result: shown.text("Result").to_owned(),
            exec_main_status: shown.number("ExecMainStatus"),
            restarts: shown.number("NRestarts"),
        };
        let state = state_of(&unit);
        let mut processes = processes_of(shown.text("ControlGroup"));
        // A unit with a socket shares it with the manager, which is process 1.
        let socket_unit =
            shown.text("TriggeredBy").split(' ').any(|name| name.ends_with(".socket"));
        processes.extend(socket_unit.then(|| Process::find(1)).flatten());
        Observation {
            state,
            pid: shown.number("MainPID").filter(|pid| *pid > 0),
            started_at: shown.present("ExecMainStartTimestamp"),
            last_exit: last_exit(state, &unit, shown),
            running_as: None,
            unit: Some(unit),
            keeper: None,
            lost: None,
            processes,
            socket_unit,
        }
    }

    /// Starts the unit, whatever became of an earlier run, and waits for the result of the job.
    pub(crate) fn start(&self) -> Result<(), Denial> {
        self.act("start")
    }

    /// Stops the unit and starts it again in one job, so that a socket of it stays open.
    pub(crate) fn restart(&self) -> Result<(), Denial> {
        self.act("restart")
    }

    /// Stops the unit; returns the processes that are left in its control group.
    pub(crate) fn stop(&self) -> Result<Vec<Process>, Denial> {
        let ended = self.run(&SYSTEMCTL, &["stop", "--", &self.unit], self.patience)?;
        if !ended.status.success() {
            return Err(self.unavailable(ended.words()));
        }
        Ok(processes_of(self.show()?.text("ControlGroup")))
    }

    fn act(&self, verb: &str) -> Result<(), Denial> {
        // A limit of starts that an earlier failure used up would refuse this one; a unit without a
        // failure, or one that is not loaded yet, has nothing to reset.
        self.run(&SYSTEMCTL, &["reset-failed", "--", &self.unit], ANSWER_PATIENCE)?;
        let ended = self.run(&SYSTEMCTL, &[verb, "--", &self.unit], self.patience)?;
        if ended.status.success() {
            return Ok(());
        }
        // What became of the unit says more than the words of the tool.
        let seen = self.observe()?;
        let unit = seen.unit.map(|unit| unit.result).unwrap_or_default();
        Err(Denial::new(
            Code::BackendEnded,
            format!("the unit of {} did not {verb}", self.slot),
            format!("`{}`: result {unit}", self.unit),
            "a unit that is active",
        ))
    }

    /// Returns the last lines of the unit's journal; none where it cannot be read.
    pub(crate) fn last_lines(&self, count: usize) -> Vec<String> {
        let lines = count.to_string();
        let args =
            ["--unit", &self.unit, "--lines", &lines, "--output=cat", "--no-pager", "--quiet"];
        let answer = self.run(&JOURNALCTL, &args, ANSWER_PATIENCE);
        answer.map(|answer| log::clean(&answer.output, count)).unwrap_or_default()
    }

    fn show(&self) -> Result<Properties, Denial> {
        let args = ["show", "--property", PROPERTIES, "--", &self.unit];
        let answer = self.run(&SYSTEMCTL, &args, ANSWER_PATIENCE)?;
        if answer.status.success() {
            Ok(Properties::parse(&answer.output))
        } else {
            Err(self.unavailable(answer.words()))
        }
    }

    fn run(&self, paths: &[&str], args: &[&str], patience: Duration) -> Result<Ended, Denial> {
        let program = paths.iter().map(PathBuf::from).find(|path| path.is_file());
        let program =
            program.ok_or_else(|| self.unavailable(format!("no program `{}`", paths[0])))?;
        run_tool(&program, args, patience).map_err(|error| self.unavailable(error.to_string()))
    }

    fn unavailable(&self, found: String) -> Denial {
        Denial::new(
            Code::ManagerUnavailable,
            format!("the service manager cannot be asked about {}", self.slot),
            found,
            format!("the loaded unit `{}`", self.unit),
        )
    }
}

/// How a tool ended, and what it said.
struct Ended {
    status: ExitStatus,
    output: String,
    errors: String,
}

impl Ended {
    fn words(&self) -> String {
        let first = self.errors.lines().next().unwrap_or("no word");
        format!("`systemctl`: {}", shown(first))
    }
}

/// Runs a tool to its end, for a bounded time.
fn run_tool(program: &Path, args: &[&str], patience: Duration) -> Result<Ended, std::io::Error> {
    let mut child = children::tool(program, args).stdin(Stdio::null()).spawn()?;
    let pipes = (child.stdout.take(), child.stderr.take());
    let pid = i32::try_from(child.id()).unwrap_or_default();
    std::thread::scope(|scope| {
        let output = scope.spawn(|| read(pipes.0));
        let errors = scope.spawn(|| read(pipes.1));
        let handle = Process::find(pid).map(Process::open).transpose()?.flatten();
        let ended = handle.is_none_or(|handle| handle.wait(patience));
        if !ended {
            child.kill()?;
        }
        let status = child.wait()?;
        let text =
            |reader: std::thread::ScopedJoinHandle<'_, String>| reader.join().unwrap_or_default();
        let (output, errors) = (text(output), text(errors));
        if ended {
            Ok(Ended { status, output, errors })
        } else {
            Err(std::io::ErrorKind::TimedOut.into())
        }
    })
}

fn read(pipe: Option<impl std::io::Read>) -> String {
    let mut bytes = Vec::new();
    // What cannot be read is no answer, and is treated as such.
    let _ = pipe.map(|pipe| pipe.take(LONGEST_ANSWER).read_to_end(&mut bytes));
    String::from_utf8_lossy(&bytes).into_owned()
}

fn state_of(unit: &Unit) -> State {
    match (unit.active_state.as_str(), unit.sub_state.as_str()) {
        ("active" | "reloading", _) => State::Running,
        ("activating", "auto-restart") => State::Failed,
        ("activating", _) => State::Running,
        ("deactivating", _) => State::Stopping,
        ("inactive", _) => State::Stopped,
        _ => State::Failed,
    }
}

/// 1 is an exit, 2 and 3 are signals, as `waitid` tells them.
fn last_exit(state: State, unit: &Unit, shown: &Properties) -> Option<LastExit> {
    let code: i32 = shown.number("ExecMainCode").filter(|code| *code > 0)?;
    let status = unit.exec_main_status;
    let cause = if state == State::Stopped { ExitCause::Stopped } else { ExitCause::Ended };
    Some(LastExit {
        at: shown.present("ExecMainExitTimestamp"),
        cause,
        code: status.filter(|_| code == 1),
        signal: status.filter(|_| code != 1),
    })
}

/// Returns every process of a control group and of those below it.
fn processes_of(group: &str) -> Vec<Process> {
    // The root's group is everybody's.
    if group.len() < 2 || !group.starts_with('/') || group.contains("..") {
        return Vec::new();
    }
    let mut found = Vec::new();
    for tree in CONTROL_GROUPS {
        let mut waiting = vec![PathBuf::from(format!("{tree}{group}"))];
        while let Some(directory) = waiting.pop() {
            let list = std::fs::read_to_string(directory.join("cgroup.procs")).unwrap_or_default();
            found.extend(list.lines().filter_map(|pid| Process::find(pid.parse().ok()?)));
            let entries = std::fs::read_dir(&directory).into_iter().flatten().flatten();
            let below = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
            waiting.extend(below.map(|entry| entry.path()));
        }
    }
    found.sort_unstable();
    found.dedup();
    found
}

/// What `systemctl show` printed, one `key=value` a line.
struct Properties(BTreeMap<String, String>);

impl Properties {
    fn parse(text: &str) -> Self {
        let pairs = text.lines().filter_map(|line| line.split_once('='));
        Self(pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect())
    }

    fn text(&self, key: &str) -> &str {
        self.0.get(key).map_or("", String::as_str)
    }

    fn present(&self, key: &str) -> Option<String> {
        Some(self.text(key).to_owned()).filter(|text| !text.is_empty() && text != "n/a")
    }

    fn number<N: std::str::FromStr>(&self, key: &str) -> Option<N> {
        self.text(key).parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn observe(text: &str) -> Observation {
        let unit = "slot-backend@preview-1.service".to_owned();
        let slot = "preview-1".parse().unwrap();
        Systemd { slot, unit, patience: ANSWER_PATIENCE }.judge(&Properties::parse(text))
    }

    #[test]
    fn states_of_units_become_states_of_backends() {
        for (active, sub, state) in [
            ("active", "running", State::Running),
            ("activating", "start", State::Running),
            ("activating", "auto-restart", State::Failed),
            ("deactivating", "stop-sigterm", State::Stopping),
            ("inactive", "dead", State::Stopped),
            ("failed", "failed", State::Failed),
            ("", "", State::Failed),
        ] {
            let seen = observe(&format!("ActiveState={active}\nSubState={sub}\n"));
            assert_eq!(seen.state, state, "{active}");
        }
    }

    #[test]
    fn how_a_unit_ended_is_read_with_its_cause() {
        let seen = observe(
            "ActiveState=failed\nSubState=failed\nResult=exit-code\nExecMainCode=1\nExecMainStatus=77\n\
             NRestarts=0\nMainPID=0\nControlGroup=\nTriggeredBy=\nExecMainExitTimestamp=n/a\n",
        );
        let last = seen.last_exit.unwrap();
        assert_eq!((last.code, last.signal, last.at), (Some(77), None, None));
        assert_eq!((seen.pid, seen.unit.unwrap().restarts), (None, Some(0)));
        let killed = observe("ActiveState=failed\nExecMainCode=2\nExecMainStatus=9\n");
        assert_eq!(killed.last_exit.unwrap().signal, Some(9));
        assert_eq!(observe("ActiveState=active\nExecMainCode=0\n").last_exit, None);
    }

    proptest::proptest! {
        #[test]
        fn anything_that_is_shown_is_read_without_a_panic(text: String) {
            observe(&text);
            observe(&format!("ActiveState={text}\nMainPID={text}\nExecMainCode={text}\n"));
        }
    }

    #[test]
    fn a_socket_unit_is_seen_and_the_root_group_is_nobody_s() {
        assert!(observe("TriggeredBy=slot-backend@preview-1.socket\n").socket_unit);
        assert!(!observe("TriggeredBy=x.timer\n").socket_unit);
        for group in ["", "/", "/..", "x"] {
            assert!(processes_of(group).is_empty(), "{group}");
        }
    }

    #[test]
    fn a_tool_is_bounded_in_time() {
        let ended = run_tool(Path::new("/bin/echo"), &["a=b"], ANSWER_PATIENCE).unwrap();
        assert!(ended.status.success() && ended.output == "a=b\n");
        let slow = run_tool(Path::new("/bin/sleep"), &["600"], Duration::from_millis(50));
        assert_eq!(slow.err().map(|error| error.kind()), Some(std::io::ErrorKind::TimedOut));
    }
}
