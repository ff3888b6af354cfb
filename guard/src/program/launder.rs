//! Programs that run whatever they are told, and so would make an allowlist say less than it seems.
//!
//! Judged by file name and arguments. A script in a file is fine: it can be read and reviewed, and
//! it is part of the entry.

/// Programs whose arguments are another program.
const LAUNCHERS: &[&str] = &[
    "awk",
    "busybox",
    "bwrap",
    "catchsegv",
    "cgexec",
    "choom",
    "chpst",
    "chroot",
    "chrt",
    "daemonize",
    "dbus-run-session",
    "doas",
    "dumb-init",
    "env",
    "expect",
    "fakeroot",
    "find",
    "firejail",
    "flock",
    "gawk",
    "gdb",
    "gosu",
    "i386",
    "ionice",
    "linux32",
    "linux64",
    "ltrace",
    "mawk",
    "nawk",
    "nice",
    "nohup",
    "nsenter",
    "numactl",
    "parallel",
    "perf",
    "pkexec",
    "prlimit",
    "rlwrap",
    "runuser",
    "s6-setuidgid",
    "screen",
    "script",
    "setarch",
    "setpriv",
    "setsid",
    "setuidgid",
    "sg",
    "socat",
    "ssh",
    "start-stop-daemon",
    "stdbuf",
    "strace",
    "su",
    "su-exec",
    "sudo",
    "systemd-run",
    "taskset",
    "time",
    "timeout",
    "tini",
    "tmux",
    "toybox",
    "unbuffer",
    "unshare",
    "valgrind",
    "watch",
    "x86_64",
    "xargs",
];

/// Shells: with an option or without a script they run text.
const SHELLS: &[&str] = &["ash", "bash", "csh", "dash", "fish", "ksh", "mksh", "sh", "tcsh", "zsh"];

/// An interpreter, by the beginning of its name.
struct Interpreter {
    name: &'static str,
    /// Words that make it run text.
    eval: &'static [&'static str],
    /// Letters that do so wherever they stand among single-letter options (`-Bc`, `-ne`).
    letters: &'static str,
    /// Letters whose value is the rest of the word (`-Wignore`).
    value_letters: &'static str,
}

const fn interpreter(
    name: &'static str,
    eval: &'static [&'static str],
    letters: &'static str,
    value_letters: &'static str,
) -> Interpreter {
    Interpreter { name, eval, letters, value_letters }
}

const INTERPRETERS: &[Interpreter] = &[
    interpreter("node", &["--eval", "--print", "--interactive"], "epi", "rC"),
    interpreter("bun", &["--eval", "--print"], "ep", "rc"),
    interpreter("deno", &["eval", "repl"], "", ""),
    interpreter("python", &[], "ci", "WXm"),
    interpreter("perl", &[], "eE", "FIMimx"),
    interpreter("ruby", &[], "e", "CEFIKTWirx"),
    interpreter("php", &["--run", "--interactive"], "rBREa", "cdfFSz"),
    interpreter("lua", &[], "ei", "l"),
];

/// Options of interpreters that take the next word as their value.
const VALUE_OPTIONS: &[&str] = &[
    "-r",
    "--require",
    "--import",
    "--loader",
    "--experimental-loader",
    "-C",
    "--conditions",
    "--env-file",
    "-W",
    "-X",
    "-I",
    "-d",
];

/// Returns why a program with these arguments would run something that is on no list.
pub(super) fn reason_against(path: &str, args: &[String]) -> Option<&'static str> {
    let name = path.rsplit('/').next().unwrap_or(path);
    if ["ld-linux", "ld-musl", "ld.so", "ld64.so"].iter().any(|loader| name.starts_with(loader)) {
        return Some("the dynamic loader runs any program past the allowlist");
    }
    if LAUNCHERS.contains(&name) && !args.is_empty() {
        return Some("it runs the program that its arguments name");
    }
    let first = args.first().map(String::as_str);
    if SHELLS.contains(&name) {
        return match first {
            Some(script) if !script.starts_with('-') => reason_against_script(script),
            _ => Some("a shell without a script runs text"),
        };
    }
    let interpreter = INTERPRETERS.iter().find(|known| is_version_of(name, known.name))?;
    let mut words = args.iter().map(String::as_str);
    while let Some(word) = words.next() {
        if interpreter.runs_text(word) {
            return Some("an interpreter with this option runs text");
        }
        if VALUE_OPTIONS.contains(&word) {
            words.next();
        } else if !word.starts_with('-') {
            // What stands behind the script is the script's own.
            return reason_against_script(word);
        }
    }
    // Python's `-m module` names what runs, as a script does.
    let has_module = args.iter().any(|arg| arg == "-m");
    (!has_module).then_some("an interpreter without a script runs text")
}

