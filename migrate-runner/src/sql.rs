//! Names and texts as SQL.

use guard::migration::ObjectName;

/// Writes a name so that it is that name and nothing else; ours stay readable.
pub(crate) fn name(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
    let begins = text.bytes().next().is_some_and(|b| b.is_ascii_lowercase());
    // Every keyword with an underscore begins like one of these.
    let keyword = !text.contains('_')
        || ["current_", "session_", "system_"].iter().any(|start| text.starts_with(start));
    if begins && text.bytes().all(plain) && !keyword {
        return text.to_owned();
    }
    format!("\"{}\"", text.replace('"', "\"\""))
}

/// Writes the name of an object, with its schema where it has one.
pub(crate) fn object(object: &ObjectName) -> String {
    let schema = object.schema.as_deref().map(|schema| format!("{}.", name(schema)));
    format!("{}{}", schema.unwrap_or_default(), name(&object.name))
}

/// The number of the object behind a name, as a statement of the session would find it.
pub(crate) fn object_id(name: &ObjectName) -> String {
    format!("pg_catalog.to_regclass({})::pg_catalog.oid", text(&object(name)))
}

/// Writes a text as a constant, whatever `standard_conforming_strings` says.
pub(crate) fn text(text: &str) -> String {
    if text.contains('\\') {
        return format!(" E'{}'", text.replace('\\', "\\\\").replace('\'', "''"));
    }
    format!("'{}'", text.replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_texts_cannot_end_early() {
        assert_eq!(name("slot_1"), "slot_1");
        assert_eq!(name("app_preview_1__next"), "app_preview_1__next");
        for (odd, quoted) in [
            ("user", "\"user\""),
            ("current_user", "\"current_user\""),
            ("Slot_1", "\"Slot_1\""),
            ("a\"b", "\"a\"\"b\""),
            ("", "\"\""),
            ("1_a", "\"1_a\""),
        ] {
            assert_eq!(name(odd), quoted);
        }
        assert_eq!(text("it's"), "'it''s'");
        assert_eq!(text("\\'"), " E'\\\\'''");
    }
}
