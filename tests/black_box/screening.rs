//! The screening of migrations, from outside and against a real server.

use std::fmt::Write as _;

use guard::diagnostic::Code;
use serde_json::Value;

use crate::support::place::Place;
use crate::support::run::Run;
use crate::support::server::{EMPTY, Server};

/// A text that screening lets pass but no server accepts would prove nothing.
#[test]
fn every_benign_text_runs_on_a_server_with_the_rights_of_a_slot() {
    let server = Server::new();
    let mut wrong = Vec::new();
    for case in fixtures::benign_migrations() {
        let text = case.text.trim_end().trim_end_matches(';');
        let text = format!("SET SESSION AUTHORIZATION slot_1;\nBEGIN;\n{text}\n;\nROLLBACK;");
        if let Err(said) = server.try_sql("app_preview_1", &text) {
            wrong.push(format!("{} {}: {said}", case.file, case.why));
        }
    }
    assert!(wrong.is_empty(), "{} do not run:\n{}", wrong.len(), wrong.join("\n"));
}

/// Pieces of texts in which quotes, escapes and comments begin and end in odd places.
#[rustfmt::skip]
const PIECES: &[&str] = &[
    "'", "''", "'a'", "E'", "E'a'", "U&'", "N'", "B'1'", "\\", "\\'", "\\\\", "\n", "\r", " ", "\n'", "\n 'b'", "-- c\n",
    "-- '\n", "--", "/*", "*/", "/* ' */", "/* /* */", "$$", "$a$", "$a", "a", "a$$", " AS x", ", ", "||", "\"", "\"b\"",
    "U&\"b\"", " UESCAPE '!'", "1", "1.", "..", "E'a'\n'\\'", "\n'\\''", " , '", "'; '", "::text", "@", "-", "+", "*",
];

/// Text behind the statement that matters, which closes or hides what was left open.
const ENDS: &[&str] =
    &["", "--'", "--", "'", "*/", "$$", "$a$", "\"", "'--", "-- */", "/*'*/", "E'\\''", "'\n''"];

/// Pieces of bodies in PL/pgSQL. Each has all names that it needs.
#[rustfmt::skip]
const BODY_PIECES: &[&str] = &[
    "BEGIN ", "END; ", "IF true THEN ", "IF false THEN ", "ELSIF true THEN ", "ELSEIF false THEN ", "ELSE ", "END IF; ", "FOR i IN REVERSE 2..1 BY 1 LOOP ", "EXIT; ", "EXIT WHEN true; ", "END LOOP; ", "x := 1; ",
    "x = 1; ", "a[1] := 2; ", "r.f = 1; ", "NULL; ", "PERFORM 1; ", "<<l>> ", "CASE 1 WHEN 1 THEN ", "END CASE; ",
    "EXCEPTION WHEN others THEN ", "RAISE NOTICE 'x'; ", "RAISE DEBUG '%', x; ", "FOR i IN 1..2 LOOP ", "WHILE false LOOP ",
    "SELECT 1 INTO x; ", "SELECT INTO x 1; ", "INTO x ", "SELECT 1 ", "copy := 1; ", "return := 1; ", "execute := 1; ",
    "RETURN; ", "; ", "-- c\n", "/* ", "*/ ", "'; ", "x := ", "x = '", "$b$", "ASSERT true; ", "GET DIAGNOSTICS x = ROW_COUNT; ",
    "DECLARE ", "y int; ", "y int := ", "c CURSOR FOR ", "FOR r IN SELECT 1 AS f LOOP ", "FOREACH x IN ARRAY a LOOP ",
    "OPEN c FOR ", "IF ", "THEN ", "WHEN ", "END ", "RETURN QUERY ", "RAISE ", "USING ", "EXECUTE 'SELECT 1' ", "CALL ",
];

/// What a block may be in as a whole, with its end: branches that are taken because others are not.
const BRANCHES: &[(&str, &str)] = &[
    ("", ""),
    ("IF false THEN NULL; ELSE ", "END IF; "),
    ("IF false THEN ELSE ", "END IF; "),
    ("IF false THEN ELSIF true THEN ", "END IF; "),
    ("IF false THEN ELSEIF NULL THEN x := 1; ELSE ", "END IF; "),
    ("CASE 2 WHEN 1 THEN NULL; ELSE ", "END CASE; "),
];

/// Numbers that are the same in each run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % 0x7fff_ffff).unwrap_or_default() % limit
    }

    fn choose<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.below(from.len())]
    }

    fn several(&mut self, from: &[&str], most: usize) -> String {
        (0..self.below(most + 1)).map(|_| self.choose(from)).collect()
    }
}

/// Makes texts that end with a statement on the ledger, which the server may or may not take for
/// one.
fn odd_texts() -> Vec<String> {
    let mut numbers = Numbers(0x2545_F491_4F6C_DD1D);
    let mut text = |index: usize| {
        let (pieces, end) = (numbers.several(PIECES, 8), numbers.choose(ENDS));
        format!("SELECT {pieces}; INSERT INTO refinery_schema_history VALUES ({index}); {end}")
    };
    (0..30_000).map(&mut text).collect()
}

