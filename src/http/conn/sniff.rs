//! Which protocol a connection speaks.

use std::io;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt};

use super::{Handler, Server};
use crate::http::{
    crowd::Listened,
    drain::{Closed, Timeout},
};

/// What is spoken on a connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Protocol {
    /// HTTP/1.
    Http1,
    /// HTTP/2, agreed on by ALPN.
    Http2,
    /// Either; the first bytes tell.
    Sniff,
}

const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The protocol, and what was read to know it. None if the peer left or took too long.
pub(super) async fn choose<S: Handler, I: AsyncRead + Unpin>(
    mut io: I,
    protocol: Protocol,
    server: &Server<S>,
    listened: &Listened,
) -> Option<(Protocol, BytesMut, I)> {
    let mut read = BytesMut::new();
    if protocol != Protocol::Sniff {
        return Some((protocol, read, io));
    }
    let hurry = async {
        server.drain.started().await;
        tokio::time::sleep(server.drain.idle(server.config.drain_idle)).await;
    };
    let protocol = tokio::select! {
        protocol = compare(&mut io, &mut read) => protocol.ok()?,
        () = tokio::time::sleep(server.config.header_timeout) => {
            server.drain.count_timeout(if read.is_empty() { Timeout::First } else { Timeout::Head });
            return None;
        }
        () = server.drain.crowd().asked_to_leave(listened) => {
            server.drain.count_closed(Closed::Room);
            return None;
        }
        () = hurry => {
            server.drain.count_timeout(Timeout::Idle);
            return None;
        }
    };
    Some((protocol, read, io))
}

async fn compare<I: AsyncRead + Unpin>(io: &mut I, read: &mut BytesMut) -> io::Result<Protocol> {
    read.reserve(1024);
    while read.len() < PREFACE.len() {
        // An end after some bytes is HTTP/1's to judge.
        if io.read_buf(read).await? == 0 || !PREFACE.starts_with(&read[..read.len().min(PREFACE.len())]) {
            return Ok(Protocol::Http1);
        }
    }
    Ok(if read.starts_with(PREFACE) { Protocol::Http2 } else { Protocol::Http1 })
}
