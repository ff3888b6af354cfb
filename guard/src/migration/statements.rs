//! Rules about statements as a whole, where the kind alone does not decide.

use super::cursor::Cursor;
use super::kinds::Statement;
use super::lexer::Kind;
use super::screener::Screener;
use crate::diagnostic::Code;

/// Objects of grants, comments and labels that are no part of the slot's own content.
const OBJECTS: &[(&str, Code)] = &[
    ("database", Code::ReachesDatabases),
    ("role", Code::ReachesRoles),
    ("tablespace", Code::ReachesTablespaces),
    ("parameter", Code::ReachesServer),
    ("foreign", Code::ReachesForeignData),
    ("server", Code::ReachesForeignData),
    ("publication", Code::ReachesReplication),
    ("subscription", Code::ReachesReplication),
    ("event", Code::ServerCode),
    ("access", Code::ServerCode),
];

impl Screener {
    /// Judges a statement of a kind that has rules of its own.
    pub(super) fn judge(&mut self, statement: Statement, cursor: Cursor<'_, '_>, label: &str) {
        match statement {
            Statement::Writes => self.writes(cursor, label),
            Statement::Defines => self.defines(cursor, label),
            Statement::Setting => self.setting(cursor),
            Statement::Privileges => self.privileges(cursor, label),
            Statement::DefaultPrivileges => self.default_privileges(cursor),
            Statement::Remark => self.remark(cursor, label),
            Statement::Copy => self.copy(cursor),
            Statement::Operator => self.operator(&cursor),
            Statement::AltersRoutine => self.renamed(cursor),
            Statement::Do => self.block(cursor),
            Statement::Extension => self.extension(cursor),
            Statement::Language => self.language(cursor),
            Statement::Type => self.base_type(cursor),
            Statement::Index => self.index(cursor, label),
            Statement::Routine
            | Statement::Allowed
            | Statement::Refused(_)
            | Statement::Unknown => {}
        }
    }

    /// Without `ON` a role is granted; `"on"` in quotes is the name of one.
    fn privileges(&mut self, mut cursor: Cursor<'_, '_>, label: &str) {
        let (source, at) = (cursor.source, cursor.place());
        if !cursor.find(|cursor| cursor.sees("on")) {
            return self.find(source, Code::ReachesRoles, at, format!("`{label}` of a role"));
        }
        cursor.at += 1;
        self.object(&cursor, at, label);
    }

    fn remark(&mut self, mut cursor: Cursor<'_, '_>, label: &str) {
        let at = cursor.place();
        cursor.find(|cursor| cursor.sees("on"));
        cursor.at += 1;
        self.object(&cursor, at, label.trim_end_matches(" ON"));
    }

    fn object(&mut self, cursor: &Cursor<'_, '_>, at: usize, label: &str) {
        let object = OBJECTS.iter().find(|(word, _)| cursor.sees(word));
        // A table may have such a name; then it is the whole object.
        let mut next = cursor.clone();
        next.at += 1;
        let is_name = next.sees_any(&["to", "from", "is"])
            || next.sees_symbol(b',')
            || next.sees_symbol(b'.');
        if let Some((word, code)) = object
            && !is_name
        {
            self.find(cursor.source, *code, at, format!("`{label} ON {}`", word.to_uppercase()));
        }
    }

    fn default_privileges(&mut self, mut cursor: Cursor<'_, '_>) {
        let at = cursor.place();
        // The grammar's library stops where the clauses come in another order.
        cursor.end = cursor.source.tokens.len();
        let verbs = ["grant", "revoke"];
        let mut clauses =
            cursor.until(|cursor| cursor.sees_any(&verbs) || cursor.sees_symbol(b';'));
        if clauses.find(|cursor| cursor.sees("for")) {
            self.find(cursor.source, Code::ReachesRoles, at, "`ALTER DEFAULT PRIVILEGES FOR ROLE`");
        }
    }

    /// Where the data of `COPY` comes from or goes to follows `FROM` or `TO`.
    fn copy(&mut self, mut cursor: Cursor<'_, '_>) {
        let at = cursor.place();
        let is_from = |cursor: &Cursor<'_, '_>| cursor.sees_any(&["from", "to"]);
        cursor.at += 1;
        cursor.find(is_from);
        cursor.at += 1;
        let (code, what) = if cursor.sees("program") {
            (Code::ReachesFiles, "`COPY … PROGRAM` runs a program on the server")
        } else if cursor.kind() == Some(Kind::Text) {
            (Code::ReachesFiles, "`COPY` with a file of the server")
        } else {
            (Code::CopyWithClient, "`COPY` with data of the client")
        };
        self.find(cursor.source, code, at, what);
    }

    /// A type of one's own with input and output functions is code of the server.
    fn base_type(&mut self, mut cursor: Cursor<'_, '_>) {
        let at = cursor.place();
        cursor.at += 2;
        let named = cursor.path().is_some();
        if named && cursor.sees_symbol(b'(') {
            self.find(cursor.source, Code::ServerCode, at, "`CREATE TYPE` of a base type");
        }
    }

    fn index(&mut self, mut cursor: Cursor<'_, '_>, label: &str) {
        let (source, at) = (cursor.source, cursor.place());
        self.defines(cursor.clone(), label);
        cursor.at += 1;
        if cursor.sees_symbol(b'(') {
            cursor.skip();
        }
        if label == "REINDEX" && cursor.sees_any(&["database", "system"]) {
            self.find(source, Code::ReachesDatabases, at, "`REINDEX` of a database");
        }
    }

    /// Judges the tablespace that a clause names; the default one is every database's own.
    pub(super) fn tablespace(&mut self, mut cursor: Cursor<'_, '_>) {
        let at = cursor.place();
        if cursor.name().is_none_or(|name| name != "pg_default") {
            self.find(cursor.source, Code::ReachesTablespaces, at, "a clause `TABLESPACE`");
        }
    }
}
