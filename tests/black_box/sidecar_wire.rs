//! The sidecar's wire, byte by byte: hostile starts, and what reaches the server of them.

#![expect(clippy::unwrap_used, reason = "helpers of tests, outside of what the lint takes for one")]

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::support::ports;
use crate::support::server::Server;
use crate::support::sidecar::{self, Sidecar, answer_to, connect};

/// Another port of a server, which counts who comes and what they say.
struct Recorder {
    port: u16,
    connections: Arc<AtomicUsize>,
    bytes: Arc<AtomicUsize>,
    ending: Arc<AtomicBool>,
    listening: Option<JoinHandle<()>>,
}

impl Recorder {
    fn start(to: u16) -> Self {
        let listener: TcpListener = ports::listen(0).unwrap();
        let port = listener.local_addr().unwrap().port();
        let [connections, bytes] = [(); 2].map(|()| Arc::<AtomicUsize>::default());
        let ending = Arc::<AtomicBool>::default();
        let (seen, heard, end) =
            (Arc::clone(&connections), Arc::clone(&bytes), Arc::clone(&ending));
        let listening = std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                if end.load(Ordering::Relaxed) {
                    break;
                }
                seen.fetch_add(1, Ordering::Relaxed);
                let server = TcpStream::connect((Ipv4Addr::LOCALHOST, to)).unwrap();
                copy(&client, &server, Arc::clone(&heard));
                copy(&server, &client, Arc::default());
            }
        });
        Self { port, connections, bytes, ending, listening: Some(listening) }
    }

    /// Returns how many connections there were, and bytes in them.
    fn seen(&self) -> (usize, usize) {
        (self.connections.load(Ordering::Relaxed), self.bytes.load(Ordering::Relaxed))
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.ending.store(true, Ordering::Relaxed);
        // Wakes the listener up, to see that it shall end.
        let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port));
        if let Some(listening) = self.listening.take() {
            let _ = listening.join();
        }
    }
}

fn copy(from: &TcpStream, to: &TcpStream, count: Arc<AtomicUsize>) {
    let (mut from, mut to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(read @ 1..) = from.read(&mut buffer) {
            count.fetch_add(read, Ordering::Relaxed);
            if to.write_all(&buffer[..read]).is_err() {
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Both);
    });
}

/// A server behind a recorder, and a sidecar behind that.
fn recorded() -> (Server, Recorder, Sidecar) {
    let server = Server::new();
    let recorder = Recorder::start(server.port());
    // It is asked who it is once, at the start, so that nothing but the cases is recorded.
    sidecar::configure_at(&server, recorder.port, "confirm_every_s = 3600\n");
    let sidecar = Sidecar::start(&server);
    (server, recorder, sidecar)
}

#[test]
fn nothing_of_a_hostile_start_reaches_the_server() {
    let (server, recorder, sidecar) = recorded();
    let before = recorder.seen();
    assert!(before.0 > 0 && before.1 > 0, "the recorder saw nothing of the start");
    let cases = fixtures::hostile_starts();
    for case in &cases {
        let name = &case.name;
        let bytes = case.bytes();
        let mut answer = answer_to(&bytes);
        // What a request for encryption is answered with comes first.
        while answer.first() == Some(&b'N') {
            answer.remove(0);
        }
        let is_told = match answer.first() {
            Some(b'E') => contains(&answer, case.code.as_bytes()),
            Some(0x15) => answer.len() == 7,
            Some(b'H') => contains(&answer, b"HTTP/1.1 400"),
            _ => false,
        };
        assert!(is_told, "{name}: {answer:?}");
        // The same in pieces, with more behind it, which must not cost the client the answer.
        let mut stream = connect();
        for byte in &bytes {
            if stream.write_all(&[*byte]).is_err() {
                break;
            }
        }
        let _ = stream.write_all(&[b'x'; 5000]);
        let mut again = Vec::new();
        stream.read_to_end(&mut again).unwrap();
        while again.first() == Some(&b'N') {
            again.remove(0);
        }
        assert_eq!(again, answer, "{name}");
    }
    assert_eq!(recorder.seen(), before, "something reached the server");
    let refused = u64::try_from(2 * cases.len()).unwrap();
    assert_eq!(sidecar.status(&server)["refused"], refused);
    assert_eq!(sidecar.sql("SELECT 1"), "1\n");
    sidecar.stop();
}

