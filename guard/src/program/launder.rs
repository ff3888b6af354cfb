//! Programs that run whatever they are told, and so would make an allowlist say less than it seems.
//!
//! Judged by file name and arguments. A script in a file is fine: it can be read and reviewed, and
//! it is part of the entry.

/// Programs whose arguments are another program.
const LAUNCHERS: &[&str] = &[
    "bwrap",
    "busybox",
    "chroot",
    "chrt",
    "doas",
    "dbus-run-session",
    "env",
    "fakeroot",
    "find",
    "firejail",
    "flock",
    "gdb",
    "ionice",
    "ltrace",
    "nice",
    "nohup",
    "nsenter",
    "parallel",
    "runuser",
    "script",
    "setarch",
    "setpriv",
    "setsid",
    "ssh",
    "stdbuf",
    "strace",
    "su",
    "sudo",
    "systemd-run",
    "taskset",
    "time",
    "timeout",
    "toybox",
    "unshare",
    "watch",
    "xargs",
];

/// Shells: with an option or without a script they run text.
const SHELLS: &[&str] = &["ash", "bash", "csh", "dash", "fish", "ksh", "mksh", "sh", "tcsh", "zsh"];

/// Interpreters, by the beginning of their names, with the options that run text.
const INTERPRETERS: &[(&str, &[&str])] = &[
    ("node", &["-e", "-p", "-pe", "-i", "--eval", "--print", "--interactive"]),
    ("bun", &["-e", "-p", "--eval", "--print"]),
    ("deno", &["eval", "repl"]),
    ("python", &["-c", "-i"]),
    ("perl", &["-e", "-E"]),
    ("ruby", &["-e"]),
    ("php", &["-r", "-B", "-R", "-E", "-a"]),
    ("lua", &["-e", "-i"]),
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
    if SHELLS.contains(&name) && first.is_none_or(|first| first.starts_with('-')) {
        return Some("a shell without a script runs text");
    }
    let (_, eval) = INTERPRETERS.iter().find(|(prefix, _)| is_version_of(name, prefix))?;
    let mut words = args.iter().map(String::as_str);
    while let Some(word) = words.next() {
        if runs_text(word, eval) {
            return Some("an interpreter with this option runs text");
        }
        if VALUE_OPTIONS.contains(&word) {
            words.next();
        } else if !word.starts_with('-') {
            return None; // The script; what stands behind it is the script's own.
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

/// An option itself, or one with its text attached (`--eval=x`, `-cx`).
fn runs_text(option: &str, eval: &[&str]) -> bool {
    option == "-"
        || eval.iter().any(|eval| match eval.strip_prefix("--") {
            Some(_) => {
                option == *eval || option.strip_prefix(eval).is_some_and(|r| r.starts_with('='))
            }
            None => !option.starts_with("--") && option.starts_with(eval),
        })
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
            "/usr/bin/deno run main.ts",
            "/srv/app/backend -c x",
            "/usr/bin/nodemon x",
        ] {
            assert!(!refused(line), "{line}");
        }
    }
}
