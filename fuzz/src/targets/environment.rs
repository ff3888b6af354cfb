//! `judge` and `EnvPolicy::build`: nothing moves a connection, and nothing unlisted arrives.
//!
//! The input is one entry a line, `name=value`; the first line may hold no entry at all.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use guard::database_url::DatabaseTarget;
use guard::diagnostic::Code;
use guard::environment::{
    ChildEnvironment, ChildPlaces, DATABASE_URL, EnvPolicy, Environment, Outcome, judge,
};
use guard::policy::DatabasePolicy;
use guard::slot::{SlotId, SlotSet};
use guard::template::Template;
use guard::verify::{VerifiedTarget, verify};

use super::{SECRET, Target, refused, words};
use crate::engine::Signature;

pub(super) const TARGET: Target = Target {
    name: "environment",
    check,
    #[rustfmt::skip]
    dictionary: &[
        "\n", "=", "\nPGHOST=", "\nPGHOSTADDR=x", "\nPGOPTIONS", "PG", "pg", "\nDATABASE_URL=",
        "\nDIRECT_URL=", "_DATABASE_URL", "DATABASE_URL_", "\nJDBC_URL=", "postgres://", "postgresql+x://",
        "jdbc:", "mysql:/", "hunter2", "=hunter2", "\nSLOT_ID=preview-1", "\nSLOT_ID=preview-2",
        "\nSLOT_NUM=", "\nLANG=C.UTF-8", "\nLC_ALL=", "\nTZ=", "\nTERM=xterm", "\nPATH=", "\nHOME=",
        "\nUSER=", "\nLD_PRELOAD=", "\nNODE_OPTIONS=", "\nNODE_ENV=", "\nPORT=", "\nFEATURE_FLAGS=",
        "\nSESSION_SECRET=", "\nINTERNAL_FLAG=", "\nAWS_SECRET_ACCESS_KEY=", "_TOKEN", "BASH_FUNC_x%%",
        "\0", "\u{1b}", "\t", "\u{85}", "\u{e9}", "'", "\"", " ", "/", "..", "\u{ff30}\u{ff27}",
    ],
};

/// Everything that the policies below let through, by whatever way.
#[rustfmt::skip]
const ALLOWED: &[&str] = &[
    "LANG", "LC_ALL", "LC_COLLATE", "LC_CTYPE", "LC_MESSAGES", "LC_MONETARY", "LC_NUMERIC", "LC_TIME",
    "TERM", "TZ",
    "DATABASE_URL", "HOME", "LOGNAME", "PATH", "SLOT_BACKEND_PORT", "SLOT_DB_NAME", "SLOT_ID", "SLOT_NUM",
    "SLOT_WORKTREE_PATH", "TMPDIR", "USER",
];
const CONFIGURED: &[&str] = &["FEATURE_FLAGS", "SESSION_SECRET", "NODE_ENV", "PORT"];

const URL: &str = "postgresql://slot_1:p%40ssw0rd@127.0.0.1:5432/app_preview_1";

struct World {
    slot: SlotId,
    target: VerifiedTarget,
    places: ChildPlaces,
    configured: EnvPolicy,
}

static WORLD: LazyLock<World> = LazyLock::new(|| {
    world().unwrap_or_else(|| panic!("the fixed slot, target and policy are no longer accepted"))
});

fn world() -> Option<World> {
    let slot = "preview-1".parse().ok()?;
    let target = DatabaseTarget::parse(URL).ok()?;
    let target = verify(slot, target, &DatabasePolicy::default()).ok()?;
    let set = BTreeMap::from([
        ("NODE_ENV".to_owned(), Template::parse("preview")?),
        ("PORT".to_owned(), Template::parse("810{slot}")?),
    ]);
    let inherit = ["FEATURE_FLAGS", "SESSION_SECRET"].map(str::to_owned).into();
    let block = vec!["INTERNAL_FLAG".to_owned(), "LC_TIME".to_owned()];
    let configured = EnvPolicy::new(inherit, block, set, &SlotSet::default()).ok()?;
    let places = ChildPlaces {
        home: "/state/home".to_owned(),
        temporary: "/state/tmp".to_owned(),
        worktree: Some("/srv/previews/x".to_owned()),
    };
    Some(World { slot, target, places, configured })
}

