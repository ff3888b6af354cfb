//! `DatabaseTarget::parse`: what is accepted means one thing, and no refusal repeats a password.

use std::sync::LazyLock;

use guard::database_url::{DatabaseTarget, Host};
use guard::diagnostic::Denial;
use guard::policy::{DatabasePolicy, Endpoint};
use guard::secret::Secret;
use guard::slot::SlotId;
use guard::suggestion::parse_for;
use guard::template::Template;
use guard::verify::verify;

use super::{OTHER_SECRET, SECRET, Target, refused, words};
use crate::engine::Signature;

pub(super) const TARGET: Target = Target {
    name: "database_url",
    check,
    #[rustfmt::skip]
    dictionary: &[
        "postgresql://", "postgres://", "mysql://", "://", "slot_1", ":hunter2@", ":hunter2", "hunter2",
        "@", ":", "/", "//", "?", "&", "=", "#", "\\", ",", ";", "'", "%00", "%40", "%2F", "%2e%2e", "%",
        "%25", "%FF", "%C3%A9", "..", "\n", "\t", " ", "\u{feff}", "\u{ff11}", "127.0.0.1", "127.1",
        "0x7f000001", "localhost", "[::1]", "[::ffff:127.0.0.1]", "[::1%25lo]", "[", "]", "db.example",
        ":5432", ":0", ":05432", ":65535", ":65536", "/app_preview_1", "/app_production", "?dbname=",
        "?host=", "&user=", "?sslmode=disable", "&sslmode=require", "?application_name=web",
        "&connect_timeout=10", "&ssl=true", "jdbc:", "+psycopg", "POSTGRES", "host=", " dbname=", " user=",
        " password=", " port=5432", "Host=", ";Port=5432", ";Password=", "allow", ":5433", "%61", "?options=-crole%3Dpostgres", "xn--", "_", "-", ".",
    ],
};

fn check(input: &[u8]) -> Signature {
    let text = String::from_utf8_lossy(input);
    for policy in [&POLICIES.open, &POLICIES.pinned] {
        suggests_what_is_accepted(&text, policy);
    }
    match DatabaseTarget::parse(&text) {
        Ok(target) => accepted(&text, &target),
        Err(denial) => {
            keeps_the_password(&text, &denial, |text| DatabaseTarget::parse(text).err());
            refused(&denial)
        }
    }
}

struct Policies {
    slot: SlotId,
    /// Nothing is configured but what production is.
    open: DatabasePolicy,
    /// One endpoint and a role.
    pinned: DatabasePolicy,
}

static POLICIES: LazyLock<Policies> = LazyLock::new(|| {
    policies().unwrap_or_else(|| panic!("the fixed slot and policies are no longer accepted"))
});

/// The role that the policy with one gives to the slot.
const ROLE: &str = "slot_1";

fn policies() -> Option<Policies> {
    let open = DatabasePolicy {
        production_databases: vec!["app_production".to_owned()],
        production_endpoints: vec![Endpoint::parse("127.0.0.1:5433")?],
        ..DatabasePolicy::default()
    };
    let pinned = DatabasePolicy {
        endpoints: vec![Endpoint::parse("127.0.0.1:5432")?],
        role: Some(Template::parse("slot_{slot}")?),
        ..open.clone()
    };
    Some(Policies { slot: "preview-1".parse().ok()?, open, pinned })
}

/// What is suggested is accepted, is not production, and holds no piece of the password.
fn suggests_what_is_accepted(text: &str, policy: &DatabasePolicy) {
    let judged = |text: &str| {
        let target = parse_for(POLICIES.slot, text, policy)?;
        verify(POLICIES.slot, target, policy)
    };
    let Some(denial) = judged(text).err() else { return };
    keeps_the_password(text, &denial, |text| judged(text).err());
    // A configured role leaves no place from which a secret could be taken.
    if policy.role.is_some() {
        assert!(!denial.next_step().contains(SECRET), "{}", denial.next_step());
    }
    let help = denial.next_step().strip_prefix("Write ").unwrap_or_default();
    let url = help.split([',', ' ']).next().unwrap_or_default();
    if url.starts_with("postgresql://") {
        let tried = judged(&url.replace("<password>", "x"));
        assert!(tried.is_ok(), "{url} is suggested and refused: {tried:?}");
    }
}

