//! What a slot's role tries beyond its own database, and what the server answers.
//!
//! The server is the last line: every attempt here passes by the guard and meets Postgres alone.

#![expect(clippy::unwrap_used, reason = "helpers of tests, outside of what the lint takes for one")]

use std::fmt::Write as _;
use std::io::{Read as _, Seek as _, SeekFrom};

use guard::diagnostic::Code;

use crate::support::pooler::{self, Pooler};
use crate::support::run::{Run, assert_whole};
use crate::support::server::{Server, password};

/// What the server does with an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    /// It refuses, with this SQLSTATE.
    Refused(&'static str),
    /// It accepts and does nothing, as for a grant of what one has no right to grant.
    Futile,
}

use Answer::{Futile, Refused};

/// Attempts as SQL in the slot's own database. `{own}`, `{other}` and `{pid}` stand for the role's
/// number, another slot's and a session of the other slot.
const ATTEMPTS: &[(&str, Answer)] = &[
    // Sessions of others.
    ("SELECT pg_terminate_backend({pid})", Refused("42501")),
    ("SELECT pg_cancel_backend({pid})", Refused("42501")),
    // What a cluster has beside one's own database.
    ("CREATE DATABASE mine", Refused("42501")),
    ("CREATE DATABASE mine TEMPLATE app_preview_{other}", Refused("42501")),
    ("DROP DATABASE app_preview_{other}", Refused("42501")),
    ("CREATE ROLE mine", Refused("42501")),
    ("DROP ROLE slot_{other}", Refused("42501")),
    ("CREATE TABLESPACE mine LOCATION '/tmp'", Refused("42501")),
    // Becoming somebody else.
    ("SET ROLE preview_admin", Refused("42501")),
    ("SET ROLE slot_{other}", Refused("42501")),
    ("SET SESSION AUTHORIZATION preview_admin", Refused("42501")),
    ("GRANT slot_{own} TO slot_{other}", Refused("42501")),
    ("GRANT preview_admin TO slot_{own}", Refused("42501")),
    ("GRANT pg_read_server_files TO slot_{own}", Refused("42501")),
    ("ALTER ROLE slot_{own} CREATEDB", Refused("42501")),
    ("ALTER ROLE slot_{own} SUPERUSER", Refused("42501")),
    ("ALTER ROLE slot_{other} PASSWORD 'x'", Refused("42501")),
    ("ALTER ROLE slot_{other} RENAME TO mine", Refused("42501")),
    // The host.
    ("COPY (SELECT 1) TO PROGRAM 'true'", Refused("42501")),
    ("COPY (SELECT 1) TO '/tmp/slotguard-attempt'", Refused("42501")),
    ("CREATE TEMP TABLE t (a text); COPY t FROM '/etc/passwd'", Refused("42501")),
    ("SELECT pg_read_file('postgresql.conf')", Refused("42501")),
    ("SELECT pg_read_binary_file('PG_VERSION')", Refused("42501")),
    ("SELECT * FROM pg_ls_dir('.')", Refused("42501")),
    ("SELECT * FROM pg_stat_file('PG_VERSION')", Refused("42501")),
    ("SELECT lo_import('/etc/passwd')", Refused("42501")),
    ("SELECT * FROM pg_hba_file_rules", Refused("42501")),
    ("LOAD 'auth_delay'", Refused("42501")),
    ("CREATE FUNCTION f() RETURNS int LANGUAGE c AS 'a', 'b'", Refused("42501")),
    ("CREATE FUNCTION f() RETURNS int LANGUAGE internal AS 'pg_backend_pid'", Refused("42501")),
    ("CREATE EXTENSION file_fdw", Refused("42501")),
    ("CREATE EXTENSION pageinspect", Refused("42501")),
    ("CREATE LANGUAGE mine HANDLER plpgsql_call_handler", Refused("42501")),
    // Other servers, and copies that leave this one.
    ("CREATE EXTENSION dblink", Refused("42501")),
    ("CREATE EXTENSION postgres_fdw", Refused("42501")),
    ("CREATE FOREIGN DATA WRAPPER mine", Refused("42501")),
    ("CREATE SUBSCRIPTION s CONNECTION 'dbname=x' PUBLICATION p", Refused("42501")),
    ("CREATE PUBLICATION p FOR ALL TABLES", Refused("42501")),
    ("SELECT pg_create_physical_replication_slot('mine')", Refused("42501")),
    ("SELECT pg_create_logical_replication_slot('mine', 'pgoutput')", Refused("42501")),
    (
        "CREATE EVENT TRIGGER e ON ddl_command_end EXECUTE FUNCTION suppress_redundant_updates_trigger()",
        Refused("42501"),
    ),
    // The server's settings and one's own limits.
    ("ALTER SYSTEM SET work_mem = '1GB'", Refused("42501")),
    ("SELECT pg_reload_conf()", Refused("42501")),
    ("SET temp_file_limit = -1", Refused("42501")),
    ("SET session_preload_libraries = 'mine'", Refused("42501")),
    ("SET log_statement = 'none'", Refused("42501")),
    ("ALTER ROLE slot_{own} SET temp_file_limit = -1", Refused("42501")),
    ("ALTER ROLE slot_{own} RESET temp_file_limit", Refused("42501")),
    ("ALTER ROLE slot_{own} CONNECTION LIMIT -1", Refused("42501")),
    // One's own database, which is the administrator's.
    ("ALTER DATABASE app_preview_{own} CONNECTION LIMIT -1", Refused("42501")),
    ("ALTER DATABASE app_preview_{own} SET search_path = public", Refused("42501")),
    ("ALTER DATABASE app_preview_{own} OWNER TO slot_{own}", Refused("42501")),
    ("ALTER DATABASE app_preview_{own} RENAME TO mine", Refused("42501")),
    ("ALTER DATABASE app_preview_{own} IS_TEMPLATE true", Refused("42501")),
    ("DROP DATABASE app_preview_{own}", Refused("42501")),
    ("COMMENT ON DATABASE app_preview_{own} IS NULL", Refused("42501")),
    ("GRANT CONNECT ON DATABASE app_preview_{own} TO PUBLIC", Futile),
    ("GRANT ALL ON DATABASE app_preview_{own} TO slot_{other}", Futile),
    ("SECURITY LABEL ON DATABASE app_preview_{own} IS 'x'", Refused("22023")),
    // The stamp.
    ("INSERT INTO slotguard.identity VALUES ('x')", Refused("42501")),
    ("UPDATE slotguard.identity SET nonce = 'x'", Refused("42501")),
    ("DELETE FROM slotguard.identity", Refused("42501")),
    ("TRUNCATE slotguard.identity", Refused("42501")),
    ("DROP TABLE slotguard.identity", Refused("42501")),
    ("ALTER TABLE slotguard.identity ADD COLUMN a int", Refused("42501")),
    ("ALTER TABLE slotguard.identity OWNER TO slot_{own}", Refused("42501")),
    ("CREATE TABLE child () INHERITS (slotguard.identity)", Refused("42501")),
    (
        "CREATE RULE r AS ON SELECT TO slotguard.identity DO INSTEAD SELECT 'x'::text",
        Refused("42501"),
    ),
    (
        "CREATE TRIGGER t BEFORE INSERT ON slotguard.identity EXECUTE FUNCTION suppress_redundant_updates_trigger()",
        Refused("42501"),
    ),
    ("CREATE POLICY p ON slotguard.identity", Refused("42501")),
    ("ALTER SCHEMA slotguard RENAME TO mine", Refused("42501")),
    ("DROP SCHEMA slotguard CASCADE", Refused("42501")),
    ("CREATE TABLE slotguard.more ()", Refused("42501")),
    ("CREATE TABLE pg_catalog.mine ()", Refused("42501")),
    (
        "ALTER DEFAULT PRIVILEGES FOR ROLE preview_admin GRANT ALL ON TABLES TO PUBLIC",
        Refused("42501"),
    ),
];

