//! Black-box tests of the built wrapper: what arrives in the program, and what is refused.
//!
//! No server and no privilege is needed; every file is in a directory of the test.

mod support;

use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};

use support::{Bench, Run, URL, event};

const ENVIRONMENT: &[&str] = &["/usr/bin/env"];
const STATUS: &[&str] = &["/bin/cat", "/proc/self/status"];
const DESCRIPTORS: &[&str] = &["/bin/ls", "-l", "/proc/self/fd"];
const READ_SEVEN: &[&str] =
    &["/bin/sh", concat!(env!("CARGO_MANIFEST_DIR"), "/tests/scripts/read-seven.sh")];
const PID: &[&str] = &["/bin/sh", concat!(env!("CARGO_MANIFEST_DIR"), "/tests/scripts/pid.sh")];
const WHERE: &[&str] = &["/bin/sh", concat!(env!("CARGO_MANIFEST_DIR"), "/tests/scripts/where.sh")];
const ENDS: &[&str] = &["/bin/sh", concat!(env!("CARGO_MANIFEST_DIR"), "/tests/scripts/ends.sh")];

const HOSTILE: &[(&str, &str)] = &[
    ("AWS_SECRET_ACCESS_KEY", "h1dden-aws"),
    ("BASH_ENV", "/tmp/h1dden"),
    ("BASH_FUNC_env%%", "() { echo h1dden; }"),
    ("DEPLOY_BACKEND_RELOAD_CMD", "systemctl reload h1dden"),
    ("DIRECT_URL", "postgresql://app:h1dden@10.0.0.5:5432/app_production"),
    ("HOME", "/root/h1dden"),
    ("HTTP_PROXY", "http://h1dden:1"),
    ("LD_LIBRARY_PATH", "/tmp/h1dden"),
    // A blank, because the loader of a wrapper that is not linked statically acts on it, too.
    ("LD_PRELOAD", " "),
    ("MY_OWN", "h1dden-own"),
    ("NODE_ENV", "h1dden-production"),
    ("NODE_OPTIONS", "--require /tmp/h1dden.js"),
    ("PATH", "/tmp/h1dden"),
    ("PGHOSTADDR", "10.0.0.5"),
    ("PGSERVICEFILE", "/tmp/h1dden"),
    ("SLOTGUARD_CONFIG", "/tmp/h1dden.toml"),
    ("SLOT_ID", "preview-2"),
    ("SLOT_IDS_CSV", "preview-9"),
    ("SLOT_WORKTREE_PATH", "/tmp/h1dden"),
    ("STRIPE_SECRET_KEY", "h1dden-stripe"),
    ("TMPDIR", "/tmp/h1dden"),
];

#[test]
fn se_2_the_environment_is_exactly_the_slot_s_own() {
    let bench = Bench::new();
    let outcome = bench
        .exec(ENVIRONMENT)
        .with(HOSTILE)
        .with(&[("LANG", "C.UTF-8"), ("FEATURE_FLAGS", "a,b")])
        .started();
    let mut lines: Vec<&str> = outcome.stdout.lines().collect();
    lines.sort_unstable();
    let home = format!("HOME={}", bench.path("state/preview-1/home"));
    let temporary = format!("TMPDIR={}", bench.path("state/preview-1/tmp"));
    let url = format!("DATABASE_URL={URL}");
    let expected = [
        url.as_str(),
        "FEATURE_FLAGS=a,b",
        &home,
        "LANG=C.UTF-8",
        "LOGNAME=slot_1",
        "NODE_ENV=preview",
        "PATH=/usr/local/bin:/usr/bin:/bin",
        "PORT=8101",
        "SLOT_BACKEND_PORT=8101",
        "SLOT_DB_NAME=app_preview_1",
        "SLOT_ID=preview-1",
        "SLOT_NUM=1",
        &temporary,
        "USER=slot_1",
    ];
    assert_eq!(lines, expected);
    let names: Vec<&str> = expected.iter().map(|l| l.split_once('=').unwrap().0).collect();
    assert_eq!(outcome.event()["passed"], serde_json::json!(names));
}

