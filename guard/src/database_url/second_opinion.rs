//! The `url` crate as a second reader and as the renderer of the canonical form.
//!
//! It decides nothing alone: as a guard it would let through texts that drivers read differently.
//! But where it disagrees with our grammar, one of the two is wrong, and nobody connects.

use std::fmt::Write as _;

use url::Url;

use super::grammar::cut;
use super::{DatabaseTarget, Host, Parameter};
use crate::diagnostic::{Code, Denial};
use crate::secret::Secret;

/// Compares the second reader's view of `text` with the parts that the grammar found.
pub(super) fn agree(text: &str, target: &DatabaseTarget) -> Result<(), Denial> {
    let refuse = |part: &str| {
        Denial::new(
            Code::UrlSecondOpinion,
            "two readers of `DATABASE_URL` disagree",
            format!("another {part}"),
            "one meaning only",
        )
    };
    let other = Url::parse(text).map_err(|_| refuse("verdict"))?;
    if !matches!(other.scheme(), "postgresql" | "postgres") {
        return Err(refuse("scheme"));
    }
    if other.username() != target.user {
        return Err(refuse("user"));
    }
    if !same_password(&other, target.password.as_ref()) {
        return Err(refuse("password"));
    }
    if !same_host(&other, &target.host) {
        return Err(refuse("host"));
    }
    if other.port() != Some(target.port) {
        return Err(refuse("port"));
    }
    if other.path().strip_prefix('/') != Some(&target.database) {
        return Err(refuse("database"));
    }
    if !same_parameters(&other, &target.parameters) || other.fragment().is_some() {
        return Err(refuse("parameter"));
    }
    Ok(())
}

/// The `url` crate does not tell an empty password from none, so neither is this.
fn same_password(other: &Url, password: Option<&Secret>) -> bool {
    let read = decode(other.password().unwrap_or_default());
    read.eq(password.map_or("", Secret::dangerous_expose).bytes())
}

/// Compares without building text: this runs in every check. Allowed parameters hold nothing to
/// decode, so the reader must have left the query as it was.
fn same_parameters(other: &Url, parameters: &[Parameter]) -> bool {
    let mut rest = other.query();
    let same = parameters.iter().all(|parameter| {
        let Some(text) = rest else { return false };
        let (item, behind) = cut(text, b'&');
        rest = behind;
        cut(item, b'=') == (parameter.name(), Some(parameter.value()))
    });
    same && rest.is_none()
}

fn same_host(other: &Url, host: &Host) -> bool {
    let read = other.host_str().unwrap_or_default();
    match host {
        Host::V4(address) => read.parse() == Ok(*address),
        Host::V6(address) => {
            let inner = read.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
            inner.and_then(|inner| inner.parse().ok()) == Some(*address)
        }
        Host::Name(name) => read.eq_ignore_ascii_case(name),
    }
}

/// Decodes escapes; an incomplete one stays as it is.
pub(crate) fn decode(text: &str) -> impl Iterator<Item = u8> {
    let mut rest = text.as_bytes();
    std::iter::from_fn(move || {
        let (first, behind) = rest.split_first()?;
        let escape = behind.get(..2).filter(|_| *first == b'%');
        let value = escape
            .and_then(|pair| std::str::from_utf8(pair).ok())
            .and_then(|pair| u8::from_str_radix(pair, 16).ok());
        rest = if value.is_some() { &behind[2..] } else { behind };
        Some(value.unwrap_or(*first))
    })
}

/// Renders the canonical URL, with the given password or none.
pub(super) fn render(target: &DatabaseTarget, password: Option<&Secret>) -> String {
    let DatabaseTarget { user, host, port, database, parameters, .. } = target;
    let mut text = format!("postgresql://{user}");
    if let Some(password) = password.filter(|secret| !secret.dangerous_expose().is_empty()) {
        text.push(':');
        escape(password.dangerous_expose(), &mut text);
    }
    let _ = write!(text, "@{host}:{port}/{database}");
    let mut separator = '?';
    for parameter in parameters {
        let _ = write!(text, "{separator}{parameter}");
        separator = '&';
    }
    // The parts are checked, so the crate has nothing left to change; it is asked to be the writer
    // so that what we emit is what a URL library reads back.
    Url::parse(&text).map_or(text, String::from)
}

/// Escapes everything but the unreserved characters, the only ones every driver leaves alone.
fn escape(text: &str, out: &mut String) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"._~-".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
}
