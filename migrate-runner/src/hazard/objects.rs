//! What a statement makes, renames, drops and touches, by name.
//!
//! Names are compared as a migration writes them: without a schema they mean `public`, as on a
//! session whose `search_path` nobody changed.

use std::collections::BTreeSet;
use std::ops::Range;

use squawk_syntax::{SyntaxKind, SyntaxNode};

/// What kind of name it is; names of one kind are unique in their schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Sort {
    Relation,
    Type,
    Routine,
    Schema,
    Extension,
}

/// An object of the database.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Object {
    sort: Sort,
    schema: String,
    name: String,
}

/// What a statement does, as far as names tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Deed {
    /// Its bytes.
    pub(super) bytes: Range<usize>,
    /// What it makes.
    made: Option<Object>,
    /// What its object is called afterwards.
    renamed: Option<Object>,
    /// Whether it drops what it touches.
    drops: bool,
    /// What it is about: all of it must be new for nothing to be hurt.
    touched: Vec<Object>,
}

/// The objects that the pending set has made so far.
#[derive(Debug, Default)]
pub(super) struct Made(BTreeSet<Object>);

impl Made {
    /// Says whether a statement can hurt nothing that was there before.
    pub(super) fn covers(&self, deed: &Deed) -> bool {
        if deed.touched.is_empty() {
            return deed.made.as_ref().is_some_and(|object| object.sort == Sort::Relation);
        }
        deed.touched.iter().all(|object| self.0.contains(object))
    }

    /// Notes what a statement makes, renames and drops.
    pub(super) fn note(&mut self, deed: &Deed) {
        if deed.drops {
            for object in &deed.touched {
                self.0.remove(object);
            }
        }
        if let (Some(new), Some(old)) = (&deed.renamed, deed.touched.first())
            && self.0.remove(old)
        {
            self.0.insert(new.clone());
        }
        // An index is as new as its table.
        if let Some(object) = &deed.made
            && (deed.touched.is_empty() || self.covers(deed))
        {
            self.0.insert(object.clone());
        }
    }
}

/// Returns what the statements of a tree do.
pub(super) fn deeds(root: &SyntaxNode) -> Vec<Deed> {
    root.children().map(|statement| deed(&statement)).collect()
}

fn deed(statement: &SyntaxNode) -> Deed {
    let kind = format!("{:?}", statement.kind());
    let range = statement.text_range();
    let (definitions, references) = names(statement);
    let makes = kind.starts_with("CREATE_") || kind == "SELECT_INTO";
    let replaces = statement.children().any(|node| node.kind() == SyntaxKind::OR_REPLACE);
    let drops = kind.starts_with("DROP_");
    let many = drops || kind == "TRUNCATE";
    // What else a definition names, such as the target of a foreign key, is not what it is about.
    let about_another = ["CREATE_INDEX", "CREATE_TRIGGER", "CREATE_POLICY", "CREATE_RULE"];
    let touched = match references {
        _ if makes && !about_another.contains(&kind.as_str()) => Vec::new(),
        all if many => all,
        all => all.into_iter().take(1).collect(),
    };
    let mut definitions = definitions.into_iter();
    let (mut made, mut renamed) = (None, None);
    if makes && !replaces {
        made = definitions.next();
    } else if kind.starts_with("ALTER_") {
        // A new name is written without the schema, which stays.
        let schema = touched.first().map(|object| object.schema.clone());
        renamed = definitions.next().zip(schema).map(|(new, schema)| Object { schema, ..new });
    }
    Deed { bytes: range.start().into()..range.end().into(), made, renamed, drops, touched }
}

/// Returns the names that a statement defines, and those that it refers to.
fn names(statement: &SyntaxNode) -> (Vec<Object>, Vec<Object>) {
    let (mut definitions, mut references) = (Vec::new(), Vec::new());
    let mut open: Vec<SyntaxNode> = statement.children().collect();
    open.reverse();
    while let Some(node) = open.pop() {
        let parent = node.parent().map(|parent| parent.kind());
        match node.kind() {
            SyntaxKind::PATH => definitions.push(object(&node, sort(parent))),
            SyntaxKind::PATH_REF => references.push(object(&node, sort(parent))),
            SyntaxKind::SCHEMA => definitions.push(object(&node, Sort::Schema)),
            SyntaxKind::SCHEMA_REF => references.push(object(&node, Sort::Schema)),
            SyntaxKind::EXTENSION => definitions.push(object(&node, Sort::Extension)),
            SyntaxKind::EXTENSION_REF => references.push(object(&node, Sort::Extension)),
            // The type of a column or of an argument.
            SyntaxKind::PATH_TYPE => {}
            _ => {
                let children: Vec<SyntaxNode> = node.children().collect();
                open.extend(children.into_iter().rev());
            }
        }
    }
    (definitions, references)
}