#[test]
fn di_1_the_event_names_what_was_dropped_and_no_value() {
    let bench = Bench::new();
    let outcome = bench.exec(ENVIRONMENT).with(HOSTILE).started();
    let event = outcome.event();
    assert_eq!(event["program"], "runtime-wrapper");
    assert_eq!(event["slot"], "preview-1");
    assert_eq!(event["program_key"], "environment");
    assert_eq!(event["program_path"], "/usr/bin/env");
    assert_eq!(event["argument_count"], 0);
    assert_eq!(event["canonical"], "postgresql://slot_1@127.0.0.1:5432/app_preview_1");
    assert_eq!(event["database"], "app_preview_1");
    assert_eq!(event["backend_port"], 8101);
    assert_eq!(event["working_directory"], bench.path("state/preview-1/home"));
    assert_eq!(event["pid"], outcome.pid);
    // As root, the program's identity is a warning, whatever else there is.
    let warnings = event["warnings"].as_array().unwrap();
    assert!(warnings.iter().all(|warning| warning["code"] == "SG7201"), "{warnings:?}");
    let dropped: Vec<&str> = event["dropped"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| entry["name"].as_str().unwrap())
        .collect();
    // Computed and set names are replaced, not dropped.
    let replaced = ["HOME", "NODE_ENV", "PATH", "SLOT_ID", "TMPDIR"];
    let expected: Vec<&str> =
        HOSTILE.iter().map(|(name, _)| *name).filter(|name| !replaced.contains(name)).collect();
    assert_eq!(dropped, expected);
}

#[test]
fn people_get_a_line_and_warnings_instead() {
    let bench = Bench::new();
    let options = ["--slot", "preview-1", "--format", "human", "--database-url", URL];
    let outcome = bench.exec_with(&options, ENDS).started();
    let (line, rest) = outcome.stderr.split_once('\n').unwrap();
    assert_eq!(
        line,
        "runtime-wrapper: preview-1: starting ends (/bin/sh) as slot_1 on app_preview_1 at \
         127.0.0.1:5432, port 8101; 12 variables passed, 0 dropped; sandbox: fs, tcp, scope"
    );
    assert!(rest.starts_with("warning[SG2204]"), "{rest}");
    assert_eq!(outcome.stdout, "out\n");
    let options = ["--slot", "preview-2", "--format", "human"];
    let outcome = bench.exec_with(&options, ENDS).run();
    assert_eq!((outcome.status, outcome.stdout.as_str()), (Some(77), ""));
    assert!(outcome.stderr.starts_with("error[SG2102]"), "{}", outcome.stderr);
}

#[test]
fn the_program_takes_the_wrapper_s_place() {
    let bench = Bench::new();
    let outcome = bench.exec(PID).started();
    assert_eq!(outcome.stdout.trim(), outcome.pid.to_string());
    let outcome = bench.exec(ENDS).started();
    assert_eq!((outcome.status, outcome.stdout.as_str()), (Some(42), "out\n"));
}

#[test]
fn se_4_inherited_descriptors_do_not_reach_the_program() {
    let bench = Bench::new();
    bench.write("secret", 0o600, "h1dden\n");
    let secret = || File::open(bench.path("secret")).unwrap();
    let events = || File::create(bench.path("events")).unwrap();
    let read = bench.exec(READ_SEVEN).with_descriptor(7, &secret()).started();
    assert_eq!(read.stdout, "closed\n");
    let options = ["--slot", "preview-1", "--events-fd", "9"];
    let list = bench
        .exec_with(&options, DESCRIPTORS)
        .with_descriptor(7, &secret())
        .with_descriptor(9, &events())
        .with_descriptor(700, &secret())
        .started();
    let place = bench.path("");
    assert!(list.stdout.contains(" 2 -> ") && !list.stdout.contains(&place), "{}", list.stdout);
    // The listing's own handle is 3, the first free one.
    assert!(!list.stdout.contains(" 4 -> "), "{}", list.stdout);
}

