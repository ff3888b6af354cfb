//! Functions that reach beyond the slot's content, and functions that run text as SQL.

use super::constant::{self, Folded, KNOWN_FUNCTIONS};
use super::cursor::{Cursor, Path};
use super::grammar::Tree;
use super::kinds::Shape;
use super::lexer::Kind;
use super::names;
use super::relations::RECORDS;
use super::screener::Screener;
use super::source::Source;
use crate::diagnostic::Code;

/// Functions of the server itself, by their whole name.
const BUILT_IN: &[(&str, Code)] = &[
    ("lo_import", Code::ReachesFiles),
    ("lo_export", Code::ReachesFiles),
    ("pg_stat_file", Code::ReachesFiles),
    ("pg_current_logfile", Code::ReachesFiles),
    ("pg_hba_file_rules", Code::ReachesFiles),
    ("pg_ident_file_mappings", Code::ReachesFiles),
    ("pg_show_all_file_settings", Code::ReachesFiles),
    ("pg_config", Code::ReachesFiles),
    ("pg_logdir_ls", Code::ReachesFiles),
    ("pg_reload_conf", Code::ReachesServer),
    ("pg_rotate_logfile", Code::ReachesServer),
    ("pg_rotate_logfile_old", Code::ReachesServer),
    ("pg_switch_wal", Code::ReachesServer),
    ("pg_create_restore_point", Code::ReachesServer),
    ("pg_backup_start", Code::ReachesServer),
    ("pg_backup_stop", Code::ReachesServer),
    ("pg_start_backup", Code::ReachesServer),
    ("pg_stop_backup", Code::ReachesServer),
    ("pg_promote", Code::ReachesServer),
    ("pg_log_standby_snapshot", Code::ReachesServer),
    ("pg_log_backend_memory_contexts", Code::ReachesServer),
    ("pg_get_backend_memory_contexts", Code::ReachesServer),
    ("pg_get_aios", Code::ReachesServer),
    ("pg_stat_have_stats", Code::ReachesServer),
    ("pg_import_system_collations", Code::ReachesServer),
    ("pg_nextoid", Code::ReachesServer),
    ("pg_stop_making_pinned_objects", Code::ReachesServer),
    ("pg_logical_emit_message", Code::ReachesReplicationSlots),
    ("pg_create_physical_replication_slot", Code::ReachesReplicationSlots),
    ("pg_create_logical_replication_slot", Code::ReachesReplicationSlots),
    ("pg_copy_physical_replication_slot", Code::ReachesReplicationSlots),
    ("pg_copy_logical_replication_slot", Code::ReachesReplicationSlots),
    ("pg_drop_replication_slot", Code::ReachesReplicationSlots),
    ("pg_replication_slot_advance", Code::ReachesReplicationSlots),
    ("pg_sync_replication_slots", Code::ReachesReplicationSlots),
    ("pg_terminate_backend", Code::SignalsSessions),
    ("pg_cancel_backend", Code::SignalsSessions),
    ("pg_export_snapshot", Code::ChangesSession),
    ("pg_advisory_unlock", Code::ChangesSession),
    ("pg_advisory_unlock_shared", Code::ChangesSession),
    ("pg_advisory_unlock_all", Code::ChangesSession),
];

/// Families of such functions, by the beginning of their names.
const BUILT_IN_FAMILIES: &[(&str, Code)] = &[
    ("pg_read_", Code::ReachesFiles),
    ("pg_ls_", Code::ReachesFiles),
    ("pg_wal_replay_", Code::ReachesServer),
    ("pg_stat_reset", Code::ReachesServer),
    ("pg_get_shmem_allocations", Code::ReachesServer),
    ("binary_upgrade_", Code::ReachesServer),
    ("pg_logical_slot_", Code::ReachesReplicationSlots),
    ("pg_replication_origin_", Code::ReachesReplicationSlots),
];

/// Functions of extensions, which may be in any schema.
const OF_EXTENSIONS: &[(&str, Code)] = &[
    ("dblink", Code::ReachesForeignData),
    ("dblink_", Code::ReachesForeignData),
    ("postgres_fdw_", Code::ReachesForeignData),
    ("file_fdw_", Code::ReachesForeignData),
    ("pg_file_", Code::ReachesFiles),
];

/// Functions that run an argument as SQL: the name, the argument's place, its name.
const RUNS_SQL: &[(&str, usize, &str)] = &[
    ("query_to_xml", 0, "query"),
    ("query_to_xmlschema", 0, "query"),
    ("query_to_xml_and_xmlschema", 0, "query"),
    ("ts_stat", 0, "query"),
    ("crosstab", 0, "sql"),
    ("crosstab2", 0, "sql"),
    ("crosstab3", 0, "sql"),
    ("crosstab4", 0, "sql"),
    ("crosstab_hash", 0, "sql"),
    ("xpath_table", 0, "query"),
];

