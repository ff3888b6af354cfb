//! What `provision`, `protect` and `adopt` promise beside the differences that `--check` finds.

use guard::diagnostic::Code;

use crate::support::run::Run;
use crate::support::server::{Server, password};

/// What no SQL can seed: the server's settings and its rules for logins.
#[test]
fn a_server_that_is_not_fit_is_found() {
    let settings = [("max_prepared_transactions", "2"), ("max_connections", "40")];
    let server = Server::with_settings(&settings);
    server.provision(&["--yes"]).run().accepted();
    server.protect().run().accepted();
    let codes = |server: &Server| -> Vec<String> {
        server.findings().iter().map(|f| f["code"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(codes(&server), ["SG5303", "SG5311"], "connections, prepared transactions");
    let rules = server.cluster().data_dir().join("pg_hba.conf");
    let before = std::fs::read_to_string(&rules).unwrap();
    std::fs::write(&rules, format!("host app_preview_1 all 127.0.0.1/32 trust\n{before}")).unwrap();
    assert_eq!(codes(&server), ["SG5303", "SG5311", "SG5311"]);
    std::fs::write(&rules, before).unwrap();
}

/// Everything about roles and databases that a plan could change.
fn state(server: &Server) -> String {
    server.sql(
        "postgres",
        "SELECT rolname, rolsuper, rolcreatedb, rolcreaterole, rolconnlimit, rolpassword
             FROM pg_authid ORDER BY 1;
         SELECT datname, oid, datdba, datacl, datconnlimit, datallowconn, datistemplate,
             shobj_description(oid, 'pg_database') FROM pg_database ORDER BY 1;
         SELECT * FROM pg_auth_members ORDER BY 1, 2;
         SELECT * FROM pg_db_role_setting ORDER BY 1, 2",
    )
}

#[test]
fn a_dry_run_changes_nothing_and_a_second_run_has_nothing_to_do() {
    let server = Server::bare();
    let bare = state(&server);
    let plan = server.provision(&["--dry-run"]).format("json").run();
    let plan = &plan.accepted().objects()[0];
    assert_eq!(plan["outcome"], "planned");
    assert!(!plan["steps"].as_array().unwrap().is_empty());
    server.provision(&[]).run().refused(Code::ConsentMissing);
    assert_eq!(state(&server), bare);

    server.provision(&["--yes"]).run().accepted();
    let done = state(&server);
    assert_ne!(done, bare);
    let again = server.provision(&["--yes"]).format("json").run();
    assert_eq!(again.accepted().objects()[0]["outcome"], "unchanged");
    assert_eq!(state(&server), done);
    server.protect().run().accepted();
    let protected = state(&server);
    let again = server.protect().format("json").run();
    assert_eq!(again.accepted().objects()[0]["outcome"], "unchanged");
    assert_eq!(state(&server), protected);
}

#[test]
fn a_password_file_that_opens_nothing_is_mended() {
    let server = Server::new();
    server.sql("postgres", "ALTER ROLE slot_1 PASSWORD 'of somebody else'");
    server.confirm(1).run().refused(Code::LoginRefused);
    server.provision(&["--yes"]).run().accepted();
    server.confirm(1).run().accepted();
    // The file decides, not the server: a new one of its own choice.
    std::fs::remove_file(server.place.path("secrets/slot_2.pw")).unwrap();
    server.provision(&["--yes"]).run().accepted();
    server.confirm(2).run().accepted();
    let made = std::fs::read_to_string(server.place.path("secrets/slot_2.pw")).unwrap();
    assert!(made.len() >= 32 && made != password(2));
}

#[test]
fn who_could_enter_production_still_can() {
    let server = Server::bare();
    let word = password(9);
    server.sql(
        "postgres",
        &format!(
            "CREATE ROLE app LOGIN PASSWORD '{word}'; CREATE DATABASE reports;
             GRANT CONNECT, TEMPORARY ON DATABASE app_production TO PUBLIC;
             COMMENT ON DATABASE app_production IS 'the \"old\" comment'"
        ),
    );
    let enters = |role: &str, word: &str, database: &str| {
        server.cluster().run_sql_as(role, word, database, "SELECT 1").is_ok()
    };
    let plan = server.provision(&["--yes"]).format("json").run();
    let open = &plan.accepted().objects()[0]["open"];
    assert_eq!(open, &serde_json::json!(["reports"]), "nobody named it");
    assert!(enters("app", &word, "app_production"));
    assert!(!enters("slot_1", &password(1), "app_production"));
    assert!(enters("slot_1", &password(1), "reports"));
    server.provision(&["--database", "reports", "--yes"]).run().accepted();
    assert!(enters("app", &word, "reports"));
    assert!(!enters("slot_1", &password(1), "reports"));
    server.provision(&["--database", "app_preview_1", "--yes"]).run().refused(Code::Usage);

    server.protect().run().accepted();
    let text = "SELECT shobj_description(oid, 'pg_database')::json ->> 'was' \
                FROM pg_database WHERE datname = 'app_production'";
    assert_eq!(server.sql("postgres", text).trim(), "the \"old\" comment");
    assert!(enters("app", &word, "app_production"));
}

fn adopt(server: &Server, slot: u8) -> Run {
    server.administer("adopt", &["--slot", &format!("preview-{slot}"), "--yes"])
}

#[test]
fn a_database_made_by_hand_is_adopted_and_works() {
    let server = Server::by_hand();
    server.provision(&["--yes"]).run().accepted();
    server.protect().run().accepted();
    for slot in 1..=3 {
        adopt(&server, slot).run().accepted();
    }
    assert!(server.findings().is_empty(), "{:?}", server.findings());
    server.configure("require_stamp = true");
    server.confirm(1).run().accepted();
    server.place.write("previews/x/migrations/V1__a.sql", 0o644, "CREATE TABLE a ();");
    let migrations = server.place.text("previews/x/migrations");
    server.migrate("apply", 1, &migrations).run().accepted();
    server.confirm(1).run().accepted();
    // Adopted again, the stamp pins the ledger that there is now.
    adopt(&server, 1).run().accepted();
    server.confirm(1).run().accepted();
    server.reset(1).run().accepted();
    server.confirm(1).run().accepted();
    assert!(server.findings().is_empty(), "{:?}", server.findings());
}

#[test]
fn a_database_of_somebody_else_is_not_adopted() {
    let server = Server::new();
    let exchange = |from: &str, to: &str| {
        server.sql("postgres", &format!("ALTER DATABASE {from} RENAME TO {to}"));
    };
    server.sql("postgres", "DROP DATABASE app_preview_1");
    exchange("app_preview_2", "app_preview_1");
    adopt(&server, 1).run().refused(Code::ResetUnproven);
    exchange("app_preview_1", "app_preview_2");
    exchange("app_production", "app_preview_1");
    let before = state(&server);
    adopt(&server, 1).run().refused(Code::StampedProduction);
    assert_eq!(state(&server), before);
}

#[test]
fn quotas_are_enforced_by_the_server() {
    let server = Server::bare();
    server.configure("[quotas]\nconnections = 3\ntemp_files_mb = 1\n");
    server.provision(&["--yes"]).run().accepted();
    let as_slot =
        |text: &str| server.cluster().run_sql_as("slot_1", &password(1), "app_preview_1", text);
    let sort = "SET work_mem = '64kB';\n\\set VERBOSITY sqlstate\n\
                SELECT a FROM generate_series(1, 400000) a ORDER BY a DESC OFFSET 399999";
    let refused = as_slot(sort).unwrap_err().to_string();
    assert!(refused.contains("53400"), "{refused}");

    let refused = std::thread::scope(|scope| {
        let held: Vec<_> = (0..3).map(|_| scope.spawn(|| as_slot("SELECT pg_sleep(60)"))).collect();
        wait_for_sessions(&server, 3);
        let refused = as_slot("SELECT 1").unwrap_err().to_string();
        let ends = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                    WHERE usename = 'slot_1'";
        server.sql("postgres", ends);
        held.into_iter().for_each(|session| {
            session.join().unwrap().unwrap_err();
        });
        refused
    });
    assert!(refused.contains("too many connections for role \"slot_1\""), "{refused}");
    as_slot("SELECT 1").unwrap();
}

fn wait_for_sessions(server: &Server, number: usize) {
    let text = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'";
    for _ in 0..300 {
        if server.sql("postgres", text).trim() == number.to_string() {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    panic!("{number} sessions did not come");
}

/// The role may change what is stored with it; the session asks for the limits again.
#[test]
fn a_migration_runs_with_the_limits_of_the_configuration() {
    let server = Server::bare();
    let quotas = "[quotas]\nstatement_timeout_s = 77\nidle_in_transaction_timeout_s = 33\n";
    server.configure(quotas);
    server.provision(&["--yes"]).run().accepted();
    let text = "ALTER ROLE slot_1 SET statement_timeout = 0";
    server.cluster().run_sql_as("slot_1", &password(1), "app_preview_1", text).unwrap();
    server.place.write(
        "previews/x/migrations/V1__a.sql",
        0o644,
        "CREATE TABLE limits AS SELECT current_setting('statement_timeout') AS statement,
             current_setting('idle_in_transaction_session_timeout') AS idle;",
    );
    let migrations = server.place.text("previews/x/migrations");
    server.migrate("apply", 1, &migrations).run().accepted();
    assert_eq!(server.sql("app_preview_1", "TABLE limits").trim(), "77s|33s");
}
