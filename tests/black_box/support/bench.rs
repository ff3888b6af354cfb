//! A worktree of the sample application on a real server, with a page that is served.

#![expect(clippy::unwrap_used, reason = "helpers of tests, outside of what the lint takes for one")]

use std::net::TcpStream;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Child;
use std::time::Duration;

use serde_json::Value;

use super::run::{Outcome, Run, say};
use super::server::Server;
use super::{ports, programs};

/// A server, a worktree with the sample application, and the slot's ports.
pub(crate) struct Bench {
    pub(crate) server: Server,
    fronts: Vec<Front>,
    _ports: std::sync::MutexGuard<'static, ()>,
}

impl Bench {
    /// Starts the server and fills the worktree `feature`.
    pub(crate) fn new() -> Self {
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
             dist = \"frontend\"\n",
            place.text("bin/sample-backend")
        ));
        place.keep_artifacts(&place.text("artifacts"));
        let bench = Self { server, fronts: Vec::new(), _ports: ports };
        bench.fill("feature");
        bench
    }

    /// Adds a dependency sync that runs `install.js` of the worktree; false where there is no node.
    pub(crate) fn with_sync(&self, script: &str) -> bool {
        if !Path::new("/usr/bin/node").is_file() {
            say("SKIPPED: no /usr/bin/node");
            return false;
        }
        let config = self.server.place.config();
        let text = std::fs::read_to_string(&config).unwrap();
        let more = "[programs.install]\npath = \"/usr/bin/node\"\nargs = [\"install.js\"]\n\
                    [sync]\nprograms = [\"install\"]\n";
        self.server.place.write("slotguard.toml", 0o600, &format!("{text}{more}"));
        self.write("install.js", script);
        true
    }

    /// Fills a worktree with the sample application.
    pub(crate) fn fill(&self, worktree: &str) {
        let place = &self.server.place;
        place.copy_migrations(&fixtures::sample_app().join("migrations"), worktree);
        for name in ["index.html", "app.js", "style.css"] {
            let text = std::fs::read_to_string(fixtures::sample_app().join("frontend").join(name));
            place.write(&format!("previews/{worktree}/frontend/{name}"), 0o644, &text.unwrap());
        }
    }

    /// Serves the first slot's front.
    pub(crate) fn serving(self) -> Self {
        self.serving_of(&[1])
    }

    /// Starts the fronts of slots.
    pub(crate) fn serving_of(mut self, slots: &[u8]) -> Self {
        self.fronts.extend(slots.iter().map(|slot| Front::serve(&self.server, *slot)));
        self
    }

    /// Ends every front.
    pub(crate) fn stop_serving(mut self) -> Self {
        self.fronts.clear();
        self
    }

    /// Writes a file of the worktree.
    pub(crate) fn write(&self, name: &str, text: &str) {
        self.server.place.write(&format!("previews/feature/{name}"), 0o644, text);
    }

    /// Prepares a publish of the worktree into the first slot.
    pub(crate) fn publish(&self, more: &[&str]) -> Run {
        self.publish_into(1, "feature", more)
    }

    /// Prepares a publish of a worktree into a slot.
    pub(crate) fn publish_into(&self, slot: u8, worktree: &str, more: &[&str]) -> Run {
        let place = &self.server.place;
        let (config, slot) = (place.config(), format!("preview-{slot}"));
        let worktree = place.text(&format!("previews/{worktree}"));
        let args = ["publish", "--config", &config, "--slot", &slot, "--worktree", &worktree];
        Run::new("slotguard", &[&args, more].concat())
            .with("WORKER_PREVIEW_WEB_ROOT_TEMPLATE", &place.text("web-preview-{slot}"))
            .format("json")
    }

    /// Prepares a verb of `slotguard backend` for a slot.
    pub(crate) fn backend_of(&self, slot: u8, verb: &str) -> Run {
        let (config, slot) = (self.server.place.config(), format!("preview-{slot}"));
        let args = ["backend", verb, "--config", &config, "--slot", &slot];
        Run::new("slotguard", &args).format("json")
    }

    /// Prepares a command on the leases.
    pub(crate) fn slot(&self, command: &str, more: &[&str]) -> Run {
        let place = &self.server.place;
        let config = place.config();
        Run::new("slotguard", &[&["slot", command, "--config", &config], more].concat())
            .with("WORKER_PREVIEW_WEB_ROOT_TEMPLATE", &place.text("web-preview-{slot}"))
            .format("json")
    }

    /// Returns the page that the first slot's web root leads to.
    pub(crate) fn served_page(&self) -> String {
        let page = self.server.place.path("web-preview-1/current/index.html");
        std::fs::read_to_string(page).unwrap_or_default()
    }

    /// Returns the process of the first slot's backend.
    pub(crate) fn pid(&self) -> Value {
        self.pid_of(1)
    }

    /// Returns the process of a slot's backend.
    pub(crate) fn pid_of(&self, slot: u8) -> Value {
        self.backend_of(slot, "status").run().objects().last().unwrap()["pid"].clone()
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        // Whatever the test showed, nothing of it stays; a claimed slot is stopped by its holder only.
        let list = self.slot("list", &[]).run();
        let generation =
            list.objects().pop().map(|list| list["slots"][0]["generation"].to_string());
        match generation.filter(|text| text != "null") {
            Some(generation) => {
                let args = ["--slot", "preview-1", "--lease", &generation];
                let _ = self.slot("release", &args).run();
            }
            None => drop(self.backend_of(1, "stop").run()),
        }
        for slot in [2, 3] {
            let _ = self.backend_of(slot, "stop").run();
        }
    }
}

/// The slot's own web surface.
struct Front(Child);

impl Front {
    fn serve(server: &Server, slot: u8) -> Self {
        let place = &server.place;
        let root = format!("web-preview-{slot}");
        if !place.path(&format!("{root}/current")).exists() {
            place.write(&format!("{root}/releases/before/index.html"), 0o644, "nothing yet");
            symlink("releases/before", place.path(&format!("{root}/current"))).unwrap();
        }
        let (config, id) = (place.config(), format!("preview-{slot}"));
        let args = ["serve", "--slot", &id, "--no-access-log", "--config", &config];
        let front = Self(
            Run::new("web-surface", &args)
                .with("WORKER_PREVIEW_WEB_ROOT_TEMPLATE", &place.text("web-preview-{slot}"))
                .start(),
        );
        let answers = (0..200).any(|_| {
            std::thread::sleep(Duration::from_millis(20));
            TcpStream::connect(("127.0.0.1", 3100 + u16::from(slot))).is_ok()
        });
        assert!(answers, "the web surface does not start");
        front
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The last object, which says how the publish ended.
pub(crate) fn summary(outcome: &Outcome) -> Value {
    outcome.objects().pop().unwrap()
}

/// The steps as `name state`, in order.
pub(crate) fn states(summary: &Value) -> Vec<String> {
    let steps = summary["steps"].as_array().unwrap().iter();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    steps.map(|step| format!("{} {}", text(&step["step"]), text(&step["state"]))).collect()
}
