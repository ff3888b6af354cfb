//! The start-up message: who asks for what, and the message that the server is sent instead.

use guard::diagnostic::{Code, Denial, shown};

use super::{Refusal, Rules, malformed};
use crate::message::{framed, message, put_text};

/// Settings that ordinary drivers send; none of them moves a session.
const USUAL: [&str; 6] = [
    "application_name",
    "client_encoding",
    "DateStyle",
    "TimeZone",
    "extra_float_digits",
    "IntervalStyle",
];

/// The minor version that brought longer cancel keys; 1 was never one.
const MINOR_2: u16 = 2;

/// Prefix of the protocol's own options, of which none is known yet.
const OPTION: &[u8] = b"_pq_.";

/// A session that may begin.
#[derive(Debug, PartialEq, Eq)]
pub struct Startup {
    /// The message for the server, rebuilt from what was allowed.
    pub message: Vec<u8>,
    /// What the client is told first, if it asked for more than there is.
    pub negotiation: Option<Vec<u8>>,
    /// What the client calls itself.
    pub application_name: Option<String>,
}

pub(super) fn judge(version: u32, content: &[u8], rules: &Rules) -> Result<Startup, Refusal> {
    let pairs = pairs(content)?;
    refuse_duplicates(&pairs)?;
    let (mut user, mut database) = (None, None);
    let (mut settings, mut options) = (Vec::new(), Vec::new());
    for (key, value) in pairs {
        match key {
            b"user" => user = Some(value),
            b"database" => database = Some(value),
            b"replication" => judge_replication(value, rules)?,
            key if key.starts_with(OPTION) => options.push(key),
            key => settings.push((allowed(key, rules)?, value)),
        }
    }
    judge_names(user, database, rules)?;
    let asked = u16::try_from(version & 0xffff).unwrap_or(u16::MAX);
    let minor = if asked >= MINOR_2 && rules.newest_minor >= MINOR_2 { MINOR_2 } else { 0 };
    let is_less = minor != asked || !options.is_empty();
    let application_name = settings
        .iter()
        .find(|(key, _)| *key == USUAL[0])
        .map(|(_, value)| shown(&String::from_utf8_lossy(value)));
    Ok(Startup {
        message: rebuild(minor, &settings, rules),
        negotiation: is_less.then(|| negotiation(minor, &options)),
        application_name,
    })
}

type Pair<'a> = (&'a [u8], &'a [u8]);

/// Reads keys and values up to the empty key, which must be the last byte.
fn pairs(content: &[u8]) -> Result<Vec<Pair<'_>>, Refusal> {
    let refuse = |what: &str| {
        let expected = "texts that end with a NUL, and one NUL more at the end";
        malformed("the start-up message cannot be read", what.to_owned(), expected.to_owned())
    };
    let mut rest = content;
    let mut pairs = Vec::new();
    loop {
        let (key, after) = text(rest).ok_or_else(|| refuse("a name without an end"))?;
        if key.is_empty() {
            return if after.is_empty() { Ok(pairs) } else { Err(refuse("bytes after the end")) };
        }
        let (value, after) = text(after).ok_or_else(|| refuse("a value without an end"))?;
        pairs.push((key, value));
        rest = after;
    }
}

fn text(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = bytes.iter().position(|byte| *byte == 0)?;
    Some((&bytes[..end], &bytes[end + 1..]))
}

