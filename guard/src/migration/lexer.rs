//! Reads tokens exactly as the server does, with `standard_conforming_strings` on.
//!
//! Every known disguise lives here: nested comments, comments ended by a bare carriage return,
//! strings continued on the next line (which keep the escapes of their first piece), `E''`, `U&''`
//! and `U&""` with an own `UESCAPE`, dollar quotes. Nothing here knows any grammar.

use super::source::Comment;
use super::strings;

/// A decoded constant or quoted name, with the places that its bytes come from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Decoded {
    pub(super) text: String,
    /// Where a run of bytes begins, in the value and in the text that holds it.
    pub(super) marks: Vec<(usize, usize)>,
}

impl Decoded {
    /// Appends a character that begins at `at`.
    pub(super) fn push(&mut self, character: char, at: usize) {
        let end = self.text.len();
        let follows = |(decoded, source): &(usize, usize)| end - decoded + source == at;
        if !self.marks.last().is_some_and(follows) {
            self.marks.push((end, at));
        }
        self.text.push(character);
    }
}

/// What a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A keyword or an unquoted name.
    Word,
    /// A quoted name.
    Quoted,
    /// A string constant, however it is quoted.
    Text,
    /// `B'…'` or `X'…'`.
    Bits,
    /// A number.
    Number,
    /// `$1`.
    Parameter,
    /// One character of an operator or of punctuation.
    Symbol(u8),
}

/// A token and the bytes that it takes.
#[derive(Debug, Clone)]
pub(super) struct Token {
    pub(super) kind: Kind,
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) value: Option<Box<Decoded>>,
}

/// Why a text cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trouble {
    /// A backslash outside of strings: a command of psql.
    Backslash,
    /// A byte order mark, which the server takes for the beginning of a name.
    Mark,
    /// A character that no token can begin with.
    Character,
    /// A comment, string or quoted name without an end.
    Unterminated,
    /// An escape that the server refuses.
    Escape,
    /// A quoted name of no characters.
    EmptyName,
    /// A number or parameter with letters behind it, which older servers read as two tokens.
    Junk,
}

/// A place that cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Problem {
    pub(super) trouble: Trouble,
    pub(super) at: usize,
}

/// All tokens of a text.
#[derive(Debug, Default)]
pub(super) struct Lexed {
    pub(super) tokens: Vec<Token>,
    pub(super) comments: Vec<Comment>,
    pub(super) problems: Vec<Problem>,
}

/// Reads a whole text; `is_file` says that every statement in it is one of SQL.
pub(super) fn read(text: &str, is_file: bool) -> Lexed {
    let mut reader = Reader { text, bytes: text.as_bytes(), at: 0, is_file, out: Lexed::default() };
    if text.starts_with('\u{feff}') {
        reader.trouble(Trouble::Mark, 0);
        reader.at = '\u{feff}'.len_utf8();
    }
    while reader.at < reader.bytes.len() {
        reader.token();
    }
    strings::resolve_unicode_escapes(text, &mut reader.out);
    reader.out
}

struct Reader<'a> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
    is_file: bool,
    out: Lexed,
}

