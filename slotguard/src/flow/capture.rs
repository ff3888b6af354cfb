//! A child whose words are kept: every line as it comes, and the last ones for whoever must act.

use std::collections::VecDeque;
use std::io::{BufRead as _, BufReader, Read};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};

use crate::interrupt;

/// How many of the last lines are kept.
const LAST_LINES: usize = 20;

/// Longest line that is kept, in bytes; the rest of it is a line of its own.
const LONGEST_LINE: u64 = 16 * 1024;

/// How often a waiting parent looks whether it was asked to stop.
const BETWEEN_LOOKS: Duration = Duration::from_millis(100);

/// How long a child that was asked to end may take.
const GRACE: Duration = Duration::from_secs(5);

/// Which of the two streams a line came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stream {
    /// Data.
    Out,
    /// Words for people and logs.
    Err,
}

/// Who decides when a child has to end.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Leash {
    /// The child comes to its end when somebody asks to stop, and is ended when it is asked again.
    /// What it leaves behind in its process group goes with it.
    Step,
    /// The child is ended when somebody asks to stop, and at this moment. What it leaves behind after
    /// an end of its own stays: it is not ours.
    Until(Instant),
}

/// Why a child was ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cut {
    /// Somebody asked.
    Asked,
    /// Its time was over.
    Late,
}

/// How a child ended.
#[derive(Debug)]
pub(crate) struct Ran {
    /// Its status.
    pub(crate) status: ExitStatus,
    /// The last lines of both streams.
    pub(crate) last_lines: Vec<String>,
    /// Why it was ended, if it did not end by itself.
    pub(crate) cut: Option<Cut>,
}

/// Runs a child to its end and hands on every line that it says.
///
/// The child has a process group of its own, so that a Ctrl-C reaches us alone; when it has to end,
/// the whole group is asked to, and killed if it takes too long.
///
/// # Errors
/// Returns why the child could not be started or waited for.
pub(crate) fn run(
    mut command: Command,
    leash: Leash,
    mut line: impl FnMut(Stream, &str),
) -> std::io::Result<Ran> {
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    let mut child = command.spawn()?;
    let pid = child.id();
    let (sender, lines) = mpsc::channel();
    if let Some(out) = child.stdout.take() {
        read(out, Stream::Out, sender.clone());
    }
    if let Some(err) = child.stderr.take() {
        read(err, Stream::Err, sender);
    }
    let mut last = VecDeque::new();
    let mut held = Held { leash, pid, cut: None };
    let mut looked = Instant::now();
    let mut ended = false;
    loop {
        match lines.recv_timeout(BETWEEN_LOOKS) {
            Ok((stream, text)) => {
                line(stream, &text);
                if last.len() == LAST_LINES {
                    last.pop_front();
                }
                last.push_back(text);
            }
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => {}
        }
        // A child that never pauses is looked at as well.
        if looked.elapsed() >= BETWEEN_LOOKS {
            looked = Instant::now();
            // A grandchild may hold the pipes open for ever; the child's own end is what counts.
            if ended {
                break;
            }
            ended = has_ended(pid);
            if !ended {
                held.end_if_due();
            }
        }
    }
    while !has_ended(pid) {
        held.end_if_due();
        std::thread::sleep(BETWEEN_LOOKS);
    }
    if matches!(leash, Leash::Step) || held.cut.is_some() {
        // What it left behind in its group would outlive the step. Not reaped yet, its number is
        // still the group's and nobody else's.
        end_group(pid, Signal::KILL);
    }
    let status = child.wait()?;
    Ok(Ran { status, last_lines: last.into(), cut: held.cut.map(|(why, _)| why) })
}

/// A child that runs, and what was done to end it.
struct Held {
    leash: Leash,
    pid: u32,
    cut: Option<(Cut, Instant)>,
}