/// Types of operands that a text may have.
const TEXTS: [&str; 8] =
    ["text", "varchar", "character", "char", "bpchar", "name", "anyelement", "any"];

/// Functions that read the relation that an argument names.
const READS_RELATION: [&str; 3] =
    ["table_to_xml", "table_to_xmlschema", "table_to_xml_and_xmlschema"];

/// Returns why a function is refused, unless it is not.
fn refused(path: &Path) -> Option<Code> {
    let name = path.name.as_str();
    let of_extension = |(known, _): &&(&str, Code)| {
        name == *known || (known.ends_with('_') && name.starts_with(known))
    };
    let own_schema = path.schema.as_ref().is_some_and(|schema| schema != "pg_catalog");
    // The server's own functions are in `pg_catalog` and nowhere else; a name with another schema
    // in front is a function of the slot's own, whose body was screened when it was made.
    let built_in = || {
        let whole = BUILT_IN.iter().find(|(known, _)| *known == name);
        whole.or_else(|| BUILT_IN_FAMILIES.iter().find(|(known, _)| name.starts_with(known)))
    };
    let found = OF_EXTENSIONS.iter().find(of_extension);
    found.or_else(|| (!own_schema).then(built_in).flatten()).map(|(_, code)| *code)
}

/// Returns why a field is refused, unless it is not.
///
/// `a.f` calls `f(a)` where `a` has no such column: `a` may be a row, or the one value that a function
/// in `FROM` gives. Names that a table may well have as a column pass.
fn refused_as_field(path: &Path) -> Option<Code> {
    const STARTS: [&str; 8] = [
        "pg_",
        "lo_",
        "dblink_",
        "postgres_fdw_",
        "file_fdw_",
        "binary_",
        "query_to_xml",
        "crosstab",
    ];
    let name = path.name.as_str();
    if name != "ts_stat" && !STARTS.iter().any(|start| name.starts_with(start)) {
        return None;
    }
    refused(path).or_else(|| runs_text(path).then_some(Code::Undecidable))
}

impl Screener {
    /// Judges one name of a statement, by what stands around it.
    pub(super) fn name(&mut self, source: &Source<'_>, tree: &Tree, index: usize, end: usize) {
        let token = &source.tokens[index];
        let Some(name) = source.name(index) else { return };
        if RECORDS.contains(&name.as_str()) {
            return self.find(source, Code::ReachesLedger, token.start, format!("`{name}`"));
        }
        let called = source.is_symbol(index + 1, b'(') && index + 1 < end;
        let used = use_of(tree, token.start, called);
        let before = index.checked_sub(2).filter(|_| source.is_symbol(index - 1, b'.'));
        // A row is in front of a field, not a schema.
        let schema = before.filter(|_| !matches!(used, Use::Field));
        let path = Path { schema: schema.and_then(|before| source.name(before)), name };
        if KNOWN_FUNCTIONS.contains(&path.name.as_str()) {
            self.made(tree, source, token.start, &path.name);
        }
        let code = match used {
            Use::Function => refused(&path),
            Use::Field if before.is_some() => refused_as_field(&path),
            Use::Field | Use::Other => return,
        };
        if code.is_none() && !(called && runs_text(&path)) {
            return;
        }
        if let Some(code) = code {
            return self.find(source, code, token.start, format!("the function `{}`", path.name));
        }
        let mut arguments = Cursor::new(source, index + 1, end);
        let arguments = arguments.bracketed().map(Cursor::pieces).unwrap_or_default();
        self.runs_text(&path.name, &arguments, source, token.start);
    }

    /// Judges a piece that the grammar does not see, such as the type in a declaration: a refused
    /// name in front of a bracket has no business there.
    pub(super) fn unparsed(&mut self, piece: &Cursor<'_, '_>) {
        for index in piece.at..piece.end {
            let called = piece.source.is_symbol(index + 1, b'(');
            let Some(name) = piece.source.name(index).filter(|_| called) else { continue };
            let path = Path { schema: None, name };
            if let Some(code) = refused(&path) {
                let at = piece.source.tokens[index].start;
                self.find(piece.source, code, at, format!("the function `{}`", path.name));
            }
        }
    }

    /// A function of one's own must not be taken for one whose result is known.
    fn made(&mut self, tree: &Tree, source: &Source<'_>, at: usize, name: &str) {
        if tree.around(at).any(|shape| shape == Shape::MadeFunction) {
            let what = format!("a function called `{name}` changes what constant texts are");
            self.find(source, Code::Undecidable, at, what);
        }
    }

