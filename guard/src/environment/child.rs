//! The environment of a child, built from nothing.
//!
//! What arrives is computed from the slot, set in the configuration, or inherited because its exact
//! name is allowed and its value is plain. Everything else is left out, with the reason.

use std::collections::{BTreeMap, BTreeSet};

use super::address::looks_like_database_url;
use super::judge::slot_variables;
use super::manager;
use super::names::{NameClass, classify};
use super::secret_like::looks_secret;
use super::{DATABASE_URL, Environment, Variable};
use crate::diagnostic::{Code, Denial, Warning, shown};
use crate::secret::Secret;
use crate::slot::{SlotId, SlotSet};
use crate::template::Template;
use crate::verify::VerifiedTarget;

/// Names every child may inherit when their values are plain.
const INHERITED: &[&str] = &[
    "LANG",
    "LC_ALL",
    "LC_COLLATE",
    "LC_CTYPE",
    "LC_MESSAGES",
    "LC_MONETARY",
    "LC_NUMERIC",
    "LC_TIME",
    "TERM",
    "TZ",
];

/// Names that only this crate computes.
const COMPUTED: &[&str] = &[
    DATABASE_URL,
    "HOME",
    "LOGNAME",
    "PATH",
    "SLOT_BACKEND_PORT",
    "SLOT_DB_NAME",
    "SLOT_ID",
    "SLOT_NUM",
    "SLOT_WORKTREE_PATH",
    "TMPDIR",
    "USER",
];

/// Names that tell a program of sockets it was handed.
const HANDED_OVER: [&str; 2] = ["LISTEN_FDS", "LISTEN_PID"];

const FROM_THE_SLOT: &str = "follows from the slot";
const FROM_THE_SIDECAR: &str = "leads to the slot's sidecar, with the password of its start";
const FROM_THE_CONFIGURATION: &str = "written in the configuration";

const CHILD_PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// What a tool speaks when nobody says otherwise.
const TOOL_LANG: &str = "C.UTF-8";

/// Longest value that is inherited, in bytes.
const MAX_VALUE: usize = 8192;

/// Which variables a child gets beside the computed ones (`[env]` of the configuration).
#[derive(Debug, Clone, Default)]
pub struct EnvPolicy {
    inherit: BTreeSet<String>,
    /// Beginnings of names, from entries such as `FEATURE_*`.
    prefixes: Vec<String>,
    /// Names, or beginnings of names that end in `*`.
    block: Vec<String>,
    set: BTreeMap<String, Template>,
    /// Whether the application may report to its service manager.
    notifying: bool,
    /// Whether the application reaches its database by way of the slot's sidecar.
    through_sidecar: bool,
}

/// Directories of the slot that its child is told of.
#[derive(Debug, Clone)]
pub struct ChildPlaces {
    /// The slot's private home.
    pub home: String,
    /// The slot's private directory for temporary files.
    pub temporary: String,
    /// The assigned worktree, if there is one.
    pub worktree: Option<String>,
}

/// The finished environment of a child.
///
/// Made only by [`EnvPolicy`], so a program that is started with one cannot have
/// inherited anything by accident.
///
/// ```
/// use guard::{database_url::DatabaseTarget, policy::DatabasePolicy, verify::verify};
/// use guard::environment::{ChildEnvironment, ChildPlaces, EnvPolicy, Environment};
/// let target = DatabaseTarget::parse("postgresql://slot_1@127.0.0.1:5432/app_preview_1").unwrap();
/// let proof = verify("preview-1".parse().unwrap(), target, &DatabasePolicy::default()).unwrap();
/// let places = ChildPlaces { home: "/h".into(), temporary: "/t".into(), worktree: None };
/// let child: ChildEnvironment =
///     EnvPolicy::default().build(&Environment::default(), &proof, &places);
/// assert!(child.names().any(|name| name == "SLOT_ID"));
/// ```
///
/// ```compile_fail
/// use guard::{database_url::DatabaseTarget, policy::DatabasePolicy, verify::verify};
/// use guard::environment::{ChildEnvironment, ChildPlaces, EnvPolicy, Environment};
/// let target = DatabaseTarget::parse("postgresql://slot_1@127.0.0.1:5432/app_preview_1").unwrap();
/// let proof = verify("preview-1".parse().unwrap(), target, &DatabasePolicy::default()).unwrap();
/// let places = ChildPlaces { home: "/h".into(), temporary: "/t".into(), worktree: None };
/// let child: ChildEnvironment = ChildEnvironment::default();
/// assert!(child.names().any(|name| name == "SLOT_ID"));
/// ```
#[derive(Debug)]
pub struct ChildEnvironment {
    variables: BTreeMap<String, Secret>,
    decisions: Vec<Decision>,
    warnings: Vec<Warning>,
}

