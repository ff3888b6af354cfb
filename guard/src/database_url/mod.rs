//! `DATABASE_URL`: from text to a [`DatabaseTarget`], and from a target back to canonical text.
//!
//! A grammar of our own over the bytes decides; the `url` crate is a second opinion that must agree,
//! and it renders the canonical form. No parser of a driver is asked: the application's driver is
//! another one anyway, and a small grammar without decoding is the only text that all drivers were
//! seen to read alike. Whether a target is the slot's own is not decided here but in
//! [`crate::verify`].

mod grammar;
mod parameter;
mod second_opinion;

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

use crate::diagnostic::Denial;
use crate::secret::Secret;

pub use grammar::MAX_LENGTH;
pub(crate) use grammar::is_name;
pub use parameter::Parameter;
pub(crate) use second_opinion::decode;

/// The host part of a database URL.
///
/// Only the two address forms can ever be allowed; a name parses so that a refusal can call it by
/// its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Host {
    /// A dotted quad, such as `127.0.0.1`.
    V4(Ipv4Addr),
    /// An address in brackets, such as `[::1]`.
    V6(Ipv6Addr),
    /// A DNS name, such as `localhost`, in lower case.
    Name(String),
}

impl fmt::Display for Host {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::V4(address) => address.fmt(formatter),
            Self::V6(address) => write!(formatter, "[{address}]"),
            Self::Name(name) => formatter.write_str(name),
        }
    }
}

/// What a well-formed `DATABASE_URL` says, as parts.
///
/// There is no way back to the text it was parsed from. It is well formed, nothing more: see
/// [`crate::verify::verify`] for whether it is the slot's own.
///
/// ```
/// use guard::database_url::DatabaseTarget;
/// let target = DatabaseTarget::parse("postgres://slot_1:pw@127.0.0.1:5432/app_preview_1").unwrap();
/// assert_eq!(target.canonical(), "postgresql://slot_1@127.0.0.1:5432/app_preview_1");
/// ```
///
/// Text does not become a target in any other way:
///
/// ```compile_fail
/// use guard::database_url::DatabaseTarget;
/// let target: DatabaseTarget = "postgres://slot_1:pw@127.0.0.1:5432/app_preview_1".into();
/// assert_eq!(target.canonical(), "postgresql://slot_1@127.0.0.1:5432/app_preview_1");
/// ```
#[derive(Debug)]
pub struct DatabaseTarget {
    user: String,
    password: Option<Secret>,
    host: Host,
    port: u16,
    database: String,
    parameters: Vec<Parameter>,
}

impl DatabaseTarget {
    /// Parses the text of `DATABASE_URL`.
    ///
    /// # Errors
    /// Refuses every text outside the grammar, with the code of the part at fault, and every text
    /// that the second reader understands differently. No refusal repeats a password.
    pub fn parse(text: &str) -> Result<Self, Denial> {
        let target = grammar::parse(text)?;
        second_opinion::agree(text, &target)?;
        Ok(target)
    }

    /// Builds a target from parts that configuration gives, by way of the same grammar.
    ///
    /// # Errors
    /// As [`DatabaseTarget::parse`].
    pub fn from_parts(
        user: &str,
        password: Option<Secret>,
        host: &Host,
        port: u16,
        database: &str,
    ) -> Result<Self, Denial> {
        let mut target = Self::parse(&format!("postgresql://{user}@{host}:{port}/{database}"))?;
        if let Some(secret) = &password {
            grammar::check_password(secret)?;
        }
        target.password = password;
        Ok(target)
    }

    /// Returns the same database and role by another way, which speaks no TLS.
    pub(crate) fn by_way_of(mut self, host: Ipv4Addr, port: u16, password: Secret) -> Self {
        self.parameters.retain(|parameter| !parameter.demands_tls());
        Self { host: Host::V4(host), port, password: Some(password), ..self }
    }

    /// Returns the role that the URL logs in as.
    #[must_use]
    pub fn user(&self) -> &str {
        &self.user
    }

    /// Returns the decoded password, if there is one.
    #[must_use]
    pub fn password(&self) -> Option<&Secret> {
        self.password.as_ref()
    }

    /// Returns the host.
    #[must_use]
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// Returns the port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Returns the name of the database.
    #[must_use]
    pub fn database(&self) -> &str {
        &self.database
    }

