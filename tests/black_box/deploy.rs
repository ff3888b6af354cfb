//! The deploy of production: two commands of the allowlist, the second one as a gate.

#![expect(clippy::unwrap_used, reason = "helpers of tests, outside of what the lint takes for one")]

use std::path::{Path, PathBuf};

use guard::diagnostic::Code;
use rustix::process::Signal;
use serde_json::Value;

use crate::diagnostics::{End, Scenario, play};
use crate::support::place::{PINNED, Place};
use crate::support::processes::Process;
use crate::support::run::{Outcome, Run, say};

const RELOAD: &str = "DEPLOY_BACKEND_RELOAD_CMD";
const HEALTHCHECK: &str = "DEPLOY_BACKEND_HEALTHCHECK_CMD";

/// Reloads by leaving its environment, its directory and a line behind.
const RELOADS: &str = "#!/bin/sh\n\
    at=$(dirname \"$0\")\n\
    { env; echo \"directory=$(pwd)\"; } >\"$at/seen\"\n\
    echo reloaded >>\"$at/reloads\"\n\
    echo 'reloaded with postgresql://app:hunter2@db.example/app' \n";

/// Is healthy once it was asked three times.
const THIRD_TIME: &str = "#!/bin/sh\n\
    at=$(dirname \"$0\")\n\
    echo asked >>\"$at/asked\"\n\
    echo 'not yet' >&2\n\
    [ \"$(wc -l <\"$at/asked\")\" -ge 3 ]\n";

/// A place whose two commands are these scripts, with further lines under `[deploy]`.
fn arrange(place: &Place, reload: &str, health: &str, deploy: &str) {
    place.write_program("bin/reload", reload);
    place.write_program("bin/health", health);
    let (at, artifacts) = (place.text("bin"), place.text("artifacts"));
    place.configure(&format!(
        "{PINNED}[programs.reload]\npath = \"{at}/reload\"\nargs = [\"--now\"]\n\
         [programs.health]\npath = \"{at}/health\"\n\
         [deploy]\nhealth_interval_s = 0\n{deploy}"
    ));
    place.keep_artifacts(&artifacts);
}

fn arranged(reload: &str, health: &str, deploy: &str) -> Place {
    let place = Place::new();
    arrange(&place, reload, health, deploy);
    place
}

fn deploy(place: &Place, more: &[&str]) -> Run {
    let config = place.config();
    Run::new("slotguard", &[&["deploy", "--config", &config], more].concat())
        .with(RELOAD, &format!("{} --now", place.text("bin/reload")))
        .with(HEALTHCHECK, &place.text("bin/health"))
}

fn summary(outcome: &Outcome) -> Value {
    outcome.objects().pop().unwrap()
}

fn lines(place: &Place, name: &str) -> usize {
    std::fs::read_to_string(place.path(name)).unwrap_or_default().lines().count()
}

#[test]
fn en_10_production_is_reloaded_by_a_command_that_gets_nothing_of_the_caller() {
    let place = arranged(RELOADS, "#!/bin/sh\nexit 0\n", "");
    let outcome = deploy(&place, &[])
        .format("json")
        .with("DATABASE_URL", "postgresql://app:s3cret@127.0.0.1:5433/app_production")
        .with("PGPASSWORD", "s3cret")
        .with("API_TOKEN", "s3cret")
        .with("SLOT_IDS_CSV", "preview-1,preview-2,preview-3")
        .with("WORKER_PREVIEW_WEB_ROOT_TEMPLATE", "/srv/web-preview-{slot}")
        .run();
    let done = summary(outcome.accepted());
    assert_eq!((&done["outcome"], &done["reload_begun"]), (&"deployed".into(), &true.into()));
    let seen = std::fs::read_to_string(place.path("bin/seen")).unwrap();
    let mut names: Vec<&str> = seen.lines().filter_map(|line| line.split('=').next()).collect();
    names.sort_unstable();
    // The shell itself adds the last two and the directory.
    let own = |name: &&str| !["PWD", "OLDPWD", "SHLVL", "_"].contains(name);
    let names: Vec<&str> = names.into_iter().filter(own).collect();
    assert_eq!(names, ["LANG", "PATH", "directory"], "{seen}");
    assert!(seen.contains("directory=/\n"), "{seen}");

    let artifact = PathBuf::from(done["artifact"].as_str().unwrap());
    assert!(artifact.starts_with(place.path("artifacts/production")), "{done}");
    let events = std::fs::read_to_string(artifact.join("events.jsonl")).unwrap();
    assert!(events.contains("reloaded with (not shown)"), "{events}");
    assert!(!format!("{events}{outcome:?}").contains("hunter2"));
    let config = place.config();
    let list = Run::new("slotguard", &["artifacts", "list", "--production", "--config", &config]);
    let list = summary(&list.format("json").run());
    assert_eq!(list["artifacts"][0]["outcome"], "deployed", "{list}");
    assert_eq!(list["artifacts"][0]["slot"], Value::Null);
    let name = list["artifacts"][0]["name"].as_str().unwrap();
    let show = ["artifacts", "show", "--production", name, "--config", &config];
    assert_eq!(summary(&Run::new("slotguard", &show).format("json").run())["slot"], Value::Null);
}

