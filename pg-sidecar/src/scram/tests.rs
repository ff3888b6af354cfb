use postgres_protocol::authentication::sasl::{ChannelBinding, ScramSha256};
use proptest::prelude::*;

use super::client::ExpectedServer;
use super::server::ServerExchange;
use super::*;

const NONCE: &str = "fyko+d2lbbFgONRv9qkxdawL";

/// A login of one side with the other; `damage` may change a message on its way.
fn login(
    client: &Keys,
    server: &Keys,
    damage: impl Fn(usize, String) -> String,
) -> Result<(), Problem> {
    let exchange = ClientExchange::new(NONCE.to_owned());
    let ours = ServerExchange::new(server, damage(0, exchange.first()).as_bytes(), "3rfc")?;
    let challenge = exchange.challenge(damage(1, ours.challenge().to_owned()).as_bytes())?;
    let (proof, expected) = exchange.prove(&challenge, client);
    let last = ours.verify(server, damage(2, proof).as_bytes())?;
    expected.check(damage(3, last).as_bytes())
}

fn keys(password: &str) -> Keys {
    Keys::derive(password, b"sixteen bytes of", 4096)
}

/// The example of RFC 7677, section 3.
#[test]
fn the_example_of_the_standard_holds() {
    let salt = decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
    let keys = Keys::derive("pencil", &salt, 4096);
    let signed = "n=user,r=rOprNGfwEbeRWgbNEkqO,\
                  r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
                  s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,\
                  c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
    let proof = xor(&keys.client, &hmac(&keys.stored, &[signed.as_bytes()]));
    assert_eq!(encode(&proof), "dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=");
    let server = hmac(&keys.server, &[signed.as_bytes()]);
    assert_eq!(encode(&server), "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
}

#[test]
fn the_same_password_logs_in_and_another_does_not() {
    let pass = |_, message| message;
    assert_eq!(login(&keys("a"), &keys("a"), pass), Ok(()));
    assert_eq!(login(&keys("a"), &keys("b"), pass), Err(Problem::Proof));
    // Who only knows what a server keeps cannot log in as a client.
    let stolen = Keys { client: [0; 32], ..keys("a") };
    assert_eq!(login(&stolen, &keys("a"), pass), Err(Problem::Proof));
    // Who only knows what a client keeps cannot pass for the server.
    let rogue = Keys { server: [0; 32], ..keys("a") };
    assert_eq!(login(&keys("a"), &rogue, pass), Err(Problem::Proof));
}

#[test]
fn a_changed_message_ends_the_login() {
    let changes: [(usize, &str, &str, Problem); 15] = [
        (0, "n,,", "p=tls-server-end-point,,", Problem::Form),
        (0, "n,,", "n,a=other,", Problem::Form),
        (0, "n,,", "y,,", Problem::Form),
        (0, ",r=", ",m=x,r=", Problem::Form),
        (0, "r=fyko", "r=fy,ko", Problem::Form),
        (1, "i=4096", "i=4095", Problem::Rounds(4095)),
        (1, "i=4096", "i=1000001", Problem::Rounds(1_000_001)),
        (1, "i=4096", "i=+4096", Problem::Form),
        (1, "r=fyko", "r=fykx", Problem::Form),
        (1, "3rfc", "", Problem::Form),
        (1, ",s=", ",s=,x=", Problem::Form),
        (2, "c=biws", "c=eSws", Problem::Form),
        (2, "3rfc", "3rfd", Problem::Form),
        (2, ",p=", ",p=AAAA", Problem::Form),
        (3, "v=", "e=", Problem::Form),
    ];
    for (at, from, to, problem) in changes {
        let change = |which, message: String| {
            if which == at { message.replacen(from, to, 1) } else { message }
        };
        assert_eq!(login(&keys("a"), &keys("a"), change), Err(problem), "{at}: {from} to {to}");
    }
}

#[test]
fn the_library_of_the_drivers_agrees_on_both_sides() {
    for password in ["pencil", "", "pässwörd", "I\u{ad}X", "\u{2168}", "\u{7}", "a,b=c"] {
        for (salt, rounds) in [(&b"salt"[..], 4096), (&[0xff; 16], 5000)] {
            let ours = Keys::derive(password, salt, rounds);
            let mut theirs = ScramSha256::new(password.as_bytes(), ChannelBinding::unsupported());
            let exchange = ServerExchange::new(&ours, theirs.message(), "own").unwrap();
            theirs.update(exchange.challenge().as_bytes()).unwrap();
            let last = exchange.verify(&ours, theirs.message()).unwrap();
            theirs.finish(last.as_bytes()).unwrap();
        }
    }
}

#[test]
fn rounds_and_salts_are_bounded() {
    let exchange = ClientExchange::new("n".to_owned());
    let challenge = |salt: &[u8], rounds: &str| {
        exchange.challenge(format!("r=nx,s={},i={rounds}", encode(salt)).as_bytes()).is_ok()
    };
    assert!(challenge(&[1; 128], "1000000"));
    for (salt, rounds) in
        [(&[1; 129][..], "4096"), (b"", "4096"), (b"s", "99999999999"), (b"s", "")]
    {
        assert!(!challenge(salt, rounds));
    }
    let long = format!("n,,n=,r={}", "x".repeat(257));
    assert_eq!(ServerExchange::new(&keys("a"), long.as_bytes(), "x").unwrap_err(), Problem::Form);
    assert!(ServerExchange::new(&keys("a"), &long.as_bytes()[..long.len() - 1], "x").is_ok());
}

#[test]
fn keys_are_not_printed() {
    assert_eq!(format!("{:?}", keys("a")), "Keys(***)");
}

proptest! {
    #[test]
    fn no_message_makes_either_side_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let keys = Keys { salt: vec![1], rounds: 4096, client: [0; 32], stored: [0; 32], server: [0; 32] };
        let _ = ServerExchange::new(&keys, &bytes, "x");
        let exchange = ClientExchange::new(NONCE.to_owned());
        let _ = exchange.challenge(&bytes);
        let ours = ServerExchange::new(&keys, exchange.first().as_bytes(), "x").unwrap();
        prop_assert!(ours.verify(&keys, &bytes).is_err());
        prop_assert!(ExpectedServer([0; 32]).check(&bytes).is_err());
    }
}
