//! One request and its answer, on a stream of their own.

use std::{future::Future, pin::pin, time::Duration};

use bytes::Bytes;
use http::{Method, Response, StatusCode, Version, header::CONTENT_LENGTH};
use http_body::Body as _;
use http_body_util::BodyExt;
use quinn::{RecvStream, SendStream};

use super::{
    Faults,
    body::Received,
    connection::{Active, Shared},
    frame::{self, DATA, Fault, Reader, code},
    head::{self, Head, Refusal, Refused},
};
use crate::http::{
    Body, Drain, Incoming, Peer,
    conn::{EarlyHints, Handler, RefusedHead},
    date,
    drain::Timeout,
    response,
};

/// Both directions of a stream.
pub(super) struct Ends {
    pub(super) send: SendStream,
    pub(super) receive: RecvStream,
}

/// The way back.
struct Answer {
    send: SendStream,
    connection: quinn::Connection,
    /// How long the client may take nothing.
    limit: Duration,
    drain: Drain,
    /// The same while draining, if nothing is heard of it either.
    drain_idle: Duration,
}

/// Why an answer was not sent.
#[derive(Debug)]
enum Lost {
    /// The client does not want it any more, or is gone.
    Left,
    /// The client took nothing for too long.
    Stalled,
    /// The body broke off on our side.
    Broken,
}

/// What is given to quinn at once: a client that takes some of it is not stalled.
const PIECE: usize = 32 * 1024;

/// Serves one request to its end.
pub(super) async fn serve<S: Handler>(shared: &Shared<S>, ends: Ends, peer: Peer, active: Active, faults: Faults) {
    let Ends { send, receive } = ends;
    let mut answer = Answer {
        send,
        connection: faults.connection.clone(),
        limit: shared.config.write_timeout,
        drain: shared.drain.clone(),
        drain_idle: shared.config.drain_idle,
    };
    let mut reader = Reader::new(receive);
    let received = tokio::time::timeout(shared.config.header_timeout, head::receive(&mut reader, &shared.config)).await;
    let head = match received {
        Ok(Ok(head)) => head,
        Ok(Err(Refused { refusal: Refusal::Fault(fault), .. })) => {
            match fault {
                Fault::Connection(code, reason) => faults.raise(code, reason),
                Fault::Stream(code) => {
                    shared.drain.count_refusal();
                    reader.stop(code);
                    answer.reset(code);
                }
                Fault::Gone => answer.reset(code::INCOMPLETE),
            }
            return;
        }
        refused => {
            let (status, method, target) = match refused {
                Ok(Err(Refused { refusal: Refusal::Status(status), method, target })) => (status, method, target),
                _ => {
                    shared.drain.count_timeout(Timeout::Head);
                    (StatusCode::REQUEST_TIMEOUT, Method::HEAD, Vec::new())
                }
            };
            shared.drain.count_refusal();
            shared.handler.refused(&RefusedHead::new(status, Version::HTTP_3).with_target(&target), &peer);
            active.answer();
            let sent = answer.send_all(shared.handler.refuse(status).await, &method).await;
            reader.stop(code::NO_ERROR);
            drop(sent);
            return;
        }
    };
    let Head { parts, content_length } = head;
    let method = parts.method.clone();
    let received = Received::new(reader, content_length, faults);
    let request = http::Request::from_parts(parts, Incoming::Quic(Box::new(received)));
    let Some(response) = answer.wait(&shared.handler, request, peer).await else { return };
    active.answer();
    match answer.send_all(response, &method).await {
        Ok(()) => {}
        Err(Lost::Left) => answer.reset(code::NO_ERROR),
        Err(Lost::Broken) => answer.reset(code::INTERNAL),
        Err(Lost::Stalled) => {
            shared.drain.count_timeout(Timeout::Write);
            answer.reset(code::INTERNAL);
        }
    }
}

// === impl Answer ===

impl Answer {
    /// Waits for the answer, and sends early hints meanwhile; none if the client leaves before.
    async fn wait<S: Handler>(&mut self, handler: &S, request: http::Request<Incoming>, peer: Peer) -> Option<Response<Body>> {
        let (hints, mut early) = EarlyHints::stream();
        let mut left = pin!(self.send.stopped());
        let mut response = pin!(handler.handle_hinted(request, peer, Some(hints)));
        loop {
            tokio::select! {
                biased;
                Some(headers) = early.recv() => {
                    let status = StatusCode::from_u16(103).unwrap_or_default();
                    self.write(head::answer(status, without_length(headers))).await.ok()?;
                }
                response = &mut response => return Some(response),
                _ = &mut left => return None,
            }
        }
    }

