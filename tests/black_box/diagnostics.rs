//! Every diagnostic code as a person and as a program meets it, and a neighbour that passes.

#![expect(clippy::unwrap_used, reason = "helpers of tests, outside of what the lint takes for one")]

use std::os::unix::fs::symlink;
use std::path::Path;

use guard::diagnostic::Code;
use rustix::process::Signal;
use serde_json::json;

use crate::support::canary::Canary;
use crate::support::parent::Parent;
use crate::support::place::{PINNED, Place};
use crate::support::run::{Outcome, Run, assert_whole};
use crate::support::server::Server;
use crate::support::{ports, programs, web};
use crate::{
    backend_codes, deploy, hazards, install, leases, release, reset_interrupted, routes_live,
    stepwise, tls,
};

const URL: &str = "postgresql://slot_1@127.0.0.1:5432/app_preview_1";

/// How a run ends that gives a code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// The program refuses.
    Refused,
    /// The program goes on and warns.
    Warned,
    /// A line of a stream is denied; the stream itself is answered.
    Answered,
}

/// A code and the run that gives it, prepared in a place of its own.
pub(crate) type Scenario = (Code, End, fn(&Place) -> Run);

/// A code and the run that gives it on a server of its own, for a slot of which nothing ran yet.
pub(crate) type LiveScenario = (Code, fn(&Server, u8) -> Run);

fn verify(code: Code, end: End, outcome: &Outcome) {
    match end {
        End::Refused => {
            outcome.refused(code);
        }
        End::Warned | End::Answered => {
            assert_eq!(outcome.status, Some(0), "{code}: {outcome:#?}");
            assert!(outcome.said().contains(code.id()), "{code}: {outcome:#?}");
        }
    }
}

/// Plays both formats and compares them with the snapshot of the code.
pub(crate) fn play(scenarios: &[Scenario]) {
    for (code, end, prepare) in scenarios {
        let shown = ["human", "json"].map(|format| {
            let place = Place::new();
            let outcome = prepare(&place).format(format).run();
            verify(*code, *end, &outcome);
            if format == "json" {
                assert!(outcome.said().contains(&format!("\"code\":\"{code}\"")), "{outcome:#?}");
            }
            outcome.snapshot(&place.redactor())
        });
        assert_whole(code.id(), &shown.join("\n"));
    }
}

pub(crate) fn play_live(scenarios: &[LiveScenario]) {
    for (code, prepare) in scenarios {
        let server = Server::new();
        let shown = [(1, "human"), (2, "json")].map(|(slot, format)| {
            let outcome = prepare(&server, slot).format(format).run();
            outcome.refused(*code);
            if format == "json" {
                outcome.denied(*code);
            }
            outcome.snapshot(&server.redactor())
        });
        assert_whole(code.id(), &shown.join("\n"));
    }
}

fn check(place: &Place, url: &str) -> Run {
    place.check(&["--slot", "preview-1", "--database-url", url])
}

const SLOTS: &[Scenario] = &[
    (Code::UnknownSlot, End::Refused, |place| place.check(&["--slot", "preview_1"])),
    (Code::AliasAsIdentity, End::Refused, |place| place.check(&["--slot", "preview1"])),
    (Code::SlotNotConfigured, End::Refused, |place| place.check(&["--slot", "preview-7"])),
    (Code::SlotList, End::Refused, |place| {
        place.check(&["--slot", "preview-1"]).with("SLOT_IDS_CSV", "preview-1, preview-2")
    }),
];

#[test]
fn slots() {
    play(SLOTS);
    Place::new().check(&["--slot", "preview-1"]).run().accepted();
}

/// Codes whose bad and good texts in the catalogue are URLs.
const URL_CODES: [Code; 11] = [
    Code::UrlBytes,
    Code::UrlScheme,
    Code::UrlAuthority,
    Code::UrlUser,
    Code::UrlPassword,
    Code::UrlHost,
    Code::UrlPort,
    Code::UrlDatabase,
    Code::UrlFragment,
    Code::UrlParameter,
    Code::UrlParameterTwice,
];

#[test]
fn db_1_urls_as_the_catalogue_shows_them() {
    for code in URL_CODES.into_iter().chain([Code::UrlParameterValue]) {
        let place = Place::new();
        let run = |url: &str, format| {
            let stdin = ["--slot", "preview-1", "--database-url-file", "-"];
            place.check(&stdin).with_stdin(&url.replace("<newline>", "\n\n")).format(format).run()
        };
        let shown = ["human", "json"].map(|format| {
            let outcome = run(code.entry().bad, format);
            outcome.refused(code);
            outcome.snapshot(&place.redactor())
        });
        run(code.entry().bad, "json").denied(code);
        assert_whole(code.id(), &shown.join("\n"));
        run(code.entry().good, "human").accepted();
    }
    play(&[(Code::UrlLength, End::Refused, empty_url)]);
}

fn empty_url(place: &Place) -> Run {
    place.check(&["--slot", "preview-1"]).with("DATABASE_URL", "")
}

const TARGETS: &[Scenario] = &[
    (Code::ForeignDatabase, End::Refused, |place| {
        check(place, &URL.replace("preview_1", "staging"))
    }),
    (Code::OtherSlotsDatabase, End::Refused, |place| {
        check(place, &URL.replace("preview_1", "preview_2"))
    }),
    (Code::ProductionDatabase, End::Refused, |place| {
        check(place, &URL.replace("preview_1", "production"))
    }),
    (Code::ForeignEndpoint, End::Refused, |place| check(place, &URL.replace("0.0.1", "0.0.9"))),
    (Code::ProductionEndpoint, End::Refused, |place| check(place, &URL.replace("5432", "5433"))),
    (Code::ForeignRole, End::Refused, |place| check(place, &URL.replace("slot_1", "app_admin"))),
    (Code::NoTarget, End::Refused, |place| {
        place.configure("");
        place.check(&["--slot", "preview-1"])
    }),
    (Code::TwoTargets, End::Refused, |place| {
        let file = place.text("url");
        let args = ["--slot", "preview-1", "--database-url-file", &file, "--database-url", URL];
        place.check(&args)
    }),
    (Code::TargetUnreadable, End::Refused, |place| {
        let file = place.text("gone.url");
        place.check(&["--slot", "preview-1", "--database-url-file", &file])
    }),
    (Code::PasswordOnCommandLine, End::Warned, |place| {
        check(place, &URL.replace("slot_1@", "slot_1:s3cret@"))
    }),
    (Code::EndpointNotPinned, End::Warned, |place| {
        place.configure("");
        check(place, URL)
    }),
];

