//! Who stands between a program and its server and keeps what the program says.

#![expect(clippy::unwrap_used, reason = "helpers of tests, outside of what the lint takes for one")]

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use super::ports;

/// How long a program may be silent before a test fails.
const PATIENCE: Duration = Duration::from_secs(30);

/// A port of loopback where everything that is said is kept.
pub(crate) struct Wiretap {
    port: u16,
    ending: Arc<AtomicBool>,
    listening: JoinHandle<Vec<JoinHandle<Vec<u8>>>>,
}

impl Wiretap {
    /// Hands every connection on to a port.
    pub(crate) fn relay(to: u16) -> Self {
        Self::start(move |client| {
            let mut server = TcpStream::connect((Ipv4Addr::LOCALHOST, to)).unwrap();
            let (mut back, mut answers) =
                (client.try_clone().unwrap(), server.try_clone().unwrap());
            std::thread::spawn(move || {
                let _ = std::io::copy(&mut answers, &mut back);
                let _ = back.shutdown(Shutdown::Write);
            });
            listen(client, |bytes| {
                let _ = server.write_all(bytes);
            })
        })
    }

    /// Answers the first words of every connection with these bytes, and says nothing more.
    pub(crate) fn answering(answer: &'static [u8]) -> Self {
        Self::start(move |client| {
            let mut back = client.try_clone().unwrap();
            let mut answer = Some(answer);
            listen(client, |_| {
                if let Some(answer) = answer.take() {
                    let _ = back.write_all(answer);
                }
            })
        })
    }

    fn start(serve: impl Fn(&TcpStream) -> Vec<u8> + Copy + Send + 'static) -> Self {
        let listener = ports::listen(0).unwrap();
        let port = listener.local_addr().unwrap().port();
        let ending = Arc::<AtomicBool>::default();
        let end = Arc::clone(&ending);
        let listening = std::thread::spawn(move || {
            let clients = listener.incoming().map_while(Result::ok);
            let clients = clients.take_while(|_| !end.load(Ordering::Relaxed));
            clients.map(|client| std::thread::spawn(move || serve(&client))).collect()
        });
        Self { port, ending, listening }
    }

    /// Returns the port.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Returns what was said in each connection; all of them must end.
    pub(crate) fn end(self) -> Vec<Vec<u8>> {
        self.ending.store(true, Ordering::Relaxed);
        // Wakes the listener up, to see that it shall end.
        let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port));
        let connections = self.listening.join().unwrap();
        connections.into_iter().map(|connection| connection.join().unwrap()).collect()
    }
}

/// Keeps what a client says until it ends.
fn listen(client: &TcpStream, mut heard: impl FnMut(&[u8])) -> Vec<u8> {
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    let (mut all, mut buffer) = (Vec::new(), [0; 4096]);
    let mut from = client;
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return all,
            Ok(read) => {
                all.extend_from_slice(&buffer[..read]);
                heard(&buffer[..read]);
            }
            Err(error) => {
                assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{error}");
                return all;
            }
        }
    }
}