/// What a slot's role must be able to do.
const NEIGHBOURS: &[&str] = &[
    "CREATE SCHEMA app",
    "CREATE TABLE app.orders (id serial PRIMARY KEY)",
    "DROP SCHEMA app CASCADE",
    "CREATE EXTENSION pgcrypto",
    "SELECT gen_salt('md5')",
    "CREATE TEMP TABLE t (a int)",
    "INSERT INTO t VALUES (1)",
    "CREATE FUNCTION twice(int) RETURNS int LANGUAGE sql AS 'SELECT 2 * $1'",
    "SELECT twice(1)",
    "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'",
    "TABLE slotguard.identity",
    "SET statement_timeout = '1s'",
    "SET work_mem = '8MB'",
    "SELECT datname FROM pg_database",
    "VACUUM",
    "ANALYZE",
];

/// The server's log as far as it came after a moment, where each line begins with its SQLSTATE.
struct Log {
    file: std::fs::File,
}

impl Log {
    fn of(server: &Server) -> Self {
        let path = server.cluster().socket_dir().join("server.log");
        let mut log = Self { file: std::fs::File::open(path).unwrap() };
        log.file.seek(SeekFrom::End(0)).unwrap();
        log
    }

    /// Returns the SQLSTATE of the last error, or of the last warning, since the last look.
    fn answer(&mut self) -> String {
        let mut text = String::new();
        self.file.read_to_string(&mut text).unwrap();
        let state = |kinds: &[&str]| {
            let lines = text.lines().rev().filter_map(|line| line.strip_prefix("sqlstate "));
            lines.filter_map(|line| line.split_once(' ')).find_map(|(state, rest)| {
                kinds.iter().any(|kind| rest.starts_with(kind)).then(|| state.to_owned())
            })
        };
        state(&["ERROR", "FATAL"]).or_else(|| state(&["WARNING"])).unwrap_or_default()
    }
}

