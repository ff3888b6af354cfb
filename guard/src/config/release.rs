//! What becomes of a slot's database when the slot is released or its lease expires.

use serde::Deserialize;

use super::file::refuse_value;
use crate::diagnostic::Denial;
use crate::slot::SlotId;

/// What the next holder of a slot finds in its database.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum ReleasedDatabase {
    /// What the last one left there, since nothing is configured.
    #[default]
    Unset,
    /// What the last one left there, on purpose.
    Kept,
    /// What the seed holds.
    Seed,
    /// What another database holds.
    Template(String),
}

impl ReleasedDatabase {
    /// Returns the words that `migrate-runner reset --to` takes; none if nothing is reset.
    #[must_use]
    pub fn reset_to(&self) -> Option<Vec<&str>> {
        match self {
            Self::Unset | Self::Kept => None,
            Self::Seed => Some(vec!["seed"]),
            Self::Template(name) => Some(vec!["template", name]),
        }
    }
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(super) struct RawRelease {
    reset: Option<String>,
}

/// Parses the table; a reset needs the administrator's password.
pub(super) fn parse(raw: &RawRelease, has_admin: bool) -> Result<ReleasedDatabase, Denial> {
    let key = "[release] reset";
    let Some(text) = raw.reset.as_deref() else { return Ok(ReleasedDatabase::Unset) };
    let parsed = match text.split_once(' ') {
        None if text == "keep" => return Ok(ReleasedDatabase::Kept),
        None if text == "seed" => Some(ReleasedDatabase::Seed),
        Some(("template", name)) if is_source(name) => {
            Some(ReleasedDatabase::Template(name.to_owned()))
        }
        _ => None,
    };
    let expected = "\"seed\", \"template DB\" or \"keep\"";
    let parsed = parsed.ok_or_else(|| refuse_value(key, text, expected))?;
    if has_admin {
        return Ok(parsed);
    }
    Err(refuse_value(key, text, "`[database] admin_password_file`, by which a database is reset"))
}

/// What the database is, the reset itself finds out.
fn is_source(name: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"_-".contains(&b);
    (1..=63).contains(&name.len())
        && name.bytes().all(plain)
        && !name.starts_with('-')
        && SlotId::owning_database(name).is_none()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    const ADMIN: &str = "[database]\nadmin_password_file = \"/etc/slotguard/admin.pw\"\n";

    fn read(before: &str, value: &str) -> Option<ReleasedDatabase> {
        let text = format!("version = 1\n{before}[release]\nreset = \"{value}\"\n");
        Config::parse(&text).ok().map(|config| config.released_database)
    }

    #[test]
    fn a_source_is_named_as_the_reset_takes_it() {
        assert_eq!(Config::default().released_database, ReleasedDatabase::Unset);
        assert_eq!(read("", "keep"), Some(ReleasedDatabase::Kept));
        assert_eq!(read(ADMIN, "seed").unwrap().reset_to().unwrap(), ["seed"]);
        let template = read(ADMIN, "template app_demo").unwrap();
        assert_eq!(template.reset_to().unwrap(), ["template", "app_demo"]);
        for bad in ["", "none", "template", "template ", "template app_preview_2", "template --x"] {
            assert_eq!(read(ADMIN, bad), None, "{bad:?}");
        }
        assert_eq!(read("", "seed"), None, "nobody could reset");
    }
}
