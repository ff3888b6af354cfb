//! What the wrapper says, and where: never on standard output, which is the program's.
//!
//! Events and refusals are JSON lines on standard error or on the descriptor of `--events-fd`; for
//! people they are words on standard error. No value of a variable, no password and no argument is
//! ever part of them.

use std::cell::RefCell;
use std::fs::File;
use std::io::{self, ErrorKind, IsTerminal as _, Write as _};

use guard::diagnostic::{Code, Denial, Warning, shown};
use guard::slot::SlotId;
use rustix::fs::OFlags;
use serde::Serialize;
use step_report::console::{Console, Format, refuse_on_stderr};
use step_report::event::Event;
use step_report::exit::ExitStatus;
use step_report::verdict::Verdict;

use crate::cli::Purpose;
use crate::sandbox::Enforced;
use crate::sys;

const PROGRAM: &str = "runtime-wrapper";

/// Most dropped names that the line for people lists.
const NAMES_FOR_PEOPLE: usize = 8;

/// What is about to be started; the details of the event `exec.start`.
#[derive(Debug, Serialize)]
pub struct Start<'a> {
    /// The key under `[programs]` that allowed the program.
    pub program_key: &'a str,
    /// The absolute path of the program.
    pub program_path: &'a str,
    /// How many arguments it gets; what they say may be secret.
    pub argument_count: usize,
    /// What it is started for.
    pub purpose: Purpose,
    /// The slot's database, unless it gets none.
    #[serde(flatten)]
    pub target: Option<Target<'a>>,
    /// The slot's backend port.
    pub backend_port: u16,
    /// The directory that the program starts in.
    pub working_directory: &'a str,
    /// The names of the variables that arrive, in order.
    pub passed: Vec<&'a str>,
    /// The variables that were left out, in order of names.
    pub dropped: Vec<Dropped<'a>>,
    /// What a person should know.
    pub warnings: &'a [Warning],
    /// What the kernel enforces.
    pub sandbox: Enforced,
    /// The process id, which stays that of the program.
    pub pid: u32,
}

/// The database that a program is told of.
#[derive(Debug, Serialize)]
pub struct Target<'a> {
    /// The canonical `DATABASE_URL` without the password.
    pub canonical: String,
    /// The slot's database.
    pub database: &'a str,
    /// The role that the program logs in as.
    pub user: &'a str,
    /// The host of the database.
    pub host: String,
    /// The port of the database.
    pub port: u16,
}

impl std::fmt::Display for Target<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { database, user, host, port, .. } = self;
        write!(formatter, "{user} on {database} at {host}:{port}")
    }
}

/// A variable that was left out, and why.
#[derive(Debug, Serialize)]
pub struct Dropped<'a> {
    /// Its name.
    pub name: &'a str,
    /// The reason.
    pub reason: &'a str,
}

/// Where events and refusals go.
#[derive(Debug)]
pub struct Reporter {
    format: Format,
    events: Option<RefCell<File>>,
}

impl Reporter {
    /// Reports in the chosen format, or the one that fits standard error.
    #[must_use]
    pub fn new(choice: Option<Format>) -> Self {
        let fitting = if io::stderr().is_terminal() { Format::Human } else { Format::Json };
        Self { format: choice.unwrap_or(fitting), events: None }
    }

    /// Sends events to an inherited descriptor instead of standard error.
    ///
    /// The descriptor is duplicated, so that the program inherits neither.
    ///
    /// # Errors
    /// Refuses a standard stream, a number that is not open, and a descriptor that is read-only.
    pub fn send_events_to(&mut self, number: i32) -> Result<(), Denial> {
        self.events = Some(RefCell::new(open_events(number)?));
        Ok(())
    }