/// `python3.11` is a version of `python`; `pythonista` is not.
fn is_version_of(name: &str, prefix: &str) -> bool {
    let version = |rest: &str| rest.bytes().all(|b| b.is_ascii_digit() || b == b'.' || b == b'-');
    name.strip_prefix(prefix).is_some_and(version)
}

/// A descriptor is no file that somebody could have read.
fn reason_against_script(script: &str) -> Option<&'static str> {
    let descriptor = ["/dev/", "/proc/"].iter().any(|start| script.starts_with(start));
    descriptor.then_some("a descriptor in the place of a script runs text")
}

impl Interpreter {
    /// Whether a word is such an option, alone, with its text attached or among others.
    fn runs_text(&self, word: &str) -> bool {
        let attached = |eval: &&str| {
            word.strip_prefix(eval).is_some_and(|rest| rest.is_empty() || rest.starts_with('='))
        };
        if word == "-" || self.eval.iter().any(attached) {
            return true;
        }
        match word.strip_prefix('-') {
            Some(options) if !options.starts_with('-') => options
                .chars()
                .take_while(|letter| !self.value_letters.contains(*letter))
                .any(|letter| self.letters.contains(letter)),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(line: &str) -> bool {
        let mut words = line.split(' ').map(str::to_owned);
        let path = words.next().unwrap();
        reason_against(&path, &words.collect::<Vec<_>>()).is_some()
    }

    #[test]
    fn what_runs_something_else_is_refused() {
        for line in [
            "/usr/bin/env node server.js",
            "/usr/bin/env -S x",
            "/usr/bin/xargs rm",
            "/usr/bin/timeout 5 x",
            "/usr/bin/sudo x",
            "/lib64/ld-linux-x86-64.so.2 /bin/sh",
            "/bin/sh",
            "/bin/sh -c id",
            "/bin/bash -ec id",
            "/bin/bash --norc x",
            "/usr/bin/node",
            "/usr/bin/node -e 1",
            "/usr/bin/node --require x --eval=1",
            "/usr/bin/node --enable-source-maps",
            "/usr/bin/python3 -c 1",
            "/usr/bin/python3.11 -cprint()",
            "/usr/bin/python3 -",
            "/usr/bin/perl -e 1",
            "/usr/bin/python3 -Bc 1",
            "/usr/bin/python3 -uIc 1",
            "/usr/bin/perl -ne 1",
            "/usr/bin/perl -lane 1",
            "/usr/bin/ruby -ne 1",
            "/usr/bin/php -nr 1",
            "/usr/bin/node -pe 1",
            "/usr/bin/awk BEGIN{system(\"id\")}",
            "/usr/bin/tini -- x",
            "/bin/sh /dev/stdin",
            "/usr/bin/node /dev/fd/3",
            "/usr/bin/python3 -u /proc/self/fd/0",
            "/usr/bin/deno eval 1",
        ] {
            assert!(refused(line), "{line}");
        }
    }

    #[test]
    fn what_runs_a_named_script_or_itself_passes() {
        for line in [
            "/usr/bin/env",
            "/bin/sh start.sh -c x",
            "/usr/bin/node server.js -e x",
            "/usr/bin/node --enable-source-maps server.js",
            "/usr/bin/python3 -m uvicorn app",
            "/usr/bin/python3.11 manage.py -c x",
            "/usr/bin/python3 -u manage.py -c x",
            "/usr/bin/python3 -Wignore::DeprecationWarning manage.py",
            "/usr/bin/python3 -W ignore manage.py",
            "/usr/bin/perl -MCarp=verbose -w script.pl -e x",
            "/usr/bin/perl -Ilib script.pl",
            "/usr/bin/ruby -rbundler/setup script.rb",
            "/usr/bin/php -S 127.0.0.1:8101 router.php",
            "/usr/bin/node -r ./hook.js server.js",
            "/usr/bin/deno run main.ts",
            "/srv/app/backend -c x",
            "/usr/bin/nodemon x",
        ] {
            assert!(!refused(line), "{line}");
        }
    }
}
