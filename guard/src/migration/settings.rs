//! `SET`, `RESET` and `set_config`: which settings a migration may change, and to what.

use super::constant::{self, Folded};
use super::cursor::Cursor;
use super::lexer::Kind;
use super::screener::Screener;
use crate::diagnostic::Code;

/// Which values of a setting may be set.
#[derive(Debug, Clone, Copy)]
enum Values {
    /// None.
    None,
    /// These, in lower case.
    Only(&'static [&'static str]),
}

const ON: &[&str] = &["on", "true", "yes", "1", "tru", "t", "y", "ye"];
const UTF8: &[&str] = &["utf8", "utf-8", "unicode"];
const OWN_TABLESPACES: &[&str] = &["", "pg_default"];

/// Settings with a rule; every other one may be set.
const RULES: &[(&str, Code, Values)] = &[
    ("role", Code::SwitchesIdentity, Values::None),
    ("session_authorization", Code::SwitchesIdentity, Values::None),
    ("standard_conforming_strings", Code::ChangesReader, Values::Only(ON)),
    ("client_encoding", Code::ChangesReader, Values::Only(UTF8)),
    ("backslash_quote", Code::ChangesReader, Values::None),
    ("transaction_isolation", Code::EndsTransaction, Values::None),
    ("transaction_read_only", Code::EndsTransaction, Values::None),
    ("transaction_deferrable", Code::EndsTransaction, Values::None),
    ("default_transaction_isolation", Code::EndsTransaction, Values::None),
    ("default_transaction_read_only", Code::EndsTransaction, Values::None),
    ("default_transaction_deferrable", Code::EndsTransaction, Values::None),
    ("default_tablespace", Code::ReachesTablespaces, Values::Only(OWN_TABLESPACES)),
    ("temp_tablespaces", Code::ReachesTablespaces, Values::Only(OWN_TABLESPACES)),
    ("local_preload_libraries", Code::ServerCode, Values::None),
    ("session_preload_libraries", Code::ServerCode, Values::None),
    ("shared_preload_libraries", Code::ServerCode, Values::None),
    ("dynamic_library_path", Code::ServerCode, Values::None),
    ("extension_control_path", Code::ServerCode, Values::None),
    ("allow_system_table_mods", Code::SharedCatalog, Values::None),
    ("client_connection_check_interval", Code::ChangesSession, Values::None),
];

/// Settings whose `RESET` is as good as leaving them alone.
const HARMLESS_RESETS: [&str; 2] = ["default_tablespace", "temp_tablespaces"];

impl Screener {
    /// Judges `SET …` or `RESET …`, a statement or a clause of a routine.
    pub(super) fn setting(&mut self, mut cursor: Cursor<'_, '_>) {
        let at = cursor.place();
        if cursor.eat("reset") {
            return self.reset(cursor, at);
        }
        cursor.eat("set");
        if cursor.eat("session") && cursor.sees("characteristics") {
            return self.find(
                cursor.source,
                Code::EndsTransaction,
                at,
                "`SET SESSION CHARACTERISTICS`",
            );
        }
        cursor.eat("local");
        if cursor.sees("transaction") {
            return self.find(cursor.source, Code::EndsTransaction, at, "`SET TRANSACTION`");
        }
        if cursor.sees_any(&["time", "xml"]) {
            return;
        }
        let is_authorization = cursor.clone().eat("authorization") || cursor.clone().eat("session");
        let Some(name) = self.setting_name(&mut cursor) else { return };
        if is_authorization {
            return self.refuse_setting(
                &cursor,
                Code::SwitchesIdentity,
                at,
                "session_authorization",
            );
        }
        let name = if name == "names" { "client_encoding".to_owned() } else { name };
        let value = set_value(cursor.clone(), name == "client_encoding");
        self.judge_setting(&cursor, at, &name, value.as_deref());
    }

    /// Judges `SET NAMES`, which the grammar's library does not know; says whether it was one.
    pub(super) fn names_encoding(&mut self, cursor: Cursor<'_, '_>) -> bool {
        let mut words = cursor.clone();
        let is_set = words.eat("set");
        words.eat_any(&["session", "local"]);
        let is_names = is_set && words.eat("names") && words.at + 1 == words.end;
        if is_names {
            self.setting(cursor);
        }
        is_names
    }

    /// A name of two parts belongs to an extension or to the application.
    fn setting_name(&self, cursor: &mut Cursor<'_, '_>) -> Option<String> {
        let path = cursor.path()?;
        path.schema.is_none().then(|| path.name.to_ascii_lowercase())
    }

    fn reset(&mut self, mut cursor: Cursor<'_, '_>, at: usize) {
        if cursor.sees("all") {
            return self.find(cursor.source, Code::ChangesSession, at, "`RESET ALL`");
        }
        if cursor.sees_any(&["session", "transaction"]) {
            let code =
                if cursor.sees("session") { Code::SwitchesIdentity } else { Code::EndsTransaction };
            return self.find(cursor.source, code, at, "`RESET` of the session's own state");
        }
        let Some(name) = self.setting_name(&mut cursor) else { return };
        if !HARMLESS_RESETS.contains(&name.as_str()) {
            self.judge_setting(&cursor, at, &name, None);
        }
    }

    fn judge_setting(
        &mut self,
        cursor: &Cursor<'_, '_>,
        at: usize,
        name: &str,
        value: Option<&str>,
    ) {
        let Some((known, code, values)) = RULES.iter().find(|(known, ..)| *known == name) else {
            return;
        };
        let value = value.map(str::to_ascii_lowercase);
        let allowed = match values {
            Values::None => false,
            Values::Only(all) => value.is_some_and(|value| all.contains(&value.as_str())),
        };
        if !allowed {
            self.refuse_setting(cursor, *code, at, known);
        }
    }

    fn refuse_setting(&mut self, cursor: &Cursor<'_, '_>, code: Code, at: usize, name: &str) {
        self.find(cursor.source, code, at, format!("the setting `{name}`"));
    }

    /// Judges a call of `set_config`, whose arguments are given.
    pub(super) fn set_config(&mut self, name: &Cursor<'_, '_>, value: Option<&Cursor<'_, '_>>) {
        let at = name.place();
        let Some(Folded { text, exact: true, .. }) = constant::fold(name) else {
            let what = "`set_config` of a setting that is no constant";
            return self.find(name.source, Code::Undecidable, at, what);
        };
        let value = value.and_then(constant::fold).filter(|value| value.exact);
        let value = value.map(|value| value.text);
        self.judge_setting(name, at, &text.to_ascii_lowercase(), value.as_deref());
    }
}

/// Returns the one value that is set, if there is one; `SET NAMES` has no `TO`.
fn set_value(mut cursor: Cursor<'_, '_>, bare: bool) -> Option<String> {
    if !cursor.eat_assignment() && !cursor.eat("to") && !bare {
        return None;
    }
    let number = cursor.kind() == Some(Kind::Number);
    let value = if number {
        let token = cursor.source.tokens.get(cursor.at)?;
        cursor.at += 1;
        cursor.source.raw(token).to_owned()
    } else {
        cursor.name()?
    };
    (cursor.is_done() || cursor.sees_symbol(b';')).then_some(value)
}