fn sort(parent: Option<SyntaxKind>) -> Sort {
    match parent {
        Some(
            SyntaxKind::TYPE_NAME
            | SyntaxKind::TYPE_NAME_REF
            | SyntaxKind::DOMAIN
            | SyntaxKind::DOMAIN_REF,
        ) => Sort::Type,
        Some(SyntaxKind::FUNCTION_NAME | SyntaxKind::FUNCTION_NAME_REF) => Sort::Routine,
        _ => Sort::Relation,
    }
}

fn object(path: &SyntaxNode, sort: Sort) -> Object {
    let text: String = path.text().to_string();
    let mut parts = parts(&text);
    let name = parts.pop().unwrap_or_default();
    let schema = parts.pop().unwrap_or_else(|| "public".to_owned());
    Object { sort, schema, name }
}

/// Splits a dotted name; an unquoted part counts in lower case.
fn parts(text: &str) -> Vec<String> {
    let (mut parts, mut part, mut quoted) = (Vec::new(), String::new(), false);
    for character in text.trim().chars() {
        match character {
            '"' => quoted = !quoted,
            '.' if !quoted => parts.push(std::mem::take(&mut part)),
            blank if !quoted && blank.is_whitespace() => {}
            other if quoted => part.push(other),
            other => part.extend(other.to_lowercase()),
        }
    }
    parts.push(part);
    parts
}

#[cfg(test)]
mod tests {
    use squawk_syntax::SourceFile;

    use super::*;

    /// Says for each statement whether it can hurt nothing that was there before.
    fn covered(text: &str) -> Vec<bool> {
        let mut made = Made::default();
        let all = deeds(&SourceFile::parse(text).syntax_node());
        let cover = |deed: &Deed| {
            let covered = made.covers(deed);
            made.note(deed);
            covered
        };
        all.iter().map(cover).collect()
    }

    #[test]
    fn what_the_set_makes_is_known_by_every_spelling() {
        for (text, last) in [
            ("CREATE TABLE a (); ALTER TABLE a ADD b int", true),
            ("CREATE TABLE a (); ALTER TABLE b ADD b int", false),
            ("CREATE TABLE a (); ALTER TABLE public.\"a\" ADD b int", true),
            ("CREATE TABLE a (); ALTER TABLE x.a ADD b int", false),
            ("CREATE TABLE A (); ALTER TABLE \"A\" ADD b int", false),
            ("CREATE TABLE IF NOT EXISTS x . a (); DROP TABLE x.a", true),
            ("CREATE TEMP TABLE a (); CREATE INDEX ON a (b)", true),
            ("SELECT 1 AS b INTO a; CREATE INDEX ON a (b)", true),
            ("CREATE TABLE a (b int REFERENCES c)", true),
            ("CREATE TABLE a (); ALTER TABLE a ADD FOREIGN KEY (b) REFERENCES c", true),
            ("CREATE TABLE a (); ALTER TABLE c ADD FOREIGN KEY (b) REFERENCES a", false),
            ("CREATE TABLE p PARTITION OF q DEFAULT; ALTER TABLE p ADD b int", true),
            ("CREATE TABLE a (); ALTER TABLE a RENAME TO b; DROP TABLE b", true),
            ("CREATE TABLE a (); ALTER TABLE a RENAME TO b; DROP TABLE a", false),
            ("ALTER TABLE a RENAME TO b; CREATE TABLE a (); DROP TABLE b", false),
            ("CREATE TABLE a (); DROP TABLE a; DROP TABLE a", false),
            ("CREATE TABLE a (); DROP TABLE a, b", false),
            ("CREATE TABLE a (); CREATE TABLE b (); TRUNCATE a, b CASCADE", true),
            ("CREATE TABLE a (); CREATE INDEX i ON a (b); DROP INDEX i", true),
            ("CREATE INDEX i ON a (b); DROP INDEX i", false),
            ("CREATE VIEW v AS SELECT 1; DROP VIEW v", true),
            ("CREATE OR REPLACE VIEW v AS SELECT 1; DROP VIEW v", false),
            ("CREATE FUNCTION f() RETURNS int RETURN 1; DROP FUNCTION f()", true),
            ("CREATE TABLE f (); DROP FUNCTION f()", false),
            ("CREATE SCHEMA s; DROP SCHEMA s", true),
            ("CREATE TABLE s (); DROP SCHEMA s", false),
            ("CREATE EXTENSION e; DROP EXTENSION e", true),
            ("CREATE DOMAIN d AS text CHECK (true)", false),
        ] {
            assert_eq!(covered(text).last(), Some(&last), "{text}");
        }
    }
}
