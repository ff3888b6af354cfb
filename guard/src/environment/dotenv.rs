//! `.env` files: what a framework would load from a worktree behind the environment's back.
//!
//! The reader is generous, as the loaders are: whatever one of them might take for a variable is
//! looked at. Values are judged and forgotten.

use super::Variable;
use super::address::is_database_address;
use super::judge::moves_connections;
use super::names::{NameClass, classify};
use crate::diagnostic::shown;

/// Endings of files that document variables and are loaded by nobody.
const EXAMPLES: &[&str] = &["example", "sample", "template", "dist"];

/// Returns whether a file name is one that frameworks load variables from.
#[must_use]
pub fn is_env_file(name: &str) -> bool {
    match name.strip_prefix(".env") {
        Some("") => true,
        Some(rest) => {
            let last = rest.rsplit('.').next().unwrap_or(rest);
            rest.starts_with('.') && !EXAMPLES.contains(&last)
        }
        None => false,
    }
}

/// Returns the names in a file that may not be there, each with the reason.
#[must_use]
pub fn judge_env_file(text: &str) -> Vec<(String, &'static str)> {
    text.trim_start_matches('\u{feff}')
        .lines()
        .filter_map(read_line)
        .filter_map(|variable| {
            let name = String::from_utf8_lossy(&variable.name).into_owned();
            reason_against(&name, &variable).map(|reason| (shown(&name), reason))
        })
        .collect()
}

fn reason_against(name: &str, variable: &Variable) -> Option<&'static str> {
    if moves_connections(variable) {
        return Some("moves a database connection");
    }
    if !variable.value.is_empty() && is_database_address(variable) {
        return Some("is a database address");
    }
    classify(name).filter(|rule| rule.class == NameClass::Never).map(|rule| rule.reason)
}

/// Reads `NAME=value`, `export NAME=value` or `NAME: value`; comments and other lines are none.
fn read_line(line: &str) -> Option<Variable> {
    let line = line.trim();
    if line.starts_with('#') {
        return None;
    }
    let exported = line.strip_prefix("export").filter(|rest| rest.starts_with([' ', '\t']));
    let line = exported.map_or(line, str::trim_start);
    let (name, value) = line.split_once('=').or_else(|| line.split_once(": "))?;
    let name = name.trim_end();
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"_.-%".contains(&b);
    if name.is_empty() || !name.bytes().all(plain) {
        return None;
    }
    let value = value.trim().trim_matches(['"', '\'', '`']);
    Some(Variable { name: name.into(), value: value.into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Vec<String> {
        judge_env_file(text).into_iter().map(|(name, _)| name).collect()
    }

    #[test]
    fn files_that_are_loaded_are_told_from_examples() {
        for name in [".env", ".env.local", ".env.production", ".env.development.local"] {
            assert!(is_env_file(name), "{name}");
        }
        for name in [".env.example", ".env.sample", ".env.local.template", ".envrc", "env", ".en"] {
            assert!(!is_env_file(name), "{name}");
        }
    }

    #[test]
    fn what_moves_a_connection_is_found_in_every_spelling() {
        let text = "\u{feff}DATABASE_URL=postgres://prod/x\n\
                    export PGHOST=prod\n  PGPORT = 1\nDIRECT_URL: 'postgres://prod/x'\n\
                    REPORTS=\"postgresql://prod/x\"\nNODE_OPTIONS=--require x\n";
        assert_eq!(
            names(text),
            ["DATABASE_URL", "PGHOST", "PGPORT", "DIRECT_URL", "REPORTS", "NODE_OPTIONS"]
        );
    }

    #[test]
    fn ordinary_files_pass() {
        let text = "# PGHOST=prod\nLOG_LEVEL=debug\nAPI_BASE=/api\nDATABASE_URL=\n\
                    export FEATURE_FLAGS=a,b\nexported=1\nnot a variable\n\nNODE_ENV=development\n";
        assert!(names(text).is_empty(), "{:?}", names(text));
    }
}
