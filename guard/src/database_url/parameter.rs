//! The parameters that a `DATABASE_URL` may carry, each with the values it may have.
//!
//! Everything that could name a server, a database, a role or a file is absent on purpose.

use std::fmt;

use crate::diagnostic::{Code, Denial, shown};

/// One allowed parameter with its checked value.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Parameter {
    /// `sslmode`, how the connection is encrypted.
    SslMode(SslMode),
    /// `application_name`, shown in the server's activity view.
    ApplicationName(String),
    /// `connect_timeout`, in seconds, 1 to 999.
    ConnectTimeout(u16),
}

/// The values of `sslmode` that drivers agree on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SslMode {
    /// Never TLS.
    Disable,
    /// TLS if the server offers it.
    Prefer,
    /// TLS, whatever the certificate.
    Require,
    /// TLS with a trusted certificate.
    VerifyCa,
    /// TLS with a trusted certificate for this host.
    VerifyFull,
}

impl SslMode {
    const ALL: [Self; 5] =
        [Self::Disable, Self::Prefer, Self::Require, Self::VerifyCa, Self::VerifyFull];

    /// Returns the value as it stands in a URL.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Disable => "disable",
            Self::Prefer => "prefer",
            Self::Require => "require",
            Self::VerifyCa => "verify-ca",
            Self::VerifyFull => "verify-full",
        }
    }

    /// Returns whether the mode refuses a connection without TLS.
    #[must_use]
    pub fn demands_tls(self) -> bool {
        !matches!(self, Self::Disable | Self::Prefer)
    }
}

const NAMES: &str = "`sslmode`, `application_name` or `connect_timeout`";

impl Parameter {
    /// Returns the parameter's name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::SslMode(_) => "sslmode",
            Self::ApplicationName(_) => "application_name",
            Self::ConnectTimeout(_) => "connect_timeout",
        }
    }

    fn parse(name: &str, value: &str) -> Result<Self, Denial> {
        match name {
            "sslmode" => SslMode::ALL
                .into_iter()
                .find(|mode| mode.as_str() == value)
                .map(Self::SslMode)
                .ok_or_else(|| {
                    refuse_value(name, "disable, prefer, require, verify-ca or verify-full")
                }),
            "application_name" if is_label(value) => Ok(Self::ApplicationName(value.to_owned())),
            "application_name" => {
                Err(refuse_value(name, "1 to 63 letters, digits, `.`, `_` or `-`"))
            }
            "connect_timeout" => seconds(value)
                .map(Self::ConnectTimeout)
                .ok_or_else(|| refuse_value(name, "a number of seconds from 1 to 999")),
            _ => Err(refuse_name(name)),
        }
    }
}

impl fmt::Display for Parameter {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.name();
        match self {
            Self::SslMode(mode) => write!(formatter, "{name}={}", mode.as_str()),
            Self::ApplicationName(label) => write!(formatter, "{name}={label}"),
            Self::ConnectTimeout(seconds) => write!(formatter, "{name}={seconds}"),
        }
    }
}

/// Parses everything behind the question mark.
pub(super) fn parse_all(query: &str) -> Result<Vec<Parameter>, Denial> {
    let mut parameters: Vec<Parameter> = Vec::new();
    for item in query.split('&') {
        let (name, value) = item.split_once('=').unwrap_or((item, ""));
        let parameter = Parameter::parse(name, value)?;
        if parameters.iter().any(|earlier| earlier.name() == parameter.name()) {
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

fn is_label(value: &str) -> bool {
    (1..=63).contains(&value.len())
        && value.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
}

fn seconds(value: &str) -> Option<u16> {
    let plain = value.bytes().all(|b| b.is_ascii_digit()) && !value.starts_with('0');
    value.parse().ok().filter(|seconds| plain && (1..=999).contains(seconds))
}

fn refuse_name(name: &str) -> Denial {
    let found = if name.is_empty() {
        "an empty parameter".to_owned()
    } else {
        format!("parameter `{}`", shown(name))
    };
    Denial::new(
        Code::UrlParameter,
        "`DATABASE_URL` has a parameter outside the allowlist",
        found,
        NAMES,
    )
}

/// The value itself is not repeated: a misplaced secret is one of the things it can be.
fn refuse_value(name: &str, expected: &str) -> Denial {
    Denial::new(
        Code::UrlParameterValue,
        format!("the parameter `{name}` in `DATABASE_URL` has a value outside its list"),
        format!("another value of `{name}`"),
        expected,
    )
}
