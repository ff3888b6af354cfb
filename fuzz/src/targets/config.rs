//! `Config::parse`: never panics, keeps its promises, and refuses without repeating a secret.

use guard::config::Config;
use guard::diagnostic::{Class, Denial};
use guard::path::AbsolutePath;
use guard::slot::SlotId;
use toml::{Table, Value};

use super::{OTHER_SECRET, SECRET, Target, refused, words};
use crate::engine::Signature;

pub(super) const TARGET: Target = Target {
    name: "config",
    check,
    #[rustfmt::skip]
    dictionary: &[
        "version = 1\n", "\n", "[slots]\n", "[database]\n", "[production]\n", "[roots]\n", "[env]\n",
        "[programs.x]\n", "[sandbox]\n", "[sync]\n", "ids = [\"preview-1\"]\n", "\"preview-2\"",
        "endpoints = [\"127.0.0.1:5432\"]\n", "\"[::1]:5432\"", "\"127.0.0.1:8101\"", "databases = [\"x\"]\n",
        "\"app_preview_1\"", "role = \"slot_{slot}\"\n", "password_file = \"/etc/{slot}\"\n",
        "state = \"/srv/state\"\n", "inherit = [\"A\"]\n", "block = [\"B\"]\n", "set = { A = \"hunter2\" }\n",
        "set.B = \"hunter2\"\n", "PGHOST", "PORT = \"810{slot}\"", "path = \"/usr/bin/x\"\n",
        "args = [\"hunter2\", \"...\"]\n", "\"...\"", "require = [\"fs\"]\n", "\"scope\"",
        "connect_tcp = [443]\n", "hunter2", "\"hunter2\"", "{slot}", "{", "}", "[", "]", "=", "\"", "'''",
        "\"\"\"", "#", ",", ".", "..", "\\u0000", "\\n", "\u{feff}", "\u{e9}", "-1", "1e9", "true", "nan",
        "1979-05-27", "4294967296",
    ],
};

/// Tables whose values are texts for programs and so may be secrets. The others hold names,
/// addresses and paths, which a refusal shows so that a person finds the mistake.
const SECRET_PLACES: [(&str, &str); 2] = [("env", "set"), ("programs", "args")];

fn check(input: &[u8]) -> Signature {
    let text = String::from_utf8_lossy(input);
    match Config::parse(&text) {
        Ok(config) => accepted(&config),
        Err(denial) => {
            assert_eq!(denial.code().class(), Class::Configuration, "{denial}");
            keeps_the_secret(&text, &denial);
            refused(&denial)
        }
    }
}

fn accepted(config: &Config) -> Signature {
    let slots = config.slots().iter().count();
    assert!(slots > 0, "a host without slots");
    for endpoint in &config.database.endpoints {
        assert!(endpoint.is_loopback_address(), "{endpoint} is not of this host");
        assert_eq!(SlotId::owning_port(endpoint.port), None, "{endpoint} belongs to a slot");
    }
    for name in &config.database.production_databases {
        assert_eq!(SlotId::owning_database(name), None, "{name} is a slot's and production's");
    }
    for template in config.database.role.iter().chain(&config.password_file) {
        assert!(template.tells_apart(config.slots()), "{template:?} is shared by slots");
    }
    for slot in config.slots().iter() {
        let file = config.password_file.as_ref().map(|template| template.render(slot));
        assert!(file.is_none_or(|file| AbsolutePath::parse(&file).is_ok()), "no plain path");
        assert_eq!(config.slot(&slot.to_string()), Ok(slot));
    }
    let database = &config.database;
    format!(
        "accepted slots={slots} endpoints={} role={} password_file={} sandbox={}",
        database.endpoints.len().min(3),
        database.role.is_some(),
        config.password_file.is_some(),
        config.sandbox.require.len(),
    )
}

/// Requires that a refusal neither repeats a secret nor depends on its letters.
fn keeps_the_secret(text: &str, denial: &Denial) {
    if !text.contains(SECRET) || !is_only_secret(text) {
        return;
    }
    assert!(!words(denial).contains(SECRET), "the secret is in {}", words(denial));
    // Where quotes are missing or a backslash precedes it, the other secret is another text.
    if text.parse::<Table>().is_ok() && !text.contains('\\') {
        let other = Config::parse(&text.replace(SECRET, OTHER_SECRET)).err();
        assert_eq!(Some(denial), other.as_ref(), "the secret has an influence");
    }
}

/// Whether the secret stands only where a secret may stand. Text that is not TOML has no places, so
/// nothing of it may be repeated.
fn is_only_secret(text: &str) -> bool {
    let Ok(mut table) = text.parse::<Table>() else {
        return true;
    };
    for (top, below) in SECRET_PLACES {
        match table.get_mut(top) {
            Some(Value::Table(entries)) if top == "programs" => {
                entries.iter_mut().for_each(|(_, program)| forget(program, below));
            }
            Some(entry) => forget(entry, below),
            None => {}
        }
    }
    !format!("{table:?}").contains(SECRET)
}

/// Empties the texts of one entry and keeps its keys.
fn forget(value: &mut Value, key: &str) {
    match value.as_table_mut().and_then(|table| table.get_mut(key)) {
        Some(Value::Table(texts)) => {
            texts.iter_mut().for_each(|(_, text)| *text = Value::Boolean(true));
        }
        Some(other) => *other = Value::Boolean(true),
        None => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use guard::diagnostic::Code;

    #[test]
    fn places_of_secrets_are_told_from_names() {
        assert!(is_only_secret("env.set.A = 'hunter2'"));
        assert!(is_only_secret("[programs.x]\nargs = ['hunter2']"));
        assert!(is_only_secret("[env]\nset = 'hunter2'"));
        assert!(is_only_secret("role = hunter2"));
        assert!(!is_only_secret("env.set.hunter2 = 'A'"));
        assert!(!is_only_secret("[programs.x]\npath = 'hunter2'"));
    }

    #[test]
    #[should_panic(expected = "the secret is in")]
    fn a_refusal_that_repeats_the_secret_is_a_finding() {
        let denial = Denial::new(Code::ConfigValue, "m", "set.A = hunter2", "e");
        keeps_the_secret("env.set.A = 'hunter2'", &denial);
    }
}
