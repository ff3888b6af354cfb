//! The way of a worktree into a slot, with a real server, real processes and a page that is served.

use std::os::unix::fs::symlink;
use std::path::PathBuf;

use guard::diagnostic::Code;
use rustix::process::Signal;
use serde_json::Value;

use crate::support::bench::{Bench, states, summary};
use crate::support::run::Run;
use crate::support::sidecar::Sidecar;

#[test]
fn db_1_a_published_backend_reaches_its_database_by_the_sidecar() {
    let bench = Bench::new().serving();
    let config = bench.server.place.config();
    let text = std::fs::read_to_string(&config).unwrap();
    bench.server.place.write(
        "slotguard.toml",
        0o600,
        &format!("{text}[sidecar]\nenabled = true\n"),
    );
    let sidecar = Sidecar::start(&bench.server);
    let outcome = bench.publish(&[]).run();
    assert_eq!(outcome.status, Some(0), "{outcome:#?}");
    sidecar.wait_for("session.opened", |event| event["peer"]["address"].is_string());
    assert_eq!(sidecar.status(&bench.server)["refused"], 0);
    sidecar.stop();
    // The next one finds no sidecar: nothing is changed, and what runs is left alone.
    let running = bench.pid();
    let outcome = bench.publish(&[]).run();
    assert_eq!(states(&summary(&outcome)), ["preflight failed"]);
    assert!(outcome.said().contains(Code::SidecarDemanded.id()), "{outcome:#?}");
    assert_eq!(outcome.status, Some(69), "{outcome:#?}");
    assert_eq!(bench.pid(), running);
}

#[test]
fn lc_8_dg_1_en_2_a_worktree_is_published_step_by_step_and_the_second_time_nothing_is_done() {
    let bench = Bench::new().serving();
    let outcome = bench.publish(&[]).run();
    assert_eq!(outcome.status, Some(0), "{outcome:#?}");
    let first = summary(&outcome);
    assert_eq!(first["outcome"], "published");
    assert_eq!(
        states(&first),
        [
            "preflight done",
            "dependency-sync skipped",
            "frontend-stage done",
            "migration done",
            "backend-restart done",
            "backend-readiness done",
            "frontend-switch done",
            "readiness done",
        ]
    );
    for part in ["database_schema", "backend", "frontend"] {
        assert_eq!(first[part], "new", "{part}");
    }
    assert_eq!(bench.server.versions("app_preview_1"), "1 2 3 4 5 6 7 8 9 10");
    assert!(bench.served_page().contains("<html"));

    let pid = bench.pid();
    let again = summary(&bench.publish(&[]).run());
    assert_eq!(again["outcome"], "unchanged", "{again:#}");
    let unchanged = ["frontend-stage", "migration", "backend-restart", "frontend-switch"];
    for step in unchanged {
        assert!(states(&again).contains(&format!("{step} unchanged")), "{again:#}");
    }
    assert_eq!(bench.pid(), pid, "the backend was left alone");

    bench.write("notes.txt", "a change anywhere in the worktree");
    let third = summary(&bench.publish(&[]).run());
    assert!(states(&third).contains(&"backend-restart done".to_owned()), "{third:#}");
    assert_ne!(bench.pid(), pid);
}

