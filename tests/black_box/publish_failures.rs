//! A failure of every step of a publish in turn: what was served is served on, whole, and the next
//! publish succeeds.

#![expect(clippy::unwrap_used, reason = "helpers of tests, outside of what the lint takes for one")]

use std::path::Path;

use serde_json::Value;

use crate::support::bench::{Bench, states, summary};
use crate::support::programs;
use crate::support::run::say;
use crate::support::web::get;

const FILES: [(&str, &str); 3] =
    [("index.html", "<html>of "), ("app.js", "// of "), ("style.css", "/* of ")];

/// Writes a frontend in which every file names the round, and a migration of the round.
pub(crate) fn write_round(bench: &Bench, round: usize) {
    for (name, front) in FILES {
        bench.write(&format!("frontend/{name}"), &format!("{front}{round} */"));
    }
    let version = 10 + round;
    let table = format!("CREATE TABLE round_{round} (id int);\n");
    bench.write(&format!("migrations/V{version}__round_{round}.sql"), &table);
}

fn round_in(text: &str, front: &str) -> Option<usize> {
    text.strip_prefix(front)?.strip_suffix(" */")?.parse().ok()
}

/// Returns the round of what is served; a mixture of two fails.
#[track_caller]
pub(crate) fn served_round() -> usize {
    let ask = |path: &str, front: &str| {
        let answer = get(3101, path, "");
        round_in(&answer.text(), front).unwrap_or_else(|| panic!("{path}: {answer:?}"))
    };
    for _ in 0..50 {
        let before = ask("/", FILES[0].1);
        let rest = [ask("/app.js", FILES[1].1), ask("/style.css", FILES[2].1)];
        // Else it was exchanged in the middle.
        if ask("/", FILES[0].1) == before {
            assert_eq!(rest, [before; 2], "a mixture of two releases");
            return before;
        }
    }
    panic!("what is served never stays");
}

/// Returns the round of the release that `current` names.
#[track_caller]
pub(crate) fn current_round(bench: &Bench) -> usize {
    let root = bench.server.place.path("web-preview-1");
    let release = root.join(std::fs::read_link(root.join("current")).unwrap());
    let read = |(name, front): (&str, &str)| {
        round_in(&std::fs::read_to_string(release.join(name)).unwrap(), front).unwrap()
    };
    let rounds = FILES.map(read);
    assert_eq!(rounds, [rounds[0]; 3], "a mixture of two releases");
    rounds[0]
}

/// Has one frontend built by the branch, which `build.sh` of the worktree does.
fn with_build(bench: &Bench) {
    let config = bench.server.place.config();
    let text = std::fs::read_to_string(&config).unwrap();
    let text = text.replace("[frontend]\n", "[frontend]\nbuild = \"build\"\n");
    let more = "[programs.build]\npath = \"/bin/sh\"\nargs = [\"build.sh\"]\n\
                [programs.fetch]\npath = \"/bin/sh\"\nargs = [\"fetch.sh\"]\n\
                [sync]\nprograms = [\"fetch\"]\n";
    bench.server.place.write("slotguard.toml", 0o600, &format!("{text}{more}"));
    for name in ["build.sh", "fetch.sh"] {
        bench.write(name, "exit 0\n");
    }
}

/// A backend that is healthy once, as its start asks, and not afterwards.
const HEALTHY_ONCE: &str = r#"#!/usr/bin/python3
import http.server, os
class Backend(http.server.BaseHTTPRequestHandler):
    asked = 0
    def do_GET(self):
        Backend.asked += 1
        self.send_response(200 if Backend.asked == 1 else 503)
        self.send_header("Content-Length", "0")
        self.end_headers()
http.server.HTTPServer(("127.0.0.1", int(os.environ["SLOT_BACKEND_PORT"])), Backend).serve_forever()
"#;

/// Makes a step fail, then mends it.
struct Failure {
    step: &'static str,
    breaks: fn(&Bench),
    mends: fn(&Bench),
}

