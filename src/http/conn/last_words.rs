//! What clients are told whose heads are refused before anything else has seen them.

use std::{future::Future, pin::Pin};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Response, StatusCode, header};
use http_body::Body as _;
use http_body_util::BodyExt;

use super::{Handler, RefusedHead};
use crate::http::{Body, Peer, date, response};

/// A handler that HTTP/1's wire can ask, whatever its type.
pub(super) trait Refuses: Sync {
    /// A whole answer that says `status` and ends its connection.
    fn last_words(&self, status: StatusCode) -> LastWords<'_>;

    /// Tells it of a request that nobody is asked to answer.
    fn note(&self, refused: &RefusedHead, peer: &Peer);
}

/// An answer on its way.
pub(super) type LastWords<'h> = Pin<Box<dyn Future<Output = BytesMut> + Send + 'h>>;

/// Longer pages are not worth it for a client that breaks the rules.
const MAX_PAGE: u64 = 64 * 1024;

impl<S: Handler> Refuses for S {
    #[cold]
    fn last_words(&self, status: StatusCode) -> LastWords<'_> {
        Box::pin(async move {
            let page = match whole(self.refuse(status).await).await {
                None => whole(response::plain(status)).await,
                page => page,
            };
            let (headers, body) = page.unwrap_or_default();
            let content_type = headers.get(header::CONTENT_TYPE).map_or(&b"text/plain"[..], |kind| kind.as_bytes());
            encode(status, content_type, &body)
        })
    }

    #[cold]
    fn note(&self, refused: &RefusedHead, peer: &Peer) {
        self.refused(refused, peer);
    }
}

/// None if it is too long, or cannot be read.
async fn whole(response: Response<Body>) -> Option<(HeaderMap, Bytes)> {
    let (head, body) = response.into_parts();
    body.size_hint().exact().filter(|length| *length <= MAX_PAGE)?;
    Some((head.headers, body.collect().await.ok()?.to_bytes()))
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
