//! The parameters that a `DATABASE_URL` may carry, each with the values it may have.
//!
//! A parameter is on the list because ordinary teams write it and no driver was seen to be moved by
//! it. Everything that could name a server, a database, a role, a file or a server setting is
//! absent on purpose.

use std::borrow::Cow;
use std::fmt;

use super::grammar::cut;
use crate::diagnostic::{Code, Denial, shown};

/// One allowed parameter with its checked value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parameter {
    name: &'static str,
    value: Cow<'static, str>,
}

/// What a value may be.
enum Values {
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// A number in this range, without sign or leading zero.
    Number(u32, u32),
    /// 1 to 63 letters, digits, `.`, `_` or `-`.
    Label,
    /// Digits and dots, such as `15` or `15.4`.
    Version,
}

use Values::{Label, Number, OneOf, Version};

const BOOLEAN: Values = OneOf(&["true", "false"]);
const SWITCH: Values = OneOf(&["0", "1"]);
const COUNT: Values = Number(1, 999);
const UTF8: Values = OneOf(&["utf8"]);

/// A day in seconds, the longest time that a time-out may be.
const SECONDS: Values = Number(0, 86_400);
const MILLISECONDS: Values = Number(0, 86_400_000);

#[rustfmt::skip]
static ALLOWED: &[(&str, Values)] = &[
    // Read by nearly every driver.
    ("sslmode", OneOf(&["disable", "prefer", "require", "verify-ca", "verify-full"])),
    ("application_name", Label),
    ("connect_timeout", COUNT),
    // libpq and those that follow it.
    ("client_encoding", UTF8),
    ("keepalives", SWITCH),
    ("keepalives_idle", SECONDS),
    ("keepalives_interval", SECONDS),
    ("keepalives_count", COUNT),
    ("tcp_user_timeout", MILLISECONDS),
    ("target_session_attrs", OneOf(&["any", "read-write"])),
    ("gssencmode", OneOf(&["disable"])),
    ("channel_binding", OneOf(&["disable", "prefer"])),
    ("sslnegotiation", OneOf(&["postgres"])),
    ("sslcompression", SWITCH),
    // Node.
    ("ssl", BOOLEAN),
    ("encoding", UTF8),
    ("uselibpqcompat", OneOf(&["true"])),
    // Prisma.
    ("schema", OneOf(&["public"])),
    ("pgbouncer", BOOLEAN),
    ("connection_limit", COUNT),
    ("pool_timeout", SECONDS),
    ("statement_cache_size", Number(0, 99_999)),
    // Doctrine, Rails, Ecto, Go and the pools of Python and Java.
    ("serverVersion", Version),
    ("charset", UTF8),
    ("pool", COUNT),
    ("pool_size", COUNT),
    ("timeout", SECONDS),
    ("prepared_statements", BOOLEAN),
    ("binary_parameters", OneOf(&["yes", "no"])),
    ("max_connections", COUNT),
    ("pool_max_conns", COUNT),
    ("statement_cache_mode", OneOf(&["prepare", "describe"])),
    ("prepareThreshold", Number(0, 99_999)),
    ("loginTimeout", SECONDS),
    ("socketTimeout", SECONDS),
];

impl Values {
    /// Returns the value if it is allowed; a word of the list is not copied.
    fn checked(&self, value: &str) -> Option<Cow<'static, str>> {
        if let OneOf(words) = self {
            return words.iter().find(|word| **word == value).map(|word| Cow::Borrowed(*word));
        }
        self.allow(value).then(|| Cow::Owned(value.to_owned()))
    }

    fn allow(&self, value: &str) -> bool {
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        match self {
            OneOf(words) => words.contains(&value),
            Number(least, most) => {
                let plain = digits(value) && (value == "0" || !value.starts_with('0'));
                plain && value.parse().is_ok_and(|n: u32| (*least..=*most).contains(&n))
            }
            Label => {
                let letter = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
                (1..=63).contains(&value.len()) && value.bytes().all(letter)
            }
            Version => value.len() <= 10 && value.split('.').all(digits),
        }
    }
}