fn accepted(text: &str, target: &DatabaseTarget) -> Signature {
    assert!(text.bytes().all(|byte| (0x21..=0x7e).contains(&byte)), "a byte outside of URLs");
    let printed = target.connection_url();
    let again = parse_own(printed.dangerous_expose());
    same_parts(target, &again);
    let printed_again = again.connection_url();
    assert_eq!(printed_again.dangerous_expose(), printed.dangerous_expose());

    let canonical = target.canonical();
    assert_eq!(parse_own(&canonical).canonical(), canonical, "canonical is no fixpoint");
    let bare = parse_own(&without_password(text));
    assert_eq!(canonical, bare.canonical(), "the password has an influence on the canonical form");
    if let Some(password) = target.password().map(Secret::dangerous_expose) {
        let by_chance = !is_distinctive(password) || format!("{bare:?}").contains(password);
        assert!(by_chance || !format!("{target:?}").contains(password), "Debug shows the password");
    }
    shape(target)
}

fn parse_own(text: &str) -> DatabaseTarget {
    match DatabaseTarget::parse(text) {
        Ok(target) => target,
        Err(denial) => panic!("our own text {text:?} is refused: {denial}"),
    }
}

fn same_parts(one: &DatabaseTarget, other: &DatabaseTarget) {
    assert_eq!(one.user(), other.user());
    assert_eq!(one.host(), other.host());
    assert_eq!(one.port(), other.port());
    assert_eq!(one.database(), other.database());
    assert_eq!(one.parameters(), other.parameters());
    // An empty password and none are the same: the canonical form has none.
    let password = |target: &DatabaseTarget| {
        target.password().map_or(String::new(), |secret| secret.dangerous_expose().to_owned())
    };
    assert!(password(one) == password(other), "the password changed");
}

/// Returns an accepted text without its password: there is exactly one `@`, and a `:` before it
/// other than that of the scheme begins the password.
fn without_password(text: &str) -> String {
    let (head, tail) = text.split_once('@').unwrap_or((text, ""));
    let (scheme, userinfo) = head.split_once("://").unwrap_or(("", head));
    let user = userinfo.split_once(':').map_or(userinfo, |(user, _)| user);
    format!("{scheme}://{user}@{tail}")
}

fn shape(target: &DatabaseTarget) -> Signature {
    let host = match target.host() {
        Host::V4(_) => "v4",
        Host::V6(_) => "v6",
        Host::Name(_) => "name",
    };
    let password = match target.password().map(Secret::dangerous_expose) {
        None => "none",
        Some("") => "empty",
        Some(text) if text.bytes().all(|byte| byte.is_ascii_alphanumeric()) => "plain",
        Some(_) => "escaped",
    };
    format!("accepted host={host} password={password} parameters={}", target.parameters().len())
}

/// Requires that a refusal neither repeats the password nor depends on its letters.
fn keeps_the_password(text: &str, denial: &Denial, refusal_of: impl Fn(&str) -> Option<Denial>) {
    let Some((before, password, after)) = split_password(text) else { return };
    let said = words_of_the_text(denial);
    let rest = format!("{before}{after}");
    if is_distinctive(password) && !rest.contains(password) {
        let fixed = format!("{}{:?}", denial.expected(), denial.code().entry());
        assert!(fixed.contains(password) || !said.contains(password), "{password:?} in {said}");
    }
    if password.contains(SECRET) && !rest.contains(SECRET) {
        assert!(!said.contains(SECRET), "the secret is in {said}");
        let other = format!("{before}{}{after}", password.replace(SECRET, OTHER_SECRET));
        let denial_of_other = refusal_of(&other);
        assert_eq!(Some(denial), denial_of_other.as_ref(), "the secret has an influence");
    }
}