    /// Says what is about to be started.
    ///
    /// # Errors
    /// Refuses when the descriptor of `--events-fd` cannot be written, so that nothing starts
    /// unseen; a reader that has gone away is no failure.
    pub fn start(&self, slot: SlotId, start: &Start<'_>) -> Result<(), Denial> {
        if self.format == Format::Human {
            self.tell_people(slot, start);
        }
        let event = json_line(&Event::now(PROGRAM, slot, "exec.start", start));
        match (&self.events, self.format) {
            (Some(events), _) => write_event(events, &event),
            (None, Format::Json) => {
                say(&event);
                Ok(())
            }
            (None, Format::Human) => Ok(()),
        }
    }

    /// Says a refusal and returns the status that goes with it.
    #[must_use]
    pub fn refuse(&self, slot: Option<SlotId>, denial: &Denial) -> ExitStatus {
        let slot = slot.map(|slot| slot.to_string());
        let verdict = json_line(&Verdict::denied(slot.as_deref(), denial));
        if let Some(events) = &self.events {
            // The refusal is on standard error in any case.
            let _ = write_event(events, &verdict);
        }
        match self.format {
            Format::Human => refuse_on_stderr(denial),
            Format::Json => say(&verdict),
        }
        denial.code().into()
    }

    fn tell_people(&self, slot: SlotId, start: &Start<'_>) {
        say(&summary(slot, start));
        let console = Console::new(Some(self.format));
        for warning in start.warnings {
            console.warn(warning);
        }
    }
}

fn open_events(number: i32) -> Result<File, Denial> {
    let refuse = |found: String| {
        Denial::new(
            Code::Usage,
            "`--events-fd` does not name a descriptor for events",
            found,
            "an open, writable descriptor of 3 or above",
        )
        .help("Open it in the caller, such as `--events-fd 3` with `3>>events.jsonl`.")
    };
    if number < 3 {
        return Err(refuse(format!("descriptor {number}")));
    }
    let wrong = |error: io::Error| refuse(format!("descriptor {number}: {error}"));
    let file = sys::duplicate(number).map_err(wrong)?;
    let flags = rustix::fs::fcntl_getfl(&file).map_err(|error| wrong(error.into()))?;
    if flags.contains(OFlags::PATH) || flags & OFlags::ACCMODE == OFlags::RDONLY {
        return Err(refuse(format!("descriptor {number}: it is read-only")));
    }
    Ok(file)
}

/// One line of JSON; an object of ours that cannot be written is said as such, not lost.
fn json_line(object: &impl Serialize) -> String {
    let line = serde_json::to_string(object);
    let line = line.unwrap_or_else(|error| format!("an object cannot be written: {error}"));
    format!("{line}\n")
}

fn write_event(events: &RefCell<File>, line: &str) -> Result<(), Denial> {
    match events.borrow_mut().write_all(line.as_bytes()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(Denial::new(
            Code::Usage,
            "the descriptor of `--events-fd` cannot be written",
            error.to_string(),
            "a descriptor that takes events",
        )),
        _ => Ok(()),
    }
}

/// Writes to standard error in one piece; nowhere is left to say that it failed.
fn say(text: &str) {
    let _ = io::stderr().lock().write_all(text.as_bytes());
}

/// The start as one line for people.
fn summary(slot: SlotId, start: &Start<'_>) -> String {
    let (key, path) = (shown(start.program_key), shown(start.program_path));
    let as_whom = match &start.target {
        Some(target) => format!("as {target}, port {}", start.backend_port),
        None => "without a database".to_owned(),
    };
    format!(
        "{PROGRAM}: {slot}: starting {key} ({path}) {as_whom}; {} variables passed, {} dropped{}; \
         sandbox: {}\n",
        start.passed.len(),
        start.dropped.len(),
        dropped_names(&start.dropped),
        start.sandbox,
    )
}