    /// Judges a rename of a function, as [`Self::made`] does.
    pub(super) fn renamed(&mut self, mut cursor: Cursor<'_, '_>) {
        if cursor.find(|cursor| cursor.sees("rename")) {
            cursor.at += 2;
            let at = cursor.place();
            let name = cursor.name().unwrap_or_default();
            if KNOWN_FUNCTIONS.contains(&name.as_str()) {
                let what = format!("a function called `{name}` changes what constant texts are");
                self.find(cursor.source, Code::Undecidable, at, what);
            }
        }
    }

    /// Judges an operator of one's own: one that joins texts could take the place of `||`.
    pub(super) fn operator(&mut self, cursor: &Cursor<'_, '_>) {
        let mut operands = cursor.clone();
        let joins = operands.find(|cursor| cursor.sees_symbol(b'|'))
            && operands.source.is_symbol(operands.at + 1, b'|')
            && operands.source.is_symbol(operands.at + 2, b'(');
        let is_text =
            |index| operands.source.name(index).is_some_and(|name| TEXTS.contains(&name.as_str()));
        if joins && (operands.at..operands.end).any(is_text) {
            let what = "an operator `||` for texts changes what constant texts are";
            self.find(cursor.source, Code::Undecidable, cursor.place(), what);
        }
    }

    fn runs_text(
        &mut self,
        name: &str,
        arguments: &[Cursor<'_, '_>],
        source: &Source<'_>,
        at: usize,
    ) {
        let nth = |place: usize, word: &str| argument(arguments, place, word);
        if name == "set_config" {
            if let Some(setting) = nth(0, "setting_name") {
                self.set_config(&setting, nth(1, "new_value").as_ref());
            }
        } else if READS_RELATION.contains(&name) {
            self.executed(nth(0, "tbl").map(without_regclass), source, at, "TABLE ", name);
        } else if name == "ts_rewrite" {
            if arguments.len() == 2 {
                self.executed(nth(1, ""), source, at, "", name);
            }
        } else if name.starts_with("connectby") {
            self.connectby(arguments, source, at);
        } else if let Some((_, place, word)) = RUNS_SQL.iter().find(|(known, ..)| *known == name) {
            self.executed(nth(*place, word), source, at, "", name);
            if name.starts_with("crosstab")
                && let Some(second) =
                    nth(1, "").filter(|second| second.kind() != Some(Kind::Number))
            {
                self.executed(Some(second), source, at, "", name);
            }
        }
    }

    /// Screens the text that an expression stands for, or says that nobody can tell.
    pub(super) fn executed(
        &mut self,
        text: Option<Cursor<'_, '_>>,
        source: &Source<'_>,
        at: usize,
        prefix: &str,
        by: &str,
    ) {
        let folded = text.and_then(|cursor| constant::fold(&cursor).map(|folded| (cursor, folded)));
        let Some((cursor, folded)) = folded else {
            return self.find(source, Code::Undecidable, at, format!("the text that `{by}` runs"));
        };
        if prefix.is_empty() && self.names_only(source, &cursor, &folded) {
            return;
        }
        if !folded.exact {
            self.find(
                source,
                Code::Undecidable,
                cursor.place(),
                format!("the text that `{by}` runs"),
            );
            return self.shown_by(source, &cursor, &folded);
        }
        let is_one = cursor.at + 1 == cursor.end && prefix.is_empty();
        let inner = match source.constant_at(cursor.at).filter(|_| is_one) {
            Some(value) => Source::constant(source, value),
            None => Source::folded(source, cursor.place(), format!("{prefix}{}", folded.text)),
        };
        self.text(&inner);
    }

    /// What an undecidable text shows plainly is a finding that no comment exempts.
    fn shown_by(&mut self, source: &Source<'_>, cursor: &Cursor<'_, '_>, folded: &Folded) {
        let inner = Source::folded(source, cursor.place(), folded.text.clone());
        let aside = self.aside(&inner);
        for found in aside.decided() {
            self.find(source, found.code, cursor.place(), found.what);
        }
    }

    /// Says whether a text is known but for names and values that decide nothing, and nothing is found
    /// in it.
    fn names_only(
        &mut self,
        source: &Source<'_>,
        cursor: &Cursor<'_, '_>,
        folded: &Folded,
    ) -> bool {
        let Some(unknown) = folded.unknown.as_ref().filter(|unknown| !unknown.is_empty()) else {
            return false;
        };
        let inner = Source::folded(source, cursor.place(), folded.text.clone());
        names::are_decided(&inner, &folded.text, unknown) && self.aside(&inner).found_nothing()
    }

