//! Processes as the kernel shows them. A process is its id together with its start time, so that a
//! reused id is never taken for the one that was meant.

use std::collections::BTreeSet;
use std::io::Error;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};

/// One process, told apart from a later one of the same id by its start time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Process {
    /// The process id.
    pub(crate) pid: i32,
    /// When it started, in clock ticks since the host started.
    pub(crate) start: u64,
}

/// What `/proc/<pid>/stat` says of a process.
#[derive(Debug, Clone, Copy)]
struct Look {
    process: Process,
    parent: i32,
    ended: bool,
}

impl Process {
    /// Returns the process that has this id now, unless it has ended.
    pub(crate) fn find(pid: i32) -> Option<Self> {
        look(pid).filter(|look| !look.ended).map(|look| look.process)
    }

    /// Returns the process that has this id now, even if it only waits to be reaped.
    pub(crate) fn child(pid: i32) -> Option<Self> {
        look(pid).map(|look| look.process)
    }

    /// Returns this process.
    pub(crate) fn own() -> Option<Self> {
        i32::try_from(std::process::id()).ok().and_then(Self::find)
    }

    /// Returns whether the process still runs; one that only waits to be reaped does not.
    pub(crate) fn is_running(self) -> bool {
        Self::find(self.pid) == Some(self)
    }

    /// Opens a handle to exactly this process; `None` when it has ended.
    pub(crate) fn open(self) -> Result<Option<Handle>, Error> {
        let Some(pid) = Pid::from_raw(self.pid) else { return Ok(None) };
        let descriptor = match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(descriptor) => descriptor,
            Err(Errno::SRCH) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        // Looked at after the handle exists: from now on the id cannot pass to another process.
        Ok(self.is_running().then_some(Handle { descriptor }))
    }

    /// Sends a signal to exactly this process; one that has ended is no failure.
    pub(crate) fn signal(self, signal: Signal) -> Result<(), Error> {
        self.open()?.map_or(Ok(()), |handle| handle.signal(signal))
    }
}

/// A process that stays the same one, whatever becomes of its id.
#[derive(Debug)]
pub(crate) struct Handle {
    descriptor: OwnedFd,
}

impl Handle {
    /// Sends a signal; a process that has ended is no failure.
    pub(crate) fn signal(&self, signal: Signal) -> Result<(), Error> {
        match pidfd_send_signal(&self.descriptor, signal) {
            Ok(()) | Err(Errno::SRCH) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Waits until the process has ended; returns whether it has.
    pub(crate) fn wait(&self, patience: Duration) -> bool {
        let end = Instant::now() + patience;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let timeout = Timespec::try_from(left).ok();
            let mut events = [PollFd::new(&self.descriptor, PollFlags::IN)];
            match poll(&mut events, timeout.as_ref()) {
                Ok(0) => return false,
                Ok(_) => return true,
                Err(Errno::INTR) if !left.is_zero() => {}
                Err(_) => return false,
            }
        }
    }
}

/// Returns every running process below one, itself left out.
pub(crate) fn descendants(of: i32) -> Vec<Process> {
    let all = all();
    let mut known = BTreeSet::from([of]);
    let mut waiting = vec![of];
    let mut found = Vec::new();
    while let Some(parent) = waiting.pop() {
        for child in all.iter().filter(|look| look.parent == parent) {
            if known.insert(child.process.pid) {
                waiting.push(child.process.pid);
                if !child.ended {
                    found.push(child.process);
                }
            }
        }
    }
    found
}

/// Returns the running processes whose environment, as they were started, holds all these entries,
/// and how many of the caller's own processes do not show theirs.
pub(crate) fn with_environment(entries: &[String]) -> (Vec<Process>, usize) {
    let mut found = Vec::new();
    let mut hidden = 0;
    for look in all().into_iter().filter(|look| !look.ended) {
        match std::fs::read(format!("/proc/{}/environ", look.process.pid)) {
            Ok(environment) => {
                let has = |entry: &String| {
                    environment.split(|byte| *byte == 0).any(|other| other == entry.as_bytes())
                };
                if entries.iter().all(has) && look.process.is_running() {
                    found.push(look.process);
                }
            }
            Err(_) => hidden += usize::from(is_own(look.process.pid)),
        }
    }
    (found, hidden)
}

/// Returns the id of this run of the host, which a reboot changes.
pub(crate) fn boot_id() -> Result<String, Error> {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
    Ok(text.trim().to_owned())
}

fn is_own(pid: i32) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let owner = std::fs::metadata(format!("/proc/{pid}")).map(|metadata| metadata.uid());
    owner.is_ok_and(|owner| owner == rustix::process::geteuid().as_raw())
}

fn all() -> Vec<Look> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pid = |entry: std::fs::DirEntry| entry.file_name().to_str()?.parse().ok();
    entries.filter_map(pid).filter_map(look).collect()
}

fn look(pid: i32) -> Option<Look> {
    parse_stat(pid, &std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// Reads the line of `stat`; the name in parentheses may hold anything, even parentheses.
fn parse_stat(pid: i32, text: &str) -> Option<Look> {
    let (_, rest) = text.rsplit_once(") ")?;
    let mut fields = rest.split(' ');
    let state = fields.next()?;
    let parent = fields.next()?.parse().ok()?;
    let start = fields.nth(17)?.parse().ok()?;
    let ended = matches!(state, "Z" | "X" | "x");
    Some(Look { process: Process { pid, start }, parent, ended })
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn any_name_of_a_process_is_read_past(name: String) {
            let line = format!("7 ({name}) S 3 7 7 0 -1 0 1 0 0 0 0 0 0 0 20 0 1 0 4711 0 0\n");
            assert_eq!(parse_stat(7, &line).unwrap().process, Process { pid: 7, start: 4711 });
            let _ = parse_stat(7, &name);
        }
    }

    #[test]
    fn a_line_of_stat_is_read_past_any_name() {
        let line = "7 (a) Z 1 (b) S 3 7 7 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 4711 0 0\n";
        let look = parse_stat(7, line).unwrap();
        assert_eq!(
            (look.process, look.parent, look.ended),
            (Process { pid: 7, start: 4711 }, 3, false)
        );
        assert!(parse_stat(7, &line.replace("S 3", "Z 3")).unwrap().ended);
        assert!(parse_stat(7, "7 (a) S 3").is_none() && parse_stat(7, "").is_none());
    }

    #[test]
    fn an_id_with_another_start_time_is_another_process() {
        let own = Process::own().unwrap();
        assert!(own.is_running());
        let recycled = Process { start: own.start + 1, ..own };
        assert!(!recycled.is_running());
        assert!(recycled.open().unwrap().is_none());
        // Were it taken for this process, this test would end here.
        recycled.signal(Signal::KILL).unwrap();
        assert!(own.open().unwrap().is_some());
    }

    #[test]
    fn no_process_has_an_id_that_no_process_can_have() {
        assert_eq!(Process::find(i32::MAX), None);
        let gone = Process { pid: i32::MAX, start: 1 };
        assert!(gone.open().unwrap().is_none());
        assert!(Process { pid: 0, start: 1 }.open().unwrap().is_none());
    }

    #[test]
    fn an_environment_is_compared_by_whole_entries() {
        let own = Process::own().unwrap();
        let text = std::fs::read("/proc/self/environ").unwrap();
        let first = text.split(|byte| *byte == 0).next().unwrap();
        let entry = String::from_utf8(first.to_vec()).unwrap();
        assert!(with_environment(std::slice::from_ref(&entry)).0.contains(&own));
        assert!(!with_environment(&[format!("{entry}x")]).0.contains(&own));
    }
}