#[test]
fn dg_5_dg_6_dg_8_dg_9_what_each_step_said_is_kept() {
    let bench = Bench::new().serving();
    let done = summary(&bench.publish(&[]).run());
    let artifact = PathBuf::from(done["artifact"].as_str().unwrap());
    let read = |name: &str| std::fs::read_to_string(artifact.join(name)).unwrap();
    let events = read("events.jsonl");
    for step in ["preflight", "frontend-stage", "migration", "backend-restart", "readiness"] {
        assert!(events.contains(&format!("\"step\":\"{step}\"")), "{step}");
    }
    assert!(events.contains("migration.applied"), "the output of the migration is kept");
    for (step, said) in [
        ("frontend-stage", "\"release\""),
        ("dependency-sync", "skipped"),
        ("migration", "migration.applied"),
        ("backend-restart", "\"outcome\":\"restarted\""),
        ("backend-readiness", "\"state\":\"healthy\""),
        ("readiness", "\"port\":3101"),
    ] {
        let own = read(&format!("{step}.log"));
        assert!(own.contains(said), "{step}: {own}");
        let end: Value = serde_json::from_str(own.lines().last().unwrap()).unwrap();
        assert_eq!(end["step"], step);
    }
    let report: Value = serde_json::from_str(&read("report.json")).unwrap();
    assert_eq!(report["outcome"], "published");
    let summary: Value = serde_json::from_str(&read("summary.json")).unwrap();
    assert_eq!(summary["steps"], report["steps"]);
    let page = read("report.html");
    assert!(page.contains("preview-1: published") && page.contains("migration"));
    let secret = crate::support::run::SECRET;
    assert!(!format!("{events}{page}").contains(secret));
}

/// What a package's install script would try.
const HOSTILE_INSTALL: &str = r#"
const fs = require('fs'), net = require('net');
const tried = { names: Object.keys(process.env), values: JSON.stringify(process.env) };
const read = (path) => { try { return fs.readFileSync(path, 'utf8'); } catch (e) { return e.code; } };
tried.npmrc = read(fs.readFileSync('npmrc-path', 'utf8'));
tried.parent = read(`/proc/${process.ppid}/environ`);
const tell = (name, port) => new Promise((done) => {
  const socket = net.connect(port, '127.0.0.1');
  socket.on('connect', () => { tried[name] = 'connected'; socket.destroy(); done(); });
  socket.on('error', (e) => { tried[name] = e.code; done(); });
});
const bind = new Promise((done) => {
  const server = net.createServer();
  server.on('error', (e) => { tried.bind = e.code; done(); });
  server.listen(8101, '127.0.0.1', () => { tried.bind = 'bound'; server.close(); done(); });
});
Promise.all([tell('postgres', Number(fs.readFileSync('port', 'utf8'))), bind]).then(() => {
  fs.writeFileSync('tried.json', JSON.stringify(tried));
  console.log('installed 3 packages');
});
"#;

#[test]
fn dg_4_dg_6_a_dependency_sync_is_the_branch_s_own_code_and_gets_nothing() {
    let bench = Bench::new().serving();
    if !bench.with_sync(HOSTILE_INSTALL) {
        return;
    }
    let place = &bench.server.place;
    place.write("home/.npmrc", 0o600, "//registry/:_authToken=s3cret-token\n");
    bench.write("npmrc-path", &place.text("home/.npmrc"));
    bench.write("port", &bench.server.port().to_string());
    let publish = || {
        bench
            .publish(&[])
            .with("HOME", &place.text("home"))
            .with("NPM_TOKEN", "s3cret-token")
            .with("DATABASE_URL", &bench.server.url(1, "app_preview_1"))
            .with("DEPLOY_BACKEND_RELOAD_CMD", "systemctl reload app")
    };
    let done = summary(&publish().run());
    assert!(states(&done).contains(&"dependency-sync done".to_owned()), "{done:#}");
    let tried = std::fs::read_to_string(place.path("previews/feature/tried.json")).unwrap();
    assert!(!tried.contains("s3cret"), "{tried}");
    let tried: Value = serde_json::from_str(&tried).unwrap();
    let names = tried["names"].to_string();
    for name in ["NPM_TOKEN", "DATABASE_URL", "DEPLOY_BACKEND_RELOAD_CMD"] {
        assert!(!names.contains(&format!("\"{name}\"")), "{names}");
    }
    assert_eq!((&tried["npmrc"], &tried["parent"]), (&"EACCES".into(), &"EACCES".into()));
    assert_eq!((&tried["postgres"], &tried["bind"]), (&"EACCES".into(), &"EACCES".into()));
    let artifact = PathBuf::from(done["artifact"].as_str().unwrap());
    let events = std::fs::read_to_string(artifact.join("events.jsonl")).unwrap();
    assert!(events.contains("installed 3 packages"), "{events}");

    let again = summary(&publish().run());
    assert!(states(&again).contains(&"dependency-sync unchanged".to_owned()), "{again:#}");
    bench.write("package.json", "{}");
    bench.write("install.js", "console.error('no such package'); process.exit(3);");
    let failed = publish().run();
    failed.denied(Code::PublishStep);
    let failed = summary(&failed);
    assert_eq!(failed["steps"][1]["output"], serde_json::json!(["no such package"]), "{failed:#}");
    assert_eq!((&failed["backend"], &failed["frontend"]), (&"previous".into(), &"previous".into()));
}

