//! What a head of HTTP/2 must be, beside what h2 sees to.

use http::{
    HeaderMap, HeaderName, HeaderValue, Method, StatusCode,
    header::{CONTENT_LENGTH, COOKIE, HOST},
    uri::{PathAndQuery, Scheme},
};
use hyper::{Request, body::Incoming};

use crate::http::conn::{Config, is_host};

/// The rules that HTTP/1's heads are held to, as far as h2 does not have them itself.
pub(super) fn check(request: &Request<Incoming>, config: &Config) -> Result<(), StatusCode> {
    let uri = request.uri();
    if request.method() == Method::CONNECT {
        return Err(StatusCode::METHOD_NOT_ALLOWED);
    }
    if uri.path_and_query().map_or(0, |path| path.as_str().len()) > config.max_uri {
        return Err(StatusCode::URI_TOO_LONG);
    }
    // An empty length is a zero to h2.
    let has_empty_length = request.headers().get_all(CONTENT_LENGTH).iter().any(HeaderValue::is_empty);
    if !has_target(request) || has_empty_length || request.headers().iter().any(is_padded) {
        return Err(StatusCode::BAD_REQUEST);
    }
    if request.headers().len() > config.max_headers {
        return Err(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
    }
    if has_one_host(request.headers(), uri.authority().map(http::uri::Authority::as_str)) {
        Ok(())
    } else {
        Err(StatusCode::BAD_REQUEST)
    }
}

/// Whether what is asked for has the form that HTTP/1 gives it (RFC 9113, 8.3.1).
fn has_target(request: &Request<Incoming>) -> bool {
    let uri = request.uri();
    let is_web = uri.scheme().is_none_or(|scheme| *scheme == Scheme::HTTP || *scheme == Scheme::HTTPS);
    // None at all looks like a `/` when there is no authority either.
    let is_there = uri.authority().is_some() || uri.clone().into_parts().path_and_query.is_some();
    let path = uri.path_and_query().map_or("", PathAndQuery::as_str);
    let has_form = path.starts_with('/') || path == "*" && request.method() == Method::OPTIONS;
    is_web && is_there && has_form && !path.bytes().any(|byte| byte <= b' ' || byte == 0x7f)
}

/// A value that begins or ends with white space, which HTTP/1 would have taken away (RFC 9113, 8.2.1).
fn is_padded((name, value): (&HeaderName, &HeaderValue)) -> bool {
    let is_space = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    is_space(value.as_bytes().first()) || is_space(value.as_bytes().last()) && name != COOKIE
}

fn has_one_host(headers: &HeaderMap, authority: Option<&str>) -> bool {
    let mut hosts = headers.get_all(HOST).iter().map(http::HeaderValue::as_bytes);
    match (hosts.next(), hosts.next(), authority.map(str::as_bytes)) {
        (Some(host), None, Some(authority)) => is_host(host) && host.eq_ignore_ascii_case(authority),
        (Some(host), None, None) | (None, _, Some(host)) => is_host(host),
        _ => false,
    }
}
