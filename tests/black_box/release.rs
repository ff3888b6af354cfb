//! The end of a slot: what the next holder finds of the last one.

#![expect(clippy::unwrap_used, reason = "helpers of tests, outside of what the lint takes for one")]

use std::path::Path;

use guard::diagnostic::Code;
use serde_json::{Value, json};

use crate::diagnostics::{End, Scenario, play};
use crate::support::bench::{Bench, states, summary};
use crate::support::place::{PINNED, Place};
use crate::support::run::Run;

const SLOT: [&str; 2] = ["--slot", "preview-1"];

/// A bench whose slots are reset when they are given back.
fn resetting(from: &str) -> Bench {
    let bench = Bench::new().serving();
    let text = std::fs::read_to_string(bench.server.place.config()).unwrap();
    let release = format!("[release]\nreset = \"{from}\"\n");
    bench.server.place.write("slotguard.toml", 0o600, &format!("{text}{release}"));
    bench
}

/// A database that is not there, so that the reset fails.
const MISSING: &str = "template app_missing";

/// Names the seed instead.
fn mend(bench: &Bench) {
    let text = std::fs::read_to_string(bench.server.place.config()).unwrap();
    bench.server.place.write("slotguard.toml", 0o600, &text.replace(MISSING, "seed"));
}

fn build_seed(bench: &Bench) {
    let migrations = bench.server.place.text("previews/feature/migrations");
    bench.server.seed(&migrations, &[]).run().accepted();
}

fn claim(bench: &Bench, more: &[&str]) -> String {
    let args = [&SLOT, &["--owner", "worker"], more].concat();
    let claimed = summary(bench.slot("claim", &args).run().accepted());
    claimed["generation"].to_string()
}

fn release(bench: &Bench, generation: &str) -> Value {
    let outcome = bench.slot("release", &[&SLOT, &["--lease", generation][..]].concat()).run();
    summary(outcome.accepted())
}

/// Leaves something in the slot's database that no migration makes.
fn leave_data(bench: &Bench) {
    bench.server.sql("app_preview_1", "CREATE TABLE left_behind (secret text)");
}

fn has_data(bench: &Bench) -> bool {
    bench.server.tables("app_preview_1").contains("left_behind")
}

#[test]
fn lc_10_the_next_holder_finds_nothing_of_the_last_one() {
    let bench = resetting("seed");
    build_seed(&bench);
    let first = claim(&bench, &[]);
    assert_eq!(summary(&bench.publish(&["--lease", &first]).run())["outcome"], "published");
    leave_data(&bench);
    let released = release(&bench, &first);
    assert_eq!(released["database"], "reset-scheduled", "{released}");
    assert!(bench.pid().is_null() && bench.served_page().contains("is free"));
    assert!(bench.server.place.path("artifacts/preview-1").exists(), "artifacts stay");

    let next = claim(&bench, &[]);
    assert!(has_data(&bench), "a claim alone waits for no reset");
    // Nobody works with the data, by whatever way.
    let migrations = bench.server.place.text("previews/feature/migrations");
    let apply = bench.server.migrate("apply", 1, &migrations).and(&["--lease", &next]);
    apply.format("json").run().denied(Code::ResetDue);
    bench.backend_of(1, "start").and(&["--lease", &next]).run().denied(Code::ResetDue);

    let planned = summary(&bench.publish(&["--lease", &next, "--dry-run"]).run());
    assert_eq!(states(&planned)[0], "database-reset planned");
    assert!(has_data(&bench), "a dry run resets nothing");
    let published = summary(&bench.publish(&["--lease", &next]).run());
    assert_eq!(published["outcome"], "published", "{published:#}");
    assert_eq!(states(&published)[0], "database-reset done");
    assert!(!has_data(&bench));

    bench.server.sql("app_preview_1", "CREATE TABLE own (x int)");
    let again = summary(&bench.publish(&["--lease", &next]).run());
    assert_eq!(states(&again)[0], "preflight done", "what was done is not done again");
    assert!(bench.server.tables("app_preview_1").contains("own"));
    let late = bench.server.reset(1).and(&["--if-due", "--lease", &next]).format("json").run();
    assert_eq!(summary(late.accepted())["event"], "reset.not_due");
    assert!(bench.server.tables("app_preview_1").contains("own"));
}