#[test]
fn signals_that_the_parent_ignored_or_blocked_work_again() {
    let bench = Bench::new();
    let outcome = bench
        .exec(STATUS)
        .with_signals(
            &[libc::SIGTERM, libc::SIGHUP, libc::SIGCHLD],
            &[libc::SIGTERM, libc::SIGUSR1],
        )
        .started();
    for field in ["SigIgn:", "SigBlk:"] {
        let line = outcome.stdout.lines().find(|line| line.starts_with(field)).unwrap();
        let mask = u64::from_str_radix(line[field.len()..].trim(), 16).unwrap();
        for signal in [libc::SIGTERM, libc::SIGHUP, libc::SIGCHLD, libc::SIGUSR1] {
            assert_eq!(mask & (1 << (signal - 1)), 0, "{line}");
        }
    }
}

#[test]
fn the_program_starts_in_its_worktree_or_its_home() {
    let bench = Bench::new();
    let real = |name: &str| std::fs::canonicalize(bench.path(name)).unwrap();
    let outcome = bench.exec(WHERE).with_umask(0).started();
    let home = real("state/preview-1/home");
    assert_eq!(outcome.stdout, format!("{}\n0027\n", home.display()));
    let mode = |name: &str| real(name).metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("state"), mode("state/preview-1/home")), (0o755, 0o700));

    let worktree = bench.path("previews/feature");
    let options = ["--slot", "preview-1", "--worktree", &worktree];
    let outcome = bench.exec_with(&options, WHERE).started();
    let place = real("previews/feature");
    assert_eq!(outcome.stdout, format!("{}\n0027\n", place.display()));
    assert_eq!(outcome.event()["working_directory"], worktree);
    let outcome = bench.exec_with(&options, ENVIRONMENT).started();
    let line = format!("SLOT_WORKTREE_PATH={worktree}");
    assert!(outcome.stdout.lines().any(|l| l == line), "{}", outcome.stdout);
}

#[test]
fn events_go_to_their_descriptor_and_leave_standard_error_empty() {
    let bench = Bench::new();
    let run = |options: &[&str], program: &[&str]| {
        let events = File::create(bench.path("events")).unwrap();
        let run = bench.exec_with(options, program).with_descriptor(9, &events).with(HOSTILE);
        let said = || std::fs::read_to_string(bench.path("events")).unwrap();
        (run, said)
    };
    let (started, said) = run(&["--slot", "preview-1", "--events-fd", "9"], ENDS);
    let outcome = started.started();
    assert_eq!((outcome.stdout.as_str(), outcome.stderr.as_str()), ("out\n", ""));
    assert_eq!(event(&said())["pid"], outcome.pid);
    assert!(!said().contains("s3cret") && !said().contains("h1dden"));

    let (refused, said) = run(&["--slot", "preview-2", "--events-fd", "9"], ENDS);
    let outcome = refused.refused(77, "SG2102");
    assert_eq!(said(), outcome.stderr);
}

#[test]
fn events_need_an_open_descriptor_that_can_be_written() {
    let bench = Bench::new();
    for number in ["-1", "0", "1", "2", "9", "4096"] {
        let number = format!("--events-fd={number}");
        let options = ["--slot", "preview-1", &number];
        bench.exec_with(&options, ENDS).refused(64, "SG9002");
    }
    let options = ["--slot", "preview-1", "--events-fd", "9"];
    let run = |file: File| bench.exec_with(&options, ENDS).with_descriptor(9, &file);
    run(File::open("/dev/null").unwrap()).refused(64, "SG9002");
    let full = File::options().write(true).open("/dev/full").unwrap();
    run(full).refused(64, "SG9002");
}

#[test]
fn slots_have_one_spelling() {
    let bench = Bench::new();
    for (slot, code) in [
        ("preview-7", "SG1003"),
        ("preview1", "SG1002"),
        ("preview-1/../preview-2", "SG1001"),
        ("", "SG1001"),
    ] {
        bench.exec_with(&["--slot", slot], ENDS).refused(64, code);
    }
    // The environment can neither add a slot nor take one away.
    let csv = [("SLOT_IDS_CSV", "preview-7")];
    bench.exec_with(&["--slot", "preview-7"], ENDS).with(&csv).refused(64, "SG1003");
    bench.exec(ENDS).with(&csv).started();
}