impl fmt::Display for Values {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OneOf([only]) => write!(formatter, "`{only}`"),
            OneOf(words) => write!(formatter, "`{}`", words.join("`, `")),
            Number(least, most) => write!(formatter, "a number from {least} to {most}"),
            Label => formatter.write_str("1 to 63 letters, digits, `.`, `_` or `-`"),
            Version => formatter.write_str("a version such as `15` or `15.4`"),
        }
    }
}

impl Parameter {
    /// Returns the parameter's name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Returns the checked value.
    #[must_use]
    pub fn value(&self) -> &str {
        &self.value
    }

    /// Returns whether the parameter refuses a connection without TLS.
    #[must_use]
    pub fn demands_tls(&self) -> bool {
        match self.name {
            "sslmode" => !matches!(&*self.value, "disable" | "prefer"),
            "ssl" => self.value == "true",
            _ => false,
        }
    }

    /// Reads a parameter the way its author meant it: in any letter case, with the value of the list
    /// that comes nearest to a value outside of it.
    ///
    /// Only for a suggestion. Values that are free text are left out, whatever they say.
    pub(crate) fn repaired(name: &str, value: &str) -> Option<Self> {
        let (name, values) =
            ALLOWED.iter().find(|(allowed, _)| allowed.eq_ignore_ascii_case(name))?;
        let lower = value.to_ascii_lowercase();
        let value = match (*name, lower.as_str()) {
            // What it falls back to without TLS is what `prefer` does.
            ("sslmode", "allow") => "prefer",
            // TLS without a look at the certificate.
            ("sslmode", "no-verify") => "require",
            ("ssl", "1" | "on" | "yes") => "true",
            ("ssl", "0" | "off" | "no") => "false",
            (_, "utf-8") => "utf8",
            (_, other) => other,
        };
        let value = values.checked(value).filter(|_| !matches!(values, Label))?;
        Some(Self { name, value })
    }

    fn parse(name: &str, value: &str) -> Result<Self, Denial> {
        let (name, values) = find(name).ok_or_else(|| refuse_name(name))?;
        if let Some(value) = values.checked(value) {
            return Ok(Self { name, value });
        }
        // The value itself is not repeated: a misplaced secret is one of the things it can be.
        Err(Denial::new(
            Code::UrlParameterValue,
            format!("the parameter `{name}` in `DATABASE_URL` has a value outside its list"),
            format!("another value of `{name}`"),
            values.to_string(),
        ))
    }
}

impl fmt::Display for Parameter {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}={}", self.name, self.value)
    }
}

/// Finds a name in the table; most rows are told apart by length and first letter.
fn find(name: &str) -> Option<&'static (&'static str, Values)> {
    let first = name.bytes().next()?;
    ALLOWED.iter().find(|(allowed, _)| {
        allowed.len() == name.len() && allowed.as_bytes()[0] == first && *allowed == name
    })
}

/// Parses everything behind the question mark.
pub(super) fn parse_all(query: &str) -> Result<Vec<Parameter>, Denial> {
    let mut parameters: Vec<Parameter> = Vec::new();
    let mut rest = Some(query);
    while let Some(text) = rest {
        let (item, behind) = cut(text, b'&');
        rest = behind;
        let (name, value) = cut(item, b'=');
        let parameter = Parameter::parse(name, value.unwrap_or(""))?;
        if parameters.iter().any(|earlier| earlier.name == parameter.name) {
            return Err(Denial::new(
                Code::UrlParameterTwice,
                "a parameter in `DATABASE_URL` is given twice",
                format!("`{name}` twice"),
                "each parameter at most once",
            ));
        }
        parameters.push(parameter);
    }
    Ok(parameters)
}

/// Parameters that override a part of the URL in many drivers, with the part they override.
const OVERRIDES: &[(&[&str], &str)] = &[
    (&["dbname", "database", "db", "pgdbname"], "the database"),
    (&["host", "hostaddr", "port", "service", "servicefile", "unix_sock", "path"], "the server"),
    (&["user", "username", "role", "options", "session_authorization"], "the role"),
    (&["password", "passfile", "pgpassword"], "the password"),
];

