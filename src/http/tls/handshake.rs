//! One handshake, and what was agreed on.

use std::{
    future::{Future, poll_fn},
    io,
    net::SocketAddr,
    pin::pin,
    sync::Arc,
    time::Duration,
};

use quinn::{ConnectionError, TransportErrorCode};
use rustls::{AlertDescription, HandshakeKind, server::Acceptor};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::{LazyConfigAcceptor, server::TlsStream};

use super::{
    H2, Tls,
    acme::{self, Acme},
    connection,
};
use crate::{
    http::{
        Drain,
        drain::{Closed, Timeout},
    },
    telemetry::Seldom,
    worker::Secure,
};

/// A connection that has been greeted.
pub(crate) struct Greeted<I> {
    pub(crate) stream: TlsStream<I>,
    /// HTTP/2 was agreed on.
    pub(crate) is_http2: bool,
    /// A session was resumed.
    pub(crate) is_resumed: bool,
    /// What scripts are told.
    pub(crate) secure: Arc<Secure>,
}

/// How often those who wait for a certificate see whether there will be none.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refused {
    /// It took too long.
    #[error("the handshake took too long")]
    Timeout,
    /// It was no client, but an authority that looks for an answer.
    #[error("an authority's question was answered")]
    Challenge,
    /// It has resumed a session, and the certificate that it showed then is good no more.
    #[error("the client's certificate is good no more")]
    Distrusted,
    /// The two could not agree, or the peer left.
    #[error("{0}")]
    Failed(#[from] io::Error),
    /// The same over QUIC.
    #[error("{0}")]
    FailedQuic(ConnectionError),
}

/// What is said over QUIC of a client's certificate, or of none; over TCP there is the error itself.
const OF_CERTIFICATE: [AlertDescription; 8] = [
    AlertDescription::AccessDenied,
    AlertDescription::BadCertificate,
    AlertDescription::CertificateExpired,
    AlertDescription::CertificateRequired,
    AlertDescription::CertificateRevoked,
    AlertDescription::CertificateUnknown,
    AlertDescription::UnknownCA,
    AlertDescription::UnsupportedCertificate,
];

// === impl Refused ===

impl Refused {
    /// Counts it, and says it: aloud if it was for the client's certificate, which whoever has set up the client wants to know.
    pub(crate) fn note(&self, drain: &Drain, client: Option<SocketAddr>) {
        match self {
            Self::Timeout => drain.count_timeout(Timeout::Handshake),
            Self::Challenge => {}
            Self::Distrusted | Self::Failed(_) | Self::FailedQuic(_) => drain.count_closed(Closed::Tls),
        }
        static SELDOM: Seldom = Seldom::new();
        if self.is_of_certificate()
            && let Some(unsaid) = SELDOM.say()
        {
            tracing::info!(?client, unsaid, "TLS: a client was refused for its certificate: {self}");
        } else {
            tracing::debug!(?client, "TLS: {self}");
        }
    }

    fn is_of_certificate(&self) -> bool {
        match self {
            Self::Distrusted => true,
            Self::Failed(error) => {
                let error = error.get_ref().and_then(|error| error.downcast_ref::<rustls::Error>());
                matches!(error, Some(rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented))
            }
            Self::FailedQuic(ConnectionError::TransportError(error)) => {
                OF_CERTIFICATE.iter().any(|alert| error.code == TransportErrorCode::crypto((*alert).into()))
            }
            Self::Timeout | Self::Challenge | Self::FailedQuic(_) => false,
        }
    }
}

// === impl Tls ===

impl Tls {
    /// Greets a client.
    pub(crate) async fn greet<I: AsyncRead + AsyncWrite + Unpin>(&self, io: I) -> Result<Greeted<I>, Refused> {
        let timeout = tokio::time::timeout(self.0.config.handshake_timeout, self.accept(io));
        let stream = timeout.await.map_err(|_| Refused::Timeout)??;
        let (_, session) = stream.get_ref();
        let is_resumed = session.handshake_kind() == Some(HandshakeKind::Resumed);
        if is_resumed && !self.still_trusts(session.peer_certificates()) {
            return Err(Refused::Distrusted);
        }
        let is_http2 = session.alpn_protocol() == Some(H2);
        let secure = Arc::new(Secure { variables: connection::variables(session, self.0.config.client_auth) });
        Ok(Greeted { stream, is_http2, is_resumed, secure })
    }

    /// A permit is held while keys are agreed on and signed for, which is the work, and never while the peer is waited for: a peer
    /// that says nothing, or nothing after its hello, would otherwise keep everybody else out.
    async fn accept<I: AsyncRead + AsyncWrite + Unpin>(&self, io: I) -> Result<TlsStream<I>, Refused> {
        let hello = LazyConfigAcceptor::new(Acceptor::default(), io).await?;
        if let Some(acme) = &self.0.acme {
            let client = hello.client_hello();
            let name = client.server_name().unwrap_or_default().to_owned();
            if client.alpn().is_some_and(|mut spoken| spoken.any(|protocol| protocol == acme::ACME_TLS)) {
                let greeting = acme.greeting(&name, &self.0.provider).ok_or_else(|| io::Error::other("no challenge is open"))?;
                hello.into_stream(greeting).await?;
                return Err(Refused::Challenge);
            }
            self.wait_for(&name, acme).await;
        }
        let mut permit = self.0.permits.acquire().await.ok();
        let config = self.0.current.read().server.clone();
        let mut answer = pin!(hello.into_stream(config));
        poll_fn(|context| {
            let polled = answer.as_mut().poll(context);
            permit = None;
            polled
        })
        .await
        .map_err(Refused::Failed)
    }

    /// Has a certificate issued for a name that gets one when it is first asked for. Ends with the handshake's time.
    async fn wait_for(&self, name: &str, acme: &Acme) {
        while !self.0.current.read().certificates.has(name) && acme.ask_for(name) {
            // Neither a failure nor a change between these two lines wakes anybody, so both are looked for.
            drop(tokio::time::timeout(LOOK_AGAIN, self.0.changed.subscribe().changed()).await);
        }
    }
}
