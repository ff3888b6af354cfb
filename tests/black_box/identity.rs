//! What a live database can be besides the slot's own, and which check sees it.
//!
//! `docs/identity.md` is the table of this module: each row names its test here, and the last test
//! holds the table against what the tests assert. What is not caught has a test that shows it.

#![expect(clippy::unwrap_used, reason = "helpers of tests, outside of what the lint takes for one")]

use std::time::Duration;

use guard::diagnostic::Code;
use throwaway_postgres::CopyAs;

use crate::support::pooler::{self, Pooler};
use crate::support::run::{Outcome, SECRET};
use crate::support::server::{Server, password};

/// Expects that `confirm` and `apply` refuse the slot's database with this code.
#[track_caller]
fn caught(server: &Server, slot: u8, code: Code) {
    server.confirm(slot).format("json").run().denied(code);
    apply(server, slot).denied(code);
}

/// Expects that the slot's database is taken for its own; returns what was said.
#[track_caller]
fn not_caught(server: &Server, slot: u8) -> String {
    let outcome = server.confirm(slot).run();
    assert_eq!(outcome.status, Some(0), "{outcome:?}");
    outcome.said()
}

/// Expects that the slot's database is taken for its own, with this warning.
#[track_caller]
fn warned(server: &Server, slot: u8, code: Code) {
    let said = not_caught(server, slot);
    assert!(said.contains(code.id()), "{code}: {said}");
}

/// Expects that `provision --check` names the slot's database with this code.
#[track_caller]
fn found_by_check(server: &Server, slot: u8, code: Code) {
    let findings = server.findings();
    let names = |finding: &serde_json::Value| {
        let message = finding["message"].as_str().unwrap();
        finding["code"] == code.id() && message.contains(&format!("`app_preview_{slot}`"))
    };
    assert!(findings.iter().any(names), "{code}: {findings:?}");
}

/// Runs `apply` with one migration.
fn apply(server: &Server, slot: u8) -> Outcome {
    let directory = migration(server, slot);
    server.migrate("apply", slot, &directory).format("json").run()
}

fn migration(server: &Server, slot: u8) -> String {
    let directory = format!("previews/feature-{slot}/migrations");
    server.place.write(&format!("{directory}/V1__mark.sql"), 0o644, "CREATE TABLE mark ();");
    server.place.text(&directory)
}

/// Production with a ledger of its own, as every application with migrations has one.
fn give_production_a_ledger(server: &Server) {
    server.sql(
        "app_production",
        "CREATE TABLE refinery_schema_history (version int4 PRIMARY KEY, name varchar(255),
             applied_on varchar(255), checksum varchar(255));
         INSERT INTO refinery_schema_history VALUES (7, 'real', '2026-01-02T03:04:05Z', '1')",
    );
}

/// A slot's own migrations have made the tables that production has.
fn give_columns(server: &Server, slot: u8) {
    let (role, database) = (format!("slot_{slot}"), format!("app_preview_{slot}"));
    let columns = "CREATE TABLE customers (id int PRIMARY KEY, name text NOT NULL)";
    server.cluster().run_sql_as(&role, &password(slot), &database, columns).unwrap();
}

fn provisioned_without_protection() -> Server {
    let server = Server::bare();
    server.provision(&["--yes"]).run().accepted();
    server
}

/// Replaces a slot's database by what the SQL makes.
fn replace(server: &Server, slot: u8, text: &str) {
    server.sql("postgres", &format!("DROP DATABASE app_preview_{slot} WITH (FORCE)"));
    server.sql("postgres", &format!("\\set ON_ERROR_STOP off\n{text}"));
}

fn system_identifier(server: &Server) -> String {
    let text = "SELECT system_identifier FROM pg_control_system()";
    server.sql("postgres", text).trim().to_owned()
}