/// What became of one name, and why. Holds no value.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Decision {
    /// The name of the variable.
    pub name: String,
    /// What became of it.
    pub outcome: Outcome,
    /// Why.
    pub reason: String,
}

/// What becomes of a variable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// Computed from the slot.
    Computed,
    /// Written in the configuration.
    Set,
    /// Taken over from the parent.
    Inherited,
    /// Left out.
    Dropped,
}

/// What becomes of the names under `[env] inherit`: they are for the application.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Configured {
    Pass,
    Drop,
}

impl EnvPolicy {
    /// Checks the configured names once, for every slot.
    ///
    /// # Errors
    /// Refuses names that can never be inherited or set, names that are computed, a `PORT` that is
    /// not the slot's own, and values that are database addresses.
    pub fn new(
        inherit: Vec<String>,
        block: Vec<String>,
        set: BTreeMap<String, Template>,
        slots: &SlotSet,
    ) -> Result<Self, Denial> {
        let (prefixes, inherit): (Vec<String>, Vec<String>) =
            inherit.into_iter().partition(|entry| entry.ends_with('*'));
        let prefixes =
            prefixes.iter().map(|entry| check_prefix(entry)).collect::<Result<_, _>>()?;
        for name in inherit.iter().chain(set.keys()) {
            check_name(name)?;
        }
        for name in &inherit {
            if let Some(rule) = classify(name).filter(|rule| rule.class == NameClass::SetOnly) {
                return Err(refuse(name, rule.reason, "a value under `[env] set` instead"));
            }
        }
        for (name, template) in &set {
            for slot in slots.iter() {
                check_set_value(slot, name, &template.render(slot))?;
            }
        }
        for entry in &block {
            check_block(entry)?;
        }
        let inherit = inherit.into_iter().collect();
        Ok(Self { inherit, prefixes, block, set, notifying: false, through_sidecar: false })
    }

    /// Decides whether the application learns how to report to its service manager.
    ///
    /// It must not where Unix sockets are closed to it: its first report would fail.
    #[must_use]
    pub fn notifying(mut self, allowed: bool) -> Self {
        self.notifying = allowed;
        self
    }

    /// Decides whether `DATABASE_URL` leads to the slot's sidecar, for what is said of it.
    #[must_use]
    pub fn through_sidecar(mut self, enabled: bool) -> Self {
        self.through_sidecar = enabled;
        self
    }

