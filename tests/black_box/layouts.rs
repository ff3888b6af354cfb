//! Directories of migrations as other tools lay them out.

#![expect(clippy::unwrap_used, reason = "helpers of tests, outside of what the lint takes for one")]

use std::os::unix::fs::symlink;

use guard::diagnostic::Code;
use serde_json::{Value, json};

use crate::support::programs;
use crate::support::run::{Outcome, Run, assert_whole, say};
use crate::support::server::{EMPTY, Server, password};

/// What is expected of a directory in `fixtures/migrations/layouts`.
struct Expected {
    layout: &'static str,
    versions: &'static [i64],
    names: &'static [&'static str],
}

/// The last migration of each builds an index concurrently.
const LAYOUTS: &[Expected] = &[
    Expected {
        layout: "refinery",
        versions: &[1, 2, 3],
        names: &["customers", "orders", "orders_by_customer"],
    },
    Expected {
        layout: "flyway",
        versions: &[1_000_000_000_000, 1_000_100_000_000, 1_001_000_000_000],
        names: &["Create_customers", "orders", "orders_by_customer"],
    },
    Expected {
        layout: "sqlx",
        versions: &[20_260_102_030_405, 20_260_103_030_405, 20_260_104_030_405],
        names: &["customers", "orders", "orders_by_customer"],
    },
    Expected {
        layout: "dbmate",
        versions: &[20_260_102_030_405, 20_260_103_030_405, 20_260_104_030_405],
        names: &["customers", "orders", "orders_by_customer"],
    },
    Expected {
        layout: "golang-migrate",
        versions: &[1, 2, 3],
        names: &["customers", "orders", "orders_by_customer"],
    },
    Expected {
        layout: "diesel",
        versions: &[0, 20_260_102_030_405, 202_601_030_304_050_000, 202_601_040_304_050_000],
        names: &["diesel_initial_setup", "customers", "orders", "orders_by_customer"],
    },
    Expected {
        layout: "prisma",
        versions: &[0, 20_260_103_030_405, 20_260_104_030_405],
        names: &["init", "orders", "orders_by_customer"],
    },
];

fn copy(server: &Server, name: &str) -> String {
    let from = fixtures::migrations(&format!("layouts/{name}"));
    server.place.copy_migrations(&from, name)
}

fn in_json(server: &Server, command: &str, migrations: &str) -> Outcome {
    server.migrate(command, 1, migrations).format("json").run()
}

#[track_caller]
fn last(outcome: &Outcome) -> Value {
    outcome.accepted().objects().pop().unwrap()
}

fn column(report: &Value, key: &str) -> Vec<Value> {
    let entries = report["migrations"].as_array().unwrap();
    entries.iter().map(|entry| entry[key].clone()).collect()
}

#[test]
fn each_layout_is_planned_applied_and_then_unchanged() {
    let server = Server::new();
    for Expected { layout, versions, names } in LAYOUTS {
        let migrations = copy(&server, layout);
        let lint = Run::new("migrate-runner", &["lint", &migrations]).format("json").run();
        let linted = lint.accepted().objects()[0]["files"].as_array().unwrap().len();
        assert_eq!(linted, versions.len(), "{layout}: {lint:?}");

        let plan = last(&in_json(&server, "plan", &migrations));
        assert_eq!((&plan["layout"], &plan["pending"]), (&json!(layout), &json!(versions.len())));
        let modes = column(&plan, "mode");
        let (index, others) = modes.split_last().unwrap();
        assert_eq!(index, "statements", "{layout}: {plan}");
        assert!(others.iter().all(|mode| mode == "transaction"), "{layout}: {plan}");

        let run = last(&in_json(&server, "apply", &migrations));
        assert_eq!((&run["layout"], &run["applied"]), (&json!(layout), &json!(versions)));
        content_is_whole(&server, layout);

        let status = last(&in_json(&server, "status", &migrations));
        assert_eq!(
            column(&status, "version"),
            versions.iter().map(|v| json!(v)).collect::<Vec<_>>()
        );
        assert_eq!(column(&status, "name"), names.iter().map(|n| json!(n)).collect::<Vec<_>>());
        assert!(column(&status, "state").iter().all(|state| state == "applied"), "{layout}");

        let again = last(&in_json(&server, "apply", &migrations));
        assert_eq!((&again["outcome"], &again["applied"]), (&json!("unchanged"), &json!([])));
        let plan = last(&in_json(&server, "plan", &migrations));
        assert_eq!(plan["pending"], 0, "{layout}");
        server.reset(1).run().accepted();
    }
}

