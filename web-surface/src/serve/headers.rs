//! What of a request's and an answer's headers crosses the front.

use std::net::IpAddr;

use guard::route::{is_dropped_from_request, is_dropped_from_response};
use guard::slot::SlotId;
use hyper::HeaderMap;
use hyper::header::{self, HeaderName, HeaderValue};

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const SLOT_ID: HeaderName = HeaderName::from_static("x-slot-id");

/// Headers that decide where a request goes and where it ends; `Connection` cannot take them away.
const KEPT: [HeaderName; 2] = [header::HOST, header::CONTENT_LENGTH];

/// What the front says of every request, made once.
#[derive(Debug)]
pub(super) struct Own {
    slot: HeaderValue,
}

impl Own {
    /// Prepares the headers of a slot.
    pub(super) fn of(slot: SlotId) -> Self {
        let value = HeaderValue::try_from(slot.to_string());
        Self { slot: value.unwrap_or_else(|_| HeaderValue::from_static("")) }
    }

    /// Turns a client's headers into those that the backend gets.
    pub(super) fn rewrite_request(&self, headers: &mut HeaderMap, peer: IpAddr) {
        drop_named_by_connection(headers);
        drop_where(headers, is_dropped_from_request);
        if let Some(host) = headers.get(header::HOST).cloned() {
            headers.insert(FORWARDED_HOST, host);
        }
        headers.insert(FORWARDED_FOR, address(peer));
        headers.insert(FORWARDED_PROTO, HeaderValue::from_static("http"));
        headers.insert(SLOT_ID, self.slot.clone());
    }

    /// Turns the backend's headers into those that the client gets.
    pub(super) fn rewrite_response(&self, headers: &mut HeaderMap) {
        drop_named_by_connection(headers);
        drop_where(headers, is_dropped_from_response);
        self.mark(headers);
    }

    /// Says whose answer it is.
    pub(super) fn mark(&self, headers: &mut HeaderMap) {
        headers.insert(SLOT_ID, self.slot.clone());
    }
}

fn address(peer: IpAddr) -> HeaderValue {
    if peer == IpAddr::V4(std::net::Ipv4Addr::LOCALHOST) {
        return HeaderValue::from_static("127.0.0.1");
    }
    HeaderValue::try_from(peer.to_string()).unwrap_or_else(|_| HeaderValue::from_static("unknown"))
}

fn drop_named_by_connection(headers: &mut HeaderMap) {
    if !headers.contains_key(header::CONNECTION) {
        return;
    }
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok())
        .filter(|name| !KEPT.contains(name))
        .collect();
    for name in named {
        headers.remove(name);
    }
}

fn drop_where(headers: &mut HeaderMap, dropped: fn(&str) -> bool) {
    let names: Vec<HeaderName> =
        headers.keys().filter(|name| dropped(name.as_str())).cloned().collect();
    for name in names {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        pairs.iter().map(pair).collect()
    }

    #[test]
    fn the_backend_hears_of_the_client_from_us_only() {
        let mut request = headers(&[
            ("host", "localhost:3101"),
            ("content-length", "3"),
            ("connection", "close, X-Secret, Host, Content-Length"),
            ("x-secret", "1"),
            ("x-forwarded-for", "10.0.0.1"),
            ("x_forwarded_for", "10.0.0.1"),
            ("x-slot-id", "preview-2"),
            ("cookie", "a=b"),
        ]);
        let own = Own::of("preview-1".parse().unwrap());
        own.rewrite_request(&mut request, [127, 0, 0, 1].into());
        let expected = headers(&[
            ("host", "localhost:3101"),
            ("content-length", "3"),
            ("cookie", "a=b"),
            ("x-forwarded-host", "localhost:3101"),
            ("x-forwarded-for", "127.0.0.1"),
            ("x-forwarded-proto", "http"),
            ("x-slot-id", "preview-1"),
        ]);
        assert_eq!(request, expected);
    }

    #[test]
    fn the_client_hears_nothing_of_the_connection_to_the_backend() {
        let mut response = headers(&[
            ("content-type", "text/plain"),
            ("connection", "keep-alive, x-hop"),
            ("keep-alive", "timeout=5"),
            ("x-hop", "1"),
            ("x-accel-redirect", "/internal"),
            ("x-slot-id", "preview-2"),
        ]);
        Own::of("preview-1".parse().unwrap()).rewrite_response(&mut response);
        assert_eq!(
            response,
            headers(&[("content-type", "text/plain"), ("x-slot-id", "preview-1")])
        );
    }
}
