//! The fixed ports of the slots' fronts and backends, lent to one test at a time.

use std::net::{Ipv4Addr, TcpListener};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

static PORTS: Mutex<()> = Mutex::new(());

const TRIES: u32 = 300;

/// Waits until nobody uses the ports 3101 to 3103 and 8101 to 8103, and keeps other tests from them.
pub(crate) fn reserve() -> MutexGuard<'static, ()> {
    let reserved = PORTS.lock().unwrap_or_else(PoisonError::into_inner);
    for _ in 0..TRIES {
        if [3101, 3102, 3103, 8101, 8102, 8103].iter().all(|port| listen(*port).is_ok()) {
            return reserved;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    panic!("something else listens on a port of 3101 to 3103 or 8101 to 8103");
}

/// Listens on a port of loopback.
pub(crate) fn listen(port: u16) -> std::io::Result<TcpListener> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port))
}