    fn reason_of_computed(&self, name: &str) -> &'static str {
        if name == DATABASE_URL && self.through_sidecar { FROM_THE_SIDECAR } else { FROM_THE_SLOT }
    }

    /// Builds the environment of a child of this slot.
    ///
    /// What the parent has and may not be passed is dropped, and reported.
    #[must_use]
    pub fn build(
        &self,
        parent: &Environment,
        target: &VerifiedTarget,
        places: &ChildPlaces,
    ) -> ChildEnvironment {
        let slot = target.slot();
        let mut child = ChildEnvironment::empty();
        for (name, value) in computed(target, places) {
            child.add(name, value, Outcome::Computed, self.reason_of_computed(name));
        }
        for (name, template) in &self.set {
            let value = Secret::new(template.render(slot));
            child.add(name, value, Outcome::Set, FROM_THE_CONFIGURATION);
        }
        self.inherit_all(parent, Configured::Pass, &mut child);
        child
    }

    /// Builds the environment of a program that works on a slot and is not its application: one of
    /// our own, or a tool such as `git`.
    ///
    /// It gets no target and none of the configured variables, only what every child may inherit.
    #[must_use]
    pub fn build_for_tool(&self, parent: &Environment) -> ChildEnvironment {
        let mut child = ChildEnvironment::empty();
        let path = Secret::new(CHILD_PATH.to_owned());
        child.add("PATH", path, Outcome::Computed, "the same for every child");
        self.inherit_all(parent, Configured::Drop, &mut child);
        if !child.variables.contains_key("LANG") {
            let language = Secret::new(TOOL_LANG.to_owned());
            child.add("LANG", language, Outcome::Computed, "none was inherited");
        }
        child
    }

    /// Builds the environment of a dependency sync or a build of this slot.
    ///
    /// It gets no target and none of the configured variables, but knows where it is.
    #[must_use]
    pub fn build_for_sync(
        &self,
        parent: &Environment,
        slot: SlotId,
        places: &ChildPlaces,
    ) -> ChildEnvironment {
        let mut child = ChildEnvironment::empty();
        let own = slot_variables(slot).map(|(name, value)| (name, Secret::new(value)));
        for (name, value) in own.into_iter().chain(of_places(places)) {
            child.add(name, value, Outcome::Computed, FROM_THE_SLOT);
        }
        self.inherit_all(parent, Configured::Drop, &mut child);
        child
    }

    fn inherit_all(
        &self,
        parent: &Environment,
        configured: Configured,
        child: &mut ChildEnvironment,
    ) {
        for variable in parent.variables() {
            self.inherit(variable, configured, child);
        }
        if parent.entries_without_sign() > 0 {
            child.drop_one("", "an entry without `=`");
        }
        child.decisions.sort_by(|a, b| a.name.cmp(&b.name));
    }

    fn inherit(&self, variable: &Variable, configured: Configured, child: &mut ChildEnvironment) {
        let name = String::from_utf8_lossy(&variable.name).into_owned();
        if child.variables.contains_key(&name) {
            return; // Computed or set: the parent's value does not matter.
        }
        match self.judge(&name, variable, configured) {
            Ok((value, reason)) => {
                if looks_secret(value) {
                    let message = format!("the value of `{}` looks like a secret", shown(&name));
                    child.warnings.push(Warning::new(Code::SecretLikeValue, message));
                }
                child.add(&name, Secret::new(value.to_owned()), Outcome::Inherited, reason);
            }
            Err(reason) => child.drop_one(&name, reason),
        }
    }

    /// Decides on one variable of the parent: its value and the reason, or the reason against it.
    fn judge<'v>(
        &self,
        name: &str,
        variable: &'v Variable,
        configured: Configured,
    ) -> Result<(&'v str, &'static str), &'static str> {
        // Decided on the bytes: the text shows an odd byte as a character of its own.
        let is_plain = is_plain_name(&variable.name);
        let reason = self.judge_name(name, is_plain, configured)?;
        let value = std::str::from_utf8(&variable.value).map_err(|_| "the value is not UTF-8")?;
        check_value(name, value)?;
        Ok((value, reason))
    }

    /// Decides on a name, whatever its value: the reason for it, or the reason against it.
    fn judge_name(
        &self,
        name: &str,
        is_plain: bool,
        configured: Configured,
    ) -> Result<&'static str, &'static str> {
        if self.is_blocked(name) {
            return Err("blocked in the configuration");
        }
        if let Some(rule) = classify(name).filter(|rule| rule.class == NameClass::Never) {
            return Err(rule.reason);
        }
        if !is_plain {
            return Err("the name is not plain");
        }
        if configured == Configured::Pass
            && (self.inherit.contains(name) || self.has_prefix_of(name))
        {
            return Ok("allowed in the configuration");
        }
        if configured == Configured::Pass && manager::is_given(name) {
            let closed = manager::is_for_reports(name) && !self.notifying;
            return if closed {
                Err("Unix sockets are closed to the program, so it cannot report")
            } else {
                Ok("given by the service manager")
            };
        }
        if !INHERITED.contains(&name) {
            return Err(classify(name).map_or("not on the allowlist", |rule| rule.reason));
        }
        Ok("allowed by default")
    }

    /// Says what becomes of one name in the environment of an application, without its value.
    #[must_use]
    pub fn explain(&self, name: &str, parent: &Environment) -> Decision {
        let decision = |outcome, reason: &str| Decision {
            name: shown(name),
            outcome,
            reason: reason.to_owned(),
        };
        if COMPUTED.contains(&name) {
            return decision(Outcome::Computed, self.reason_of_computed(name));
        }
        if self.set.contains_key(name) {
            return decision(Outcome::Set, FROM_THE_CONFIGURATION);
        }
        let present = parent.variables().iter().find(|v| v.name == name.as_bytes());
        let judged = match present {
            Some(variable) => self.judge(name, variable, Configured::Pass).map(|(_, why)| why),
            None => self.judge_name(name, is_plain_name(name.as_bytes()), Configured::Pass),
        };
        match judged {
            Ok(reason) => decision(Outcome::Inherited, reason),
            Err(reason) => decision(Outcome::Dropped, reason),
        }
    }
}

