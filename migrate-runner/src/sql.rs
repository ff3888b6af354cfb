//! Names and texts as SQL.

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