#[test]
fn a_command_line_that_cannot_be_read_is_64() {
    for words in [&["exec"][..], &["exce"], &["exec", "--slot", "preview-1"], &[]] {
        let outcome = Run::new(words).run();
        assert_eq!((outcome.status, outcome.stdout.as_str()), (Some(64), ""), "{words:?}");
    }
    let outcome = Run::new(&["exec", "--help"]).run();
    assert_eq!((outcome.status, outcome.stderr.as_str()), (Some(0), ""));
}

#[test]
fn db_1_only_the_slot_s_own_database_passes() {
    let bench = Bench::new();
    let given = |url: &str| bench.exec(ENDS).without_environment().with(&[("DATABASE_URL", url)]);
    for (url, code) in [
        ("postgresql://slot_1:s3cret@127.0.0.1:5432/app_preview_2", "SG2102"),
        ("postgresql://slot_1:s3cret@127.0.0.1:5432/app_production", "SG2101"),
        ("postgresql://slot_1:s3cret@10.0.0.5:5432/app_preview_1", "SG2104"),
        ("postgresql://slot_1:s3cret@127.0.0.1:5433/app_preview_1", "SG2104"),
        ("postgresql://slot_1:s3@cret@127.0.0.1:5432/app_preview_1", "SG2004"),
        ("", "SG2002"),
    ] {
        given(url).refused(77, code);
    }
    bench.exec_with(&["--slot", "preview-2"], ENDS).refused(77, "SG2102");
    bench.exec(ENDS).without_environment().refused(66, "SG2201");
}

#[test]
fn a_target_by_option_replaces_the_environment_s() {
    let bench = Bench::new();
    bench.write("url", 0o600, &format!("{URL}\n"));
    let file = bench.path("url");
    let foreign = [("DATABASE_URL", "postgresql://app:h1dden@10.0.0.5:5432/app_production")];
    for options in [
        &["--slot", "preview-1", "--database-url-file", &file][..],
        &["--slot", "preview-1", "--database-url-file", "-"],
        &["--slot", "preview-1", "--database-url", URL],
    ] {
        let run = bench.exec_with(options, ENVIRONMENT).without_environment().with(&foreign);
        let outcome = run.with_stdin(URL).started();
        let line = format!("DATABASE_URL={URL}");
        assert!(outcome.stdout.lines().any(|l| l == line), "{options:?}");
        let warned = outcome.event()["warnings"].to_string().contains("SG2204");
        assert_eq!(warned, options.contains(&URL));
    }
}

#[test]
fn a_variable_that_stands_twice_is_65() {
    let bench = Bench::new();
    let twice = [("FEATURE_FLAGS", "h1dden-a"), ("FEATURE_FLAGS", "h1dden-b")];
    bench.exec(ENDS).with(&twice).refused(65, "SG3001");
    bench.exec(ENDS).with(&[("DATABASE_URL", URL)]).refused(65, "SG3001");
    let foreign = URL.replace("app_preview_1", "app_production");
    let foreign_first = [("DATABASE_URL", foreign.as_str()), ("DATABASE_URL", URL)];
    bench.exec(ENDS).without_environment().with(&foreign_first).refused(65, "SG3001");
    bench.exec(ENDS).with(&twice[..1]).started();
}

#[test]
fn se_1_only_listed_programs_with_listed_arguments_start() {
    let bench = Bench::new();
    for (program, code) in [
        (&["/bin/true"][..], "SG4001"),
        (&["env"], "SG4001"),
        (&["/usr/bin/../bin/env"], "SG4001"),
        (&["/usr/bin/env", "/bin/sh"], "SG4002"),
        (&["/bin/sh", "-c", "echo h1dden"], "SG4002"),
        (&["/bin/sh", "-c", "id"], "SG4005"),
        (&["/bin/sh"], "SG4002"),
        (&["/usr/bin/docker", "run"], "SG4004"),
    ] {
        bench.exec(program).refused(77, code);
    }
    let bytes = OsStr::from_bytes(b"h1dden\xff");
    bench.exec(ENVIRONMENT).word(bytes).refused(77, "SG4002");
    let bytes = OsStr::from_bytes(b"/usr/bin/env\xff");
    bench.exec(&[]).word(bytes).refused(77, "SG4001");
}

