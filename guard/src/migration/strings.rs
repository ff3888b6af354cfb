//! Escapes of string constants and names: backslashes of `E''`, and `U&` with its `UESCAPE`.

use super::lexer::{Decoded, Kind, Lexed, Problem, Trouble};

/// Reads an escape of an `E''` string at its backslash: the character and the bytes it takes.
pub(super) fn backslash(text: &str) -> (Option<char>, usize) {
    let rest = &text[1..];
    let Some(letter) = rest.chars().next() else { return (None, 1) };
    let plain = |character| (Some(character), 1 + letter.len_utf8());
    match letter {
        'b' => plain('\u{8}'),
        'f' => plain('\u{c}'),
        'n' => plain('\n'),
        'r' => plain('\r'),
        't' => plain('\t'),
        'v' => plain('\u{b}'),
        '0'..='7' => number(rest, 0, 8, 3),
        'x' if rest[1..].starts_with(|c: char| c.is_ascii_hexdigit()) => number(rest, 1, 16, 2),
        'u' => exactly(rest, 4),
        'U' => exactly(rest, 8),
        other => plain(other),
    }
}

/// Reads up to `most` digits behind `skip` letters. Bytes above ASCII could complete a character
/// with their neighbours; that is refused rather than put together.
fn number(rest: &str, skip: usize, radix: u32, most: usize) -> (Option<char>, usize) {
    let digits =
        rest[skip..].bytes().take(most).take_while(|byte| char::from(*byte).is_digit(radix));
    let length = skip + digits.count();
    let value = u32::from_str_radix(&rest[skip..length], radix).ok();
    let ascii = value.filter(|value| (1..=0x7f).contains(value)).and_then(char::from_u32);
    (ascii, 1 + length)
}

fn exactly(rest: &str, digits: usize) -> (Option<char>, usize) {
    let read = rest.get(1..=digits).filter(|text| text.bytes().all(|b| b.is_ascii_hexdigit()));
    let value = read.and_then(|text| u32::from_str_radix(text, 16).ok()).filter(|value| *value > 0);
    match value.and_then(char::from_u32) {
        Some(character) => (Some(character), 1 + 1 + digits),
        None => (None, 2),
    }
}

/// Decodes every `U&` token, with the escape character that a `UESCAPE` behind it sets, and takes
/// those clauses out.
pub(super) fn resolve_unicode_escapes(text: &str, lexed: &mut Lexed) {
    let mut index = 0;
    while index < lexed.tokens.len() {
        let token = &lexed.tokens[index];
        let (kind, start) = (token.kind, token.start);
        let written = &text[start..token.end];
        if !matches!(kind, Kind::Text | Kind::Quoted) || !is_unicode(written) {
            index += 1;
            continue;
        }
        let escape = clause(text, lexed, index);
        let decoded = lexed.tokens[index].value.as_deref().and_then(|value| match escape {
            Ok(character) => decode(value, character),
            Err(()) => None,
        });
        match decoded {
            Some(value) => lexed.tokens[index].value = Some(Box::new(value)),
            None => lexed.problems.push(Problem { trouble: Trouble::Escape, at: start }),
        }
        index += 1;
    }
}

fn is_unicode(written: &str) -> bool {
    written.as_bytes().get(1) == Some(&b'&')
}

/// Takes a `UESCAPE 'c'` behind a token out and returns its character, or the usual one.
fn clause(text: &str, lexed: &mut Lexed, index: usize) -> Result<char, ()> {
    let is_uescape = lexed.tokens.get(index + 1).is_some_and(|token| {
        token.kind == Kind::Word && text[token.start..token.end].eq_ignore_ascii_case("uescape")
    });
    if !is_uescape {
        return Ok('\\');
    }
    let value = lexed.tokens.get(index + 2).filter(|token| token.kind == Kind::Text);
    let mut characters = value.and_then(|token| token.value.as_ref()).ok_or(())?.text.chars();
    let escape = characters.next().filter(|_| characters.next().is_none()).ok_or(())?;
    lexed.tokens.drain(index + 1..index + 3);
    let refused = escape.is_ascii_hexdigit() || "+'\"".contains(escape) || escape.is_whitespace();
    if refused || !escape.is_ascii() { Err(()) } else { Ok(escape) }
}

fn decode(value: &Decoded, escape: char) -> Option<Decoded> {
    let place = |offset: usize| {
        let index = value.marks.partition_point(|(decoded, _)| *decoded <= offset);
        let (decoded, source) = value.marks[index.saturating_sub(1)];
        source + (offset - decoded)
    };
    let mut out =
        Decoded { text: String::new(), marks: value.marks.first().copied().into_iter().collect() };
    let mut rest = value.text.as_str();
    while let Some(character) = rest.chars().next() {
        let at = place(value.text.len() - rest.len());
        if character != escape {
            out.push(character, at);
            rest = &rest[character.len_utf8()..];
            continue;
        }
        let (decoded, length) = unicode(&rest[1..], escape)?;
        out.push(decoded, at);
        rest = &rest[1 + length..];
    }
    Some(out)
}

/// Reads what follows an escape character: itself, four digits, or `+` and six; pairs of
/// surrogates become one character.
fn unicode(rest: &str, escape: char) -> Option<(char, usize)> {
    if rest.starts_with(escape) {
        return Some((escape, 1));
    }
    let (first, length) = code_point(rest)?;
    if !(0xd800..0xdc00).contains(&first) {
        return Some((char::from_u32(first).filter(|c| *c != '\0')?, length));
    }
    let (second, more) = code_point(rest[length..].strip_prefix(escape)?)?;
    let low = second.checked_sub(0xdc00).filter(|low| *low < 0x400)?;
    let character = char::from_u32(0x1_0000 + ((first - 0xd800) << 10) + low)?;
    Some((character, length + 1 + more))
}

fn code_point(rest: &str) -> Option<(u32, usize)> {
    let (skip, digits) = if rest.starts_with('+') { (1, 6) } else { (0, 4) };
    let text =
        rest.get(skip..skip + digits).filter(|t| t.bytes().all(|b| b.is_ascii_hexdigit()))?;
    Some((u32::from_str_radix(text, 16).ok()?, skip + digits))
}
