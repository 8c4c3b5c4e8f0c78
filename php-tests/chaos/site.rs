//! What is served.

use std::net::SocketAddr;

use crate::harness::{Server, Setup, free_port, rr, server};

/// A running server, and where it hears commands.
#[derive(Debug)]
pub(super) struct Site {
    pub(super) server: Server,
    rpc: SocketAddr,
}

/// Works that run at once, and those that wait.
pub(super) const WORKERS: usize = 4;
pub(super) const QUEUE: usize = 40;

pub(super) fn start() -> Site {
    let (setup, rpc) = setup();
    let server = setup.start();
    assert_eq!(server.text("/hello.php"), "hello");
    Site { server, rpc }
}

fn setup() -> (Setup, SocketAddr) {
    let setup = server().bare().threads(WORKERS).with_fcgi();
    let worker = setup.scratch().join("worker.php");
    std::fs::write(&worker, WORKER).unwrap();
    let rpc = free_port();
    let config = format!(
        "version: '3'\nrpc:\n  listen: tcp://{rpc}\nsites:\n  - hosts: [worker.test]\n    worker: {}\n    \
         pool: {{num_workers: 2, max_queue_size: {QUEUE}}}\n",
        worker.display()
    );
    let setup = setup
        .config(".rr.yaml", &config)
        .option(&format!("http.pool.max_queue_size={QUEUE}"))
        .option("http.http2.h2c=true")
        // Small bounds, so that bodies and answers go to files.
        .option("http.limits.body_memory=16K")
        .option("http.output.memory=16K")
        .option("http.max_request_size=8")
        .option("engine.grace_period=30s")
        .option("logs.level=warn")
        .ini("memory_limit", "64M")
        .php("hello.php", "echo 'hello';")
        .php("echo.php", "echo $_GET['tag'] ?? '', ' ', strlen($b = file_get_contents('php://input')), ' ', crc32($b);")
        .php("upload.php", "foreach ($_FILES as $file) echo $file['size'], ' ', crc32(file_get_contents($file['tmp_name'])), ' ', $_POST['tag'];")
        .php("stream.php", "for ($i = 0; $i < 50; $i++) { echo str_repeat(chr(97 + $i % 26), 4000); flush(); usleep(500); }")
        .php("slow.php", "usleep(200_000); echo 'slow';")
        .php("forget.php", "var_dump(opcache_reset());")
        .file("file.txt", "0123456789abcdef".repeat(20_000));
    (setup, rpc)
}

// === impl Site ===

impl Site {
    /// `rr WORDS…`, whatever becomes of it: its engine may die meanwhile.
    pub(super) fn command(&self, words: &[&str]) {
        let mut command = rr();
        command.args(words).args(["-o", &format!("rpc.listen=tcp://{}", self.rpc)]);
        drop(crate::harness::finish(command, b""));
    }
}

const WORKER: &str = r"<?php
while (rr_handle_request(function (): void {
    $tag = $_GET['tag'] ?? '';
    switch ($_GET['do'] ?? '') {
        case 'exit': echo $tag; exit;
        case 'throw': throw new Exception($tag);
        default: echo $tag, ' ', crc32(file_get_contents('php://input'));
    }
}));
";
