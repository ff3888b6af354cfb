//! Processes as `/proc` shows them, told apart by start time, so that a reused id is no match.

use std::time::Duration;

const TRIES: u32 = 600;

/// One process that was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Process {
    pub(crate) pid: i32,
    pub(crate) name: String,
    parent: i32,
    started: String,
    ended: bool,
}

impl Process {
    /// Looks at a process.
    pub(crate) fn look(pid: i32) -> Option<Self> {
        let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let (front, rest) = text.rsplit_once(") ")?;
        let name = front.split_once('(')?.1.to_owned();
        let fields: Vec<&str> = rest.split(' ').collect();
        Some(Self {
            pid,
            name,
            parent: fields.get(1)?.parse().ok()?,
            started: (*fields.get(19)?).to_owned(),
            ended: matches!(fields.first(), Some(&"Z" | &"X")),
        })
    }

    /// Returns when it started, in clock ticks since the host did.
    pub(crate) fn start(&self) -> u64 {
        self.started.parse().unwrap_or_default()
    }

    /// Returns whether it still runs.
    pub(crate) fn is_running(&self) -> bool {
        Self::look(self.pid).is_some_and(|now| now.started == self.started && !now.ended)
    }
}

/// Returns every process below this one.
pub(crate) fn descendants(of: i32) -> Vec<Process> {
    let all: Vec<Process> = std::fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(Process::look)
        .collect();
    let mut found: Vec<Process> = Vec::new();
    let mut parents = vec![of];
    while let Some(parent) = parents.pop() {
        let children = all.iter().filter(|process| process.parent == parent);
        parents.extend(children.clone().map(|child| child.pid));
        found.extend(children.cloned());
    }
    found
}

/// Waits until all of them have ended and returns those that do not.
pub(crate) fn wait_for_end(processes: &[Process]) -> Vec<Process> {
    for _ in 0..TRIES {
        if !processes.iter().any(Process::is_running) {
            return Vec::new();
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    processes.iter().filter(|process| process.is_running()).cloned().collect()
}