#[test]
fn en_11_the_health_check_is_asked_again_until_it_succeeds() {
    let place = arranged(RELOADS, THIRD_TIME, "");
    let done = summary(deploy(&place, &[]).format("json").run().accepted());
    let gate = &done["steps"][2];
    assert_eq!((&gate["step"], &gate["state"]), (&"health-gate".into(), &"done".into()));
    let attempts = gate["attempts"].as_array().unwrap();
    assert_eq!((attempts.len(), lines(&place, "bin/asked")), (3, 3), "{gate}");
    assert_eq!(attempts[0]["status"], "exit status: 1");
    assert_eq!(lines(&place, "bin/reloads"), 1, "the reload is not repeated");
}

#[test]
fn en_11_what_never_becomes_healthy_fails_after_its_attempts() {
    let place = arranged(RELOADS, THIRD_TIME, "health_attempts = 2\n");
    let outcome = deploy(&place, &[]).format("json").run();
    let denial = outcome.denied(Code::DeployUnhealthy);
    assert!(denial["found"].as_str().unwrap().contains("attempt 2"), "{denial}");
    let failed = summary(&outcome);
    assert_eq!((&failed["outcome"], &failed["reload_begun"]), (&"failed".into(), &true.into()));
    assert_eq!(failed["steps"][2]["output"], serde_json::json!(["not yet"]));
    assert_eq!(lines(&place, "bin/asked"), 2);
}

#[test]
fn en_11_a_health_check_that_hangs_is_ended_and_counts_as_failed() {
    let hangs = "#!/bin/sh\necho $$ >\"$(dirname \"$0\")/pid\"\nexec sleep 1000\n";
    let place = arranged(RELOADS, hangs, "health_attempts = 1\nhealth_timeout_s = 1\n");
    deploy(&place, &[]).format("json").run().denied(Code::DeployUnhealthy);
    assert!(gone(&place, "bin/pid"), "the check was left behind");
}

fn gone(place: &Place, name: &str) -> bool {
    let pid = std::fs::read_to_string(place.path(name)).unwrap();
    Process::look(pid.trim().parse().unwrap()).is_none_or(|process| !process.is_running())
}

#[test]
fn en_10_a_reload_that_fails_or_hangs_is_not_followed_by_a_check() {
    for reload in ["#!/bin/sh\necho broken >&2\nexit 3\n", "#!/bin/sh\nexec sleep 1000\n"] {
        let place = arranged(reload, THIRD_TIME, "reload_timeout_s = 1\n");
        let outcome = deploy(&place, &[]).format("json").run();
        outcome.denied(Code::DeployReload);
        assert_eq!(summary(&outcome)["steps"].as_array().unwrap().len(), 2);
        assert_eq!(lines(&place, "bin/asked"), 0);
    }
}

/// What a reload starts is production itself.
#[test]
fn en_10_what_a_reload_leaves_running_goes_on() {
    let starts = "#!/bin/sh\nsleep 1000 >/dev/null 2>&1 &\necho $! >\"$(dirname \"$0\")/pid\"\n";
    let place = arranged(starts, "#!/bin/sh\nexit 0\n", "");
    deploy(&place, &[]).format("json").run().accepted();
    let pid = std::fs::read_to_string(place.path("bin/pid")).unwrap().trim().parse().unwrap();
    assert!(Process::look(pid).is_some_and(|process| process.is_running()));
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    rustix::process::kill_process(pid, Signal::KILL).unwrap();
}

#[test]
fn a_signal_ends_the_command_that_runs_and_says_where() {
    let hangs = "#!/bin/sh\necho $$ >\"$(dirname \"$0\")/pid\"\nexec sleep 1000\n";
    for (reload, health, step) in
        [(hangs, "#!/bin/sh\nexit 0\n", "reload"), (RELOADS, hangs, "health-gate")]
    {
        let place = arranged(reload, health, "health_timeout_s = 600\nhealth_deadline_s = 600\n");
        let outcome = deploy(&place, &[]).format("json").run_while(|running| {
            let pid = place.path("bin/pid");
            for _ in 0..3000 {
                std::thread::sleep(std::time::Duration::from_millis(10));
                if std::fs::read_to_string(&pid).is_ok_and(|text| text.ends_with('\n')) {
                    break;
                }
            }
            running.signal(Signal::TERM);
        });
        let denial = outcome.denied(Code::DeployInterrupted);
        assert!(denial["message"].as_str().unwrap().starts_with(step), "{denial}");
        assert_eq!(summary(&outcome)["outcome"], "interrupted");
        assert!(gone(&place, "bin/pid"), "the command was left behind");
    }
}

