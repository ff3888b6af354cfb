//! The configuration of Caddy for every slot, as the JSON that it runs.
//!
//! Caddy matches a cleaned path without regard to case and forwards the raw one. The raw one is
//! therefore refused first where it has a second spelling.

use serde_json::{Map, Value, json};

use super::super::front::{CLEARED, Front};

const SECOND: u64 = 1_000_000_000;

/// Returns the configuration, whole.
#[must_use]
pub fn render(fronts: &[Front]) -> String {
    let mut text = serde_json::to_string_pretty(&configuration(fronts)).unwrap_or_default();
    text.push('\n');
    text
}

fn configuration(fronts: &[Front]) -> Value {
    let servers: Map<String, Value> =
        fronts.iter().map(|front| (front.slot().to_string(), server(front))).collect();
    json!({ "admin": { "disabled": true }, "apps": { "http": { "servers": servers } } })
}

/// A raw path that has one spelling, and the rest of the target.
const PLAIN: &str = r"^/(?:[!-$&->@-\[\]-~]|(?i:%(?:2[0-46-9a-c]|3[a-f]|40|5[bde]|60|7[b-d])|%(?:c[2-9a-f]|d[0-9a-f])%[89ab][0-9a-f]|%e[0-9a-f](?:%[89ab][0-9a-f]){2}|%f[0-4](?:%[89ab][0-9a-f]){3}))*(?:\?|$)";

/// Components that are not plain, and first components that only some readers take for `/api`.
const TRICKS: &str =
    r"^[^?]*//|^[^?]*/\.\.?(?:[/;%?]|$)|^/(?i:api)[;%]|^/(?:A[Pp][Ii]|aP[Ii]|apI)(?:[/?]|$)";

/// A length of a body from 105,000,000 on; what is between that and the limit is cut while it is read.
const TOO_LONG: &str = r"^0*(?:[2-9][0-9]{8}|1[1-9][0-9]{7}|10[5-9][0-9]{6}|[0-9]{10,})$";

fn server(front: &Front) -> Value {
    json!({
        "listen": [front.address()],
        "protocols": ["h1"],
        "automatic_https": { "disable": true },
        "read_header_timeout": 30 * SECOND,
        "idle_timeout": 30 * SECOND,
        "max_header_bytes": 32 * 1024,
        "routes": routes(front),
    })
}

fn routes(front: &Front) -> Vec<Value> {
    let raw = |pattern: &str| json!({ "vars_regexp": { "{http.request.orig_uri}": { "pattern": pattern } } });
    let hosts: Vec<&str> = front.hosts().collect();
    let websocket = json!({ "Upgrade": { "pattern": "(?i)^websocket$" } });
    let index = json!([
        { "handler": "rewrite", "uri": "/index.html" },
        files(front),
    ]);
    vec![
        json!({ "match": [{ "not": [raw(PLAIN)] }, raw(TRICKS)], "handle": [refuse(400)] }),
        json!({ "match": [{ "not": [{ "header": { "Host": hosts } }] }], "handle": [refuse(421)] }),
        json!({
            "match": [{ "vars_regexp": { "{http.request.header.Content-Length}": { "pattern": TOO_LONG } } }],
            "handle": [refuse(413)],
        }),
        json!({ "match": [{ "method": ["TRACE", "CONNECT"] }], "handle": [refuse(405)] }),
        json!({ "match": unwelcome_upgrades(front), "handle": [refuse(403)] }),
        json!({
            "match": [{ "not": [{ "header_regexp": websocket }] }],
            "handle": [{ "handler": "headers", "request": { "delete": ["Upgrade", "Http2-Settings"] } }],
        }),
        json!({ "match": [{ "path": ["/api", "/api/*"] }], "handle": api(front) }),
        json!({ "match": [{ "not": [{ "method": ["GET", "HEAD"] }] }], "handle": [refuse(405)] }),
        json!({ "match": [{ "path_regexp": { "pattern": r"/\." } }], "handle": [missing()] }),
        json!({
            "match": [{ "file": {
                "root": front.release(),
                "try_files": ["{http.request.uri.path}", "{http.request.uri.path}/index.html"],
            } }],
            "handle": [
                { "handler": "rewrite", "uri": "{http.matchers.file.relative}" },
                files(front),
            ],
        }),
        json!({
            "match": [{
                "path_regexp": { "pattern": r"/[^/.]*$" },
                "header": { "Accept": ["*text/html*"] },
            }],
            "handle": index,
        }),
        json!({ "handle": [missing()] }),
    ]
}

/// The upgrades to WebSocket that are refused: each lacks one thing that it must have.
///
/// A header that stands twice is compared as both values with a comma.
fn unwelcome_upgrades(front: &Front) -> Vec<Value> {
    let origin = format!("(?i)^(?:https?://(?:{}))?$", front.hosts_pattern());
    let header = |name: &str, pattern: &str| {
        let name = format!("{{http.request.header.{name}}}");
        json!({ "vars_regexp": { name: { "pattern": pattern } } })
    };
    let needed = [
        json!({ "method": ["GET"] }),
        json!({ "header": { "Content-Length": null } }),
        header("Upgrade", "(?i)^websocket$"),
        header("Sec-Websocket-Version", "^13$"),
        header("Sec-Websocket-Key", "^[0-9A-Za-z+/=]{8,}$"),
        header("Origin", &origin),
    ];
    let lacking = |needed: &Value| {
        let upgrade = json!({ "Upgrade": { "pattern": "(?i)websocket" } });
        json!({ "header_regexp": upgrade, "not": [needed] })
    };
    needed.iter().map(lacking).collect()
}

fn api(front: &Front) -> Value {
    let slot = front.slot().to_string();
    let mut cleared: Vec<&str> = CLEARED.to_vec();
    cleared.extend([
        "X-Forwarded-*",
        "X-Original-*",
        "X-Slot-*",
        "X-Envoy-*",
        "X-Accel-*",
        "X_*",
        "Te",
        "Keep-Alive",
    ]);
    json!([
        { "handler": "request_body", "max_size": 100 * 1024 * 1024 },
        { "handler": "headers", "request": { "delete": cleared } },
        {
            "handler": "reverse_proxy",
            "upstreams": [{ "dial": front.upstream() }],
            "flush_interval": -1,
            "headers": {
                "request": { "set": {
                    "X-Forwarded-For": ["{http.request.remote.host}"],
                    "X-Forwarded-Host": ["{http.request.hostport}"],
                    "X-Forwarded-Proto": ["http"],
                    "X-Slot-Id": [slot],
                } },
                "response": {
                    "delete": ["X-Accel-*", "X-Sendfile", "Alt-Svc"],
                    "set": { "X-Slot-Id": [slot] },
                },
            },
            "transport": {
                "protocol": "http",
                "dial_timeout": SECOND,
                "response_header_timeout": 60 * SECOND,
                "compression": false,
                "versions": ["1.1"],
            },
        },
    ])
}

fn files(front: &Front) -> Value {
    json!({ "handler": "file_server", "root": front.release(), "canonical_uris": false })
}

fn refuse(status: u16) -> Value {
    json!({ "handler": "static_response", "status_code": status, "close": true })
}

fn missing() -> Value {
    json!({ "handler": "static_response", "status_code": 404 })
}
