//! Load over HTTP/3, for want of another generator: `h3-load ADDRESS PATH CONNECTIONS STREAMS SECONDS`, certificates unseen.
//!
//! Prints requests and megabytes per second. With 0 streams the connections, of which each has asked once, only stay open.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "it is what the program is for")]

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use bytes::Buf;
use http::Request;
use quinn::{ClientConfig, Endpoint, crypto::rustls::QuicClientConfig};
use rustls::{
    DigitallySignedStruct, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::aws_lc_rs::default_provider,
    pki_types::{CertificateDer, ServerName, UnixTime},
};

/// Believes everybody.
#[derive(Debug)]
struct Anyone;

#[derive(Debug, Default)]
struct Count {
    requests: AtomicU64,
    bytes: AtomicU64,
    failed: AtomicU64,
}

type Requests = h3::client::SendRequest<h3_quinn::OpenStreams, bytes::Bytes>;

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

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let [address, path, connections, streams, seconds] = &arguments[..] else {
        panic!("h3-load ADDRESS PATH CONNECTIONS STREAMS SECONDS");
    };
    let address: SocketAddr = address.parse().expect("an address");
    let number = |text: &String| text.parse::<u64>().expect("a number");
    let until = Instant::now() + Duration::from_secs(number(seconds));
    let count = Arc::new(Count::default());
    let (mut running, mut idle) = (Vec::new(), Vec::new());
    let endpoint = endpoint();
    for _ in 0..number(connections) {
        let connection = endpoint.connect(address, "server.test").expect("an address").await.expect("a connection");
        let (mut driver, requests) = h3::client::new(h3_quinn::Connection::new(connection)).await.expect("HTTP/3");
        tokio::spawn(async move { std::future::poll_fn(|context| driver.poll_close(context)).await });
        for _ in 0..number(streams) {
            let (requests, path, count) = (requests.clone(), path.clone(), count.clone());
            running.push(tokio::spawn(async move {
                while Instant::now() < until {
                    ask(requests.clone(), &path, &count).await;
                }
            }));
        }
        if number(streams) == 0 {
            ask(requests.clone(), path, &count).await;
            idle.push(requests);
        }
    }
    let began = Instant::now();
    eprintln!("{connections} connections");
    tokio::time::sleep_until(until.into()).await;
    for task in running {
        task.await.expect("no panic");
    }
    let took = began.elapsed().as_secs_f64();
    let of = |counter: &AtomicU64| counter.load(Relaxed) as f64;
    println!(
        "{:.0} requests/s, {:.1} MB/s, {} requests, {} failed",
        of(&count.requests) / took,
        of(&count.bytes) / took / 1e6,
        of(&count.requests),
        of(&count.failed)
    );
}

fn endpoint() -> Endpoint {
    let builder = rustls::ClientConfig::builder_with_provider(Arc::new(default_provider()));
    let builder = builder.with_protocol_versions(&[&rustls::version::TLS13]).expect("TLS 1.3");
    let mut tls = builder.dangerous().with_custom_certificate_verifier(Arc::new(Anyone)).with_no_client_auth();
    tls.alpn_protocols = vec![b"h3".to_vec()];
    let mut endpoint = Endpoint::client("127.0.0.1:0".parse().expect("an address")).expect("a socket");
    endpoint.set_default_client_config(ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).expect("TLS 1.3"))));
    endpoint
}

async fn ask(mut requests: Requests, path: &str, count: &Count) {
    let request = Request::get(format!("https://server.test{path}")).body(()).expect("a path");
    let asked = async {
        let mut stream = requests.send_request(request).await.ok()?;
        stream.finish().await.ok()?;
        let response = stream.recv_response().await.ok()?;
        while let Some(data) = stream.recv_data().await.ok()? {
            count.bytes.fetch_add(data.remaining() as u64, Relaxed);
        }
        response.status().is_success().then_some(())
    };
    let counter = if asked.await.is_some() { &count.requests } else { &count.failed };
    counter.fetch_add(1, Relaxed);
}