fn logging() -> Server {
    let settings = [("log_line_prefix", "sqlstate %e "), ("wal_level", "logical")];
    let server = Server::with_settings(&settings);
    server.provision(&["--yes"]).run().accepted();
    server.protect().run().accepted();
    server
}

/// Runs statements one by one as a slot's role in its own database; returns the SQLSTATE of each.
fn attempts(server: &Server, slot: u8, statements: &[String]) -> Vec<String> {
    let mut script = "\\set ON_ERROR_STOP off\n\\o /dev/null\n".to_owned();
    for statement in statements {
        script += &format!("{statement};\n\\o\n\\qecho :SQLSTATE\n\\o /dev/null\n");
    }
    let role = format!("slot_{slot}");
    let database = format!("app_preview_{slot}");
    let said = server.cluster().run_sql_as(&role, &password(slot), &database, &script).unwrap();
    said.lines().map(str::to_owned).collect()
}

fn note(table: &mut String, text: &str, state: &str, expected: Answer) {
    let (wanted, word) = match expected {
        Refused(code) => (code, "refused"),
        Futile => ("00000", "no effect"),
    };
    assert_eq!(state, wanted, "{text}");
    writeln!(table, "{state}  {word:9}  {text}").unwrap();
}

#[test]
fn a_slot_s_role_gets_nowhere() {
    let server = logging();
    let tables = [(1, 2), (2, 3), (3, 1)].map(|(own, other)| {
        let mut table = String::new();
        try_to_connect(&server, own, &mut table);
        try_all(&server, own, other, &mut table);
        table
    });
    // What had no effect had none, and nothing was made on the way.
    server.provision(&["--check"]).run().accepted();
    assert!(tables.iter().all(|table| *table == tables[0]), "{tables:#?}");
    assert_whole("privileges", &tables[0]);
}

fn try_to_connect(server: &Server, own: u8, table: &mut String) {
    let next = format!("app_preview_{own}__next");
    server.sql("postgres", &format!("CREATE DATABASE {next} OWNER preview_admin"));
    server.sql("postgres", &format!("REVOKE ALL ON DATABASE {next} FROM PUBLIC"));
    let mut connect = |database: &str, shown: &str, state| {
        let mut log = Log::of(server);
        let role = format!("slot_{own}");
        server.cluster().run_sql_as(&role, &password(own), database, "SELECT 1").unwrap_err();
        note(table, &format!("\\connect {shown}"), &log.answer(), Refused(state));
    };
    for slot in (1..=3).filter(|slot| *slot != own) {
        connect(&format!("app_preview_{slot}"), "app_preview_{other}", "42501");
    }
    connect(&next, "app_preview_{own}__next", "42501");
    for (database, state) in [
        ("app_preview_seed", "55000"),
        ("app_production", "42501"),
        ("postgres", "42501"),
        ("template0", "55000"),
        ("template1", "42501"),
    ] {
        connect(database, database, state);
    }
    server.sql("postgres", &format!("DROP DATABASE {next}"));
}