#[test]
fn targets() {
    play(TARGETS);
    check(&Place::new(), URL).run().accepted();
}

fn line(place: &Place, env: &str) -> Run {
    let url = json!(URL);
    let line = format!("{{\"id\":1,\"slot\":\"preview-1\",\"url\":{url},\"env\":{env}}}\n");
    place.check(&["--stdin"]).with_stdin(&line)
}

const ENVIRONMENTS: &[Scenario] = &[
    (Code::EnvDuplicate, End::Answered, |place| line(place, r#"{"LANG":"C","LANG":"de"}"#)),
    (Code::EnvMovesConnection, End::Refused, |place| {
        check(place, URL).with("PGHOSTADDR", "127.0.0.9").with("PGPASSWORD", "s3cret")
    }),
    (Code::EnvSecondDsn, End::Refused, |place| {
        check(place, URL).with("DIRECT_URL", &URL.replace("slot_1@", "slot_1:s3cret@"))
    }),
    (Code::EnvUrlConflict, End::Refused, |place| {
        check(place, URL).with("DATABASE_URL", &URL.replace("slot_1@", "slot_1:s3cret@"))
    }),
    (Code::EnvSlotConflict, End::Refused, |place| {
        check(place, URL).with("SLOT_BACKEND_PORT", "8102")
    }),
    (Code::EnvMalformed, End::Answered, |place| line(place, r#"{"":"s3cret"}"#)),
    (Code::EnvFile, End::Refused, |place| {
        place.write("previews/feature/.env", 0o600, "PGPASSWORD=s3cret\nLOG_LEVEL=debug\n");
        check(place, URL).and(&["--worktree", &place.text("previews/feature")])
    }),
    (Code::HomeFile, End::Warned, |place| {
        place.write("home/.pgpass", 0o600, "*:*:*:*:s3cret\n");
        check(place, URL).with("HOME", &place.text("home"))
    }),
    (Code::RequestLine, End::Answered, |place| {
        place.check(&["--stdin"]).with_stdin("{\"slto\":\"preview-1\",\"url\":\"s3cret\"}\n")
    }),
];

#[test]
fn db_1_environments() {
    play(ENVIRONMENTS);
    let place = Place::new();
    let neighbour = check(&place, URL).with("DATABASE_URL", URL).with("SLOT_BACKEND_PORT", "8101");
    neighbour.with("LANG", "C").run().accepted();
    place.write("previews/feature/.env.example", 0o600, "PGPASSWORD=s3cret\n");
    place.write("previews/feature/.env", 0o600, "LOG_LEVEL=debug\n");
    check(&place, URL).and(&["--worktree", &place.text("previews/feature")]).run().accepted();
    assert_eq!(line(&place, r#"{"LANG":"C","LC_ALL":"C"}"#).run().accepted().objects().len(), 1);
}

/// Nothing is asked of an environment in which a name stands twice, not even where the target is.
#[test]
fn db_1_a_name_that_stands_twice_is_refused_before_anything_else() {
    let place = Place::new();
    place.copy_migrations(&fixtures::migrations("fails-midway"), "feature");
    let migrations = place.text("previews/feature/migrations");
    let foreign = URL.replace("slot_1@", "slot_1:s3cret@").replace("preview_1", "production");
    let (own, foreign) = (format!("DATABASE_URL={URL}"), format!("DATABASE_URL={foreign}"));
    exec(&place, &[], &[]);
    let programs = [
        place.check(&["--slot", "preview-1"]),
        place.migrate("plan", &["--slot", "preview-1", "--migrations", &migrations]),
        place.exec(&[], &["/bin/cat", "--version"]),
    ];
    for program in programs {
        let with = |entries: &[&str]| program.clone().format("json").with_entries(entries).run();
        with(&[&foreign, &own]).denied(Code::EnvDuplicate);
        with(&[&own, &foreign]).denied(Code::EnvDuplicate);
        with(&[&own, "SLOTGUARD_CONFIG=a", "SLOTGUARD_CONFIG=a"]).denied(Code::EnvDuplicate);
    }
}

#[test]
fn db_1_an_entry_without_a_name_or_a_value_is_refused() {
    let place = Place::new();
    let with =
        |entry: &str| check(&place, URL).format("json").with_entries(&["LANG=C", entry]).run();
    with("LANG").denied(Code::EnvMalformed);
    with("=s3cret").denied(Code::EnvMalformed);
    with("s3cret").denied(Code::EnvMalformed);
    with("").denied(Code::EnvMalformed);
    with("LC_ALL=").accepted();
}

/// Allows programs, and prepares the wrapper with the usual target.
fn exec(place: &Place, options: &[&str], words: &[&str]) -> Run {
    let at = place.text("bin");
    place.configure(&format!(
        "{PINNED}\
         [programs.environment]\npath = \"/bin/cat\"\nargs = [\"--version\"]\n\
         [programs.own]\npath = \"{at}/own\"\n\
         [programs.docker]\npath = \"/usr/bin/docker\"\nargs = [\"...\"]\n"
    ));
    place.exec(options, words).with("DATABASE_URL", &URL.replace("slot_1@", "slot_1:s3cret@"))
}

const PROGRAMS: &[Scenario] = &[
    (Code::ProgramNotAllowed, End::Refused, |place| exec(place, &[], &["/bin/sh", "-c", "id"])),
    (Code::ProgramArguments, End::Refused, |place| exec(place, &[], &["/bin/cat", "sh"])),
    (Code::ProgramUnsafe, End::Refused, |place| {
        place.write("bin/own", 0o777, "#!/bin/sh\n");
        exec(place, &[], &[&place.text("bin/own")])
    }),
    (Code::ContainerRuntime, End::Refused, |place| {
        exec(place, &[], &["/usr/bin/docker", "run", "x"])
    }),
    (Code::PathOutsideRoot, End::Refused, |place| {
        symlink(place.path("empty"), place.path("previews/link")).unwrap();
        exec(place, &["--worktree", &place.text("previews/link")], &["/bin/cat", "--version"])
    }),
    (Code::PathMalformed, End::Refused, |place| {
        exec(place, &["--worktree", "previews/feature"], &["/bin/cat", "--version"])
    }),
    (Code::SecretLikeValue, End::Warned, |place| {
        let run = exec(place, &[], &["/bin/true"]);
        let program = "[programs.nothing]\npath = \"/bin/true\"\n";
        place.configure(&format!("{PINNED}[env]\ninherit = [\"FEATURE_FLAGS\"]\n{program}"));
        run.with("FEATURE_FLAGS", "sk_live_s3cret0123456789")
    }),
    (Code::LaunderingProgram, End::Refused, |place| {
        let run = exec(place, &[], &["/bin/sh", "-c", "echo s3cret"]);
        let shell = "[programs.shell]\npath = \"/bin/sh\"\nargs = [\"...\"]\n";
        place.configure(&format!("{PINNED}{shell}"));
        run
    }),
    (Code::RootUnusable, End::Refused, |place| {
        std::fs::remove_dir_all(place.path("previews")).unwrap();
        let worktree = place.text("previews/feature");
        exec(place, &["--worktree", &worktree], &["/bin/cat", "--version"])
    }),
    (Code::PathMissing, End::Refused, |place| {
        exec(place, &["--worktree", &place.text("previews/gone")], &["/bin/cat", "--version"])
    }),
    (Code::ProgramNotRunnable, End::Refused, |place| {
        place.write_program("bin/own", "no interpreter line\n");
        exec(place, &[], &[&place.text("bin/own")])
    }),
    (Code::ProgramNotFound, End::Refused, |place| exec(place, &[], &[&place.text("bin/own")])),
];

#[test]
fn programs_and_paths() {
    play(PROGRAMS);
    let place = Place::new();
    let worktree = place.text("previews/feature");
    let outcome = exec(&place, &["--worktree", &worktree], &["/bin/cat", "--version"]).run();
    assert!(outcome.accepted().stdout.contains("cat"), "{outcome:?}");
}

/// Prepares the wrapper with a program that ends at once, and these lines in `[sandbox]`.
fn exec_within(place: &Place, sandbox: &str) -> Run {
    let run = exec(place, &["--worktree", &place.text("previews/feature")], &["/bin/true"]);
    let program = "[programs.nothing]\npath = \"/bin/true\"\n";
    place.configure(&format!("{PINNED}{program}[sandbox]\n{sandbox}\n"));
    run
}

const SANDBOXES: &[Scenario] = &[
    (Code::SandboxUnavailable, End::Refused, |place| {
        exec_within(place, "").under(Parent::WithoutLandlock)
    }),
    (Code::SandboxIncomplete, End::Refused, |place| {
        exec_within(place, "").under(Parent::Domains(16))
    }),
    (Code::ProgramTreeClosed, End::Refused, |place| {
        std::fs::create_dir(place.path("lib")).unwrap();
        place.install(Path::new("/bin/true"), "bin/own");
        exec(place, &[], &[&place.text("bin/own")])
    }),
    (Code::SandboxPath, End::Refused, |place| {
        symlink(place.path("empty"), place.path("current")).unwrap();
        exec_within(place, &format!("read = [\"{}\"]", place.text("current")))
    }),
    (Code::ListenSocketsDropped, End::Warned, |place| {
        exec_within(place, "").with("LISTEN_FDS", "1").with("LISTEN_PID", "1")
    }),
    (Code::EnvFileInWorktree, End::Warned, |place| {
        place.write("previews/feature/.env", 0o600, "PGPASSWORD=s3cret\n");
        exec_within(place, "")
    }),
    (Code::SandboxOff, End::Warned, |place| exec_within(place, "require = []")),
];

#[test]
fn sandboxes() {
    play(SANDBOXES);
    let place = Place::new();
    exec_within(&place, "").under(Parent::Domains(15)).run().accepted();
    let place = Place::new();
    exec_within(&place, "require = []").under(Parent::WithoutLandlock).run().started();
    place.write("previews/feature/.env", 0o600, "LOG_LEVEL=debug\n");
    exec_within(&place, &format!("read = [\"{}\"]", place.text("empty"))).run().accepted();
    place.write("previews/feature/.env", 0o600, "PGHOST=x\n");
    exec_within(&place, "dotenv_in_worktree = \"refuse\"").run().refused(Code::EnvFile);
}

fn plan(place: &Place, migrations: &str) -> Run {
    place.migrate("plan", &["--slot", "preview-1", "--migrations", migrations])
}

/// Prepares a plan of these files next to a `V1__a.sql`.
fn plan_of(place: &Place, files: &[(&str, &str)]) -> Run {
    for (name, text) in files.iter().chain(&[("V1__a.sql", "SELECT 1")]) {
        place.write(&format!("previews/feature/migrations/{name}"), 0o644, text);
    }
    plan(place, &place.text("previews/feature/migrations"))
}

const FILES: &[Scenario] = &[
    (Code::MigrationsMissing, End::Refused, |place| plan(place, &place.text("previews/feature"))),
    (Code::MigrationName, End::Refused, |place| plan_of(place, &[("V2_add_orders.sql", "")])),
    (Code::LayoutUnclear, End::Refused, |place| plan_of(place, &[("20260102030405_b.up.sql", "")])),
    (Code::LayoutUnsupported, End::Refused, |place| plan_of(place, &[("R__views.sql", "")])),
    (Code::LayoutMalformed, End::Refused, |place| {
        let text = "-- migrate:up\nSELECT 1;\n";
        place.write("previews/dbmate/migrations/1_a.sql", 0o644, text);
        plan(place, &place.text("previews/dbmate/migrations"))
    }),
    (Code::MigrationDuplicate, End::Refused, |place| {
        plan_of(place, &[("V3__a.sql", ""), ("V3__b.sql", "")])
    }),
    (Code::AdoptVersion, End::Refused, |place| {
        plan_of(place, &[]);
        let migrations = place.text("previews/feature/migrations");
        let args = ["--slot", "preview-1", "--migrations", &migrations, "--up-to", "12"];
        place.migrate("adopt", &args).with("DATABASE_URL", URL)
    }),
    (Code::MigrationUnreadable, End::Refused, |place| {
        let run = plan_of(place, &[]);
        let link = place.path("previews/feature/migrations/V2__x.sql");
        symlink("V1__a.sql", link).unwrap();
        run
    }),
    (Code::TlsUnavailable, End::Refused, |place| {
        plan_of(place, &[]).with("DATABASE_URL", &format!("{URL}?sslmode=require"))
    }),
];

#[test]
fn migration_files() {
    play(FILES);
}

/// Codes whose bad and good texts in the catalogue are migrations.
const SCREENED: [Code; 28] = [
    Code::ReachesDatabases,
    Code::ReachesRoles,
    Code::ReachesTablespaces,
    Code::ReachesServer,
    Code::ReachesFiles,
    Code::ReachesForeignData,
    Code::ReachesReplication,
    Code::ReachesReplicationSlots,
    Code::UnscreenableLanguage,
    Code::UntrustedExtension,
    Code::ServerCode,
    Code::SwitchesIdentity,
    Code::SignalsSessions,
    Code::SharedCatalog,
    Code::EndsTransaction,
    Code::ReachesLedger,
    Code::ChangesSession,
    Code::ChangesReader,
    Code::NotInTransaction,
    Code::PsqlCommand,
    Code::CopyWithClient,
    Code::Undecidable,
    Code::UnknownStatement,
    Code::UnparsableText,
    Code::UnusableExemption,
    Code::TransactionMixed,
    Code::TransactionBound,
    Code::IndexUnnamed,
];

#[test]
fn screened_texts_as_the_catalogue_shows_them() {
    for code in SCREENED {
        let place = Place::new();
        let run = |text: &str, format| {
            place.write("V1__x.sql", 0o644, &text.replace("<newline>", "\n"));
            let file = place.text("V1__x.sql");
            Run::new("migrate-runner", &["lint", &file]).format(format).run()
        };
        let shown = ["human", "json"].map(|format| {
            let outcome = run(code.entry().bad, format);
            outcome.refused(code);
            outcome.snapshot(&place.redactor())
        });
        assert_whole(code.id(), &shown.join("\n"));
        run(code.entry().good, "json").accepted_but_for_hazards();
    }
}

const LIVE: &[LiveScenario] = &[
    (Code::LiveRole, |server, slot| {
        let text = format!(
            "DROP ROLE IF EXISTS app_admin_{slot}; CREATE ROLE app_admin_{slot}; \
             GRANT app_admin_{slot} TO slot_{slot}; ALTER ROLE slot_{slot} SET role = app_admin_{slot}"
        );
        server.sql("postgres", &text);
        apply(server, slot, &[("V1__a.sql", "CREATE TABLE a ();")])
    }),
    (Code::LiveServer, |server, slot| {
        server.configure("system_identifier = \"7\"");
        apply(server, slot, &[("V1__a.sql", "CREATE TABLE a ();")])
    }),
    (Code::LoginRefused, |server, slot| {
        let url = server.url(slot, &format!("app_preview_{slot}"));
        apply(server, slot, &[("V1__a.sql", "CREATE TABLE a ();")])
            .with("DATABASE_URL", &url.replace('@', ":s3cret-of-nobody@"))
    }),
    (Code::TlsAuthority, |server, slot| {
        server.configure("tls_ca = \"/nonexistent/server-ca.pem\"");
        apply(server, slot, &[("V1__a.sql", "CREATE TABLE a ();")])
    }),
    (Code::ServerUnreachable, |server, slot| {
        server.place.configure("[database]\nendpoints = [\"127.0.0.1:1\"]\n");
        apply(server, slot, &[("V1__a.sql", "CREATE TABLE a ();")]).with(
            "DATABASE_URL",
            &format!("postgresql://slot_{slot}@127.0.0.1:1/app_preview_{slot}"),
        )
    }),
];

fn apply(server: &Server, slot: u8, files: &[(&str, &str)]) -> Run {
    let directory = format!("previews/feature-{slot}/migrations");
    for (name, text) in files {
        server.place.write(&format!("{directory}/{name}"), 0o644, text);
    }
    server.migrate("apply", slot, &server.place.text(&directory))
}

/// Stamps of a slot's database that do not hold, and databases that are not the slot's at all.
const STAMPS: &[LiveScenario] = &[
    (Code::LiveRights, |server, slot| {
        server.sql("postgres", &format!("ALTER ROLE slot_{slot} CREATEDB"));
        server.confirm(slot)
    }),
    (Code::StampedProduction, |server, slot| {
        let rename = format!(
            "ALTER DATABASE app_preview_{slot} RENAME TO elsewhere_{slot};
             CREATE DATABASE app_preview_{slot};
             GRANT CONNECT ON DATABASE app_preview_{slot} TO slot_{slot};"
        );
        server.sql("postgres", &rename);
        let comment = server.sql(
            "postgres",
            "SELECT shobj_description(oid, 'pg_database') FROM pg_database \
             WHERE datname = 'app_production'",
        );
        let comment = comment.trim();
        let sql = format!("COMMENT ON DATABASE app_preview_{slot} IS '{comment}'");
        server.sql("postgres", &sql);
        server.confirm(slot)
    }),
    (Code::StampMismatch, |server, slot| {
        let statement = server.sql(
            "postgres",
            &format!(
                "SELECT format('COMMENT ON DATABASE app_preview_{slot} IS %L', \
                 shobj_description(oid, 'pg_database')) FROM pg_database \
                 WHERE datname = 'app_preview_3'"
            ),
        );
        server.sql("postgres", &statement);
        server.confirm(slot)
    }),
    (Code::StampRow, |server, slot| {
        let database = format!("app_preview_{slot}");
        server.sql(&database, "INSERT INTO slotguard.identity VALUES ('of production')");
        server.confirm(slot)
    }),
    (Code::StampLedger, |server, slot| {
        let database = format!("app_preview_{slot}");
        server.sql(&database, "DROP TABLE refinery_schema_history");
        apply(server, slot, &[("V1__a.sql", "CREATE TABLE a ();")])
    }),
    (Code::StampMissing, |server, slot| {
        server.configure("require_stamp = true");
        server.sql("postgres", &format!("COMMENT ON DATABASE app_preview_{slot} IS NULL"));
        server.confirm(slot)
    }),
];

#[test]
fn stamps() {
    play_live(STAMPS);
    let server = Server::new();
    server.configure("require_stamp = true");
    server.confirm(3).run().accepted();
}

/// What a database that was made by hand is warned of.
#[test]
fn databases_made_by_hand() {
    let server = Server::by_hand();
    let warned = |code: Code| {
        let shown = ["human", "json"].map(|format| {
            let outcome = server.confirm(1).format(format).run();
            verify(code, End::Warned, &outcome);
            outcome.snapshot(&server.redactor())
        });
        assert_whole(code.id(), &shown.join("\n"));
    };
    warned(Code::NotStamped);
    server.sql("postgres", "CREATE DATABASE open_to_all");
    warned(Code::RoleNotConfined);
}

/// Administrators who are not, cannot, or may not.
const ADMINISTRATORS: &[LiveScenario] = &[
    (Code::AdminTarget, |server, _| {
        let root = server.place.path("secrets/root.url");
        let url = std::fs::read_to_string(&root).unwrap().replace("/postgres", "/app_production");
        let url = url.replace("postgresql:/app_production/", "postgresql://");
        server.place.write("secrets/root.url", 0o600, &url);
        server.provision(&["--check"])
    }),
    (Code::NotAdministrator, |server, slot| {
        let url = server.url(slot, "postgres");
        let url = url.replace('@', &format!(":{}@", crate::support::server::password(slot)));
        server.sql("postgres", &format!("GRANT CONNECT ON DATABASE postgres TO slot_{slot}"));
        server.place.write("secrets/root.url", 0o600, &url);
        server.provision(&["--check"])
    }),
    (Code::ConsentMissing, |server, slot| {
        server.sql("postgres", &format!("ALTER ROLE slot_{slot} CREATEDB"));
        server.provision(&[])
    }),
    (Code::PasswordFiles, |server, _| {
        server.place.write("secrets/seed.pw", 0o600, "");
        server.provision(&["--dry-run"])
    }),
    (Code::AdminSql, |server, slot| {
        server.sql("postgres", "ALTER ROLE preview_admin NOCREATEDB");
        server.reset(slot)
    }),
    (Code::ResetUnproven, |server, slot| {
        server.sql("postgres", &format!("COMMENT ON DATABASE app_preview_{slot} IS NULL"));
        server.reset(slot)
    }),
    (Code::ResetTemplate, |server, slot| {
        let slot = format!("preview-{slot}");
        server.place.migrate("reset", &["--slot", &slot, "--to", "template", "app_production"])
    }),
    (Code::ResetBusy, |server, slot| {
        // A prepared transaction keeps its database and cannot be ended as a session.
        server.sql(
            &format!("app_preview_{slot}"),
            "CREATE TABLE held (); BEGIN; LOCK held; PREPARE TRANSACTION 'held'",
        );
        server.reset(slot)
    }),
];

#[test]
fn administrators() {
    for (code, prepare) in ADMINISTRATORS {
        let settings: &[(&str, &str)] = match code {
            Code::ResetBusy => &[("max_prepared_transactions", "2")],
            _ => &[],
        };
        let shown = [(1, "human"), (2, "json")].map(|(slot, format)| {
            let server = Server::with_settings(settings);
            server.provision(&["--yes"]).run().accepted();
            let outcome = prepare(&server, slot).format(format).run();
            outcome.refused(*code);
            outcome.snapshot(&server.redactor())
        });
        assert_whole(code.id(), &shown.join("\n"));
    }
    // The neighbour: the same commands by the right roles.
    let server = Server::new();
    server.provision(&["--check"]).run().accepted();
    server.reset(1).run().accepted();
}

#[test]
fn a_reset_that_is_interrupted_says_so() {
    let server = Server::new();
    let shown = reset_interrupted::SEED_IS_LOCKED.during(&server, |_| {
        ["human", "json"].map(|format| {
            let outcome = server.reset(1).format(format).run_while(|running| {
                reset_interrupted::wait_for_copy(&server);
                running.signal(Signal::INT);
            });
            outcome.refused(Code::ResetInterrupted);
            outcome.snapshot(&server.redactor())
        })
    });
    assert_whole(Code::ResetInterrupted.id(), &shown.join("\n"));
    // The neighbour: a signal that comes too late.
    let outcome = server.reset(1).format("json").run_while(|running| {
        if running.says("reset.exchanged") {
            running.signal(Signal::INT);
        }
    });
    outcome.accepted();
}

/// One misconfiguration for each code of `provision --check`.
const FINDINGS: &[(Code, &str)] = &[
    (Code::ProvisionRole, "ALTER ROLE slot_1 CREATEROLE"),
    (Code::ProvisionMembership, "GRANT pg_read_all_data TO slot_1"),
    (Code::ProvisionLimit, "ALTER ROLE slot_1 CONNECTION LIMIT -1"),
    (Code::ProvisionSetting, "ALTER ROLE slot_1 SET search_path = elsewhere"),
    (Code::ProvisionDatabase, "ALTER DATABASE app_preview_1 IS_TEMPLATE true"),
    (Code::ProvisionOwner, "ALTER DATABASE app_preview_1 OWNER TO slot_1"),
    (Code::ProvisionPrivilege, "GRANT CONNECT ON DATABASE app_production TO PUBLIC"),
    (Code::ProvisionStamp, "COMMENT ON DATABASE app_preview_1 IS NULL"),
    (Code::ProvisionProduction, "COMMENT ON DATABASE app_production IS NULL"),
    (Code::ProvisionContent, "CREATE EXTENSION dblink"),
    (Code::ProvisionServer, "SELECT pg_create_logical_replication_slot('out', 'pgoutput')"),
];

#[test]
fn findings() {
    for (code, statement) in FINDINGS {
        let settings: &[(&str, &str)] = match code {
            Code::ProvisionServer => &[("wal_level", "logical")],
            _ => &[],
        };
        let server = Server::with_settings(settings);
        server.provision(&["--yes"]).run().accepted();
        server.protect().run().accepted();
        server.provision(&["--check"]).run().accepted();
        server.sql("app_preview_1", statement);
        let shown = ["human", "json"].map(|format| {
            let outcome = server.provision(&["--check"]).format(format).run();
            assert_eq!(outcome.status, Some(65), "{code}: {outcome:?}");
            assert!(outcome.said().contains(code.id()), "{code}: {outcome:?}");
            outcome.snapshot(&server.redactor())
        });
        assert_whole(code.id(), &shown.join("\n"));
    }
}

#[test]
fn live_servers() {
    play_live(LIVE);
    let server = Server::new();
    let own = server.sql("postgres", "SELECT system_identifier FROM pg_control_system()");
    server.configure(&format!("system_identifier = \"{}\"", own.trim()));
    apply(&server, 3, &[("V1__a.sql", "CREATE TABLE a ();")]).run().accepted();
}

const LEDGERS: &[LiveScenario] = &[
    (Code::MigrationDivergent, |server, slot| {
        apply(server, slot, &[("V1__create.sql", "CREATE TABLE a ();")]).run().accepted();
        apply(server, slot, &[("V1__create.sql", "CREATE TABLE edited ();")])
    }),
    (Code::MigrationLineEnds, |server, slot| {
        apply(server, slot, &[("V1__a.sql", "CREATE TABLE a ();\n")]).run().accepted();
        apply(server, slot, &[("V1__a.sql", "CREATE TABLE a ();\r\n")])
    }),
    (Code::MigrationMissing, |server, slot| {
        let both = [("V1__a.sql", "CREATE TABLE a ();"), ("V2__x.sql", "CREATE TABLE x ();")];
        apply(server, slot, &both).run().accepted();
        let gone = format!("previews/feature-{slot}/migrations/V2__x.sql");
        std::fs::remove_file(server.place.path(&gone)).unwrap();
        apply(server, slot, &[])
    }),
    (Code::MigrationLate, |server, slot| {
        let both = [("V1__a.sql", "CREATE TABLE a ();"), ("V3__c.sql", "CREATE TABLE c ();")];
        apply(server, slot, &both).run().accepted();
        apply(server, slot, &[("V2__late.sql", "CREATE TABLE late ();")])
    }),
    (Code::MigrationFailed, |server, slot| {
        let from = fixtures::migrations("fails-midway");
        let copy = server.place.copy_migrations(&from, &format!("feature-{slot}"));
        server.migrate("apply", slot, &copy)
    }),
    (Code::LedgerUnreadable, |server, slot| {
        let text = "INSERT INTO refinery_schema_history \
                    VALUES (1, 'a', '2026-01-02T03:04:05Z', 'words')";
        server.sql(&format!("app_preview_{slot}"), text);
        apply(server, slot, &[("V1__a.sql", "CREATE TABLE a ();")])
    }),
];

#[test]
fn ledgers() {
    play_live(LEDGERS);
}

/// Releases that are not served, and the port that is not free.
const FRONTS: &[Scenario] = &[
    (Code::WebRelease, End::Refused, |place| {
        place.publish("1", "<p>");
        place.point("/etc");
        place.front("preview-1")
    }),
    (Code::WebContent, End::Refused, |place| {
        place.write("web/app.js", 0o644, "");
        place.front("preview-1")
    }),
    (Code::WebRootForeign, End::Refused, |place| {
        place.publish("1", "<p>");
        let at = place.text("");
        place.configure(&format!("[web]\nroot = \"{at}web-preview-{{slot}}\"\n"));
        symlink("web", place.path("web-preview-2")).unwrap();
        place.front("preview-1")
    }),
];

fn verify_routes(place: &Place, from: &str, to: &str) -> Run {
    let config = place.config();
    let made = Run::new("slotguard", &["routes", "render", "nginx", "--config", &config]).run();
    place.write("slots.conf", 0o644, &made.stdout.replacen(from, to, 1));
    let file = place.text("slots.conf");
    let args = ["routes", "verify", "--nginx-config", &file, "--config", &config];
    Run::new("slotguard", &args)
}

/// Configurations of a proxy with one mistake each.
const ROUTES: &[Scenario] = &[
    (Code::RouteForeign, End::Refused, |place| {
        verify_routes(place, "http://127.0.0.1:8101", "http://127.0.0.1:8102")
    }),
    (Code::RouteUnknown, End::Refused, |place| {
        verify_routes(place, "client_max_body_size", "rewrite ^ /api/admin; client_max_body_size")
    }),
    (Code::RouteMissing, End::Refused, |place| {
        verify_routes(place, "    disable_symlinks on from=$document_root;\n", "")
    }),
    (Code::RouteUnverifiable, End::Refused, |place| {
        verify_routes(place, "server {", "include more.conf; server {")
    }),
    (Code::RouteFile, End::Refused, |place| {
        let (config, file) = (place.config(), place.text("none.conf"));
        let args = ["routes", "verify", "--nginx-config", &file, "--config", &config];
        Run::new("slotguard", &args)
    }),
];

#[test]
fn routes() {
    play(ROUTES);
    verify_routes(&Place::new(), "http {", "http {").run().accepted();
}

/// Requests that are not answered with what they ask for.
const REQUESTS: &[(Code, u16, &str)] = &[
    (Code::RequestPath, 400, "GET /api/../admin HTTP/1.1\r\nHost: preview1\r\n\r\n"),
    (Code::RequestForm, 400, "GET http://127.0.0.1:8102/api HTTP/1.1\r\nHost: preview1\r\n\r\n"),
    (Code::RequestHost, 421, "GET /api HTTP/1.1\r\nHost: preview2\r\n\r\n"),
    (
        Code::RequestUpgrade,
        403,
        "GET /api/ws HTTP/1.1\r\nHost: preview1\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         Origin: https://elsewhere.example\r\n\r\n",
    ),
    (
        Code::BackendUnavailable,
        503,
        "POST /api HTTP/1.1\r\nHost: preview2\r\nContent-Length: 1\r\n\r\nx",
    ),
    (Code::BackendFailed, 502, "GET /api/dies HTTP/1.1\r\nHost: preview1\r\n\r\n"),
    (
        Code::BackendForeign,
        502,
        "POST /api HTTP/1.1\r\nHost: preview1\r\nContent-Length: 1\r\n\r\nx",
    ),
];

#[test]
fn fronts() {
    let _ports = ports::reserve();
    play(FRONTS);
    let taken = ports::listen(3101).unwrap();
    play(&[FRONT_PORT]);
    drop(taken);
    let place = Place::new();
    place.publish("1", "<p>");
    web::serving(place.front("preview-1"), |_| {});
}

const FRONT_PORT: Scenario = (Code::FrontendPort, End::Refused, |place| {
    place.publish("1", "<p>");
    place.front("preview-1")
});

#[test]
fn requests_to_a_front() {
    let _ports = ports::reserve();
    let _canary = Canary::start(1);
    for (code, status, request) in REQUESTS {
        let shown = ["human", "json"].map(|format| {
            let place = Place::new();
            place.publish("1", "<p>");
            if *code == Code::BackendForeign {
                // A backend was started, and has ended; the canary is not it.
                backend_codes::note_an_ended_run(&place);
            }
            let (slot, port) = match code {
                // The backend of this one is not there.
                Code::BackendUnavailable => ("preview-2", 3102),
                _ => ("preview-1", 3101),
            };
            let mut said = String::new();
            let outcome = web::serving(place.front(slot).format(format), |_| {
                let answer = web::Client::connect(port).send(request).answer().unwrap();
                assert_eq!(answer.status, *status, "{answer:?}");
                said = answer.text();
            });
            verify(*code, End::Answered, &outcome);
            assert!(said.contains(&format!("\"code\":\"{code}\"")), "{said}");
            format!("{}--- answer {status}\n{said}", outcome.snapshot(&place.redactor()))
        });
        assert_whole(code.id(), &shown.join("\n"));
    }
}

fn demo(place: &Place, program: &Path) -> Run {
    let sample = fixtures::sample_app();
    std::fs::create_dir_all(place.path("tmp")).unwrap();
    Run::at(program, &["demo", "--sample", sample.to_str().unwrap()])
        .with("TMPDIR", &place.text("tmp"))
        .with("PATH", "/usr/local/bin:/usr/bin:/bin")
}

const DEMOS: &[Scenario] = &[
    (Code::SiblingMissing, End::Refused, |place| {
        place.install(&programs::program("slotguard"), "bin/slotguard");
        demo(place, &place.path("bin/slotguard"))
    }),
    (Code::SiblingVersion, End::Refused, |place| {
        place.install(&programs::program("slotguard"), "bin/slotguard");
        place.write_program("bin/migrate-runner", "#!/bin/sh\necho migrate-runner 9.9.9\n");
        demo(place, &place.path("bin/slotguard"))
    }),
    (Code::PostgresMissing, End::Refused, |place| {
        let run = demo(place, &programs::program("slotguard"));
        run.and(&["--postgres-programs", &place.text("empty")])
    }),
];

#[test]
fn the_demo_s_needs() {
    let _ports = ports::reserve();
    play_demo(DEMOS);
    let taken: &[Scenario] =
        &[(Code::PortTaken, End::Refused, |place| demo(place, &programs::program("slotguard")))];
    let listener = ports::listen(8101).unwrap();
    play_demo(taken);
    drop(listener);
}

/// As [`play`], with the sample's directory, which is part of the checkout, replaced.
fn play_demo(scenarios: &[Scenario]) {
    for (code, _, prepare) in scenarios {
        let shown = ["human", "json"].map(|format| {
            let place = Place::new();
            let outcome = prepare(&place).format(format).run();
            outcome.refused(*code);
            if format == "json" {
                outcome.denied(*code);
            }
            outcome.snapshot(&place.redactor().path(&fixtures::sample_app(), "<sample>"))
        });
        assert_whole(code.id(), &shown.join("\n"));
    }
}

#[test]
fn a_demo_whose_step_fails_stops_and_cleans_up() {
    let _ports = ports::reserve();
    let place = Place::new();
    place.write("sample/migrations/V1__broken.sql", 0o644, "SELECT 1/0;\n");
    place.write("sample/frontend/index.html", 0o644, "");
    std::fs::create_dir(place.path("tmp")).unwrap();
    let run = || {
        Run::new("slotguard", &["demo", "--sample", &place.text("sample")])
            .with("TMPDIR", &place.text("tmp"))
    };
    let human = run().format("human").run();
    let json = run().format("json").run();
    let shown = [&human, &json].map(|outcome| {
        outcome.refused(Code::DemoStep);
        let redactor = place.redactor();
        let port = outcome
            .said()
            .split("127.0.0.1:")
            .nth(1)
            .and_then(|rest| rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok());
        outcome.snapshot(&redactor.port(port.unwrap()))
    });
    assert_whole(Code::DemoStep.id(), &shown.join("\n"));
    assert_eq!(std::fs::read_dir(place.path("tmp")).unwrap().count(), 0);
}

const CONFIGURATIONS: &[Scenario] = &[
    (Code::ConfigFile, End::Refused, |place| {
        place.write("slotguard.toml", 0o666, "version = 1\n");
        check(place, URL)
    }),
    (Code::ConfigMissing, End::Refused, |place| {
        std::fs::remove_file(place.path("slotguard.toml")).unwrap();
        check(place, URL)
    }),
    (Code::ConfigSyntax, End::Refused, |place| {
        place.configure("[database]\nendpoint = [\"127.0.0.1:5432\"]\n");
        check(place, URL)
    }),
    (Code::ConfigValue, End::Refused, |place| {
        place.configure("[database]\nendpoints = [\"localhost:5432\"]\n");
        check(place, URL)
    }),
    (Code::ConfigEnvironment, End::Refused, |place| {
        place.configure("[slots]\nids = [\"preview-1\", \"preview-2\", \"preview-3\"]\n");
        check(place, URL).with("SLOT_IDS_CSV", "preview-1")
    }),
    (Code::WorkerVariable, End::Refused, |place| {
        check(place, URL).with("WORKER_SLOT_API_DIRECT_TEMPLATE", "http://127.0.0.1:8101")
    }),
    (Code::ArtifactNotWritable, End::Refused, |place| {
        place.write("artifacts", 0o644, "");
        place.keep_artifacts(&place.text("artifacts"));
        place.write("previews/feature/migrations/V1__a.sql", 0o644, "SELECT 1;");
        let migrations = place.text("previews/feature/migrations");
        let args = ["--slot", "preview-1", "--migrations", &migrations, "--database-url", URL];
        place.migrate("apply", &args)
    }),
    (Code::Usage, End::Refused, |_| Run::new("slotguard", &["explain", "SG0000"])),
];

#[test]
fn configurations() {
    play(CONFIGURATIONS);
    let place = Place::new();
    place.configure(&format!("{PINNED}[slots]\nids = [\"preview-1\", \"preview-2\"]\n"));
    check(&place, URL).with("SLOT_IDS_CSV", "preview-1,preview-2").run().accepted();
}

#[test]
fn a_command_line_that_cannot_be_read_repeats_no_secret() {
    let place = Place::new();
    let url = URL.replace("slot_1@", "slot_1:s3cret@");
    for run in [
        Run::new("slotguard", &["chekc"]),
        Run::new("slotguard", &["check", url.as_str()]),
        Run::new("slotguard", &["check", "--slot", "preview-1", "--databse-url", url.as_str()]),
        Run::new("migrate-runner", &["apply", url.as_str()]),
        Run::new("runtime-wrapper", &["exec", url.as_str()]),
        place.check(&["--stdin", "--database-url", &url]),
    ] {
        let outcome = run.run();
        assert_eq!(outcome.status, Some(64), "{outcome:?}");
        // The wrapper's standard output is the program's; the others answer whoever reads JSON.
        assert!(outcome.stdout.is_empty() || outcome.stdout.contains("SG9002"), "{outcome:?}");
    }
}

/// Those of the wire, which a client hears: in `sidecar_refusals`, `sidecar_life`, `sidecar_backend`,
/// `sidecar_lease` and `sidecar_tls`.
const SIDECAR: [Code; 22] = [
    Code::SidecarOff,
    Code::SidecarUpstream,
    Code::SidecarListen,
    Code::SidecarAbsent,
    Code::SidecarIdentity,
    Code::WireMalformed,
    Code::WireProtocol,
    Code::WireDatabase,
    Code::WireRole,
    Code::WireDuplicate,
    Code::WireReplication,
    Code::WireParameter,
    Code::WireLate,
    Code::WireFull,
    Code::WirePeer,
    Code::WirePassword,
    Code::WireDraining,
    Code::WireUpstream,
    Code::WireUnconfirmed,
    Code::SidecarDemanded,
    Code::WireLease,
    Code::SidecarTls,
];

/// Codes that no run of a program can show here, and why.
const EXEMPT: &[(Code, &str)] = &[
    (Code::UrlSecondOpinion, "no text is known on which the two readers disagree"),
    (Code::LiveDatabase, "needs a pooler that maps names; shown in identity.rs"),
    (Code::LiveRecovery, "needs a standby; shown in identity.rs"),
    (Code::AdminSettings, "needs a pooler that drops options; shown in identity.rs"),
    (Code::ServerTooOld, "needs PostgreSQL 14, which is out of support"),
    (Code::MigrationTransaction, "the screening refuses what is known to end a transaction first"),
    (Code::RunInterrupted, "needs a signal in the middle; shown in `runs`"),
    (Code::PortUndecidable, "needs a backend of another user, and a caller who is not root"),
    (Code::ManagerUnavailable, "says what the host's own manager says; shown in systemd.rs"),
    (Code::DescriptorsOpen, "needs a kernel older than 5.11"),
    (Code::NotASlotUser, "depends on who runs the tests; shown in sandbox.rs"),
    (Code::NetworkRules, "needs an /etc of its own; shown in `units`"),
    (Code::Internal, "a defect; none is known"),
    (Code::FrontendAddress, "needs a whole publish; shown in publish.rs"),
    (Code::FrontendTree, "needs a whole publish; shown in publish.rs"),
    (Code::FrontendMissing, "needs a whole publish; shown in publish.rs"),
    (Code::ReleaseNotWritable, "needs a whole publish; shown in publish.rs"),
    (Code::PublishStep, "needs a whole publish; shown in publish.rs"),
    (Code::FrontendNotServed, "needs a whole publish; shown in publish.rs"),
    (Code::PublishInterrupted, "needs a whole publish; shown in publish.rs"),
    (Code::PublishBusy, "needs a whole publish; shown in publish.rs"),
    (Code::DeployInterrupted, "needs a signal in the middle; shown in deploy.rs"),
    (Code::DeployBusy, "needs a second deploy; shown in deploy.rs"),
];

#[test]
fn every_code_is_shown_or_exempt_with_a_reason() {
    let tables = [
        SLOTS,
        TARGETS,
        ENVIRONMENTS,
        PROGRAMS,
        SANDBOXES,
        FILES,
        DEMOS,
        CONFIGURATIONS,
        FRONTS,
        ROUTES,
        &[FRONT_PORT],
        deploy::CODES,
        release::CODES,
    ]
    .concat();
    let mut shown: Vec<Code> = tables.iter().map(|(code, ..)| *code).collect();
    let live = [LIVE, LEDGERS, STAMPS, ADMINISTRATORS, stepwise::HALF_WAY].concat();
    shown.extend(live.iter().map(|(code, _)| *code));
    shown.extend(REQUESTS.iter().map(|(code, ..)| *code));
    shown.extend(FINDINGS.iter().map(|(code, _)| *code));
    shown.extend([Code::NotStamped, Code::RoleNotConfined]);
    // In the module `runs`.
    shown.extend([Code::RunLocked, Code::MigrationBlocked, Code::LedgerChanged]);
    shown.extend(leases::SHOWN);
    shown.extend(hazards::SHOWN);
    shown.extend(install::SHOWN);
    shown.extend(SIDECAR);
    shown.extend(URL_CODES);
    shown.extend(SCREENED);
    shown.extend([Code::UrlLength, Code::UrlParameterValue, Code::PortTaken, Code::DemoStep]);
    shown.push(Code::ResetInterrupted);
    // In the module `artifacts`.
    shown.push(Code::ArtifactIncomplete);
    shown.extend(backend_codes::shown());
    shown.extend(routes_live::SHOWN);
    shown.extend(tls::SHOWN);
    for code in Code::ALL {
        let times = shown.iter().filter(|other| *other == code).count();
        let reason = EXEMPT.iter().find(|(exempt, _)| exempt == code);
        match reason {
            None => assert_eq!(times, 1, "{code} must be shown once or be exempt"),
            Some((_, reason)) => assert!(times == 0 && !reason.is_empty(), "{code}"),
        }
    }
}

#[test]
fn every_code_is_explained_to_people_and_programs() {
    for code in Code::ALL {
        let human = Run::new("slotguard", &["explain", code.id()]).format("human").run();
        assert_eq!((human.status, human.stderr.as_str()), (Some(0), ""), "{code}");
        assert!(
            human.stdout.starts_with(&format!("{code}: {}\n", code.entry().summary)),
            "{human:?}"
        );
        let json = Run::new("slotguard", &["explain", code.id()]).format("json").run();
        assert_eq!(json.objects()[0]["summary"], code.entry().summary);
    }
}
