//! Leases: who may hold a slot, and who may act on it.

#![expect(clippy::unwrap_used, reason = "helpers of tests, outside of what the lint takes for one")]

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, ChildStdout};

use guard::diagnostic::Code;

use crate::support::hold::Hold;
use crate::support::place::{PINNED, Place};
use crate::support::run::{Outcome, Run, assert_whole};
use crate::support::server::Server;

/// The codes that this module shows, for the test that every code is shown.
pub(crate) const SHOWN: [Code; 8] = [
    Code::LeaseHeld,
    Code::LeaseGeneration,
    Code::LeaseExpired,
    Code::LeaseBusy,
    Code::LeaseStore,
    Code::LeaseTerm,
    Code::LeaseLabel,
    Code::LeaseEndsSoon,
];

fn slot(place: &Place, command: &str, args: &[&str]) -> Run {
    let config = place.config();
    Run::new("slotguard", &[&["slot", command, "--config", &config], args].concat())
}

pub(crate) fn on_one(place: &Place, command: &str, args: &[&str]) -> Run {
    slot(place, command, &[&["--slot", "preview-1"], args].concat())
}

fn claim(place: &Place, args: &[&str]) -> Run {
    let named = ["--owner", "worker-1", "--purpose", "pull request 41"];
    on_one(place, "claim", &[&named, args].concat())
}

/// Claims `preview-1` and returns the generation.
#[track_caller]
pub(crate) fn claimed(place: &Place) -> String {
    let outcome = claim(place, &[]).format("json").run();
    outcome.accepted().objects()[0]["generation"].to_string()
}

/// Moves the end of the lease of `preview-1`, in seconds after 1970.
pub(crate) fn end_at(place: &Place, seconds: u64) {
    let record = "state/leases/preview-1.json";
    let text = std::fs::read_to_string(place.path(record)).unwrap();
    let mut value: serde_json::Value = serde_json::from_str(&text).unwrap();
    value["lease"]["expires_at"] = seconds.into();
    place.write(record, 0o600, &value.to_string());
}

fn in_minutes(minutes: u64) -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    now.as_secs() + 60 * minutes
}

/// Plays a refusal in both formats, each in a place of its own, against the snapshot of its code.
#[track_caller]
fn refused(code: Code, prepare: impl Fn(&Place) -> Run) {
    let shown = ["human", "json"].map(|format| {
        let place = Place::new();
        let outcome = prepare(&place).format(format).run();
        outcome.refused(code);
        if format == "json" {
            outcome.denied(code);
        }
        outcome.snapshot(&place.redactor())
    });
    assert_whole(code.id(), &shown.join("\n"));
}

#[test]
fn each_refusal_as_people_and_programs_meet_it() {
    refused(Code::LeaseHeld, |place| {
        claimed(place);
        on_one(place, "claim", &["--owner", "worker-2", "--timeout", "0s"])
    });
    refused(Code::LeaseGeneration, |place| {
        let first = claimed(place);
        on_one(place, "release", &["--lease", &first]).run().accepted();
        claimed(place);
        on_one(place, "renew", &["--lease", &first])
    });
    refused(Code::LeaseExpired, |place| {
        let generation = claimed(place);
        end_at(place, 1000);
        on_one(place, "renew", &["--lease", &generation])
    });
    refused(Code::LeaseStore, |place| {
        claimed(place);
        place.write("state/leases/preview-1.json", 0o600, "{\"slot\":\"preview-1\"}");
        slot(place, "list", &[])
    });
    refused(Code::LeaseTerm, |place| claim(place, &["--for", "90d"]));
    refused(Code::LeaseLabel, |place| {
        on_one(place, "claim", &["--owner", "postgres://u:s3cret@h/d"])
    });

    let place = Place::new();
    let generation = claimed(&place);
    on_one(&place, "renew", &["--lease", &generation, "--for", "90m"]).run().accepted();
    slot(&place, "list", &[]).run().accepted();
}

#[test]
fn a_slot_that_is_being_acted_on_is_not_released() {
    let mut shown = Vec::new();
    for format in ["human", "json"] {
        let place = Place::new();
        let generation = claimed(&place);
        let release = || on_one(&place, "release", &["--lease", &generation, "--timeout", "0s"]);
        let activity = File::open(place.path("state/leases/preview-1.activity")).unwrap();
        activity.lock_shared().unwrap();
        let outcome = release().format(format).run();
        outcome.refused(Code::LeaseBusy);
        shown.push(outcome.snapshot(&place.redactor()));
        drop(activity);
        release().run().accepted();
    }
    assert_whole(Code::LeaseBusy.id(), &shown.join("\n"));
}