/// What undoes a migration has not run, and what makes rows has run once.
fn content_is_whole(server: &Server, layout: &str) {
    let database = "app_preview_1";
    assert_eq!(server.tables(database), format!("customers orders {EMPTY}"), "{layout}");
    let rows = server.sql(database, "SELECT count(*) FROM orders");
    assert_eq!(rows.trim(), "2", "{layout}");
    let valid =
        "SELECT indisvalid FROM pg_index WHERE indexrelid = 'orders_customer_idx'::regclass";
    assert_eq!(server.sql(database, valid).trim(), "t", "{layout}");
}

#[test]
fn the_words_for_people_name_layout_and_files() {
    let server = Server::new();
    let shown = ["dbmate", "diesel"].map(|layout| {
        let migrations = copy(&server, layout);
        let outcome = server.migrate("plan", 1, &migrations).format("human").run();
        outcome.accepted().snapshot(&server.redactor())
    });
    assert_whole("layouts", &shown.join("\n"));
}

#[test]
fn a_directory_of_two_layouts_is_refused_until_somebody_says_which() {
    let server = Server::new();
    for (name, layout, pending) in [
        ("two-tools", None, 0),
        ("both-directories", None, 0),
        ("half-marked", None, 0),
        ("undo-or-migration", Some("flyway"), 1),
        ("numbers-and-ups", Some("sqlx"), 2),
    ] {
        let migrations = copy(&server, &format!("unclear/{name}"));
        for command in ["plan", "apply", "status"] {
            let denial = in_json(&server, command, &migrations).denied(Code::LayoutUnclear);
            assert!(denial["expected"].as_str().unwrap().contains("--layout"), "{denial}");
        }
        Run::new("migrate-runner", &["lint", &migrations]).run().refused(Code::LayoutUnclear);
        let as_layout = |layout| {
            let run = server.migrate("plan", 1, &migrations).and(&["--layout", layout]);
            run.format("json").run()
        };
        match layout {
            Some(layout) => assert_eq!(last(&as_layout(layout))["pending"], pending, "{name}"),
            // Whatever is said, what does not fit is named and not left out.
            None => {
                for layout in ["refinery", "flyway", "dbmate", "golang-migrate", "diesel", "prisma"]
                {
                    let status = as_layout(layout).status;
                    assert!(matches!(status, Some(65 | 66)), "{name} as {layout}: {status:?}");
                }
            }
        }
    }
    assert_eq!(server.tables("app_preview_1"), EMPTY);
}

/// A path and a content.
type NamedText = (&'static str, &'static str);

/// Files that their layout does not know, each beside a good one, and the close neighbour.
#[rustfmt::skip]
const BROKEN: &[(&str, Code, NamedText, NamedText)] = &[
    ("dbmate", Code::LayoutMalformed, ("2_b.sql", "-- migrate:up\nSELECT 1;\n"),
        ("2_b.sql", "-- migrate:up\nSELECT 1;\n-- migrate:down\nSELECT 2;\n")),
    ("dbmate", Code::LayoutMalformed, ("2_b.sql", "-- migrate:down\nSELECT 1;\n-- migrate:up\nSELECT 1;\n"),
        ("2_b.sql", "-- migrate:up\n-- migrate:down\n")),
    ("dbmate", Code::LayoutMalformed, ("2_b.sql", "SELECT 1;\n-- migrate:up\n-- migrate:down\n"),
        ("2_b.sql", "-- a word\n\n-- migrate:up\n-- migrate:down\n")),
    ("dbmate", Code::LayoutMalformed, ("2_b.sql", "-- migrate:up transaction:maybe\n-- migrate:down\n"),
        ("2_b.sql", "-- migrate:up transaction:true\n-- migrate:down\n")),
    ("golang-migrate", Code::LayoutMalformed, ("2_b.down.sql", "SELECT 1;"), ("2_b.up.sql", "SELECT 1;")),
    ("golang-migrate", Code::MigrationName, ("2_b.up.txt", "SELECT 1;"), ("2_b.txt", "a word")),
    ("golang-migrate", Code::MigrationName, ("seed.sql", "SELECT 1;"), ("seed.md", "a word")),
    ("sqlx", Code::MigrationName, ("99999999999999999999_b.sql", "SELECT 1;"), ("9_b.sql", "SELECT 1;")),
    ("flyway", Code::LayoutUnsupported, ("R__views.sql", "SELECT 1;"), ("V3__views.sql", "SELECT 1;")),
    ("flyway", Code::LayoutUnsupported, ("B2__all.sql", "SELECT 1;"), ("V2__all.sql", "SELECT 1;")),
    ("flyway", Code::LayoutUnsupported, ("afterMigrate.sql", "SELECT 1;"), ("afterMigrate.txt", "a word")),
    ("flyway", Code::LayoutUnsupported, ("V2__b.sql", "SELECT '${name}';"), ("V2__b.sql", "SELECT '$name';")),
    ("flyway", Code::LayoutUnsupported, ("V1.1__a.sql.conf", "shouldExecute=false"),
        ("V1.1__a.sql.conf", "placeholderReplacement=false")),
    ("flyway", Code::LayoutUnsupported, ("more/V3__b.sql", "SELECT 1;"), ("more/notes.txt", "a word")),
    ("flyway", Code::MigrationName, ("V2.20000__b.sql", "SELECT 1;"), ("V2.2000__b.sql", "SELECT 1;")),
    ("diesel", Code::LayoutMalformed, ("2_b/down.sql", "SELECT 1;"), ("2_b/up.sql", "SELECT 1;")),
    ("diesel", Code::LayoutMalformed, ("1_a/metadata.toml", "run_in_transaction = \"no\""),
        ("1_a/metadata.toml", "run_in_transaction = true")),
    ("diesel", Code::LayoutMalformed, ("schema.sql", "SELECT 1;"), ("schema.rs", "a word")),
    ("diesel", Code::MigrationName, ("x_b/up.sql", "SELECT 1;"), ("2-0_b/up.sql", "SELECT 1;")),
    ("prisma", Code::LayoutMalformed, ("2_b/steps.json", "{}"), ("2_b/migration.sql", "SELECT 1;")),
];

