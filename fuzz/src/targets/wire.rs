//! `pg_sidecar::handshake`: one verdict however the bytes come, and only the slot's own names start.

use pg_sidecar::handshake::{Handshake, LONGEST, Refusal, Rules, Startup, Step};

use super::{SECRET, Target, refused};
use crate::engine::Signature;

pub(super) const TARGET: Target = Target {
    name: "wire",
    check,
    #[rustfmt::skip]
    dictionary: &[
        "user\0slot_1\0", "database\0app_preview_1\0", "database\0app_production\0", "user\0postgres\0",
        "replication\0true\0", "replication\0false\0", "options\0-c x=1\0", "search_path\0hunter2\0",
        "_pq_.x\0y\0", "application_name\0hunter2\0", "DateStyle\0ISO\0", "datestyle\0ISO\0", "\0", "\0\0",
        "\0\0\0\x08\x04\u{d2}\x16/", "\0\x03\0\0", "\0\x03\0\x02", "\0\0\0\x08", "\0\0\0\x10", "\x16\x03\x01", "GET ",
    ],
};

fn check(input: &[u8]) -> Signature {
    let whole = verdict(input, input.len().max(1));
    for piece in [1, 3, 7] {
        assert_eq!(verdict(input, piece), whole, "the pieces matter");
    }
    let (answers, step) = whole;
    match step {
        Step::Refuse(refusal) => told(&refusal),
        Step::Start(startup) => started(input, &startup),
        Step::Cancel(key) => format!("cancel {answers} {}", key.secret.len() / 16),
        Step::Wait | Step::Answer(_) => format!("wait {answers}"),
    }
}

fn rules() -> Rules {
    #[expect(clippy::expect_used, reason = "a spelling that `slot` tries too")]
    let slot = "preview-1".parse().expect("a slot");
    Rules {
        slot,
        database: "app_preview_1".to_owned(),
        role: "slot_1".to_owned(),
        startup_keys: vec!["options".to_owned()],
        newest_minor: 2,
    }
}

/// Feeds the input in pieces of one size; returns how often it was answered, and the last step.
fn verdict(input: &[u8], piece: usize) -> (usize, Step) {
    let (mut handshake, rules) = (Handshake::default(), rules());
    let (mut answers, mut at, mut end) = (0, 0, 0);
    while end < input.len() {
        end = (end + piece).min(input.len());
        loop {
            let (taken, step) = handshake.advance(&input[at..end], &rules);
            assert!(taken <= end - at, "more is taken than there is");
            at += taken;
            match step {
                Step::Wait => break,
                Step::Answer(_) => answers += 1,
                last => return (answers, last),
            }
            assert!(answers <= 2, "answered without end");
        }
    }
    (answers, Step::Wait)
}

fn told(refusal: &Refusal) -> Signature {
    let denial = refusal.denial();
    let bytes = refusal.bytes();
    assert!(bytes.len() < 2000, "an answer of {} bytes", bytes.len());
    let is_error = bytes.first() == Some(&b'E');
    if let (true, Some(length)) = (is_error, bytes.get(1..5)) {
        let length = length.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte));
        assert_eq!(length + 1, bytes.len(), "the error is not one message");
    }
    refused(denial)
}

fn started(input: &[u8], startup: &Startup) -> Signature {
    let own = b"user\0slot_1\0database\0app_preview_1\0";
    let message = &startup.message;
    assert_eq!(&message[8..8 + own.len()], own, "another session is started");
    assert!(message.len() <= input.len().min(LONGEST), "the message has grown");
    let again = verdict(message, message.len());
    let (0, Step::Start(again)) = again else { panic!("it does not start again: {again:?}") };
    assert_eq!(&again.message, message, "it starts again as another");
    let texts: Vec<&[u8]> = message[8..].split(|byte| *byte == 0).collect();
    let mut names: Vec<Vec<u8>> =
        texts.chunks_exact(2).map(|pair| pair[0].to_ascii_lowercase()).collect();
    names.sort_unstable();
    assert!(names.windows(2).all(|two| two[0] != two[1]), "a name stands twice");
    assert!(!names.iter().any(|name| name == b"replication"), "replication is handed on");
    let named = startup.application_name.as_deref().map(|name| name.contains(SECRET));
    format!("accepted minor={} told={} {named:?}", message[7], startup.negotiation.is_some())
}
