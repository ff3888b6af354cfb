//! dbmate: `20260102030405_name.sql` with a part `-- migrate:up` and a part `-- migrate:down`.
//!
//! Only the first part runs. Marks are read line by line, as dbmate does, also within a string.

use guard::diagnostic::Denial;

use super::{Selected, Source, malformed, named, numbered_name};

const EXPECTED: &str = "`<number>_<name>.sql`";
const MARK: &str = "migrate:";

/// A line that dbmate reads as a mark.
struct Mark<'a> {
    at: usize,
    word: &'a str,
    options: &'a str,
}

/// Reads one file.
pub(super) fn migration(source: &Source) -> Result<Selected<'_>, Denial> {
    let path = &source.path;
    let stem = path.strip_suffix(".sql").and_then(numbered_name);
    let (version, name) = stem.unwrap_or_default();
    let name = named(path, version.parse().ok(), name, EXPECTED)?;
    let text = source.text()?;
    let refuse =
        |found: &str| malformed(path, found, "`-- migrate:up` and, behind it, `-- migrate:down`");
    let marks: Vec<Mark<'_>> = marks(text).collect();
    let [up, down] = &marks[..] else {
        return Err(refuse(&format!("{} marks", marks.len())));
    };
    if (up.word, down.word) != ("up", "down") {
        return Err(refuse(&format!("first `{}`, then `{}`", up.word, down.word)));
    }
    let plain = |line: &str| line.trim().is_empty() || line.trim_start().starts_with("--");
    if !text[..up.at].lines().all(plain) {
        return Err(refuse("statements in front of `-- migrate:up`"));
    }
    let needs_no_transaction = match up.options {
        "" | "transaction:true" => false,
        "transaction:false" => true,
        other => return Err(refuse(&format!("the option `{other}`"))),
    };
    Ok(Selected { source, name, sql: &text[..down.at], needs_no_transaction })
}

/// Says whether a file has a mark of dbmate's.
pub(super) fn is_marked(text: &str) -> bool {
    marks(text).next().is_some()
}

fn marks(text: &str) -> impl Iterator<Item = Mark<'_>> {
    let mut end = 0;
    text.split_inclusive('\n').filter_map(move |line| {
        let at = end;
        end += line.len();
        let rest = line.strip_prefix("--")?.trim_start().strip_prefix(MARK)?.trim_end();
        let (word, options) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
        Some(Mark { at, word, options: options.trim() })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_lines() {
        let read = |text| marks(text).map(|mark| (mark.word, mark.options)).collect::<Vec<_>>();
        let text = "--migrate:up  transaction:false\r\nSELECT 1;\n--  migrate:down\n";
        assert_eq!(read(text), [("up", "transaction:false"), ("down", "")]);
        assert_eq!(read(" -- migrate:up\nSELECT '-- migrate:down';\n-- migrated:up"), []);
        assert_eq!(read("SELECT '\n-- migrate:down';"), [("down';", "")]);
    }
}
