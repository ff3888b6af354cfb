//! Walks over texts and statements, and hands each to the rules.

use std::borrow::Cow;
use std::ops::Range;

use super::alone;
use super::cursor::{Cursor, place};
use super::embedded::{Embedded, Runs};
use super::exemption::Exemptions;
use super::finding::{Exempted, Found, Lines, Screening};
use super::grammar::{self, Tree};
use super::kinds::{Shape, Statement};
use super::lexer::{Kind, Trouble};
use super::source::Source;
use super::{nesting, split};
use crate::diagnostic::Code;

/// How many texts may lie within each other: a function in a function, in a `DO`, in an `EXECUTE`.
const MOST_TEXTS: usize = 8;

/// What kind of text statements are found in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// The body of a procedure, which may end transactions when it is called outside of one.
    Procedure,
    /// Any other body in PL/pgSQL.
    Block,
}

/// A statement or an expression within a text.
#[derive(Debug)]
pub(super) struct Part<'s, 'a> {
    pub(super) source: &'s Source<'a>,
    /// What the server itself puts in front.
    pub(super) prefix: &'s str,
    pub(super) start: usize,
    pub(super) end: usize,
    /// Bytes that the server cuts out before the grammar sees them.
    pub(super) cut: Option<Range<usize>>,
}

/// Everything that was found so far.
#[derive(Debug, Default)]
pub(super) struct Screener {
    found: Vec<Found>,
    exempted: Vec<(Found, String)>,
    exemptions: Exemptions,
    embedded: Vec<Embedded>,
    readable: Vec<Range<usize>>,
    depth: usize,
    /// How many routines lie around.
    routines: usize,
}

impl Screener {
    /// Screens a file.
    pub(super) fn run(text: &str) -> Screening {
        let mut screener = Self::default();
        let source = Source::file(text);
        screener.text(&source);
        screener.finish(text)
    }

    fn finish(mut self, text: &str) -> Screening {
        for (at, what) in self.exemptions.unusable() {
            self.found.push(Found { code: Code::UnusableExemption, at, what });
        }
        self.found.sort_by_key(|found| found.at);
        self.found.dedup();
        let lines = Lines::new(text);
        let exempted = self.exempted.into_iter();
        let exempted: Vec<Exempted> =
            exempted.map(|(found, reason)| found.exempted(&lines, reason)).collect();
        let findings = self.found.into_iter().map(|found| found.placed(&lines)).collect();
        Screening { findings, exempted, embedded: self.embedded, readable: self.readable }
    }

    /// Screens a text aside, of which not everything is known; what it holds is handed out.
    pub(super) fn aside(&mut self, source: &Source<'_>) -> Self {
        let mut aside = Self { routines: self.routines, ..Self::default() };
        aside.text(source);
        self.embedded.append(&mut aside.embedded);
        aside
    }

    /// Reads what runs only when somebody calls it.
    pub(super) fn routine_body(&mut self, read: impl FnOnce(&mut Self)) {
        self.routines += 1;
        read(self);
        self.routines -= 1;
    }

    /// Notes a finding; one about an undecidable text may be exempt.
    pub(super) fn find(
        &mut self,
        source: &Source<'_>,
        code: Code,
        at: usize,
        what: impl Into<String>,
    ) {
        let found = Found { code, at: source.in_file(at), what: what.into() };
        match self.exemptions.reason_for(code) {
            Some(reason) => self.exempted.push((found, reason)),
            None => self.found.push(found),
        }
    }

    /// Returns the findings that no exemption could let pass and that the grammar is sure of.
    pub(super) fn decided(self) -> impl Iterator<Item = Found> {
        let undecided = [
            Code::Undecidable,
            Code::UnparsableText,
            Code::UnknownStatement,
            Code::UnusableExemption,
        ];
        self.found.into_iter().filter(move |found| !undecided.contains(&found.code))
    }

    /// Returns whether nothing was found, not even something that is exempt.
    pub(super) fn found_nothing(&self) -> bool {
        self.count() == 0 && self.exemptions.unusable().is_empty()
    }

    fn count(&self) -> usize {
        self.found.len() + self.exempted.len()
    }

    /// Screens the statements of a text in SQL.
    pub(super) fn text(&mut self, source: &Source<'_>) {
        if !self.enter(source) {
            return;
        }
        for (start, end) in split::statements(source) {
            self.statement(source, "", start, end);
        }
        self.depth -= 1;
    }

    /// Screens a text as `read` reads it, unless too many lie within each other.
    pub(super) fn within(&mut self, source: &Source<'_>, read: impl FnOnce(&mut Self)) {
        if self.enter(source) {
            read(self);
            self.depth -= 1;
        }
    }

    fn enter(&mut self, source: &Source<'_>) -> bool {
        if self.depth == MOST_TEXTS {
            self.find(source, Code::UnparsableText, 0, "too many texts within each other");
            return false;
        }
        self.depth += 1;
        self.exemptions.collect(source);
        if source.is_constant() {
            self.readable.extend(source.shown());
        }
        for problem in &source.problems {
            let (code, what) = trouble(problem.trouble);
            self.find(source, code, problem.at, what);
        }
        true
    }

