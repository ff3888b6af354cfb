//! The commands of the wrapper that start nothing: `plan`, `probe` and `explain-env`.

use guard::diagnostic::Code;
use serde_json::{Value, json};

use crate::support::parent::Parent;
use crate::support::place::{PINNED, Place};
use crate::support::redact::Redactor;
use crate::support::run::{Run, SECRET, assert_whole};

const URL: &str = "postgresql://slot_1:s3cret@127.0.0.1:5432/app_preview_1";

fn place() -> Place {
    let place = Place::new();
    let set = "[env]\ninherit = [\"FEATURE_FLAGS\"]\nset = { NODE_ENV = \"preview\" }\n";
    let program = "[programs.nothing]\npath = \"/bin/true\"\nargs = [\"...\"]\n";
    place.configure(&format!("{PINNED}{set}{program}"));
    place
}

fn wrapper(place: &Place, command: &str, words: &[&str]) -> Run {
    let config = place.config();
    let front = [command, "--config", &config, "--slot", "preview-1"];
    Run::new("runtime-wrapper", &[&front, words].concat())
}

fn plan(place: &Place, url: &str) -> Run {
    let worktree = place.text("previews/feature");
    let words = ["--worktree", &worktree, "--", "/bin/true", "s3cret-argument"];
    wrapper(place, "plan", &words).with("DATABASE_URL", url)
}

#[test]
fn a_plan_says_everything_but_values_and_starts_nothing() {
    let place = place();
    let run = plan(&place, URL).with("PGPASSWORD", SECRET).with("FEATURE_FLAGS", "hidden-value");
    for format in ["human", "json"] {
        let said = run.clone().format(format).run();
        assert_eq!(said.status, Some(0), "{said:#?}");
        assert!(!said.said().contains("hidden-value"), "{said:#?}");
        assert!(!said.said().contains("exec.start"), "{said:#?}");
    }
    let view = run.format("json").run().objects().remove(0);
    assert_eq!(view["sandbox"]["bind_tcp"], json!([8101]));
    assert_eq!(view["sandbox"]["connect_tcp"], json!([5432]));
    assert_eq!(view["database_port_is_shared"], true);
    let outcome = |name: &str| {
        let all = view["environment"].as_array().unwrap();
        all.iter().find(|decision| decision["name"] == name).unwrap()["outcome"].clone()
    };
    for (name, wanted) in [
        ("DATABASE_URL", "computed"),
        ("NODE_ENV", "set"),
        ("FEATURE_FLAGS", "inherited"),
        ("PGPASSWORD", "dropped"),
    ] {
        assert_eq!(outcome(name), wanted, "{name}");
    }
    let full: Vec<&str> = view["files"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|rule| rule["access"] == "full")
        .map(|rule| rule["path"].as_str().unwrap())
        .collect();
    let own = ["state/preview-1/home", "state/preview-1/tmp", "previews/feature"];
    assert_eq!(full, own.map(|name| place.text(name)));
}

#[test]
fn a_plan_is_refused_as_the_start_would_be() {
    let place = place();
    let foreign = URL.replace("preview_1", "staging");
    plan(&place, &foreign).format("json").run().denied(Code::ForeignDatabase);
    let within = plan(&place, URL).under(Parent::WithoutLandlock).format("json");
    within.run().denied(Code::SandboxUnavailable);
}

#[test]
fn a_slot_s_own_sidecar_is_shared_with_nobody() {
    let place = place();
    place.configure("[programs.nothing]\npath = \"/bin/true\"\nargs = [\"...\"]\n");
    let shared = |port: &str| {
        let run = plan(&place, &URL.replace("5432", port)).format("json").run();
        run.objects()[0]["database_port_is_shared"].clone()
    };
    assert_eq!(shared("5101"), false);
    assert_eq!(shared("5432"), true);
}

#[test]
fn probe_prints_the_line_that_the_configuration_takes() {
    let probe = Run::new("runtime-wrapper", &["probe"]).format("json").run();
    let said = probe.accepted().objects().remove(0);
    let line = said["line"].as_str().unwrap();
    let config = guard::config::Config::parse(&format!("version = 1\n[sandbox]\n{line}\n"));
    assert_eq!(json!(config.unwrap().sandbox.require), said["enforceable"]);
    let shown = ["human", "json"].map(|format| {
        let run = Run::new("runtime-wrapper", &["probe"]).format(format);
        run.under(Parent::WithoutLandlock).run().snapshot(&Redactor::default())
    });
    assert_whole("probe-without-landlock", &shown.join("\n"));
}

#[test]
fn explain_env_says_why_and_no_value() {
    let place = place();
    let explain = |name: &str, format: &str| {
        let run = wrapper(&place, "explain-env", &[name]).format(format);
        run.with("NODE_OPTIONS", SECRET).with("FEATURE_FLAGS", SECRET).with("LANG", "C").run()
    };
    let names = ["SLOT_ID", "NODE_ENV", "FEATURE_FLAGS", "LANG", "TZ", "NODE_OPTIONS", "OTHER"];
    let shown = names.map(|name| {
        let human = explain(name, "human");
        let outcome: Value = explain(name, "json").accepted().objects().remove(0);
        let word = outcome["outcome"].as_str().unwrap();
        let word = if word == "dropped" { "left out" } else { word };
        assert!(human.stdout.contains(word), "{human:#?}");
        human.snapshot(&place.redactor())
    });
    assert_whole("explain-env", &shown.join("\n"));
    let unknown = wrapper(&place, "explain-env", &["X"]).and(&["--slot", "preview1"]);
    assert_eq!(unknown.run().status, Some(64));
}
