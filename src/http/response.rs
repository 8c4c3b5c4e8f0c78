//! From a worker's reply to a response, and the answers that need no worker.

use bytes::Bytes;
use http::{HeaderValue, Method, Response, StatusCode, header};
use http_body::Body as _;

use super::Body;
use crate::worker::{Reply, ReplyBody};

/// The response that a reply asks for.
pub(crate) fn from_reply(reply: Reply) -> Response<Body> {
    let Reply { head, body, .. } = reply;
    let mut response = Response::new(match body {
        ReplyBody::Whole(bytes) => Body::from(bytes),
        ReplyBody::Stream(reader) => Body::Output(reader),
    });
    *response.status_mut() = head.status;
    *response.headers_mut() = head.headers;
    if let Some(reason) = head.reason
        && let Ok(reason) = hyper::ext::ReasonPhrase::try_from(&*reason)
    {
        response.extensions_mut().insert(reason);
    }
    // A whole body's length is known better here; a script's own claim stands for HEAD, where there is no body.
    if let Body::Bytes(bytes) = response.body()
        && response.headers().contains_key(header::CONTENT_LENGTH)
    {
        let length = HeaderValue::from(bytes.len());
        response.headers_mut().insert(header::CONTENT_LENGTH, length);
    }
    response
}

/// Whether an answer may have a body (RFC 9110, 6.4.1 and 15.3.6).
pub(super) fn may_have_body(status: StatusCode, method: &Method) -> bool {
    *method != Method::HEAD && !is_bare(status)
}

/// Takes the body away from an answer that may have none, whoever gave it one: hyper sees to that for HTTP/1 alone. What answers HEAD
/// keeps the length that GET would have had, if that is known: of what a script echoes it is not, for PHP throws it away (9.3.2).
pub(super) fn settle(response: &mut Response<Body>, method: &Method) {
    let status = response.status();
    if may_have_body(status, method) {
        return;
    }
    let length = response.body().size_hint().exact();
    *response.body_mut() = Body::Empty;
    let headers = response.headers_mut();
    if is_bare(status) {
        // HTTP/2 clients take one for an error; of what a 304 speaks of, a script's body there is not the length.
        headers.remove(header::CONTENT_LENGTH);
    } else if let Some(length) = length.filter(|&length| length > 0) {
        headers.entry(header::CONTENT_LENGTH).or_insert_with(|| length.into());
    }
}

fn is_bare(status: StatusCode) -> bool {
    matches!(status, StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT | StatusCode::NOT_MODIFIED)
}

/// Marks an answer whose words are the server's own, for which a site may have a page of its own.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ours;

/// An answer of ours that says its status and nothing more.
pub(crate) fn plain(status: StatusCode) -> Response<Body> {
    let text = format!("{} {}\n", status.as_u16(), status.canonical_reason().unwrap_or(""));
    let mut response = Response::new(Body::from(Bytes::from(text)));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    if status.is_client_error() || status.is_server_error() {
        response.extensions_mut().insert(Ours);
    }
    response
}

/// The pool has no room: try again soon.
pub(crate) fn overloaded() -> Response<Body> {
    let mut response = plain(StatusCode::SERVICE_UNAVAILABLE);
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    response
}

/// A redirect to `location`.
pub(crate) fn redirect(status: StatusCode, location: &str) -> Response<Body> {
    let Ok(location) = HeaderValue::from_str(location) else { return plain(StatusCode::BAD_REQUEST) };
    let mut response = plain(status);
    response.headers_mut().insert(header::LOCATION, location);
    response
}
