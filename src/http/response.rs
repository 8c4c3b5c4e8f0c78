//! From a worker's reply to a response, and the answers that need no worker.

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};

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