#[test]
fn a_dry_run_changes_nothing() {
    let bench = Bench::new();
    let outcome = bench.publish(&["--dry-run"]).run();
    assert_eq!(outcome.status, Some(0), "{outcome:#?}");
    assert_eq!(summary(&outcome)["outcome"], "planned");
    assert_eq!(bench.server.tables("app_preview_1"), crate::support::server::EMPTY);
    assert!(!bench.server.place.path("web-preview-1").exists());
    assert!(bench.pid().is_null());
}

#[test]
fn a_frontend_with_a_foreign_address_is_refused_before_anything_changes() {
    let bench = Bench::new();
    bench.write("frontend/app.js", "const api = '/api';\nfetch('http://127.0.0.1:8102/api');");
    let denied = bench.publish(&[]).run();
    let verdict = denied.denied(Code::FrontendAddress);
    assert!(verdict["found"].as_str().unwrap().contains("app.js:2:"), "{verdict}");
    assert_eq!(bench.server.tables("app_preview_1"), crate::support::server::EMPTY);
    assert_eq!(summary(&denied)["backend"], "previous");
}

#[test]
fn a_migration_that_fails_leaves_backend_and_frontend_as_they_were() {
    let bench = Bench::new().serving();
    bench.publish(&[]).run();
    let (pid, page) = (bench.pid(), bench.served_page());
    bench.write("migrations/V11__break.sql", "SELECT 1 / (SELECT count(*) FROM customers) * 0;\n");
    bench.write("migrations/V12__fail.sql", "ALTER TABLE no_such_table ADD x int;\n");
    bench.write("frontend/index.html", "<html>new</html>");
    let outcome = bench.publish(&[]).run();
    assert_eq!(outcome.status, Some(65), "{outcome:#?}");
    let failed = summary(&outcome);
    assert_eq!((&failed["outcome"], &failed["verdict"]), (&"failed".into(), &"denied".into()));
    assert_eq!(failed["database_schema"], "unknown");
    assert_eq!((&failed["backend"], &failed["frontend"]), (&"previous".into(), &"previous".into()));
    assert_eq!(states(&failed).last().unwrap(), "migration failed");
    assert!(!failed["steps"][3]["output"].as_array().unwrap().is_empty());
    assert_eq!((bench.pid(), bench.served_page()), (pid, page));

    bench.write("migrations/V12__fail.sql", "ALTER TABLE customers ADD x int;\n");
    let mended = summary(&bench.publish(&[]).run());
    assert_eq!(mended["outcome"], "published", "{mended:#}");
    assert_eq!(bench.served_page(), "<html>new</html>");
}

#[test]
fn a_backend_that_does_not_come_up_leaves_the_frontend_and_says_that_the_schema_is_new() {
    let bench = Bench::new().serving();
    bench.publish(&[]).run();
    let page = bench.served_page();
    bench.server.place.write_program("bin/sample-backend", "#!/bin/sh\nexit 3\n");
    bench.write("migrations/V11__more.sql", "ALTER TABLE customers ADD x int;\n");
    bench.write("frontend/index.html", "<html>new</html>");
    let failed = summary(&bench.publish(&[]).run());
    assert_eq!(failed["outcome"], "failed", "{failed:#}");
    assert_eq!(failed["database_schema"], "new");
    assert_eq!(failed["frontend"], "previous");
    assert_eq!(bench.served_page(), page);
}