/// The server takes the last of two, and knows settings in any letter case.
fn refuse_duplicates(pairs: &[Pair<'_>]) -> Result<(), Refusal> {
    let mut keys: Vec<Vec<u8>> = pairs.iter().map(|(key, _)| key.to_ascii_lowercase()).collect();
    keys.sort_unstable();
    match keys.windows(2).find(|two| two[0] == two[1]) {
        None => Ok(()),
        Some(two) => Err(Refusal::postgres(Denial::new(
            Code::WireDuplicate,
            "the start-up message names something twice",
            format!("`{}` twice", name(&two[0])),
            "each name once",
        ))),
    }
}

/// Returns a setting's name as it is spelt here.
fn allowed<'a>(key: &[u8], rules: &'a Rules) -> Result<&'a str, Refusal> {
    let mut known = USUAL.into_iter().chain(rules.startup_keys.iter().map(String::as_str));
    known.find(|known| known.as_bytes().eq_ignore_ascii_case(key)).ok_or_else(|| {
        let (found, slot) = (name(key), rules.slot);
        let expected: Vec<&str> =
            USUAL.into_iter().chain(rules.startup_keys.iter().map(String::as_str)).collect();
        let help = format!(
            "Leave `{found}` out of the connection's parameters, or set it after connecting; for \
             {slot} and the other slots it can be named under `[sidecar] startup_keys`."
        );
        let found = format!("`{found}`");
        let message = "a start-up setting is not let through";
        let denial = Denial::new(Code::WireParameter, message, found, expected.join(", "));
        Refusal::postgres(denial.help(help))
    })
}

fn judge_replication(value: &[u8], rules: &Rules) -> Result<(), Refusal> {
    let no: [&[u8]; 4] = [b"false", b"off", b"no", b"0"];
    if no.iter().any(|no| no.eq_ignore_ascii_case(value)) {
        return Ok(());
    }
    Err(Refusal::postgres(Denial::new(
        Code::WireReplication,
        format!("{} has no replication", rules.slot),
        "`replication` in the start-up message",
        "no such setting, or a plain `false`",
    )))
}

/// Byte for byte: a name that merely looks like the slot's is another one.
fn judge_names(user: Option<&[u8]>, database: Option<&[u8]>, rules: &Rules) -> Result<(), Refusal> {
    let Some(user) = user.filter(|user| !user.is_empty()) else {
        let expected = format!("user `{}`", rules.role);
        return Err(malformed("there is no user", "no `user`".to_owned(), expected));
    };
    let Rules { slot, .. } = rules;
    let help = "Use the `DATABASE_URL` that the slot's backend is given, unchanged.";
    let refuse = |code, what: &str, found: String, expected: &str| {
        let message = format!("the {what} is not the one of {slot}");
        let expected = format!("{what} `{expected}`");
        Err(Refusal::postgres(Denial::new(code, message, found, expected).help(help)))
    };
    if database != Some(rules.database.as_bytes()) {
        let found = match database {
            Some(database) if !database.is_empty() => format!("database `{}`", name(database)),
            _ => "no database, for which the server would take the user's name".to_owned(),
        };
        return refuse(Code::WireDatabase, "database", found, &rules.database);
    }
    if user != rules.role.as_bytes() {
        return refuse(Code::WireRole, "role", format!("role `{}`", name(user)), &rules.role);
    }
    Ok(())
}

fn name(bytes: &[u8]) -> String {
    shown(&String::from_utf8_lossy(bytes))
}

/// Writes the server's message: the slot's names, then the settings that were let through.
fn rebuild(minor: u16, settings: &[(&str, &[u8])], rules: &Rules) -> Vec<u8> {
    let mut content = (3 << 16 | u32::from(minor)).to_be_bytes().to_vec();
    let own = [("user", rules.role.as_bytes()), ("database", rules.database.as_bytes())];
    for (key, value) in own.iter().chain(settings) {
        put_text(&mut content, key.as_bytes());
        put_text(&mut content, value);
    }
    content.push(0);
    framed(&content)
}

/// Says which minor version is spoken, and which options of the protocol are not known.
fn negotiation(minor: u16, options: &[&[u8]]) -> Vec<u8> {
    let mut content = (3 << 16 | u32::from(minor)).to_be_bytes().to_vec();
    let count = u32::try_from(options.len()).unwrap_or(u32::MAX);
    content.extend_from_slice(&count.to_be_bytes());
    for option in options {
        put_text(&mut content, option);
    }
    message(b'v', &content)
}
