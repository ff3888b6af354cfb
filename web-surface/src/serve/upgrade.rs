//! WebSocket: the only upgrade there is, judged before and tunnelled after.

use guard::diagnostic::{Code, Denial, shown};
use guard::route::Hosts;
use hyper::body::{Body as _, Incoming};
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper::{Method, Request, Response, StatusCode, Version};
use hyper_util::rt::TokioIo;

use super::limits;
use super::refusal::Refusal;

const WEBSOCKET: &[u8] = b"websocket";

/// Returns whether a request asks for a WebSocket; other upgrades are ignored, as HTTP allows.
pub(super) fn is_asked_for(request: &Request<Incoming>) -> bool {
    names_websocket(request.headers())
        && request.version() == Version::HTTP_11
        && tokens(request.headers(), &header::CONNECTION)
            .any(|token| token.eq_ignore_ascii_case(b"upgrade"))
}

fn names_websocket(headers: &HeaderMap) -> bool {
    tokens(headers, &header::UPGRADE).any(|token| token.eq_ignore_ascii_case(WEBSOCKET))
}

fn tokens<'h>(headers: &'h HeaderMap, name: &header::HeaderName) -> impl Iterator<Item = &'h [u8]> {
    let values = headers.get_all(name).iter();
    values.flat_map(|value| value.as_bytes().split(|byte| *byte == b',')).map(<[u8]>::trim_ascii)
}

/// Judges the request.
pub(super) fn judge(request: &Request<Incoming>, hosts: &Hosts) -> Result<(), Refusal> {
    let headers = request.headers();
    let only_websocket = tokens(headers, &header::UPGRADE).count() == 1;
    if !only_websocket {
        return Err(refuse(
            StatusCode::BAD_REQUEST,
            "several protocols in `Upgrade`",
            "`websocket` alone",
        ));
    }
    if request.method() != Method::GET {
        let found = format!("method `{}`", shown(request.method().as_str()));
        return Err(refuse(StatusCode::BAD_REQUEST, &found, "GET"));
    }
    if !request.body().is_end_stream() || headers.contains_key(header::TRANSFER_ENCODING) {
        return Err(refuse(StatusCode::BAD_REQUEST, "a body", "no body"));
    }
    let keys = headers.get_all(header::SEC_WEBSOCKET_KEY).iter().count();
    let version = headers.get(header::SEC_WEBSOCKET_VERSION).map(HeaderValue::as_bytes);
    if keys != 1 || version != Some(b"13") {
        let found = "no single key, or another version than 13";
        return Err(refuse(StatusCode::BAD_REQUEST, found, "`Sec-WebSocket-Key` and version 13"));
    }
    let mut origins = headers.get_all(header::ORIGIN).iter();
    match (origins.next(), origins.next()) {
        (None, _) => Ok(()),
        (Some(origin), None) if hosts.accepts_origin(origin.as_bytes()) => Ok(()),
        (Some(origin), _) => {
            let origin = String::from_utf8_lossy(origin.as_bytes()).into_owned();
            let found = format!("origin `{}`", shown(&origin));
            Err(refuse(StatusCode::FORBIDDEN, &found, "a page of this slot"))
        }
    }
}

fn refuse(status: StatusCode, found: &str, expected: &str) -> Refusal {
    let denial = Denial::new(
        Code::RequestUpgrade,
        "the upgrade to WebSocket is not accepted",
        found,
        expected,
    );
    Refusal::ending(status, denial)
}

/// Refuses a WebSocket beyond the most at one time.
pub(super) fn too_many() -> Refusal {
    let found = format!("{} open WebSockets", limits::TUNNELS);
    refuse(StatusCode::SERVICE_UNAVAILABLE, &found, "fewer of them")
}

/// Asks the backend for the upgrade, in our own words.
pub(super) fn ask(headers: &mut HeaderMap) {
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
}

/// Returns whether the backend agreed to a WebSocket and to nothing else.
pub(super) fn is_granted<B>(response: &Response<B>) -> bool {
    response.status() == StatusCode::SWITCHING_PROTOCOLS && names_websocket(response.headers())
}

/// Moves bytes both ways until one side ends.
pub(super) async fn tunnel(client: OnUpgrade, backend: OnUpgrade) {
    let both = tokio::try_join!(client, backend);
    let Ok((client, backend)) = both else { return };
    let io = |upgraded: Upgraded| TokioIo::new(upgraded);
    let (mut client, mut backend) = (io(client), io(backend));
    // The end of a tunnel is the end of its connections; nobody is left to be told why.
    let _ = tokio::io::copy_bidirectional(&mut client, &mut backend).await;
}
