//! One line a request, written beside the requests.
//!
//! A path is said without its query, which may hold a secret. Lines wait in a bounded queue; when
//! nobody reads them fast enough they are dropped and counted, and requests go on.

use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use guard::diagnostic::{Code, shown};
use guard::slot::SlotId;
use hyper::body::Body;
use hyper::{Method, Request, Response, Uri};
use serde::Serialize;
use step_report::console::Format;
use step_report::event::Event;

const QUEUE: usize = 4096;

/// What is said of a request.
#[derive(Debug)]
pub(super) struct Line {
    method: Method,
    /// Without the query.
    path: String,
    status: u16,
    /// Known when the answer does not stream.
    length: Option<u64>,
    code: Option<Code>,
    /// Until the answer began.
    duration: Duration,
}

/// What is noted of a request before it is answered.
#[derive(Debug)]
pub(super) struct Asked {
    method: Method,
    uri: Uri,
    at: Instant,
}

impl Asked {
    /// Notes a request of this moment.
    pub(super) fn now<B>(request: &Request<B>) -> Self {
        let (method, uri) = (request.method().clone(), request.uri().clone());
        Self { method, uri, at: Instant::now() }
    }

    /// Says how it was answered.
    pub(super) fn answered<B: Body>(self, response: &Response<B>, code: Option<Code>) -> Line {
        Line {
            method: self.method,
            path: self.uri.path().to_owned(),
            status: response.status().as_u16(),
            length: response.body().size_hint().exact(),
            code,
            duration: self.at.elapsed(),
        }
    }
}

#[derive(Serialize)]
struct Details<'l> {
    method: String,
    path: String,
    status: u16,
    length: Option<u64>,
    duration_ms: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'l Code>,
}

/// The writer of the log.
#[derive(Debug)]
pub(super) struct AccessLog {
    queue: SyncSender<Line>,
    dropped: Arc<AtomicU64>,
    writer: JoinHandle<()>,
}

impl AccessLog {
    /// Starts the writer.
    pub(super) fn start(slot: SlotId, format: Format) -> Self {
        let (queue, lines) = sync_channel(QUEUE);
        let dropped = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&dropped);
        let writer = std::thread::spawn(move || write_all(slot, format, &lines, &counter));
        Self { queue, dropped, writer }
    }

    /// Says a request.
    pub(super) fn say(&self, line: Line) {
        if let Err(TrySendError::Full(_)) = self.queue.try_send(line) {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Writes what is left.
    pub(super) fn finish(self) {
        let Self { queue, writer, .. } = self;
        drop(queue);
        // A writer that failed has nothing left to write.
        let _ = writer.join();
    }
}

fn write_all(slot: SlotId, format: Format, lines: &Receiver<Line>, dropped: &AtomicU64) {
    while let Ok(first) = lines.recv() {
        let mut text = String::new();
        for line in std::iter::once(first).chain(lines.try_iter().take(QUEUE)) {
            text.push_str(&render(slot, format, &line));
            text.push('\n');
        }
        let lost = dropped.swap(0, Ordering::Relaxed);
        if lost > 0 {
            text.push_str(&render_lost(slot, format, lost));
            text.push('\n');
        }
        let mut out = std::io::stdout().lock();
        // A closed pipe is a quiet end of the log, not of the front.
        if out.write_all(text.as_bytes()).and_then(|()| out.flush()).is_err() {
            return;
        }
    }
}

fn render(slot: SlotId, format: Format, line: &Line) -> String {
    let duration_ms = u64::try_from(line.duration.as_millis()).unwrap_or(u64::MAX);
    let (method, path) = (shown(line.method.as_str()), shown(&line.path));
    if format == Format::Human {
        let code = line.code.map_or_else(String::new, |code| format!(" {code}"));
        return format!("{slot}: {method} {path} {} ({duration_ms} ms){code}", line.status);
    }
    let (status, length, code) = (line.status, line.length, line.code.as_ref());
    let details = Details { method, path, status, length, duration_ms, code };
    json(slot, "web.request", details)
}

fn render_lost(slot: SlotId, format: Format, lost: u64) -> String {
    match format {
        Format::Human => format!("{slot}: {lost} requests were not logged"),
        Format::Json => json(slot, "web.log_dropped", serde_json::json!({ "lines": lost })),
    }
}

fn json(slot: SlotId, event: &str, details: impl Serialize) -> String {
    serde_json::to_string(&Event::now(super::PROGRAM, slot, event, details)).unwrap_or_default()
}
