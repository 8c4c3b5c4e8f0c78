//! TLS connections, one after another, each for one request.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    task::LocalSet,
};
use tokio_rustls::TlsConnector;

use super::{
    connect::{self, NAME},
    tally::Tally,
};

/// So many clients.
pub(crate) struct Load {
    pub(crate) clients: u64,
    /// They come back with what they got the time before.
    pub(crate) resumes: bool,
}

// === impl Load ===

impl Load {
    pub(crate) async fn run(&self, address: SocketAddr, path: &str, time: Duration) -> Tally {
        let (tally, until) = (Tally::new(), Instant::now() + time);
        let local = LocalSet::new();
        for _ in 0..self.clients {
            let connector = TlsConnector::from(Arc::new(connect::tls(b"http/1.1", self.resumes)));
            let (tally, path, resumes) = (tally.clone(), path.to_owned(), self.resumes);
            local.spawn_local(async move {
                let mut is_first = true;
                while Instant::now() < until {
                    let start = Instant::now();
                    let is_resumed = ask(&connector, address, &path).await;
                    tally.count(start, is_resumed.is_some_and(|is_resumed| is_resumed == (resumes && !is_first)));
                    is_first = false;
                }
            });
        }
        local.await;
        tally
    }
}

/// One request on a connection of its own; whether that was resumed, if there was an answer.
async fn ask(connector: &TlsConnector, address: SocketAddr, path: &str) -> Option<bool> {
    let mut stream = connect::greet(connector, address).await?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {NAME}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut answer = Vec::with_capacity(4096);
    // Some servers close without a goodbye.
    drop(stream.read_to_end(&mut answer).await);
    let is_resumed = stream.get_ref().1.handshake_kind() == Some(rustls::HandshakeKind::Resumed);
    answer.starts_with(b"HTTP/1.1 200 ").then_some(is_resumed)
}
