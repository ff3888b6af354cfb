//! The one redactor: replaces what changes from run to run.

use std::path::Path;

/// Knows what is unstable in the outputs of one test.
#[derive(Debug, Clone, Default)]
pub(crate) struct Redactor {
    replacements: Vec<(String, &'static str)>,
    numbers: Vec<(String, &'static str)>,
}

impl Redactor {
    /// Replaces a path.
    pub(crate) fn path(mut self, path: &Path, shown: &'static str) -> Self {
        self.replacements.push((path.to_string_lossy().into_owned(), shown));
        self
    }

    /// Replaces a port by `<port>`, wherever it stands as a whole number.
    pub(crate) fn port(mut self, port: u16) -> Self {
        self.numbers.push((port.to_string(), "<port>"));
        self
    }

    /// Replaces everything that is unstable.
    pub(crate) fn redact(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for (found, shown) in &self.replacements {
            text = text.replace(found, shown);
        }
        text = text.replace(env!("CARGO_PKG_VERSION"), "<version>");
        let mut out = String::new();
        let mut rest = text.as_str();
        while let Some(first) = rest.chars().next() {
            if let Some(after) = after_time(rest) {
                out.push_str("<time>");
                rest = after;
            } else if let Some((step, after)) = artifact_name(rest) {
                out.push_str(&format!("<time>-{step}-<pid>"));
                rest = after;
            } else if let Some(after) = after_nonce(rest, &out) {
                out.push_str("<nonce>");
                rest = after;
            } else if let Some(after) = rest.strip_prefix("slotguard-demo-") {
                out.push_str("slotguard-demo-<random>");
                rest = after.trim_start_matches(|c: char| c.is_ascii_alphanumeric());
            } else if first.is_ascii_digit() {
                let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
                let (number, after) = rest.split_at(end);
                let shown = self.number(number, &out, after);
                if shown == "<ms>" {
                    // A column of times is as wide as its longest one.
                    let blanks = out.len() - out.trim_end_matches(' ').len();
                    out.truncate(out.len() - blanks.saturating_sub(1));
                }
                out.push_str(shown);
                rest = after;
            } else {
                out.push(first);
                rest = &rest[first.len_utf8()..];
            }
        }
        out
    }

    /// Names a number by what stands around it.
    fn number<'a>(&self, number: &'a str, before: &str, after: &str) -> &'a str {
        if after.starts_with(" ms") || before.ends_with("_ms\":") {
            return "<ms>";
        }
        // The size of a database, which grows from one major version to the next.
        if after.starts_with(" MB)") || before.ends_with("\"bytes\":") {
            return "<size>";
        }
        if before.ends_with("pid ") || before.ends_with("pid\":") {
            return "<pid>";
        }
        if ["PostgreSQL ", "\"server\":"].iter().any(|name| before.ends_with(name)) {
            return "<major>";
        }
        // Nothing else has so many digits; a made-up one in a test has few.
        if number.len() > 15 {
            return "<identifier>";
        }
        if ["oid ", "\"oid\":", "\\\"oid\\\":"].iter().any(|name| before.ends_with(name)) {
            return "<oid>";
        }
        self.numbers.iter().find(|(known, _)| known == number).map_or(number, |(_, shown)| shown)
    }
}

/// Returns what stands behind the nonce of a stamp, if the text begins with one.
fn after_nonce<'a>(text: &'a str, before: &str) -> Option<&'a str> {
    let named = before.ends_with("\"nonce\":\"") || before.ends_with("\\\"nonce\\\":\\\"");
    named.then(|| text.trim_start_matches(|c: char| c.is_ascii_hexdigit()))
}

/// Returns what stands behind a time in RFC 3339, if the text begins with one.
fn after_time(text: &str) -> Option<&str> {
    let bytes = text.as_bytes();
    let shape = b"0000-00-00T00:00:00";
    let fits = |(byte, wanted): (&u8, &u8)| match wanted {
        b'0' => byte.is_ascii_digit(),
        _ => byte == wanted,
    };
    if bytes.len() < shape.len() || !bytes.iter().zip(shape).all(fits) {
        return None;
    }
    let rest = text[shape.len()..].trim_start_matches(|c: char| c == '.' || c.is_ascii_digit());
    rest.strip_prefix('Z')
}

/// Returns the step and what stands behind the name of an artifact, if the text begins with one.
fn artifact_name(text: &str) -> Option<(&str, &str)> {
    let (time, rest) = text.split_at_checked("00000000T000000.000Z".len())?;
    let mark = |at: usize, mark: &str| time.get(at..at + 1) == Some(mark);
    if !(mark(8, "T") && mark(15, ".") && mark(19, "Z")) {
        return None;
    }
    let (step, rest) = rest.strip_prefix('-')?.split_once('-')?;
    let after = rest.trim_start_matches(|c: char| c.is_ascii_digit());
    (after.len() < rest.len()).then_some((step, after))
}

#[test]
fn only_what_is_unstable_is_replaced() {
    let redactor = Redactor::default().path(Path::new("/tmp/x1"), "<dir>").port(5433);
    for (text, redacted) in [
        ("/tmp/x1/a", "<dir>/a"),
        ("app (8 MB) 8 MB, \"bytes\":77", "app (<size> MB) 8 MB, \"bytes\":<size>"),
        ("127.0.0.1:5433/x", "127.0.0.1:<port>/x"),
        ("\"port\":5433,\"n\":54330", "\"port\":<port>,\"n\":54330"),
        ("at 2026-01-02T03:04:05.123Z.", "at <time>."),
        ("2026-01-02 is a day", "2026-01-02 is a day"),
        ("(12 ms) \"duration_ms\":7,", "(<ms> ms) \"duration_ms\":<ms>,"),
        ("(pid 77, x) \"pid\":78", "(pid <pid>, x) \"pid\":<pid>"),
        ("\"foreign_pid\":78", "\"foreign_pid\":<pid>"),
        ("7712104152069872800 7", "<identifier> 7"),
        ("(oid 16393) \"oid\":16394", "(oid <oid>) \"oid\":<oid>"),
        ("\"nonce\":\"0123ab\",", "\"nonce\":\"<nonce>\","),
        ("PostgreSQL 15 on", "PostgreSQL <major> on"),
        ("slotguard-demo-aB3/x", "slotguard-demo-<random>/x"),
        ("/x/20260102T030405.678Z-apply-77\"", "/x/<time>-apply-<pid>\""),
        ("preview-1 8101 ä", "preview-1 8101 ä"),
    ] {
        assert_eq!(redactor.redact(text), redacted);
    }
}
