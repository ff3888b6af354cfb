use proptest::prelude::*;

use super::*;
use crate::message::framed;

fn rules() -> Rules {
    Rules {
        slot: "preview-1".parse().unwrap(),
        database: "app_preview_1".to_owned(),
        role: "slot_1".to_owned(),
        startup_keys: vec!["options".to_owned()],
        newest_minor: 2,
    }
}

const VERSION: u32 = 3 << 16;

fn startup_of(version: u32, pairs: &[(&str, &str)]) -> Vec<u8> {
    let mut content = version.to_be_bytes().to_vec();
    for (key, value) in pairs {
        content.extend_from_slice(format!("{key}\0{value}\0").as_bytes());
    }
    content.push(0);
    framed(&content)
}

/// The slot's own message with further pairs.
fn own(more: &[(&str, &str)]) -> Vec<u8> {
    let names = [("user", "slot_1"), ("database", "app_preview_1")];
    startup_of(VERSION, &[&names[..], more].concat())
}

fn request(code: u32) -> Vec<u8> {
    framed(&code.to_be_bytes())
}

/// Feeds everything in pieces of one size; returns what was said, and the bytes left over.
fn feed(bytes: &[u8], piece: usize) -> (Vec<Step>, usize) {
    let (mut handshake, mut steps, mut at) = (Handshake::default(), Vec::new(), 0);
    let rules = rules();
    let mut end = 0;
    while end < bytes.len() {
        end = (end + piece).min(bytes.len());
        loop {
            let (taken, step) = handshake.advance(&bytes[at..end], &rules);
            at += taken;
            match step {
                Step::Wait => break,
                Step::Answer(_) => steps.push(step),
                last => {
                    steps.push(last);
                    return (steps, bytes.len() - at);
                }
            }
        }
    }
    (steps, bytes.len() - at)
}

#[track_caller]
fn started(bytes: &[u8]) -> Startup {
    match feed(bytes, bytes.len()).0.pop() {
        Some(Step::Start(startup)) => startup,
        other => panic!("no start: {other:?}"),
    }
}

#[track_caller]
fn refused(bytes: &[u8], code: Code) -> Refusal {
    match feed(bytes, bytes.len()).0.pop() {
        Some(Step::Refuse(refusal)) if refusal.denial().code() == code => refusal,
        other => panic!("{code} was expected: {other:?}"),
    }
}

#[test]
fn the_slots_own_names_pass_and_the_message_is_rebuilt() {
    let sent = [("application_name", "x"), ("timezone", "UTC"), ("replication", "off")];
    let startup = started(&own(&sent));
    assert_eq!(startup.message, own(&[("application_name", "x"), ("TimeZone", "UTC")]));
    assert_eq!(startup.application_name.as_deref(), Some("x"));
    assert_eq!(startup.negotiation, None);
}

#[test]
fn the_order_and_the_place_of_the_names_do_not_matter() {
    let pairs = [("DateStyle", "ISO"), ("database", "app_preview_1"), ("user", "slot_1")];
    assert_eq!(started(&startup_of(VERSION, &pairs)).message, own(&[("DateStyle", "ISO")]));
}

#[test]
fn another_database_or_role_is_refused_byte_for_byte() {
    for (user, database, code) in [
        ("slot_1", "app_preview_2", Code::WireDatabase),
        ("slot_1", "app_production", Code::WireDatabase),
        ("slot_1", "APP_PREVIEW_1", Code::WireDatabase),
        ("slot_1", "app_preview_1 ", Code::WireDatabase),
        ("slot_1", "app_preview_11", Code::WireDatabase),
        ("slot_1", "", Code::WireDatabase),
        ("slot_2", "app_preview_1", Code::WireRole),
        ("Slot_1", "app_preview_1", Code::WireRole),
        ("postgres", "app_preview_1", Code::WireRole),
        ("", "app_preview_1", Code::WireMalformed),
    ] {
        let refusal =
            refused(&startup_of(VERSION, &[("user", user), ("database", database)]), code);
        let said = String::from_utf8_lossy(&refusal.bytes()).into_owned();
        let state = if code == Code::WireMalformed { "C08P01" } else { "C28000" };
        assert!(said.contains(state) && said.contains(code.id()), "{said:?}");
    }
    refused(&startup_of(VERSION, &[("user", "slot_1")]), Code::WireDatabase);
    refused(&startup_of(VERSION, &[("database", "app_preview_1")]), Code::WireMalformed);
    refused(&startup_of(VERSION, &[]), Code::WireMalformed);
}

#[test]
fn a_name_that_stands_twice_is_refused_even_if_both_are_right() {
    for more in [
        [("database", "app_preview_1"), ("DateStyle", "ISO")],
        [("database", "app_production"), ("DateStyle", "ISO")],
        [("user", "slot_1"), ("DateStyle", "ISO")],
        [("datestyle", "ISO"), ("DateStyle", "ISO")],
        [("Database", "app_production"), ("DateStyle", "ISO")],
    ] {
        refused(&own(&more), Code::WireDuplicate);
    }
    started(&own(&[("TimeZone", "UTC"), ("DateStyle", "ISO")]));
}