/// Returns what a refusal says without what slot and policy alone give: a password may well look
/// like a piece of that.
fn words_of_the_text(denial: &Denial) -> String {
    let said = words(denial);
    let help = denial.next_step();
    let Some(url) = help.strip_prefix("Write postgresql://") else {
        let names_production = help.starts_with("It names the production ");
        return if names_production { said.replace(help, "") } else { said };
    };
    let url = url.split([',', ' ']).next().unwrap_or_default();
    let (userinfo, place) = url.split_once('@').unwrap_or((url, ""));
    let user = userinfo.split(':').next().filter(|user| *user != ROLE);
    let (endpoint, query) = place.split_once('?').unwrap_or((place, ""));
    let port = endpoint.rsplit(':').next().and_then(|rest| rest.split('/').next());
    let parts = [user.unwrap_or_default(), port.unwrap_or_default(), query].join("\n");
    format!("{}\n{parts}", said.replace(help, ""))
}

/// Splits `scheme://user:password@rest` around the password.
fn split_password(text: &str) -> Option<(&str, &str, &str)> {
    let start = text.find("://")? + 3;
    let colon = start + text[start..].find([':', '@', '/', '?', '#'])?;
    if !text[colon..].starts_with(':') {
        return None;
    }
    let end = colon + text[colon..].find('@')?;
    Some((&text[..=colon], &text[colon + 1..end], &text[end..]))
}

/// Whether a text could not stand in a refusal by chance.
fn is_distinctive(password: &str) -> bool {
    let has = |kind: fn(&u8) -> bool| password.as_bytes().iter().any(kind);
    password.len() >= 6 && has(u8::is_ascii_digit) && has(u8::is_ascii_alphabetic)
}

#[cfg(test)]
mod tests {
    use super::*;
    use guard::diagnostic::Code;

    #[test]
    fn a_password_is_found_where_a_driver_would_look() {
        let split = |text| split_password(text).map(|(_, password, _)| password);
        assert_eq!(split("postgres://u:pw@h:1/x"), Some("pw"));
        assert_eq!(split("postgres://u:p/w@h:1/x"), Some("p/w"));
        assert_eq!(split("postgres://u@h:1/x"), None);
        assert_eq!(split("postgres://h:1/x"), None);
    }

    #[test]
    #[should_panic(expected = "hunter2")]
    fn a_refusal_that_repeats_the_secret_is_a_finding() {
        let denial = Denial::new(Code::UrlPassword, "m", "password `hunter2`", "e");
        keeps_the_password("postgres://u:hunter2@h:1/x", &denial, |_| None);
    }

    #[test]
    fn only_what_a_suggestion_takes_from_the_text_counts() {
        let with = |help: &str| {
            let denial = Denial::new(Code::UrlBytes, "m", "f", "e").help(help);
            keeps_the_password("postgres://u://slot_1:@h:1/x", &denial, |_| None);
        };
        with("Write postgresql://slot_1:<password>@127.0.0.1:5432/app_preview_1, escaped");
        let leaks = |help: &'static str| std::panic::catch_unwind(move || with(help)).is_err();
        assert!(leaks("Write postgresql://slot_1@127.0.0.1:5432/app_preview_1?x=//slot_1:"));
        assert!(leaks("Write something else than //slot_1:"));
    }

    #[test]
    fn the_password_is_cut_out_alone() {
        assert_eq!(without_password("postgres://u:p:w@h:1/x?a=b"), "postgres://u@h:1/x?a=b");
        assert_eq!(without_password("postgres://u@[::1]:1/x"), "postgres://u@[::1]:1/x");
    }
}