fn refuse_name(name: &str) -> Denial {
    let lower = name.to_ascii_lowercase();
    let overridden = OVERRIDES.iter().find(|(names, _)| names.contains(&lower.as_str()));
    let found = if name.is_empty() {
        "an empty parameter".to_owned()
    } else {
        format!("parameter `{}`", shown(name))
    };
    let message = match overridden {
        Some((_, part)) => format!("`DATABASE_URL` overrides {part} behind the question mark"),
        None => "`DATABASE_URL` has a parameter outside the allowlist".to_owned(),
    };
    Denial::new(
        Code::UrlParameter,
        message,
        found,
        "allowed parameters only, such as `sslmode`, `application_name` or `connect_timeout`",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(query: &str) -> Option<Code> {
        parse_all(query).err().map(|denial| denial.code())
    }

    #[test]
    fn names_are_listed_once() {
        let mut names: Vec<&str> = ALLOWED.iter().map(|(name, _)| *name).collect();
        names.sort_unstable();
        let count = names.len();
        names.dedup();
        assert_eq!(names.len(), count);
    }

    #[test]
    fn what_ordinary_teams_write_is_allowed() {
        for query in [
            "sslmode=prefer&connect_timeout=10",
            "schema=public&connection_limit=5&pool_timeout=10&pgbouncer=true",
            "serverVersion=15.4&charset=utf8",
            "pool=5&timeout=5000&prepared_statements=false",
            "keepalives=1&keepalives_idle=30&keepalives_interval=10&keepalives_count=3",
            "target_session_attrs=read-write&gssencmode=disable&channel_binding=prefer",
            "statement_cache_size=0&ssl=false",
        ] {
            assert_eq!(code(query), None, "{query}");
        }
    }

    #[test]
    fn values_outside_their_list_are_refused() {
        for query in [
            "sslmode=allow",
            "sslmode",
            "connect_timeout=0",
            "connect_timeout=010",
            "connect_timeout=+1",
            "connect_timeout=1000",
            "application_name=",
            "application_name=a%20b",
            "client_encoding=latin1",
            "target_session_attrs=standby",
            "schema=other",
            "serverVersion=15..4",
            "serverVersion=mariadb-10",
            "keepalives_idle=99999999999999999999",
        ] {
            assert_eq!(code(query), Some(Code::UrlParameterValue), "{query}");
        }
    }

    #[test]
    fn what_overrides_a_part_is_called_by_its_name() {
        let denial = parse_all("dbname=x").unwrap_err();
        assert!(denial.message().contains("overrides the database"), "{denial}");
        let denial = parse_all("HostAddr=x").unwrap_err();
        assert!(denial.message().contains("overrides the server"), "{denial}");
        assert_eq!(code("search_path=x"), Some(Code::UrlParameter));
        assert_eq!(code("sslrootcert=/x"), Some(Code::UrlParameter));
        assert_eq!(code("SSLMODE=disable"), Some(Code::UrlParameter));
    }

    #[test]
    fn a_repair_chooses_from_the_list_and_repeats_no_free_text() {
        let repaired =
            |name, value| Parameter::repaired(name, value).map(|parameter| parameter.to_string());
        for (name, value, expected) in [
            ("SSLMODE", "Disable", Some("sslmode=disable")),
            ("sslmode", "allow", Some("sslmode=prefer")),
            ("sslmode", "no-verify", Some("sslmode=require")),
            ("client_encoding", "UTF-8", Some("client_encoding=utf8")),
            ("serverversion", "15.4", Some("serverVersion=15.4")),
            ("application_name", "hunter2", None),
            ("sslmode", "hunter2", None),
            ("connect_timeout", "0", None),
            ("dbname", "app_preview_1", None),
        ] {
            assert_eq!(repaired(name, value).as_deref(), expected, "{name}={value}");
        }
    }

    #[test]
    fn tls_is_demanded_in_two_ways() {
        let demands = |query| parse_all(query).unwrap()[0].demands_tls();
        assert!(demands("sslmode=require") && demands("ssl=true"));
        assert!(!demands("sslmode=prefer") && !demands("ssl=false"));
    }
}
