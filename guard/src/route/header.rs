//! Names of headers that do not cross a slot's front.
//!
//! Names are in lower case. An underscore counts as a hyphen, because gateways turn both into the
//! same variable.

/// Headers about one connection only.
const HOP_BY_HOP: &[&str] = &[
    "connection",
    "http2-settings",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// What a client may not say of itself: only the front knows it.
const FORWARDING: &[&str] = &[
    "cf-connecting-ip",
    "client-ip",
    "expect",
    "forwarded",
    "proxy",
    "true-client-ip",
    "via",
    "x-client-ip",
    "x-cluster-client-ip",
    "x-host",
    "x-http-host-override",
    "x-real-ip",
    "x-rewrite-url",
    "x-sendfile",
];

const FORWARDING_PREFIXES: &[&str] =
    &["proxy-", "x-accel-", "x-envoy-", "x-forwarded", "x-original-", "x-slot-"];

/// What a backend may not tell the front or the browser: to send a file, or to go elsewhere.
const INSTRUCTIONS: &[&str] = &["alt-svc", "x-sendfile"];

const INSTRUCTION_PREFIXES: &[&str] = &["proxy-", "x-accel-", "x-slot-"];

/// Returns whether a request's header is dropped before the backend sees it.
#[must_use]
pub fn is_dropped_from_request(name: &str) -> bool {
    is_listed(name, FORWARDING, FORWARDING_PREFIXES)
}

/// Returns whether a response's header is dropped before the client sees it.
#[must_use]
pub fn is_dropped_from_response(name: &str) -> bool {
    is_listed(name, INSTRUCTIONS, INSTRUCTION_PREFIXES)
}

fn is_listed(name: &str, names: &[&str], prefixes: &[&str]) -> bool {
    let with_hyphens = name.contains('_').then(|| name.replace('_', "-"));
    let name = with_hyphens.as_deref().unwrap_or(name);
    HOP_BY_HOP.contains(&name)
        || names.contains(&name)
        || prefixes.iter().any(|prefix| name.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_client_says_of_itself_is_dropped() {
        for name in [
            "proxy",
            "connection",
            "x-forwarded-for",
            "x_forwarded_for",
            "x-slot-id",
            "proxy-connection",
            "forwarded",
        ] {
            assert!(is_dropped_from_request(name), "{name}");
        }
        for name in [
            "host",
            "cookie",
            "authorization",
            "content-length",
            "x-request-id",
            "sec-websocket-key",
        ] {
            assert!(!is_dropped_from_request(name), "{name}");
        }
    }

    #[test]
    fn what_a_backend_tells_the_front_is_dropped() {
        for name in ["x-accel-redirect", "x-sendfile", "keep-alive", "alt-svc", "x-slot-id"] {
            assert!(is_dropped_from_response(name), "{name}");
        }
        for name in ["set-cookie", "content-type", "location", "via"] {
            assert!(!is_dropped_from_response(name), "{name}");
        }
    }
}
