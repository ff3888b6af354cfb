//! `reset`: a slot's database replaced by a fresh one, with a gap of a moment.
//!
//! The new database is built beside the old one; then one transaction renames both. A crash before
//! it leaves the old one in place, a crash after it the new one; what is left over is dropped by the
//! next run.

use std::time::{Duration, Instant};

use guard::config::Config;
use guard::diagnostic::{Code, Denial, shown};
use guard::provision::{ADMIN_ROLE, DatabaseFacts, SEED_DATABASE, SlotRole, Wanted, old_name};
use guard::slot::SlotId;
use guard::stamp::{Kind, Reading, Stamp};
use slot_runtime::pending_reset;
use step_report::console::Console;

use super::build::{self, Source};
use super::exchange::exchange;
use super::interrupt::unless_interrupted;
use super::report::{self, Progress};
use super::secrets;
use super::session::AdminSession;
use crate::interrupt::Interrupt;
use crate::lease::LeasedAct;
use crate::options::ResetSource;
use crate::sql;

/// Longer than the server needs to notice that a client is gone.
const LOCK_TRIES: u32 = 15;
const LOCK_PAUSE: Duration = Duration::from_millis(100);

/// How long between two words about a copy that takes long.
const PATIENCE: Duration = Duration::from_secs(2);

/// Replaces the slot's database.
///
/// # Errors
/// Refuses when the database is not provably the slot's, the source is not fit, or another reset
/// runs.
pub(crate) async fn reset(
    console: &Console,
    config: &Config,
    act: &LeasedAct,
    source: &ResetSource,
    only_if_due: bool,
) -> Result<(), Denial> {
    let (started, slot) = (Instant::now(), act.slot());
    let mut interrupt = Interrupt::listen()?;
    let wanted = Wanted::new(config);
    let Some(own) = wanted.slots.iter().find(|own| own.slot == slot) else {
        return Err(Denial::new(Code::Internal, "the slot has no role", "none", "one"));
    };
    let target = secrets::preview_admin(config)?;
    let admin = build::open(&target).await?;
    lock(&admin, &own.database).await?;
    act.recheck()?;
    // Under the lock: whoever had it before may have done what was due, and begun to work.
    if only_if_due && pending_reset::since(&config.roots, slot)?.is_none() {
        Progress::new(console, slot).not_due();
        return Ok(());
    }
    require_own(&admin, own).await?;
    let source = find_source(&admin, config, own, source).await?;
    let progress = Progress::new(console, slot);
    progress.copying(&source.database, source.size);
    let building = build::slot_database(&target, &admin, own, &source);
    let building = with_words(building, || progress.still_copying(started.elapsed()));
    let built = match unless_interrupted(&mut interrupt, building).await {
        Ok(built) => built,
        Err(stopped) => return Err(stopped.give_up(&target, &admin, &own.database).await),
    };
    progress.copied(built.strategy, started.elapsed());
    let gap = exchange(&target, &admin, &own.database, Some(&own.role)).await?;
    progress.exchanged(gap);
    pending_reset::done(&config.roots, slot)?;
    if let Err(denial) = build::drop_own(&admin, &old_name(&own.database)).await {
        // The fresh one serves already; the next run drops what is left.
        progress.left_over(&old_name(&own.database), denial.found());
    }
    report::reset(console, own, &source, &built, gap, started.elapsed());
    Ok(())
}

/// Says something now and then while a long statement runs.
async fn with_words<T>(work: impl Future<Output = T>, say: impl Fn()) -> T {
    let mut work = std::pin::pin!(work);
    loop {
        match tokio::time::timeout(PATIENCE, work.as_mut()).await {
            Ok(done) => return done,
            Err(_) => say(),
        }
    }
}

/// Takes the lock of the slot's database for this session.
///
/// The server takes a moment to notice that the program before us has ended, killed or not; so a
/// second reset is refused only after that moment.
pub(super) async fn lock(admin: &AdminSession, database: &str) -> Result<(), Denial> {
    let question = format!(
        "SELECT pg_try_advisory_lock(hashtextextended({}, 0))",
        sql::text(&format!("slotguard reset {database}"))
    );
    for _ in 0..LOCK_TRIES {
        if admin.list(&question).await? == ["t"] {
            return Ok(());
        }
        tokio::time::sleep(LOCK_PAUSE).await;
    }
    Err(Denial::new(
        Code::ResetBusy,
        format!("another reset of `{database}` runs"),
        "its lock is taken",
        "one reset at a time",
    ))
}

