//! Requests over HTTP/3.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use bytes::Buf;
use http::Request;
use quinn::Endpoint;
use tokio::task::LocalSet;

use super::{
    connect::{self, NAME},
    tally::Tally,
};

/// So many requests at once.
pub(crate) struct Load {
    pub(crate) connections: u64,
    /// On each connection.
    pub(crate) streams: u64,
}

pub(crate) type Requests = h3::client::SendRequest<h3_quinn::OpenStreams, bytes::Bytes>;

// === impl Load ===

impl Load {
    pub(crate) async fn run(&self, address: SocketAddr, path: &str, time: Duration) -> Tally {
        let local = LocalSet::new();
        local.run_until(self.ask(address, path, time)).await
    }

    async fn ask(&self, address: SocketAddr, path: &str, time: Duration) -> Tally {
        let endpoint = connect::endpoint();
        let mut connections = Vec::new();
        for _ in 0..self.connections {
            connections.push(connect(&endpoint, address).await.expect("a connection"));
        }
        let (tally, until) = (Tally::new(), Instant::now() + time);
        let mut running = Vec::new();
        for requests in connections {
            for _ in 0..self.streams {
                let (mut requests, path, tally) = (requests.clone(), path.to_owned(), tally.clone());
                running.push(tokio::task::spawn_local(async move {
                    while Instant::now() < until {
                        let start = Instant::now();
                        let is_good = ask(&mut requests, address, &path).await.is_some();
                        tally.count(start, is_good);
                    }
                }));
            }
        }
        for task in running {
            task.await.expect("no panic");
        }
        tally
    }
}

/// A connection whose greeting is over.
pub(crate) async fn connect(endpoint: &Endpoint, address: SocketAddr) -> Option<Requests> {
    let connection = endpoint.connect(address, NAME).expect("an address").await.ok()?;
    let (mut driver, requests) = h3::client::new(h3_quinn::Connection::new(connection)).await.ok()?;
    tokio::spawn(async move { std::future::poll_fn(|context| driver.poll_close(context)).await });
    Some(requests)
}

/// The length of an answer's body; none if it is no success.
pub(crate) async fn ask(requests: &mut Requests, address: SocketAddr, path: &str) -> Option<usize> {
    let request = Request::get(format!("https://{NAME}:{}{path}", address.port())).body(()).expect("a path");
    let mut stream = requests.send_request(request).await.ok()?;
    stream.finish().await.ok()?;
    let response = stream.recv_response().await.ok()?;
    let mut length = 0;
    while let Some(data) = stream.recv_data().await.ok()? {
        length += data.remaining();
    }
    response.status().is_success().then_some(length)
}
