//! A backend's log: written by its keeper, bounded by rotation, and its last lines for people.

use std::fs::File;
use std::io::{Error, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::fd::{AsFd, OwnedFd};

use guard::output::plain_line;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

const NAME: &str = "backend.log";

/// Largest file, in bytes; what would go beyond begins a new one.
const FILE_LIMIT: u64 = 4 * 1024 * 1024;

/// How many older files are kept.
const OLDER: u32 = 3;

const MODE: Mode = Mode::from_raw_mode(0o640);

const RUN_BEGINS: &str = "--- slotguard: a run begins at ";

/// How much of the end of a log is looked at, in bytes.
const TAIL: u64 = 32 * 1024;

/// Longest line that is returned, in characters.
const LONGEST_LINE: usize = 500;

/// The log that is written to.
#[derive(Debug)]
pub(crate) struct RotatingLog {
    directory: OwnedFd,
    file: File,
    size: u64,
    limit: u64,
}

impl RotatingLog {
    /// Opens the log of a directory, at its end.
    pub(crate) fn open(directory: OwnedFd) -> Result<Self, Error> {
        Self::with_limit(directory, FILE_LIMIT)
    }

    fn with_limit(directory: OwnedFd, limit: u64) -> Result<Self, Error> {
        let file = open_file(&directory)?;
        let size = file.metadata()?.len();
        Ok(Self { directory, file, size, limit })
    }

    /// Appends; begins a new file where the present one would become too large.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        if self.size > 0 && self.size.saturating_add(length) > self.limit {
            self.rotate()?;
        }
        self.file.write_all(bytes)?;
        self.size += length;
        Ok(())
    }

    /// Writes the line that tells the lines of one run from those of the run before.
    pub(crate) fn begin_run(&mut self, time: &str) -> Result<(), Error> {
        self.write(format!("{RUN_BEGINS}{time}\n").as_bytes())
    }

    fn rotate(&mut self) -> Result<(), Error> {
        let name = |number: u32| match number {
            0 => NAME.to_owned(),
            number => format!("{NAME}.{number}"),
        };
        for number in (0..OLDER).rev() {
            let (from, to) = (name(number), name(number + 1));
            match rustix::fs::renameat(&self.directory, &*from, &self.directory, &*to) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.file = open_file(&self.directory)?;
        self.size = 0;
        Ok(())
    }
}

fn open_file(directory: impl AsFd) -> Result<File, Error> {
    let flags =
        OFlags::WRONLY | OFlags::APPEND | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let descriptor = rustix::fs::openat(directory, NAME, flags, MODE)?;
    rustix::fs::fchmod(&descriptor, MODE)?;
    Ok(File::from(descriptor))
}

/// Returns the last lines of the last run, cleaned; none where there is no log.
pub(crate) fn last_lines(directory: impl AsFd, count: usize) -> Vec<String> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let Ok(descriptor) = rustix::fs::openat(directory, NAME, flags, Mode::empty()) else {
        return Vec::new();
    };
    let text = read_end(File::from(descriptor)).unwrap_or_default();
    let run = text.rfind(RUN_BEGINS).map_or(text.as_str(), |at| &text[at..]);
    clean(run, count)
}

fn read_end(mut file: File) -> Result<String, Error> {
    let size = file.metadata()?.len();
    file.seek(SeekFrom::Start(size.saturating_sub(TAIL)))?;
    let mut bytes = Vec::new();
    file.take(TAIL).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Returns the last lines of a text, each short, printable, and without what looks like a secret.
pub(crate) fn clean(text: &str, count: usize) -> Vec<String> {
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    let first = lines.len().saturating_sub(count);
    lines[first..].iter().map(|line| plain_line(line, LONGEST_LINE)).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_log_rotates_and_stays_bounded() {
        let place = tempfile::tempdir().unwrap();
        let open = || OwnedFd::from(File::open(place.path()).unwrap());
        let mut log = RotatingLog::with_limit(open(), 100).unwrap();
        for number in 0..100 {
            log.write(format!("line {number:>4}\n").as_bytes()).unwrap();
        }
        let mut names = Vec::new();
        for entry in std::fs::read_dir(place.path()).unwrap() {
            let entry = entry.unwrap();
            let metadata = entry.metadata().unwrap();
            assert!(metadata.len() <= 100);
            assert_eq!(metadata.permissions().mode() & 0o777, 0o640);
            names.push(entry.file_name().into_string().unwrap());
        }
        names.sort_unstable();
        assert_eq!(names, ["backend.log", "backend.log.1", "backend.log.2", "backend.log.3"]);
        assert_eq!(last_lines(open(), 2), ["line   98", "line   99"]);
        // A log that is opened again goes on where it was.
        let mut log = RotatingLog::with_limit(open(), 1000).unwrap();
        log.write(b"again\n").unwrap();
        assert_eq!(last_lines(open(), 2), ["line   99", "again"]);
        log.begin_run("now").unwrap();
        log.write(b"fresh\n").unwrap();
        assert_eq!(last_lines(open(), 9), ["--- slotguard: a run begins at now", "fresh"]);
    }

    proptest::proptest! {
        #[test]
        fn any_line_is_cleaned_without_a_panic(text: String, count in 0_usize..9) {
            let lines = clean(&text, count);
            assert!(lines.len() <= count);
            assert!(lines.iter().all(|line| !line.chars().any(|c| c.is_control() && c != '\t')));
        }
    }

    #[test]
    fn lines_are_cleaned_for_people() {
        assert_eq!(clean("a\n\n  \nb\u{1b}[31m\n", 5), ["a", "b[31m"]);
        assert_eq!(clean("1\n2\n3\n", 2), ["2", "3"]);
        assert!(clean(&"x".repeat(10_000), 1)[0].len() < 600);
    }
}