impl Reader<'_> {
    fn peek(&self, ahead: usize) -> u8 {
        self.bytes.get(self.at + ahead).copied().unwrap_or_default()
    }

    fn trouble(&mut self, trouble: Trouble, at: usize) {
        self.out.problems.push(Problem { trouble, at });
    }

    fn push(&mut self, kind: Kind, start: usize, value: Option<Decoded>) {
        self.out.tokens.push(Token { kind, start, end: self.at, value: value.map(Box::new) });
    }

    fn token(&mut self) {
        let start = self.at;
        match (self.peek(0), self.peek(1)) {
            (b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c, _) => self.at += 1,
            (b'-', b'-') => self.line_comment(),
            (b'/', b'*') => self.block_comment(),
            (b'\'', _) => self.string(start, start, false),
            (b'e' | b'E', b'\'') => self.string(start, start + 1, true),
            (b'n' | b'N', b'\'') => self.string(start, start + 1, false),
            (b'b' | b'B' | b'x' | b'X', b'\'') => self.bits(),
            (b'u' | b'U', b'&') if self.peek(2) == b'\'' => self.string(start, start + 2, false),
            (b'u' | b'U', b'&') if self.peek(2) == b'"' => self.quoted(start, start + 2),
            (b'"', _) => self.quoted(start, start),
            (b'$', _) => self.dollar(),
            // Two dots are one token of the server: `1..10` is a range.
            (b'.', b'.') => {
                self.symbol(b'.');
                self.symbol(b'.');
            }
            (b'0'..=b'9', _) | (b'.', b'0'..=b'9') => self.number(),
            (b'a'..=b'z' | b'A'..=b'Z' | b'_' | 0x80.., _) => self.word(),
            (b'\\', _) => self.meta_command(),
            (byte, _) => self.symbol(byte),
        }
    }

    fn line_comment(&mut self) {
        let start = self.at + 2;
        let line = &self.bytes[start..];
        let length = line.iter().position(|byte| matches!(byte, b'\n' | b'\r'));
        self.at = start + length.unwrap_or(line.len());
        self.out.comments.push(Comment { start, end: self.at });
    }

    fn block_comment(&mut self) {
        let start = self.at;
        let mut depth = 0_usize;
        loop {
            match (self.peek(0), self.peek(1)) {
                (b'/', b'*') => (depth, self.at) = (depth + 1, self.at + 2),
                (b'*', b'/') => (depth, self.at) = (depth - 1, self.at + 2),
                _ => self.at += 1,
            }
            if depth == 0 {
                return;
            }
            if self.at >= self.bytes.len() {
                self.at = self.bytes.len();
                return self.trouble(Trouble::Unterminated, start);
            }
        }
    }

    /// Reads a string whose opening quote is at `quote`, with its continuations on later lines.
    fn string(&mut self, start: usize, quote: usize, escapes: bool) {
        self.at = quote;
        if let Some(value) = self.pieces(start, escapes) {
            self.push(Kind::Text, start, Some(value));
        }
    }

    /// Reads all pieces of a string from the opening quote of the first.
    fn pieces(&mut self, start: usize, escapes: bool) -> Option<Decoded> {
        let mut value = Decoded { text: String::new(), marks: vec![(0, self.at + 1)] };
        loop {
            if !self.piece(&mut value, escapes) {
                self.trouble(Trouble::Unterminated, start);
                return None;
            }
            match self.continuation() {
                Some(next) => self.at = next,
                None => return Some(value),
            }
        }
    }

    /// Reads from an opening quote to behind the closing one; `false` when there is none.
    fn piece(&mut self, value: &mut Decoded, escapes: bool) -> bool {
        self.at += 1;
        while let Some(character) = self.text[self.at..].chars().next() {
            let at = self.at;
            match character {
                '\'' if self.peek(1) == b'\'' => {
                    value.push('\'', at);
                    self.at += 2;
                }
                '\'' => {
                    self.at += 1;
                    return true;
                }
                '\\' if escapes => {
                    let (decoded, length) = strings::backslash(&self.text[at..]);
                    match decoded {
                        Some(decoded) => value.push(decoded, at),
                        None => self.trouble(Trouble::Escape, at),
                    }
                    self.at += length;
                }
                _ => {
                    value.push(character, at);
                    self.at += character.len_utf8();
                }
            }
        }
        false
    }

    /// Returns where a string goes on: a quote behind blanks and comments with a line break.
    fn continuation(&self) -> Option<usize> {
        let (mut at, mut broken) = (self.at, false);
        loop {
            match (self.bytes.get(at)?, self.bytes.get(at + 1)) {
                (b'\n' | b'\r', _) => (at, broken) = (at + 1, true),
                (b' ' | b'\t' | 0x0b | 0x0c, _) => at += 1,
                (b'-', Some(b'-')) => {
                    at += self.bytes[at..].iter().position(|byte| matches!(byte, b'\n' | b'\r'))?;
                }
                (b'\'', _) if broken => return Some(at),
                _ => return None,
            }
        }
    }

    fn bits(&mut self) {
        let start = self.at;
        self.at += 1;
        let Some(value) = self.pieces(start, false) else { return };
        if !value.text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            self.trouble(Trouble::Escape, start);
        }
        self.push(Kind::Bits, start, Some(value));
    }

    fn quoted(&mut self, start: usize, quote: usize) {
        let mut value = Decoded { text: String::new(), marks: vec![(0, quote + 1)] };
        self.at = quote + 1;
        while let Some(character) = self.text[self.at..].chars().next() {
            match character {
                '"' if self.peek(1) == b'"' => {
                    value.push('"', self.at);
                    self.at += 2;
                }
                '"' => {
                    self.at += 1;
                    if value.text.is_empty() {
                        self.trouble(Trouble::EmptyName, start);
                    }
                    return self.push(Kind::Quoted, start, Some(value));
                }
                _ => {
                    value.push(character, self.at);
                    self.at += character.len_utf8();
                }
            }
        }
        self.trouble(Trouble::Unterminated, start);
    }

    fn dollar(&mut self) {
        let start = self.at;
        let rest = &self.text[start + 1..];
        if rest.starts_with(|c: char| c.is_ascii_digit()) {
            self.at += 1;
            while self.peek(0).is_ascii_digit() {
                self.at += 1;
            }
            self.refuse_junk(start);
            return self.push(Kind::Parameter, start, None);
        }
        let is_tag = |c: char| c.is_ascii_alphanumeric() || c == '_' || !c.is_ascii();
        let length = rest.find(|c| !is_tag(c)).unwrap_or(rest.len());
        if !rest[length..].starts_with('$') {
            self.at += 1;
            return self.trouble(Trouble::Character, start);
        }
        let tag = &self.text[start..start + length + 2];
        let inner = start + tag.len();
        let Some(length) = self.text[inner..].find(tag) else {
            self.at = self.bytes.len();
            return self.trouble(Trouble::Unterminated, start);
        };
        let text = self.text[inner..inner + length].to_owned();
        self.at = inner + length + tag.len();
        self.push(Kind::Text, start, Some(Decoded { text, marks: vec![(0, inner)] }));
    }

    fn number(&mut self) {
        let start = self.at;
        let based = self.peek(0) == b'0' && matches!(self.peek(1) | 0x20, b'x' | b'o' | b'b');
        if based && (self.peek(2).is_ascii_hexdigit() || self.peek(2) == b'_') {
            self.at += 2;
            self.digits(|byte| byte.is_ascii_hexdigit() || byte == b'_');
        } else {
            self.decimal();
        }
        self.refuse_junk(start);
        self.push(Kind::Number, start, None);
    }

    fn decimal(&mut self) {
        let digit = |byte: u8| byte.is_ascii_digit() || byte == b'_';
        self.digits(digit);
        // `1..10` is a range, not `1.` and `.10`.
        if self.peek(0) == b'.' && self.peek(1) != b'.' {
            self.at += 1;
            self.digits(digit);
        }
        let sign = usize::from(matches!(self.peek(1), b'+' | b'-'));
        if self.peek(0) | 0x20 == b'e' && self.peek(1 + sign).is_ascii_digit() {
            self.at += 1 + sign;
            self.digits(digit);
        }
    }

    fn digits(&mut self, is_digit: impl Fn(u8) -> bool) {
        while is_digit(self.peek(0)) {
            self.at += 1;
        }
    }

    fn refuse_junk(&mut self, start: usize) {
        if matches!(self.peek(0), b'a'..=b'z' | b'A'..=b'Z' | b'_' | 0x80..) {
            self.trouble(Trouble::Junk, start);
        }
    }

    fn word(&mut self) {
        let start = self.at;
        let part = |byte: &u8| matches!(byte, b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'$' | 0x80..);
        let rest = &self.bytes[start..];
        self.at = start + rest.iter().position(|byte| !part(byte)).unwrap_or(rest.len());
        self.push(Kind::Word, start, None);
    }

    /// A command of psql takes the rest of its line.
    fn meta_command(&mut self) {
        self.trouble(Trouble::Backslash, self.at);
        let rest = &self.bytes[self.at..];
        let length = rest.iter().position(|byte| matches!(byte, b'\n' | b'\r'));
        self.at += length.unwrap_or(rest.len());
    }

    fn symbol(&mut self, byte: u8) {
        const SYMBOLS: &[u8] = b",()[].;:+-*/<>=~!@#%^&|`?";
        if !SYMBOLS.contains(&byte) {
            self.trouble(Trouble::Character, self.at);
        }
        self.at += 1;
        self.push(Kind::Symbol(byte), self.at - 1, None);
        if byte == b';' && self.is_file {
            self.skip_data();
        }
    }

    /// Steps over the lines of data behind `COPY … FROM STDIN;`, which are no SQL. The statement
    /// itself is refused, so nothing that is skipped here could run. In a body `copy` may be a variable.
    fn skip_data(&mut self) {
        let is = |token: &Token, word: &str| {
            token.kind == Kind::Word && self.text[token.start..token.end].eq_ignore_ascii_case(word)
        };
        let statement = self.out.tokens.rsplit(|token| token.kind == Kind::Symbol(b';')).nth(1);
        let statement = statement.unwrap_or_default();
        let copies = statement.first().is_some_and(|token| is(token, "copy"))
            && statement.windows(2).any(|pair| is(&pair[0], "from") && is(&pair[1], "stdin"));
        let data = if copies { &self.text[self.at..] } else { "" };
        if let Some(length) = data.find("\n\\.") {
            self.at += length + "\n\\.".len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(text: &str) -> Vec<String> {
        let lexed = read(text, true);
        assert_eq!(lexed.problems, [], "{text}");
        let value = |token: &Token| match &token.value {
            Some(value) => format!("{:?}:{}", token.kind, value.text),
            None => text[token.start..token.end].to_owned(),
        };
        lexed.tokens.iter().map(value).collect()
    }

    #[test]
    fn tokens_end_where_the_server_ends_them() {
        for (text, expected) in [
            ("a--b\rc", &["a", "c"][..]),
            ("a/* /* */ */b", &["a", "b"]),
            ("a$$b", &["a$$b"]),
            ("$a$ $b$ $$ $a$", &["Text: $b$ $$ "]),
            ("$$a$b$$", &["Text:a$b"]),
            ("'a'\n'b'", &["Text:ab"]),
            ("'a' -- c\n  -- d\n 'b'", &["Text:ab"]),
            ("'a' 'b'", &["Text:a", "Text:b"]),
            ("'a' /* */\n 'b'", &["Text:a", "Text:b"]),
            ("'a' -- 'b'", &["Text:a"]),
            // The second piece keeps the escapes of the first: `\'` does not end it.
            ("E'a'\n'\\' , '", &["Text:a' , "]),
            (r"E'\x41\101\u0041\U00000041\n\q'", &["Text:AAAA\nq"]),
            (r"'\'", &["Text:\\"]),
            ("N'x'", &["Text:x"]),
            (r"U&'\0041' x", &["Text:A", "x"]),
            (r"U&'!0041' UESCAPE '!'", &["Text:A"]),
            (r#"U&"d\0061t\+000061" UESCAPE /* */ '\'"#, &["Quoted:data"]),
            (r#"U&"d!0061t!!" uescape $$!$$"#, &["Quoted:dat!"]),
            ("\"a\"\"b\"", &["Quoted:a\"b"]),
            ("1..10", &["1", ".", ".", "10"]),
            ("1.5e-3.a", &["1.5e-3", ".", "a"]),
            ("\u{a0}x", &["\u{a0}x"]),
            ("$1::int", &["$1", ":", ":", "int"]),
            ("x'1f'\n'a'", &["Bits:1fa"]),
            ("i IN 1..3", &["i", "IN", "1", ".", ".", "3"]),
        ] {
            assert_eq!(values(text), expected, "{text}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_said() {
        for (text, trouble) in [
            ("\\c x", Trouble::Backslash),
            ("\u{feff}SELECT 1", Trouble::Mark),
            ("'a", Trouble::Unterminated),
            ("$a$ $b$", Trouble::Unterminated),
            ("/* /* */", Trouble::Unterminated),
            ("\"", Trouble::Unterminated),
            ("\"\"", Trouble::EmptyName),
            (r"E'\u12'", Trouble::Escape),
            (r"U&'\12'", Trouble::Escape),
            (r"U&'x' UESCAPE '+'", Trouble::Escape),
            ("1a", Trouble::Junk),
            ("$1a", Trouble::Junk),
            ("a\0b", Trouble::Character),
            ("{", Trouble::Character),
            ("$", Trouble::Character),
        ] {
            assert_eq!(
                read(text, true).problems.first().map(|p| p.trouble),
                Some(trouble),
                "{text}"
            );
        }
    }
}
