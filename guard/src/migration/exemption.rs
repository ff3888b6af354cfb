//! Comments that exempt an undecidable statement, each with a reason.
//!
//! `-- slotguard: allow undecidable: REASON` directly before a statement lets pass what nobody can
//! decide about it, and nothing else. A comment without a reason, or one that exempts nothing, is a
//! finding of its own: it would exempt something else one day.

use super::execution::says_so;
use super::source::{Comment, Source};
use crate::diagnostic::Code;

const MARK: &str = "slotguard:";
const ALLOW: &str = "allow undecidable:";

#[derive(Debug)]
struct Exemption {
    /// Its place in the file.
    at: usize,
    /// The reason, unless the comment cannot be read.
    reason: Option<String>,
    used: bool,
}

/// Every exemption of a file, and those that apply where screening is.
#[derive(Debug, Default)]
pub(super) struct Exemptions {
    all: Vec<Exemption>,
    open: Vec<usize>,
}

impl Exemptions {
    /// Notes the exemptions of a text.
    pub(super) fn collect(&mut self, source: &Source<'_>) {
        for comment in &source.comments {
            let at = source.in_file(comment.start);
            let Some(text) = exempting(source, comment) else { continue };
            if self.all.iter().all(|exemption| exemption.at != at) {
                self.all.push(Exemption { at, reason: reason(text), used: false });
            }
        }
    }

    /// Opens the exemption between a statement and the token before it; says whether there is one.
    pub(super) fn open(&mut self, source: &Source<'_>, first: usize) -> bool {
        let before = first.checked_sub(1).map_or(0, |index| source.tokens[index].end);
        let gap = before..source.tokens[first].start;
        let comment =
            source.comments.iter().rev().find(|comment| {
                gap.contains(&comment.start) && exempting(source, comment).is_some()
            });
        let at = comment.map(|comment| source.in_file(comment.start));
        let index = at.and_then(|at| self.all.iter().position(|exemption| exemption.at == at));
        self.open.extend(index);
        index.is_some()
    }

    pub(super) fn close(&mut self, opened: bool) {
        if opened {
            self.open.pop();
        }
    }

    /// Returns the reason that exempts a finding here, if there is one.
    pub(super) fn reason_for(&mut self, code: Code) -> Option<String> {
        if code != Code::Undecidable {
            return None;
        }
        let index = *self.open.iter().rev().find(|index| self.all[**index].reason.is_some())?;
        self.all[index].used = true;
        self.all[index].reason.clone()
    }

    /// Returns the comments that exempt nothing, and why.
    pub(super) fn unusable(&self) -> Vec<(usize, String)> {
        let unused = self.all.iter().filter(|exemption| !exemption.used);
        unused.map(|exemption| (exemption.at, why(exemption).to_owned())).collect()
    }
}

fn why(exemption: &Exemption) -> &'static str {
    match exemption.reason {
        Some(_) => "the statement behind it has nothing undecidable",
        None => {
            "it is not `slotguard: allow undecidable: REASON`, nor `slotguard: no-transaction` in front of everything"
        }
    }
}

/// Returns what a comment says to the screening; the one about transactions says something else.
fn exempting<'a>(source: &'a Source<'_>, comment: &Comment) -> Option<&'a str> {
    marked(source.comment(comment)).filter(|_| !says_so(source, comment))
}

/// Returns what a comment says to this project.
pub(super) fn marked(comment: &str) -> Option<&str> {
    comment.trim_start().strip_prefix(MARK)
}

fn reason(text: &str) -> Option<String> {
    let reason = text.trim_start().strip_prefix(ALLOW)?.trim();
    let readable = reason.chars().filter(|c| c.is_alphanumeric()).count() >= 3;
    readable.then(|| reason.to_owned())
}
