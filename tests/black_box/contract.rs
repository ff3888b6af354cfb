//! Clauses of `docs/contract.md` as a whole program meets them, and that each has a test.

#![expect(clippy::unwrap_used, reason = "helpers of tests, outside of what the lint takes for one")]

use std::collections::BTreeSet;

use guard::diagnostic::Code;
use serde_json::Value;

use crate::layering::sources;
use crate::support::place::{PINNED, Place};
use crate::support::run::Run;

fn check(place: &Place, slot: &str, role: u8, database: &str) -> Run {
    let url = format!("postgresql://slot_{role}@127.0.0.1:5432/{database}");
    place.check(&["--slot", slot, "--database-url", &url]).format("json")
}

fn allowed(n: u8) {
    let place = Place::new();
    let slot = format!("preview-{n}");
    let verdict = check(&place, &slot, n, &format!("app_preview_{n}")).run();
    let verdict = &verdict.accepted().objects()[0];
    assert_eq!(verdict["verdict"], "allowed");
    assert_eq!(
        (&verdict["slot"], &verdict["database"]),
        (&slot.clone().into(), &format!("app_preview_{n}").into())
    );
    // The slot's own ports pass in the environment around it, another slot's do not.
    let run = |port: String| {
        check(&place, &slot, n, &format!("app_preview_{n}")).with("SLOT_BACKEND_PORT", &port).run()
    };
    run(format!("810{n}")).accepted();
    run(format!("810{}", n % 3 + 1)).denied(Code::EnvSlotConflict);
    run(format!("310{n}")).denied(Code::EnvSlotConflict);
}

#[test]
fn sm_1_preview_1_has_its_own_port_and_database() {
    allowed(1);
}

#[test]
fn sm_2_preview_2_has_its_own_port_and_database() {
    allowed(2);
}

#[test]
fn sm_3_preview_3_has_its_own_port_and_database() {
    allowed(3);
}

#[test]
fn sm_4_sm_5_an_alias_is_no_identity_in_any_program() {
    let place = Place::new();
    place.copy_migrations(&fixtures::migrations("fails-midway"), "x");
    let migrations = place.text("previews/x/migrations");
    let config = place.config();
    for n in 1..=3 {
        let alias = format!("preview{n}");
        check(&place, &alias, n, &format!("app_preview_{n}")).run().denied(Code::AliasAsIdentity);
        let args = ["--slot", &alias, "--migrations", &migrations];
        place.migrate("apply", &args).format("json").run().denied(Code::AliasAsIdentity);
        let args =
            ["--format", "json", "exec", "--config", &config, "--slot", &alias, "--", "/bin/true"];
        Run::new("runtime-wrapper", &args).run().denied(Code::AliasAsIdentity);
    }
}

/// Each spelling that somebody could take for a slot is refused by each program.
#[test]
fn se_4_an_unknown_slot_is_refused_by_every_program() {
    let place = Place::new();
    let config = place.config();
    for slot in
        ["", "1", "preview", "Preview-1", "preview-01", "preview-1 ", "preview-10", "../preview-1"]
    {
        check(&place, slot, 1, "app_preview_1").run().denied(Code::UnknownSlot);
        let args = ["--slot", slot, "--migrations", "/nonexistent"];
        place.migrate("apply", &args).format("json").run().denied(Code::UnknownSlot);
        let args =
            ["--format", "json", "exec", "--config", &config, "--slot", slot, "--", "/bin/true"];
        Run::new("runtime-wrapper", &args).run().denied(Code::UnknownSlot);
    }
}

#[test]
fn db_2_db_4_every_pair_that_does_not_match_is_refused() {
    let place = Place::new();
    for n in 1..=3 {
        for m in 1..=3 {
            let outcome =
                check(&place, &format!("preview-{n}"), n, &format!("app_preview_{m}")).run();
            if n == m {
                outcome.accepted();
                continue;
            }
            let denial = outcome.denied(Code::OtherSlotsDatabase);
            // Exactly why: what was found, and what belongs there.
            let text = |part: &str| denial[part].as_str().unwrap_or_default().to_owned();
            assert!(text("found").contains(&format!("app_preview_{m}")), "{denial}");
            assert!(text("expected").contains(&format!("app_preview_{n}")), "{denial}");
        }
        let outcome = check(&place, &format!("preview-{n}"), n, "app_production").run();
        outcome.denied(Code::ProductionDatabase);
    }
}

#[test]
fn en_1_the_list_of_slots_must_agree_with_the_file() {
    let place = Place::new();
    place.configure(&format!("{PINNED}[slots]\nids = [\"preview-1\", \"preview-2\"]\n"));
    let with = |list: &str| {
        check(&place, "preview-1", 1, "app_preview_1").with("SLOT_IDS_CSV", list).run()
    };
    with("preview-1,preview-2").accepted();
    for list in ["preview-1", "preview-2,preview-3", "preview-1,preview-2,preview-3"] {
        with(list).denied(Code::ConfigEnvironment);
    }
    for list in ["", "preview1,preview2", "preview-1,preview-1", "preview-1,"] {
        with(list).denied(Code::SlotList);
    }
}

