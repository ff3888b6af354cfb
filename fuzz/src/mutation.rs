//! Making an input from others: small steps that keep most of what was interesting.

use crate::random::Random;

/// Longest input that is made; a little more than the longest text any target reads whole.
pub const MAX_INPUT: usize = 2048;

/// Returns a changed copy of `input`, with 1 to 4 changes.
#[must_use]
pub fn mutate(
    input: &[u8],
    corpus: &[Vec<u8>],
    dictionary: &[&str],
    random: &mut Random,
) -> Vec<u8> {
    let mut changed = input.to_vec();
    for _ in 0..=random.below(4) {
        change(&mut changed, corpus, dictionary, random);
    }
    changed.truncate(MAX_INPUT);
    changed
}

fn change(input: &mut Vec<u8>, corpus: &[Vec<u8>], dictionary: &[&str], random: &mut Random) {
    match random.below(9) {
        0 => flip_bit(input, random),
        1 => replace_byte(input, random),
        2 => insert(input, &[random.byte()], random),
        3 => drop(input.drain(range(input.len(), random))),
        4 => {
            let piece = input[range(input.len(), random)].to_vec();
            insert(input, &piece, random);
        }
        5 => splice(input, corpus, random),
        6 => overwrite(input, dictionary, random),
        _ => {
            let token = random.choose(dictionary).copied().unwrap_or_default();
            insert(input, token.as_bytes(), random);
        }
    }
}

fn flip_bit(input: &mut [u8], random: &mut Random) {
    let at = random.below(input.len());
    if let Some(byte) = input.get_mut(at) {
        *byte ^= 1 << random.below(8);
    }
}

/// Puts a printable byte somewhere: most readers refuse the others at once.
fn replace_byte(input: &mut [u8], random: &mut Random) {
    let at = random.below(input.len());
    if let Some(byte) = input.get_mut(at) {
        *byte = b' ' + random.byte() % 95;
    }
}

fn insert(input: &mut Vec<u8>, piece: &[u8], random: &mut Random) {
    let at = random.below(input.len() + 1);
    input.splice(at..at, piece.iter().copied());
}

/// Continues the input with the end of another one.
fn splice(input: &mut Vec<u8>, corpus: &[Vec<u8>], random: &mut Random) {
    let Some(other) = random.choose(corpus) else { return };
    input.truncate(random.below(input.len() + 1));
    input.extend_from_slice(&other[random.below(other.len() + 1)..]);
}

/// Puts a token in the place of a piece.
fn overwrite(input: &mut Vec<u8>, dictionary: &[&str], random: &mut Random) {
    let token = random.choose(dictionary).copied().unwrap_or_default();
    input.splice(range(input.len(), random), token.bytes());
}

/// Returns a range of up to 24 bytes, or now and then of any length.
fn range(length: usize, random: &mut Random) -> std::ops::Range<usize> {
    let start = random.below(length);
    let most = if random.below(8) == 0 { length } else { 24.min(length) };
    start..(start + random.below(most + 1)).min(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_input_can_be_changed_and_stays_bounded() {
        let mut random = Random::new(3);
        let corpus = [b"".to_vec(), b"abc".to_vec(), vec![b'x'; MAX_INPUT]];
        let mut changed_at_all = 0;
        for round in 0..3000 {
            let input = &corpus[round % corpus.len()];
            let changed = mutate(input, &corpus, &["token", ""], &mut random);
            assert!(changed.len() <= MAX_INPUT);
            changed_at_all += usize::from(changed != *input);
        }
        assert!(changed_at_all > 1500, "{changed_at_all}");
    }

    #[test]
    fn tokens_reach_the_input() {
        let mut random = Random::new(4);
        let found = (0..200).any(|_| mutate(b"", &[], &["token"], &mut random) == b"token");
        assert!(found);
    }
}
