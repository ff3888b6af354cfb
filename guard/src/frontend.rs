//! Literal addresses in the files of a built frontend: what a page would call past its own `/api`.
//!
//! A preview's frontend calls relative `/api` (contract clause RT-1), so a built file has no reason
//! to name a backend, and none at all to name another slot or production. An address that the page
//! puts together when it runs cannot be seen here; the web surface and the routes hold for those.

use std::fmt;

use crate::slot::SlotId;

/// What the files of one slot's frontend may not name.
#[derive(Debug, Clone)]
pub struct AddressRules {
    slot: SlotId,
    own_backend: bool,
    hosts: Vec<(String, Reach)>,
}

/// Whom a literal address leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// The slot's own backend, past `/api`: fine only in the contract's dev fallback.
    OwnBackend,
    /// A service of another slot.
    OtherSlot(SlotId),
    /// A host of production.
    Production,
}

impl fmt::Display for Reach {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OwnBackend => formatter.write_str("the slot's own backend, past /api"),
            Self::OtherSlot(slot) => write!(formatter, "{slot}"),
            Self::Production => formatter.write_str("production"),
        }
    }
}

/// A literal address that stands in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Literal {
    /// The line, from 1.
    pub line: usize,
    /// The column in bytes, from 1.
    pub column: usize,
    /// The address as it stands there.
    pub text: String,
    /// Whom it leads to.
    pub reach: Reach,
}

/// Longest host in front of a port that is looked at, in bytes.
const LONGEST_HOST: usize = 255;

/// A colon as URLs, scripts, JSON and markup can write it.
const COLONS: &[&[u8]] = &[b":", b"%3a", b"\\u003a", b"\\x3a", b"&#58;", b"&#x3a;", b"&colon;"];

impl AddressRules {
    /// Makes the rules of one slot: relative `/api` only, and no host known by name.
    #[must_use]
    pub fn new(slot: SlotId) -> Self {
        Self { slot, own_backend: false, hosts: Vec::new() }
    }

    /// Allows the slot's own backend address, for the contract's dev fallback.
    #[must_use]
    pub fn allowing_own_backend(mut self, allowed: bool) -> Self {
        self.own_backend = allowed;
        self
    }

    /// Adds a host name, and its subdomains, that may not be named.
    #[must_use]
    pub fn refusing_host(mut self, host: &str, reach: Reach) -> Self {
        self.hosts.push((host.to_ascii_lowercase(), reach));
        self
    }

    /// Finds every literal address in a file that these rules do not allow, in order.
    #[must_use]
    pub fn literals(&self, file: &[u8]) -> Vec<Literal> {
        let lower = file.to_ascii_lowercase();
        let mut hits = self.ports(&lower);
        hits.extend(self.names(&lower));
        hits.sort_unstable_by_key(|hit| hit.start);
        hits.dedup_by_key(|hit| hit.start);
        hits.iter().map(|hit| hit.locate(file)).collect()
    }

    fn ports(&self, lower: &[u8]) -> Vec<Hit> {
        let starts = (0..lower.len()).filter(|at| matches!(lower[*at], b':' | b'%' | b'\\' | b'&'));
        starts.filter_map(|at| self.port_at(lower, at)).collect()
    }

