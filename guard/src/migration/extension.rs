//! Extensions and languages that a migration may bring in.

use super::cursor::Cursor;
use super::screener::Screener;
use crate::diagnostic::{Code, shown};

/// Extensions that the server marks as trusted: any owner of a database may create them, and what
/// they bring stays within it. Those that bring a language are left out, see [`LANGUAGES`].
#[rustfmt::skip]
pub(super) const TRUSTED: &[&str] = &[
    "btree_gin", "btree_gist", "citext", "cube", "dict_int", "fuzzystrmatch", "hstore", "intarray", "isn",
    "lo", "ltree", "pg_trgm", "pgcrypto", "plpgsql", "seg", "tablefunc", "tcn", "tsm_system_rows",
    "tsm_system_time", "unaccent", "uuid-ossp",
];

/// Languages whose bodies can be screened.
pub(super) const LANGUAGES: [&str; 2] = ["plpgsql", "sql"];

impl Screener {
    /// Judges `CREATE EXTENSION` and `ALTER EXTENSION`. What `CASCADE` adds is what a trusted
    /// extension needs, and the server refuses it unless that is trusted too.
    pub(super) fn extension(&mut self, mut cursor: Cursor<'_, '_>) {
        let at = cursor.place();
        let alters = cursor.eat("alter");
        cursor.at += if alters { 1 } else { 2 };
        if cursor.eat("if") {
            cursor.eat("not");
            cursor.eat("exists");
        }
        let written = cursor.source.name(cursor.at);
        let Some(name) = cursor.name() else { return };
        if !TRUSTED.contains(&name.as_str()) {
            // The value of a string is not repeated.
            let what = format!("the extension `{}`", shown(&written.unwrap_or_default()));
            return self.find(cursor.source, Code::UntrustedExtension, at, what);
        }
        if alters && cursor.sees_any(&["add", "drop"]) {
            let what = "changing what belongs to an extension";
            self.find(cursor.source, Code::UntrustedExtension, at, what);
        }
    }

    /// Judges `CREATE LANGUAGE`: old dumps create `plpgsql`, without naming functions of their own.
    pub(super) fn language(&mut self, mut cursor: Cursor<'_, '_>) {
        let at = cursor.place();
        cursor.find(|cursor| cursor.sees("language"));
        cursor.at += 1;
        let name = cursor.name().unwrap_or_default();
        if name != "plpgsql"
            || cursor.find(|cursor| cursor.sees_any(&["handler", "inline", "validator"]))
        {
            self.find(cursor.source, Code::UnscreenableLanguage, at, "`CREATE LANGUAGE`");
        }
    }
}