fn install_backend(bench: &Bench) {
    bench.server.place.install(&programs::program("sample-backend"), "bin/sample-backend");
}

fn without_last_migration(bench: &Bench) {
    let path = "previews/feature/migrations/V99__fail.sql";
    std::fs::remove_file(bench.server.place.path(path)).unwrap();
}

const FAILURES: [Failure; 7] = [
    Failure {
        step: "preflight",
        breaks: |bench| bench.write("migrations/V99__fail.sql", "DROP DATABASE app_production;\n"),
        mends: without_last_migration,
    },
    Failure {
        step: "dependency-sync",
        breaks: |bench| {
            bench.write("package.json", "{}");
            bench.write("fetch.sh", "exit 3\n");
        },
        mends: |bench| bench.write("fetch.sh", "exit 0\n"),
    },
    Failure {
        step: "frontend-stage",
        breaks: |bench| bench.write("build.sh", "echo '<html>half' >frontend/index.html; exit 3\n"),
        mends: |bench| bench.write("build.sh", "exit 0\n"),
    },
    Failure {
        step: "migration",
        breaks: |bench| bench.write("migrations/V99__fail.sql", "ALTER TABLE none ADD x int;\n"),
        mends: without_last_migration,
    },
    Failure {
        step: "backend-restart",
        breaks: |bench| {
            bench.server.place.write_program("bin/sample-backend", "#!/bin/sh\nexit 3\n");
        },
        mends: install_backend,
    },
    Failure {
        step: "backend-readiness",
        breaks: |bench| bench.server.place.write_program("bin/sample-backend", HEALTHY_ONCE),
        mends: install_backend,
    },
    Failure {
        step: "frontend-switch",
        breaks: |bench| {
            let root = bench.server.place.path("web-preview-1");
            std::fs::rename(root.join("current"), root.join("aside")).unwrap();
            std::fs::create_dir(root.join("current")).unwrap();
        },
        mends: |bench| {
            let root = bench.server.place.path("web-preview-1");
            std::fs::remove_dir(root.join("current")).unwrap();
            std::fs::rename(root.join("aside"), root.join("current")).unwrap();
        },
    },
];

fn failed_step(said: &Value) -> String {
    states(said).last().unwrap().clone()
}

#[test]
fn lc_8_after_a_failure_of_any_step_what_was_served_is_whole_and_the_next_publish_succeeds() {
    let mut bench = Bench::new().serving();
    with_build(&bench);
    write_round(&bench, 1);
    assert_eq!(summary(&bench.publish(&[]).run())["outcome"], "published");
    let mut round = 1;
    for Failure { step, breaks, mends } in FAILURES {
        if step == "backend-readiness" && !Path::new("/usr/bin/python3").is_file() {
            say("SKIPPED a failure of backend-readiness: no /usr/bin/python3");
            continue;
        }
        round += 1;
        write_round(&bench, round);
        breaks(&bench);
        let said = summary(&bench.publish(&[]).run());
        assert_eq!(said["outcome"], "failed", "{step}: {said:#}");
        assert_eq!(failed_step(&said), format!("{step} failed"), "{said:#}");
        assert_eq!(served_round(), round - 1, "{step}");
        mends(&bench);
        assert_eq!(current_round(&bench), round - 1, "{step}");
        write_round(&bench, round);
        let said = summary(&bench.publish(&[]).run());
        assert_eq!(said["outcome"], "published", "{step}: {said:#}");
        assert_eq!((served_round(), current_round(&bench)), (round, round), "{step}");
    }

    // The last step has no successor: the new release is in place, and nobody serves it.
    bench = bench.stop_serving();
    write_round(&bench, round + 1);
    let said = summary(&bench.publish(&[]).run());
    assert_eq!(failed_step(&said), "readiness failed", "{said:#}");
    assert_eq!(current_round(&bench), round + 1);
    bench = bench.serving();
    assert_eq!(served_round(), round + 1);
    assert_eq!(summary(&bench.publish(&[]).run())["outcome"], "unchanged");
}
