//! OPcache under threads: its restarts, what an operator sees of them, and preloading.

mod operator;
mod preload;
mod storm;
mod succession;

use std::{
    fs,
    net::SocketAddr,
    path::Path,
    time::{Duration, UNIX_EPOCH},
};

use serde_json::{Value, json};

use crate::harness::{Rpc, Setup, free_port, server};

/// What a script is to the server.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Mode {
    Classic,
    Worker,
}

const MODES: [Mode; 2] = [Mode::Classic, Mode::Worker];

// === impl Mode ===

impl Mode {
    /// A server of `app.php`, whose function `answer()` returns the page for a query, and where it takes calls. Errors go to the log
    /// alone.
    fn app(self, app: &str) -> (Setup, SocketAddr) {
        let rpc = free_port();
        let setup = server().bare().ini("display_errors", "0").ini("log_errors", "1").ini("html_errors", "0");
        let setup = setup.option(&format!("rpc.listen=tcp://{rpc}")).php("app.php", app);
        let setup = setup.php("index.php", "require __DIR__ . '/app.php'; echo answer($_GET);");
        let code = "require __DIR__ . '/app.php'; while (rr_handle_request(function () { echo answer($_GET); }));";
        let setup = setup.php("worker.php", code);
        let worker = setup.document_root().join("worker.php");
        let setup = match self {
            Self::Classic => setup.preset("files"),
            Self::Worker => setup.option(&format!("http.worker={}", worker.display())),
        };
        (setup, rpc)
    }
}

/// Calls the service `opcache`, whose answer is about one engine.
fn call(rpc: SocketAddr, method: &str) -> Result<Value, String> {
    let mut answer = Rpc::tcp(rpc).call(method, &json!(true))?;
    assert_eq!(answer.as_array().map(Vec::len), Some(1), "{answer}");
    Ok(answer[0].take())
}

/// How often it has restarted: out of memory, out of keys, as asked.
fn restarts(state: &Value) -> [u64; 3] {
    let statistics = &state["status"]["opcache_statistics"];
    ["oom_restarts", "hash_restarts", "manual_restarts"]
        .map(|name| statistics[name].as_u64().unwrap_or_else(|| panic!("no {name} in {state}")))
}

/// Puts a file in the place of the one at `path`, whole at any moment and `version` seconds older or younger than others: OPcache
/// compares modification times in seconds, and leaves alone what is about as old as the request.
fn put(path: &Path, content: &str, version: u64) {
    let fresh = path.with_extension("fresh");
    fs::write(&fresh, content).unwrap();
    let file = fs::File::options().write(true).open(&fresh).unwrap();
    file.set_modified(UNIX_EPOCH + Duration::from_secs(1_700_000_000 + version)).unwrap();
    fs::rename(&fresh, path).unwrap();
}
