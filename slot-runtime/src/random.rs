//! Texts that nobody can guess.

use std::fmt::Write as _;

use rustix::rand::{GetRandomFlags, getrandom};

/// Most bytes of one text; the kernel hands out so many at once or none.
const MOST: usize = 256;

/// Returns so many of the system's random bytes, at most 256, as hexadecimal digits.
///
/// # Errors
/// Returns the system's error.
pub fn hex(bytes: usize) -> Result<String, std::io::Error> {
    let mut buffer = [0; MOST];
    let wanted = buffer.get_mut(..bytes).ok_or(std::io::ErrorKind::InvalidInput)?;
    if getrandom(&mut *wanted, GetRandomFlags::empty())? != bytes {
        return Err(std::io::ErrorKind::UnexpectedEof.into());
    }
    Ok(wanted.iter().fold(String::new(), |mut text, byte| {
        // Writing to a text cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_as_long_as_asked_and_never_the_same() {
        let texts = [hex(24).unwrap(), hex(24).unwrap()];
        assert!(texts.iter().all(|text| text.len() == 48) && texts[0] != texts[1]);
        assert_eq!(hex(MOST).unwrap().len(), 2 * MOST);
        assert!(hex(MOST + 1).is_err());
    }
}