/// Makes blocks that execute a statement on the ledger, if the server takes it for one.
fn odd_blocks() -> Vec<String> {
    let mut numbers = Numbers(0x9E37_79B9_7F4A_7C15);
    let mut block = |index: usize| {
        let head = "DECLARE x int; a int[] := '{1,2}'; r record; copy int; c refcursor; BEGIN SELECT 1 AS f INTO r; ";
        let insert = format!("EXECUTE 'INSERT INTO refinery_schema_history VALUES ({index})'; ");
        let (before, behind) = (numbers.several(BODY_PIECES, 4), numbers.several(BODY_PIECES, 3));
        let (open, close) = BRANCHES[numbers.below(BRANCHES.len())];
        format!("DO $body${head}{open}{before}{insert}{behind}{close}END $body$")
    };
    (0..30_000).map(&mut block).collect()
}

/// Has the server run each text and returns those that reached the ledger unseen.
fn unseen(texts: &[String]) -> Vec<&String> {
    let server = Server::bare();
    server.sql("postgres", "CREATE DATABASE scratch");
    let mut script = "CREATE TABLE refinery_schema_history (version int);\n\
                      CREATE TABLE texts (id int, hex text);\n"
        .to_owned();
    for (index, text) in texts.iter().enumerate() {
        let hex: String = text.bytes().map(|byte| format!("{byte:02x}")).collect();
        let _ = writeln!(script, "INSERT INTO texts VALUES ({index}, '{hex}');");
    }
    script.push_str(
        "SET statement_timeout = '1min'; SET client_min_messages = error;
         DO $do$ DECLARE t record; BEGIN FOR t IN SELECT * FROM texts LOOP
           BEGIN EXECUTE convert_from(decode(t.hex, 'hex'), 'UTF8');
           EXCEPTION WHEN others THEN NULL; END;
         END LOOP; END $do$;
         SELECT DISTINCT version FROM refinery_schema_history ORDER BY 1;",
    );
    let ran = server.sql("scratch", &format!("BEGIN;{script}COMMIT;"));
    let ran: Vec<usize> = ran.lines().filter_map(|line| line.parse().ok()).collect();
    assert!(ran.len() > 500, "only {} of the texts ran", ran.len());
    let is_seen = |text: &&String| {
        let found = guard::migration::screen(text).findings;
        found.iter().any(|finding| finding.code == Code::ReachesLedger)
    };
    ran.iter().map(|index| &texts[*index]).filter(|text| !is_seen(text)).collect()
}

/// The one property that everything rests on: where the server sees a statement, we see it too.
#[test]
fn what_the_server_takes_for_a_statement_is_one_for_the_screening() {
    let texts = odd_texts();
    let unseen = unseen(&texts);
    assert!(unseen.is_empty(), "{} statements ran unseen: {unseen:#?}", unseen.len());
}

#[test]
fn what_the_server_executes_in_a_block_is_seen_by_the_screening() {
    let blocks = odd_blocks();
    let unseen = unseen(&blocks);
    assert!(unseen.is_empty(), "{} blocks ran unseen: {unseen:#?}", unseen.len());
}

fn lint(place: &Place, files: &[(&str, &str)]) -> Run {
    for (name, text) in files {
        place.write(&format!("sql/{name}"), 0o644, text);
    }
    Run::new("migrate-runner", &["lint", "--slot", "preview-1", &place.text("sql")])
}

#[test]
fn lint_says_every_finding_of_every_file_with_its_place() {
    let place = Place::new();
    let files = [
        ("V10__b.sql", "SELECT 1;\n  DROP\n DATABASE x; SET ROLE y;"),
        ("V9__a.sql", "CREATE TABLE a ();"),
        (
            "V11__c.sql",
            "DO $$ BEGIN\n  EXECUTE 'ä' || 'x'; PERFORM 'ä', pg_reload_conf();\nEND $$;",
        ),
    ];
    let outcome = lint(&place, &files).format("json").run();
    assert_eq!(outcome.status, Some(65), "{outcome:?}");
    let found = &outcome.objects()[0];
    let file = |index: usize| &found["files"][index];
    assert!(file(0)["path"].as_str().unwrap().ends_with("V9__a.sql"), "{found}");
    assert_eq!(file(0)["findings"], Value::Array(vec![]));
    let places = |index: usize| -> Vec<String> {
        let findings = file(index)["findings"].as_array().unwrap().iter();
        let place =
            |f: &Value| format!("{} {}:{}", f["code"].as_str().unwrap(), f["line"], f["column"]);
        findings.map(place).collect()
    };
    assert_eq!(places(1), ["SG6201 2:3", "SG6212 3:14"]);
    assert_eq!(places(2), ["SG6224 2:11", "SG6204 2:36"]);
    lint(&Place::new(), &files[1..2]).format("json").run().accepted();
}