impl EnvPolicy {
    fn is_blocked(&self, name: &str) -> bool {
        self.block.iter().any(|entry| match entry.strip_suffix('*') {
            Some(prefix) => name.starts_with(prefix),
            None => entry == name,
        })
    }

    /// A prefix opens no name of the table: secret-like ones are allowed by their exact name only.
    fn has_prefix_of(&self, name: &str) -> bool {
        classify(name).is_none() && self.prefixes.iter().any(|prefix| name.starts_with(prefix))
    }
}

impl ChildEnvironment {
    fn empty() -> Self {
        Self { variables: BTreeMap::new(), decisions: Vec::new(), warnings: Vec::new() }
    }

    fn add(&mut self, name: &str, value: Secret, outcome: Outcome, reason: &str) {
        let (name, reason) = (name.to_owned(), reason.to_owned());
        self.decisions.push(Decision { name: name.clone(), outcome, reason });
        self.variables.insert(name, value);
    }

    fn drop_one(&mut self, name: &str, reason: &str) {
        let (name, reason) = (shown(name), reason.to_owned());
        self.decisions.push(Decision { name, outcome: Outcome::Dropped, reason });
    }

    /// Tells the program of listening sockets that its service manager opened for it, as
    /// `sd_listen_fds` reads it; they are the descriptors from 3 up.
    pub fn hand_over_sockets(&mut self, count: usize, pid: u32) {
        self.decisions.retain(|decision| !HANDED_OVER.contains(&decision.name.as_str()));
        for (name, value) in HANDED_OVER.into_iter().zip([count.to_string(), pid.to_string()]) {
            self.add(name, Secret::new(value), Outcome::Computed, "listens on the slot's own port");
        }
        self.decisions.sort_by(|a, b| a.name.cmp(&b.name));
    }

    /// Returns the names that arrive, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.variables.keys().map(String::as_str)
    }

    /// Returns names and values for the one call that starts the child.
    pub fn dangerous_expose(&self) -> impl Iterator<Item = (&str, &str)> {
        self.variables.iter().map(|(name, value)| (name.as_str(), value.dangerous_expose()))
    }

    /// Returns what became of every name, in order of names.
    #[must_use]
    pub fn decisions(&self) -> &[Decision] {
        &self.decisions
    }

    /// Returns what is worth knowing about what arrives.
    #[must_use]
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }

    /// Returns the names that were left out.
    pub fn dropped(&self) -> impl Iterator<Item = &Decision> {
        self.decisions.iter().filter(|decision| decision.outcome == Outcome::Dropped)
    }
}

fn computed(
    target: &VerifiedTarget,
    places: &ChildPlaces,
) -> impl Iterator<Item = (&'static str, Secret)> {
    let mut variables: Vec<(&'static str, Secret)> = slot_variables(target.slot())
        .map(|(name, value)| (name, Secret::new(value)))
        .into_iter()
        .collect();
    variables.push((DATABASE_URL, target.connection_url()));
    // Drivers fall back to these for the role when they ignore part of the URL.
    for name in ["USER", "LOGNAME"] {
        variables.push((name, Secret::new(target.role().to_owned())));
    }
    variables.into_iter().chain(of_places(places))
}

fn of_places(places: &ChildPlaces) -> impl Iterator<Item = (&'static str, Secret)> {
    let worktree = places.worktree.as_ref().map(|path| ("SLOT_WORKTREE_PATH", path.clone()));
    let own = [
        ("HOME", places.home.clone()),
        ("TMPDIR", places.temporary.clone()),
        ("PATH", CHILD_PATH.to_owned()),
    ];
    own.into_iter().chain(worktree).map(|(name, value)| (name, Secret::new(value)))
}

fn is_plain_name(name: &[u8]) -> bool {
    let begins = name.first().is_some_and(|b| b.is_ascii_alphabetic() || *b == b'_');
    begins && name.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'_')
}