    /// Screens one statement; `prefix` is what the server itself puts in front of it.
    pub(super) fn statement(
        &mut self,
        source: &Source<'_>,
        prefix: &str,
        start: usize,
        end: usize,
    ) {
        self.part(&Part { source, prefix, start, end, cut: None });
    }

    pub(super) fn part(&mut self, part: &Part<'_, '_>) {
        if part.start < part.end {
            let exempt = self.open_exemption(part.source, part.start);
            self.parsed(part);
            self.close_exemption(exempt);
        }
    }

    /// Opens the exemption in front of a statement.
    pub(super) fn open_exemption(&mut self, source: &Source<'_>, first: usize) -> bool {
        self.exemptions.open(source, first)
    }

    pub(super) fn close_exemption(&mut self, opened: bool) {
        self.exemptions.close(opened);
    }

    fn parsed(&mut self, part: &Part<'_, '_>) {
        let Part { source, prefix, start, end, .. } = *part;
        let (from, to) = (place(source, start), source.tokens[end - 1].end);
        if nesting::is_too_deep(source, start, end) {
            return self.find(source, Code::UnparsableText, from, "too much within brackets");
        }
        if self.names_encoding(Cursor::new(source, start, end)) {
            return;
        }
        let mut text = Cow::Borrowed(&source.canonical[from..to]);
        if let Some(cut) = &part.cut {
            let blank = " ".repeat(cut.len());
            text.to_mut().replace_range(cut.start - from..cut.end - from, &blank);
        }
        if prefix.is_empty() && !source.is_file() {
            let runs = if self.routines == 0 { Runs::Now } else { Runs::WhenCalled };
            self.embedded.push(Embedded::new(source, &text, (start, end), runs));
        }
        let tree = grammar::parse(prefix, &text, from);
        let before = self.count();
        for index in 0..tree.nodes.len() {
            self.node(part, &tree, index);
        }
        self.names(source, &tree, start, end);
        let said = from..=place(source, end);
        let said = source.problems.iter().any(|problem| said.contains(&problem.at));
        if let Some((at, why)) = &tree.problem
            && self.count() == before
            && !said
        {
            self.find(source, Code::UnparsableText, (*at).min(to), why.clone());
        }
    }

    fn node(&mut self, part: &Part<'_, '_>, tree: &Tree, index: usize) {
        let (source, node) = (part.source, &tree.nodes[index]);
        let (start, end) = (source.token_at(node.start), source.token_at(node.end));
        let cursor = Cursor::new(source, start, end);
        if matches!(node.shape, Shape::Statement(_)) && !(source.is_file() && start == part.start) {
            self.alone(&cursor);
        }
        match node.shape {
            Shape::Statement(Statement::Refused(code)) => {
                self.find(source, code, node.start, format!("`{}`", node.label()));
            }
            Shape::Statement(Statement::Unknown) => {
                self.find(
                    source,
                    Code::UnknownStatement,
                    node.start,
                    format!("`{}`", node.label()),
                );
            }
            Shape::Statement(Statement::Routine) => {
                self.routine(cursor, &languages(tree, index, source));
            }
            Shape::Statement(statement) => self.judge(statement, cursor, &node.label()),
            Shape::Relation => self.relation(cursor),
            Shape::Tablespace => self.tablespace(cursor),
            Shape::RoutineSetting if cursor.sees("set") => self.setting(cursor),
            Shape::DefinitionValue => self.definition_value(cursor),
            Shape::Cast => self.cast(&cursor),
            _ => {}
        }
    }

    /// Judges a statement in a body or an executed text: there is a transaction around it.
    fn alone(&mut self, cursor: &Cursor<'_, '_>) {
        if let Some((_, what)) = alone::of(cursor) {
            self.find(cursor.source, Code::NotInTransaction, cursor.place(), what);
        }
    }

    fn names(&mut self, source: &Source<'_>, tree: &Tree, start: usize, end: usize) {
        for index in start..end {
            if matches!(source.tokens[index].kind, Kind::Word | Kind::Quoted) {
                self.name(source, tree, index, end);
            }
        }
    }
}

/// Returns the languages that a statement names for a routine.
fn languages(tree: &Tree, statement: usize, source: &Source<'_>) -> Vec<String> {
    let end = tree.nodes[statement].end;
    let within = tree.nodes[statement..].iter().take_while(|node| node.start < end);
    let options = within.filter(|node| node.shape == Shape::RoutineLanguage);
    let language = |at: usize| Cursor::new(source, source.token_at(at) + 1, usize::MAX).name();
    options.filter_map(|node| language(node.start)).collect()
}

fn trouble(trouble: Trouble) -> (Code, &'static str) {
    match trouble {
        Trouble::Backslash => (Code::PsqlCommand, "a backslash outside of a string"),
        Trouble::Mark => (Code::UnparsableText, "a byte order mark"),
        Trouble::Character => (Code::UnparsableText, "a character that no token begins with"),
        Trouble::Unterminated => (Code::UnparsableText, "a comment, string or name without an end"),
        Trouble::Escape => (Code::UnparsableText, "an escape that is malformed or no character"),
        Trouble::EmptyName => (Code::UnparsableText, "a quoted name of no characters"),
        Trouble::Junk => (Code::UnparsableText, "letters right behind a number"),
    }
}
