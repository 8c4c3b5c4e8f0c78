//! How connections are made.

use std::{net::SocketAddr, sync::Arc};

use quinn::{ClientConfig, Endpoint, EndpointConfig, TokioRuntime, TransportConfig, crypto::rustls::QuicClientConfig};
use rustls::{
    DigitallySignedStruct, SignatureScheme,
    client::{
        Resumption,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::aws_lc_rs::{default_provider, kx_group::X25519},
    pki_types::{CertificateDer, ServerName, UnixTime},
};
use socket2::{Domain, Socket, Type};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};

/// The name that servers are asked for.
pub(crate) const NAME: &str = "server.test";

/// Believes everybody.
#[derive(Debug)]
struct Anyone;

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        default_provider().signature_verification_algorithms.supported_schemes()
    }
}

/// TLS 1.3 by X25519, which every server has: what is compared is no choice of ours.
pub(crate) fn tls(protocol: &[u8], resumes: bool) -> rustls::ClientConfig {
    let mut provider = default_provider();
    provider.kx_groups = vec![X25519];
    let builder = rustls::ClientConfig::builder_with_provider(Arc::new(provider));
    let builder = builder.with_protocol_versions(&[&rustls::version::TLS13]).expect("TLS 1.3");
    let mut config = builder.dangerous().with_custom_certificate_verifier(Arc::new(Anyone)).with_no_client_auth();
    config.alpn_protocols = vec![protocol.to_vec()];
    if !resumes {
        config.resumption = Resumption::disabled();
    }
    config
}

/// A TLS connection by `connector`; none if it fails.
pub(crate) async fn greet(connector: &TlsConnector, address: SocketAddr) -> Option<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(address).await.ok()?;
    stream.set_nodelay(true).ok()?;
    let name = ServerName::try_from(NAME).expect("a name");
    connector.connect(name, stream).await.ok()
}

/// A socket for QUIC connections. They take as much as a browser's do.
pub(crate) fn endpoint() -> Endpoint {
    let address: SocketAddr = "127.0.0.1:0".parse().expect("an address");
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, None).expect("a socket");
    // Else the kernel drops what comes while this process does something else.
    socket.set_recv_buffer_size(4 << 20).expect("a buffer");
    socket.bind(&address.into()).expect("a port");
    let mut endpoint = Endpoint::new(EndpointConfig::default(), None, socket.into(), Arc::new(TokioRuntime)).expect("a socket");
    let mut config = ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls(b"h3", false)).expect("TLS 1.3")));
    let mut transport = TransportConfig::default();
    transport.stream_receive_window((6_u32 << 20).into()).receive_window((15_u32 << 20).into());
    config.transport_config(Arc::new(transport));
    endpoint.set_default_client_config(config);
    endpoint
}