/// What the slot's own variables hold does not depend on what the parent claims.
#[test]
fn en_4_en_5_en_6_en_7_en_9_a_program_gets_the_values_of_its_slot() {
    let place = Place::new();
    place.configure(&format!("{PINNED}[programs.environment]\npath = \"/usr/bin/env\"\n"));
    let config = place.config();
    for n in 1..=3 {
        let slot = format!("preview-{n}");
        let url = format!("postgresql://slot_{n}@127.0.0.1:5432/app_preview_{n}");
        let args = ["exec", "--config", &config, "--slot", &slot, "--", "/usr/bin/env"];
        let run = Run::new("runtime-wrapper", &args).with("DATABASE_URL", &url);
        let claims =
            [("SLOT_ID", "preview-9"), ("SLOT_NUM", "9"), ("SLOT_DB_NAME", "app_production")];
        let run = claims.iter().fold(run, |run, (name, value)| run.with(name, value));
        let outcome = run.with("SLOT_BACKEND_PORT", "8109").run();
        let arrived: Vec<&str> = outcome.accepted().stdout.lines().collect();
        for line in [
            format!("SLOT_ID=preview-{n}"),
            format!("SLOT_NUM={n}"),
            format!("SLOT_BACKEND_PORT=810{n}"),
            format!("SLOT_DB_NAME=app_preview_{n}"),
            format!("DATABASE_URL={url}"),
        ] {
            assert!(arrived.contains(&line.as_str()), "{line}: {arrived:?}");
            let name = line.split_once('=').unwrap().0.to_owned() + "=";
            let times = arrived.iter().filter(|other| other.starts_with(&name)).count();
            assert_eq!(times, 1, "{name}");
        }
    }
}

#[test]
fn nc_2_container_programs_are_refused_although_they_are_listed() {
    let place = Place::new();
    for name in ["docker", "podman", "docker-compose", "kubectl"] {
        let path = format!("/usr/bin/{name}");
        place.configure(&format!("{PINNED}[programs.x]\npath = \"{path}\"\nargs = [\"...\"]\n"));
        let outcome = place.exec(&[], &[&path, "run"]).format("json");
        outcome.run().denied(Code::ContainerRuntime);
    }
}

/// Every program ends in the same verdict object, whatever it refuses.
#[test]
fn dg_3_refusals_of_all_programs_have_one_schema() {
    let place = Place::new();
    let verdicts = [
        check(&place, "preview-7", 1, "app_preview_1").run().denied(Code::SlotNotConfigured),
        place
            .migrate("apply", &["--slot", "preview-7", "--migrations", "/x"])
            .format("json")
            .run()
            .denied(Code::SlotNotConfigured),
    ];
    for verdict in verdicts {
        assert_eq!(verdict["schema"], "slotguard.verdict/1");
        assert_eq!(verdict["slot"], "preview-7");
        assert_eq!(verdict["canonical"], Value::Null);
    }
}

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// Returns the clause ids of the tables.
fn clauses() -> BTreeSet<String> {
    let text = std::fs::read_to_string(format!("{ROOT}/docs/contract.md")).unwrap();
    let rows = text.lines().filter(|line| line.starts_with("| "));
    let ids = rows.filter_map(|row| row.split('|').nth(1)).map(str::trim);
    let is_id = |word: &&str| {
        let number = word.split_once('-').filter(|(prefix, _)| prefix.len() == 2);
        number.is_some_and(|(_, n)| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
    };
    ids.filter(is_id).map(str::to_owned).collect()
}

#[test]
fn every_clause_has_a_test() {
    let all = clauses();
    assert!(all.contains("DB-1") && all.contains("EN-10"), "{all:?}");
    let mut texts = String::new();
    for member in std::fs::read_dir(ROOT).unwrap().flatten() {
        for part in ["src", "tests", "black_box"] {
            for file in sources(&member.path().join(part)) {
                texts.push_str(&std::fs::read_to_string(&file).unwrap().to_lowercase());
            }
        }
    }
    // The id begins a name, or stands in it as a word of its own.
    let has_test = |id: &str| {
        let id = id.to_lowercase().replace('-', "_");
        ["fn ", "mod ", "_"].iter().any(|before| texts.contains(&format!("{before}{id}_")))
    };
    let missing: Vec<&String> = all.iter().filter(|id| !has_test(id)).collect();
    assert_eq!(missing, Vec::<&String>::new(), "clauses without a test");
}