impl Held {
    fn end_if_due(&mut self) {
        if let Some((_, since)) = self.cut {
            if since.elapsed() > GRACE {
                end_group(self.pid, Signal::KILL);
            }
            return;
        }
        let due = match self.leash {
            Leash::Step => interrupt::insisted().then_some(Cut::Asked),
            Leash::Until(_) if interrupt::asked() => Some(Cut::Asked),
            Leash::Until(moment) => (Instant::now() >= moment).then_some(Cut::Late),
        };
        if let Some(why) = due {
            end_group(self.pid, Signal::TERM);
            self.cut = Some((why, Instant::now()));
        }
    }
}

/// Whether the child has ended; it stays unreaped, so that its number stays its own.
fn has_ended(pid: u32) -> bool {
    let how = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    pid.is_none_or(|pid| matches!(waitid(WaitId::Pid(pid), how), Ok(Some(_)) | Err(_)))
}

fn end_group(pid: u32, signal: Signal) {
    if let Some(group) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        // A group that is gone is what was asked for.
        let _ = kill_process_group(group, signal);
    }
}

fn read(stream: impl Read + Send + 'static, name: Stream, lines: Sender<(Stream, String)>) {
    std::thread::spawn(move || {
        let mut reader = BufReader::new(stream);
        loop {
            let mut bytes = Vec::new();
            let read = reader.by_ref().take(LONGEST_LINE).read_until(b'\n', &mut bytes);
            if !matches!(read, Ok(1..)) {
                return;
            }
            let text = String::from_utf8_lossy(&bytes);
            if lines.send((name, text.trim_end_matches(['\r', '\n']).to_owned())).is_err() {
                return;
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> (Ran, Vec<(Stream, String)>) {
        shell_on(Leash::Step, script)
    }

    fn shell_on(leash: Leash, script: &str) -> (Ran, Vec<(Stream, String)>) {
        #[expect(clippy::disallowed_methods, reason = "a test starts a shell of its own")]
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]);
        let mut said = Vec::new();
        let ran = run(command, leash, |stream, line| said.push((stream, line.to_owned()))).unwrap();
        (ran, said)
    }

    #[test]
    fn both_streams_are_handed_on_and_the_last_lines_kept() {
        let (ran, said) = shell("echo out; echo err >&2; seq 30; exit 3");
        assert_eq!(ran.status.code(), Some(3));
        assert!(said.contains(&(Stream::Out, "out".to_owned())));
        assert!(said.contains(&(Stream::Err, "err".to_owned())));
        assert_eq!(ran.last_lines.len(), LAST_LINES);
        assert!(ran.last_lines.contains(&"30".to_owned()), "{ran:?}");
    }

    #[test]
    fn what_a_child_leaves_behind_ends_with_it() {
        let (ran, said) = shell("sleep 1000 & echo $!");
        assert!(ran.status.success());
        let pid = said[0].1.clone();
        let state = || std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // Its new parent reaps it at some time; until then it is a zombie.
        let gone = (0..100).any(|_| {
            std::thread::sleep(Duration::from_millis(20));
            let state = state();
            state.is_empty() || state.contains(") Z ")
        });
        assert!(gone, "{}", state());
    }

    #[test]
    fn a_child_whose_time_is_over_is_ended_however_much_it_says() {
        for script in
            ["sleep 1000", "while :; do echo x; done", "trap '' TERM; sleep 1 & wait; wait"]
        {
            let (ran, _) = shell_on(Leash::Until(Instant::now()), script);
            assert_eq!(ran.cut, Some(Cut::Late), "{script}");
        }
    }

    #[test]
    fn what_is_not_ours_stays_behind_an_end_of_its_own() {
        let late = Instant::now() + Duration::from_secs(600);
        let (ran, said) = shell_on(Leash::Until(late), "sleep 1000 >/dev/null 2>&1 & echo $!");
        assert!(ran.status.success() && ran.cut.is_none());
        let pid = said[0].1.parse().ok().and_then(Pid::from_raw).unwrap();
        rustix::process::kill_process(pid, Signal::KILL).unwrap();
    }

    #[test]
    fn a_line_without_end_is_cut_into_pieces() {
        let (_, said) = shell("head -c 40000 /dev/zero | tr '\\0' x");
        assert_eq!(said.len(), 3);
    }
}