#[test]
fn a_dump_of_unstamped_production_over_a_preview() {
    let server = provisioned_without_protection();
    let clean = server.dump("app_production", &["--clean"]);
    server.restore("app_preview_1", &clean);
    assert!(server.tables("app_preview_1").contains("customers"));
    not_caught(&server, 1);
    found_by_check(&server, 1, Code::ProvisionOwner);

    give_production_a_ledger(&server);
    server.restore("app_preview_1", &server.dump("app_production", &["--clean"]));
    caught(&server, 1, Code::StampLedger);
    // A reset puts an end to it.
    server.reset(1).run().accepted();
    server.confirm(1).run().accepted();

    server.restore("app_preview_2", &server.dump("app_production", &[]));
    caught(&server, 2, Code::StampLedger);
    server.reset(2).run().accepted();
    server.restore("app_preview_2", &server.dump("app_production", &["--no-owner"]));
    not_caught(&server, 2);
    found_by_check(&server, 2, Code::ProvisionOwner);
    // The rows of production's ledger are no migrations of this slot's.
    apply(&server, 2).denied(Code::MigrationMissing);
}

#[test]
fn a_data_only_dump_of_unstamped_production() {
    let server = provisioned_without_protection();
    give_columns(&server, 1);
    server.restore("app_preview_1", &server.dump("app_production", &["--data-only"]));
    assert!(server.sql("app_preview_1", "TABLE customers").contains("a real customer"));
    not_caught(&server, 1);
    server.provision(&["--database", "app_production", "--yes"]).run().accepted();
    server.protect().run().accepted();
    server.provision(&["--check"]).run().accepted();
}

#[test]
fn a_dump_of_stamped_production_over_a_preview() {
    let server = Server::new();
    server.restore("app_preview_1", &server.dump("app_production", &["--clean"]));
    caught(&server, 1, Code::StampRow);
    server.restore("app_preview_2", &server.dump("app_production", &[]));
    caught(&server, 2, Code::StampRow);
    let data = server.dump("app_production", &["--data-only"]);
    give_columns(&server, 3);
    server.restore("app_preview_3", &data);
    caught(&server, 3, Code::StampRow);

    // The slot's own role may not write the row, and so does not bring it along.
    server.reset(3).run().accepted();
    give_columns(&server, 3);
    server.restore_as("slot_3", &password(3), "app_preview_3", &data);
    assert!(server.sql("app_preview_3", "TABLE customers").contains("a real customer"));
    not_caught(&server, 3);
}

#[test]
fn a_dump_of_stamped_production_in_a_database_made_by_hand() {
    let server = Server::by_hand();
    warned(&server, 1, Code::NotStamped);
    server.protect().run().accepted();
    server.restore("app_preview_1", &server.dump("app_production", &[]));
    caught(&server, 1, Code::StampRow);
}

#[test]
fn production_created_anew_under_the_preview_s_name() {
    let server = provisioned_without_protection();
    let create = |slot: u8| {
        let dump = server.dump("app_production", &["--create"]);
        replace(&server, slot, &dump.replace("app_production", &format!("app_preview_{slot}")));
        assert!(server.tables(&format!("app_preview_{slot}")).contains("customers"));
    };
    create(1);
    // The dump brings production's own rights: no slot may enter.
    caught(&server, 1, Code::LoginRefused);
    server.sql("postgres", "GRANT CONNECT ON DATABASE app_preview_1 TO PUBLIC");
    warned(&server, 1, Code::NotStamped);
    server.configure("require_stamp = true");
    caught(&server, 1, Code::StampMissing);

    server.configure("");
    server.protect().run().accepted();
    create(2);
    server.sql("postgres", "GRANT CONNECT ON DATABASE app_preview_2 TO PUBLIC");
    caught(&server, 2, Code::StampedProduction);
}

#[test]
fn a_preview_created_anew_from_its_own_dump() {
    let server = Server::new();
    replace(&server, 1, &server.dump("app_preview_1", &["--create"]));
    caught(&server, 1, Code::StampMismatch);
}

#[test]
fn another_cluster_with_an_unstamped_preview() {
    let (ours, theirs) = (Server::bare(), Server::by_hand());
    warned(&theirs, 1, Code::NotStamped);
    theirs.configure("require_stamp = true");
    caught(&theirs, 1, Code::StampMissing);
    theirs.configure(&format!("system_identifier = \"{}\"", system_identifier(&ours)));
    caught(&theirs, 1, Code::LiveServer);
}

