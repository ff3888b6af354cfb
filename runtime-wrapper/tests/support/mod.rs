//! A private place with a configuration, and the built wrapper run in it.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "helpers of tests, outside of what the lint takes for a test"
)]

use std::ffi::{CString, OsStr, OsString};
use std::io::{Read as _, Seek as _, Write as _};
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

use serde_json::Value;

/// The target that most tests give, and the secret in it.
pub(crate) const URL: &str = "postgresql://slot_1:s3cret-pw@127.0.0.1:5432/app_preview_1";

/// Part of every value that must never be said.
pub(crate) const SECRETS: [&str; 2] = ["s3cret", "h1dden"];

/// Held while a file is open for writing and while a child is on its way to `exec`.
///
/// A child that is forked in another thread would otherwise hold the file open for writing, and the
/// kernel runs no file that somebody writes to.
static WRITE_OR_FORK: Mutex<()> = Mutex::new(());

/// A directory with roots, a configuration and a few programs.
pub(crate) struct Bench {
    directory: tempfile::TempDir,
}

impl Bench {
    /// Makes the directory with the usual configuration.
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(directory.path().join("previews/feature")).unwrap();
        std::fs::create_dir(directory.path().join("bin")).unwrap();
        let bench = Self { directory };
        bench.configure("");
        bench
    }

    /// Writes the configuration with further tables at its end.
    pub(crate) fn configure(&self, extra: &str) {
        let at = self.directory.path().display();
        let scripts = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/scripts");
        let sandbox = if extra.contains("[sandbox]") {
            String::new()
        } else {
            format!("[sandbox]\nread = [\"{scripts}\"]\n")
        };
        let text = format!(
            r#"version = 1
[database]
endpoints = ["127.0.0.1:5432"]
[roots]
worktree = "{at}/previews"
state = "{at}/state"
[env]
inherit = ["FEATURE_FLAGS"]
set = {{ NODE_ENV = "preview", PORT = "810{{slot}}" }}
[programs.environment]
path = "/usr/bin/env"
[programs.status]
path = "/bin/cat"
args = ["/proc/self/status"]
[programs.descriptors]
path = "/bin/ls"
args = ["-l", "/proc/self/fd"]
[programs.read-seven]
path = "/bin/sh"
args = ["{scripts}/read-seven.sh"]
[programs.pid]
path = "/bin/sh"
args = ["{scripts}/pid.sh"]
[programs.where]
path = "/bin/sh"
args = ["{scripts}/where.sh"]
[programs.ends]
path = "/bin/sh"
args = ["{scripts}/ends.sh"]
[programs.text]
path = "/bin/sh"
args = ["-c", "id"]
[programs.own]
path = "{at}/bin/own"
args = ["..."]
[programs.docker]
path = "/usr/bin/docker"
args = ["..."]
{sandbox}{extra}"#
        );
        self.write("slotguard.toml", 0o600, &text);
    }

    /// Writes a file with this mode.
    pub(crate) fn write(&self, name: &str, mode: u32, text: &str) {
        let path = self.directory.path().join(name);
        let _alone = WRITE_OR_FORK.lock().unwrap_or_else(PoisonError::into_inner);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    }

    /// Returns the text of a path in the directory.
    pub(crate) fn path(&self, name: &str) -> String {
        self.directory.path().join(name).to_str().unwrap().to_owned()
    }

    /// Prepares `exec` of a program for `preview-1`.
    pub(crate) fn exec(&self, program: &[&str]) -> Run {
        self.exec_with(&["--slot", "preview-1"], program)
    }

    /// Prepares `exec` with other options.
    pub(crate) fn exec_with(&self, options: &[&str], program: &[&str]) -> Run {
        let config = self.path("slotguard.toml");
        let mut words = vec!["exec", "--config", &config];
        words.extend(options);
        words.push("--");
        words.extend(program);
        Run::new(&words)
    }
}

/// One run of the wrapper, with an environment of its own.
pub(crate) struct Run {
    words: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
    descriptors: Vec<(i32, OwnedFd)>,
    ignored: Vec<libc::c_int>,
    blocked: Vec<libc::c_int>,
    umask: libc::mode_t,
    stdin: Vec<u8>,
}