#[test]
fn without_a_web_surface_the_last_step_says_so() {
    let bench = Bench::new();
    let denied = bench.publish(&[]).run();
    let verdict = denied.denied(Code::FrontendNotServed);
    assert!(verdict["message"].as_str().unwrap().starts_with("readiness: "), "{verdict}");
    assert_eq!(summary(&denied)["backend"], "new");
}

#[test]
fn one_publish_at_a_time_works_on_a_slot() {
    let bench = Bench::new().serving();
    let place = &bench.server.place;
    std::fs::create_dir_all(place.path("state/publish")).unwrap();
    let lock = std::fs::File::create(place.path("state/publish/preview-1.lock")).unwrap();
    lock.lock().unwrap();
    bench.publish(&[]).run().denied(Code::PublishBusy);
    lock.unlock().unwrap();
    assert_eq!(summary(&bench.publish(&[]).run())["outcome"], "published");
}

#[test]
fn a_frontend_that_cannot_be_served_is_refused_before_anything_changes() {
    let bench = Bench::new();
    let frontend = bench.server.place.path("previews/feature/frontend");
    symlink("/etc/hostname", frontend.join("host")).unwrap();
    bench.publish(&[]).run().denied(Code::FrontendTree);
    std::fs::remove_file(frontend.join("host")).unwrap();
    std::fs::remove_file(frontend.join("index.html")).unwrap();
    bench.publish(&[]).run().denied(Code::FrontendMissing);
    assert_eq!(bench.server.tables("app_preview_1"), crate::support::server::EMPTY);
    bench.write("frontend/index.html", "<html>mended</html>");
    std::fs::create_dir(bench.server.place.path("web-preview-1")).unwrap();
    std::fs::write(bench.server.place.path("web-preview-1/releases"), "").unwrap();
    bench.publish(&[]).run().denied(Code::ReleaseNotWritable);
}

#[test]
fn a_signal_ends_the_flow_at_the_next_step_and_the_next_publish_succeeds() {
    let bench = Bench::new().serving();
    let outcome = bench.publish(&[]).run_while(|running| {
        assert!(running.says("\"step\":\"migration\""));
        running.signal(Signal::TERM);
    });
    outcome.denied(Code::PublishInterrupted);
    let stopped = summary(&outcome);
    assert_eq!(stopped["outcome"], "interrupted", "{stopped:#}");
    assert_eq!(stopped["frontend"], "previous");
    assert_eq!(summary(&bench.publish(&[]).run())["outcome"], "published");
}

#[test]
fn lc_9_the_slots_are_published_side_by_side() {
    let bench = Bench::new().serving();
    bench.publish(&[]).run();
    let (pid, page) = (bench.pid(), bench.served_page());
    bench.fill("other");
    let other = bench.publish_into(2, "other", &[]).run();
    // Nobody serves the second slot's front here; everything before that is done.
    other.denied(Code::FrontendNotServed);
    assert_eq!(bench.server.versions("app_preview_2"), "1 2 3 4 5 6 7 8 9 10");
    assert_eq!((bench.pid(), bench.served_page()), (pid, page), "preview-1 was left alone");
}

#[test]
fn lc_10_a_claimed_slot_needs_its_lease_and_a_released_one_says_that_it_is_free() {
    let bench = Bench::new().serving();
    let claimed = bench
        .slot("claim", &["--slot", "preview-1", "--owner", "worker-1", "--purpose", "feature-7"])
        .run();
    let generation = summary(&claimed)["generation"].to_string();
    bench.publish(&[]).run().denied(Code::LeaseHeld);
    let published = bench.publish(&["--lease", &generation]).run();
    assert_eq!(summary(&published)["outcome"], "published", "{published:#?}");

    let released = bench.slot("release", &["--slot", "preview-1", "--lease", &generation]).run();
    assert_eq!(released.status, Some(0), "{released:#?}");
    assert!(bench.pid().is_null(), "the backend is stopped");
    assert!(bench.served_page().contains("preview-1 is free"));
    bench.publish(&["--lease", &generation]).run().refused(Code::LeaseGeneration);
}