fn dropped_names(dropped: &[Dropped<'_>]) -> String {
    if dropped.is_empty() {
        return String::new();
    }
    let mut names: Vec<&str> = dropped.iter().map(|dropped| dropped.name).collect();
    let more = names.len().saturating_sub(NAMES_FOR_PEOPLE);
    names.truncate(NAMES_FOR_PEOPLE);
    let rest = if more == 0 { String::new() } else { format!(" and {more} more") };
    format!(": {}{rest}", names.join(", "))
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd as _;

    use guard::sandbox::{SandboxFeature, Udp, UnixSockets};

    use super::*;

    fn enforced() -> Enforced {
        Enforced {
            enforced: vec![SandboxFeature::Fs, SandboxFeature::Tcp],
            landlock: Some(4),
            filter: true,
            bind_tcp: Some(vec![8101]),
            connect_tcp: Some(vec![5432]),
            unix_sockets: UnixSockets::Deny,
            udp: Udp::Deny,
        }
    }

    fn start<'a>(dropped: &[&'a str]) -> Start<'a> {
        Start {
            program_key: "backend",
            program_path: "/usr/bin/node",
            argument_count: 1,
            purpose: Purpose::Backend,
            target: Some(Target {
                canonical: "postgresql://slot_1@127.0.0.1:5432/app_preview_1".to_owned(),
                database: "app_preview_1",
                user: "slot_1",
                host: "127.0.0.1".to_owned(),
                port: 5432,
            }),
            backend_port: 8101,
            working_directory: "/srv/previews/x",
            passed: vec!["HOME", "PATH"],
            dropped: dropped.iter().map(|name| Dropped { name, reason: "r" }).collect(),
            warnings: &[],
            sandbox: enforced(),
            pid: 1,
        }
    }

    fn line(dropped: &[&str]) -> String {
        summary("preview-1".parse().unwrap(), &start(dropped))
    }

    #[test]
    fn people_get_one_line() {
        assert_eq!(
            line(&["AWS_PROFILE", "PGHOST"]),
            "runtime-wrapper: preview-1: starting backend (/usr/bin/node) as slot_1 on \
             app_preview_1 at 127.0.0.1:5432, port 8101; 2 variables passed, 2 dropped: \
             AWS_PROFILE, PGHOST; sandbox: fs, tcp\n"
        );
        assert!(line(&[]).contains("0 dropped; sandbox"));
    }

    #[test]
    fn a_long_list_is_cut() {
        let names = ["A", "B", "C", "D", "E", "F", "G", "H", "I", "J"];
        let line = line(&names);
        assert!(line.contains("10 dropped: A, B, C, D, E, F, G, H and 2 more;"), "{line}");
    }

    #[test]
    fn an_event_has_the_documented_keys() {
        let slot: SlotId = "preview-1".parse().unwrap();
        let line = json_line(&Event::now(PROGRAM, slot, "exec.start", start(&["PGHOST"])));
        let value: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(value["program"], "runtime-wrapper");
        assert_eq!(value["event"], "exec.start");
        assert_eq!(value["sandbox"]["enforced"], serde_json::json!(["fs", "tcp"]));
        assert_eq!(value["dropped"][0]["name"], "PGHOST");
    }

    #[test]
    fn events_need_an_open_writable_descriptor_above_the_standard_ones() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("events");
        let writable = File::create(&path).unwrap();
        let read_only = File::open(&path).unwrap();
        assert!(open_events(writable.as_raw_fd()).is_ok());
        for number in [-1, 0, 1, 2, 1 << 20, read_only.as_raw_fd()] {
            let denial = open_events(number).unwrap_err();
            assert_eq!(denial.code(), Code::Usage, "{number}");
        }
    }

    #[test]
    fn a_full_device_is_a_refusal_and_a_closed_pipe_is_not() {
        let full = File::options().write(true).open("/dev/full").unwrap();
        assert!(write_event(&RefCell::new(full), "x\n").is_err());
        let (reader, writer) = io::pipe().unwrap();
        drop(reader);
        let writer = File::from(std::os::fd::OwnedFd::from(writer));
        assert!(write_event(&RefCell::new(writer), "x\n").is_ok());
    }
}
