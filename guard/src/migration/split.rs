//! Where statements begin and end.

use super::lexer::Kind;
use super::source::Source;

/// Returns the statements of a text as ranges of tokens, without the semicolons between them.
///
/// A semicolon within brackets (the actions of a rule) or between `BEGIN ATOMIC` and its `END` ends
/// nothing. A cut at a wrong place could only leave pieces that the grammar refuses.
pub(super) fn statements(source: &Source<'_>) -> Vec<(usize, usize)> {
    let mut statements = Vec::new();
    let (mut start, mut brackets, mut blocks) = (0, 0_usize, 0_usize);
    for (index, token) in source.tokens.iter().enumerate() {
        match token.kind {
            Kind::Symbol(b'(' | b'[') => brackets += 1,
            Kind::Symbol(b')' | b']') => brackets = brackets.saturating_sub(1),
            Kind::Symbol(b';') if brackets == 0 && blocks == 0 => {
                statements.push((start, index));
                start = index + 1;
            }
            Kind::Word => blocks = blocks_after(source, index, blocks),
            _ => {}
        }
    }
    statements.push((start, source.tokens.len()));
    statements.retain(|(start, end)| start < end);
    statements
}

fn blocks_after(source: &Source<'_>, index: usize, blocks: usize) -> usize {
    if source.is_word(index, "begin") && source.is_word(index + 1, "atomic") {
        return blocks + 1;
    }
    match blocks {
        0 => 0,
        _ if source.is_word(index, "case") => blocks + 1,
        _ if source.is_word(index, "end") => blocks - 1,
        _ => blocks,
    }
}
