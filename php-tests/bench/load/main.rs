//! Load that no package generates, certificates unseen.
//!
//! - `edge-load h3 ADDRESS PATH CONNECTIONS STREAMS SECONDS`: requests over HTTP/3.
//! - `edge-load handshakes full|resumed ADDRESS PATH CLIENTS SECONDS`: TLS connections, each for one request.
//! - `edge-load idle plain|tls|h2|h3 ADDRESS PATH CONNECTIONS`: connections that have asked once and stay open until standard input ends.
//!
//! The first two end with a line as `wrk.lua` writes it.
#![expect(clippy::print_stdout, reason = "it is what the program is for")]

mod connect;
mod handshakes;
mod http3;
mod idle;
mod tally;

use std::{net::SocketAddr, time::Duration};

const USAGE: &str = "edge-load h3 ADDRESS PATH CONNECTIONS STREAMS SECONDS
edge-load handshakes full|resumed ADDRESS PATH CLIENTS SECONDS
edge-load idle plain|tls|h2|h3 ADDRESS PATH CONNECTIONS";

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["h3", address, path, connections, streams, seconds] => {
            let load = http3::Load { connections: count(connections), streams: count(streams) };
            load.run(at(address), path, Duration::from_secs(count(seconds))).await.print();
        }
        ["handshakes", kind @ ("full" | "resumed"), address, path, clients, seconds] => {
            let load = handshakes::Load { clients: count(clients), resumes: kind == "resumed" };
            load.run(at(address), path, Duration::from_secs(count(seconds))).await.print();
        }
        ["idle", protocol, address, path, connections] => idle::hold(protocol, at(address), path, count(connections)).await,
        _ => panic!("{USAGE}"),
    }
}

fn at(text: &str) -> SocketAddr {
    text.parse().expect("an address and a port")
}

fn count(text: &str) -> u64 {
    text.parse().expect("a number")
}