    fn port_at(&self, lower: &[u8], at: usize) -> Option<Hit> {
        let colon = COLONS.iter().find(|colon| lower[at..].starts_with(colon))?;
        let digits = at + colon.len();
        let length = lower[digits..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        // Leading zeros are read by every URL parser.
        let port = std::str::from_utf8(&lower[digits..digits + length]).ok()?.parse().ok()?;
        let owner = SlotId::owning_port(port)?;
        let start = host_start(lower, at)?;
        let reach = match owner {
            other if other != self.slot => Reach::OtherSlot(other),
            own if port == own.backend_port() && !self.own_backend => Reach::OwnBackend,
            _ => return None,
        };
        Some(Hit { start, end: digits + length, reach })
    }

    fn names(&self, lower: &[u8]) -> Vec<Hit> {
        let find = |(host, reach): &(String, Reach)| {
            let (host, reach) = (host.as_bytes(), *reach);
            lower
                .windows(host.len())
                .enumerate()
                .filter(|(start, window)| *window == host && is_whole_name(lower, *start, host))
                .map(|(start, _)| Hit { start, end: start + host.len(), reach })
                .collect::<Vec<_>>()
        };
        self.hosts.iter().filter(|(host, _)| !host.is_empty()).flat_map(find).collect()
    }
}

struct Hit {
    start: usize,
    end: usize,
    reach: Reach,
}

impl Hit {
    fn locate(&self, file: &[u8]) -> Literal {
        let before = &file[..self.start];
        let line_start = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        Literal {
            line: 1 + before.iter().filter(|byte| **byte == b'\n').count(),
            column: 1 + self.start - line_start,
            text: String::from_utf8_lossy(&file[self.start..self.end]).into_owned(),
            reach: self.reach,
        }
    }
}

/// Returns where the host in front of a port begins, if what stands there is one.
///
/// A name of this host is one wherever it stands. Any other text is one only behind `//`: `a:8101`
/// is a property of a script, not an address.
fn host_start(lower: &[u8], colon: usize) -> Option<usize> {
    let first = colon.saturating_sub(LONGEST_HOST);
    let is_host = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._[]:".contains(byte);
    let length = lower[first..colon].iter().rev().take_while(|byte| is_host(byte)).count();
    // The two digits of an encoded slash are no part of the host.
    let encoded = if lower[..colon - length].ends_with(b"%") { length.min(2) } else { 0 };
    let start = colon - length + encoded;
    let host = &lower[start..colon];
    let ends = [&b"//"[..], b"\\/\\/", b"%2f%2f", b"@"];
    let behind_slashes = ends.iter().any(|end| lower[..start].ends_with(end));
    (!host.is_empty() && (behind_slashes || names_this_host(host))).then_some(start)
}

fn names_this_host(host: &[u8]) -> bool {
    let Ok(host) = std::str::from_utf8(host) else { return false };
    // What stands in front may be a scheme without slashes, or the end of a word.
    let last = host.trim_start_matches(':');
    let last = last.rsplit_once("::1").map_or(last, |_| "::1");
    last.ends_with("localhost")
        || last == "::1"
        || last == "0.0.0.0"
        || last.rsplit(':').next().is_some_and(|last| {
            last.starts_with("127.") && last.bytes().all(|b| b.is_ascii_digit() || b == b'.')
        })
}

fn is_whole_name(lower: &[u8], start: usize, host: &[u8]) -> bool {
    let part = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'-';
    let rest = &lower[start + host.len()..];
    let goes_on = match rest {
        [b'.', next, ..] => part(next),
        [next, ..] => part(next),
        [] => false,
    };
    !goes_on && !lower[..start].last().is_some_and(part)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slot(text: &str) -> SlotId {
        text.parse().unwrap()
    }

    fn rules() -> AddressRules {
        AddressRules::new(slot("preview-1"))
            .refusing_host("app.example.com", Reach::Production)
            .refusing_host("preview2.example.com", Reach::OtherSlot(slot("preview-2")))
    }

    fn found(text: &str) -> Vec<Reach> {
        rules().literals(text.as_bytes()).into_iter().map(|literal| literal.reach).collect()
    }

    #[test]
    fn rt_1_a_backend_by_its_address_is_found_in_every_spelling() {
        let other = Reach::OtherSlot(slot("preview-2"));
        for text in [
            "fetch('http://127.0.0.1:8102/api')",
            "localhost:8102",
            "LOCALHOST:8102",
            "ws://[::1]:8102",
            "//0.0.0.0:3102/",
            "http:\\/\\/127.0.0.1:8102",
            "http%3A%2F%2F127.0.0.1%3A8102",
            "\"127.0.0.1\\u003a8102\"",
            "http://127.1:8102",
            "http://2130706433:8102",
            "http://build.internal:8102/x",
            "http://u@host:8102",
            "http://127.0.0.1:08102",
            "postgres://127.0.0.1:5102/x",
            "API=127.0.0.1:8102",
        ] {
            assert_eq!(found(text), [other], "{text}");
        }
    }

    #[test]
    fn rt_6_the_slots_own_address_passes_in_the_dev_fallback_only() {
        let text = b"http://127.0.0.1:8101";
        assert_eq!(rules().literals(text)[0].reach, Reach::OwnBackend);
        assert_eq!(rules().allowing_own_backend(true).literals(text), []);
        let other = rules().allowing_own_backend(true).literals(b"http://127.0.0.1:8103");
        assert_eq!(other.len(), 1);
    }

    #[test]
    fn a_configured_host_is_found_as_a_whole_name() {
        for text in ["https://app.example.com/x", "APP.EXAMPLE.COM", "x.app.example.com."] {
            assert_eq!(found(text), [Reach::Production], "{text}");
        }
        assert_eq!(found("//preview2.example.com"), [Reach::OtherSlot(slot("preview-2"))]);
        for text in ["myapp.example.com", "app.example.com.evil.org", "app.example.community"] {
            assert_eq!(found(text), [], "{text}");
        }
    }

    #[test]
    fn what_is_no_address_passes() {
        for text in [
            "fetch('/api/orders')",
            "http://127.0.0.1:3101/",
            "{port:8102}",
            "a?b:8102",
            "12:8102",
            "127.0.0.1:81020",
            "127.0.0.1:8080",
            "localhost",
            "margin:8102px",
            "::8102",
        ] {
            assert_eq!(found(text), [], "{text}");
        }
    }

    #[test]
    fn a_literal_is_placed_by_line_and_column() {
        let literal = &rules().literals(b"a\nb\n  '127.0.0.1:8102'")[0];
        assert_eq!((literal.line, literal.column), (3, 4));
        assert_eq!(literal.text, "127.0.0.1:8102");
    }
}
