//! One run of a program, with an environment built from nothing.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "helpers of tests, outside of what the lint takes for a test"
)]

use std::io::{Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use guard::diagnostic::Code;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use step_report::exit::ExitStatus;

use super::parent::Parent;
use super::programs;
use super::raw_exec::RawExec;
use super::redact::Redactor;
use super::schema;

/// Part of every password that the tests make up; no output may contain it.
pub(crate) const SECRET: &str = "s3cret";

/// A program with arguments, variables and standard input.
#[derive(Debug, Clone)]
pub(crate) struct Run {
    path: PathBuf,
    args: Vec<String>,
    environment: Vec<(String, String)>,
    /// Further entries, as they are.
    entries: Vec<String>,
    stdin: String,
    parents: Vec<Parent>,
}

impl Run {
    /// Prepares a run of a built program.
    pub(crate) fn new<S: AsRef<str>>(program: &str, args: &[S]) -> Self {
        Self::at(&programs::program(program), args)
    }

    /// Prepares a run of a program somewhere else.
    pub(crate) fn at<S: AsRef<str>>(path: &Path, args: &[S]) -> Self {
        let args = args.iter().map(|arg| arg.as_ref().to_owned()).collect();
        let path = path.to_owned();
        let (environment, entries) = (Vec::new(), Vec::new());
        let (stdin, parents) = (String::new(), Vec::new());
        Self { path, args, environment, entries, stdin, parents }
    }

    /// Adds a variable.
    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Adds entries of the environment as they are: a name may stand twice, a `=` may be missing.
    pub(crate) fn with_entries(mut self, entries: &[&str]) -> Self {
        self.entries.extend(entries.iter().map(|entry| (*entry).to_owned()));
        self
    }

    /// Gives text on standard input.
    pub(crate) fn with_stdin(mut self, text: &str) -> Self {
        text.clone_into(&mut self.stdin);
        self
    }

    /// Has the program started by such a parent.
    pub(crate) fn under(mut self, parent: Parent) -> Self {
        self.parents.push(parent);
        self
    }

    /// Adds arguments at the end.
    pub(crate) fn and(mut self, args: &[&str]) -> Self {
        self.args.extend(args.iter().map(|arg| (*arg).to_owned()));
        self
    }

    /// Lets another program start this one, which its first arguments say.
    pub(crate) fn behind(mut self, program: &Path, front: &[&str]) -> Self {
        let own = std::mem::replace(&mut self.path, program.to_owned());
        let own = own.to_str().unwrap().to_owned();
        let front = front.iter().map(|arg| (*arg).to_owned()).chain([own]);
        self.args.splice(0..0, front);
        self
    }

    /// Chooses the format, in front of everything else.
    pub(crate) fn format(mut self, format: &str) -> Self {
        self.args.splice(0..0, ["--format".to_owned(), format.to_owned()]);
        self
    }

    /// Runs to the end; no output holds a secret.
    #[track_caller]
    pub(crate) fn run(self) -> Outcome {
        let mut stdin = tempfile::tempfile().unwrap();
        stdin.write_all(self.stdin.as_bytes()).unwrap();
        stdin.rewind().unwrap();
        let output = self.command().stdin(stdin).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("output is text");
        self.outcome(text(output.stdout), text(output.stderr), output.status.code())
    }

    /// Runs to the end, again while the lock of a killed predecessor is held.
    ///
    /// The server notices within half a second that a program is gone.
    #[track_caller]
    pub(crate) fn run_once_free(self) -> Outcome {
        let busy = Some(i32::from(ExitStatus::Busy.number()));
        for _ in 0..50 {
            let outcome = self.clone().run();
            if outcome.status != busy {
                return outcome;
            }
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
        panic!("busy for good: {self:?}");
    }

    /// Runs to the end while something happens to it.
    #[track_caller]
    pub(crate) fn run_while(self, meanwhile: impl FnOnce(&mut Running)) -> Outcome {
        let [stdout, stderr] = [(); 2].map(|()| tempfile::NamedTempFile::new().unwrap());
        let streams = [&stdout, &stderr].map(|file| Stdio::from(file.reopen().unwrap()));
        let [out, err] = streams;
        let child = self.command().stdin(Stdio::null()).stdout(out).stderr(err).spawn().unwrap();
        let mut running = Running { child, stdout: stdout.path().to_owned() };
        meanwhile(&mut running);
        let status = running.end();
        let text = |file: &tempfile::NamedTempFile| std::fs::read_to_string(file.path()).unwrap();
        self.outcome(text(&stdout), text(&stderr), status)
    }

    #[track_caller]
    fn outcome(self, stdout: String, stderr: String, status: Option<i32>) -> Outcome {
        let outcome = Outcome { run: self, stdout, stderr, status };
        assert!(!outcome.said().contains(SECRET), "a secret was said:\n{outcome:#?}");
        schema::check_lines(&outcome.said());
        outcome
    }

    /// Starts the program with its standard output on a pipe and leaves it running.
    pub(crate) fn start(self) -> Child {
        self.command().stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap()
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "the one place of the tests that starts programs"
    )]
    fn command(&self) -> Command {
        let mut command = Command::new(&self.path);
        let variables = self.environment.iter().map(|(name, value)| (name, value));
        command.args(&self.args).env_clear().envs(variables).stderr(Stdio::piped());
        self.parents.iter().for_each(|parent| parent.arrange(&mut command));
        if !self.entries.is_empty() {
            let variables = self.environment.iter().map(|(name, value)| format!("{name}={value}"));
            let entries = variables.chain(self.entries.iter().cloned());
            RawExec::new(&self.path, &self.args, entries).arrange(&mut command);
        }
        command
    }

    /// Shows the run as it would be typed.
    fn typed(&self) -> String {
        let quoted = |word: &str| {
            let plain = |b: u8| b.is_ascii_alphanumeric() || b"/._:@=,+-".contains(&b);
            let is_plain = !word.is_empty() && word.bytes().all(plain);
            if is_plain { word.to_owned() } else { format!("'{word}'") }
        };
        let variables =
            self.environment.iter().map(|(name, value)| format!("{name}={}", quoted(value)));
        let name = self.path.file_name().unwrap().to_string_lossy().into_owned();
        let words = variables.chain([name]).chain(self.args.iter().map(|arg| quoted(arg)));
        words.collect::<Vec<_>>().join(" ")
    }
}

/// A program that runs.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
    stdout: PathBuf,
}

