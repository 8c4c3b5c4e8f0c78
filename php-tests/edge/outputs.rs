//! What answers take that their clients do not read.

use std::{fs, net::SocketAddr};

use super::metrics::{page, value};
use crate::harness::{
    PATIENCE, Server, Setup,
    frames::{Frames, SETTINGS, frame, get},
    free_port, reference, server, wait_until,
};

const MIB: usize = 1 << 20;

fn site(options: &[&str]) -> (Setup, SocketAddr) {
    let metrics = free_port();
    let setup = server()
        .bare()
        .threads(2)
        .php("large.php", "for ($i = 0; $i < 3; $i++) echo str_repeat('x', 1 << 20);")
        .php("some.php", "echo str_repeat('x', 100_000);")
        .option(&format!("metrics.address={metrics}"));
    let files = setup.scratch().join("files");
    fs::create_dir(&files).unwrap();
    let setup = setup.option(&format!("http.temp_dir={}", files.display()));
    (options.iter().fold(setup, |setup, option| setup.option(option)), metrics)
}

/// A client that asks for `path` so many times, and takes nothing of any answer.
fn hold(server: &Server, path: &str, count: u32) -> Frames {
    let mut client = Frames::open(server.address);
    client.send(frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]));
    let all: Vec<u8> = (0..count).flat_map(|number| get(2 * number + 1, path)).collect();
    assert!(client.send(all));
    client
}

fn figure(metrics: SocketAddr, name: &str) -> usize {
    value(&page(metrics).text(), name).unwrap_or_else(|| panic!("no {name}")) as usize
}

fn resident(server: &Server) -> usize {
    let status = fs::read_to_string(format!("/proc/{}/status", server.text("/pid.php"))).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() * 1024
}

#[test]
fn memory_for_all_answers_is_bounded_and_comes_back() {
    if reference().is_some() {
        return;
    }
    let (setup, metrics) = site(&["http.output.memory_total=8M"]);
    let server = setup.php("pid.php", "echo getmypid();").start();
    let before = resident(&server);
    for (path, length) in [("/large.php", 3 * MIB), ("/some.php", 100_000)] {
        let clients: Vec<_> = (0..2).map(|_| hold(&server, path, 100)).collect();
        let kept = || figure(metrics, "rr_http_output_memory_bytes") + figure(metrics, "rr_http_output_file_bytes");
        assert!(wait_until(PATIENCE, || kept() >= 200 * length), "{path}: {} of {}", kept(), 200 * length);
        // Past the bound, a reader that waits gets up to 32 KiB at once: else it would never get anything.
        let most = 8 * MIB + 200 * 32 * 1024 + MIB;
        let memory = figure(metrics, "rr_http_output_memory_bytes");
        assert!(memory <= most, "{path}: {memory} bytes in memory");
        assert_eq!(server.text("/some.php").len(), 100_000, "others are answered");
        assert_eq!(server.text("/large.php").len(), 3 * MIB);
        drop(clients);
        assert!(wait_until(PATIENCE, || kept() == 0), "{path}: {} are kept", kept());
        assert_eq!(figure(metrics, "rr_http_output_files"), 0);
    }
    let grown = resident(&server).saturating_sub(before);
    assert!(grown < 150 * MIB, "it has grown by {grown} bytes, and 600 MB were kept");
    assert_eq!(figure(metrics, "rr_http_output_cut_total"), 0);
}

#[test]
fn past_the_room_in_files_who_has_not_read_for_longest_is_cut() {
    if reference().is_some() {
        return;
    }
    for bound in ["http.output.file_total=30M", "http.output.max_files=8"] {
        let (setup, metrics) = site(&["http.output.memory_total=1M", bound]);
        let server = setup.start();
        let mut first = hold(&server, "/large.php", 8);
        assert!(wait_until(PATIENCE, || figure(metrics, "rr_http_output_file_bytes") >= 22 * MIB), "{bound}");
        let second = hold(&server, "/large.php", 8);
        // Reads until the server has closed it.
        while first.read().is_ok() {}
        assert!(figure(metrics, "rr_http_output_cut_total") >= 1, "{bound}");
        assert!(server.log.contains("answers that clients do not read", PATIENCE), "{}", server.log.text());
        assert_eq!(server.text("/large.php").len(), 3 * MIB, "{bound}: others are answered");
        assert!(figure(metrics, "rr_http_output_file_bytes") <= 30 * MIB);
        assert!(figure(metrics, "rr_http_output_files") <= 8 || bound.contains("total"));
        drop(second);
        assert!(wait_until(PATIENCE, || figure(metrics, "rr_http_output_files") == 0), "{bound}");
    }
}

#[test]
fn who_reads_slowly_with_no_memory_left_has_all_of_it() {
    if reference().is_some() {
        return;
    }
    let (setup, metrics) = site(&["http.output.memory_total=1M"]);
    let steps = "for ($i = 0; $i < 6; $i++) {
            while (!file_exists(dirname(__DIR__) . \"/step$i\")) { usleep(2000); }
            echo str_repeat((string) $i, 1 << 19);
            flush();
        }";
    let server = setup.php("steps.php", steps).start();
    let clients = hold(&server, "/large.php", 10);
    assert!(wait_until(PATIENCE, || figure(metrics, "rr_http_output_file_bytes") >= 27 * MIB));
    let mut slow = server.get("/steps.php").fire();
    for step in 0..6 {
        fs::write(server.dir().join(format!("step{step}")), "").unwrap();
        if step == 0 {
            assert_eq!(slow.read_head().unwrap().status, 200);
        }
        let mut piece = Vec::new();
        while piece.len() < MIB / 2 {
            piece.extend(slow.read_chunk().unwrap().expect("more"));
        }
        assert_eq!((piece.len(), piece.iter().find(|byte| **byte != b'0' + step)), (MIB / 2, None));
    }
    assert_eq!(slow.read_chunk().unwrap(), None);
    drop(clients);
}