const GOOD: &[(&str, &str, &str)] = &[
    ("dbmate", "1_a.sql", "-- migrate:up\nSELECT 1;\n-- migrate:down\nSELECT 2;\n"),
    ("golang-migrate", "1_a.up.sql", "SELECT 1;"),
    ("sqlx", "1_a.sql", "SELECT 1;"),
    ("flyway", "V1.1__a.sql", "SELECT 1;"),
    ("diesel", "1_a/up.sql", "SELECT 1;"),
    ("prisma", "1_a/migration.sql", "SELECT 1;"),
];

#[test]
fn what_a_layout_does_not_know_is_named_and_not_left_out() {
    let server = Server::new();
    for (number, (layout, code, broken, neighbour)) in BROKEN.iter().enumerate() {
        let (_, file, text) = GOOD.iter().find(|(known, ..)| known == layout).unwrap();
        let plan = |kind: &str, (other, content): &(&str, &str)| {
            let directory = format!("previews/{kind}-{number}/migrations");
            server.place.write(&format!("{directory}/{file}"), 0o644, text);
            server.place.write(&format!("{directory}/{other}"), 0o644, content);
            let run = server.migrate("plan", 1, &server.place.text(&directory));
            run.format("json").run()
        };
        let denial = plan("broken", broken).denied(*code);
        let stem = broken.0.split('/').next().unwrap();
        assert!(denial["found"].as_str().unwrap().contains(stem), "{layout}: {denial}");
        let plan = last(&plan("whole", neighbour));
        assert_eq!(plan["layout"], *layout, "{plan}");
    }
}

/// A tool would follow the link; here nothing leads out of the directory.
#[test]
fn a_link_in_the_place_of_a_directory_is_named() {
    let server = Server::new();
    for layout in ["diesel", "prisma", "flyway"] {
        let migrations = copy(&server, layout);
        last(&in_json(&server, "plan", &migrations));
        symlink(server.place.path("previews"), format!("{migrations}/30000101000000_more"))
            .unwrap();
        let denial = in_json(&server, "plan", &migrations).denied(Code::LayoutMalformed);
        assert!(denial["found"].as_str().unwrap().contains("_more"), "{layout}: {denial}");
    }
}

/// The text that runs is a part of the file; its places are the file's.
#[test]
fn a_failure_is_placed_in_the_whole_file() {
    let server = Server::new();
    let text =
        "-- Who buys.\n\n-- migrate:up\nSELECT 1;\nSELECT 1/0;\n-- migrate:down\nSELECT 2;\n";
    server.place.write("previews/x/migrations/1_a.sql", 0o644, text);
    let outcome = in_json(&server, "apply", &server.place.text("previews/x/migrations"));
    let denial = outcome.denied(Code::MigrationFailed);
    assert!(denial["found"].as_str().unwrap().starts_with("line 5, column"), "{denial}");
}

/// The part that undoes a migration does not run, so it may change; the digest says that it did.
#[test]
fn the_digest_is_of_the_whole_file_and_the_ledgers_checksum_of_what_ran() {
    let server = Server::new();
    let migrations = copy(&server, "dbmate");
    let digests = || column(&last(&in_json(&server, "status", &migrations)), "sha256");
    last(&in_json(&server, "apply", &migrations));
    let before = digests();
    let file = format!("{migrations}/20260103030405_orders.sql");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, format!("{text}-- and nothing else\n")).unwrap();
    let after = digests();
    assert_eq!((&before[0], &before[2]), (&after[0], &after[2]));
    assert_ne!(before[1], after[1]);
    std::fs::write(&file, text.replace("12.50", "13.50")).unwrap();
    in_json(&server, "status", &migrations).refused(Code::MigrationDivergent);
}

