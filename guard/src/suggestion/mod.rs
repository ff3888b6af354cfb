//! What to write instead of a refused `DATABASE_URL`: the canonical URL of the slot.
//!
//! A suggestion is not a second way in. What is refused stays refused; the words beside it are made
//! from the slot, the configuration and the few parts of the text that cannot be anything else, and
//! they are shown only if the guard itself accepts them. The password is never repeated, and where
//! a text may have been split in the middle of one, nothing of it is.

mod agreed;
mod keyword_value;
mod production;
mod reading;

use std::net::Ipv4Addr;

use crate::database_url::{DatabaseTarget, Host, Parameter};
use crate::diagnostic::{Code, Denial};
use crate::policy::{DatabasePolicy, Endpoint};
use crate::slot::SlotId;
use crate::verify::judge;

use reading::Reading;

/// Stands for the password while a suggestion is judged.
const STAND_IN: &str = ":x";

/// What is said beside a suggestion when the characters of the password may be the fault.
const ESCAPE: &str = "with each character of the password but letters, digits and . _ ~ - as %XX";

/// Parses the text of `DATABASE_URL`; a refusal says what to write for this slot instead.
///
/// # Errors
/// As [`DatabaseTarget::parse`].
pub fn parse_for(
    slot: SlotId,
    text: &str,
    policy: &DatabasePolicy,
) -> Result<DatabaseTarget, Denial> {
    DatabaseTarget::parse(text).map_err(|denial| match help(slot, text, policy, denial.code()) {
        Some(help) => denial.help(help),
        None => denial,
    })
}

/// Words that help with a refused text; `None` leaves the general way out.
fn help(slot: SlotId, text: &str, policy: &DatabasePolicy, code: Code) -> Option<String> {
    let reading = Reading::of(text);
    if let Some(what) = production::named_in(text, reading.as_ref(), policy) {
        // A URL to paste would hide that production's address got here.
        return Some(format!("It names {what}; find out how production's address got here."));
    }
    let reading = reading?;
    let url = own_url(slot, &reading, policy)?;
    let password_at_fault =
        matches!(code, Code::UrlAuthority | Code::UrlPassword | Code::UrlFragment | Code::UrlBytes);
    Some(if password_at_fault && reading.has_password {
        format!("Write {url}, {ESCAPE}")
    } else {
        format!("Write {url}")
    })
}

/// Returns the URL to write instead of a well-formed one that is not the slot's own.
pub(crate) fn for_target(
    slot: SlotId,
    target: &DatabaseTarget,
    policy: &DatabasePolicy,
) -> Option<String> {
    own_url(slot, &Reading::of_target(target), policy)
}

/// Returns the endpoint that the slot would use, as near to that of the target as is allowed.
pub(crate) fn endpoint_for(target: &DatabaseTarget, policy: &DatabasePolicy) -> Option<Endpoint> {
    own_endpoint(&Reading::of_target(target), policy)
}

/// Builds the canonical URL, and returns it only if the guard accepts it.
fn own_url(slot: SlotId, reading: &Reading, policy: &DatabasePolicy) -> Option<String> {
    let configured = policy.role.as_ref().map(|role| role.render(slot));
    let role = configured.or_else(|| reading.user.clone())?;
    let endpoint = own_endpoint(reading, policy)?;
    let place = format!("@{endpoint}/{}{}", slot.database_name(), query(&reading.parameters));
    let candidate = DatabaseTarget::parse(&format!("postgresql://{role}{STAND_IN}{place}")).ok()?;
    judge(slot, &candidate, policy).ok()?;
    let canonical = format!("postgresql://{role}{place}") == candidate.canonical();
    let password = if reading.has_password { ":<password>" } else { "" };
    canonical.then(|| format!("postgresql://{role}{password}{place}"))
}

fn query(parameters: &[Parameter]) -> String {
    let items: Vec<String> = parameters.iter().map(ToString::to_string).collect();
    if items.is_empty() { String::new() } else { format!("?{}", items.join("&")) }
}