    /// `connectby` pastes its first arguments into a query as they are.
    fn connectby(&mut self, arguments: &[Cursor<'_, '_>], source: &Source<'_>, at: usize) {
        let plain = |cursor: &Cursor<'_, '_>| {
            let folded = constant::fold(cursor).filter(|folded| folded.exact);
            let name =
                |text: &str| text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.".contains(&b));
            folded.is_some_and(|folded| name(&folded.text))
        };
        if !arguments.iter().take(4).all(plain) {
            self.find(
                source,
                Code::Undecidable,
                at,
                "the names that `connectby` pastes into a query",
            );
        }
        if let Some(table) = arguments.first().filter(|table| plain(table)) {
            self.executed(Some(table.clone()), source, at, "TABLE ", "connectby");
        }
    }

    /// Judges a value in a definition: a function by its name, or by the text of its name.
    pub(super) fn definition_value(&mut self, mut cursor: Cursor<'_, '_>) {
        let (source, at) = (cursor.source, cursor.place());
        let Some(path) = cursor.path() else { return };
        let code = refused(&path).or_else(|| runs_text(&path).then_some(Code::Undecidable));
        if let Some(code) = code {
            self.find(source, code, at, format!("the function `{}`", path.name));
        }
    }

    /// Judges a constant that is cast to a function: `'pg_read_file'::regproc`.
    pub(super) fn cast(&mut self, cursor: &Cursor<'_, '_>) {
        let source = cursor.source;
        let tokens = || cursor.at..cursor.end;
        let is_function = |index: usize| {
            source
                .name(index)
                .is_some_and(|name| matches!(name.as_str(), "regproc" | "regprocedure"))
        };
        if !tokens().any(is_function) {
            return;
        }
        for index in tokens() {
            let Some(value) = source.constant_at(index) else { continue };
            let inner = Source::constant(source, value);
            let path = Cursor::new(&inner, 0, inner.tokens.len()).path();
            if let Some(code) = path.as_ref().and_then(refused) {
                let name = path.map(|path| path.name).unwrap_or_default();
                self.find(
                    source,
                    code,
                    source.tokens[index].start,
                    format!("the function `{name}`"),
                );
            }
        }
    }
}

/// Takes off a cast that the function itself would make.
fn without_regclass<'s, 'a>(mut argument: Cursor<'s, 'a>) -> Cursor<'s, 'a> {
    let source = argument.source;
    let cast = argument.end.saturating_sub(3).max(argument.at);
    let casts = source.is_symbol(cast, b':') && source.is_symbol(cast + 1, b':');
    if casts && source.is_word(cast + 2, "regclass") {
        argument.end = cast;
    }
    argument
}

/// How a name is used.
enum Use {
    Function,
    Field,
    Other,
}

/// A name in front of a bracket is a call unless the grammar says that it is something else.
fn use_of(tree: &Tree, at: usize, called: bool) -> Use {
    for shape in tree.around(at) {
        match shape {
            // Its own rule judges it.
            Shape::DefinitionValue => return Use::Other,
            Shape::FunctionReference => return Use::Function,
            // Making a function of such a name is harmless: calls of it are refused all the same.
            Shape::MadeFunction => return Use::Other,
            Shape::Relation | Shape::OtherName => return Use::Other,
            Shape::Call | Shape::Statement(_) => break,
            _ => {}
        }
    }
    if called { Use::Function } else { Use::Field }
}

/// Says whether a function runs text. The server's own are in `pg_catalog`; those of an extension
/// may be in any schema.
fn runs_text(path: &Path) -> bool {
    let name = path.name.as_str();
    let of_extension = ["crosstab", "connectby", "xpath_table"];
    let own = path.schema.as_ref().is_some_and(|schema| schema != "pg_catalog");
    if own && !of_extension.iter().any(|start| name.starts_with(start)) {
        return false;
    }
    let listed =
        RUNS_SQL.iter().any(|(known, ..)| *known == name) || READS_RELATION.contains(&name);
    listed || matches!(name, "set_config" | "ts_rewrite") || name.starts_with("connectby")
}

/// Returns an argument by its name or, if none is named, by its place.
fn argument<'s, 'a>(
    arguments: &[Cursor<'s, 'a>],
    place: usize,
    word: &str,
) -> Option<Cursor<'s, 'a>> {
    let named = |cursor: &Cursor<'s, 'a>| {
        let mut cursor = cursor.clone();
        let name = cursor.source.name(cursor.at)?;
        cursor.at += 1;
        (cursor.at < cursor.end && cursor.eat_assignment()).then_some((name, cursor))
    };
    let mut pairs = arguments.iter().filter_map(named);
    if arguments.iter().any(|argument| named(argument).is_some()) {
        return pairs.find(|(name, _)| name == word).map(|(_, cursor)| cursor);
    }
    arguments.get(place).cloned()
}