#[test]
fn dg_2_dg_8_a_restart_outside_a_publish_leaves_its_own_and_the_number_is_held() {
    let bench = Bench::new().serving();
    bench.publish(&[]).run();
    let restarted = summary(bench.backend_of(1, "restart").run().accepted());
    let artifact = PathBuf::from(restarted["artifact"].as_str().unwrap());
    let read = |name: &str| std::fs::read_to_string(artifact.join(name)).unwrap();
    let report: Value = serde_json::from_str(&read("report.json")).unwrap();
    assert_eq!((&report["verb"], &report["outcome"]), (&"restart".into(), &"restarted".into()));
    assert!(read("backend.log").contains("a run begins at"), "{}", read("backend.log"));
    assert!(bench.backend_of(1, "status").run().objects()[0].get("artifact").is_none());

    let place = &bench.server.place;
    let text = std::fs::read_to_string(place.config()).unwrap();
    let few = text.replace("[publish]\n", "[publish]\nkeep_artifacts = 2\n");
    place.write("slotguard.toml", 0o600, &few);
    let count = || std::fs::read_dir(place.path("artifacts/preview-1")).unwrap().count();
    assert!(count() > 2);
    bench.backend_of(1, "restart").run().accepted();
    assert_eq!(count(), 2);
    let migrations = place.text("previews/feature/migrations");
    bench.server.migrate("apply", 1, &migrations).run().accepted();
    assert_eq!(count(), 3, "another program leaves the old ones");
    bench.slot("reap", &[]).run().accepted();
    assert_eq!(count(), 2);
}

#[test]
fn artifacts_are_listed_shown_and_kept_in_number() {
    let bench = Bench::new();
    let place = &bench.server.place;
    bench.publish(&["--dry-run"]).run();
    bench.publish(&["--dry-run"]).run();
    let config = place.config();
    let artifacts = |args: &[&str]| {
        Run::new("slotguard", &[&["artifacts"], args, &["--config", &config]].concat())
            .format("json")
            .run()
    };
    let list = summary(&artifacts(&["list"]));
    let list = list["artifacts"].as_array().unwrap();
    assert_eq!(list.len(), 2, "{list:?}");
    assert!(list.iter().all(|one| one["step"] == "publish" && one["outcome"] == "planned"));
    let name = list[0]["name"].as_str().unwrap();
    let shown = summary(&artifacts(&["show", "--slot", "preview-1", name]));
    assert_eq!(
        shown["files"],
        serde_json::json!([
            "backend-readiness.log",
            "backend-restart.log",
            "dependency-sync.log",
            "events.jsonl",
            "frontend-stage.log",
            "frontend-switch.log",
            "migration.log",
            "preflight.log",
            "readiness.log",
            "report.html",
            "report.json",
            "summary.json",
        ])
    );
    assert_eq!(shown["report"]["outcome"], "planned");
    for bad in ["gone", "../preview-1", ".."] {
        artifacts(&["show", "--slot", "preview-1", bad]).denied(Code::PathMissing);
    }

    let text = std::fs::read_to_string(&config).unwrap();
    let few = text.replace("[publish]\n", "[publish]\nkeep_artifacts = 1\n");
    place.write("slotguard.toml", 0o600, &few);
    bench.publish(&["--dry-run"]).run();
    assert_eq!(summary(&artifacts(&["list"]))["artifacts"].as_array().unwrap().len(), 1);
}

/// A directory that two tools would read differently is published when the configuration says which.
#[test]
fn a_layout_that_names_do_not_show_is_configured() {
    let bench = Bench::new();
    bench.write("migrations/U11__x.sql", "DROP TABLE customers;");
    bench.publish(&["--dry-run"]).run().refused(Code::LayoutUnclear);
    let place = &bench.server.place;
    let text = std::fs::read_to_string(place.config()).unwrap();
    let told = text.replace("[publish]\n", "[publish]\nlayout = \"flyway\"\n");
    place.write("slotguard.toml", 0o600, &told);
    let outcome = bench.publish(&["--dry-run"]).run();
    assert_eq!(summary(&outcome)["outcome"], "planned", "{outcome:#?}");
}
