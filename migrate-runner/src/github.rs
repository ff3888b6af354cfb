//! Findings as commands to a GitHub workflow, which shows them beside the lines of a pull request.

use crate::finding::Finding;
use crate::screening::ScreenedFile;

/// Returns one command for each finding.
pub(crate) fn lines(files: &[ScreenedFile]) -> Vec<String> {
    let of_file = |file: &ScreenedFile| {
        let line = |finding: &Finding| line(&file.path, finding);
        file.findings.iter().map(line).collect::<Vec<_>>()
    };
    files.iter().flat_map(of_file).collect()
}

fn line(path: &str, finding: &Finding) -> String {
    let Finding { code, rule, line, column, end, message, help, .. } = finding;
    let level = if finding.refuses() { "error" } else { "warning" };
    let end = end.map_or_else(String::new, |end| {
        // A column is understood only within one line.
        let column =
            if end.line == *line { format!(",endColumn={}", end.column) } else { String::new() };
        format!(",endLine={}{column}", end.line)
    });
    let title = rule.as_ref().map_or_else(|| code.to_string(), |rule| format!("{code} {rule}"));
    let (path, title) = (property(path), property(&title));
    let text = data(&format!("{message}\n{help}"));
    format!("::{level} file={path},line={line},col={column}{end},title={title}::{text}")
}

/// What ends a command or an entity must not come from a message.
fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_a_name_ends_a_command() {
        assert_eq!(property("a,b:c\n::error::x%"), "a%2Cb%3Ac%0A%3A%3Aerror%3A%3Ax%25");
        assert_eq!(data("100 %\nx"), "100 %25%0Ax");
    }
}
