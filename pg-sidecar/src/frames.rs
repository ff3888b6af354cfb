//! Where messages begin, and whether a session is between transactions.
//!
//! Of a server's only headers are looked at. It is what makes it possible to say something to a client in the
//! middle of a session without cutting a message in two.

/// Bytes of a header: the kind and the length.
const HEADER: usize = 5;

/// Cuts what one side says at the boundaries of its messages, however the bytes come.
#[derive(Debug, Default)]
pub(crate) struct Cutter {
    header: [u8; HEADER],
    /// How much of the header was seen.
    seen: u8,
    /// How much of the content is still to come.
    left: u32,
}

/// A piece of a message.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Piece<'a> {
    /// A part of a header that is not whole yet.
    Header,
    /// The end of a header: a message of this kind begins.
    Begins(u8),
    /// A piece of the content of a message of this kind, never empty.
    Content(u8, &'a [u8]),
}

impl Cutter {
    /// Takes the next piece off the front of bytes that are not empty.
    pub(crate) fn cut<'a>(&mut self, bytes: &mut &'a [u8]) -> Piece<'a> {
        let have = usize::from(self.seen);
        if self.left > 0 {
            let step = bytes.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
            let content = take(bytes, step);
            self.left -= u32::try_from(step).unwrap_or(self.left);
            self.seen = if self.left == 0 { 0 } else { self.seen };
            return Piece::Content(self.header[0], content);
        }
        let part = take(bytes, bytes.len().min(HEADER - have));
        self.header[have..have + part.len()].copy_from_slice(part);
        self.seen += u8::try_from(part.len()).unwrap_or_default();
        if usize::from(self.seen) < HEADER {
            return Piece::Header;
        }
        let [kind, length @ ..] = self.header;
        self.left = u32::from_be_bytes(length).saturating_sub(4);
        self.seen = if self.left == 0 { 0 } else { self.seen };
        Piece::Begins(kind)
    }

    /// Returns whether the next byte begins a message.
    fn at_boundary(&self) -> bool {
        self.seen == 0
    }
}

fn take<'a>(bytes: &mut &'a [u8], length: usize) -> &'a [u8] {
    let (front, rest) = bytes.split_at(length);
    *bytes = rest;
    front
}

/// Follows one session from its first `ReadyForQuery`.
#[derive(Debug)]
pub(crate) struct Frames {
    cutter: Cutter,
    /// What `ReadyForQuery` said last.
    status: u8,
    /// Whether the client has said something since.
    asked: bool,
}

impl Frames {
    /// Begins behind the `ReadyForQuery` of the login.
    pub(crate) fn new() -> Self {
        Self { cutter: Cutter::default(), status: b'I', asked: false }
    }

    /// Notes that the client says something.
    pub(crate) fn client_spoke(&mut self) {
        self.asked = true;
    }

    /// Looks at bytes of the server.
    pub(crate) fn server_spoke(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if let Piece::Content(b'Z', status) = self.cutter.cut(&mut bytes) {
                (self.status, self.asked) = (status[0], false);
            }
        }
    }

    /// Returns whether the next byte of the server begins a message.
    pub(crate) fn at_boundary(&self) -> bool {
        self.cutter.at_boundary()
    }

    /// Returns whether nothing is under way: no transaction, and no answer to come.
    pub(crate) fn idle(&self) -> bool {
        self.at_boundary() && self.status == b'I' && !self.asked
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::message;

    fn ready(status: u8) -> Vec<u8> {
        message(b'Z', &[status])
    }

    #[test]
    fn boundaries_are_found_however_the_bytes_come() {
        let stream = [message(b'D', &[7; 300]), message(b'C', b""), ready(b'I')].concat();
        let ends = [305, 310, 316];
        for piece in [1, 2, 3, 4, 5, 6, 100, 1000] {
            let (mut frames, mut at) = (Frames::new(), 0);
            for bytes in stream.chunks(piece) {
                frames.server_spoke(bytes);
                at += bytes.len();
                assert_eq!(frames.at_boundary(), ends.contains(&at), "{piece} {at}");
            }
        }
    }

    #[test]
    fn idle_is_between_transactions_and_with_no_answer_to_come() {
        let mut frames = Frames::new();
        assert!(frames.idle());
        frames.client_spoke();
        assert!(!frames.idle());
        for (status, idle) in [(b'T', false), (b'E', false), (b'I', true)] {
            frames.client_spoke();
            frames.server_spoke(&ready(status));
            assert_eq!(frames.idle(), idle, "{status}");
        }
        frames.server_spoke(b"N");
        assert!(!frames.idle() && !frames.at_boundary());
    }
}