impl Run {
    /// Prepares a run with exactly these words and the usual target.
    pub(crate) fn new(words: &[&str]) -> Self {
        Self {
            words: words.iter().map(OsString::from).collect(),
            environment: vec![("DATABASE_URL".into(), URL.into())],
            descriptors: Vec::new(),
            ignored: Vec::new(),
            blocked: Vec::new(),
            umask: 0o022,
            stdin: Vec::new(),
        }
    }

    /// Adds a word as bytes.
    pub(crate) fn word(mut self, word: &OsStr) -> Self {
        self.words.push(word.to_owned());
        self
    }

    /// Forgets the environment given so far.
    pub(crate) fn without_environment(mut self) -> Self {
        self.environment.clear();
        self
    }

    /// Adds variables, as they are: a name may stand twice.
    pub(crate) fn with(mut self, variables: &[(&str, &str)]) -> Self {
        let variables = variables.iter().map(|(n, v)| (n.into(), v.into()));
        self.environment.extend(variables);
        self
    }

    /// Leaves a descriptor open for the wrapper, without close-on-exec.
    ///
    /// Until then it has a number far above, where it is no other descriptor's target.
    #[expect(unsafe_code, reason = "std duplicates to the lowest number only")]
    pub(crate) fn with_descriptor(mut self, number: i32, file: &std::fs::File) -> Self {
        // SAFETY: the number is that of an open file, and the duplicate is nobody else's.
        let above = unsafe {
            let above = libc::fcntl(file.as_raw_fd(), libc::F_DUPFD_CLOEXEC, 800);
            assert!(above >= 800);
            OwnedFd::from_raw_fd(above)
        };
        self.descriptors.push((number, above));
        self
    }

    /// Has signals ignored and others blocked, as a careless parent would.
    pub(crate) fn with_signals(mut self, ignored: &[libc::c_int], blocked: &[libc::c_int]) -> Self {
        self.ignored = ignored.to_vec();
        self.blocked = blocked.to_vec();
        self
    }

    /// Sets the umask that the wrapper starts with.
    pub(crate) fn with_umask(mut self, umask: libc::mode_t) -> Self {
        self.umask = umask;
        self
    }

    /// Gives text on standard input.
    pub(crate) fn with_stdin(mut self, text: &str) -> Self {
        self.stdin = text.into();
        self
    }

    /// Runs and expects that the program took the wrapper's place.
    #[track_caller]
    pub(crate) fn started(self) -> Outcome {
        let outcome = self.run();
        let said = &outcome.stderr;
        assert!(!said.contains("\"denied\"") && !said.contains("error["), "refused: {said}");
        outcome
    }

    /// Runs and expects a refusal with this status and code, and no word on standard output.
    #[track_caller]
    pub(crate) fn refused(self, status: i32, code: &str) -> Outcome {
        let outcome = self.run();
        assert_eq!(outcome.stdout, "", "{}", outcome.stderr);
        let last = outcome.stderr.lines().last().expect("nothing was refused");
        let verdict: Value = serde_json::from_str(last).expect(last);
        assert_eq!(verdict["verdict"], "denied", "{last}");
        assert_eq!(verdict["code"], code, "{last}");
        assert_eq!(outcome.status, Some(status), "{last}");
        outcome
    }