/// The place that was meant if it is allowed, else the configured one; without configuration the
/// loopback address, if the text leaves no doubt about the port.
fn own_endpoint(reading: &Reading, policy: &DatabasePolicy) -> Option<Endpoint> {
    let fits = |endpoint: &Endpoint| {
        policy.allowed_address(endpoint).is_some()
            && !policy.production_endpoints.contains(endpoint)
    };
    let meant = reading.host.clone().zip(reading.port);
    let meant = meant.map(|(host, port)| Endpoint { host, port }).filter(|meant| fits(meant));
    let configured = || policy.endpoints.iter().find(|endpoint| fits(endpoint)).cloned();
    let loopback = || {
        let host = Host::V4(Ipv4Addr::LOCALHOST);
        reading.port.map(|port| Endpoint { host, port }).filter(|endpoint| fits(endpoint))
    };
    meant.or_else(configured).or_else(loopback)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::template::Template;
    use crate::verify::verify;

    fn slot() -> SlotId {
        "preview-1".parse().unwrap()
    }

    /// Nothing configured: the user and the port must come from the text.
    fn open() -> DatabasePolicy {
        DatabasePolicy {
            production_databases: vec!["app_production".to_owned()],
            production_endpoints: vec![Endpoint::parse("127.0.0.1:5433").unwrap()],
            ..DatabasePolicy::default()
        }
    }

    /// One endpoint and a role, as an installation has them.
    fn pinned() -> DatabasePolicy {
        DatabasePolicy {
            endpoints: vec![Endpoint::parse("127.0.0.1:5432").unwrap()],
            role: Template::parse("slot_{slot}"),
            ..open()
        }
    }

    /// Returns the URL of the next step of a refusal, after trying it.
    fn suggested(text: &str, policy: &DatabasePolicy) -> Option<String> {
        let parsed = parse_for(slot(), text, policy);
        let denial = match parsed {
            Ok(target) => verify(slot(), target, policy).err(),
            Err(denial) => Some(denial),
        };
        let denial = denial.unwrap_or_else(|| panic!("{text:?} is accepted"));
        let help = denial.next_step().strip_prefix("Write ")?.to_owned();
        let url = help.split([',', ' ']).next().unwrap_or_default().to_owned();
        if !url.starts_with("postgresql://") {
            return None;
        }
        let tried = url.replace("<password>", "pw");
        let target = DatabaseTarget::parse(&tried).unwrap_or_else(|denial| panic!("{denial}"));
        verify(slot(), target, policy).unwrap_or_else(|denial| panic!("{denial}"));
        Some(url)
    }

    const OWN: &str = "postgresql://slot_1@127.0.0.1:5432/app_preview_1";
    const WITH_PASSWORD: &str = "postgresql://slot_1:<password>@127.0.0.1:5432/app_preview_1";

    #[test]
    fn what_ordinary_teams_write_is_answered_with_the_url_to_write() {
        for (text, expected) in [
            ("postgresql://slot_1:pw@127.0.0.1:5432/app_preview_1/", WITH_PASSWORD),
            ("postgresql://slot_1:pw@127.0.0.1:5432//app_preview_1", WITH_PASSWORD),
            ("postgresql+psycopg://slot_1:pw@127.0.0.1:5432/app_preview_1", WITH_PASSWORD),
            ("postgres+asyncpg://slot_1:pw@localhost:5432/app_preview_1", WITH_PASSWORD),
            ("POSTGRES://slot_1:pw@127.0.0.1:5432/app_preview_1", WITH_PASSWORD),
            ("postgis://slot_1:pw@127.0.0.1:5432/app_preview_1", WITH_PASSWORD),
            (
                "jdbc:postgresql://127.0.0.1:5432/app_preview_1?user=slot_1&password=pw",
                WITH_PASSWORD,
            ),
            ("postgresql://slot_1@127.0.0.1:5432/app_preview_1?", OWN),
            ("postgresql://slot_1@127.0.0.1:5432/app_preview_1?&", OWN),
            ("postgresql://slot_1@127.0.0.1:5432", OWN),
            ("postgresql://slot_1@127.0.0.1:5432/", OWN),
            ("postgresql://slot_1@127.0.0.1:5432/%61pp_preview_1", OWN),
            ("postgresql://slot%5F1@127.0.0.1:5432/app_preview_1", OWN),
            ("postgresql://slot_1@127.0.0.1:5432/app_preview_1#main", OWN),
            (" postgresql://slot_1@127.0.0.1:5432/app_preview_1\n", OWN),
            ("\"postgresql://slot_1@127.0.0.1:5432/app_preview_1\"", OWN),
            ("postgresql://slot_1@127.1:5432/app_preview_1", OWN),
            ("postgresql://slot_1@[::ffff:127.0.0.1]:5432/app_preview_1", OWN),
            ("postgresql://slot_1@:5432/app_preview_1", OWN),
            ("postgresql:///app_preview_1?host=127.0.0.1&port=5432&user=slot_1", OWN),
            (
                "postgresql://slot_1@127.0.0.1:5432/app_preview_1\
                 ?host=127.0.0.1&port=5432&dbname=app_preview_1&user=slot_1",
                OWN,
            ),
            ("postgresql://slot_1@/app_preview_1?host=/var/run/postgresql&port=5432", OWN),
            ("postgresql://slot_1@%2Fvar%2Frun%2Fpostgresql:5432/app_preview_1", OWN),
            ("postgresql://slot_1@127.0.0.1:5432/app_preview_1?search_path=x", OWN),
            ("host=127.0.0.1 port=5432 dbname=app_preview_1 user=slot_1", OWN),
            ("host=localhost port=5432 user=slot_1 password='p w' dbname=x", WITH_PASSWORD),
            ("Host=localhost;Port=5432;Username=slot_1;Password=pw;Database=x", WITH_PASSWORD),
            ("pgsql:host=127.0.0.1;port=5432;dbname=app_preview_1;user=slot_1", OWN),
            ("postgresql://slot_1:p^w@127.0.0.1:5432/app_preview_1", WITH_PASSWORD),
        ] {
            for policy in [open(), pinned()] {
                assert_eq!(suggested(text, &policy).as_deref(), Some(expected), "{text:?}");
            }
        }
    }

    #[test]
    fn parameters_are_kept_where_they_come_from_a_list() {
        let with = |query: &str| {
            let url = suggested(&format!("{OWN}?{query}"), &open()).unwrap();
            url.split_once('?').map_or("", |(_, kept)| kept).to_owned()
        };
        assert_eq!(with("sslmode=allow&connect_timeout=5"), "sslmode=prefer&connect_timeout=5");
        assert_eq!(with("sslmode=no-verify"), "sslmode=require");
        assert_eq!(with("SSLMODE=disable&&host=127.0.0.1"), "sslmode=disable");
        assert_eq!(with("sslmode=disable&sslmode=disable"), "sslmode=disable");
        assert_eq!(with("sslmode=disable&sslmode=require&schema=public"), "schema=public");
        assert_eq!(with("application_name=web&x=y"), "");
    }

    #[test]
    fn what_the_text_leaves_open_comes_from_the_configuration_or_not_at_all() {
        for text in [
            "postgresql://slot_1@127.0.0.1/app_preview_1",
            "postgresql://slot_1@127.0.0.1:/app_preview_1",
            "postgresql://127.0.0.1:5432/app_preview_1",
            "postgresql://slot_1@127.0.0.1:5432,127.0.0.9:5432/app_preview_1",
            "postgresql://slot_1@127.0.0.1:05432/app_preview_1",
            "postgresql://slot_1@127.0.0.1:5432/app_preview_1?port=5431",
            "postgresql://slot_1@127.0.0.1:5432/app_preview_1?host=127.0.0.9",
            "postgresql://slot_1@127.0.0.1:5432/app_preview_1?service=other",
            "postgresql:///app_preview_1?host=/var/run/postgresql",
            "slot_1@127.0.0.1:5432/app_preview_1",
            "postgresql:/slot_1@127.0.0.1:5432/app_preview_1",
            "app_preview_1",
            "",
        ] {
            assert_eq!(suggested(text, &open()), None, "{text:?}");
            assert_eq!(suggested(text, &pinned()).as_deref(), Some(OWN), "{text:?}");
        }
        let ambiguous = "postgresql://slot_1:p@ss@127.0.0.1:5432/app_preview_1";
        for text in [
            ambiguous,
            "postgresql://slot_1:p/w@127.0.0.1:5432/app_preview_1",
            "postgresql://slot_1:p?w@127.0.0.1:5432/app_preview_1",
            "postgresql://slot_1:p#w@127.0.0.1:5432/app_preview_1",
            "postgresql://slot_1:p\\w@127.0.0.1:5432/app_preview_1",
            "postgresql://slot_1:p w@127.0.0.1:5432/app_preview_1",
        ] {
            assert_eq!(suggested(text, &open()), None, "{text}");
            assert_eq!(suggested(text, &pinned()).as_deref(), Some(WITH_PASSWORD), "{text}");
        }
        let denial = parse_for(slot(), ambiguous, &pinned()).unwrap_err();
        assert_eq!(denial.next_step(), format!("Write {WITH_PASSWORD}, {ESCAPE}"));
    }

    #[test]
    fn a_word_and_a_number_without_an_at_may_be_a_user_and_a_password() {
        let only_role = DatabasePolicy { role: Template::parse("slot_{slot}"), ..open() };
        assert_eq!(suggested("postgresql://slot_1:12345/app_preview_1", &only_role), None);
        for text in ["postgresql://127.0.0.1:5432/app_preview_1", "localhost:5432/app_preview_1"] {
            assert_eq!(suggested(text, &only_role).as_deref(), Some(OWN), "{text}");
        }
    }

    #[test]
    fn db_4_production_is_named_in_every_spelling_and_nothing_is_suggested() {
        for text in [
            "POSTGRES://app:pw@db.example:5432/app_production",
            "postgresql+psycopg://app:pw@127.0.0.1:5432/app_production/",
            "postgresql://a:p@ss@127.0.0.1:5432/app_production",
            "postgresql://app@127.0.0.1:5432/%61pp_production",
            "postgresql://slot_1@127.0.0.1:5432/app_preview_1?dbname=app_production",
            "postgresql://slot_1@127.0.0.1:5432/app_preview_1?x=y%00database%00app_production",
            "host=127.0.0.1 dbname='app_production' user=app",
            "Host=127.0.0.1;Database=app_production",
            "mysql://app@127.0.0.1/app_production",
            "app_production",
        ] {
            for policy in [open(), pinned()] {
                let help = parse_for(slot(), text, &policy).unwrap_err().next_step().to_owned();
                assert!(
                    help.contains("the production database `app_production`"),
                    "{text}: {help}"
                );
            }
        }
        for text in [
            "postgresql+psycopg://slot_1@127.0.0.1:5433/app_preview_1",
            "POSTGRES://slot_1@localhost:5433/app_preview_1",
            "postgresql://slot_1:p@ss@127.0.0.1:5433/app_preview_1",
            "host=127.0.0.1 port=5433 dbname=app_preview_1",
        ] {
            let help = parse_for(slot(), text, &open()).unwrap_err().next_step().to_owned();
            assert!(help.contains("the production server 127.0.0.1:5433"), "{text}: {help}");
        }
        // The role may be called like the database.
        let text = "POSTGRES://app_production:pw@127.0.0.1:5432/app_preview_1";
        assert_eq!(suggested(text, &pinned()).as_deref(), Some(WITH_PASSWORD));
    }

    #[test]
    fn production_is_never_what_is_suggested() {
        // The port of the text, on the loopback address, would be production's.
        for text in ["postgresql://slot_1@db.example:5433/app_preview_1", "POSTGRES://a@b:5433/x"] {
            assert_eq!(suggested(text, &open()), None, "{text}");
        }
        let endpoints = ["127.0.0.1:5433", "127.0.0.1:5432"].map(Endpoint::parse);
        let both = DatabasePolicy { endpoints: endpoints.map(Option::unwrap).into(), ..pinned() };
        assert_eq!(suggested("POSTGRES://a@127.0.0.9:1/x", &both).as_deref(), Some(OWN));
        let mut policy = open();
        policy.production_databases.push("app_preview_1".to_owned());
        assert_eq!(suggested("POSTGRES://slot_1@127.0.0.1:5432/x", &policy), None);
    }

    #[test]
    fn another_database_system_gets_no_suggestion() {
        for text in ["mysql://slot_1@127.0.0.1:5432/x", "https://127.0.0.1:5432/x", "sqlite:///x"] {
            assert_eq!(suggested(text, &pinned()), None, "{text}");
        }
    }

    #[test]
    fn a_long_text_is_not_searched_for_parts() {
        let text = format!("{OWN}?x={}", "y".repeat(5000));
        assert_eq!(suggested(&text, &open()), None);
        assert_eq!(suggested(&text, &pinned()).as_deref(), Some(OWN));
    }

    /// Frames around a password, as careless hands write them.
    const FRAMES: &[(&str, &str)] = &[
        ("postgresql://slot_1:", "@127.0.0.1:5432/app_preview_1"),
        ("postgresql://slot_1:", "@127.0.0.1:5432/app_preview_1/"),
        ("postgresql://slot_1:", ""),
        ("postgresql://", ""),
        ("postgresql:", "@127.0.0.1:5432/x"),
        ("postgres:", "@127.0.0.1:5432/x"),
        ("postgres:/", "@127.0.0.1:5432/x"),
        ("POSTGRES://slot_1:", "@localhost/app_preview_1?sslmode=allow"),
        ("jdbc:postgresql://127.0.0.1:5432/x?user=slot_1&password=", ""),
        ("jdbc:postgresql://127.0.0.1:5432/x?password=", "&user=slot_1"),
        ("postgresql://slot_1@127.0.0.1:5432/x?application_name=", "&sslmode=allow"),
        ("postgresql://slot_1@127.0.0.1:5432/x?sslmode=", ""),
        ("postgresql://slot_1@127.0.0.1:5432/x?", "=1"),
        ("postgresql://slot_1@127.0.0.1:5432/", ""),
        ("postgresql://slot_1@127.0.0.1:5432/x#", ""),
        ("postgresql://slot_1@127.0.0.1:", "/x"),
        ("postgresql://slot_1@", ":5432/x"),
        ("slot_1:", "@127.0.0.1:5432/app_preview_1"),
        ("", "@127.0.0.1:5432/app_preview_1"),
        ("host=127.0.0.1 port=5432 user=slot_1 password=", " dbname=x"),
        ("host=127.0.0.1 port=5432 user=slot_1 password='", "' dbname=x"),
        ("Host=127.0.0.1;Port=5432;Username=slot_1;Password=", ";Database=x"),
        ("", ""),
    ];

    /// Frames in which the secret stands where a user stands: only a configured role hides it.
    const USER_FRAMES: &[(&str, &str)] = &[
        ("postgresql://", "@127.0.0.1:5432/"),
        ("POSTGRES://", ":pw@127.0.0.1:5432/x"),
        ("jdbc:postgresql://127.0.0.1:5432/x?user=", ""),
        ("host=127.0.0.1 port=5432 dbname=x user=", ""),
    ];

    fn says_nothing_of_it(text: &str, policy: &DatabasePolicy) -> Result<(), TestCaseError> {
        let refused = match parse_for(slot(), text, policy) {
            Ok(target) => verify(slot(), target, policy).err(),
            Err(denial) => Some(denial),
        };
        let said = refused.map(|denial| denial.next_step().to_owned()).unwrap_or_default();
        prop_assert!(!said.contains("hunter2"), "{:?} → {}", text, said);
        if said.starts_with("Write postgresql") {
            suggested(text, policy);
        }
        Ok(())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn no_piece_of_a_password_is_suggested(
            frame in 0..FRAMES.len(),
            before in "[@:/?#&=;, '%a-z0-9.+-]{0,6}",
            after in "[@:/?#&=;, '%a-z0-9.+-]{0,6}",
        ) {
            let (start, end) = FRAMES[frame];
            let text = format!("{start}{before}hunter2{after}{end}");
            says_nothing_of_it(&text, &pinned())?;
            // Without a configured role, what names a user is repeated as one.
            let user = text.split_once("://").map_or("", |(_, rest)| rest);
            let user = user.split([':', '@']).next().unwrap_or_default();
            if !before.contains('=') && !user.contains("hunter2") {
                says_nothing_of_it(&text, &open())?;
            }
        }

        #[test]
        fn a_configured_role_hides_a_secret_in_the_place_of_the_user(
            frame in 0..USER_FRAMES.len(),
            before in "[@:/?#&=;, '%a-z0-9.+-]{0,6}",
            after in "[@:/?#&=;, '%a-z0-9.+-]{0,6}",
        ) {
            let (start, end) = USER_FRAMES[frame];
            says_nothing_of_it(&format!("{start}{before}hunter2{after}{end}"), &pinned())?;
        }

        #[test]
        fn nothing_panics_and_every_suggestion_is_accepted(text in "[ -~]{0,60}") {
            for policy in [open(), pinned()] {
                for text in [text.clone(), format!("postgresql://{text}"), format!("host={text}")] {
                    if parse_for(slot(), &text, &policy).is_err() {
                        suggested(&text, &policy);
                    }
                }
            }
        }
    }
}
