//! The messages of the protocol that this program writes itself.

use guard::diagnostic::Denial;

/// Builds one message: its kind, its length, its content.
pub(crate) fn message(kind: u8, content: &[u8]) -> Vec<u8> {
    let mut bytes = vec![kind];
    bytes.extend(framed(content));
    bytes
}

/// Builds a message without a kind, as those are that open a connection.
pub(crate) fn framed(content: &[u8]) -> Vec<u8> {
    // Content is made here or was received with a bound far below four gigabytes.
    let length = u32::try_from(content.len() + 4).unwrap_or(u32::MAX);
    let mut bytes = length.to_be_bytes().to_vec();
    bytes.extend_from_slice(content);
    bytes
}

/// Appends a text and its end; a NUL inside would end it early, so it is left out.
pub(crate) fn put_text(bytes: &mut Vec<u8>, text: &[u8]) {
    bytes.extend(text.iter().filter(|byte| **byte != 0));
    bytes.push(0);
}

/// The SQLSTATEs that refusals carry.
pub(crate) mod sqlstate {
    pub(crate) const CONNECTION_FAILURE: &str = "08006";
    pub(crate) const PROTOCOL_VIOLATION: &str = "08P01";
    pub(crate) const INVALID_AUTHORIZATION: &str = "28000";
    pub(crate) const INVALID_PASSWORD: &str = "28P01";
    pub(crate) const TOO_MANY_CONNECTIONS: &str = "53300";
    pub(crate) const ADMIN_SHUTDOWN: &str = "57P01";
    pub(crate) const CANNOT_CONNECT_NOW: &str = "57P03";
}

/// Builds the error that ends a session, with what was found, what was expected and what to do.
pub(crate) fn fatal(sqlstate: &str, denial: &Denial) -> Vec<u8> {
    let detail = format!("found {}, expected {}", denial.found(), denial.expected());
    let message_text = format!("{}: {}", denial.code(), denial.message());
    let mut content = Vec::new();
    for (field, text) in [
        (b'S', "FATAL"),
        (b'V', "FATAL"),
        (b'C', sqlstate),
        (b'M', &message_text),
        (b'D', &detail),
        (b'H', denial.next_step()),
    ] {
        content.push(field);
        put_text(&mut content, text.as_bytes());
    }
    content.push(0);
    message(b'E', &content)
}

#[cfg(test)]
mod tests {
    use guard::diagnostic::Code;

    use super::*;

    #[test]
    fn an_error_is_one_message_whose_texts_hold_no_nul() {
        let denial = Denial::new(Code::WireRole, "m\0m", "f", "e").help("h");
        let bytes = fatal(sqlstate::INVALID_AUTHORIZATION, &denial);
        assert_eq!(bytes[0], b'E');
        let length = u32::from_be_bytes(bytes[1..5].try_into().unwrap());
        assert_eq!(usize::try_from(length).unwrap() + 1, bytes.len());
        let expected = b"SFATAL\0VFATAL\0C28000\0MSG8714: mm\0Dfound f, expected e\0Hh\0\0";
        assert_eq!(&bytes[5..], expected);
    }
}
