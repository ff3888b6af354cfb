//! A text with its tokens, and the way back from any place in it to the file.
//!
//! The grammar never sees the text itself. It sees [`Source::canonical`], a copy of the same length
//! in which comments are blank, every string constant is an empty one of the same width, and every
//! quoted name is written plainly. What a disguise hides is thus decoded once, by our own reader of
//! tokens, and no second reader can see a string begin or end somewhere else.

use super::lexer::{self, Decoded, Kind, Problem, Token};

/// Where the bytes of a text come from.
#[derive(Debug)]
enum Origin<'a> {
    /// It is the file.
    File,
    /// It is the value of a string constant of another text.
    Constant { parent: &'a Source<'a>, marks: Vec<(usize, usize)> },
    /// It was put together from several constants; all of it lies at one place.
    Folded { parent: &'a Source<'a>, at: usize },
}

/// A comment that begins with two dashes, without them.
#[derive(Debug, Clone)]
pub(super) struct Comment {
    pub(super) start: usize,
    pub(super) end: usize,
}

/// A text with its tokens.
#[derive(Debug)]
pub(super) struct Source<'a> {
    text: String,
    origin: Origin<'a>,
    pub(super) tokens: Vec<Token>,
    pub(super) comments: Vec<Comment>,
    pub(super) canonical: String,
    pub(super) problems: Vec<Problem>,
}

impl<'a> Source<'a> {
    pub(super) fn file(text: &str) -> Self {
        Self::new(text.to_owned(), Origin::File)
    }

    /// Reads the value of a string constant, such as the body of a function.
    pub(super) fn constant(parent: &'a Source<'a>, value: &Decoded) -> Self {
        Self::new(value.text.clone(), Origin::Constant { parent, marks: value.marks.clone() })
    }

    /// Reads a text that was put together from constants at `at`.
    pub(super) fn folded(parent: &'a Source<'a>, at: usize, text: String) -> Self {
        Self::new(text, Origin::Folded { parent, at })
    }

    fn new(text: String, origin: Origin<'a>) -> Self {
        let lexed = lexer::read(&text, matches!(origin, Origin::File));
        let canonical = canonical(&text, &lexed.tokens);
        let lexer::Lexed { tokens, comments, problems } = lexed;
        Self { text, origin, tokens, comments, canonical, problems }
    }

    /// Says whether it is a whole file and no part of another text.
    pub(super) fn is_file(&self) -> bool {
        matches!(self.origin, Origin::File)
    }

    /// Says whether the text is one constant, so that each place of it has one in the file.
    pub(super) fn is_constant(&self) -> bool {
        match &self.origin {
            Origin::Constant { parent, .. } => parent.is_file() || parent.is_constant(),
            Origin::File | Origin::Folded { .. } => false,
        }
    }

    /// Returns the place in the file, in bytes, of a place in this text.
    pub(super) fn in_file(&self, offset: usize) -> usize {
        match &self.origin {
            Origin::File => offset,
            Origin::Folded { parent, at } => parent.in_file(*at),
            Origin::Constant { parent, marks } => {
                let index = marks.partition_point(|(decoded, _)| *decoded <= offset);
                let (decoded, source) = marks[index.saturating_sub(1)];
                parent.in_file(source + (offset - decoded))
            }
        }
    }

    /// Returns the text of a comment.
    pub(super) fn comment(&self, comment: &Comment) -> &str {
        &self.text[comment.start..comment.end]
    }

    /// Returns how a token is written.
    pub(super) fn raw(&self, token: &Token) -> &str {
        &self.text[token.start..token.end]
    }

    /// Returns the index of the first token at or behind `offset`.
    pub(super) fn token_at(&self, offset: usize) -> usize {
        self.tokens.partition_point(|token| token.start < offset)
    }

    /// Says whether a token is this unquoted word.
    pub(super) fn is_word(&self, index: usize, word: &str) -> bool {
        self.tokens.get(index).is_some_and(|token| {
            token.kind == Kind::Word && self.raw(token).eq_ignore_ascii_case(word)
        })
    }

    /// Says whether a token is this symbol.
    pub(super) fn is_symbol(&self, index: usize, symbol: u8) -> bool {
        self.tokens.get(index).is_some_and(|token| token.kind == Kind::Symbol(symbol))
    }

    /// Returns the name that a token stands for: an unquoted word in lower case, or a quoted name.
    pub(super) fn name(&self, index: usize) -> Option<String> {
        let token = self.tokens.get(index)?;
        match token.kind {
            Kind::Word => Some(self.raw(token).to_ascii_lowercase()),
            Kind::Quoted => token.value.as_ref().map(|value| value.text.clone()),
            _ => None,
        }
    }

    /// Returns the value of a string constant.
    pub(super) fn constant_at(&self, index: usize) -> Option<&Decoded> {
        let token = self.tokens.get(index)?;
        if token.kind == Kind::Text { token.value.as_deref() } else { None }
    }
}

/// Returns the text as the grammar may see it: as long as the text, and without disguises.
fn canonical(text: &str, tokens: &[Token]) -> String {
    let mut out = String::with_capacity(text.len());
    for token in tokens {
        blank(&mut out, token.start);
        match (&token.kind, &token.value) {
            (Kind::Text, _) => {
                out.push('\'');
                blank(&mut out, token.end - 1);
                out.push('\'');
            }
            (Kind::Bits, Some(value)) => {
                out.push_str(&text[token.start..=token.start]);
                out.push('\'');
                out.push_str(&value.text);
                out.push('\'');
            }
            (Kind::Quoted, Some(value)) => {
                out.push('"');
                out.push_str(&value.text.replace('"', "\"\""));
                out.push('"');
            }
            _ => out.push_str(&text[token.start..token.end]),
        }
        blank(&mut out, token.end);
    }
    blank(&mut out, text.len());
    out
}

/// Fills up with blanks to a length.
fn blank(out: &mut String, length: usize) {
    out.extend(std::iter::repeat_n(' ', length.saturating_sub(out.len())));
}
