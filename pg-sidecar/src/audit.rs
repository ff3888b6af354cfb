//! What a client asks for that would matter if the rights of its role were wrong: seen and said, and
//! never stopped.
//!
//! An audit is no protection. Words in a constant count, and a text that is put together at the server
//! does not: who wants to hide hides. Nothing is parsed and no text is repeated. Memory is one word,
//! whatever the client sends.

use serde::Serialize;

use crate::frames::{Cutter, Piece};

/// What was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Kind {
    /// A function was called by its object id, without a statement.
    FastPath,
    /// `ALTER ROLE` or `ALTER USER`, then `PASSWORD`.
    RolePassword,
    /// A word that begins with `dblink`.
    Dblink,
    /// `COPY`, then `PROGRAM`.
    CopyProgram,
}

/// Hears of what was seen, each kind once in a message.
pub(crate) type Hearer = Box<dyn FnMut(Kind)>;

/// Follows what one client says from behind its login.
pub(crate) struct Audit {
    cutter: Cutter,
    words: Words,
    said: Vec<Kind>,
    hearer: Hearer,
}

impl std::fmt::Debug for Audit {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Audit").finish_non_exhaustive()
    }
}

impl Audit {
    /// Begins behind the login.
    pub(crate) fn new(hearer: Hearer) -> Self {
        let (cutter, words) = (Cutter::default(), Words::default());
        Self { cutter, words, said: Vec::new(), hearer }
    }

    /// Looks at bytes of the client.
    pub(crate) fn client_spoke(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            match self.cutter.cut(&mut bytes) {
                Piece::Begins(kind) => {
                    self.words = Words::default();
                    self.said.clear();
                    if kind == b'F' {
                        self.say(Kind::FastPath);
                    }
                }
                Piece::Content(b'Q' | b'P', text) => self.read(text),
                Piece::Content(..) | Piece::Header => {}
            }
        }
    }

    fn read(&mut self, text: &[u8]) {
        for byte in text {
            if let Some(kind) = self.words.next(*byte) {
                self.say(kind);
            }
        }
    }

    fn say(&mut self, kind: Kind) {
        if !self.said.contains(&kind) {
            self.said.push(kind);
            (self.hearer)(kind);
        }
    }
}

/// Letters of a word that are kept; none that is looked for is longer.
const KEPT: usize = 8;

/// The present word of a statement and what came before it. Every text ends with a NUL, so that the
/// last word is ended too.
#[derive(Default)]
struct Words {
    word: [u8; KEPT],
    length: usize,
    before: Before,
    copies: bool,
}

/// What the words so far may become.
#[derive(Default, Clone, Copy, PartialEq, Eq)]
enum Before {
    #[default]
    Nothing,
    Alter,
    AlterRole,
}

impl Words {
    fn next(&mut self, byte: u8) -> Option<Kind> {
        if byte.is_ascii_alphanumeric() || b"_$".contains(&byte) || !byte.is_ascii() {
            if let Some(free) = self.word.get_mut(self.length) {
                *free = byte.to_ascii_lowercase();
            }
            self.length = self.length.saturating_add(1);
            return None;
        }
        let seen = if self.length == 0 { None } else { self.end_word() };
        if byte == b';' || byte == 0 {
            *self = Self::default();
        }
        seen
    }

    fn end_word(&mut self) -> Option<Kind> {
        let length = std::mem::take(&mut self.length);
        let word = &self.word[..length.min(KEPT)];
        if word.starts_with(b"dblink") {
            return Some(Kind::Dblink);
        }
        let word = if length > KEPT { &[] } else { word };
        let before = self.before;
        self.before = match (before, word) {
            (_, b"alter") => Before::Alter,
            (Before::Alter, b"role" | b"user") | (Before::AlterRole, _) => Before::AlterRole,
            _ => Before::Nothing,
        };
        self.copies |= word == b"copy";
        match word {
            b"password" if before == Before::AlterRole => Some(Kind::RolePassword),
            b"program" if self.copies => Some(Kind::CopyProgram),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;

    use super::*;
    use crate::message::message;

    /// Gives bytes in pieces of a size and returns what was heard.
    fn heard(bytes: &[u8], piece: usize) -> Vec<Kind> {
        let kinds = Rc::<RefCell<Vec<Kind>>>::default();
        let hearer = Rc::clone(&kinds);
        let mut audit = Audit::new(Box::new(move |kind| hearer.borrow_mut().push(kind)));
        bytes.chunks(piece).for_each(|bytes| audit.client_spoke(bytes));
        kinds.take()
    }

    fn query(text: &str) -> Vec<u8> {
        message(b'Q', format!("{text}\0").as_bytes())
    }

    #[test]
    fn what_is_looked_for_is_seen_and_its_neighbours_are_not() {
        use Kind::{CopyProgram, Dblink, RolePassword};
        for (text, expected) in [
            ("ALTER ROLE slot_1 WITH ENCRYPTED PASSWORD 'x'", Some(RolePassword)),
            ("alter user\nslot_1 password null", Some(RolePassword)),
            ("select 1; Alter Role x PASSWORD 'y'; select 2", Some(RolePassword)),
            ("ALTER ROLE slot_1 SET work_mem = 1; SELECT password FROM accounts", None),
            ("ALTER TABLE role ADD COLUMN password text", None),
            ("SELECT * FROM dblink('x', 'y') AS t (a int)", Some(Dblink)),
            ("SELECT public.dblink_connect_u('x')", Some(Dblink)),
            ("SELECT my_dblink()", None),
            ("COPY t FROM PROGRAM 'id'", Some(CopyProgram)),
            ("copy (select 1) to\tprogram'id'", Some(CopyProgram)),
            ("COPY t FROM STDIN; SELECT program FROM tv", None),
            ("SELECT programs FROM copy", None),
            ("SELECT 'passwordpasswordpassword'", None),
            ("", None),
        ] {
            let expected: Vec<Kind> = expected.into_iter().collect();
            let parse = message(b'P', format!("name\0{text}\0\0\0").as_bytes());
            for bytes in [query(text), parse] {
                for piece in [1, 2, 3, 7, 1000] {
                    assert_eq!(heard(&bytes, piece), expected, "{text} by {piece}");
                }
            }
        }
    }

    #[test]
    fn a_kind_is_said_once_in_a_message_and_again_in_the_next() {
        let twice = query("SELECT dblink(); COPY t TO PROGRAM 'x'; SELECT dblink()");
        let stream = [twice, message(b'd', b"dblink "), query("SELECT 1, dblink()")].concat();
        assert_eq!(heard(&stream, 5), [Kind::Dblink, Kind::CopyProgram, Kind::Dblink]);
        let call = message(b'F', &[0, 0, 4, 210, 0, 0, 0, 0, 0, 1]);
        assert_eq!(heard(&[call.clone(), call].concat(), 3), [Kind::FastPath, Kind::FastPath]);
        // A word does not go on from one message to the next.
        assert_eq!(heard(&[message(b'Q', b"dbl"), query("ink")].concat(), 4), []);
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_in_any_pieces_are_heard_alike(bytes: Vec<u8>, piece in 1usize..50) {
            let stream = [message(b'Q', &bytes), query("dblink"), bytes].concat();
            proptest::prop_assert_eq!(heard(&stream, piece), heard(&stream, stream.len()));
        }
    }
}
