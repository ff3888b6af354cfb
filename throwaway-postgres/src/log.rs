//! The file that takes what `initdb` and the server say.
//!
//! A file and not a pipe: an unread pipe would block the server after 64 KB. The file is read
//! through the handle that made it, never by path, because its directory belongs to another user.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::process::Stdio;

/// A log open for appending by children and for reading by this process.
#[derive(Debug)]
pub(crate) struct Log {
    file: File,
}

impl Log {
    /// Takes a file that is open for reading and appending.
    pub(crate) fn new(file: File) -> Self {
        Self { file }
    }

    /// Returns a stream for a child to write to.
    pub(crate) fn stream(&self) -> io::Result<Stdio> {
        self.file.try_clone().map(Stdio::from)
    }

    /// Returns the length, to read later from here on.
    pub(crate) fn len(&self) -> u64 {
        self.file.metadata().map_or(0, |metadata| metadata.len())
    }

    /// Returns the last lines written after `start`.
    ///
    /// The text serves an error message, so what cannot be read is left out.
    pub(crate) fn tail(&self, start: u64) -> String {
        let end = self.len();
        let start = start.max(end.saturating_sub(TAIL_BYTES));
        let mut bytes = vec![0; usize::try_from(end.saturating_sub(start)).unwrap_or(0)];
        let read = self.file.read_at(&mut bytes, start).unwrap_or(0);
        bytes.truncate(read);
        last_lines(&String::from_utf8_lossy(&bytes), TAIL_LINES)
    }
}

fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<_> = text.lines().map(str::trim_end).filter(|line| !line.is_empty()).collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

const TAIL_BYTES: u64 = 8 * 1024;
const TAIL_LINES: usize = 20;

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn the_tail_starts_where_it_was_told_to() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"before\n").unwrap();
        let log = Log::new(file.try_clone().unwrap());
        let start = log.len();
        file.write_all(b"after\n\nlast \n").unwrap();
        assert_eq!(log.tail(start), "after\nlast");
        assert_eq!(log.tail(0), "before\nafter\nlast");
    }

    #[test]
    fn a_long_log_is_cut_at_the_front() {
        let text: String = (0..50).map(|n| format!("line {n}\n")).collect();
        let tail = last_lines(&text, TAIL_LINES);
        assert!(tail.starts_with("line 30\n"), "{tail}");
        assert!(tail.ends_with("\nline 49"), "{tail}");
    }
}
