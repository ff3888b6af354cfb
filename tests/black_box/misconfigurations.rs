//! `provision --check` against one misconfiguration after the other, and what mends each.

use guard::diagnostic::Code;

use crate::support::run::{Outcome, Run};
use crate::support::server::Server;

/// What makes an end to a difference.
#[derive(Debug, Clone, Copy)]
enum Mend {
    /// `provision --yes`.
    Provision,
    /// `reset` of the first slot.
    Reset,
    /// `adopt` of the first slot.
    Adopt,
    /// `protect`, after this SQL in production.
    Protect(&'static str),
    /// `seed build`.
    Seed,
    /// Nothing of ours, as the code's way out says: this SQL, where the difference was made.
    Sql(&'static str),
}

use Mend::{Adopt, Protect, Provision, Reset, Seed, Sql};

/// A difference: where it is made and by which SQL, the code, whom the finding names, what mends it.
type Row = (&'static str, &'static str, Code, &'static str, Mend);

const ROLES: &[Row] = &[
    ("postgres", "ALTER ROLE slot_1 SUPERUSER", Code::ProvisionRole, "slot_1", Provision),
    ("postgres", "ALTER ROLE slot_1 CREATEDB", Code::ProvisionRole, "slot_1", Provision),
    ("postgres", "ALTER ROLE slot_2 CREATEROLE", Code::ProvisionRole, "slot_2", Provision),
    ("postgres", "ALTER ROLE slot_3 REPLICATION", Code::ProvisionRole, "slot_3", Provision),
    ("postgres", "ALTER ROLE slot_1 BYPASSRLS", Code::ProvisionRole, "slot_1", Provision),
    ("postgres", "ALTER ROLE slot_1 NOLOGIN", Code::ProvisionRole, "slot_1", Provision),
    ("postgres", "ALTER ROLE slot_1 PASSWORD NULL", Code::ProvisionRole, "slot_1", Provision),
    (
        "postgres",
        "ALTER ROLE preview_admin SUPERUSER",
        Code::ProvisionRole,
        "preview_admin",
        Provision,
    ),
    (
        "postgres",
        "ALTER ROLE preview_admin NOCREATEDB",
        Code::ProvisionRole,
        "preview_admin",
        Provision,
    ),
    (
        "postgres",
        "ALTER ROLE preview_seed_owner CREATEDB",
        Code::ProvisionRole,
        "preview_seed_owner",
        Provision,
    ),
    (
        "postgres",
        "GRANT SET ON PARAMETER temp_file_limit TO slot_1",
        Code::ProvisionRole,
        "slot_1",
        Sql("REVOKE SET ON PARAMETER temp_file_limit FROM slot_1"),
    ),
    (
        "postgres",
        "GRANT CREATE ON TABLESPACE pg_default TO slot_1",
        Code::ProvisionRole,
        "slot_1",
        Sql("REVOKE CREATE ON TABLESPACE pg_default FROM slot_1"),
    ),
    (
        "postgres",
        "GRANT pg_read_all_data TO slot_1",
        Code::ProvisionMembership,
        "slot_1",
        Provision,
    ),
    ("postgres", "GRANT slot_1 TO slot_2", Code::ProvisionMembership, "slot_2", Provision),
    (
        "postgres",
        "CREATE ROLE app LOGIN; GRANT slot_1 TO app",
        Code::ProvisionMembership,
        "slot_1",
        Provision,
    ),
    (
        "postgres",
        "REVOKE slot_1 FROM preview_admin",
        Code::ProvisionMembership,
        "preview_admin",
        Provision,
    ),
    (
        "postgres",
        "GRANT pg_monitor TO preview_admin",
        Code::ProvisionMembership,
        "preview_admin",
        Provision,
    ),
    (
        "postgres",
        "ALTER ROLE slot_1 CONNECTION LIMIT -1",
        Code::ProvisionLimit,
        "slot_1",
        Provision,
    ),
    (
        "postgres",
        "ALTER ROLE preview_admin CONNECTION LIMIT 1000",
        Code::ProvisionLimit,
        "preview_admin",
        Provision,
    ),
    (
        "postgres",
        "ALTER ROLE slot_1 RESET temp_file_limit",
        Code::ProvisionLimit,
        "slot_1",
        Provision,
    ),
    (
        "postgres",
        "ALTER ROLE slot_1 SET statement_timeout = 0",
        Code::ProvisionLimit,
        "slot_1",
        Provision,
    ),
    (
        "postgres",
        "ALTER ROLE slot_1 SET search_path = elsewhere",
        Code::ProvisionSetting,
        "slot_1",
        Provision,
    ),
    (
        "postgres",
        "ALTER ROLE slot_1 IN DATABASE app_preview_1 SET role = slot_1",
        Code::ProvisionSetting,
        "slot_1",
        Provision,
    ),
];

const DATABASES: &[Row] = &[
    (
        "postgres",
        "ALTER DATABASE app_preview_1 IS_TEMPLATE true",
        Code::ProvisionDatabase,
        "app_preview_1",
        Provision,
    ),
    (
        "postgres",
        "ALTER DATABASE app_preview_1 CONNECTION LIMIT 5",
        Code::ProvisionDatabase,
        "app_preview_1",
        Provision,
    ),
    (
        "postgres",
        "ALTER DATABASE app_preview_1 ALLOW_CONNECTIONS false",
        Code::ProvisionDatabase,
        "app_preview_1",
        Provision,
    ),
    (
        "postgres",
        "DROP DATABASE app_preview_1",
        Code::ProvisionDatabase,
        "app_preview_1",
        Provision,
    ),
    (
        "postgres",
        "CREATE DATABASE app_preview_1__old OWNER preview_admin",
        Code::ProvisionDatabase,
        "app_preview_1__old",
        Reset,
    ),
    (
        "postgres",
        "CREATE DATABASE app_preview_1__next OWNER preview_admin",
        Code::ProvisionDatabase,
        "app_preview_1__next",
        Reset,
    ),
    (
        "postgres",
        "ALTER DATABASE app_preview_seed ALLOW_CONNECTIONS true",
        Code::ProvisionDatabase,
        "app_preview_seed",
        Provision,
    ),
    (
        "postgres",
        "ALTER DATABASE app_preview_1 OWNER TO slot_1",
        Code::ProvisionOwner,
        "app_preview_1",
        Provision,
    ),
    (
        "app_preview_1",
        "ALTER SCHEMA public OWNER TO postgres",
        Code::ProvisionOwner,
        "app_preview_1",
        Reset,
    ),
    ("app_preview_1", "CREATE TABLE of_others ()", Code::ProvisionOwner, "app_preview_1", Reset),
    (
        "app_production",
        "CREATE TABLE x (); ALTER TABLE x OWNER TO slot_1",
        Code::ProvisionOwner,
        "slot_1",
        Sql("DROP TABLE x"),
    ),
    (
        "postgres",
        "GRANT CONNECT ON DATABASE app_preview_1 TO PUBLIC",
        Code::ProvisionPrivilege,
        "app_preview_1",
        Provision,
    ),
    (
        "postgres",
        "GRANT CONNECT ON DATABASE app_preview_1 TO slot_2",
        Code::ProvisionPrivilege,
        "app_preview_1",
        Provision,
    ),
    (
        "postgres",
        "GRANT CONNECT ON DATABASE app_preview_1 TO slot_1 WITH GRANT OPTION",
        Code::ProvisionPrivilege,
        "app_preview_1",
        Provision,
    ),
    (
        "postgres",
        "REVOKE TEMPORARY ON DATABASE app_preview_1 FROM slot_1",
        Code::ProvisionPrivilege,
        "app_preview_1",
        Provision,
    ),
    (
        "postgres",
        "GRANT CONNECT ON DATABASE app_preview_seed TO slot_1",
        Code::ProvisionPrivilege,
        "app_preview_seed",
        Provision,
    ),
    (
        "postgres",
        "GRANT CONNECT ON DATABASE app_production TO PUBLIC",
        Code::ProvisionPrivilege,
        "app_production",
        Provision,
    ),
    (
        "postgres",
        "GRANT CONNECT ON DATABASE app_production TO slot_1",
        Code::ProvisionPrivilege,
        "app_production",
        Provision,
    ),
    (
        "postgres",
        "GRANT CONNECT ON DATABASE postgres TO PUBLIC",
        Code::ProvisionPrivilege,
        "postgres",
        Provision,
    ),
    (
        "postgres",
        "GRANT CONNECT ON DATABASE template1 TO PUBLIC",
        Code::ProvisionPrivilege,
        "template1",
        Provision,
    ),
];

const CONTENTS: &[Row] = &[
    (
        "postgres",
        "COMMENT ON DATABASE app_preview_1 IS NULL",
        Code::ProvisionStamp,
        "app_preview_1",
        Adopt,
    ),
    (
        "postgres",
        "COMMENT ON DATABASE app_preview_1 IS '{\"slotguard\":9}'",
        Code::ProvisionStamp,
        "app_preview_1",
        Adopt,
    ),
    (
        "app_preview_1",
        "DROP TABLE slotguard.identity",
        Code::ProvisionStamp,
        "app_preview_1",
        Reset,
    ),
    (
        "app_preview_1",
        "DROP TABLE refinery_schema_history",
        Code::ProvisionStamp,
        "app_preview_1",
        Reset,
    ),
    (
        "postgres",
        "COMMENT ON DATABASE app_preview_seed IS NULL",
        Code::ProvisionStamp,
        "app_preview_seed",
        Seed,
    ),
    (
        "postgres",
        "COMMENT ON DATABASE app_production IS NULL",
        Code::ProvisionProduction,
        "app_production",
        Protect("DROP SCHEMA slotguard CASCADE"),
    ),
    (
        "postgres",
        "ALTER DATABASE app_production IS_TEMPLATE true",
        Code::ProvisionProduction,
        "app_production",
        Sql("ALTER DATABASE app_production IS_TEMPLATE false"),
    ),
    ("app_preview_1", "CREATE EXTENSION dblink", Code::ProvisionContent, "app_preview_1", Reset),
    (
        "app_preview_1",
        "CREATE LANGUAGE risky HANDLER plpgsql_call_handler",
        Code::ProvisionContent,
        "app_preview_1",
        Sql("DROP LANGUAGE risky"),
    ),
    (
        "app_preview_1",
        "CREATE FOREIGN DATA WRAPPER out",
        Code::ProvisionContent,
        "app_preview_1",
        Sql("DROP FOREIGN DATA WRAPPER out"),
    ),
    (
        "app_preview_1",
        "CREATE PUBLICATION out FOR ALL TABLES",
        Code::ProvisionContent,
        "app_preview_1",
        Sql("DROP PUBLICATION out"),
    ),
    (
        "app_preview_1",
        "CREATE FUNCTION e() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END'; CREATE EVENT TRIGGER e ON sql_drop EXECUTE FUNCTION e()",
        Code::ProvisionContent,
        "app_preview_1",
        Sql("DROP EVENT TRIGGER e"),
    ),
    (
        "app_preview_1",
        "CREATE FUNCTION f() RETURNS int SECURITY DEFINER LANGUAGE sql AS 'SELECT 1'",
        Code::ProvisionContent,
        "app_preview_1",
        Sql("DROP FUNCTION f()"),
    ),
    (
        "app_preview_1",
        "SELECT pg_create_logical_replication_slot('out', 'pgoutput')",
        Code::ProvisionServer,
        "app_preview_1",
        Sql("SELECT pg_drop_replication_slot('out')"),
    ),
];

#[test]
fn each_difference_is_found_by_its_code_and_mended() {
    let server = Server::with_settings(&[("wal_level", "logical")]);
    server.provision(&["--yes"]).run().accepted();
    server.protect().run().accepted();
    assert!(server.findings().is_empty(), "{:?}", server.findings());
    let rows = [ROLES, DATABASES, CONTENTS].concat();
    assert!(rows.len() >= 50, "{}", rows.len());
    for (database, text, code, subject, mend) in rows {
        server.sql(database, text);
        let found = server.findings();
        // Nothing else is found, so the row before was mended.
        assert!(!found.is_empty(), "{text}");
        for finding in &found {
            assert_eq!(finding["code"], code.id(), "{text}: {finding}");
            let words = format!("{} {}", finding["message"], finding["found"]);
            assert!(words.contains(&format!("`{subject}`")), "{text}: {finding}");
        }
        make_an_end(&server, database, mend);
    }
    assert!(server.findings().is_empty(), "{:?}", server.findings());
}

fn make_an_end(server: &Server, database: &str, mend: Mend) {
    match mend {
        Provision => {
            server.provision(&["--yes"]).run().accepted();
        }
        Reset => {
            server.reset(1).run().accepted();
        }
        Adopt => {
            server.administer("adopt", &["--slot", "preview-1", "--yes"]).run().accepted();
        }
        Protect(text) => {
            server.sql("app_production", text);
            server.protect().run().accepted();
        }
        Seed => {
            seed(server).accepted();
        }
        Sql(text) => {
            server.sql(database, text);
        }
    }
}

fn seed(server: &Server) -> Outcome {
    let file = "previews/seed/migrations/V1__a.sql";
    server.place.write(file, 0o644, "CREATE TABLE a ();");
    let migrations = server.place.text("previews/seed/migrations");
    let config = server.place.config();
    Run::new("migrate-runner", &["seed", "build", "--migrations", &migrations, "--config", &config])
        .run()
}
