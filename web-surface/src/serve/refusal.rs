//! A request that is not forwarded or answered with a file: status, code and what to do.

use guard::diagnostic::{Code, Denial};
use guard::slot::SlotId;
use hyper::header::{self, HeaderValue};
use hyper::{Response, StatusCode};
use step_report::verdict::Verdict;

use super::body::Reply;

/// A refused request.
#[derive(Debug)]
pub(super) struct Refusal {
    status: StatusCode,
    denial: Box<Denial>,
    /// Whether the connection ends, because what follows on it cannot be trusted.
    ends: bool,
    allow: Option<&'static str>,
}

impl Refusal {
    /// Refuses with a status.
    pub(super) fn new(status: StatusCode, denial: Denial) -> Self {
        Self { status, denial: Box::new(denial), ends: false, allow: None }
    }

    /// Refuses a request whose end is in doubt, and closes the connection.
    pub(super) fn ending(status: StatusCode, denial: Denial) -> Self {
        Self { ends: true, ..Self::new(status, denial) }
    }

    /// Names the methods that would be accepted.
    pub(super) fn allowing(mut self, methods: &'static str) -> Self {
        self.allow = Some(methods);
        self
    }

    /// Returns the stable code.
    pub(super) fn code(&self) -> Code {
        self.denial.code()
    }

    /// Writes the answer; its body is the verdict that every program prints.
    pub(super) fn answer(&self, slot: SlotId) -> Response<Reply> {
        let slot = slot.to_string();
        let verdict = Verdict::denied(Some(&slot), &self.denial);
        let mut body = serde_json::to_vec(&verdict).unwrap_or_default();
        body.push(b'\n');
        let mut response = Response::new(Reply::whole(body));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if self.ends {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        if let Some(methods) = self.allow {
            headers.insert(header::ALLOW, HeaderValue::from_static(methods));
        }
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}