impl Running {
    /// Returns the id of the process.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits until the program says a text on standard output; returns whether it did before its end.
    pub(crate) fn says(&mut self, text: &str) -> bool {
        for _ in 0..TRIES {
            let ended = self.child.try_wait().unwrap().is_some();
            if std::fs::read_to_string(&self.stdout).unwrap().contains(text) {
                return true;
            }
            if ended {
                return false;
            }
            std::thread::sleep(LOOK_AGAIN);
        }
        panic!("`{text}` is not said, and the program does not end");
    }

    /// Sends a signal, if the program still runs.
    pub(crate) fn signal(&mut self, signal: Signal) {
        if self.child.try_wait().unwrap().is_none() {
            kill_process(Pid::from_child(&self.child), signal).unwrap();
        }
    }

    fn end(&mut self) -> Option<i32> {
        for _ in 0..TRIES {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            std::thread::sleep(LOOK_AGAIN);
        }
        panic!("the program does not end");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Nothing of a test that failed stays behind.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

const TRIES: u32 = 60_000;
const LOOK_AGAIN: std::time::Duration = std::time::Duration::from_millis(2);

/// Says something past the capture of the test runner.
pub(crate) fn say(text: &str) {
    std::io::stderr().write_all(format!("{text}\n").as_bytes()).unwrap();
}

/// What became of a run.
#[derive(Debug)]
pub(crate) struct Outcome {
    run: Run,
    /// Standard output.
    pub(crate) stdout: String,
    /// Standard error.
    pub(crate) stderr: String,
    /// The exit status, if the program ended by itself.
    pub(crate) status: Option<i32>,
}

/// Takes the codes of hazards out of what was said.
fn without_hazards(said: &str) -> String {
    const CODE: &str = "\"code\":\"SG";
    const HAZARD: &str = "\",\"class\":\"hazard\"";
    let mut parts = said.split(CODE);
    let mut without = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        if !part.get(4..).is_some_and(|rest| rest.starts_with(HAZARD)) {
            without.push_str(CODE);
        }
        without.push_str(part);
    }
    without
}

impl Outcome {
    /// Returns both outputs.
    pub(crate) fn said(&self) -> String {
        format!("{}{}", self.stdout, self.stderr)
    }

    /// Expects a refusal with this code and the status that belongs to it.
    #[track_caller]
    pub(crate) fn refused(&self, code: Code) -> &Self {
        let status = i32::from(ExitStatus::from(code).number());
        assert_ne!(status, 0, "{code} is no refusal");
        assert_eq!(self.status, Some(status), "{code} was expected: {self:#?}");
        assert!(self.said().contains(code.id()), "{code} was expected: {self:#?}");
        self
    }