#[test]
fn replication_is_refused_unless_it_is_a_clear_no() {
    for value in ["true", "database", "on", "1", "yes", "", "f", "fals", "falsely", " false"] {
        refused(&own(&[("replication", value)]), Code::WireReplication);
    }
    for value in ["false", "off", "no", "0", "FALSE"] {
        assert_eq!(started(&own(&[("replication", value)])).message, own(&[]));
    }
    refused(&own(&[("Replication", "true")]), Code::WireParameter);
}

#[test]
fn only_usual_and_named_settings_pass() {
    for key in ["search_path", "role", "session_authorization", "datestyle\u{17f}", "User", " "] {
        let code = if key == "User" { Code::WireDuplicate } else { Code::WireParameter };
        let said = refused(&own(&[(key, "x")]), code);
        assert!(!format!("{said:?}").contains("`x`"), "{said:?}");
    }
    let startup = started(&own(&[("options", "-c search_path=x")]));
    assert_eq!(startup.message, own(&[("options", "-c search_path=x")]));
}

#[test]
fn versions_are_agreed_on_and_options_of_the_protocol_are_unknown() {
    let names = [("user", "slot_1"), ("database", "app_preview_1")];
    let negotiated = |minor: u32, options: &[&str]| {
        let mut content = (VERSION | minor).to_be_bytes().to_vec();
        content.extend_from_slice(&u32::try_from(options.len()).unwrap().to_be_bytes());
        options.iter().for_each(|option| content.extend(format!("{option}\0").bytes()));
        crate::message::message(b'v', &content)
    };
    let of = |minor: u32| started(&startup_of(VERSION | minor, &names));
    assert_eq!((of(0).negotiation, of(2).negotiation), (None, None));
    assert_eq!(of(2).message, startup_of(VERSION | 2, &names));
    assert_eq!(of(1).message, startup_of(VERSION, &names));
    assert_eq!(of(1).negotiation, Some(negotiated(0, &[])));
    assert_eq!(of(9999).negotiation, Some(negotiated(2, &[])));
    let with_option = started(&own(&[("_pq_.future", "1")]));
    assert_eq!(with_option.message, own(&[]));
    assert_eq!(with_option.negotiation, Some(negotiated(0, &["_pq_.future"])));

    let older = Rules { newest_minor: 0, ..rules() };
    let newest = startup_of(VERSION | 2, &names);
    match Handshake::default().advance(&newest, &older).1 {
        Step::Start(startup) => {
            assert_eq!(startup.message, own(&[]));
            assert_eq!(startup.negotiation, Some(negotiated(0, &[])));
        }
        other => panic!("{other:?}"),
    }
    for version in [2 << 16, 4 << 16, 0, 1234 << 16 | 5677, 1234 << 16 | 5681] {
        refused(&startup_of(version, &names), Code::WireProtocol);
    }
}

#[test]
fn requests_for_encryption_are_declined_once_each() {
    let (tls, gss) = (request(SSL), request(GSS));
    for order in [[&gss, &tls], [&tls, &gss]] {
        let (steps, rest) = feed(&[&order[0][..], order[1], &own(&[])].concat(), 3);
        assert_eq!(steps.len(), 3);
        assert_eq!((&steps[0], &steps[1], rest), (&Step::Answer(b"N"), &Step::Answer(b"N"), 0));
    }
    refused(&[&tls[..], &tls].concat(), Code::WireMalformed);
    refused(&[&gss[..], &tls, &gss].concat(), Code::WireMalformed);
    refused(&[&framed(&SSL.to_be_bytes())[..7], &[0x2e, 0]].concat(), Code::WireMalformed);
}

#[test]
fn a_client_of_another_protocol_is_answered_in_it() {
    let tls = refused(b"\x16\x03\x01\x02\x00\x01", Code::WireProtocol);
    assert_eq!(tls.bytes(), [0x15, 3, 1, 0, 2, 2, 40]);
    refused(&[&request(SSL)[..], b"\x16\x03\x01"].concat(), Code::WireProtocol);
    let http = refused(b"GET / HTTP/1.1\r\n\r\n", Code::WireProtocol);
    assert!(http.bytes().starts_with(b"HTTP/1.1 400 "), "{http:?}");
    refused(b"SSH-2.0-x\r\n", Code::WireMalformed);
}

#[test]
fn cancel_requests_carry_a_secret_of_four_to_256_bytes() {
    let cancel =
        |secret: &[u8]| framed(&[&CANCEL.to_be_bytes()[..], &7u32.to_be_bytes(), secret].concat());
    for length in [4, 32, 256] {
        let secret = vec![9; length];
        let steps = feed(&cancel(&secret), 5).0;
        assert_eq!(steps, [Step::Cancel(CancelKey { process: 7, secret })]);
    }
    for length in [0, 3, 257] {
        refused(&cancel(&vec![9; length]), Code::WireMalformed);
    }
    let shown = format!("{:?}", CancelKey { process: 7, secret: vec![99] });
    assert!(!shown.contains("99"), "{shown}");
}

