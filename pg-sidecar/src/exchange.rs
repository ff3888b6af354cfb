//! Reading whole messages of a login, one at a time and bounded.

use std::io;

use crate::stream::Stream;

/// A socket and what was read of it beyond the present message.
pub(crate) struct Exchange {
    stream: Stream,
    read: Vec<u8>,
}

/// One message; it may hold a password, so it is not printed.
pub(crate) struct Message {
    pub(crate) kind: u8,
    /// The whole message, header included.
    pub(crate) bytes: Vec<u8>,
}

impl Message {
    /// Returns what stands behind the header.
    pub(crate) fn content(&self) -> &[u8] {
        &self.bytes[HEADER..]
    }
}

const HEADER: usize = 5;

impl Exchange {
    /// Begins with what was read already.
    pub(crate) fn new(stream: Stream, read: Vec<u8>) -> Self {
        Self { stream, read }
    }

    /// Sends bytes.
    pub(crate) async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.say(bytes).await
    }

    /// Reads the next message.
    ///
    /// # Errors
    /// `UnexpectedEof` at an orderly end; `InvalidData` for a length out of bounds.
    pub(crate) async fn message(&mut self, longest: usize) -> io::Result<Message> {
        loop {
            if let Some(message) = take_message(&mut self.read, longest)? {
                return Ok(message);
            }
            let bytes = self.stream.read_some().await?;
            if bytes.is_empty() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.read.extend_from_slice(&bytes);
        }
    }

    /// Returns the socket and what was read beyond the last message.
    pub(crate) fn into_parts(self) -> (Stream, Vec<u8>) {
        (self.stream, self.read)
    }
}

/// Takes one message off the front, if it is whole.
fn take_message(read: &mut Vec<u8>, longest: usize) -> io::Result<Option<Message>> {
    let Some(([kind, length @ ..], _)) = read.split_first_chunk::<HEADER>() else {
        return Ok(None);
    };
    let (kind, length) = (*kind, usize::try_from(u32::from_be_bytes(*length)).unwrap_or(0));
    if length < 4 || length > longest {
        return Err(io::ErrorKind::InvalidData.into());
    }
    if read.len() <= length {
        return Ok(None);
    }
    let rest = read.split_off(length + 1);
    Ok(Some(Message { kind, bytes: std::mem::replace(read, rest) }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::message;

    #[test]
    fn messages_come_off_the_front_whole_and_bounded() {
        let mut read = [message(b'p', b"abc"), message(b'Q', b""), b"x".to_vec()].concat();
        let mut take = |longest| take_message(&mut read, longest);
        assert_eq!(take(6).err().map(|error| error.kind()), Some(io::ErrorKind::InvalidData));
        let first = take(7).unwrap().unwrap();
        assert_eq!((first.kind, first.content()), (b'p', &b"abc"[..]));
        assert_eq!(take(4).unwrap().unwrap().kind, b'Q');
        assert!(take(4).unwrap().is_none());
        assert_eq!(read, b"x");
        let mut short = vec![b'p', 0, 0, 0, 3];
        assert!(take_message(&mut short, 9).is_err());
        let mut begun = message(b'p', b"abc");
        begun.pop();
        assert!(take_message(&mut begun, 9).unwrap().is_none());
    }
}
