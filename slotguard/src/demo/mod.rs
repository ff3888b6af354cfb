//! `slotguard demo`: the main job for real, on a throw-away Postgres, every refusal included.
//!
//! The demo plays the administrator (who provisions), the worker (who migrates and starts) and the
//! person who makes mistakes. It checks each outcome, so a refusal that does not happen fails it.

mod backend;
mod failure;
mod interrupt;
mod narrator;
mod stage;

use guard::diagnostic::{Code, Denial};
use guard::slot::{SlotId, SlotSet};
use step_report::console::Console;
use step_report::exit::ExitStatus;

use crate::options::Demo;
use backend::Backend;
use failure::unexpected;
use narrator::{Mistake, Narrator, Typed};
use stage::{PRODUCTION, Stage};

/// Plays the demo; everything it starts ends with it.
pub(crate) fn run(console: &Console, options: &Demo) -> ExitStatus {
    match play(console, options) {
        Ok(()) => ExitStatus::Done,
        Err(denial) => console.refuse(None, &denial),
    }
}

fn play(console: &Console, options: &Demo) -> Result<(), Denial> {
    interrupt::listen()?;
    let mut narrator = Narrator::new(console);
    let slots = SlotSet::default();
    require_free_ports(&slots)?;

    narrator.act("A throw-away Postgres");
    let stage = Stage::set(options, &slots)?;
    narrator.say(&stage.describe_server());

    narrator.act("Three slots and a pretended production database on that server");
    stage.make_production()?;
    provision(&mut narrator, &stage)?;
    narrator
        .say("app_preview_1, app_preview_2, app_preview_3: one role each, no other may connect");
    narrator.say(&format!("{PRODUCTION}: one table, which must be the same at the end"));
    let before = stage.production_fingerprint()?;

    narrator.act("Migrations, applied to each slot only with the proof that it is the slot's own");
    for slot in slots.iter() {
        interrupt::check()?;
        migrate(&mut narrator, &stage, slot)?;
    }

    narrator.act("A fresh database in a moment, from a seed that was built once");
    interrupt::check()?;
    refresh(&mut narrator, &stage)?;

    narrator.act("Backends, started through the wrapper");
    let mut backends = Vec::new();
    for slot in slots.iter() {
        interrupt::check()?;
        backends.push(start(&mut narrator, &stage, slot)?);
    }
    narrator.say(&format!("what the kernel holds each of them to: {}", stage.sandbox()));

    narrator.act("A production secret does not arrive");
    show_environment(&mut narrator, &backends)?;

    narrator.act("What is refused, as a person would meet it");
    for mistake in mistakes(&stage) {
        interrupt::check()?;
        narrator.refusal(&stage, &mistake)?;
    }
    narrator.say("and when every check above it has a bug, the server still says no:");
    let answer = stage.slot_role_meets_production()?;
    narrator.say(&format!("  psql as slot_1 into {PRODUCTION}: {answer}"));

    narrator.act("The end");
    for backend in backends {
        backend.stop()?;
    }
    let after = stage.production_fingerprint()?;
    stage.strike()?;
    if before != after {
        return Err(unexpected("production has changed", &after, &before));
    }
    narrator.say(&format!("{PRODUCTION} is what it was; backends, server and files are gone"));
    narrator.summary();
    Ok(())
}

/// Every backend port must be free before anything is started.
fn require_free_ports(slots: &SlotSet) -> Result<(), Denial> {
    for slot in slots.iter() {
        let port = slot.backend_port();
        if let Err(error) = std::net::TcpListener::bind(("127.0.0.1", port)) {
            return Err(Denial::new(
                Code::PortTaken,
                format!("port {port}, the backend port of {slot}, cannot be used"),
                error.to_string(),
                format!("127.0.0.1:{port} free"),
            )
            .help(format!("Stop what listens there (`ss -ltnp 'sport = :{port}'` names it).")));
        }
    }
    Ok(())
}

/// Roles, databases and stamps, by the commands that an administrator types.
fn provision(narrator: &mut Narrator<'_>, stage: &Stage) -> Result<(), Denial> {
    let root = stage.administrator();
    let typed = |command: &str, args: &[&str]| {
        Typed::new("migrate-runner", &[&[command, "--admin-url-file", &root], args].concat())
    };
    narrator.success(stage, &typed("provision", &["--yes"]), false)?;
    let production = ["--as", "production", "--database", PRODUCTION, "--yes"];
    narrator.success(stage, &typed("protect", &production), false)?;
    narrator.success(stage, &typed("provision", &["--check"]), true)
}

