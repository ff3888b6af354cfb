//! The grammar of `DATABASE_URL`, over bytes, without any decoding but that of the password.
//!
//! ```text
//! url   = ("postgresql" / "postgres") "://" user [":" password] "@" host ":" port "/" database
//!         ["?" parameter *("&" parameter)]
//! ```
//!
//! Each rule is there because real drivers disagree on what it excludes. A refusal names the part
//! at fault; text is repeated only where it cannot be a piece of the password, which is why a
//! second `@` is refused before anything behind it is looked at.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::{DatabaseTarget, Host, parameter};
use crate::diagnostic::{Code, Denial, shown};
use crate::secret::Secret;

/// Longest text that is read, in bytes.
pub const MAX_LENGTH: usize = 1024;

/// Longest name of a role or database; the server cuts longer ones silently.
const MAX_NAME: usize = 63;

const SHAPE: &str = "postgresql://<role>[:<password>]@127.0.0.1:<port>/app_preview_<n>";

/// Parses the whole text.
pub(super) fn parse(text: &str) -> Result<DatabaseTarget, Denial> {
    check_bytes(text)?;
    let rest = scheme(text)?;
    check_separators(rest)?;
    let (userinfo, rest) = cut(rest, b'@');
    let rest = rest.ok_or_else(no_user)?;
    let (user, password) = cut(userinfo, b':');
    let user = parse_user(user)?;
    let password = password.map(parse_password).transpose()?;
    let (location, query) = cut(rest, b'?');
    let (authority, path) = cut(location, b'/');
    let (host, port) = split_port(authority)?;
    let host = parse_host(host)?;
    let port = parse_port(port)?;
    let database = parse_database(path)?;
    let parameters = query.map_or(Ok(Vec::new()), parameter::parse_all)?;
    Ok(DatabaseTarget { user, password, host, port, database, parameters })
}

/// Splits around the first of an ASCII byte, without it.
///
/// The parts are so short that the standard library's search costs more than it saves.
pub(super) fn cut(text: &str, separator: u8) -> (&str, Option<&str>) {
    match text.bytes().position(|byte| byte == separator) {
        Some(at) => (&text[..at], Some(&text[at + 1..])),
        None => (text, None),
    }
}

/// Whether a byte is somewhere in a text. Looks at all before it answers, and so at many at a time.
fn any(text: &str, is: impl Fn(u8) -> bool) -> bool {
    text.bytes().fold(false, |found, byte| found | is(byte))
}

fn holds(text: &str, wanted: u8) -> bool {
    any(text, |byte| byte == wanted)
}

/// Refuses every byte that no two parsers are sure to keep, before anything is split.
fn check_bytes(text: &str) -> Result<(), Denial> {
    if text.is_empty() || text.len() > MAX_LENGTH {
        return Err(Denial::new(
            Code::UrlLength,
            "`DATABASE_URL` is empty or too long",
            format!("{} bytes", text.len()),
            format!("1 to {MAX_LENGTH} bytes"),
        ));
    }
    let odd = |byte: u8| !(0x21..=0x7e).contains(&byte);
    if !any(text, odd) {
        return Ok(());
    }
    match text.bytes().position(odd) {
        None => Ok(()),
        Some(at) => Err(Denial::new(
            Code::UrlBytes,
            "`DATABASE_URL` holds a byte that URLs do not have",
            format!("byte 0x{:02X} at position {}", text.as_bytes()[at], at + 1),
            "printable ASCII without blanks",
        )),
    }
}

fn scheme(text: &str) -> Result<&str, Denial> {
    for scheme in ["postgresql://", "postgres://"] {
        if let Some(rest) = text.strip_prefix(scheme) {
            return Ok(rest);
        }
    }
    // Only what stands before `://` is repeated: without it the text may be anything.
    let found = match text.split_once("://") {
        Some((scheme, _)) if is_scheme(scheme) => format!("scheme `{scheme}`"),
        _ => "no scheme".to_owned(),
    };
    Err(Denial::new(
        Code::UrlScheme,
        "`DATABASE_URL` does not begin with postgresql:// or postgres://",
        found,
        "scheme `postgresql` or `postgres`, in lower case",
    ))
}

fn is_scheme(text: &str) -> bool {
    text.len() <= 32 && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"+.-".contains(&b))
}

/// Refuses what makes parsers disagree on where the authority ends.
fn check_separators(rest: &str) -> Result<(), Denial> {
    if holds(rest, b'#') {
        return Err(refuse_fragment());
    }
    let at_signs = rest.bytes().fold(0_u16, |count, byte| count + u16::from(byte == b'@'));
    let before = cut(rest, b'@').0;
    let found = if holds(rest, b'\\') {
        "a backslash".to_owned()
    } else if at_signs > 1 {
        format!("{at_signs} `@`")
    } else if at_signs == 1 && before.bytes().any(|byte| byte == b'/' || byte == b'?') {
        "an `@` behind a `/` or `?`".to_owned()
    } else {
        return Ok(());
    };
    Err(Denial::new(
        Code::UrlAuthority,
        "`DATABASE_URL` has no single, clear user@host:port",
        found,
        "exactly one `@`, between user and host (%40, %2F, %3F in a password)",
    ))
}

fn refuse_fragment() -> Denial {
    Denial::new(
        Code::UrlFragment,
        "`DATABASE_URL` has a fragment",
        "a `#`",
        "no `#` (%23 in a password)",
    )
}

fn no_user() -> Denial {
    Denial::new(
        Code::UrlUser,
        "`DATABASE_URL` names no user",
        "no `@`",
        format!("a user before the host: {SHAPE}"),
    )
}

