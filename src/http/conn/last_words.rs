//! What clients are told whose heads are refused before anything else has seen them.

use std::{future::Future, pin::Pin};

use bytes::BytesMut;
use http::{StatusCode, header};
use http_body::Body as _;
use http_body_util::BodyExt;

use super::Handler;
use crate::http::date;

/// A handler that HTTP/1's wire can ask, whatever its type.
pub(super) trait Refuses: Sync {
    /// A whole answer that says `status` and ends its connection.
    fn last_words(&self, status: StatusCode) -> LastWords<'_>;
}

/// An answer on its way.
pub(super) type LastWords<'h> = Pin<Box<dyn Future<Output = BytesMut> + Send + 'h>>;

/// Longer pages are not worth it for a client that breaks the rules.
const MAX_PAGE: u64 = 64 * 1024;

impl<S: Handler> Refuses for S {
    #[cold]
    fn last_words(&self, status: StatusCode) -> LastWords<'_> {
        Box::pin(async move {
            let response = self.refuse(status).await;
            let kind = response.headers().get(header::CONTENT_TYPE).cloned();
            let body = match response.body().size_hint().exact() {
                Some(0..=MAX_PAGE) => response.into_body().collect().await.ok(),
                _ => None,
            };
            match body {
                Some(body) => encode(status, kind.as_ref().map_or(b"text/plain", |kind| kind.as_bytes()), &body.to_bytes()),
                None => encode(status, b"text/plain", format!("{status}\n").as_bytes()),
            }
        })
    }
}

fn encode(status: StatusCode, content_type: &[u8], body: &[u8]) -> BytesMut {
    let length = body.len().to_string();
    let reason = status.canonical_reason().unwrap_or_default();
    let mut bytes = BytesMut::with_capacity(256 + body.len());
    for part in [
        b"HTTP/1.1 ",
        status.as_str().as_bytes(),
        b" ",
        reason.as_bytes(),
        b"\r\ndate: ",
        date::now().as_bytes(),
        b"\r\ncontent-type: ",
        content_type,
        b"\r\ncontent-length: ",
        length.as_bytes(),
        b"\r\nconnection: close\r\n\r\n",
        body,
    ] {
        bytes.extend_from_slice(part);
    }
    bytes
}