/// What a reset replaces must be provably the slot's: its owner, its name and its stamp say so.
async fn require_own(admin: &AdminSession, own: &SlotRole) -> Result<(), Denial> {
    let refuse = |found: String| {
        let message = format!("`{}` is not provably the database of {}", own.database, own.slot);
        let expected = format!("a database of `{ADMIN_ROLE}` with the stamp of {}", own.slot);
        Err(Denial::new(Code::ResetUnproven, message, found, expected))
    };
    let Some(live) = find(admin, &own.database).await? else {
        return refuse("no such database".to_owned());
    };
    if live.owner != ADMIN_ROLE {
        return refuse(format!("owner `{}`", shown(&live.owner)));
    }
    match Stamp::read(live.comment.as_deref()) {
        Reading::Stamp(stamp) => {
            match stamp.judge(own.slot, Some(admin.server().system_identifier), live.oid) {
                Ok(()) => Ok(()),
                Err(denial) if denial.code() == Code::StampedProduction => Err(denial),
                Err(denial) => refuse(denial.found().to_owned()),
            }
        }
        Reading::Unreadable => refuse("a stamp that cannot be read".to_owned()),
        Reading::None => refuse("no stamp".to_owned()),
    }
}

/// Reads one database from the shared catalog.
pub(super) async fn find(
    admin: &AdminSession,
    name: &str,
) -> Result<Option<DatabaseFacts>, Denial> {
    let statement = format!(
        "SELECT coalesce((SELECT json_build_object(\
         'oid', d.oid::int8, 'name', d.datname, 'owner', pg_get_userbyid(d.datdba), \
         'allow_connections', d.datallowconn, 'is_template', d.datistemplate, \
         'connection_limit', d.datconnlimit, \
         'comment', shobj_description(d.oid, 'pg_database'), \
         'size', CASE WHEN has_database_privilege(d.oid, 'CONNECT') \
             THEN pg_database_size(d.oid) ELSE 0 END, 'grants', '[]'::json) \
         FROM pg_database d WHERE d.datname = {}), 'null'::json)",
        sql::text(name)
    );
    admin.ask(&statement).await
}

/// The seed, or a template that is nobody else's.
async fn find_source(
    admin: &AdminSession,
    config: &Config,
    own: &SlotRole,
    source: &ResetSource,
) -> Result<Source, Denial> {
    let name = match source {
        ResetSource::Seed => SEED_DATABASE,
        ResetSource::Template(name) => name,
    };
    let refuse = |found: String, expected: &str| {
        let message = format!("{} cannot be made from `{}`", own.slot, shown(name));
        Err(Denial::new(Code::ResetTemplate, message, found, expected))
    };
    if config.database.production_databases.iter().any(|production| production == name) {
        return refuse("a production database".to_owned(), "the seed, or a template");
    }
    let Some(live) = find(admin, name).await? else {
        let found = "no such database".to_owned();
        return refuse(found, "`migrate-runner provision`, or `seed build`, makes the seed");
    };
    match Stamp::read(live.comment.as_deref()) {
        Reading::Stamp(Stamp { kind: Kind::Production { .. }, .. }) => {
            refuse("a production stamp".to_owned(), "the seed, or a template")
        }
        Reading::Stamp(Stamp { kind: Kind::Preview { .. }, .. }) => {
            refuse("a slot's database".to_owned(), "the seed, or a template")
        }
        _ if SlotId::all().any(|slot| slot.database_name() == name) => {
            refuse("a slot's database".to_owned(), "the seed, or a template")
        }
        _ if live.owner != ADMIN_ROLE => {
            let found = format!("owner `{}`", shown(&live.owner));
            refuse(found, "a database of the administrator's role")
        }
        _ if live.connection_limit == -2 => {
            refuse("a database that was half dropped".to_owned(), "a whole database")
        }
        _ => Ok(Source { database: live.name, size: live.size }),
    }
}
