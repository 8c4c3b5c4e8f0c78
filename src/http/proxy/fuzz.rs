//! Fuzz target: a proxy's header, and what follows it.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
};

use super::{Peer, Proxies, Stream, Subnets};
use crate::fuzz::finish;

/// All that comes over a connection.
pub(crate) fn proxy(input: &[u8]) {
    finish(async {
        let (server, mut client) = UnixStream::pair().expect("a pair");
        // More than any header, and less than a socket holds.
        let input = &input[..input.len().min(32 * 1024)];
        client.write_all(input).await.expect("room for it");
        drop(client);
        let (mut server, mut peer) = (Stream::Unix(server), Peer::default());
        let proxies = Proxies { trusted: Subnets::default(), timeout: Duration::from_secs(10) };
        if proxies.receive(&mut server, &mut peer).await.is_ok() {
            let mut rest = Vec::new();
            server.read_to_end(&mut rest).await.expect("its end");
            assert!(input.ends_with(&rest), "what follows a header is the client's");
            let header = &input[..input.len() - rest.len()];
            let is_whole = if header[0] == b'P' { header.ends_with(b"\r\n") } else { header.len() >= 16 };
            assert!(is_whole, "no less than a header is taken: {}", header.escape_ascii());
        }
    });
}