#[test]
fn a_lease_from_the_claim_to_the_end() {
    let place = Place::new();
    let rows = || slot(&place, "list", &[]).format("json").run().objects()[0]["slots"].clone();
    assert_eq!(rows()[0]["standing"], "unclaimed");
    assert!(!place.path("state/leases").exists(), "looking makes nothing");

    let said = claim(&place, &["--for", "3h"]).format("json").run().accepted().objects();
    assert_eq!((&said[0]["outcome"], &said[0]["generation"]), (&"claimed".into(), &1.into()));
    let row = &rows()[0];
    assert_eq!((&row["standing"], &row["owner"]), (&"held".into(), &"worker-1".into()));
    assert_eq!(row["purpose"], "pull request 41");
    assert_eq!(rows()[1]["standing"], "unclaimed");

    let table = slot(&place, "list", &[]).format("human").run();
    assert!(table.accepted().stdout.contains("preview-1  worker-1  pull request 41  "));

    end_at(&place, in_minutes(5));
    let events = |outcome: &Outcome| -> Vec<String> {
        let objects = outcome.objects();
        objects.iter().filter_map(|o| o["event"].as_str().map(str::to_owned)).collect()
    };
    let reap = || slot(&place, "reap", &[]).format("json").run();
    let soon = reap();
    assert_eq!(events(soon.accepted()), ["lease.ends_soon"]);
    assert_eq!(events(reap().accepted()), Vec::<String>::new(), "it is said once");

    end_at(&place, 1000);
    assert_eq!(rows()[0]["standing"], "expired");
    let freed = reap();
    assert_eq!(events(freed.accepted()), ["lease.freed"]);
    assert_eq!(freed.objects().last().unwrap()["freed"][0], "preview-1");
    assert_eq!(
        (&rows()[0]["standing"], &rows()[0]["last_generation"]),
        (&"unclaimed".into(), &1.into())
    );
    assert_eq!(claimed(&place), "2");
}

#[test]
fn who_waits_for_a_slot_is_told_by_whom_and_gets_it() {
    let place = Place::new();
    let generation = claimed(&place);
    let waiting = on_one(&place, "claim", &["--owner", "worker-2", "--wait", "--timeout", "1m"]);
    let outcome = waiting.format("json").run_while(|running| {
        assert!(running.says("lease.waiting"));
        on_one(&place, "release", &["--lease", &generation]).run().accepted();
    });
    let objects = outcome.accepted().objects();
    assert!(objects[0]["found"].as_str().unwrap().contains("worker-1"), "{objects:?}");
    assert_eq!((&objects[1]["owner"], &objects[1]["generation"]), (&"worker-2".into(), &2.into()));
}

#[test]
fn a_slot_whose_record_cannot_be_read_is_not_freed_behind_its_back() {
    let place = Place::new();
    let generation = claimed(&place);
    place.write("state/records/preview-1.json", 0o644, "{}");
    let release = || on_one(&place, "release", &["--lease", &generation]).format("json").run();
    release().denied(Code::RecordUnsafe);
    std::fs::remove_file(place.path("state/records/preview-1.json")).unwrap();
    release().accepted();
}

#[test]
fn a_command_line_repeats_no_text_in_the_place_of_a_generation() {
    let place = Place::new();
    let url = "postgresql://u:s3cret@h/d";
    for args in [["--lease", url], ["--lease", "0"], ["--lease", "s3cret"]] {
        let outcome = on_one(&place, "renew", &args).format("json").run();
        assert_eq!(outcome.status, Some(64), "{outcome:?}");
    }
}

/// A server whose first slot is claimed, and one migration for it.
struct Leased {
    server: Server,
    migrations: String,
    generation: String,
}

impl Leased {
    fn new(migration: &str) -> Self {
        let server = Server::new();
        server.place.write("previews/x/migrations/V1__a.sql", 0o644, migration);
        let migrations = server.place.text("previews/x/migrations");
        let generation = claimed(&server.place);
        Self { server, migrations, generation }
    }

    /// The option that only the holder can give.
    fn own(&self) -> [&str; 2] {
        ["--lease", &self.generation]
    }

    fn migrate(&self, command: &str, lease: &[&str]) -> Run {
        self.server.migrate(command, 1, &self.migrations).and(lease)
    }

    fn apply(&self, lease: &[&str]) -> Run {
        self.migrate("apply", lease).format("json")
    }

    fn release(&self, more: &[&str]) -> Run {
        on_one(&self.server.place, "release", &[&self.own(), more].concat()).format("json")
    }

    fn versions(&self) -> String {
        self.server.versions("app_preview_1")
    }
}

/// Starts a program and reads on until it says a text; the rest of its output can still be read.
fn start_until(run: Run, text: &str) -> (Child, BufReader<ChildStdout>, String) {
    let mut child = run.start();
    let (mut output, mut said) = (BufReader::new(child.stdout.take().unwrap()), String::new());
    while !said.contains(text) {
        assert!(output.read_line(&mut said).unwrap() > 0, "{said}");
    }
    (child, output, said)
}