    /// Expects a refusal by this code in JSON, with every part that a reader relies on.
    #[track_caller]
    pub(crate) fn denied(&self, code: Code) -> Value {
        self.refused(code);
        let verdicts = self.said();
        let verdict = verdicts
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok())
            .find(|object| object["verdict"] == "denied");
        let verdict = verdict.unwrap_or_else(|| panic!("no denial: {self:#?}"));
        assert_eq!(verdict["code"], code.id(), "{verdict}");
        for part in ["message", "found", "expected", "help"] {
            assert!(
                verdict[part].as_str().is_some_and(|text| !text.is_empty()),
                "{part}: {verdict}"
            );
        }
        verdict
    }

    /// Expects success without a single finding, warnings included.
    #[track_caller]
    pub(crate) fn accepted(&self) -> &Self {
        self.accepted_as_said(&self.said())
    }

    /// As [`Outcome::accepted`], of migrations that may hurt production.
    #[track_caller]
    pub(crate) fn accepted_but_for_hazards(&self) -> &Self {
        self.accepted_as_said(&without_hazards(&self.said()))
    }

    #[track_caller]
    fn accepted_as_said(&self, said: &str) -> &Self {
        assert_eq!(self.status, Some(0), "{self:#?}");
        let said = without_identity(said);
        for finding in ["error[", "warning[", "\"denied\"", "\"code\":\"SG"] {
            assert!(!said.contains(finding), "{finding}: {self:#?}");
        }
        self
    }

    /// Expects that a program was started and ended well, whatever was warned of.
    #[track_caller]
    pub(crate) fn started(&self) -> &Self {
        assert_eq!(self.status, Some(0), "{self:#?}");
        assert!(self.stderr.contains("exec.start"), "nothing was started: {self:#?}");
        self
    }

    /// Returns the lines of standard output, each of which must be a JSON object.
    #[track_caller]
    pub(crate) fn objects(&self) -> Vec<Value> {
        let object = |line: &str| -> Value {
            let value: Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("{self:#?}"));
            assert!(value.is_object(), "{line}");
            value
        };
        self.stdout.lines().map(object).collect()
    }

    /// Renders everything that a person sees, without what changes from run to run.
    pub(crate) fn snapshot(&self, redactor: &Redactor) -> String {
        let mut text = format!("$ {}\n", self.run.typed());
        for (title, content) in
            [("stdin", &self.run.stdin), ("stdout", &self.stdout), ("stderr", &self.stderr)]
        {
            if !content.is_empty() {
                let end = if content.ends_with('\n') { "" } else { "\n" };
                text.push_str(&format!("--- {title}\n{content}{end}"));
            }
        }
        let status = self.status.map_or_else(|| "signal".to_owned(), |status| status.to_string());
        redactor.redact(&without_identity(&format!("{text}--- exit {status}\n")))
    }
}

/// Leaves out that the program runs as root: that is the choice of who runs the tests.
fn without_identity(text: &str) -> String {
    let code = Code::NotASlotUser;
    let mut kept = String::new();
    let mut lines = text.split_inclusive('\n');
    while let Some(line) = lines.next() {
        if line.starts_with(&format!("warning[{code}]")) {
            lines.next(); // Its help.
            continue;
        }
        let object = format!("{{\"code\":\"{code}\"");
        match line.split_once(&object).and_then(|(a, rest)| Some((a, rest.split_once('}')?.1))) {
            Some((front, rest)) => {
                let (front, rest) = match front.strip_suffix(',') {
                    Some(front) => (front, rest),
                    None => (front, rest.strip_prefix(',').unwrap_or(rest)),
                };
                kept.push_str(front);
                kept.push_str(rest);
            }
            None => kept.push_str(line),
        }
    }
    kept
}

/// Compares a text with its snapshot in `black_box/snapshots`.
#[track_caller]
pub(crate) fn assert_whole(name: &str, text: &str) {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("../snapshots");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!(name, text));
}

mod tests {
    use super::*;

    fn explain(code: &str) -> Outcome {
        Run::new("slotguard", &["explain", code]).format("json").run()
    }

    #[test]
    #[should_panic(expected = "was expected")]
    fn refused_fails_when_nothing_was_refused() {
        explain("SG9002").refused(Code::Usage);
    }

    #[test]
    #[should_panic(expected = "is no refusal")]
    fn refused_fails_for_a_code_that_only_warns() {
        explain("SG2204").refused(Code::PasswordOnCommandLine);
    }

    #[test]
    #[should_panic(expected = "SG9001 was expected")]
    fn refused_fails_for_another_code() {
        explain("SG0000").refused(Code::Internal);
    }

    #[test]
    #[should_panic(expected = "code")]
    fn accepted_fails_on_any_finding() {
        explain("SG9002").accepted();
    }

    #[test]
    #[should_panic(expected = "a secret was said")]
    fn a_secret_in_an_output_is_seen() {
        let said = format!("{SECRET}-of-slot-1");
        Run::at(Path::new("/bin/echo"), &[said]).run();
    }
}
