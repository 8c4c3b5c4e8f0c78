//! Connections that were answered and are kept, or were never used: what each of them costs. `./x attack` takes 18,000 of each kind.

use std::{
    net::SocketAddr,
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use socket2::{Domain, Socket, Type};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::TcpStream,
};

use super::{
    swarm::{Member, Swarm, descriptors},
    target,
};
use crate::harness::{
    Office, PATIENCE,
    census::Census,
    frames::{SETTINGS, frame, get},
    h3, reference, wait_until,
};

/// What is kept.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Kind {
    Silent,
    Plain,
    Tls,
    H2c,
    H2,
    H3,
}

const KINDS: [Kind; 6] = [Kind::Silent, Kind::Plain, Kind::Tls, Kind::H2c, Kind::H2, Kind::H3];

#[test]
fn some_idle_connections_of_each_kind_are_kept() {
    for kind in KINDS {
        hold(kind, 200);
    }
}

#[test]
#[ignore = "./x attack: 18,000 of each kind, some minutes"]
fn thousands_of_idle_connections_of_each_kind_are_kept() {
    for kind in KINDS.into_iter().filter(|kind| *kind != Kind::H3) {
        hold(kind, 18_000.min(descriptors()));
    }
}

#[test]
#[ignore = "./x attack: 18,000 of them"]
fn thousands_of_idle_http3_connections_are_kept() {
    hold(Kind::H3, 18_000);
}

fn hold(kind: Kind, count: usize) {
    if reference().is_some() {
        return;
    }
    let target = target(|setup| {
        setup
            .option("http.limits.max_connections=19000")
            .option("http.limits.header_timeout=10m")
            .option("http.limits.keepalive_timeout=10m")
            .option("http.http3.idle_timeout=10m")
    });
    let before = Census::settled(&target.server);
    let (plain, secure, tls) = (target.server.address, target.office.port, Arc::new(tls(&target.office, kind)));
    let keeper = (kind == Kind::H3).then(|| Arc::new(Keeper { config: h3::config(&target.office), endpoint: OnceLock::new() }));
    let begun = Instant::now();
    let keepers = keeper.clone();
    let swarm = Swarm::start(count, move |member| {
        let (tls, keeper) = (tls.clone(), keepers.clone());
        async move {
            match (kind, keeper) {
                (_, Some(keeper)) => keeper.live(secure, member).await,
                (Kind::Silent | Kind::Plain | Kind::H2c, _) => {
                    live(kind, TcpStream::connect(plain).await.map_err(text)?, member).await
                }
                _ => live(kind, greet(tls, secure).await?, member).await,
            }
        }
    });
    swarm.gathered(count);
    let took = begun.elapsed();
    let now = Census::settled(&target.server);
    let of = |kilobytes: u64, then: u64| kilobytes.saturating_sub(then) as f64 * 1024.0 / count as f64;
    eprintln!(
        "{:8} {count} idle connections, {took:.1?} to make them: {:.0} bytes each ({:.0} in the supervisor)",
        format!("{kind:?}"),
        of(now.engine.kilobytes, before.engine.kilobytes),
        of(now.supervisor.kilobytes, before.supervisor.kilobytes)
    );
    assert!(kind == Kind::H3 || now.engine.sockets >= before.engine.sockets + count, "{now:?}");
    // While they are there.
    super::is_answered(&target.server, &target.office);
    assert_eq!((swarm.cut(), swarm.failed()), (0, 0));
    if let Some(endpoint) = keeper.as_ref().and_then(|keeper| keeper.endpoint.get()) {
        // Else the server would take them for idle still.
        endpoint.close(0_u32.into(), b"");
        assert!(wait_until(PATIENCE, || endpoint.open_connections() == 0));
    }
    drop(swarm);
    // What the allocator keeps of it.
    target.is_well_within(64 * 1024 + 32 * count as u64);
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// Asks once, unless it is silent, and then waits.
async fn live(kind: Kind, mut stream: impl AsyncRead + AsyncWrite + Unpin, mut member: Member) -> Result<(), String> {
    let mut answer = vec![0; 4096];
    match kind {
        Kind::Silent => {}
        Kind::Plain | Kind::Tls => {
            stream.write_all(b"GET /well.php HTTP/1.1\r\nHost: x\r\n\r\n").await.map_err(text)?;
            until(&mut stream, &mut answer, b"well").await?;
        }
        Kind::H2c | Kind::H2 | Kind::H3 => {
            let hello = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &frame(SETTINGS, 0, 0, &[])[..], &get(1, "/well.php")].concat();
            stream.write_all(&hello).await.map_err(text)?;
            until(&mut stream, &mut answer, b"well").await?;
            stream.write_all(&frame(SETTINGS, 1, 0, &[])).await.map_err(text)?;
        }
    }
    drop(answer);
    member.is_open();
    while matches!(stream.read(&mut [0; 64]).await, Ok(1..)) {}
    Ok(())
}

async fn until(stream: &mut (impl AsyncRead + Unpin), buffer: &mut [u8], end: &[u8]) -> Result<(), String> {
    let mut filled = 0;
    while !buffer[..filled].ends_with(end) {
        match stream.read(&mut buffer[filled..]).await.map_err(text)? {
            0 => return Err(format!("closed after {filled} bytes")),
            count => filled += count,
        }
    }
    Ok(())
}

fn tls(office: &Office, kind: Kind) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(office.path("ca.pem")).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![if kind == Kind::H2 { b"h2".to_vec() } else { b"http/1.1".to_vec() }];
    config
}

async fn greet(config: Arc<ClientConfig>, address: SocketAddr) -> Result<tokio_rustls::client::TlsStream<TcpStream>, String> {
    let stream = TcpStream::connect(address).await.map_err(text)?;
    let name = ServerName::try_from("server.test").map_err(text)?;
    let greeting = tokio_rustls::TlsConnector::from(config).connect(name, stream);
    tokio::time::timeout(Duration::from_secs(60), greeting).await.map_err(text)?.map_err(text)
}

/// Connections of HTTP/3 that share a socket.
#[derive(Debug)]
struct Keeper {
    config: quinn::ClientConfig,
    endpoint: OnceLock<quinn::Endpoint>,
}

/// With room for what all connections may be sent at once: what the kernel drops here comes again after seconds, and some handshakes
/// take too long.
fn endpoint() -> quinn::Endpoint {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, None).unwrap();
    socket.set_recv_buffer_size(4 << 20).unwrap();
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    quinn::Endpoint::new(quinn::EndpointConfig::default(), None, socket.into(), Arc::new(quinn::TokioRuntime)).unwrap()
}

// === impl Keeper ===

impl Keeper {
    async fn live(&self, address: SocketAddr, mut member: Member) -> Result<(), String> {
        // Here, for it belongs to the runtime.
        let endpoint = self.endpoint.get_or_init(endpoint);
        let connecting = endpoint.connect_with(self.config.clone(), address, "server.test").map_err(text)?;
        let connection = connecting.await.map_err(text)?;
        let (mut send, mut receive) = connection.open_bi().await.map_err(text)?;
        let head = [(":method", "GET"), (":scheme", "https"), (":authority", "server.test"), (":path", "/well.php")];
        send.write_all(&h3::frame(1, &h3::section(&head))).await.map_err(text)?;
        send.finish().map_err(text)?;
        let answer = receive.read_to_end(4096).await.map_err(text)?;
        if !answer.ends_with(b"well") {
            return Err(format!("answered {answer:?}"));
        }
        drop((send, receive, answer));
        member.is_open();
        connection.closed().await;
        Ok(())
    }
}
