//! `seed build`: the template of every slot, made once from migrations and seed data.
//!
//! Migrations run as a role that owns nothing but the seed's content, and that may enter the seed
//! only while it is built.

use std::path::{Path, PathBuf};

use guard::admin::AdminTarget;
use guard::config::Config;
use guard::diagnostic::{Code, Denial, shown};
use guard::io::SafeFile;
use guard::layout::Layout;
use guard::migration::pieces;
use guard::provision::{ADMIN_ROLE, SEED_DATABASE, SEED_ROLE, next_name, old_name};
use guard::stamp::{Kind, Reading, Stamp};
use sha2::{Digest as _, Sha256};
use step_report::console::{Console, Format};

use super::build;
use super::copy::Strategy;
use super::exchange::exchange;
use super::interrupt::unless_interrupted;
use super::report;
use super::reset::{find, lock};
use super::secrets::{self, random_hex};
use super::session::{AdminSession, Authority};
use crate::checksum::hex;
use crate::files::MigrationSet;
use crate::interrupt::Interrupt;
use crate::limits::Limits;
use crate::progress::Progress;
use crate::run::MigrationRun;
use crate::run_lock;
use crate::screening::{require_clean, require_clean_texts};
use crate::session::GuardedSession;
use crate::sql;
use crate::transaction::{Failure, Transactions, Work};

/// Largest file with seed data, in bytes.
const MAX_SCRIPT: usize = 64 * 1024 * 1024;

/// What a seed without migrations is built from.
pub(super) const EMPTY: &str = "empty";

/// A template as empty as can be.
const BLANK: &str = "template0";

/// What goes into the seed.
struct Content {
    set: MigrationSet,
    scripts: Vec<(String, String)>,
}

/// Builds the seed from migrations and scripts, unless it was built from the same ones.
///
/// # Errors
/// Refuses files that cannot be read or run, and reports what the server refuses.
pub(crate) async fn seed(
    console: &Console,
    config: &Config,
    migrations: (&Path, Option<Layout>),
    scripts: &[PathBuf],
) -> Result<(), Denial> {
    let mut interrupt = Interrupt::listen()?;
    let scripts = scripts.iter().map(|path| read_script(path)).collect::<Result<_, _>>()?;
    let content = Content { set: MigrationSet::read(migrations.0, config, migrations.1)?, scripts };
    require_clean(console, &content.set)?;
    let scripts: Vec<(&str, &str)> =
        content.scripts.iter().map(|(name, text)| (&name[..], &text[..])).collect();
    require_clean_texts(console, &scripts)?;
    let counts = (content.set.files().len(), content.scripts.len());
    let fingerprint = fingerprint(&content);
    let target = secrets::preview_admin(config)?;
    let filler = secrets::seed_owner(config)?;
    let admin = build::open(&target).await?;
    lock(&admin, SEED_DATABASE).await?;
    // An earlier run that was killed may have built it and not dropped the one before.
    build::drop_own(&admin, &old_name(SEED_DATABASE)).await?;
    build::drop_own(&admin, &next_name(SEED_DATABASE)).await?;
    if is_built_from(&admin, &fingerprint).await? {
        report::seed(console, SEED_DATABASE, &fingerprint, "unchanged", counts);
        return Ok(());
    }
    let building = build_next(console, &target, &admin, &filler, content);
    if let Err(stopped) = unless_interrupted(&mut interrupt, building).await {
        return Err(stopped.give_up(&target, &admin, SEED_DATABASE).await);
    }
    complete(&target, &admin, &fingerprint).await?;
    report::seed(console, SEED_DATABASE, &fingerprint, "built", counts);
    Ok(())
}

/// Builds a seed with nothing in it, so that slots can be made before there are migrations.
///
/// # Errors
/// Reports what the server refuses.
pub(super) async fn build_empty(target: &AdminTarget, admin: &AdminSession) -> Result<(), Denial> {
    lock(admin, SEED_DATABASE).await?;
    begin(target, admin).await?;
    complete(target, admin, EMPTY).await
}

async fn build_next(
    console: &Console,
    target: &AdminTarget,
    admin: &AdminSession,
    filler: &AdminTarget,
    content: Content,
) -> Result<(), Denial> {
    begin(target, admin).await?;
    fill(console, filler, content).await
}

/// Makes the database that will be the seed, open to the role that fills it.
async fn begin(target: &AdminTarget, admin: &AdminSession) -> Result<(), Denial> {
    let next = next_name(SEED_DATABASE);
    build::drop_own(admin, &next).await?;
    build::create(admin, &next, BLANK, Strategy::WalLog).await?;
    let inside = AdminSession::open(target, &next, Authority::PreviewAdmin).await?;
    let database = sql::name(&next);
    inside
        .run(&format!(
            "BEGIN;
             GRANT CONNECT, CREATE, TEMPORARY ON DATABASE {database} TO {SEED_ROLE};
             ALTER SCHEMA public OWNER TO {SEED_ROLE};
             COMMIT"
        ))
        .await
}