#[test]
fn an_act_on_the_database_needs_the_lease_of_a_claimed_slot() {
    let leased = Leased::new("CREATE TABLE a ();");
    let own = leased.own();
    let reset = |lease: &[&str]| leased.server.reset(1).and(lease).format("json");
    for stranger in [&[][..], &["--lease", "9"]] {
        let code = if stranger.is_empty() { Code::LeaseHeld } else { Code::LeaseGeneration };
        leased.apply(stranger).run().denied(code);
        reset(stranger).run().denied(code);
    }
    assert_eq!(leased.versions(), "", "nothing ran");
    leased.migrate("plan", &[]).run().accepted();
    leased.migrate("status", &[]).run().accepted();
    let plan = leased.migrate("plan", &["--lease", "9"]).format("json");
    plan.run().denied(Code::LeaseGeneration);

    let said = leased.apply(&own).run().accepted().objects();
    assert_eq!(said[0]["event"], "lease.admitted");
    let generation = &leased.generation;
    let held = format!("{{\"generation\":{generation},\"standing\":\"held\"}}");
    assert_eq!(said[0]["lease"].to_string(), held);
    reset(&own).run().accepted();

    let place = &leased.server.place;
    end_at(place, 1000);
    leased.apply(&own).run().denied(Code::LeaseExpired);
    slot(place, "reap", &[]).run().accepted();
    leased.apply(&own).run().denied(Code::LeaseGeneration);
    let said = leased.apply(&[]).run().accepted().objects();
    assert_eq!(said[0]["lease"].to_string(), "{\"standing\":\"unclaimed\"}");
}

#[test]
fn a_lease_that_expires_while_another_run_is_waited_for_admits_nothing() {
    let leased = Leased::new("CREATE TABLE a ();");
    let other_run =
        Hold { slot: Some(1), database: "app_preview_1", statements: crate::runs::LOCK };
    let (mut child, mut output, mut said) = other_run.during(&leased.server, |_| {
        let started = start_until(leased.apply(&leased.own()), "run.waiting");
        end_at(&leased.server.place, 1000);
        started
    });
    output.read_to_string(&mut said).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(75), "{said}");
    assert!(said.contains(Code::LeaseExpired.id()), "{said}");
    assert_eq!(leased.versions(), "", "nothing ran");
}

#[test]
fn an_act_near_the_end_of_its_lease_is_warned() {
    let leased = Leased::new("CREATE TABLE a ();");
    let place = &leased.server.place;
    let shown = ["human", "json"].map(|format| {
        end_at(place, in_minutes(5));
        let outcome = leased.migrate("apply", &leased.own()).format(format).run();
        assert_eq!(outcome.status, Some(0), "{outcome:?}");
        assert!(outcome.said().contains(Code::LeaseEndsSoon.id()), "{outcome:?}");
        outcome.snapshot(&leased.server.redactor())
    });
    assert_whole(Code::LeaseEndsSoon.id(), &shown.join("\n"));
    end_at(place, in_minutes(60));
    leased.apply(&leased.own()).run().accepted();
}

#[test]
fn a_release_waits_for_a_migration_that_runs() {
    let leased = Leased::new("CREATE TABLE a ();");
    let place = &leased.server.place;
    leased.apply(&leased.own()).run().accepted();
    place.write("previews/x/migrations/V2__b.sql", 0o644, "ALTER TABLE a ADD b int;");
    let reader = "BEGIN; SELECT * FROM a";
    let reader = Hold { slot: Some(1), database: "app_preview_1", statements: reader };
    let (mut child, mut output, mut said) = reader.during(&leased.server, |_| {
        let endless = leased.apply(&leased.own()).and(&["--lock-timeout", "0"]);
        let started = start_until(endless, "migration.started");
        leased.release(&["--timeout", "0s"]).run().denied(Code::LeaseBusy);
        on_one(place, "renew", &leased.own()).run().accepted();
        started
    });
    leased.release(&[]).run().accepted();
    assert_eq!(leased.versions(), "1 2", "the migration was done first");
    output.read_to_string(&mut said).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0), "{said}");
}

#[test]
fn a_migration_that_dies_is_not_waited_for() {
    let leased = Leased::new("SELECT pg_sleep(60);");
    let outcome = leased.apply(&leased.own()).run_while(|running| {
        assert!(running.says("migration.started"));
        running.signal(rustix::process::Signal::KILL);
    });
    assert_eq!(outcome.status, None);
    leased.release(&["--timeout", "1s"]).run().accepted();
}

#[test]
fn the_maximum_of_the_configuration_counts() {
    let place = Place::new();
    place.configure(&format!("{PINNED}[leases]\nmax = \"1h\"\n"));
    claim(&place, &["--for", "61m"]).format("json").run().denied(Code::LeaseTerm);
    let said = claim(&place, &[]).format("json").run().accepted().objects();
    assert!(said[0]["expires_in_s"].as_u64().unwrap() <= 3600, "{said:?}");
}
