//! HTTP/1 connections.

use std::{
    convert::Infallible,
    future::{Future, poll_fn},
    pin::pin,
    sync::Arc,
    task::Poll,
};

use bytes::BytesMut;
use http::{HeaderValue, StatusCode, Version, header::CONNECTION};
use hyper::{Request, body::Incoming, service::service_fn};
use tokio::io::{AsyncRead, AsyncWrite};

use super::{
    EarlyHints, Handler, RefusedHead, Server,
    link::{Expired, Link, Timer},
    wire::Wire,
};
use crate::http::{Body, Peer, accept::SendFile, crowd::Listened, date, drain::Timeout, response};

/// Serves `io`, from which `read` was already read.
pub(super) async fn serve<S, I>(server: &Server<S>, (io, read): (I, BytesMut), peer: Peer, listened: Listened)
where
    S: Handler,
    I: AsyncRead + AsyncWrite + SendFile + Unpin,
{
    let link = Arc::new(Link::new(server.config.clone(), server.drain.clone()));
    let sends_files = io.sends_files();
    let _seat = server.drain.crowd().seat(link.clone(), listened);
    let service = service_fn(|request: Request<Incoming>| {
        let link = link.clone();
        let number = link.count_request();
        let hints = (request.version() == Version::HTTP_11).then(|| EarlyHints::new(link.clone(), number));
        let (handler, peer, method) = (server.handler.clone(), peer.clone(), request.method().clone());
        async move {
            let mut response = handler.handle_hinted(request.map(Into::into), peer, hints).await;
            response::settle(&mut response, &method);
            if sends_files && let Body::File(file) = response.body_mut() {
                file.go_unseen(link.unseen.clone());
            }
            response.body().close_with(|| link.clone());
            if link.is_last(number) {
                link.count_closed(false);
                response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            date::add(response.headers_mut());
            Ok::<_, Infallible>(response)
        }
    });
    let wire = Wire::new((io, read), link.clone(), (&server.handler, &peer));
    let mut connection = pin!(server.http1.serve_connection(wire, service));
    let mut drain = server.drain.signal();
    let mut timer = Timer::default();
    let result = poll_fn(|context| {
        link.set_task(context);
        if drain.hear(context) {
            link.hurry();
        }
        loop {
            let polled = connection.as_mut().poll(context);
            if polled.is_ready() {
                return polled;
            }
            if link.is_closed() {
                return Poll::Ready(Ok(()));
            }
            if link.takes_leave() {
                link.count_closed(true);
                return Poll::Ready(Ok(()));
            }
            if timer.poll(context, link.deadline()).is_pending() {
                return Poll::Pending;
            }
            match link.expired() {
                Expired::Lingering => return Poll::Ready(Ok(())),
                Expired::Timeout(reason) => {
                    link.drain.count_timeout(reason);
                    // A slow head is told so: the wire answers at hyper's next read, which is now.
                    if reason != Timeout::Head {
                        return Poll::Ready(Ok(()));
                    }
                }
            }
        }
    })
    .await;
    if let Err(error) = result {
        ended_early(server, &link, &peer, &error);
    }
}

fn ended_early<S: Handler>(server: &Server<S>, link: &Link, peer: &Peer, error: &hyper::Error) {
    // hyper has refused a head by itself, in its own words.
    if error.is_parse() {
        link.drain.count_refusal();
        let status =
            if error.is_parse_too_large() { StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE } else { StatusCode::BAD_REQUEST };
        server.handler.refused(&RefusedHead::new(status, Version::HTTP_11), peer);
    }
    tracing::debug!(%error, "connection ended early");
}
