//! Starts a program with an environment that the standard library would tidy up.

#![expect(clippy::unwrap_used, reason = "helpers of tests, outside of what the lint takes for one")]

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

/// A program, its arguments and its environment, as the kernel takes them.
pub(crate) struct RawExec {
    texts: Vec<CString>,
    words: Vec<usize>,
    environment: Vec<usize>,
}

impl RawExec {
    pub(crate) fn new(
        program: &Path,
        args: &[String],
        entries: impl Iterator<Item = String>,
    ) -> Self {
        let mut texts = vec![CString::new(program.as_os_str().as_bytes()).unwrap()];
        texts.extend(args.iter().map(|arg| CString::new(arg.as_str()).unwrap()));
        let split = texts.len();
        texts.extend(entries.map(|entry| CString::new(entry).unwrap()));
        // Addresses as numbers, because the closure must be `Send`; the texts move along with them.
        let list = |texts: &[CString]| {
            texts.iter().map(|text| text.as_ptr() as usize).chain([0]).collect()
        };
        let (words, environment) = (list(&texts[..split]), list(&texts[split..]));
        Self { texts, words, environment }
    }

    /// Makes the child of this command become the program in our way.
    #[expect(unsafe_code, reason = "std offers no exec with a name twice")]
    pub(crate) fn arrange(self, command: &mut Command) {
        // SAFETY: the closure only makes a system call, on memory that was prepared before the fork.
        unsafe { command.pre_exec(move || Err(self.execute())) };
    }

    #[expect(unsafe_code, reason = "std offers no exec with a name twice")]
    fn execute(&self) -> std::io::Error {
        let (words, environment) = (self.words.as_ptr(), self.environment.as_ptr());
        // SAFETY: the lists end in null and point into `texts`, which lives as long as they do.
        unsafe { libc::execve(self.texts[0].as_ptr(), words.cast(), environment.cast()) };
        std::io::Error::last_os_error()
    }
}