#[test]
fn a_dry_run_judges_everything_and_runs_nothing() {
    let place = arranged(RELOADS, THIRD_TIME, "");
    let planned = summary(deploy(&place, &["--dry-run"]).format("json").run().accepted());
    assert_eq!((&planned["outcome"], &planned["reload_begun"]), (&"planned".into(), &false.into()));
    assert_eq!(lines(&place, "bin/reloads") + lines(&place, "bin/asked"), 0);
    let unsafe_file = deploy(&place, &["--dry-run"]).with(HEALTHCHECK, "/bin/sh").format("json");
    unsafe_file.run().denied(Code::ProgramNotAllowed);
}

#[test]
fn en_10_a_preview_does_not_deploy_production() {
    let place = arranged(RELOADS, "#!/bin/sh\nexit 0\n", "");
    for (name, value) in [
        ("SLOT_ID", "preview-1"),
        ("SLOT_WORKTREE_PATH", "/srv/previews/x"),
        ("WORKER_SLOT_API_DIRECT_TEMPLATE", "http://127.0.0.1:810{slot}"),
        ("DATABASE_URL", "postgresql://slot_1@127.0.0.1:5432/app_preview_1"),
    ] {
        let outcome = deploy(&place, &[]).with(name, value).format("json").run();
        let denial = outcome.denied(Code::DeployInPreview);
        assert!(denial["found"].as_str().unwrap().contains(name), "{denial}");
    }
    let from = |directory: &str| {
        let front = ["-C", directory];
        deploy(&place, &[]).format("json").behind(Path::new("/usr/bin/env"), &front).run()
    };
    from(&place.text("previews/feature")).denied(Code::DeployInPreview);
    from(&place.text("state")).denied(Code::DeployInPreview);
    assert_eq!(lines(&place, "bin/reloads"), 0);
    from(&place.text("empty")).accepted();
}

#[test]
fn a_step_that_works_is_shown_on_a_terminal_only() {
    let script = Path::new("/usr/bin/script");
    if !script.is_file() {
        return say("SKIPPED: no /usr/bin/script");
    }
    let place = arranged("#!/bin/sh\nsleep 1\n", "#!/bin/sh\nexit 0\n", "");
    let (program, config) = (crate::support::programs::program("slotguard"), place.config());
    let typed = format!("{} deploy --config {config}", program.to_str().unwrap());
    let args = ["--quiet", "--return", "--command", &typed, "/dev/null"];
    let shown = Run::at(script, &args)
        .with("SHELL", "/bin/sh")
        .with("TERM", "xterm")
        .with(RELOAD, &format!("{} --now", place.text("bin/reload")))
        .with(HEALTHCHECK, &place.text("bin/health"))
        .run();
    assert_eq!(shown.status, Some(0), "{shown:#?}");
    let drawn = shown.stdout.matches("\r\u{1b}[K").count();
    assert!(drawn > 2 && shown.stdout.contains("/ reload"), "{shown:#?}");
    assert!(!deploy(&place, &[]).format("human").run().accepted().said().contains('\u{1b}'));
}

#[test]
fn one_deploy_at_a_time() {
    let place = arranged(RELOADS, "#!/bin/sh\nexit 0\n", "");
    let lock = locked(&place);
    deploy(&place, &[]).format("json").run().denied(Code::DeployBusy);
    drop(lock);
    deploy(&place, &[]).format("json").run().accepted();
}

fn locked(place: &Place) -> std::fs::File {
    std::fs::create_dir_all(place.path("state/deploy")).unwrap();
    let lock = std::fs::File::create(place.path("state/deploy/production.lock")).unwrap();
    lock.lock().unwrap();
    lock
}

const HEALTHY: &str = "#!/bin/sh\nexit 0\n";

/// Those that need neither a signal nor a lock.
pub(crate) const CODES: &[Scenario] = &[
    (Code::DeployInPreview, End::Refused, |place| {
        arrange(place, HEALTHY, HEALTHY, "");
        deploy(place, &[]).with("SLOT_ID", "preview-1")
    }),
    (Code::DeployCommandMissing, End::Refused, |place| {
        arrange(place, HEALTHY, HEALTHY, "");
        deploy(place, &[]).with(HEALTHCHECK, "")
    }),
    (Code::DeployCommandShape, End::Refused, |place| {
        arrange(place, HEALTHY, HEALTHY, "");
        deploy(place, &[]).with(RELOAD, "/usr/bin/systemctl reload app && curl x")
    }),
    (Code::DeployReload, End::Refused, |place| {
        arrange(place, "#!/bin/sh\necho broken >&2\nexit 3\n", HEALTHY, "");
        deploy(place, &[])
    }),
    (Code::DeployUnhealthy, End::Refused, |place| {
        arrange(place, HEALTHY, "#!/bin/sh\necho 'not yet' >&2\nexit 1\n", "health_attempts = 1\n");
        deploy(place, &[])
    }),
];

#[test]
fn every_refusal_of_a_deploy_as_people_and_programs_meet_it() {
    play(CODES);
    let place = arranged(HEALTHY, HEALTHY, "");
    deploy(&place, &[]).format("human").run().accepted();
}