fn parse_user(text: &str) -> Result<String, Denial> {
    if is_name(text) {
        return Ok(text.to_owned());
    }
    let found = if text.is_empty() { "no user".to_owned() } else { format!("`{}`", shown(text)) };
    Err(Denial::new(
        Code::UrlUser,
        "`DATABASE_URL` has no plain user name",
        found,
        "1 to 63 letters, digits, `_`, `.` or `-`, not beginning with a digit, `.` or `-`",
    ))
}

/// A role or database name as every driver takes it: no decoding needed, nothing to normalise.
pub(crate) fn is_name(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.len() <= MAX_NAME
        && bytes.first().is_some_and(|b| b.is_ascii_alphabetic() || *b == b'_')
        && bytes.iter().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(b))
}

/// Decodes the password, the only part that may hold escapes.
fn parse_password(text: &str) -> Result<Secret, Denial> {
    let refuse = refuse_password;
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'%' => match (hex(bytes.next()), hex(bytes.next())) {
                (Some(high), Some(low)) => decoded.push(high * 16 + low),
                _ => return Err(refuse("an incomplete escape")),
            },
            b if b.is_ascii_alphanumeric() || b"._~!$*()-+,;=&:'".contains(&b) => decoded.push(b),
            _ => return Err(refuse("a character that needs an escape")),
        }
    }
    let decoded = String::from_utf8(decoded).map_err(|_| refuse("escapes that are not UTF-8"))?;
    let secret = Secret::new(decoded);
    check_password(&secret)?;
    Ok(secret)
}

/// Refuses a decoded password that no URL may carry.
pub(super) fn check_password(secret: &Secret) -> Result<(), Denial> {
    if secret.dangerous_expose().chars().any(char::is_control) {
        return Err(refuse_password("a control character"));
    }
    Ok(())
}

fn refuse_password(found: &str) -> Denial {
    Denial::new(
        Code::UrlPassword,
        "the password in `DATABASE_URL` is not written safely",
        found,
        "letters, digits, any of . _ ~ ! $ * ( ) - + , ; = & : ' and escapes of printable characters",
    )
}

fn hex(byte: Option<u8>) -> Option<u8> {
    char::from(byte?).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

fn split_port(authority: &str) -> Result<(&str, &str), Denial> {
    let (host, rest) = if authority.starts_with('[') {
        let end = authority.find(']').ok_or_else(|| refuse_host(authority))?;
        authority.split_at(end + 1)
    } else {
        let colon = authority.bytes().position(|byte| byte == b':');
        authority.split_at(colon.unwrap_or(authority.len()))
    };
    rest.strip_prefix(':').map(|port| (host, port)).ok_or_else(|| {
        let found = if rest.is_empty() { "no port".to_owned() } else { shown(rest) };
        refuse_port(&found)
    })
}

fn parse_host(text: &str) -> Result<Host, Denial> {
    if let Some(inner) = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        let address: Ipv6Addr = inner.parse().map_err(|_| refuse_host(text))?;
        // Readers print an embedded IPv4 address in different ways.
        if let Some(v4) = address.to_ipv4_mapped() {
            return Err(refuse_host(text).help(format!("Write {v4}.")));
        }
        if address.to_string() != inner {
            return Err(refuse_host(text).help(format!("Write [{address}].")));
        }
        return Ok(Host::V6(address));
    }
    if let Ok(address) = text.parse::<Ipv4Addr>() {
        return Ok(Host::V4(address));
    }
    let lower = text.to_ascii_lowercase();
    if is_dns_name(&lower) { Ok(Host::Name(lower)) } else { Err(refuse_host(text)) }
}

/// A DNS name that no parser can take for a number: its last label begins with a letter.
fn is_dns_name(text: &str) -> bool {
    let label_ok = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    text.len() <= 253
        && text.split('.').all(label_ok)
        && text.split('.').all(|label| !label.starts_with("0x"))
        && text.rsplit('.').next().is_some_and(|last| last.as_bytes()[0].is_ascii_alphabetic())
}

fn refuse_host(text: &str) -> Denial {
    let found =
        if text.is_empty() { "no host".to_owned() } else { format!("host `{}`", shown(text)) };
    Denial::new(
        Code::UrlHost,
        "`DATABASE_URL` does not name exactly one host plainly",
        found,
        "`127.0.0.1` or `[::1]`",
    )
}

fn parse_port(text: &str) -> Result<u16, Denial> {
    let plain = !text.starts_with('0') && text.bytes().all(|b| b.is_ascii_digit());
    match text.parse::<u16>() {
        Ok(port) if plain => Ok(port),
        _ if text.is_empty() => Err(refuse_port("no port")),
        _ => Err(refuse_port(&format!("port `{}`", shown(text)))),
    }
}

fn refuse_port(found: &str) -> Denial {
    Denial::new(
        Code::UrlPort,
        "`DATABASE_URL` does not name exactly one port plainly",
        found,
        "one port from 1 to 65535, without sign or leading zero",
    )
}

fn parse_database(path: Option<&str>) -> Result<String, Denial> {
    let text = path.unwrap_or("");
    if is_name(text) {
        return Ok(text.to_owned());
    }
    let found = if text.is_empty() {
        "no database".to_owned()
    } else {
        format!("database `{}`", shown(text))
    };
    Err(Denial::new(
        Code::UrlDatabase,
        "`DATABASE_URL` does not name exactly one database plainly",
        found,
        "one name right behind host and port, such as `/app_preview_1`",
    ))
}