fn check_name(name: &str) -> Result<(), Denial> {
    if !is_plain_name(name.as_bytes()) {
        return Err(refuse(name, "it is not a plain name", "letters, digits and `_`"));
    }
    if COMPUTED.contains(&name) {
        return Err(refuse(name, "it is computed from the slot", "leave it out"));
    }
    match classify(name).filter(|rule| rule.class == NameClass::Never) {
        Some(rule) => Err(refuse(name, rule.reason, "a name that can be passed")),
        None => Ok(()),
    }
}

/// Shortest beginning of names that can be allowed as a whole.
const MIN_PREFIX: usize = 4;

/// Checks an entry such as `FEATURE_*` and returns the beginning.
fn check_prefix(entry: &str) -> Result<String, Denial> {
    let prefix = entry.strip_suffix('*').unwrap_or(entry);
    check_name(prefix)?;
    if prefix.len() < MIN_PREFIX || !prefix.ends_with('_') {
        return Err(refuse(
            entry,
            "it opens too many names",
            "a longer prefix such as `FEATURE_*`",
        ));
    }
    Ok(prefix.to_owned())
}

/// Checks an entry of `block`: one that can never match would block nothing without a word.
fn check_block(entry: &str) -> Result<(), Denial> {
    if is_plain_name(entry.strip_suffix('*').unwrap_or(entry).as_bytes()) {
        return Ok(());
    }
    Err(refuse(entry, "it is no name and no beginning of one", "`NAME` or `PREFIX*`"))
}

fn check_set_value(slot: SlotId, name: &str, value: &str) -> Result<(), Denial> {
    let own = slot.backend_port().to_string();
    if name == "PORT" && value != own {
        return Err(refuse(name, "it is not the slot's own port", "PORT = \"810{slot}\""));
    }
    if looks_like_database_url(value) {
        return Err(refuse(name, "its value is a database address", "`DATABASE_URL` only"));
    }
    if value.contains('\0') {
        return Err(refuse(name, "its value holds a NUL", "a plain value"));
    }
    Ok(())
}

fn refuse(name: &str, reason: &str, expected: &str) -> Denial {
    let name = shown(name);
    Denial::new(
        Code::ConfigValue,
        format!("`[env]` may not name `{name}`: {reason}"),
        format!("`{name}` under `[env]`"),
        expected,
    )
}