#[test]
fn lengths_are_bounded_before_anything_is_kept() {
    for length in [0u32, 7, 10_001, 0x7fff_ffff, 0xffff_ffff] {
        let mut bytes = length.to_be_bytes().to_vec();
        bytes.extend_from_slice(&VERSION.to_be_bytes());
        refused(&bytes, Code::WireMalformed);
    }
    let mut handshake = Handshake::default();
    let (taken, step) = handshake.advance(&10_000u32.to_be_bytes(), &rules());
    assert_eq!((taken, step), (4, Step::Wait));
    assert!(handshake.received.capacity() < 100);
}

#[test]
fn the_largest_message_passes() {
    let fill = 10_000 - own(&[("application_name", "")]).len();
    let bytes = own(&[("application_name", &"x".repeat(fill))]);
    assert_eq!(bytes.len(), LONGEST);
    assert_eq!(started(&bytes).message, bytes);
    refused(&own(&[("application_name", &"x".repeat(fill + 1))]), Code::WireMalformed);
}

#[test]
fn texts_without_an_end_and_bytes_behind_it_are_refused() {
    let mut bytes = own(&[]);
    let length = bytes.len();
    bytes[length - 1] = b'x';
    refused(&bytes, Code::WireMalformed);
    let content = [&own(&[])[4..], b"x"].concat();
    refused(&framed(&content), Code::WireMalformed);
    let content = &own(&[("DateStyle", "ISO")])[4..length + 10];
    refused(&framed(content), Code::WireMalformed);
}

#[test]
fn what_follows_the_message_is_left_to_the_session() {
    let (steps, rest) = feed(&[&own(&[])[..], b"Qxyz"].concat(), 1000);
    assert!(matches!(steps[..], [Step::Start(_)]));
    assert_eq!(rest, 4);
}

#[test]
fn the_hostile_corpus_is_refused_with_the_codes_that_it_names() {
    let strict = Rules { startup_keys: Vec::new(), ..rules() };
    for case in fixtures::hostile_starts() {
        let bytes = case.bytes();
        let (mut handshake, mut at) = (Handshake::default(), 0);
        let step = loop {
            let (taken, step) = handshake.advance(&bytes[at..], &strict);
            at += taken;
            if !matches!(step, Step::Answer(_)) {
                break step;
            }
        };
        let Step::Refuse(refusal) = step else { panic!("{}: {step:?}", case.name) };
        assert_eq!(refusal.denial().code().id(), case.code, "{}: {}", case.name, case.why);
    }
}

/// Messages as clients send them, whole or damaged, one behind the other.
fn stream() -> impl Strategy<Value = Vec<u8>> {
    let pair = (
        prop::sample::select(vec![
            "user",
            "database",
            "options",
            "replication",
            "DateStyle",
            "datestyle",
            "_pq_.x",
            "",
        ]),
        prop::sample::select(vec!["slot_1", "app_preview_1", "app_production", "false", ""]),
    );
    let message = prop_oneof![
        Just(request(SSL)),
        Just(request(GSS)),
        Just(own(&[])),
        Just(own(&[("DateStyle", "ISO")])),
        Just(framed(&[&CANCEL.to_be_bytes()[..], &[1; 12]].concat())),
        prop::collection::vec(pair, 0..5).prop_map(|pairs| startup_of(VERSION, &pairs)),
        prop::collection::vec(any::<u8>(), 0..40),
    ];
    let damage = prop::option::of((any::<prop::sample::Index>(), any::<u8>()));
    (prop::collection::vec(message, 1..5), damage).prop_map(|(messages, damage)| {
        let mut bytes = messages.concat();
        if let (Some((at, byte)), false) = (damage, bytes.is_empty()) {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        bytes
    })
}

proptest! {
    #[test]
    fn the_pieces_do_not_matter(bytes in stream(), piece in 1usize..50) {
        let whole = feed(&bytes, bytes.len().max(1));
        prop_assert_eq!(&feed(&bytes, 1), &whole);
        prop_assert_eq!(&feed(&bytes, piece), &whole);
    }

    #[test]
    fn what_starts_is_the_slots(bytes in stream()) {
        if let Some(Step::Start(startup)) = feed(&bytes, bytes.len().max(1)).0.pop() {
            let own = b"user\0slot_1\0database\0app_preview_1\0";
            prop_assert_eq!(&startup.message[8..8 + own.len()], own);
            prop_assert_eq!(feed(&startup.message, 7).0.len(), 1);
            prop_assert_eq!(&started(&startup.message).message, &startup.message);
        }
    }
}
