//! The server settings a cluster runs with.
//!
//! They go on the server's command line, so they win over `postgresql.conf` and `ALTER SYSTEM`, and
//! anybody on the machine can read them. Values are not checked: the server does that.

use thiserror::Error;

/// Why a server setting was refused.
#[derive(Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum SettingError {
    /// The name is not one a server setting can have.
    #[error(
        "`{name}` is not the name of a server setting; expected letters, digits, `_` and `.` only"
    )]
    Name {
        /// The refused name.
        name: String,
    },
    /// The setting is one the cluster depends on.
    #[error("the server setting `{name}` is the cluster's own and cannot be chosen")]
    Reserved {
        /// The refused name.
        name: String,
    },
}

/// Checked settings, each as `name=value`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Settings {
    arguments: Vec<String>,
}

impl Settings {
    /// Takes the settings asked for; among those of one name the last one wins.
    pub(crate) fn parse(asked_for: &[(String, String)]) -> Result<Self, SettingError> {
        let mut arguments: Vec<_> = FOR_SPEED.iter().map(|&(n, v)| argument(n, v)).collect();
        for (name, value) in asked_for {
            check_name(name)?;
            arguments.push(argument(name, value));
        }
        Ok(Self { arguments })
    }

    pub(crate) fn arguments(&self) -> &[String] {
        &self.arguments
    }
}

/// Returns one setting as the argument of `postgres -c`.
pub(crate) fn argument(name: &str, value: &str) -> String {
    format!("{name}={value}")
}

fn check_name(name: &str) -> Result<(), SettingError> {
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '.';
    if !name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') || !name.chars().all(fits) {
        return Err(SettingError::Name { name: name.into() });
    }
    if RESERVED.iter().any(|own| own.eq_ignore_ascii_case(name)) {
        return Err(SettingError::Reserved { name: name.into() });
    }
    Ok(())
}

/// Not for data anybody wants to keep.
const FOR_SPEED: &[(&str, &str)] = &[
    ("fsync", "off"),
    ("synchronous_commit", "off"),
    ("full_page_writes", "off"),
    ("shared_buffers", "32MB"),
];

/// Where the server is reached, where its files are, and how it tells that a port is taken.
const RESERVED: &[&str] = &[
    "config_file",
    "data_directory",
    "external_pid_file",
    "lc_messages",
    "listen_addresses",
    "log_destination",
    "logging_collector",
    "port",
    "unix_socket_directories",
    "unix_socket_permissions",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(name: &str, value: &str) -> Result<Settings, SettingError> {
        Settings::parse(&[(name.into(), value.into())])
    }

    #[test]
    fn a_setting_comes_after_the_ones_for_speed() {
        let settings = parse("fsync", "on").unwrap();
        assert_eq!(settings.arguments()[0], "fsync=off");
        assert_eq!(settings.arguments().last().unwrap(), "fsync=on");
    }

    #[test]
    fn names_are_checked() {
        for name in ["max_connections", "app.slot_id", "_x1"] {
            assert!(parse(name, "1").is_ok(), "{name}");
        }
        for name in ["", "-h", "a b", "a=b", "1a", ".a", "port\n", "größe"] {
            let expected = Err(SettingError::Name { name: name.into() });
            assert_eq!(parse(name, "1"), expected, "{name}");
        }
    }

    #[test]
    fn the_clusters_own_settings_are_refused_in_any_spelling() {
        for name in RESERVED.iter().copied().chain(["PORT", "Listen_Addresses"]) {
            let expected = Err(SettingError::Reserved { name: name.into() });
            assert_eq!(parse(name, "1"), expected, "{name}");
        }
    }
}
