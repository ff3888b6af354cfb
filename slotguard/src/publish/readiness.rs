//! What the slot's frontend serves, asked as a browser would ask.

use std::time::{Duration, Instant};

use guard::diagnostic::{Code, Denial};
use serde::Serialize;

use crate::http;

/// How long the web surface may take to notice a new release.
const NOTICED_WITHIN: Duration = Duration::from_secs(10);

const BETWEEN_LOOKS: Duration = Duration::from_millis(200);

/// What the frontend answered.
#[derive(Debug, Serialize)]
pub(crate) struct Served {
    port: u16,
    status: u16,
    latency_ms: u128,
}

/// Waits until the slot's frontend serves this page at `/`.
///
/// # Errors
/// Refuses when nothing listens, and when another page is served.
pub(crate) fn of_frontend(port: u16, page: &[u8]) -> Result<Served, Denial> {
    let begun = Instant::now();
    loop {
        let asked = Instant::now();
        let found = match http::get(port, "/", "text/html") {
            Ok((200, body)) if body == page => {
                let latency_ms = asked.elapsed().as_millis();
                return Ok(Served { port, status: 200, latency_ms });
            }
            Ok((200, _)) => "another page".to_owned(),
            Ok((status, _)) => format!("status {status}"),
            Err(error) => error.to_string(),
        };
        if begun.elapsed() > NOTICED_WITHIN {
            return Err(Denial::new(
                Code::FrontendNotServed,
                "the slot's frontend does not serve the release",
                format!("127.0.0.1:{port}: {found}"),
                "the page of the release that was switched to",
            ));
        }
        std::thread::sleep(BETWEEN_LOOKS);
    }
}
