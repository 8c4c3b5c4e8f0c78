//! One handshake, and what was agreed on.

use std::{
    future::{Future, poll_fn},
    io,
    pin::pin,
    sync::Arc,
};

use rustls::server::Acceptor;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::{LazyConfigAcceptor, server::TlsStream};

use super::{H2, Tls, connection};
use crate::worker::Secure;

/// A connection that has been greeted.
pub(crate) struct Greeted<I> {
    pub(crate) stream: TlsStream<I>,
    /// HTTP/2 was agreed on.
    pub(crate) is_http2: bool,
    /// What scripts are told.
    pub(crate) secure: Arc<Secure>,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refused {
    /// It took too long.
    #[error("the handshake took too long")]
    Timeout,
    /// The two could not agree, or the peer left.
    #[error("{0}")]
    Failed(#[from] io::Error),
}

// === impl Tls ===

impl Tls {
    /// Greets a client.
    pub(crate) async fn greet<I: AsyncRead + AsyncWrite + Unpin>(&self, io: I) -> Result<Greeted<I>, Refused> {
        let timeout = tokio::time::timeout(self.0.config.handshake_timeout, self.accept(io));
        let stream = timeout.await.map_err(|_| Refused::Timeout)??;
        let (_, session) = stream.get_ref();
        let is_http2 = session.alpn_protocol() == Some(H2);
        let secure = Arc::new(Secure { variables: connection::variables(session, self.0.config.client_auth) });
        Ok(Greeted { stream, is_http2, secure })
    }

    /// A permit is held while keys are agreed on and signed for, which is the work, and never while the peer is waited for: a peer
    /// that says nothing, or nothing after its hello, would otherwise keep everybody else out.
    async fn accept<I: AsyncRead + AsyncWrite + Unpin>(&self, io: I) -> io::Result<TlsStream<I>> {
        let hello = LazyConfigAcceptor::new(Acceptor::default(), io).await?;
        let mut permit = self.0.permits.acquire().await.ok();
        let config = self.0.current.read().clone();
        let mut answer = pin!(hello.into_stream(config));
        poll_fn(|context| {
            let polled = answer.as_mut().poll(context);
            permit = None;
            polled
        })
        .await
    }
}