#[test]
fn another_cluster_stamped_by_another_installation() {
    let (ours, theirs) = (Server::bare(), Server::new());
    not_caught(&theirs, 1);
    theirs.configure("require_stamp = true");
    not_caught(&theirs, 1);
    theirs.configure(&format!("system_identifier = \"{}\"", system_identifier(&ours)));
    caught(&theirs, 1, Code::LiveServer);
}

#[test]
fn a_standby() {
    let server = Server::new();
    let standby = server.cluster().copy(CopyAs::Standby).unwrap();
    server.configure_at(standby.port(), "");
    caught(&server, 1, Code::LiveRecovery);
    server.provision_at(standby.port(), &["--check"]).run().refused(Code::LiveRecovery);
}

#[test]
fn a_physical_copy_of_the_cluster() {
    let server = Server::new();
    let copy = server.cluster().copy(CopyAs::Primary).unwrap();
    let url = format!("postgresql://slot_1@127.0.0.1:{}/app_preview_1", copy.port());
    let check = ["--slot", "preview-1", "--database-url", &url];
    server.place.check(&check).format("json").run().denied(Code::ForeignEndpoint);
    // Where the address itself leads to the copy, everything that identifies a server is the same.
    let pin =
        format!("require_stamp = true\nsystem_identifier = \"{}\"", system_identifier(&server));
    server.configure_at(copy.port(), &pin);
    not_caught(&server, 1);
}

#[test]
fn a_copy_by_template() {
    let server = Server::new();
    let copy = "CREATE DATABASE app_preview_1 TEMPLATE app_preview_2 OWNER preview_admin;";
    replace(&server, 1, copy);
    server.sql("postgres", "REVOKE ALL ON DATABASE app_preview_1 FROM PUBLIC");
    caught(&server, 1, Code::LoginRefused);
    server.sql("postgres", "GRANT CONNECT ON DATABASE app_preview_1 TO slot_1");
    caught(&server, 1, Code::StampRow);
    server.configure("require_stamp = true");
    caught(&server, 1, Code::StampMissing);
}

#[test]
fn a_renamed_database() {
    let server = provisioned_without_protection();
    let rename = |slot: u8, from: &str| {
        let to = format!("app_preview_{slot}");
        replace(&server, slot, &format!("ALTER DATABASE {from} RENAME TO {to}"));
        let let_in = || {
            server.sql("postgres", &format!("GRANT CONNECT ON DATABASE {to} TO slot_{slot}"));
        };
        caught(&server, slot, Code::LoginRefused);
        let_in();
    };
    rename(1, "app_preview_2");
    caught(&server, 1, Code::StampMismatch);
    server.provision(&["--yes"]).run().accepted();

    rename(3, "app_production");
    warned(&server, 3, Code::NotStamped);
    server.configure("require_stamp = true");
    caught(&server, 3, Code::StampMissing);
    server.configure("");
    server.sql("postgres", "ALTER DATABASE app_preview_3 RENAME TO app_production");
    server.protect().run().accepted();
    server.provision(&["--yes"]).run().accepted();
    rename(3, "app_production");
    caught(&server, 3, Code::StampedProduction);
}

#[test]
fn a_database_exchanged_under_a_session() {
    let server = Server::new();
    let directory = migration(&server, 1);
    server.place.write("previews/feature-1/migrations/V2__slow.sql", 0o644, "SELECT pg_sleep(60);");
    let outcome = std::thread::scope(|scope| {
        let run = server.migrate("apply", 1, &directory).format("json");
        let applying = scope.spawn(|| run.run());
        wait_for(&server, "query LIKE '%pg_sleep(60)%' AND usename = 'slot_1'");
        server.reset(1).run().accepted();
        applying.join().unwrap()
    });
    let denial = outcome.denied(Code::MigrationFailed);
    assert!(denial["found"].as_str().unwrap().contains("57P01"), "{denial}");
    assert_eq!(server.versions("app_preview_1"), "", "the fresh database got nothing");
    server.confirm(1).run().accepted();
}