fn check(input: &[u8]) -> Signature {
    let entries = || input.split(|byte| *byte == b'\n');
    let environment = match Environment::from_entries(entries()) {
        Ok(environment) => environment,
        Err(denial) => {
            let names = entries().map(|entry| entry.split(|byte| *byte == b'=').next());
            let named = names.flatten().any(|name| holds(name, SECRET));
            assert!(named || !words(&denial).contains(SECRET), "a value is in {denial:?}");
            return refused(&denial);
        }
    };
    let judged = judged(&environment);
    built(&EnvPolicy::default(), &environment, false);
    let configured = built(&WORLD.configured, &environment, true);
    format!("{judged} build={configured}")
}

fn judged(environment: &Environment) -> Signature {
    match judge(WORLD.slot, environment, None) {
        Ok(()) => {
            for variable in environment.variables() {
                assert!(!variable.name.starts_with(b"PG"), "{variable:?} passes");
                assert!(!variable.name.is_empty(), "an entry without a name passes");
                assert!(!variable.value.contains(&0), "{variable:?} holds a NUL and passes");
            }
            // Asked again with another target, only the conflict can change the verdict.
            let moved = judge(WORLD.slot, environment, Some(URL)).err().map(|denial| denial.code());
            let own = environment.value(DATABASE_URL);
            let expected = own.filter(|own| *own != URL.as_bytes()).map(|_| Code::EnvUrlConflict);
            assert_eq!(moved, expected);
            "accepted".to_owned()
        }
        Err(denial) => {
            let named = |v: &guard::environment::Variable| holds(&v.name, SECRET);
            // What slot variables hold is the number or name of a slot; the refusal shows it.
            let shows_values = denial.code() == Code::EnvSlotConflict;
            if !shows_values && !environment.variables().iter().any(named) {
                assert!(!words(&denial).contains(SECRET), "a value is in {denial:?}");
            }
            refused(&denial)
        }
    }
}

fn holds(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

fn has_duplicates(environment: &Environment) -> bool {
    let mut names: Vec<&[u8]> =
        environment.variables().iter().map(|variable| variable.name.as_slice()).collect();
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    names.len() != count
}

/// Builds the child's environment; returns how many variables were inherited.
fn built(policy: &EnvPolicy, parent: &Environment, configured: bool) -> usize {
    let World { target, places, .. } = &*WORLD;
    let child = policy.build(parent, target, places);
    assert!(!has_duplicates(parent), "a duplicate is overlooked");
    for (name, value) in child.dangerous_expose() {
        let listed = ALLOWED.contains(&name) || (configured && CONFIGURED.contains(&name));
        assert!(listed, "{name} is on no list and arrives");
        assert!(!name.starts_with("PG"), "{name} arrives");
        assert!(!value.contains('\0'), "{name} arrives with a NUL");
    }
    computed_win(&child);
    decisions_agree(&child, parent)
}

fn computed_win(child: &ChildEnvironment) {
    let value = |name| child.dangerous_expose().find(|(own, _)| *own == name).map(|(_, v)| v);
    for (name, expected) in [
        (DATABASE_URL, URL),
        ("SLOT_ID", "preview-1"),
        ("SLOT_NUM", "1"),
        ("SLOT_BACKEND_PORT", "8101"),
        ("SLOT_DB_NAME", "app_preview_1"),
        ("SLOT_WORKTREE_PATH", "/srv/previews/x"),
        ("HOME", "/state/home"),
        ("TMPDIR", "/state/tmp"),
        ("USER", "slot_1"),
        ("LOGNAME", "slot_1"),
        ("PATH", "/usr/local/bin:/usr/bin:/bin"),
    ] {
        assert_eq!(value(name), Some(expected), "{name}");
    }
}

fn decisions_agree(child: &ChildEnvironment, parent: &Environment) -> usize {
    let arrive: Vec<&str> = child.names().collect();
    let mut inherited = 0;
    for decision in child.decisions() {
        let arrives = arrive.contains(&decision.name.as_str());
        // A dropped name is shown escaped, so it cannot be confused with one that arrives.
        assert_eq!(arrives, decision.outcome != Outcome::Dropped, "{decision:?}");
        if decision.outcome == Outcome::Inherited {
            inherited += 1;
            let given = parent.value(&decision.name);
            let own = child.dangerous_expose().find(|(name, _)| *name == decision.name);
            assert_eq!(given, own.map(|(_, value)| value.as_bytes()), "{}", decision.name);
        }
    }
    let named = parent.variables().iter().any(|variable| holds(&variable.name, SECRET));
    assert!(named || !format!("{child:?}").contains(SECRET), "Debug shows a value");
    inherited
}