#[test]
fn lint_refuses_what_it_cannot_read() {
    let place = Place::new();
    let lint = |args: &[&str]| {
        let args = [&["lint"], args].concat();
        Run::new("migrate-runner", &args).format("json").run()
    };
    lint(&[&place.text("none.sql")]).denied(Code::MigrationsMissing);
    lint(&[&place.text("empty")]).denied(Code::MigrationsMissing);
    lint(&["--slot", "preview_1", &place.text("none.sql")]).denied(Code::UnknownSlot);
    std::os::unix::fs::symlink("slotguard.toml", place.path("link.sql")).unwrap();
    lint(&[&place.text("link.sql")]).denied(Code::MigrationUnreadable);
}

#[test]
fn no_finding_repeats_what_a_string_holds() {
    let place = Place::new();
    let texts = [
        ("V1__a.sql", "ALTER ROLE slot_1 PASSWORD 's3cret'; SELECT 's3cret' 's3cret'"),
        ("V2__b.sql", "CREATE USER MAPPING FOR x SERVER y OPTIONS (password $$s3cret$$);"),
        ("V3__c.sql", "DO $$ BEGIN EXECUTE 's3cret ' || E's3cret\\n' || x; END $$;"),
        ("V4__d.sql", "SELECT dblink('password=s3cret', 'SELECT 1'), 's3cret"),
        ("V5__e.sql", "SET client_encoding = 's3cret'; SELECT set_config('role', 's3cret', true);"),
    ];
    for format in ["human", "json"] {
        // The helper itself fails when a secret is said.
        assert_eq!(lint(&place, &texts).format(format).run().status, Some(65));
    }
}

#[test]
fn db_4_plan_and_apply_screen_before_a_socket_opens() {
    let place = Place::new();
    let listener = crate::support::ports::listen(0).unwrap();
    listener.set_nonblocking(true).unwrap();
    let port = listener.local_addr().unwrap().port();
    place.configure(&format!("[database]\nendpoints = [\"127.0.0.1:{port}\"]\n"));
    place.write("previews/x/migrations/V1__a.sql", 0o644, "CREATE TABLE a ();");
    let second = "SELECT pg_read_file('x');\nCREATE DATABASE b;";
    place.write("previews/x/migrations/V2__b.sql", 0o644, second);
    let migrations = place.text("previews/x/migrations");
    let url = format!("postgresql://slot_1@127.0.0.1:{port}/app_preview_1");
    let run = |command: &str, format: &str| {
        let args = ["--slot", "preview-1", "--migrations", &migrations];
        place.migrate(command, &args).with("DATABASE_URL", &url).format(format).run()
    };
    for command in ["plan", "apply"] {
        let outcome = run(command, "json");
        let denial = outcome.denied(Code::ReachesFiles);
        assert!(denial["found"].as_str().unwrap().contains("the first of 2 findings"), "{denial}");
        let objects = outcome.objects();
        let lint = objects.iter().find(|object| object["files"].is_array()).unwrap();
        assert_eq!(lint["files"][1]["findings"][1]["code"], Code::ReachesDatabases.id());
        let outcome = run(command, "human");
        outcome.refused(Code::ReachesFiles);
        assert!(outcome.stdout.contains("V2__b.sql:2:1: error[SG6201]"), "{outcome:?}");
        assert!(listener.accept().is_err(), "{command} connected");
    }
}

#[test]
fn an_exemption_lets_pass_and_is_reported() {
    let server = Server::new();
    let file = "previews/x/migrations/V1__a.sql";
    let text = "-- slotguard: allow undecidable: the text is our own constant\n\
                DO $$ DECLARE q text := 'CREATE TABLE a ()'; BEGIN EXECUTE q; END $$;";
    server.place.write(file, 0o644, text);
    let migrations = server.place.text("previews/x/migrations");
    for (command, table) in [("plan", EMPTY), ("apply", "a refinery_schema_history")] {
        let outcome = server.migrate(command, 1, &migrations).format("json").run();
        assert_eq!(outcome.status, Some(0), "{outcome:?}");
        let object = outcome.objects().pop().unwrap();
        let exempted = &object["exempted"][0];
        assert_eq!(exempted["file"], "V1__a.sql", "{object}");
        assert_eq!(exempted["code"], Code::Undecidable.id());
        assert_eq!(exempted["reason"], "the text is our own constant");
        assert_eq!(server.tables("app_preview_1"), table);
    }
    let outcome = server.migrate("plan", 1, &migrations).format("human").run();
    assert!(outcome.stdout.contains("V1__a.sql:2:60: exempt[SG6222]"), "{outcome:?}");

    // Without the comment nothing runs.
    server.place.write(file, 0o644, text.split_once('\n').unwrap().1);
    server.migrate("apply", 2, &migrations).format("json").run().denied(Code::Undecidable);
}
