//! What is said about a place of a migration, whichever rules found it.

use std::ops::Range;

use guard::diagnostic::Code;
use guard::migration::{self, Excerpts, Screening};
use serde::Serialize;

use crate::hazard::Hazard;

/// What kind of reason a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Class {
    /// Its effect would leave the slot; refused.
    Escape,
    /// It would hurt production; a warning.
    Hazard,
    /// It cannot run or be read; refused.
    Syntax,
}

/// One finding and its place.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Finding {
    pub(crate) code: Code,
    pub(crate) class: Class,
    /// The linter's rule, for a hazard.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) rule: Option<String>,
    pub(crate) line: usize,
    pub(crate) column: usize,
    /// Where it ends, exclusively, where that is known.
    #[serde(flatten)]
    pub(crate) end: Option<End>,
    pub(crate) message: String,
    pub(crate) help: String,
    /// Its first line, as a diagnostic may repeat it.
    #[serde(skip)]
    pub(crate) source: String,
}

/// The place behind a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct End {
    #[serde(rename = "end_line")]
    pub(crate) line: usize,
    #[serde(rename = "end_column")]
    pub(crate) column: usize,
}

impl Finding {
    /// Says whether it is a reason to refuse the file.
    pub(crate) fn refuses(&self) -> bool {
        self.class != Class::Hazard
    }

    /// Returns what the underline covers of the source line, in characters from 0.
    pub(crate) fn underlined(&self) -> Range<usize> {
        let start = self.column - 1;
        let characters = self.source.chars().count();
        let behind = match self.end {
            Some(end) if end.line == self.line => end.column - 1,
            Some(_) => characters,
            None => {
                let word = |c: &char| c.is_alphanumeric() || *c == '_';
                start + self.source.chars().skip(start).take_while(word).count()
            }
        };
        start..behind.min(characters).max(start + 1)
    }
}

/// Returns everything that is said about a text, in the order of places.
pub(crate) fn all(text: &str, screening: &Screening, hazards: Vec<Hazard>) -> Vec<Finding> {
    if screening.findings.is_empty() && hazards.is_empty() {
        return Vec::new();
    }
    let excerpts = Excerpts::new(text, screening);
    let refused = screening.findings.iter().map(|finding| of_screening(finding, &excerpts));
    let hazards = hazards.into_iter().map(|hazard| of_hazard(hazard, &excerpts));
    let mut all: Vec<Finding> = refused.chain(hazards).collect();
    all.sort_by_key(|finding| (finding.line, finding.column));
    all
}

fn of_screening(finding: &migration::Finding, excerpts: &Excerpts<'_>) -> Finding {
    let migration::Finding { code, class, line, column, message, help } = finding.clone();
    let class = match class {
        migration::Class::Escape => Class::Escape,
        migration::Class::Syntax => Class::Syntax,
    };
    let source = excerpts.line(line);
    Finding { code, class, rule: None, line, column, end: None, message, help, source }
}

fn of_hazard(hazard: Hazard, excerpts: &Excerpts<'_>) -> Finding {
    let Hazard { code, rule, bytes, message, help } = hazard;
    let (line, column) = excerpts.place(bytes.start);
    let (end_line, end_column) = excerpts.place(bytes.end);
    let end = Some(End { line: end_line, column: end_column });
    let source = excerpts.line(line);
    let class = Class::Hazard;
    Finding { code, class, rule: Some(rule), line, column, end, message, help, source }
}

#[cfg(test)]
mod tests {
    use guard::migration::{execution, screen};

    use super::*;
    use crate::hazard::{Judgement, pending};

    /// Returns what is underlined of each finding.
    fn underlined(text: &str) -> Vec<String> {
        let screening = screen(text);
        let hazards = pending(vec![Judgement::of_server(15).judge(
            text,
            &screening,
            execution(text, false).mode,
        )]);
        let cut = |finding: &Finding| {
            let range = finding.underlined();
            finding.source.chars().skip(range.start).take(range.len()).collect()
        };
        all(text, &screening, hazards.into_iter().flatten().collect()).iter().map(cut).collect()
    }

    #[test]
    fn the_underline_covers_what_was_found() {
        assert_eq!(underlined("SELECT 'ä';\n  DROP TABLE a;"), ["DROP TABLE a"]);
        assert_eq!(underlined("SELECT 'ä' ; CHECKPOINT;"), ["CHECKPOINT"]);
        assert_eq!(underlined("DROP TABLE\n  a;"), ["DROP TABLE"]);
        assert_eq!(underlined("DO $$ BEGIN\n\tDROP TABLE a; END $$"), ["DROP TABLE a"]);
        assert_eq!(underlined("CREATE TABLE a ();"), Vec::<String>::new());
    }
}
