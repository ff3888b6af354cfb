//! Relations that a migration may not write to, or not even read.

use super::cursor::{Cursor, Path};
use super::screener::Screener;
use crate::diagnostic::Code;

/// The table that records which migrations ran.
const LEDGER: &str = "refinery_schema_history";

/// The tables that say which migrations ran, and how far one of them came.
pub(super) const RECORDS: [&str; 2] = [LEDGER, PROGRESS];

/// The name of the table that says how far a migration came that runs statement by statement.
pub const PROGRESS: &str = "slotguard_migration_progress";

/// Relations that hold passwords or files of the server; reading them is refused too.
const SECRET: &[(&str, Code)] = &[
    ("pg_authid", Code::SharedCatalog),
    ("pg_shadow", Code::SharedCatalog),
    ("pg_user_mapping", Code::SharedCatalog),
    ("pg_user_mappings", Code::SharedCatalog),
    ("pg_subscription", Code::SharedCatalog),
    ("pg_hba_file_rules", Code::ReachesFiles),
    ("pg_ident_file_mappings", Code::ReachesFiles),
    ("pg_file_settings", Code::ReachesFiles),
    ("pg_config", Code::ReachesFiles),
    ("pg_backend_memory_contexts", Code::ReachesServer),
    ("pg_shmem_allocations", Code::ReachesServer),
];

/// The catalogs that all databases of a server share, and the views that write to settings.
#[rustfmt::skip]
const SHARED: &[&str] = &[
    "pg_database", "pg_auth_members", "pg_db_role_setting", "pg_tablespace", "pg_shdepend",
    "pg_shdescription", "pg_shseclabel", "pg_replication_origin", "pg_parameter_acl", "pg_roles",
    "pg_user", "pg_group", "pg_settings", "pg_replication_origin_status", "pg_replication_slots",
];

/// Catalogs of the database itself, which only the server writes to.
#[rustfmt::skip]
const OWN_CATALOGS: &[&str] = &[
    "pg_aggregate", "pg_am", "pg_amop", "pg_amproc", "pg_attrdef", "pg_attribute", "pg_cast", "pg_class",
    "pg_collation", "pg_constraint", "pg_conversion", "pg_default_acl", "pg_depend", "pg_description",
    "pg_enum", "pg_event_trigger", "pg_extension", "pg_foreign_data_wrapper", "pg_foreign_server",
    "pg_foreign_table", "pg_index", "pg_inherits", "pg_init_privs", "pg_language", "pg_largeobject",
    "pg_largeobject_metadata", "pg_namespace", "pg_opclass", "pg_operator", "pg_opfamily",
    "pg_partitioned_table", "pg_policy", "pg_proc", "pg_publication", "pg_publication_namespace",
    "pg_publication_rel", "pg_range", "pg_rewrite", "pg_seclabel", "pg_sequence", "pg_statistic",
    "pg_statistic_ext", "pg_statistic_ext_data", "pg_subscription_rel", "pg_transform", "pg_trigger",
    "pg_ts_config", "pg_ts_config_map", "pg_ts_dict", "pg_ts_parser", "pg_ts_template", "pg_type",
];

/// Words between the verb of a statement and the relation that it writes to.
const BEFORE_RELATION: &[&str] = &["into", "from", "only", "table"];

impl Screener {
    /// Judges a relation that a statement merely uses.
    pub(super) fn relation(&mut self, mut cursor: Cursor<'_, '_>) {
        let at = cursor.place();
        let Some(path) = cursor.path().filter(is_of_the_server) else { return };
        if let Some((name, code)) = SECRET.iter().find(|(name, _)| *name == path.name) {
            self.find(cursor.source, *code, at, format!("`{name}`"));
        }
    }

    /// Judges the relations that a statement changes or locks.
    pub(super) fn writes(&mut self, mut cursor: Cursor<'_, '_>, label: &str) {
        if cursor.sees("with") {
            // A common table expression may be called like a verb, so each of them counts.
            let verbs = ["insert", "update", "delete", "merge"];
            while cursor.find(|cursor| cursor.sees_any(&verbs)) {
                self.targets(&mut cursor, label);
            }
        } else {
            self.targets(&mut cursor, label);
        }
    }

    fn targets(&mut self, cursor: &mut Cursor<'_, '_>, label: &str) {
        let several = label == "LOCK" || label == "TRUNCATE";
        cursor.at += 1;
        loop {
            while cursor.eat_any(BEFORE_RELATION) || cursor.eat_symbol(b'(') {}
            let at = cursor.place();
            let Some(path) = cursor.path() else { return };
            self.changed(&path, cursor, at, label);
            cursor.eat_symbol(b')');
            cursor.eat_symbol(b'*');
            if !several || !cursor.eat_symbol(b',') {
                return;
            }
        }
    }

    /// Judges a statement that changes how a relation or a schema is defined.
    pub(super) fn defines(&mut self, cursor: Cursor<'_, '_>, label: &str) {
        if label.ends_with(" SCHEMA") {
            return self.schema(cursor, label);
        }
        for index in cursor.at..cursor.end {
            let mut name = Cursor::new(cursor.source, index, cursor.end);
            let at = name.place();
            if index > cursor.at && cursor.source.is_symbol(index - 1, b'.') {
                continue;
            }
            let before =
                index > 0 && is_before_relation(&Cursor::new(cursor.source, index - 1, cursor.end));
            if let Some(path) = name.path().filter(|_| before) {
                self.changed(&path, &cursor, at, label);
            }
        }
    }

    fn changed(&mut self, path: &Path, cursor: &Cursor<'_, '_>, at: usize, label: &str) {
        let name = path.name.as_str();
        let shared = SHARED.contains(&name) || OWN_CATALOGS.contains(&name);
        if shared && is_of_the_server(path) {
            self.find(cursor.source, Code::SharedCatalog, at, format!("`{label}` of `{name}`"));
        }
    }

    /// The ledger lies in the schema `public`, and would go with it.
    fn schema(&mut self, mut cursor: Cursor<'_, '_>, label: &str) {
        let at = cursor.place();
        cursor.at += 2;
        if cursor.eat("if") {
            cursor.eat("exists");
        }
        let names = cursor.pieces();
        for mut name in names {
            let ledger = name.name().is_some_and(|name| name == "public");
            let changes_owner = name.sees("owner");
            if ledger && !changes_owner {
                self.find(name.source, Code::ReachesLedger, at, format!("`{label}` of `public`"));
            }
        }
    }
}

/// An unqualified name may be the server's own: its schema is searched first.
fn is_of_the_server(path: &Path) -> bool {
    path.schema.as_ref().is_none_or(|schema| schema == "pg_catalog")
}

fn is_before_relation(cursor: &Cursor<'_, '_>) -> bool {
    cursor.sees_any(&[
        "table",
        "view",
        "on",
        "exists",
        "only",
        "to",
        "sequence",
        "partition",
        "of",
        "index",
    ]) || cursor.sees_symbol(b',')
}