    /// Returns the parameters in the order they were given.
    #[must_use]
    pub fn parameters(&self) -> &[Parameter] {
        &self.parameters
    }

    /// Returns the canonical URL without the password, fit for every output.
    #[must_use]
    pub fn canonical(&self) -> String {
        second_opinion::render(self, None)
    }

    /// Returns the canonical URL with the password, for the one child that must have it.
    #[must_use]
    pub fn connection_url(&self) -> Secret {
        Secret::new(second_opinion::render(self, self.password.as_ref()))
    }

    /// Returns `database` at `host:port`, the way diagnostics name a target.
    #[must_use]
    pub fn place(&self) -> String {
        format!("database `{}` at {}:{}", self.database, self.host, self.port)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::diagnostic::Code;

    const GOOD: &str = "postgresql://slot_1:pw@127.0.0.1:5432/app_preview_1";

    fn refused(text: &str) -> Denial {
        match DatabaseTarget::parse(text) {
            Ok(target) => panic!("accepted {text:?} as {}", target.canonical()),
            Err(denial) => denial,
        }
    }

    #[test]
    fn ordinary_urls_are_read() {
        let target = DatabaseTarget::parse(GOOD).unwrap();
        assert_eq!(target.user(), "slot_1");
        assert_eq!(target.password().unwrap().dangerous_expose(), "pw");
        assert_eq!(target.host(), &Host::V4(Ipv4Addr::LOCALHOST));
        assert_eq!(target.port(), 5432);
        assert_eq!(target.database(), "app_preview_1");
        for also in [
            "postgres://slot_1@127.0.0.1:5432/app_preview_1",
            "postgresql://slot_1@[::1]:5432/app_preview_1",
            "postgresql://slot_1:a+b,c;d=e&f:g'h!i$j*k(l)m@127.0.0.1:5432/app_preview_1",
            "postgresql://slot_1:%40%2F%3a%C3%A9@127.0.0.1:5432/app_preview_1",
            "postgresql://slot_1:@127.0.0.1:5432/app_preview_1",
            "postgresql://slot_1@127.0.0.1:5432/app_preview_1?sslmode=disable&connect_timeout=10",
            "postgresql://slot_1@127.0.0.1:5432/app_preview_1?application_name=web.1",
        ] {
            assert!(DatabaseTarget::parse(also).is_ok(), "{also}");
        }
    }

    #[test]
    fn each_part_at_fault_has_its_code() {
        let table = [
            ("", Code::UrlLength),
            ("postgresql://slot_1@127.0.0.1:5432/app_preview_1 ", Code::UrlBytes),
            ("postgresql://slot_1@127.0.0.1:5432/app_pre\tview_1", Code::UrlBytes),
            ("\u{feff}postgresql://slot_1@127.0.0.1:5432/app_preview_1", Code::UrlBytes),
            ("POSTGRES://slot_1@127.0.0.1:5432/app_preview_1", Code::UrlScheme),
            ("mysql://slot_1@127.0.0.1:5432/app_preview_1", Code::UrlScheme),
            ("postgresql:slot_1@127.0.0.1:5432/app_preview_1", Code::UrlScheme),
            ("postgresql+psycopg://slot_1@127.0.0.1:5432/app_preview_1", Code::UrlScheme),
            ("host=127.0.0.1 dbname=app_preview_1", Code::UrlBytes),
            ("app_preview_1", Code::UrlScheme),
            ("postgresql://127.0.0.1:5432/app_preview_1", Code::UrlUser),
            ("postgresql://@127.0.0.1:5432/app_preview_1", Code::UrlUser),
            ("postgresql://sl%6ft_1@127.0.0.1:5432/app_preview_1", Code::UrlUser),
            ("postgresql:///app_preview_1", Code::UrlUser),
            ("postgresql://slot_1:p@ss@127.0.0.1:5432/app_preview_1", Code::UrlAuthority),
            ("postgresql://slot_1@127.0.0.1:5432/app_preview_1?x=a@b", Code::UrlAuthority),
            ("postgresql://slot_1\\@127.0.0.9:5432/app_preview_1", Code::UrlAuthority),
            ("postgresql://slot_1:p%00w@127.0.0.1:5432/app_preview_1", Code::UrlPassword),
            ("postgresql://slot_1:p%7Fw@127.0.0.1:5432/app_preview_1", Code::UrlPassword),
            ("postgresql://slot_1:p%w@127.0.0.1:5432/app_preview_1", Code::UrlPassword),
            ("postgresql://slot_1:p%FFw@127.0.0.1:5432/app_preview_1", Code::UrlPassword),
            ("postgresql://slot_1:p^w@127.0.0.1:5432/app_preview_1", Code::UrlPassword),
            ("postgresql://slot_1@:5432/app_preview_1", Code::UrlHost),
            ("postgresql://slot_1@127.1:5432/app_preview_1", Code::UrlHost),
            ("postgresql://slot_1@0x7f000001:5432/app_preview_1", Code::UrlHost),
            ("postgresql://slot_1@2130706433:5432/app_preview_1", Code::UrlHost),
            ("postgresql://slot_1@127.0.0.01:5432/app_preview_1", Code::UrlHost),
            ("postgresql://slot_1@127.0.0.1,127.0.0.9:5432/app_preview_1", Code::UrlHost),
            ("postgresql://slot_1@%2Frun%2Fpostgresql:5432/app_preview_1", Code::UrlHost),
            ("postgresql://slot_1@[0:0:0:0:0:0:0:1]:5432/app_preview_1", Code::UrlHost),
            ("postgresql://slot_1@[::1%25lo]:5432/app_preview_1", Code::UrlHost),
            ("postgresql://slot_1@[::ffff:127.0.0.1]:5432/app_preview_1", Code::UrlHost),
            ("postgresql://slot_1@[::1:5432/app_preview_1", Code::UrlHost),
            ("postgresql://slot_1@[::1]x:5432/app_preview_1", Code::UrlPort),
            ("postgresql://slot_1@127.0.0.1/app_preview_1", Code::UrlPort),
            ("postgresql://slot_1@127.0.0.1:/app_preview_1", Code::UrlPort),
            ("postgresql://slot_1@127.0.0.1:05432/app_preview_1", Code::UrlPort),
            ("postgresql://slot_1@127.0.0.1:+5432/app_preview_1", Code::UrlPort),
            ("postgresql://slot_1@127.0.0.1:0/app_preview_1", Code::UrlPort),
            ("postgresql://slot_1@127.0.0.1:120968/app_preview_1", Code::UrlPort),
            ("postgresql://slot_1@127.0.0.1:5432,5433/app_preview_1", Code::UrlPort),
            ("postgresql://slot_1@127.0.0.1:5432", Code::UrlDatabase),
            ("postgresql://slot_1@127.0.0.1:5432/", Code::UrlDatabase),
            ("postgresql://slot_1@127.0.0.1:5432/app_preview_1/", Code::UrlDatabase),
            ("postgresql://slot_1@127.0.0.1:5432//app_preview_1", Code::UrlDatabase),
            ("postgresql://slot_1@127.0.0.1:5432/x/../app_preview_1", Code::UrlDatabase),
            ("postgresql://slot_1@127.0.0.1:5432/%61pp_preview_1", Code::UrlDatabase),
            ("postgresql://slot_1@127.0.0.1:5432/app_preview_1;host=127.0.0.9", Code::UrlDatabase),
            ("postgresql://slot_1@127.0.0.1:5432/..", Code::UrlDatabase),
            ("postgresql://slot_1@127.0.0.1:5432/app_preview_1#x", Code::UrlFragment),
            ("postgresql://slot_1@127.0.0.1:5432/app_preview_1?", Code::UrlParameter),
            ("postgresql://slot_1@127.0.0.1:5432/app_preview_1?dbname=x", Code::UrlParameter),
            ("postgresql://slot_1@127.0.0.1:5432/app_preview_1?host=x", Code::UrlParameter),
            ("postgresql://slot_1@127.0.0.1:5432/app_preview_1?d%62name=x", Code::UrlParameter),
            (
                "postgresql://slot_1@127.0.0.1:5432/app_preview_1?SSLMODE=disable",
                Code::UrlParameter,
            ),
            ("postgresql://slot_1@127.0.0.1:5432/app_preview_1?sslmode", Code::UrlParameterValue),
            (
                "postgresql://slot_1@127.0.0.1:5432/app_preview_1?sslmode=allow",
                Code::UrlParameterValue,
            ),
            (
                "postgresql://slot_1@127.0.0.1:5432/a?sslmode=disable&&connect_timeout=1",
                Code::UrlParameter,
            ),
            ("postgresql://slot_1@127.0.0.1:5432/a?connect_timeout=0", Code::UrlParameterValue),
            (
                "postgresql://slot_1@127.0.0.1:5432/a?application_name=x%00y",
                Code::UrlParameterValue,
            ),
            (
                "postgresql://slot_1@127.0.0.1:5432/a?sslmode=disable&sslmode=disable",
                Code::UrlParameterTwice,
            ),
        ];
        for (text, code) in table {
            assert_eq!(refused(text).code(), code, "{text:?}");
        }
        assert_eq!(refused(&"x".repeat(MAX_LENGTH + 1)).code(), Code::UrlLength);
    }

    #[test]
    fn no_refusal_repeats_a_password() {
        for text in [
            "postgresql://slot_1:hunter2@127.0.0.1:5432/app_production?dbname=x",
            "postgresql://slot_1:hun@ter2@127.0.0.1:5432/app_preview_1",
            "postgresql://slot_1:hun/ter2@127.0.0.1:5432/app_preview_1",
            "postgresql://slot_1:hun#ter2@127.0.0.1:5432/app_preview_1",
            "postgresql://slot_1:hun?ter2@127.0.0.1:5432/app_preview_1",
            "postgresql://slot_1:hun%ter2@127.0.0.1:5432/app_preview_1",
            "postgresql://slot_1:hun^ter2@127.0.0.1:5432/app_preview_1",
            "postgresql://slot_1:hun ter2@127.0.0.1:5432/app_preview_1",
            "postgresql://slot_1:hunter2\u{e9}@127.0.0.1:5432/app_preview_1",
            "postgresql://slot_1:hunter2@127.0.0.1/app_preview_1",
            "postgresql://slot_1@127.0.0.1:5432/app_preview_1?password=hunter2",
            "postgresql://slot_1@127.0.0.1:5432/app_preview_1?sslmode=hunter2%20",
            "slot_1:hunter2@127.0.0.1:5432/app_preview_1",
            "postgresql://slot_1:hunter2",
            "postgresql://slot_1:hun:ter2/x",
        ] {
            let denial = refused(text);
            let printed = format!("{denial} {denial:?} {}", denial.next_step());
            for piece in ["hunter2", "hun", "ter2"] {
                assert!(!printed.contains(piece), "{text:?} → {printed}");
            }
        }
    }

    #[test]
    fn the_canonical_form_has_no_password_and_the_connection_url_has_it() {
        let text = "postgres://slot_1:p+w'%2F%C3%A9@[::1]:5432/app_preview_1?sslmode=disable";
        let target = DatabaseTarget::parse(text).unwrap();
        let tail = "@[::1]:5432/app_preview_1?sslmode=disable";
        assert_eq!(target.canonical(), format!("postgresql://slot_1{tail}"));
        let url = target.connection_url();
        assert_eq!(url.dangerous_expose(), format!("postgresql://slot_1:p%2Bw%27%2F%C3%A9{tail}"));
    }

    proptest! {
        #[test]
        fn nothing_panics(text in "\\PC{0,80}") {
            let _ = DatabaseTarget::parse(&text);
        }

        #[test]
        fn nothing_near_a_url_panics(tail in "[ -~]{0,60}") {
            let _ = DatabaseTarget::parse(&format!("postgresql://{tail}"));
        }

        #[test]
        fn what_is_accepted_survives_being_printed_and_parsed(
            user in "[a-zA-Z_][a-zA-Z0-9_.-]{0,20}",
            password in proptest::option::of("[ -~é]{0,20}"),
            port in 1u16..,
            database in "[a-z_][a-z0-9_]{0,20}",
        ) {
            let host = Host::V4(Ipv4Addr::LOCALHOST);
            let password = password.filter(|text| !text.is_empty());
            let secret = password.clone().map(Secret::new);
            let target = DatabaseTarget::from_parts(&user, secret, &host, port, &database).unwrap();
            let printed = target.connection_url();
            let again = DatabaseTarget::parse(printed.dangerous_expose()).unwrap();
            prop_assert_eq!(again.user(), &user);
            prop_assert_eq!(again.password().map(|p| p.dangerous_expose().to_owned()), password);
            prop_assert_eq!(again.port(), port);
            prop_assert_eq!(again.database(), &database);
            let rendered_again = again.connection_url();
            prop_assert_eq!(rendered_again.dangerous_expose(), printed.dangerous_expose());
        }
    }
}