/// A client that is still sending must not be met by a reset, which hides the refusal from it.
#[test]
fn a_refused_client_may_say_what_it_still_has_to_say() {
    let (_server, _recorder, sidecar) = recorded();
    let goes_on = || {
        let mut stream = connect();
        stream.write_all(b"\0\0\0\x08\0\x02\0\0").unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        assert!(contains(&answer, b"SG8712"), "{answer:?}");
        (0..3).all(|_| {
            std::thread::sleep(Duration::from_millis(100));
            stream.write_all(&[b'x'; 5000]).is_ok()
        })
    };
    // The sidecar listens for a while only, so a client that was held up itself tries again.
    assert!((0..5).any(|_| goes_on()), "every client that went on was met by a reset");
    sidecar.stop();
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

const OWN: &[u8] = b"\0\0\0\x2c\0\x03\0\0user\0slot_1\0database\0app_preview_1\0\0";

/// A message of a login.
fn password_message(content: &[u8]) -> Vec<u8> {
    let length = u32::try_from(content.len() + 4).unwrap();
    [b"p", &length.to_be_bytes()[..], content].concat()
}

/// A first message of SCRAM, which is not what was asked for.
fn mechanism(name: &str, length: u32, first: &str) -> Vec<u8> {
    let parts = [name.as_bytes(), b"\0", &length.to_be_bytes(), first.as_bytes()];
    password_message(&parts.concat())
}

/// Logins as published defects of poolers were triggered, and such that end in the middle.
#[test]
fn a_hostile_login_reaches_neither_the_server_nor_its_end() {
    assert_eq!(OWN.len(), 0x2c);
    let (_server, recorder, sidecar) = recorded();
    let before = recorder.seen();
    let long = format!("n,,n=,r={}", "x".repeat(5000));
    let nonce = format!("n,,n=,r={}", "x".repeat(300));
    let first = "n,,n=,r=abcdef";
    let logins: Vec<Vec<u8>> = vec![
        mechanism("SCRAM-SHA-256", 0xffff_ffff, first),
        mechanism("SCRAM-SHA-256", 0x7fff_ffff, first),
        mechanism("SCRAM-SHA-256", 3, first),
        mechanism("SCRAM-SHA-256-PLUS", 14, first),
        mechanism("", 14, first),
        mechanism("SCRAM-SHA-256", 5008, &long),
        mechanism("SCRAM-SHA-256", 308, &nonce),
        mechanism("SCRAM-SHA-256", 14, "p=tls-unique,,n=,r=abcdef"),
        password_message(b"s3cret\0"),
        password_message(b"s3cret"),
        password_message(b"s3cret\0s3cret\0"),
        password_message(b"\0"),
        password_message(&[&[b'x'; 1020][..], b"\0"].concat()),
        password_message(b""),
        b"p\xff\xff\xff\xff".to_vec(),
        b"p\0\0\0\0".to_vec(),
        b"Q\0\0\0\x12DROP TABLE x\0\0".to_vec(),
        [mechanism("SCRAM-SHA-256", 14, first), password_message(b"c=biws,r=x,p=AAAA")].concat(),
        [mechanism("SCRAM-SHA-256", 14, first), password_message(b",p=")].concat(),
        [password_message(b"s3cret\0"), b"Q\0\0\0\x12DROP TABLE x\0\0".to_vec()].concat(),
    ];
    for login in &logins {
        let answer = answer_to(&[OWN, login].concat());
        let is_told = contains(&answer, b"SG8711") || contains(&answer, b"SG8721");
        assert!(answer.first() == Some(&b'R') && is_told, "{login:?}: {answer:?}");
    }
    // A client that is gone before it proved anything.
    for bytes in [OWN, &OWN[..5], &[OWN, &logins[0]].concat()[..70]] {
        drop(connect().write_all(bytes));
    }
    assert_eq!(recorder.seen(), before, "something reached the server");
    assert_eq!(sidecar.sql("SELECT 1"), "1\n");
    sidecar.stop();
}

/// Reads one message.
fn read_message(stream: &mut UnixStream) -> (u8, Vec<u8>) {
    let mut header = [0; 5];
    stream.read_exact(&mut header).unwrap();
    let [kind, length @ ..] = header;
    let mut content = vec![0; usize::try_from(u32::from_be_bytes(length)).unwrap() - 4];
    stream.read_exact(&mut content).unwrap();
    (kind, content)
}

/// Reads messages up to a kind and returns the content of the last.
fn read_until(stream: &mut UnixStream, kind: u8) -> Vec<u8> {
    loop {
        let (found, content) = read_message(stream);
        if found == kind {
            return content;
        }
    }
}

/// Writes a cancel request.
fn cancel_request(pid: u32, secret: &[u8]) -> Vec<u8> {
    let length = u32::try_from(12 + secret.len()).unwrap();
    let parts: [&[u8]; 4] =
        [&length.to_be_bytes(), &80_877_102u32.to_be_bytes(), &pid.to_be_bytes(), secret];
    parts.concat()
}

const SLEEP: &[u8] = b"Q\0\0\0\x18SELECT pg_sleep(60)\0";

/// PostgreSQL 18 speaks 3.2, whose keys are longer; an older one is agreed on before it is asked.
#[test]
fn the_newest_protocol_is_agreed_on_and_its_keys_cancel() {
    let (server, _recorder, sidecar) = recorded();
    let version: u32 = server.sql("postgres", "SHOW server_version_num").trim().parse().unwrap();
    let speaks_it = version >= 180_000;
    let mut newest = OWN.to_vec();
    newest[7] = 2;
    let mut stream = UnixStream::connect(sidecar.state().join(".s.PGSQL.5101")).unwrap();
    stream.write_all(&[&newest, SLEEP].concat()).unwrap();
    let (kind, content) = read_message(&mut stream);
    if speaks_it {
        assert_eq!(kind, b'R');
    } else {
        assert_eq!((kind, &content[..]), (b'v', &[0, 3, 0, 0, 0, 0, 0, 0][..]));
    }
    let key = read_until(&mut stream, b'K');
    assert_eq!(key.len(), 4 + if speaks_it { 32 } else { 4 });
    crate::sidecar::wait_for_sleeper(&server);
    let pid = u32::from_be_bytes(key[..4].try_into().unwrap());
    // More than the key is none.
    assert_eq!(answer_to(&cancel_request(pid, &[&key[4..], &[0]].concat())), b"");
    assert_eq!(sidecar.status(&server)["unknown_cancels"], 1);
    assert_eq!(answer_to(&cancel_request(pid, &key[4..])), b"");
    assert!(contains(&read_until(&mut stream, b'E'), b"57014"));
    drop(stream);
    sidecar.stop();
}

/// A request with another session's number, another secret or a key of the server does nothing.
#[test]
fn a_cancel_request_needs_the_key_of_a_session_that_is_open_here() {
    let (server, _recorder, sidecar) = recorded();
    let mut stream = UnixStream::connect(sidecar.state().join(".s.PGSQL.5101")).unwrap();
    // All in one piece: the statement is kept until the session is there.
    stream.write_all(&[OWN, SLEEP].concat()).unwrap();
    let key = read_until(&mut stream, b'K');
    crate::sidecar::wait_for_sleeper(&server);
    let own = server.sql(
        "postgres",
        "SELECT pid FROM pg_stat_activity WHERE usename = 'slot_1' AND wait_event = 'PgSleep'",
    );
    let pid = u32::from_be_bytes(key[..4].try_into().unwrap());
    assert_ne!(own.trim(), pid.to_string());
    assert!(i32::try_from(pid).is_ok_and(|pid| pid > 0));

    let mut wrong = key[4..].to_vec();
    wrong[0] ^= 1;
    for (pid, secret) in [
        (pid, &wrong[..]),
        (pid + 1, &key[4..]),
        (own.trim().parse().unwrap(), &key[4..]),
        (pid, &[0; 32]),
    ] {
        assert_eq!(answer_to(&cancel_request(pid, secret)), b"");
    }
    let status = sidecar.status(&server);
    assert_eq!((&status["cancels"], &status["unknown_cancels"]), (&0.into(), &4.into()));
    // The key itself works, from the other socket too.
    assert_eq!(answer_to(&cancel_request(pid, &key[4..])), b"");
    let error = read_until(&mut stream, b'E');
    assert!(contains(&error, b"57014"), "{error:?}");
    drop(stream);
    sidecar.wait_for("session.closed", |_| true);
    assert_eq!(answer_to(&cancel_request(pid, &key[4..])), b"");
    assert_eq!(sidecar.status(&server)["unknown_cancels"], 5);
    sidecar.stop();
}

/// More connections at once than may log in: the rest is told so, and ordinary ones pass later.
#[test]
fn a_flood_of_silent_clients_is_bounded_and_keeps_nobody_off_the_other_socket() {
    let (server, recorder, sidecar) = recorded();
    let before = recorder.seen();
    let silent: Vec<TcpStream> = (0..200).map(|_| connect()).collect();
    sidecar.wait_for("session.refused", |event| event["code"] == "SG8719");
    assert_eq!(recorder.seen(), before);
    let outcome = sidecar.psql_unix("slot_1", "app_preview_1", &["-c", "SELECT 1"]).run();
    assert_eq!(outcome.accepted().stdout, "1\n");
    drop(silent);
    for _ in 0..1000 {
        let outcome = sidecar.psql("slot_1", "app_preview_1", &["-c", "SELECT 1"]).run();
        if outcome.status == Some(0) {
            assert!(sidecar.status(&server)["refused"].as_u64().unwrap() >= 100);
            sidecar.stop();
            return;
        }
    }
    panic!("ordinary clients are kept out for good");
}
