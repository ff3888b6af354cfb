//! The way of a worktree into a slot, with a real server, real processes and a page that is served.

#![expect(clippy::unwrap_used, reason = "helpers of tests, outside of what the lint takes for one")]

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use guard::diagnostic::Code;
use serde_json::Value;

use crate::support::ports;
use crate::support::programs;
use crate::support::run::{Outcome, Run};
use crate::support::server::Server;

/// A server, a worktree with the sample application, and the slot's ports.
struct Bench {
    server: Server,
    front: Option<Front>,
    _ports: std::sync::MutexGuard<'static, ()>,
}

impl Bench {
    fn new() -> Self {
        let ports = ports::reserve();
        let server = Server::new();
        let place = &server.place;
        place.install(&programs::program("sample-backend"), "bin/sample-backend");
        server.configure(&format!(
            "require_stamp = true\n\
             [backend]\n\
             health_path = \"/api/health\"\n\
             [programs.backend]\n\
             path = \"{}\"\n\
             [publish]\n\
             migrations = \"migrations\"\n\
             [frontend]\n\
             dist = \"frontend\"\n\
             [sandbox]\n\
             require = []\n",
            place.text("bin/sample-backend")
        ));
        place.keep_artifacts(&place.text("artifacts"));
        let bench = Self { server, front: None, _ports: ports };
        bench.fill("feature");
        bench
    }

    fn fill(&self, worktree: &str) {
        let place = &self.server.place;
        place.copy_migrations(&fixtures::sample_app().join("migrations"), worktree);
        for name in ["index.html", "app.js", "style.css"] {
            let text = std::fs::read_to_string(fixtures::sample_app().join("frontend").join(name));
            place.write(&format!("previews/{worktree}/frontend/{name}"), 0o644, &text.unwrap());
        }
    }

    fn serving(mut self) -> Self {
        self.front = Some(Front::serve(self.server.place.path("web-preview-1/current")));
        self
    }

    fn write(&self, name: &str, text: &str) {
        self.server.place.write(&format!("previews/feature/{name}"), 0o644, text);
    }

    fn publish(&self, more: &[&str]) -> Run {
        let place = &self.server.place;
        let (config, worktree) = (place.config(), place.text("previews/feature"));
        let args = ["publish", "--config", &config, "--slot", "preview-1", "--worktree", &worktree];
        Run::new("slotguard", &[&args, more].concat())
            .with("WORKER_PREVIEW_WEB_ROOT_TEMPLATE", &place.text("web-preview-{slot}"))
            .format("json")
    }

    fn backend(&self, verb: &str) -> Run {
        let config = self.server.place.config();
        let args = ["backend", verb, "--config", &config, "--slot", "preview-1"];
        Run::new("slotguard", &args).format("json")
    }

    fn served_page(&self) -> String {
        let page = self.server.place.path("web-preview-1/current/index.html");
        std::fs::read_to_string(page).unwrap_or_default()
    }

    fn pid(&self) -> Value {
        self.backend("status").run().objects().last().unwrap()["pid"].clone()
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        // Whatever the test showed, nothing of it stays.
        let _ = self.backend("stop").run();
    }
}

/// What stands in for the slot's web surface: the page of the release, on the slot's port.
struct Front {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Front {
    fn serve(current: PathBuf) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 3101)).unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if stopped.load(Ordering::Relaxed) {
                    return;
                }
                let mut stream = stream.unwrap();
                let mut line = String::new();
                let _ = BufReader::new(&stream).read_line(&mut line);
                let page = std::fs::read_to_string(current.join("index.html")).unwrap_or_default();
                let _ = write!(stream, "HTTP/1.0 200 OK\r\n\r\n{page}");
            }
        });
        Self { stop, thread: Some(thread) }
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = std::net::TcpStream::connect(("127.0.0.1", 3101));
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// The last object, which says how the publish ended.
fn summary(outcome: &Outcome) -> Value {
    outcome.objects().pop().unwrap()
}

/// The steps as `name state`, in order.
fn states(summary: &Value) -> Vec<String> {
    let steps = summary["steps"].as_array().unwrap().iter();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    steps.map(|step| format!("{} {}", text(&step["step"]), text(&step["state"]))).collect()
}

#[test]
fn di_1_a_worktree_is_published_step_by_step_and_the_second_time_nothing_is_done() {
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
fn di_2_what_each_step_said_is_kept() {
    let bench = Bench::new().serving();
    let done = summary(&bench.publish(&[]).run());
    let artifact = PathBuf::from(done["artifact"].as_str().unwrap());
    let read = |name: &str| std::fs::read_to_string(artifact.join(name)).unwrap();
    let events = read("events.jsonl");
    for step in ["preflight", "frontend-stage", "migration", "backend-restart", "readiness"] {
        assert!(events.contains(&format!("\"step\":\"{step}\"")), "{step}");
    }
    assert!(events.contains("migration.applied"), "the output of the migration is kept");
    let report: Value = serde_json::from_str(&read("report.json")).unwrap();
    assert_eq!(report["outcome"], "published");
    let page = read("report.html");
    assert!(page.contains("preview-1: published") && page.contains("migration"));
    let secret = crate::support::run::SECRET;
    assert!(!format!("{events}{page}").contains(secret));
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
