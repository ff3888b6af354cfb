//! Parents that a program may be started by: within other sandboxes, on an older kernel, careless.

#![expect(clippy::unwrap_used, reason = "helpers of tests, outside of what the lint takes for one")]

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::sync::Arc;

use landlock::{Ruleset, RulesetAttr as _, RulesetCreatedAttr as _, Scope};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};

/// What a parent does before it becomes the program.
#[derive(Debug, Clone)]
pub(crate) enum Parent {
    /// Answers the calls of Landlock as a kernel does that was built without it.
    WithoutLandlock,
    /// Stacks so many sandboxes, which confine nothing but signals.
    Domains(u32),
    /// Leaves a descriptor open under this number; see [`Parent::descriptor`].
    Descriptor(i32, Arc<OwnedFd>),
    /// Is a hardened unit of the user `nobody`: some of what the wrapper gives up is given up
    /// already, and the calls for it are refused.
    Unit,
    /// Ignores TERM and HUP, blocks USR1, has no umask and no limit of dumps.
    Careless,
}

impl Parent {
    /// Leaves a file open under this number.
    ///
    /// Until then it has a number far above, where it is no other descriptor's target.
    pub(crate) fn descriptor(number: i32, file: &File) -> Self {
        const ABOVE: i32 = 800;
        let above = rustix::io::fcntl_dupfd_cloexec(file, ABOVE).unwrap();
        Self::Descriptor(number, Arc::new(above))
    }

    /// Makes the child of a command do it.
    #[expect(unsafe_code, reason = "a parent is imitated between fork and exec")]
    pub(crate) fn arrange(&self, command: &mut Command) {
        let own = self.clone();
        let filter = match self {
            Self::Unit => answering(libc::EPERM, REFUSED_BY_UNITS),
            _ => answering(libc::ENOSYS, LANDLOCK),
        };
        // SAFETY: system calls only, but for the rules of Landlock, which allocate: the C library
        // keeps its allocator usable in the child of a fork.
        unsafe { command.pre_exec(move || own.act(&filter)) };
    }

    fn act(&self, filter: &BpfProgram) -> io::Result<()> {
        match self {
            Self::WithoutLandlock => seccompiler::apply_filter(filter).map_err(io::Error::other),
            Self::Unit => {
                become_nobody()?;
                seccompiler::apply_filter(filter).map_err(io::Error::other)
            }
            Self::Domains(count) => (0..*count).try_for_each(|_| {
                let rules = Ruleset::default().scope(Scope::Signal).map_err(io::Error::other)?;
                let rules = rules.create().map_err(io::Error::other)?.no_new_privs(true);
                rules.restrict_self().map(drop).map_err(io::Error::other)
            }),
            Self::Descriptor(number, file) => duplicate(file, *number),
            Self::Careless => careless(),
        }
    }
}

const LANDLOCK: &[i64] = &[libc::SYS_landlock_create_ruleset, libc::SYS_landlock_restrict_self];

/// What `SystemCallFilter=~@privileged @resources` refuses of the calls that the wrapper may make.
const REFUSED_BY_UNITS: &[i64] = &[
    libc::SYS_capset,
    libc::SYS_keyctl,
    libc::SYS_setgroups,
    libc::SYS_setresgid,
    libc::SYS_setresuid,
    libc::SYS_setrlimit,
];

fn answering(errno: libc::c_int, calls: &[i64]) -> BpfProgram {
    let rules = calls.iter().map(|call| (*call, Vec::new())).collect();
    let answer = SeccompAction::Errno(errno.unsigned_abs());
    let arch = std::env::consts::ARCH.try_into().unwrap();
    SeccompFilter::new(rules, SeccompAction::Allow, answer, arch).unwrap().try_into().unwrap()
}

#[expect(unsafe_code, reason = "std changes the user only for a whole command")]
fn become_nobody() -> io::Result<()> {
    const NOBODY: u32 = 65534;
    // SAFETY: three calls that are allowed after a fork; the first reads nothing.
    let answers = unsafe {
        [
            libc::setgroups(0, std::ptr::null()),
            libc::setresgid(NOBODY, NOBODY, NOBODY),
            libc::setresuid(NOBODY, NOBODY, NOBODY),
        ]
    };
    if answers == [0; 3] { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[expect(unsafe_code, reason = "std duplicates to the lowest number only")]
fn duplicate(file: &OwnedFd, number: i32) -> io::Result<()> {
    // SAFETY: both are numbers, and the child uses neither afterwards.
    let answer = unsafe { libc::dup2(file.as_raw_fd(), number) };
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[expect(unsafe_code, reason = "std offers none of these")]
fn careless() -> io::Result<()> {
    let unlimited = libc::rlimit { rlim_cur: libc::RLIM_INFINITY, rlim_max: libc::RLIM_INFINITY };
    // SAFETY: only calls that are allowed after a fork, on values of this function.
    unsafe {
        for signal in [libc::SIGTERM, libc::SIGHUP] {
            libc::signal(signal, libc::SIG_IGN);
        }
        let mut set = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, libc::SIGUSR1);
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const set, std::ptr::null_mut());
        libc::umask(0);
        // Who may not raise the limit keeps it.
        libc::setrlimit(libc::RLIMIT_CORE, &raw const unlimited);
    }
    Ok(())
}