#[test]
fn a_database_with_its_schema_and_a_seed_take_any_layout() {
    let server = Server::new();
    let migrations = copy(&server, "diesel");
    let adopt = server.migrate("adopt", 1, &migrations).and(&["--up-to", "20260102030405"]);
    let adopted = last(&adopt.format("json").run());
    assert_eq!((&adopted["layout"], &adopted["pending"]), (&json!("diesel"), &json!(2)));
    let prisma = copy(&server, "prisma");
    server.seed(&prisma, &[]).run().accepted();
    server.reset(2).run().accepted();
    let plan = server.migrate("plan", 2, &prisma).format("json").run();
    assert_eq!(last(&plan)["pending"], 0);
    // A name is one of the list, and stands beside migrations only.
    let unknown = server.migrate("plan", 1, &migrations).and(&["--layout", "rails"]);
    unknown.run().refused(Code::Usage);
}

/// What each layout has to say that a migration needs no transaction, and the same without it.
#[rustfmt::skip]
const DECLARED: &[(&str, &[NamedText], NamedText)] = &[
    ("sqlx", &[("1_a.sql", "-- no-transaction\nSELECT 1;")], ("1_a.sql", "-- no transaction\nSELECT 1;")),
    ("sqlx", &[("1_a.up.sql", "-- no-transaction\nSELECT 1;"), ("1_a.down.sql", "SELECT 2;")],
        ("1_a.sql", "SELECT 1; -- no-transaction")),
    ("dbmate", &[("1_a.sql", "-- migrate:up transaction:false\nSELECT 1;\n-- migrate:down\n")],
        ("1_a.sql", "-- migrate:up\nSELECT 1;\n-- migrate:down transaction:false\n")),
    ("flyway", &[("V1.1__a.sql", "SELECT 1;"), ("V1.1__a.sql.conf", "executeInTransaction = false\n")],
        ("V1.1__a.sql.conf", "#executeInTransaction=false\nexecuteInTransaction=true\n")),
    ("diesel", &[("1_a/up.sql", "SELECT 1;"), ("1_a/metadata.toml", "run_in_transaction = false")],
        ("1_a/metadata.toml", "# run_in_transaction = false\n[more]\nrun_in_transaction = false\n")),
];

#[test]
fn each_layouts_own_word_for_no_transaction_counts() {
    let server = Server::new();
    for (number, (layout, files, neighbour)) in DECLARED.iter().enumerate() {
        let directory = format!("previews/x-{number}/migrations");
        let mode = |file: &NamedText| {
            server.place.write(&format!("{directory}/{}", file.0), 0o644, file.1);
            let run = server.migrate("plan", 1, &server.place.text(&directory));
            let outcome = run.format("json").run();
            (outcome.status == Some(0)).then(|| last(&outcome))
        };
        let plans: Vec<Value> = files.iter().filter_map(&mode).collect();
        let plan = plans.last().unwrap();
        assert_eq!(plan["layout"], *layout, "{files:?}: {plan}");
        assert_eq!(column(plan, "mode"), ["statements"], "{files:?}: {plan}");
        let stem = neighbour.0;
        if !files.iter().any(|(name, _)| *name == stem) {
            std::fs::remove_dir_all(server.place.path(&directory)).unwrap();
        }
        assert_eq!(column(&mode(neighbour).unwrap(), "mode"), ["transaction"], "{neighbour:?}");
    }
}

/// The tool itself makes the same of its directory. It comes with `benches/migrations.sh`.
#[test]
fn dbmate_makes_the_same_of_its_directory() {
    let dbmate = programs::program("migrate-runner").with_file_name("../tools/bin/dbmate");
    if !dbmate.is_file() {
        return say("SKIPPED: no dbmate in target/tools");
    }
    let server = Server::new();
    let migrations = copy(&server, "dbmate");
    last(&in_json(&server, "apply", &migrations));
    let url = server.url(2, "app_preview_2").replace('@', &format!(":{}@", password(2)));
    let args = ["--migrations-dir", &migrations, "--no-dump-schema", "migrate"];
    let run = Run::at(&dbmate, &args).with("DATABASE_URL", &format!("{url}?sslmode=disable"));
    assert_eq!(run.run().status, Some(0));
    let shape = "SELECT string_agg(format('%s.%s %s', c.relname, a.attname, a.atttypid::regtype), ', ' \
                     ORDER BY c.relname, a.attnum) FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid \
                 WHERE a.attnum > 0 AND c.relnamespace = 'public'::regnamespace \
                     AND c.relname ~ '^(customers|orders)'";
    let ours = server.sql("app_preview_1", shape);
    assert!(ours.contains("orders_customer_idx.customer_id bigint"), "{ours}");
    assert_eq!(server.sql("app_preview_2", shape), ours);
}