async fn fill(console: &Console, filler: &AdminTarget, content: Content) -> Result<(), Denial> {
    let session = GuardedSession::open_seed(filler).await?;
    let mut observer = |progress: Progress<'_>| {
        if let (Format::Human, Progress::Applied { file, .. }) = (console.format(), progress) {
            console.note(&format!("  applied   {}", file.file));
        }
    };
    MigrationRun::new(session, content.set).apply(&mut observer).await?;
    let session = GuardedSession::open_seed(filler).await?;
    run_lock::take(&session, &Limits::default(), &mut |_| {}).await?;
    let mut transactions = Transactions::new(&session);
    for (name, text) in &content.scripts {
        let work = Work { file: name, pieces: &pieces(text), ledger_rows: &[], traced: None };
        transactions.run(work, false).await.map_err(Failure::into_denial)?;
        if console.format() == Format::Human {
            console.note(&format!("  ran       {name}"));
        }
    }
    Ok(())
}

/// Closes what was built, stamps it and puts it in the place of the old seed.
async fn complete(
    target: &AdminTarget,
    admin: &AdminSession,
    fingerprint: &str,
) -> Result<(), Denial> {
    let next = next_name(SEED_DATABASE);
    let Some(live) = find(admin, &next).await? else {
        return Err(Denial::new(Code::Internal, "the new seed is gone", "none", next));
    };
    let stamp = Stamp {
        kind: Kind::Seed { fingerprint: fingerprint.to_owned() },
        system_identifier: admin.server().system_identifier,
        oid: live.oid,
        nonce: random_hex()?,
    };
    let database = sql::name(&next);
    admin.run(&format!("REVOKE ALL ON DATABASE {database} FROM {SEED_ROLE}")).await?;
    admin.run(&build::comment(&next, &stamp)).await?;
    admin.run(&format!("ALTER DATABASE {database} ALLOW_CONNECTIONS false")).await?;
    exchange(target, admin, SEED_DATABASE, None).await?;
    build::drop_own(admin, &old_name(SEED_DATABASE)).await
}

async fn is_built_from(admin: &AdminSession, fingerprint: &str) -> Result<bool, Denial> {
    let Some(live) = find(admin, SEED_DATABASE).await? else { return Ok(false) };
    let Reading::Stamp(stamp) = Stamp::read(live.comment.as_deref()) else { return Ok(false) };
    let same = matches!(&stamp.kind, Kind::Seed { fingerprint: own } if own == fingerprint);
    Ok(same && stamp.oid == live.oid && live.owner == ADMIN_ROLE && !live.allow_connections)
}

fn read_script(path: &Path) -> Result<(String, String), Denial> {
    let name = path.to_string_lossy().into_owned();
    let text = SafeFile::of_anybody(MAX_SCRIPT).read(path).map_err(|problem| {
        Denial::new(
            Code::MigrationUnreadable,
            "a file with seed data cannot be read",
            format!("`{}`: {problem}", shown(&name)),
            "a regular UTF-8 file",
        )
    })?;
    Ok((name, text))
}

/// A number that changes with every name and every byte that goes into the seed.
fn fingerprint(content: &Content) -> String {
    let mut hash = Sha256::new();
    let mut part = |kind: &str, name: &str, text: &str| {
        for field in [kind, name, text] {
            hash.update((field.len() as u64).to_le_bytes());
            hash.update(field.as_bytes());
        }
    };
    for file in content.set.files() {
        part("migration", &file.file, file.text());
    }
    for (index, (_, text)) in content.scripts.iter().enumerate() {
        part("script", &index.to_string(), text);
    }
    hex(&hash.finalize())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(files: &[(&str, &str)], scripts: &[&str]) -> Content {
        let place = tempfile::tempdir().unwrap();
        for (name, text) in files {
            std::fs::write(place.path().join(name), text).unwrap();
        }
        let scripts = scripts.iter().map(|text| (String::new(), (*text).to_owned())).collect();
        Content {
            set: MigrationSet::read(place.path(), &Config::default(), None).unwrap(),
            scripts,
        }
    }

    #[test]
    fn every_part_counts() {
        let of = |files: &[(&str, &str)], scripts: &[&str]| fingerprint(&content(files, scripts));
        let plain = of(&[("V1__a.sql", "SELECT 1")], &["x"]);
        assert_eq!(plain, of(&[("V1__a.sql", "SELECT 1")], &["x"]));
        assert_eq!(plain.len(), 64);
        for other in [
            of(&[("V1__a.sql", "SELECT 2")], &["x"]),
            of(&[("V2__a.sql", "SELECT 1")], &["x"]),
            of(&[("V1__a.sql", "SELECT 1")], &[]),
            of(&[("V1__a.sql", "SELECT 1")], &["x", ""]),
        ] {
            assert_ne!(plain, other);
        }
    }
}
