//! Who stands between with a certificate of its own, and speaks TLS to both sides.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests, outside of what the lint takes for one"
)]

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpStream};
use std::process::Child;
use std::time::Duration;

use super::ports;
use super::run::Run;
use super::secured::{OPENSSL, Secured};

const TRIES: u32 = 500;
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// A port of loopback for one connection; what is said in it is heard and handed on.
pub(crate) struct Between {
    port: u16,
    ends: [Child; 2],
}

impl Between {
    /// Begins with the files `key` and `pem` as its own certificate.
    pub(crate) fn start(secured: &Secured) -> Self {
        let listener = ports::listen(0).unwrap();
        let port = listener.local_addr().unwrap().port();
        let hidden = ports::listen(0).unwrap().local_addr().unwrap().port();
        let (here, there) =
            (format!("127.0.0.1:{hidden}"), format!("127.0.0.1:{}", secured.server.port()));
        let (key, pem) = (secured.at("key"), secured.at("pem"));
        let to_client = ["s_server", "-quiet", "-accept", &here, "-key", &key, "-cert", &pem];
        let to_server = ["s_client", "-quiet", "-starttls", "postgres", "-connect", &there];
        let mut ends =
            [&to_client[..], &to_server].map(|args| Run::at(OPENSSL.as_ref(), args).start());
        let [client, server] = &mut ends;
        hand_on(client.stdout.take().unwrap(), server.stdin.take().unwrap());
        hand_on(server.stdout.take().unwrap(), client.stdin.take().unwrap());
        std::thread::spawn(move || {
            let (mut client, _) = listener.accept().unwrap();
            client.read_exact(&mut [0; 8]).unwrap();
            client.write_all(b"S").unwrap();
            let end = connect(hidden);
            hand_on(client.try_clone().unwrap(), end.try_clone().unwrap());
            let _ = std::io::copy(&mut &end, &mut client);
            let _ = client.shutdown(Shutdown::Both);
        });
        Self { port, ends }
    }

    /// Returns the port.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }
}

impl Drop for Between {
    fn drop(&mut self) {
        for end in &mut self.ends {
            let _ = end.kill();
            let _ = end.wait();
        }
    }
}

fn connect(port: u16) -> TcpStream {
    for _ in 0..TRIES {
        if let Ok(stream) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)) {
            return stream;
        }
        std::thread::sleep(LOOK_AGAIN);
    }
    panic!("nobody listens on {port}");
}

fn hand_on(mut from: impl Read + Send + 'static, mut to: impl Write + Send + 'static) {
    std::thread::spawn(move || std::io::copy(&mut from, &mut to));
}