    /// Sends an answer, and waits until the client has it.
    async fn send_all(&mut self, mut response: Response<Body>, method: &Method) -> Result<(), Lost> {
        response::settle(&mut response, method);
        let (mut parts, mut body) = response.into_parts();
        if let Some(length) = body.size_hint().exact().filter(|&length| length > 0) {
            parts.headers.entry(CONTENT_LENGTH).or_insert_with(|| length.into());
        }
        date::add(&mut parts.headers);
        self.write(head::answer(parts.status, parts.headers)).await?;
        self.send_body(&mut body).await?;
        drop(body);
        self.send.finish().map_err(|_| Lost::Left)?;
        // With the last request a connection may be closed, and quinn then throws away what it has not sent.
        let taken = self.send.stopped();
        tokio::select! {
            biased;
            taken = patiently(&self.connection, self.limit, taken) => taken?.map(drop).map_err(|_| Lost::Left),
            () = self.vanished() => Err(Lost::Left),
        }
    }

    /// Resolves while draining, once packets were sent for `drain_idle` and none came: QUIC itself would give up after
    /// `idle_timeout` only. A client that has merely paused acknowledges what it is sent.
    async fn vanished(&self) {
        self.drain.started().await;
        let traffic = || {
            let stats = self.connection.stats();
            (stats.udp_tx.datagrams, stats.udp_rx.datagrams)
        };
        let mut known = traffic();
        loop {
            tokio::time::sleep(self.drain.idle(self.drain_idle)).await;
            let now = traffic();
            if now.1 != known.1 {
                known = now;
            } else if now.0 != known.0 {
                return;
            }
        }
    }

    async fn send_body(&mut self, body: &mut Body) -> Result<(), Lost> {
        let mut left = pin!(self.send.stopped());
        loop {
            let frame = tokio::select! {
                biased;
                frame = body.frame() => frame,
                _ = &mut left => return Err(Lost::Left),
            };
            match frame.transpose().map_err(|_| Lost::Broken)?.map(http_body::Frame::into_data) {
                Some(Ok(data)) if data.is_empty() => {}
                Some(Ok(mut data)) => {
                    self.write(frame::head(DATA, data.len()).freeze()).await?;
                    while !data.is_empty() {
                        let piece = data.split_to(data.len().min(PIECE));
                        self.write(piece).await?;
                    }
                }
                Some(Err(frame)) => {
                    if let Ok(trailers) = frame.into_trailers() {
                        self.write(head::section(None, &trailers)).await?;
                    }
                    return Ok(());
                }
                None => return Ok(()),
            }
        }
    }

    async fn write(&mut self, bytes: Bytes) -> Result<(), Lost> {
        let Self { send, connection, limit, .. } = self;
        patiently(connection, *limit, send.write_chunk(bytes)).await?.map_err(|_| Lost::Left)
    }

    fn reset(&mut self, code: quinn::VarInt) {
        // It fails on a stream that is over.
        _ = self.send.reset(code);
    }
}

/// Waits for a client for as long as it takes something.
async fn patiently<T>(connection: &quinn::Connection, limit: Duration, wait: impl Future<Output = T>) -> Result<T, Lost> {
    let mut wait = pin!(wait);
    if let Some(done) = now(wait.as_mut()).await {
        return Ok(done);
    }
    let progress = || {
        let stats = connection.stats();
        // Not what is acknowledged, for we ask now and then whether the client is still there.
        stats.frame_tx.stream + stats.frame_rx.max_data + stats.frame_rx.max_stream_data
    };
    let mut seen = progress();
    loop {
        if let Ok(done) = tokio::time::timeout(limit, wait.as_mut()).await {
            return Ok(done);
        }
        let now = progress();
        if now == seen {
            return Err(Lost::Stalled);
        }
        seen = now;
    }
}

/// What is ready at once, which costs no timer.
async fn now<F: Future>(mut future: std::pin::Pin<&mut F>) -> Option<F::Output> {
    std::future::poll_fn(|context| {
        std::task::Poll::Ready(match future.as_mut().poll(context) {
            std::task::Poll::Ready(done) => Some(done),
            std::task::Poll::Pending => None,
        })
    })
    .await
}

/// Hints do not speak of the body that follows.
fn without_length(mut headers: http::HeaderMap) -> http::HeaderMap {
    headers.remove(CONTENT_LENGTH);
    headers
}