/// Builds the seed and replaces the last slot's database by a copy of it.
fn refresh(narrator: &mut Narrator<'_>, stage: &Stage) -> Result<(), Denial> {
    let slot = stage.last_slot();
    let (name, migrations) = (slot.to_string(), stage.migrations(slot));
    let typed = |args: &[&str]| Typed::new("migrate-runner", args);
    narrator.success(stage, &typed(&["seed", "build", "--migrations", &migrations]), false)?;
    narrator.success(stage, &typed(&["reset", "--slot", &name, "--to", "seed"]), true)?;
    let again = ["apply", "--slot", &name, "--migrations", &migrations];
    narrator.success(stage, &typed(&again), true)
}

fn migrate(narrator: &mut Narrator<'_>, stage: &Stage, slot: SlotId) -> Result<(), Denial> {
    let slot_text = slot.to_string();
    let migrations = stage.migrations(slot);
    let typed =
        Typed::new("migrate-runner", &["apply", "--slot", &slot_text, "--migrations", &migrations]);
    // The first slot is shown in full; the others would only repeat it.
    narrator.success(stage, &typed, slot.number() == 1)
}

fn start(narrator: &mut Narrator<'_>, stage: &Stage, slot: SlotId) -> Result<Backend, Denial> {
    let backend = Backend::start(stage, slot)?;
    narrator.say(&backend.describe_start());
    let answer = backend.wait_until_ready()?;
    let database = answer["database"].as_str().unwrap_or_default();
    if database != slot.database_name() {
        return Err(unexpected(
            "a backend is on another database",
            database,
            &slot.database_name(),
        ));
    }
    narrator.say(&format!("  GET http://127.0.0.1:{}/api/health  {answer}", slot.backend_port()));
    Ok(backend)
}

fn show_environment(narrator: &mut Narrator<'_>, backends: &[Backend]) -> Result<(), Denial> {
    let planted = backend::planted_secrets();
    let names: Vec<&str> = planted.iter().map(|(name, _)| *name).collect();
    narrator.say(&format!("the worker's environment had {}", names.join(", ")));
    for backend in backends {
        let arrived = backend.environment()?;
        if let Some(name) = names.iter().find(|name| arrived.iter().any(|a| a == *name)) {
            return Err(unexpected("a production secret arrived", name, "none of them"));
        }
    }
    let arrived = backends.first().map(Backend::environment).transpose()?.unwrap_or_default();
    narrator.say(&format!("the backend of preview-1 has {}", arrived.join(", ")));
    narrator.prove("no production secret in any backend");
    Ok(())
}

fn mistakes(stage: &Stage) -> Vec<Mistake> {
    let port = stage.port();
    let url = |role: &str, rest: &str| format!("postgresql://{role}@127.0.0.1:{port}/{rest}");
    let check = |url: &str| {
        Typed::new("slotguard", &["check", "--slot", "preview-1", "--database-url", url])
    };
    let migrations = stage.migrations(stage.first_slot());
    let apply = ["apply", "--slot", "preview-1", "--migrations", &migrations];
    let mistake = |title, typed, code| Mistake { title, typed, code };
    vec![
        mistake(
            "the database of another slot",
            check(&url("slot_1", "app_preview_2")),
            Code::OtherSlotsDatabase,
        ),
        mistake(
            "a migration against production",
            Typed::new("migrate-runner", &apply).with("DATABASE_URL", &url("slot_1", PRODUCTION)),
            Code::ProductionDatabase,
        ),
        mistake(
            "an override behind the question mark",
            check(&url("slot_1", &format!("app_preview_1?dbname={PRODUCTION}"))),
            Code::UrlParameter,
        ),
        mistake(
            "a variable that moves every libpq connection",
            Typed::new("migrate-runner", &apply).with("PGHOSTADDR", "127.0.0.9"),
            Code::EnvMovesConnection,
        ),
        mistake(
            "a server that is not the slots' own",
            check(&format!("postgresql://slot_1@127.0.0.9:{port}/app_preview_1")),
            Code::ForeignEndpoint,
        ),
        mistake(
            "a slot that does not exist",
            Typed::new("slotguard", &["check", "--slot", "preview-7"]),
            Code::SlotNotConfigured,
        ),
        mistake(
            "an alias where an identity is needed",
            Typed::new("slotguard", &["check", "--slot", "preview1"]),
            Code::AliasAsIdentity,
        ),
        mistake(
            "a program that is not on the allowlist",
            Typed::new(
                "runtime-wrapper",
                &["exec", "--slot", "preview-1", "--", "/bin/sh", "-c", "id"],
            ),
            Code::ProgramNotAllowed,
        ),
    ]
}
