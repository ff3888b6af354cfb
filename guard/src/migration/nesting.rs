//! Bounds on what is handed to the grammar, which calls itself once for each level.

use super::lexer::Kind;
use super::source::Source;

/// Brackets and `CASE`s within each other, or operators in front of each other.
const MOST_LEVELS: usize = 100;

/// Tokens in a row without a comma; a chain of operators becomes a tree as deep as it is long.
const LONGEST_CHAIN: usize = 4000;

/// Words after which a statement or a relation stands within another one.
const OPENERS: [&str; 5] = ["join", "explain", "prepare", "schema", "setof"];

/// Says whether a statement is nested deeper than any that people write.
pub(super) fn is_too_deep(source: &Source<'_>, start: usize, end: usize) -> bool {
    let (mut brackets, mut cases, mut chain, mut run, mut openers) = (0_usize, 0_usize, 0, 0, 0);
    for index in start..end {
        chain += 1;
        let prefix = match source.tokens[index].kind {
            Kind::Symbol(b'(' | b'[') => {
                brackets += 1;
                false
            }
            Kind::Symbol(b')' | b']') => {
                brackets = brackets.saturating_sub(1);
                false
            }
            Kind::Symbol(b',') => {
                chain = 0;
                false
            }
            Kind::Symbol(b'.') => false,
            Kind::Symbol(_) => true,
            Kind::Word if source.is_word(index, "case") => {
                cases += 1;
                false
            }
            Kind::Word if source.is_word(index, "end") => {
                cases = cases.saturating_sub(1);
                false
            }
            Kind::Word => {
                openers += usize::from(OPENERS.iter().any(|word| source.is_word(index, word)));
                source.is_word(index, "not")
            }
            _ => false,
        };
        run = if prefix { run + 1 } else { 0 };
        let levels = [brackets + cases, run, openers];
        if chain > LONGEST_CHAIN || levels.iter().any(|level| *level > MOST_LEVELS) {
            return true;
        }
    }
    false
}
