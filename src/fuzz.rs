//! What strangers' bytes are put through: each target takes any bytes at all and must neither panic nor break what it asserts.
//!
//! `./x fuzz` looks for new inputs with libFuzzer; those worth keeping stand in `php-tests/fuzz/corpus`, and a unit test puts
//! all of them through again.

use std::{future::Future, time::Duration};

use tokio::runtime::{Builder, Runtime};

use crate::{config, http, rpc, worker};

/// One of the ways in.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name, and that of its corpus.
    pub name: &'static str,
    /// Takes one input.
    pub run: fn(&[u8]),
}

/// All of them.
pub const TARGETS: &[Target] = &[
    Target { name: "http", run: http::conn::fuzz::http },
    Target { name: "fastcgi", run: http::fcgi::fuzz::fastcgi },
    Target { name: "proxy", run: http::proxy::fuzz::proxy },
    Target { name: "certificate", run: http::tls::fuzz::certificate },
    Target { name: "goridge", run: |input| worker::fuzz::goridge(input).iter().for_each(rpc::fuzz::argument) },
    Target { name: "form", run: worker::fuzz::form },
    Target { name: "config", run: config::fuzz::config },
];

/// Runs what a connection does. Whatever came, it must soon be done with it: the client has said all it will say.
pub(crate) fn finish<T>(connection: impl Future<Output = T>) -> T {
    thread_local! {
        static RUNTIME: Runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
    }
    RUNTIME.with(|runtime| runtime.block_on(async { tokio::time::timeout(PATIENCE, connection).await.expect("it ends") }))
}

const PATIENCE: Duration = Duration::from_secs(20);

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::*;

    #[test]
    fn every_input_kept_is_taken_in_peace() {
        let corpora = Path::new(env!("CARGO_MANIFEST_DIR")).join("php-tests/fuzz/corpus");
        for target in TARGETS {
            let mut count = 0;
            for entry in fs::read_dir(corpora.join(target.name)).unwrap() {
                let path = entry.unwrap().path();
                let input = fs::read(&path).unwrap();
                let outcome = std::panic::catch_unwind(|| (target.run)(&input));
                assert!(outcome.is_ok(), "{}: {} of target {}", path.display(), input.escape_ascii(), target.name);
                count += 1;
            }
            assert!(count > 0, "no corpus for {}", target.name);
        }
    }
}