#[test]
fn a_reset_that_fails_keeps_the_slot_closed_until_one_succeeds() {
    let bench = resetting(MISSING);
    let first = claim(&bench, &[]);
    leave_data(&bench);
    release(&bench, &first);
    let next = claim(&bench, &[]);
    for _ in 0..2 {
        let outcome = bench.publish(&["--lease", &next]).run();
        let denial = outcome.denied(Code::ResetTemplate);
        assert!(denial["message"].as_str().unwrap().starts_with("database-reset: "), "{denial}");
        assert_eq!(summary(&outcome)["steps"].as_array().unwrap().len(), 1);
    }
    let note = bench.server.place.path("state/resets/preview-1");
    assert!(note.exists() && has_data(&bench));
    mend(&bench);
    let published = summary(&bench.publish(&["--lease", &next]).run());
    assert_eq!(published["outcome"], "published", "{published:#}");
    assert!(!note.exists() && !has_data(&bench));
}

#[test]
fn an_expired_slot_is_reset_by_the_reaper_once_it_can_be() {
    let bench = resetting(MISSING);
    claim(&bench, &["--for", "1s"]);
    leave_data(&bench);
    std::thread::sleep(std::time::Duration::from_millis(1500));
    let outcome = bench.slot("reap", &[]).run();
    outcome.refused(Code::ResetTemplate);
    let reaped = summary(&outcome);
    assert_eq!((&reaped["freed"], &reaped["reset"]), (&json!(["preview-1"]), &json!([])));
    assert_eq!(reaped["not_reset"][0]["slot"], "preview-1", "{reaped}");
    mend(&bench);
    let again = summary(bench.slot("reap", &[]).run().accepted());
    assert_eq!((&again["freed"], &again["reset"]), (&json!([]), &json!(["preview-1"])));
    assert!(!has_data(&bench));
    let idle = summary(bench.slot("reap", &[]).run().accepted());
    assert_eq!(idle["reset"], json!([]));
}

/// A claimed slot's reset is its holder's: the reaper does not take the database away beneath a publish.
#[test]
fn the_reaper_leaves_a_slot_that_somebody_holds() {
    let bench = resetting("seed");
    build_seed(&bench);
    let first = claim(&bench, &[]);
    leave_data(&bench);
    release(&bench, &first);
    claim(&bench, &[]);
    let reaped = summary(bench.slot("reap", &[]).run().accepted());
    assert_eq!(reaped["reset"], json!([]));
    assert!(has_data(&bench));
}

/// A slot that was claimed, with these tables in the configuration.
fn claimed(place: &Place, tables: &str) {
    place.configure(&format!("{PINNED}{tables}"));
    let config = place.config();
    let args = ["slot", "claim", "--slot", "preview-1", "--owner", "w", "--config", &config];
    Run::new("slotguard", &args).with("WORKER_PREVIEW_WEB_ROOT_TEMPLATE", WEB).run().accepted();
}

/// Where no front was ever published.
const WEB: &str = "/nonexistent/web-{slot}";

fn freed(place: &Place) -> Run {
    let config = place.config();
    let args = ["slot", "release", "--slot", "preview-1", "--lease", "1", "--config", &config];
    Run::new("slotguard", &args).with("WORKER_PREVIEW_WEB_ROOT_TEMPLATE", WEB)
}

/// What a slot that is given back says of its database.
pub(crate) const CODES: &[Scenario] = &[(Code::ResetDue, End::Refused, |place| {
    place.configure(PINNED);
    place.write("state/resets/preview-1", 0o644, "2026-01-02T03:04:05Z");
    place.write("previews/feature/migrations/V1__a.sql", 0o644, "SELECT 1;");
    let migrations = place.text("previews/feature/migrations");
    place
        .migrate("apply", &["--slot", "preview-1", "--migrations", &migrations])
        .with("DATABASE_URL", "postgresql://slot_1@127.0.0.1:5432/app_preview_1")
})];

#[test]
fn what_becomes_of_the_database_is_said() {
    assert!(!Path::new("/nonexistent").exists());
    play(CODES);
    for (tables, database, words) in [
        ("", "not-configured", "no `[release] reset` is configured"),
        ("[release]\nreset = \"keep\"\n", "kept", "keeps what is in it\n"),
    ] {
        let place = Place::new();
        claimed(&place, tables);
        let kept = summary(freed(&place).format("json").run().accepted());
        assert_eq!(kept["database"], database);
        let place = Place::new();
        claimed(&place, tables);
        assert!(freed(&place).format("human").run().accepted().stderr.contains(words));
    }
}