/// Waits until a session of the server is as the condition on `pg_stat_activity` says.
fn wait_for(server: &Server, condition: &str) {
    let question = format!(
        "SELECT count(*) > 0 FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND {condition}"
    );
    for _ in 0..300 {
        if server.sql("postgres", &question).trim() == "t" {
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    panic!("no session for which {condition}");
}

/// A pooler in front of the server, and the configuration that leads to it.
fn pooled(server: &Server, databases: &str, settings: &str) -> Pooler {
    let (one, two) = (password(1), password(2));
    let root = server.cluster().password();
    let admin = format!("{SECRET}-of-admin");
    let logins =
        [("slot_1", &*one), ("slot_2", &*two), ("postgres", root), ("preview_admin", &admin)];
    let pooler = Pooler::start(server.cluster(), databases, &logins, settings);
    server.configure_at(pooler.port(), "");
    pooler
}

/// Leads the name of the first slot to a database, as a forced role if one is given.
fn alias(server: &Server, database: &str, role: Option<&str>) -> String {
    let forced = role.map_or(String::new(), |role| format!(" user={role}"));
    let port = server.port();
    format!("app_preview_1 = host=127.0.0.1 port={port} dbname={database}{forced}")
}

const OPTIONS_DROPPED: &str = "ignore_startup_parameters = options";

#[test]
fn a_pooler_that_leads_elsewhere() {
    if !pooler::installed("identity::a_pooler_that_leads_elsewhere") {
        return;
    }
    let server = Server::new();
    let before = server.production();
    let pooler = pooled(&server, &alias(&server, "app_preview_1", None), OPTIONS_DROPPED);
    // The neighbour: a pooler that leads where its name says.
    server.confirm(1).run().accepted();

    pooler.remap(&alias(&server, "app_production", None));
    server.confirm(1).format("json").run().denied(Code::LoginRefused);
    pooler.remap(&alias(&server, "app_production", Some("postgres")));
    caught(&server, 1, Code::LiveDatabase);
    pooler.remap(&alias(&server, "app_preview_2", Some("slot_2")));
    caught(&server, 1, Code::LiveDatabase);
    pooler.remap(&alias(&server, "app_preview_1", Some("postgres")));
    caught(&server, 1, Code::LiveRole);
    assert_eq!(server.production(), before);
}

#[test]
fn a_pooler_that_knows_no_options() {
    if !pooler::installed("identity::a_pooler_that_knows_no_options") {
        return;
    }
    let server = Server::new();
    let _pooler = pooled(&server, &alias(&server, "app_production", Some("postgres")), "");
    caught(&server, 1, Code::LoginRefused);
}

#[test]
fn an_administrator_behind_a_pooler() {
    if !pooler::installed("identity::an_administrator_behind_a_pooler") {
        return;
    }
    let server = Server::new();
    let everywhere = format!("* = host=127.0.0.1 port={}", server.port());
    let pooler = pooled(&server, &everywhere, OPTIONS_DROPPED);
    let check = server.provision_at(pooler.port(), &["--check"]).format("json").run();
    check.denied(Code::AdminSettings);
    server.reset(1).format("json").run().denied(Code::AdminSettings);
    server.configure("");
    server.provision(&["--check"]).run().accepted();
}

const BY_TRANSACTION: &str = "ignore_startup_parameters = options\npool_mode = transaction";

#[test]
fn a_pooler_that_moves_the_name_between_confirm_and_migration() {
    if !pooler::installed("identity::a_pooler_that_moves_the_name_between_confirm_and_migration") {
        return;
    }
    let server = Server::new();
    let before = server.production();
    let pooler = pooled(&server, &alias(&server, "app_preview_1", None), BY_TRANSACTION);
    let moved = in_the_gap(&server, &pooler, || {
        // The role keeps production out; here it is let in, to see what the checks alone do.
        server.sql("app_production", "GRANT CREATE ON SCHEMA public TO slot_1");
        server.sql("app_production", "GRANT CONNECT ON DATABASE app_production TO slot_1");
        pooler.remap(&alias(&server, "app_production", None));
    });
    moved.denied(Code::LiveDatabase);
    assert_eq!(server.production(), before, "not even a ledger was made");

    server.sql("app_production", "REVOKE CONNECT ON DATABASE app_production FROM slot_1");
    pooler.remap(&alias(&server, "app_preview_1", None));
    let exchanged = in_the_gap(&server, &pooler, || {
        server.configure("");
        server.reset(1).run().accepted();
    });
    exchanged.denied(Code::StampMismatch);
    assert_eq!(server.versions("app_preview_1"), "");
}

/// Runs `apply` through a pooler by transaction and does something after the database was confirmed
/// and the ledger read, before the first migration begins.
fn in_the_gap(server: &Server, pooler: &Pooler, change: impl FnOnce()) -> Outcome {
    let hold = "BEGIN; LOCK TABLE refinery_schema_history; SELECT pg_sleep(60)";
    let (port, waits) = (pooler.port(), "usename = 'slot_1' AND wait_event_type = 'Lock'");
    server.configure_at(port, "");
    let run = server.migrate("apply", 1, &migration(server, 1)).format("json");
    std::thread::scope(|scope| {
        // Ends by being terminated.
        scope.spawn(|| {
            server.cluster().run_sql_as("slot_1", &password(1), "app_preview_1", hold).unwrap_err()
        });
        wait_for(server, "wait_event = 'PgSleep'");
        let applying = scope.spawn(|| run.run());
        wait_for(server, waits);
        let pausing = scope.spawn(|| pooler.pause("app_preview_1"));
        pooler.wait_until_pausing("app_preview_1");
        let release = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                       WHERE wait_event = 'PgSleep'";
        server.sql("postgres", release);
        pausing.join().unwrap();
        change();
        pooler.resume("app_preview_1");
        applying.join().unwrap()
    })
}

/// The rows of the table: what was asserted, by name, and the test.
fn documented() -> Vec<(String, String)> {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/identity.md"))
        .unwrap();
    let row = |line: &str| {
        let cells: Vec<&str> =
            line.strip_prefix("| ")?.trim_end_matches(" |").split(" | ").collect();
        let [_, answer, test] = cells[..] else { panic!("three columns: {line}") };
        let test = test.strip_prefix('`')?.strip_suffix('`')?;
        Some((answer.to_owned(), test.to_owned()))
    };
    text.lines().filter_map(row).collect()
}

/// The body of each test of this module, by name.
fn bodies() -> Vec<(&'static str, &'static str)> {
    let tests = include_str!("identity.rs").split("\n#[test]\nfn ").skip(1);
    let own = |text: &'static str| {
        let (name, rest) = text.split_once("()").unwrap();
        (name, rest.split("\n}\n").next().unwrap())
    };
    tests.map(own).collect()
}

#[test]
fn the_table_says_what_the_tests_assert() {
    let rows = documented();
    assert!(rows.len() >= 20, "{rows:?}");
    for (name, body) in bodies().into_iter().filter(|(name, _)| !name.starts_with("the_table")) {
        let answers: Vec<&str> =
            rows.iter().filter(|(_, test)| test == name).map(|(answer, _)| &**answer).collect();
        assert!(!answers.is_empty(), "no row names {name}");
        let answers = answers.join(" ");
        for code in Code::ALL {
            let asserted = body.contains(&format!("Code::{code:?})"));
            assert_eq!(answers.contains(code.id()), asserted, "{code} in {name}: {answers}");
        }
        let passes = ["not_caught(", "warned("];
        let passes = passes.iter().any(|helper| body.contains(helper));
        assert_eq!(answers.contains("**not detectable**"), passes, "{name}: {answers}");
    }
    for (_, test) in &rows {
        assert!(bodies().iter().any(|(name, _)| name == test), "no test is called {test}");
    }
}
