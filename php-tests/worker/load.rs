//! Many requests: memory stays flat, and nothing is lost.

use std::{
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
    thread,
};

use super::{Kind, WORKERS, elsewhere};
use crate::harness::{Server, is_sanitized, not_run};

/// What a worker is asked in turn; all of it ends well.
const MIX: &[&str] = &[
    "/hello?tag=1",
    "/session?tag=1",
    "/headers",
    "/change?what=ini",
    "/change?what=error%20handler",
    "/change?what=environment",
    "/change?what=locale",
    "/buffers",
    "/shutdown",
    "/fiber",
    "/exception",
    "/stream?tag=1",
    "/server",
    "/keep-input",
];

/// Resident memory in KiB of the process that runs PHP.
fn resident(server: &Server) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.text("/pid"))).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn soak(server: &Server, count: usize) {
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut connection = server.connect();
                loop {
                    let number = next.fetch_add(1, Relaxed);
                    if number >= count {
                        return;
                    }
                    let target = MIX[number % MIX.len()];
                    let reply = connection.send(&server.get(target));
                    let reply = reply.unwrap_or_else(|_| {
                        // The server may close a kept connection between two requests.
                        connection = server.connect();
                        connection.send(&server.get(target)).unwrap()
                    });
                    assert!(reply.status < 500 || target == "/exception", "{target}: {} {}", reply.status, reply.text());
                }
            });
        }
    });
}

#[test]
fn memory_is_flat_over_twenty_thousand_requests() {
    if elsewhere() {
        return;
    }
    if is_sanitized() {
        return not_run("memory_is_flat_over_twenty_thousand_requests", "AddressSanitizer holds on to what is freed");
    }
    for kind in WORKERS {
        let setup = kind.app().threads(2);
        let path = setup.scratch().display().to_string();
        let server = setup.ini("session.save_path", &path).ini("error_log", "/dev/null").option("http.access_logs=false").start();
        let used = || (0..8).map(|_| server.text("/memory-used").parse::<u64>().unwrap()).max().unwrap();
        soak(&server, 2_000);
        let before = (resident(&server), used());
        soak(&server, 20_000);
        let after = (resident(&server), used());
        assert!(after.0 < before.0 + 4096, "{kind:?}: {} KiB, then {} KiB", before.0, after.0);
        assert!(after.1 < before.1 + 50_000, "{kind:?}: {} bytes in the script, then {}", before.1, after.1);
    }
}

#[test]
#[ignore = "takes minutes; run with --ignored"]
fn a_million_requests_leave_memory_flat() {
    for kind in [Kind::Callback, Kind::Pull] {
        // PHP keeps the path of each session's file, up to 4 MiB a thread, which would look like a leak.
        let setup = kind.app().threads(2).ini("realpath_cache_size", "64K");
        let path = setup.scratch().display().to_string();
        let server = setup.ini("session.save_path", &path).ini("error_log", "/dev/null").option("http.access_logs=false").start();
        soak(&server, 50_000);
        let before = resident(&server);
        soak(&server, 1_000_000);
        let after = resident(&server);
        assert!(after < before + 8192, "{kind:?}: {before} KiB, then {after} KiB");
    }
}
