//! Pools of workers as clients and operators meet them: options, limits, growth, sites.

mod boots;
mod busy;
mod control;
mod debug;
mod growth;
mod memory;
mod recycling;
mod sites;
mod timeouts;

use std::{path::Path, thread};

use crate::harness::{PATIENCE, Reply, Server, Setup, reference, server, wait_until};

/// A worker script: notes each boot in the file `boots` beside the document root, answers with its boot's name and how many requests
/// that has served, and does what the query asks for.
const WORKER: &str = r#"
$beside = dirname(__DIR__);
$boot = bin2hex(random_bytes(4));
file_put_contents("$beside/boots", "$boot\n", FILE_APPEND | LOCK_EX);
$served = 0;
$held = '';
$until = function (callable $ready): void {
    for ($i = 0; $i < 20_000 && !$ready(); $i++) {
        usleep(1_000);
    }
};
while (rr_handle_request(function () use ($boot, $beside, $until, &$served, &$held): void {
    $served++;
    if ($megabytes = $_GET['hold'] ?? 0) {
        $held = str_repeat('x', $megabytes << 20);
    }
    // Waits until so many requests are here at once.
    if ($count = $_GET['meet'] ?? 0) {
        $here = tempnam($beside, 'met-');
        $until(fn() => count(glob("$beside/met-*")) >= $count);
    }
    // Waits until there is such a file.
    if ($file = $_GET['until'] ?? '') {
        touch("$beside/waits-for-$file");
        $until(function () use ($beside, $file) {
            clearstatcache();
            return file_exists("$beside/$file");
        });
    }
    if ($message = $_GET['throw'] ?? '') {
        throw new RuntimeException($message);
    }
    header('Content-Type: text/plain');
    echo "$boot $served";
}));
"#;

/// A server with that script and so many workers; none where there are no worker scripts.
fn pool(workers: usize) -> Option<Setup> {
    pool_of(workers, WORKER)
}

fn pool_of(workers: usize, code: &str) -> Option<Setup> {
    if reference().is_some() {
        return None;
    }
    let setup = server().bare().threads(workers).php("worker.php", code);
    let script = setup.document_root().join("worker.php");
    Some(setup.option(&format!("http.worker={}", script.display())))
}

/// Starts it and waits until its workers have booted: it listens before.
fn up(setup: Setup) -> Server {
    let server = setup.start();
    assert!(server.log.contains("  threads ", PATIENCE), "{}", server.log.text());
    server
}

/// The boots of that script so far.
fn boots(server: &Server) -> usize {
    std::fs::read_to_string(server.dir().join("boots")).unwrap_or_default().lines().count()
}

fn booted_again(server: &Server, count: usize) {
    assert!(wait_until(PATIENCE, || boots(server) >= count), "{} boots: {}", boots(server), server.log.text());
}

/// The name of the boot that answered, and how many requests it has served.
fn served(reply: &Reply) -> (String, u64) {
    assert_eq!(reply.status, 200, "{}", reply.text());
    let text = reply.text();
    let (boot, served) = text.split_once(' ').unwrap();
    (boot.to_owned(), served.parse().unwrap())
}

/// The same request at once from so many clients.
fn at_once(server: &Server, clients: usize, target: &str) -> Vec<Reply> {
    thread::scope(|scope| {
        let clients: Vec<_> = (0..clients).map(|_| scope.spawn(|| server.get(target).send())).collect();
        clients.into_iter().map(|client| client.join().unwrap()).collect()
    })
}

/// Waits until a request has come to where it waits for `file`.
fn waits_for(server: &Server, file: &str) {
    let mark = server.dir().join(format!("waits-for-{file}"));
    assert!(wait_until(PATIENCE, || mark.exists()), "nobody waits for {file}: {}", server.log.text());
}

fn let_go(server: &Server, file: &str) {
    touch(&server.dir().join(file));
}

fn touch(path: &Path) {
    std::fs::write(path, "").unwrap();
}