    /// Runs to the end; what is said by the wrapper never holds a secret.
    #[track_caller]
    pub(crate) fn run(self) -> Outcome {
        let mut stdin = tempfile::tempfile().unwrap();
        stdin.write_all(&self.stdin).unwrap();
        stdin.rewind().unwrap();
        let mut command = self.command();
        command.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped());
        let alone = WRITE_OR_FORK.lock().unwrap_or_else(PoisonError::into_inner);
        let mut child = command.spawn().unwrap();
        drop(alone);
        let pid = child.id();
        let (mut stdout, mut stderr) = (String::new(), String::new());
        let mut pipe = child.stderr.take().unwrap();
        let reader = std::thread::spawn(move || {
            pipe.read_to_string(&mut stderr).unwrap();
            stderr
        });
        let mut pipe = child.stdout.take().unwrap();
        pipe.read_to_string(&mut stdout).unwrap();
        let status = child.wait().unwrap().code();
        let stderr = reader.join().unwrap();
        for secret in SECRETS {
            assert!(!stderr.contains(secret), "a secret was said: {stderr}");
        }
        Outcome { pid, status, stdout, stderr }
    }

    /// The wrapper as a raw `execve` between `fork` and `exec`, since `Command` itself keeps one
    /// value a name.
    #[expect(clippy::disallowed_methods, reason = "tests start the wrapper the way a parent would")]
    #[expect(unsafe_code, reason = "a hostile parent is imitated between fork and exec")]
    fn command(self) -> Command {
        let program = PathBuf::from(env!("CARGO_BIN_EXE_runtime-wrapper"));
        let raw = RawExec::new(&program, &self.words, &self.environment);
        let mut command = Command::new(&program);
        let (descriptors, ignored, blocked) = (self.descriptors, self.ignored, self.blocked);
        let umask = self.umask;
        let imitate = move || {
            // SAFETY: only calls that are allowed after `fork`, on values prepared before it.
            unsafe {
                for (number, file) in &descriptors {
                    libc::dup2(file.as_raw_fd(), *number);
                }
                for signal in &ignored {
                    libc::signal(*signal, libc::SIG_IGN);
                }
                let mut set = std::mem::zeroed();
                libc::sigemptyset(&raw mut set);
                for signal in &blocked {
                    libc::sigaddset(&raw mut set, *signal);
                }
                libc::pthread_sigmask(libc::SIG_SETMASK, &raw const set, std::ptr::null_mut());
                libc::umask(umask);
            }
            Err(raw.execute())
        };
        // SAFETY: as above, the closure allocates nothing and takes no lock.
        unsafe { command.pre_exec(imitate) };
        command
    }
}

/// What became of a run.
pub(crate) struct Outcome {
    /// The process id that was started.
    pub(crate) pid: u32,
    /// The exit status, if it ended by itself.
    pub(crate) status: Option<i32>,
    /// Standard output.
    pub(crate) stdout: String,
    /// Standard error.
    pub(crate) stderr: String,
}

impl Outcome {
    /// Returns the one event on standard error.
    #[track_caller]
    pub(crate) fn event(&self) -> Value {
        event(&self.stderr)
    }
}

/// Reads the one event that a text consists of.
#[track_caller]
pub(crate) fn event(text: &str) -> Value {
    assert_eq!(text.lines().count(), 1, "{text}");
    let event: Value = serde_json::from_str(text).expect(text);
    assert_eq!(event["schema"], "slotguard.event/1");
    assert_eq!(event["event"], "exec.start");
    assert!(event["sandbox"]["enforced"].is_array(), "{event}");
    event
}

/// The arguments of `execve`, prepared before `fork`.
struct RawExec {
    texts: Vec<CString>,
    words: Vec<usize>,
    environment: Vec<usize>,
}

impl RawExec {
    fn new(program: &std::path::Path, words: &[OsString], pairs: &[(OsString, OsString)]) -> Self {
        let text = |text: &OsStr| CString::new(text.as_encoded_bytes()).unwrap();
        let mut texts = vec![text(program.as_os_str())];
        texts.extend(words.iter().map(|word| text(word)));
        let split = texts.len();
        texts.extend(pairs.iter().map(|(name, value)| {
            let mut entry = name.clone();
            entry.push("=");
            entry.push(value);
            text(&entry)
        }));
        // Addresses as numbers, because the closure must be `Send`; the texts move along with them.
        let list = |texts: &[CString]| {
            let addresses = texts.iter().map(|text| text.as_ptr() as usize);
            addresses.chain([0]).collect()
        };
        let (words, environment) = (list(&texts[..split]), list(&texts[split..]));
        Self { texts, words, environment }
    }

    #[expect(unsafe_code, reason = "std offers no exec with a name twice")]
    fn execute(&self) -> std::io::Error {
        // SAFETY: the lists end in null and point into `texts`, which lives as long as they do.
        unsafe {
            libc::execve(
                self.texts[0].as_ptr(),
                self.words.as_ptr().cast(),
                self.environment.as_ptr().cast(),
            );
        }
        std::io::Error::last_os_error()
    }
}