fn try_all(server: &Server, own: u8, other: u8, table: &mut String) {
    let (role, database) = (format!("slot_{other}"), format!("app_preview_{other}"));
    std::thread::scope(|scope| {
        let victim = scope.spawn(|| {
            let text = "SELECT pg_sleep(60)";
            server.cluster().run_sql_as(&role, &password(other), &database, text).unwrap_err()
        });
        let pid = pid_of_sleeper(server, &role);
        let statements = ATTEMPTS.iter().map(|(text, _)| {
            let text = text.replace("{own}", &own.to_string()).replace("{pid}", &pid);
            text.replace("{other}", &other.to_string())
        });
        let states = attempts(server, own, &statements.collect::<Vec<_>>());
        assert_eq!(states.len(), ATTEMPTS.len(), "{states:?}");
        for ((text, expected), state) in ATTEMPTS.iter().zip(&states) {
            note(table, text, state, *expected);
        }
        assert!(!victim.is_finished(), "the other slot's session is still there");
        server.sql("postgres", &format!("SELECT pg_terminate_backend({pid})"));
    });
}

fn pid_of_sleeper(server: &Server, role: &str) -> String {
    let text = format!(
        "SELECT pid FROM pg_stat_activity WHERE usename = '{role}' AND wait_event = 'PgSleep'"
    );
    for _ in 0..300 {
        let pid = server.sql("postgres", &text).trim().to_owned();
        if !pid.is_empty() {
            return pid;
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    panic!("nobody sleeps as {role}");
}

/// A role may drop its own timeouts, which are advice; the limit that the server enforces stays.
#[test]
fn a_slot_s_role_keeps_its_enforced_limits() {
    let server = logging();
    assert_eq!(attempts(&server, 1, &["ALTER ROLE slot_1 RESET ALL".to_owned()]), ["00000"]);
    let stored = "SELECT setconfig FROM pg_db_role_setting WHERE setrole = 'slot_1'::regrole";
    assert_eq!(server.sql("postgres", stored).trim(), "{temp_file_limit=1024MB}");
    assert_eq!(server.provision(&["--check"]).run().status, Some(65));
    server.provision(&["--yes"]).run().accepted();
    server.provision(&["--check"]).run().accepted();
}

#[test]
fn what_a_slot_needs_works() {
    let server = logging();
    let statements: Vec<String> = NEIGHBOURS.iter().map(|&text| text.to_owned()).collect();
    let states = attempts(&server, 1, &statements);
    for (text, state) in statements.iter().zip(&states) {
        assert_eq!(state, "00000", "{text}");
    }
    assert_eq!(states.len(), statements.len());
    server.provision(&["--check"]).run().accepted();
    server.confirm(1).run().accepted();
}

/// Everything that a slot can put in the way of whoever looks at its database; each part says in
/// the server's log who sprang it.
const TRAP: &str = "
    CREATE FUNCTION public.spring() RETURNS boolean LANGUAGE plpgsql AS $$
        BEGIN RAISE WARNING 'sprung by %', current_user; RETURN true; END $$;
    CREATE FUNCTION public.sprung() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN PERFORM public.spring(); RETURN coalesce(NEW, OLD); END $$;
    CREATE VIEW public.pg_roles AS SELECT public.spring();
    CREATE VIEW public.pg_database AS SELECT public.spring();
    CREATE VIEW public.pg_class AS SELECT public.spring();
    CREATE VIEW public.pg_namespace AS SELECT public.spring();
    CREATE VIEW public.pg_extension AS SELECT public.spring();
    CREATE VIEW public.trap AS SELECT public.spring();
    CREATE TABLE public.bait (a int DEFAULT (public.spring())::int);
    CREATE TRIGGER bite BEFORE INSERT OR UPDATE OR DELETE ON public.bait
        FOR EACH ROW EXECUTE FUNCTION public.sprung();
    ALTER TABLE public.bait ENABLE ROW LEVEL SECURITY;
    CREATE POLICY look ON public.bait USING (public.spring());
    CREATE FUNCTION public.same(oid, regclass) RETURNS boolean LANGUAGE plpgsql AS $$
        BEGIN PERFORM public.spring(); RETURN $1 OPERATOR(pg_catalog.=) $2::oid; END $$;
    CREATE OPERATOR public.= (LEFTARG = oid, RIGHTARG = regclass, FUNCTION = public.same);
    CREATE FUNCTION public.joined(name, name) RETURNS text LANGUAGE plpgsql AS $$
        BEGIN PERFORM public.spring(); RETURN 'x'; END $$;
    -- slotguard: allow undecidable: a trap that the screening must let pass here
    CREATE OPERATOR public.|| (LEFTARG = name, RIGHTARG = name, FUNCTION = public.joined);
    CREATE FUNCTION public.starts_with(name, text) RETURNS boolean LANGUAGE plpgsql AS $$
        BEGIN PERFORM public.spring(); RETURN false; END $$;
    CREATE FUNCTION public.pg_get_userbyid(oid) RETURNS name LANGUAGE plpgsql AS $$
        BEGIN PERFORM public.spring(); RETURN 'x'; END $$;
    GRANT ALL ON ALL TABLES IN SCHEMA public TO PUBLIC;
    GRANT USAGE, CREATE ON SCHEMA public TO PUBLIC;
";

/// A ledger and a stamp's table that are traps themselves.
const TRAP_IN_PLACE: &str = "
    CREATE SCHEMA slotguard;
    CREATE TABLE slotguard.identity (nonce text DEFAULT public.spring()::text);
    CREATE TRIGGER bite BEFORE INSERT OR DELETE ON slotguard.identity
        FOR EACH ROW EXECUTE FUNCTION public.sprung();
    CREATE VIEW public.refinery_schema_history AS SELECT 1 AS version WHERE public.spring();
";

/// Returns who sprang a trap, each once.
fn victims(server: &Server) -> Vec<String> {
    let log = std::fs::read_to_string(server.cluster().socket_dir().join("server.log")).unwrap();
    let names = log.lines().filter_map(|line| line.split_once("sprung by ")).map(|(_, name)| name);
    let mut names: Vec<String> = names.map(str::to_owned).collect();
    names.sort();
    names.dedup();
    names
}

fn as_slot(server: &Server, slot: u8, text: &str) {
    let database = format!("app_preview_{slot}");
    let role = format!("slot_{slot}");
    server.cluster().run_sql_as(&role, &password(slot), &database, text).unwrap();
}

#[test]
fn an_administrator_never_springs_a_slot_s_trap() {
    let server = Server::by_hand();
    server.provision(&["--yes"]).run().accepted();
    as_slot(&server, 1, TRAP);
    as_slot(&server, 1, TRAP_IN_PLACE);
    server.provision(&["--check"]).run();
    server.provision(&["--yes"]).run().accepted();
    server.confirm(1).run().refused(Code::StampRow);
    let adopt = |slot: &str| server.administer("adopt", &["--slot", slot, "--yes"]).run();
    adopt("preview-1").accepted();
    for slot in ["preview-2", "preview-3"] {
        adopt(slot).accepted();
    }
    server.provision(&["--check"]).run();
    server.confirm(1).run();
    server.reset(1).run().accepted();
    assert!(victims(&server).is_empty(), "{:?}", victims(&server));

    // The trap works: whoever looks at the view springs it.
    as_slot(&server, 2, TRAP);
    server.sql("app_preview_2", "TABLE public.trap");
    as_slot(&server, 2, "TABLE public.trap");
    assert_eq!(victims(&server), ["postgres", "slot_2"]);
}

#[test]
fn an_administrator_behind_a_pooler_springs_no_trap() {
    if !pooler::installed("privileges::an_administrator_behind_a_pooler_springs_no_trap") {
        return;
    }
    let server = Server::new();
    as_slot(&server, 1, TRAP);
    let everywhere = format!("* = host=127.0.0.1 port={}", server.port());
    let root = server.cluster().password();
    let dropped = "ignore_startup_parameters = options";
    let pooler = Pooler::start(server.cluster(), &everywhere, &[("postgres", root)], dropped);
    server.configure_at(pooler.port(), "");
    server.provision_at(pooler.port(), &["--check"]).run().refused(Code::AdminSettings);
    assert!(victims(&server).is_empty(), "{:?}", victims(&server));
}

#[test]
fn a_trap_in_the_seed_is_sprung_by_nobody_but_its_maker() {
    let server = Server::new();
    server.place.write("previews/seed/migrations/V1__trap.sql", 0o644, TRAP);
    server.place.write("seed.sql", 0o644, "TABLE public.trap;");
    let (migrations, script) =
        (server.place.text("previews/seed/migrations"), server.place.text("seed.sql"));
    let build = ["build", "--migrations", &migrations, "--sql", &script];
    let config = ["--config", &server.place.config()];
    Run::new("migrate-runner", &[&["seed"], &build[..], &config].concat()).run().accepted();
    server.reset(1).run().accepted();
    server.provision(&["--check"]).run().accepted();
    server.confirm(1).run().accepted();
    assert_eq!(victims(&server), ["preview_seed_owner"]);
}