/// Why a value is not plain enough to be inherited.
fn check_value(name: &str, value: &str) -> Result<(), &'static str> {
    let only =
        |allowed: &[u8]| value.bytes().all(|b| b.is_ascii_alphanumeric() || allowed.contains(&b));
    let short = (1..=64).contains(&value.len());
    match name {
        "LANG" | "TERM" if !(short && only(b"_.@+-")) => return Err("the value is not plain"),
        _ if manager::is_given(name) => manager::check_shape(name, value)?,
        _ if name.starts_with("LC_") && !(short && only(b"_.@-")) => {
            return Err("the value is not plain");
        }
        "TZ" if !(short && only(b"_+-/") && !value.starts_with('/')) => {
            return Err("the value is not a zone name");
        }
        _ => {}
    }
    if value.len() > MAX_VALUE {
        return Err("the value is too long");
    }
    if value.chars().any(|c| c.is_control() && c != '\n' && c != '\t') {
        return Err("the value holds control characters");
    }
    if looks_like_database_url(value) {
        return Err("the value is a database address");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::database_url::DatabaseTarget;
    use crate::policy::DatabasePolicy;

    fn build<const N: usize>(policy: &EnvPolicy, parent: [(&str, &str); N]) -> ChildEnvironment {
        let url = "postgresql://slot_1:p%40w@127.0.0.1:5432/app_preview_1";
        let target = DatabaseTarget::parse(url).unwrap();
        let slot = "preview-1".parse().unwrap();
        let proof = crate::verify::verify(slot, target, &DatabasePolicy::default()).unwrap();
        let places = ChildPlaces {
            home: "/state/preview-1/home".to_owned(),
            temporary: "/state/preview-1/tmp".to_owned(),
            worktree: Some("/srv/previews/x".to_owned()),
        };
        policy.build(&parent.into(), &proof, &places)
    }

    fn policy(inherit: &[&str], set: &[(&str, &str)]) -> Result<EnvPolicy, Denial> {
        EnvPolicy::new(
            inherit.iter().map(ToString::to_string).collect(),
            vec!["BLOCKED".to_owned()],
            set.iter().map(|(n, v)| ((*n).to_owned(), Template::parse(v).unwrap())).collect(),
            &SlotSet::default(),
        )
    }

    fn value<'c>(child: &'c ChildEnvironment, name: &str) -> Option<&'c str> {
        child.dangerous_expose().find(|(n, _)| *n == name).map(|(_, value)| value)
    }

    #[test]
    fn en_4_to_en_9_are_computed_whatever_the_parent_says() {
        let parent =
            [("SLOT_ID", "preview-2"), ("DATABASE_URL", "postgres://prod/x"), ("HOME", "/root")];
        let child = build(&EnvPolicy::default(), parent);
        for (name, expected) in [
            ("SLOT_ID", "preview-1"),
            ("SLOT_NUM", "1"),
            ("SLOT_BACKEND_PORT", "8101"),
            ("SLOT_DB_NAME", "app_preview_1"),
            ("SLOT_WORKTREE_PATH", "/srv/previews/x"),
            ("DATABASE_URL", "postgresql://slot_1:p%40w@127.0.0.1:5432/app_preview_1"),
            ("HOME", "/state/preview-1/home"),
            ("USER", "slot_1"),
        ] {
            assert_eq!(value(&child, name), Some(expected), "{name}");
        }
    }

    #[test]
    fn se_6_nothing_else_arrives_by_default() {
        let parent =
            [("STRIPE_SECRET_KEY", "sk"), ("PGHOST", "x"), ("LANG", "C.UTF-8"), ("FOO", "1")];
        let child = build(&EnvPolicy::default(), parent);
        assert_eq!(value(&child, "LANG"), Some("C.UTF-8"));
        let dropped: Vec<&str> = child.dropped().map(|decision| decision.name.as_str()).collect();
        assert_eq!(dropped, ["FOO", "PGHOST", "STRIPE_SECRET_KEY"]);
        assert!(!format!("{child:?}").contains("sk\""));
    }

    #[test]
    fn an_exact_name_can_be_allowed() {
        let allowed = policy(&["FOO", "SESSION_SECRET"], &[]).unwrap();
        let child = build(&allowed, [("FOO", "1"), ("SESSION_SECRET", "x"), ("FOOT", "2")]);
        assert_eq!(value(&child, "FOO"), Some("1"));
        assert_eq!(value(&child, "SESSION_SECRET"), Some("x"));
        assert_eq!(value(&child, "FOOT"), None);
    }

    #[test]
    fn a_prefix_opens_ordinary_names_and_no_others() {
        let allowed = policy(&["FEATURE_*", "PIPELINE_*"], &[]).unwrap();
        let parent = [
            ("FEATURE_A", "1"),
            ("FEATURE_API_KEY", "2"),
            ("FEATURES", "3"),
            ("PIPELINE_DATABASE_URL", "4"),
        ];
        let child = build(&allowed, parent);
        assert_eq!(value(&child, "FEATURE_A"), Some("1"));
        for name in ["FEATURE_API_KEY", "FEATURES", "PIPELINE_DATABASE_URL"] {
            assert_eq!(value(&child, name), None, "{name}");
        }
        for entry in ["*", "A_*", "FEATURE*", "PG*", "LD_*", "NODE_ENV*", "F*E_*"] {
            assert!(policy(&[entry], &[]).is_err(), "{entry}");
        }
    }

    #[test]
    fn a_value_that_looks_like_a_secret_arrives_with_a_warning() {
        let allowed = policy(&["FOO"], &[]).unwrap();
        let child = build(&allowed, [("FOO", "sk_live_0123456789abcdef")]);
        assert_eq!(child.warnings()[0].code(), Code::SecretLikeValue);
        assert!(!format!("{:?}", child.warnings()).contains("0123456789abcdef"));
        assert!(build(&allowed, [("FOO", "a,b")]).warnings().is_empty());
    }

    #[test]
    fn a_tool_gets_no_target_and_nothing_that_is_for_the_application() {
        let allowed = policy(&["FOO"], &[("NODE_ENV", "preview")]).unwrap();
        let parent: Environment = [
            ("FOO", "1"),
            ("DATABASE_URL", "postgres://prod/x"),
            ("PGHOST", "x"),
            ("PATH", "/tmp"),
            ("TZ", "Europe/Berlin"),
            ("LANG", "../../x"),
        ]
        .into();
        let tool = allowed.build_for_tool(&parent);
        let all: Vec<(&str, &str)> = tool.dangerous_expose().collect();
        let path = ("PATH", "/usr/local/bin:/usr/bin:/bin");
        assert_eq!(all, [("LANG", "C.UTF-8"), path, ("TZ", "Europe/Berlin")]);
        let dropped: Vec<&str> = tool.dropped().map(|decision| decision.name.as_str()).collect();
        assert_eq!(dropped, ["DATABASE_URL", "FOO", "LANG", "PGHOST"]);
        let alone = EnvPolicy::default().build_for_tool(&Environment::default());
        assert_eq!(alone.names().collect::<Vec<_>>(), ["LANG", "PATH"]);
    }

    #[test]
    fn a_service_manager_is_heard_and_answered_only_where_that_can_work() {
        let parent = [
            ("INVOCATION_ID", "0123456789abcdef0123456789abcdef"),
            ("NOTIFY_SOCKET", "/run/systemd/notify"),
            ("WATCHDOG_USEC", "1000000"),
        ];
        let closed = build(&EnvPolicy::default(), parent);
        assert!(value(&closed, "INVOCATION_ID").is_some());
        assert_eq!(
            (value(&closed, "NOTIFY_SOCKET"), value(&closed, "WATCHDOG_USEC")),
            (None, None)
        );
        let open = build(&EnvPolicy::default().notifying(true), parent);
        assert_eq!(value(&open, "NOTIFY_SOCKET"), Some("/run/systemd/notify"));
        assert_eq!(value(&open, "WATCHDOG_USEC"), Some("1000000"));
        let odd = [("NOTIFY_SOCKET", "@abstract"), ("WATCHDOG_USEC", "soon")];
        let odd = build(&EnvPolicy::default().notifying(true), odd);
        assert_eq!(odd.dropped().count(), 2);
        let tool = EnvPolicy::default().notifying(true).build_for_tool(&parent.into());
        assert!(!tool.names().any(|name| name == "NOTIFY_SOCKET"), "a tool is no service");
    }

    #[test]
    fn sockets_that_are_handed_over_are_told_of() {
        let parent = [("LISTEN_FDS", "9"), ("LISTEN_PID", "1"), ("LISTEN_FDNAMES", "x")];
        let mut child = build(&EnvPolicy::default(), parent);
        assert_eq!(value(&child, "LISTEN_FDS"), None);
        child.hand_over_sockets(1, 77);
        assert_eq!(value(&child, "LISTEN_FDS"), Some("1"));
        assert_eq!(value(&child, "LISTEN_PID"), Some("77"));
        let dropped: Vec<&str> = child.dropped().map(|d| d.name.as_str()).collect();
        assert_eq!(dropped, ["LISTEN_FDNAMES"]);
    }

    #[test]
    fn one_name_is_explained_as_it_would_be_decided() {
        let policy = policy(&["FOO"], &[("NODE_ENV", "preview")]).unwrap();
        let parent = [("FOO", "postgres://prod/x"), ("LANG", "C"), ("TERM", "x y")].into();
        for (name, outcome) in [
            ("SLOT_ID", Outcome::Computed),
            ("NODE_ENV", Outcome::Set),
            ("LANG", Outcome::Inherited),
            ("LC_ALL", Outcome::Inherited),
            ("FOO", Outcome::Dropped),
            ("TERM", Outcome::Dropped),
            ("PGHOST", Outcome::Dropped),
            ("OTHER", Outcome::Dropped),
            ("A B", Outcome::Dropped),
        ] {
            assert_eq!(policy.explain(name, &parent).outcome, outcome, "{name}");
        }
        assert!(!format!("{:?}", policy.explain("FOO", &parent)).contains("prod"));
    }

    #[test]
    fn a_sync_knows_its_slot_and_neither_target_nor_configured_values() {
        let allowed = policy(&["FOO"], &[("NODE_ENV", "preview")]).unwrap();
        let parent = [("FOO", "1"), ("DATABASE_URL", "postgres://prod/x"), ("LANG", "C")].into();
        let places = ChildPlaces {
            home: "/state/preview-1/cache".to_owned(),
            temporary: "/state/preview-1/tmp".to_owned(),
            worktree: Some("/srv/previews/x".to_owned()),
        };
        let child = allowed.build_for_sync(&parent, "preview-1".parse().unwrap(), &places);
        for name in ["FOO", "DATABASE_URL", "NODE_ENV", "USER"] {
            assert_eq!(value(&child, name), None, "{name}");
        }
        assert_eq!(value(&child, "SLOT_ID"), Some("preview-1"));
        assert_eq!(value(&child, "HOME"), Some("/state/preview-1/cache"));
        assert_eq!(value(&child, "SLOT_WORKTREE_PATH"), Some("/srv/previews/x"));
        assert_eq!(value(&child, "LANG"), Some("C"));
    }

    #[test]
    fn a_block_beats_an_allowance() {
        let blocked = policy(&["BLOCKED"], &[]).unwrap();
        assert_eq!(value(&build(&blocked, [("BLOCKED", "1")]), "BLOCKED"), None);
    }

    #[test]
    fn a_block_takes_prefixes_and_nothing_that_could_never_match() {
        let with = |block: &str| {
            let inherit = vec!["FEATURE_*".to_owned()];
            EnvPolicy::new(inherit, vec![block.to_owned()], BTreeMap::new(), &SlotSet::default())
        };
        let parent = [("FEATURE_A_1", "1"), ("FEATURE_B", "2")];
        let child = build(&with("FEATURE_A*").unwrap(), parent);
        assert_eq!((value(&child, "FEATURE_A_1"), value(&child, "FEATURE_B")), (None, Some("2")));
        for entry in ["", "*", "FEATURE-*", "*_A", "A*B", "1A"] {
            assert!(with(entry).is_err(), "{entry}");
        }
    }

    #[test]
    fn a_name_with_an_odd_byte_does_not_arrive_as_another_one() {
        let allowed = policy(&["FEATURE_*"], &[]).unwrap();
        let of = |name: &[u8]| {
            let parent = Environment::new([(name.to_vec(), b"1".to_vec())]).unwrap();
            let target =
                DatabaseTarget::parse("postgresql://s@127.0.0.1:5432/app_preview_1").unwrap();
            let slot = "preview-1".parse().unwrap();
            let proof = crate::verify::verify(slot, target, &DatabasePolicy::default()).unwrap();
            let places = ChildPlaces { home: "/h".into(), temporary: "/t".into(), worktree: None };
            let child = allowed.build(&parent, &proof, &places);
            child.names().filter(|name| name.starts_with("FEATURE_")).count()
        };
        assert_eq!(of(b"FEATURE_A"), 1);
        for name in [&b"FEATURE_\xff"[..], b"FEATURE_A%%", b"FEATURE_A B", b"FEATURE_\n"] {
            assert_eq!(of(name), 0, "{name:?}");
        }
    }

    #[test]
    fn odd_values_are_dropped() {
        let allowed = policy(&["FOO"], &[]).unwrap();
        for (name, odd) in [
            ("LANG", "../../x"),
            ("TZ", ":/etc/passwd"),
            ("TERM", "x y"),
            ("FOO", "a\u{1b}b"),
            ("FOO", "postgres://prod/x"),
        ] {
            assert_eq!(value(&build(&allowed, [(name, odd)]), name), None, "{name}={odd}");
        }
        let child = build(&allowed, [("TZ", "Europe/Berlin"), ("FOO", "a\nb")]);
        assert_eq!(value(&child, "TZ"), Some("Europe/Berlin"));
        assert_eq!(value(&child, "FOO"), Some("a\nb"));
    }

    #[test]
    fn configuration_cannot_name_what_may_never_pass() {
        for name in ["PGHOST", "LD_PRELOAD", "NODE_ENV", "DATABASE_URL", "SLOT_ID", "A B", ""] {
            assert!(policy(&[name], &[]).is_err(), "inherit {name:?}");
        }
        for (name, value) in
            [("PGHOST", "x"), ("PORT", "8101"), ("FOO", "postgres://x/y"), ("DATABASE_URL", "x")]
        {
            assert!(policy(&[], &[(name, value)]).is_err(), "set {name}={value}");
        }
        assert!(policy(&[], &[("PORT", "810{slot}"), ("NODE_ENV", "preview")]).is_ok());
    }
}
