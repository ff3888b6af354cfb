//! Answering with a file of the release.

use guard::diagnostic::{Code, Denial};
use guard::route::PagePath;
use hyper::header::{self, HeaderValue};
use hyper::{HeaderMap, Method, Response, StatusCode};

use super::body::{FileBody, Reply};
use super::negotiate::{self, Part};
use super::refusal::Refusal;
use crate::release::{Asset, Content, Found, Release, Variant};

/// A request for a page.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted<'r> {
    pub(super) method: &'r Method,
    pub(super) headers: &'r HeaderMap,
    /// The raw path, for the way to a directory.
    pub(super) raw_path: &'r str,
    pub(super) query: Option<&'r str>,
}

/// Answers from the release.
pub(super) fn answer(
    release: &Release,
    path: &PagePath<'_>,
    wanted: Wanted<'_>,
) -> Result<Response<Reply>, Refusal> {
    if !matches!(*wanted.method, Method::GET | Method::HEAD) {
        return Err(refuse_method(wanted.method));
    }
    if path.is_hidden() {
        return Ok(not_found());
    }
    match release.find(path.as_str()) {
        Found::Asset(asset) => Ok(file(asset, wanted)),
        Found::Directory => Ok(to_directory(wanted)),
        Found::Nothing if is_navigation(wanted.headers) && !path.names_a_file() => {
            Ok(release.index().map_or_else(not_found, |asset| file(asset, wanted)))
        }
        Found::Nothing => Ok(not_found()),
    }
}

/// Returns whether a browser asks for a page to show, rather than for a part of one.
fn is_navigation(headers: &HeaderMap) -> bool {
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok());
    accept.is_some_and(|accept| accept.contains("text/html"))
}

fn file(asset: &Asset, wanted: Wanted<'_>) -> Response<Reply> {
    let variant = negotiate::variant(asset, wanted.headers);
    if negotiate::is_known(wanted.headers, &variant.etag) {
        let mut response = answer_with(variant, Reply::empty());
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        response.headers_mut().remove(header::CONTENT_LENGTH);
        return response;
    }
    match negotiate::part(wanted.headers, &variant.etag, variant.length) {
        Part::Whole => answer_with(variant, content(variant, 0, variant.length, wanted.method)),
        Part::Bytes { at, length } => {
            let mut response = answer_with(variant, content(variant, at, length, wanted.method));
            *response.status_mut() = StatusCode::PARTIAL_CONTENT;
            response.headers_mut().insert(header::CONTENT_LENGTH, length.into());
            let range = format!("bytes {at}-{}/{}", at + length - 1, variant.length);
            set(&mut response, header::CONTENT_RANGE, range);
            response
        }
        Part::Outside => {
            let mut response = answer_with(variant, Reply::empty());
            *response.status_mut() = StatusCode::RANGE_NOT_SATISFIABLE;
            response.headers_mut().remove(header::CONTENT_LENGTH);
            set(&mut response, header::CONTENT_RANGE, format!("bytes */{}", variant.length));
            response
        }
    }
}

fn answer_with(variant: &Variant, body: Reply) -> Response<Reply> {
    let mut response = Response::new(body);
    response.headers_mut().clone_from(&variant.headers);
    response
}

fn content(variant: &Variant, at: u64, length: u64, method: &Method) -> Reply {
    match &variant.content {
        _ if *method == Method::HEAD => Reply::empty(),
        Content::Memory(bytes) => {
            let place =
                |number: u64| usize::try_from(number).unwrap_or(usize::MAX).min(bytes.len());
            Reply::whole(bytes.slice(place(at)..place(at + length)))
        }
        Content::File(file) => Reply::File(FileBody::new(std::sync::Arc::clone(file), at, length)),
    }
}

/// Sends a browser to the path with a slash, so that relative links hold.
fn to_directory(wanted: Wanted<'_>) -> Response<Reply> {
    let query = wanted.query.map_or_else(String::new, |query| format!("?{query}"));
    let mut response = with_status(StatusCode::MOVED_PERMANENTLY);
    set(&mut response, header::LOCATION, format!("{}/{query}", wanted.raw_path));
    set(&mut response, header::CACHE_CONTROL, "no-cache".to_owned());
    response
}

fn not_found() -> Response<Reply> {
    let mut response = Response::new(Reply::whole("not found\n"));
    *response.status_mut() = StatusCode::NOT_FOUND;
    set(&mut response, header::CONTENT_TYPE, "text/plain; charset=utf-8".to_owned());
    set(&mut response, header::CACHE_CONTROL, "no-store".to_owned());
    response
}

fn with_status(status: StatusCode) -> Response<Reply> {
    let mut response = Response::new(Reply::empty());
    *response.status_mut() = status;
    response
}

fn set(response: &mut Response<Reply>, name: header::HeaderName, value: String) {
    if let Ok(value) = HeaderValue::try_from(value) {
        response.headers_mut().insert(name, value);
    }
}

fn refuse_method(method: &Method) -> Refusal {
    let denial = Denial::new(
        Code::RequestForm,
        "a page cannot be asked for like this",
        format!("method `{}`", guard::diagnostic::shown(method.as_str())),
        "GET or HEAD",
    );
    Refusal::new(StatusCode::METHOD_NOT_ALLOWED, denial).allowing("GET, HEAD")
}