#[test]
fn a_program_s_file_must_be_safe_to_run() {
    let bench = Bench::new();
    let own = bench.path("bin/own");
    let run = |mode, text: &str| {
        bench.write("bin/own", mode, text);
        bench.exec(&[own.as_str(), "word"])
    };
    let script = "#!/bin/sh\necho \"$1\"\n";
    assert_eq!(run(0o755, script).started().stdout, "word\n");
    for mode in [0o4755, 0o2755, 0o757, 0o775] {
        run(mode, script).refused(77, "SG4003");
    }
    run(0o644, script).refused(126, "SG7003");
    // A shell would take this one; nobody allowed a shell.
    run(0o755, "echo started\n").refused(126, "SG7003");
    run(0o755, "#!/nonexistent/interpreter\n").refused(127, "SG7004");
    std::fs::remove_file(&own).unwrap();
    bench.exec(&[own.as_str()]).refused(127, "SG7004");
    std::fs::create_dir(&own).unwrap();
    bench.exec(&[own.as_str()]).refused(77, "SG4003");
}

#[test]
fn se_3_worktrees_stay_beneath_their_root() {
    let bench = Bench::new();
    symlink("/tmp", bench.path("previews/link")).unwrap();
    symlink("feature", bench.path("previews/inner")).unwrap();
    let run =
        |worktree: &str| bench.exec_with(&["--slot", "preview-1", "--worktree", worktree], WHERE);
    for (worktree, status, code) in [
        ("/etc".to_owned(), 77, "SG4101"),
        (bench.path("previews"), 77, "SG4101"),
        (bench.path("previews/link"), 77, "SG4101"),
        (bench.path("previews/inner"), 77, "SG4101"),
        (bench.path("previews/feature/../../state"), 77, "SG4102"),
        ("previews/feature".to_owned(), 77, "SG4102"),
        (bench.path("previews/gone"), 66, "SG4104"),
    ] {
        run(&worktree).refused(status, code);
    }
    let text = "version = 1\n[programs.where]\npath = \"/bin/sh\"\nargs = [\"...\"]\n";
    bench.write("slotguard.toml", 0o600, text);
    run(&bench.path("previews/feature")).refused(78, "SG4103");
}

#[test]
fn the_private_home_cannot_be_a_link() {
    let bench = Bench::new();
    bench.exec(ENDS).started();
    let home = bench.path("state/preview-1/home");
    std::fs::remove_dir(&home).unwrap();
    symlink("/tmp", &home).unwrap();
    bench.exec(ENDS).refused(77, "SG4101");
}

#[test]
fn a_sandbox_that_is_off_is_said() {
    let bench = Bench::new();
    let warned = |event: &serde_json::Value| {
        event["warnings"].as_array().unwrap().iter().any(|warning| warning["code"] == "SG7204")
    };
    let event = bench.exec(ENDS).started().event();
    assert_eq!(event["sandbox"]["enforced"], serde_json::json!(["fs", "tcp", "scope"]));
    assert!(!warned(&event));
    bench.configure("[sandbox]\nrequire = []\n");
    let event = bench.exec(ENDS).started().event();
    assert_eq!(event["sandbox"]["enforced"], serde_json::json!([]));
    assert!(warned(&event));
}

#[test]
fn the_configuration_must_be_safe_and_understood() {
    let bench = Bench::new();
    let file = bench.path("slotguard.toml");
    let set_mode = |mode| {
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    set_mode(0o644);
    bench.exec(ENDS).started();
    set_mode(0o666);
    bench.exec(ENDS).refused(78, "SG8001");
    bench.configure("[sandbox]\nrequires = []\n");
    bench.exec(ENDS).refused(78, "SG8003");
    std::fs::remove_file(&file).unwrap();
    bench.exec(ENDS).refused(66, "SG8002");
}
