//! Text that an expression stands for, if it is made of constants.

use std::ops::Range;

use super::cursor::Cursor;
use super::lexer::Kind;
use super::names;

/// What stands where a part of a text is not known: a name that a statement may hold.
const HOLE: &str = " slotguard_unknown ";

/// The functions whose results are known. Nobody may make others of the same name: the server
/// could choose those, and what is folded would not be what runs.
pub(super) const KNOWN_FUNCTIONS: [&str; 5] =
    ["format", "concat", "quote_ident", "quote_literal", "quote_nullable"];

/// The text of an expression.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Folded {
    pub(super) text: String,
    /// Whether all of it is known. If not, the rest is still worth reading: what it shows plainly
    /// cannot be exempted as undecidable.
    pub(super) exact: bool,
    /// Where names and values stand in it that are not known, if nothing else is unknown.
    pub(super) unknown: Option<Vec<Range<usize>>>,
}

impl Folded {
    fn known(text: impl Into<String>) -> Self {
        Self { text: text.into(), exact: true, unknown: Some(Vec::new()) }
    }

    fn unknown() -> Self {
        Self { text: HOLE.to_owned(), exact: false, unknown: None }
    }

    /// One name, or one value, whatever a variable holds.
    fn quoted_unknown(quote: char) -> Self {
        let text = if quote == '"' { names::NAME } else { names::VALUE };
        let whole = 0..text.len();
        Self { text: text.to_owned(), exact: false, unknown: Some(vec![whole]) }
    }

    fn append(&mut self, other: &Self) {
        let at = self.text.len();
        self.text.push_str(&other.text);
        self.exact &= other.exact;
        self.unknown = match (self.unknown.take(), &other.unknown) {
            (Some(mut unknown), Some(more)) => {
                unknown.extend(more.iter().map(|hole| hole.start + at..hole.end + at));
                Some(unknown)
            }
            _ => None,
        };
    }
}

/// Returns the text of an expression: constants, `||`, `format`, `concat` and the quoting functions.
///
/// `None` when there is no expression at all.
pub(super) fn fold(cursor: &Cursor<'_, '_>) -> Option<Folded> {
    let mut cursor = cursor.clone();
    if cursor.is_done() {
        return None;
    }
    let mut folded = operand(&mut cursor);
    while is_concatenation(&cursor) {
        cursor.at += 2;
        folded.append(&operand(&mut cursor));
    }
    if !cursor.is_done() {
        folded.append(&Folded::unknown());
    }
    Some(folded)
}

fn is_concatenation(cursor: &Cursor<'_, '_>) -> bool {
    cursor.sees_symbol(b'|') && cursor.source.is_symbol(cursor.at + 1, b'|')
}

/// Reads up to the next `||` outside of brackets.
fn operand(cursor: &mut Cursor<'_, '_>) -> Folded {
    let part = cursor.until(is_concatenation);
    let mut inner = part.clone();
    let read = match inner.kind() {
        Some(Kind::Text) => {
            let value = inner.source.constant_at(inner.at).map(|value| value.text.clone());
            inner.at += 1;
            value.map(Folded::known)
        }
        Some(Kind::Number) => {
            let text = inner.source.raw(&inner.source.tokens[inner.at]).to_owned();
            inner.at += 1;
            Some(Folded::known(text))
        }
        Some(Kind::Symbol(b'(')) => inner.bracketed().and_then(|within| fold(&within)),
        Some(Kind::Word | Kind::Quoted) => call(&mut inner),
        _ => None,
    };
    skip_casts(&mut inner);
    read.filter(|_| inner.is_done()).unwrap_or_else(Folded::unknown)
}

/// Steps over casts to text, which change nothing.
fn skip_casts(cursor: &mut Cursor<'_, '_>) {
    while cursor.sees_symbol(b':') && cursor.source.is_symbol(cursor.at + 1, b':') {
        let mut next = cursor.clone();
        next.at += 2;
        let is_text =
            next.path().is_some_and(|path| matches!(path.name.as_str(), "text" | "varchar"));
        if !is_text {
            return;
        }
        cursor.at = next.at;
    }
}

fn call(cursor: &mut Cursor<'_, '_>) -> Option<Folded> {
    let path = cursor.path()?;
    if path.schema.is_some_and(|schema| schema != "pg_catalog") {
        return None;
    }
    let arguments: Vec<Folded> = cursor.bracketed()?.pieces().iter().filter_map(fold).collect();
    match (path.name.as_str(), arguments.as_slice()) {
        ("format", [template, values @ ..]) => Some(format(template, values)),
        ("concat", parts) => {
            let mut all = Folded::known("");
            parts.iter().for_each(|part| all.append(part));
            Some(all)
        }
        ("quote_ident", [name]) => Some(quoted(name, '"')),
        ("quote_literal" | "quote_nullable", [value]) => Some(quoted(value, '\'')),
        _ => None,
    }
}

fn quoted(value: &Folded, quote: char) -> Folded {
    if !value.exact {
        return Folded::quoted_unknown(quote);
    }
    let doubled: String = value
        .text
        .chars()
        .flat_map(|c| std::iter::repeat_n(c, 1 + usize::from(c == quote)))
        .collect();
    let escape = if quote == '\'' && doubled.contains('\\') { " E" } else { "" };
    let doubled = if escape.is_empty() { doubled } else { doubled.replace('\\', "\\\\") };
    Folded::known(format!("{escape}{quote}{doubled}{quote}"))
}

/// Fills a template of `format`; widths and positions are rare enough to be undecidable.
fn format(template: &Folded, values: &[Folded]) -> Folded {
    let unknown = template.exact.then(Vec::new);
    let mut out = Folded { text: String::new(), exact: template.exact, unknown };
    let mut values = values.iter();
    let mut characters = template.text.chars();
    while let Some(character) = characters.next() {
        if character != '%' {
            out.text.push(character);
            continue;
        }
        let unknown = Folded::unknown();
        match characters.next() {
            Some('%') => out.text.push('%'),
            Some('s') => out.append(values.next().unwrap_or(&unknown)),
            Some('I') => out.append(&quoted(values.next().unwrap_or(&unknown), '"')),
            Some('L') => out.append(&quoted(values.next().unwrap_or(&unknown), '\'')),
            _ => return Folded { text: template.text.clone(), ..Folded::unknown() },
        }
    }
    out
}
