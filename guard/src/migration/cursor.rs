//! Reading along the tokens of one statement.

use super::lexer::Kind;
use super::source::Source;

/// A place within a run of tokens.
#[derive(Debug, Clone)]
pub(super) struct Cursor<'s, 'a> {
    pub(super) source: &'s Source<'a>,
    pub(super) at: usize,
    pub(super) end: usize,
}

/// A name with the schema in front of it, if there is one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Path {
    /// The schema, if one is written.
    pub schema: Option<String>,
    /// The name, without its quotes.
    pub name: String,
}

impl<'s, 'a> Cursor<'s, 'a> {
    pub(super) fn new(source: &'s Source<'a>, at: usize, end: usize) -> Self {
        Self { source, at, end: end.min(source.tokens.len()) }
    }

    pub(super) fn is_done(&self) -> bool {
        self.at >= self.end
    }

    pub(super) fn kind(&self) -> Option<Kind> {
        self.source.tokens.get(self.at).filter(|_| !self.is_done()).map(|token| token.kind)
    }

    /// Returns the place in bytes of the next token, or of the end.
    pub(super) fn place(&self) -> usize {
        place(self.source, self.at)
    }

    pub(super) fn sees(&self, word: &str) -> bool {
        !self.is_done() && self.source.is_word(self.at, word)
    }

    pub(super) fn sees_any(&self, words: &[&str]) -> bool {
        words.iter().any(|word| self.sees(word))
    }

    pub(super) fn sees_symbol(&self, symbol: u8) -> bool {
        self.kind() == Some(Kind::Symbol(symbol))
    }

    /// Steps over a word if it is the next one.
    pub(super) fn eat(&mut self, word: &str) -> bool {
        let seen = self.sees(word);
        self.at += usize::from(seen);
        seen
    }

    pub(super) fn eat_any(&mut self, words: &[&str]) -> bool {
        words.iter().any(|word| self.eat(word))
    }

    pub(super) fn eat_symbol(&mut self, symbol: u8) -> bool {
        let seen = self.sees_symbol(symbol);
        self.at += usize::from(seen);
        seen
    }

    /// Steps over `:=`, `=` or `=>`.
    pub(super) fn eat_assignment(&mut self) -> bool {
        let colon = self.sees_symbol(b':') && self.source.is_symbol(self.at + 1, b'=');
        if colon {
            self.at += 2;
            return true;
        }
        let equals = self.eat_symbol(b'=');
        if equals {
            self.eat_symbol(b'>');
        }
        equals
    }

    /// Reads a name, or the value of a string constant, as many clauses take either.
    pub(super) fn name(&mut self) -> Option<String> {
        let constant = || self.source.constant_at(self.at).map(|value| value.text.clone());
        let name = self.source.name(self.at).or_else(constant).filter(|_| !self.is_done())?;
        self.at += 1;
        Some(name)
    }

    /// Reads a name with what stands in front of it.
    pub(super) fn path(&mut self) -> Option<Path> {
        let mut path = Path { schema: None, name: self.name()? };
        while self.sees_symbol(b'.') {
            self.at += 1;
            let name = self.name()?;
            path = Path { schema: Some(path.name), name };
        }
        Some(path)
    }

    /// Steps over one token, or over everything between two brackets.
    pub(super) fn skip(&mut self) {
        let mut depth = 0_usize;
        while let Some(kind) = self.kind() {
            self.at += 1;
            match kind {
                Kind::Symbol(b'(' | b'[') => depth += 1,
                Kind::Symbol(b')' | b']') => depth = depth.saturating_sub(1),
                _ => {}
            }
            if depth == 0 {
                return;
            }
        }
    }

    /// Moves to the next token outside of brackets that fits; `false` when there is none.
    pub(super) fn find(&mut self, fits: impl Fn(&Self) -> bool) -> bool {
        while !self.is_done() {
            if fits(self) {
                return true;
            }
            self.skip();
        }
        false
    }

    /// Splits off what lies before the next token outside of brackets that fits.
    pub(super) fn until(&mut self, fits: impl Fn(&Self) -> bool) -> Self {
        let start = self.at;
        self.find(fits);
        Self { source: self.source, at: start, end: self.at }
    }

    /// Returns the pieces between commas that are outside of brackets.
    pub(super) fn pieces(mut self) -> Vec<Self> {
        let mut pieces = Vec::new();
        while !self.is_done() {
            pieces.push(self.until(|cursor| cursor.sees_symbol(b',')));
            self.at += 1;
        }
        pieces
    }

    /// Returns what lies between the brackets that the next token opens, and steps over them.
    pub(super) fn bracketed(&mut self) -> Option<Self> {
        if !self.sees_symbol(b'(') {
            return None;
        }
        let start = self.at + 1;
        self.skip();
        let closed = self.source.is_symbol(self.at - 1, b')') && self.at > start;
        Some(Self { source: self.source, at: start, end: self.at - usize::from(closed) })
    }
}

/// Returns the place in bytes of a token, or of the end of the text.
pub(super) fn place(source: &Source<'_>, index: usize) -> usize {
    source.tokens.get(index).map_or(source.canonical.len(), |token| token.start)
}
