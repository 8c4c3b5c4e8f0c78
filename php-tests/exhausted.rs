//! Disks without room and processes without descriptors: clear errors, and all is well as soon as there is some again.

use std::{
    fs,
    path::PathBuf,
    time::{Duration, Instant},
};

use nix::{sys::stat::Mode, unistd::mkfifo};
use serde_json::json;

use crate::harness::{PATIENCE, Request, Rpc, Server, Setup, free_port, reference, server, wait_until};

const KIB: usize = 1024;

/// A script that takes all descriptors there are until a file says that it may go.
const TAKE: &str = "while ($file = @fopen(__FILE__, 'r')) $all[] = $file; echo count($all); flush(); \
    while (!file_exists($_GET['go'])) { clearstatcache(); usleep(1000); }";

/// A server whose temporary files and logs go to a disk of a megabyte, which it alone sees, and whose bodies go to a file at once.
fn on_small_disk() -> Option<Setup> {
    if reference().is_some() {
        return None;
    }
    let setup = server().bare().threads(2);
    let disk = setup.scratch().join("disk");
    fs::create_dir(&disk).unwrap();
    let name = disk.display().to_string();
    let upload = "echo strlen($in = file_get_contents('php://input')), ' ', md5($in);";
    let setup = setup
        .php("upload.php", upload)
        .php("fill.php", &format!("@file_put_contents('{name}/full', str_repeat('x', 2 << 20)); echo disk_free_space('{name}');"))
        .php("free.php", &format!("unlink('{name}/full'); echo 'free';"));
    let setup = setup
        .option(&format!("http.temp_dir={name}"))
        .option("http.limits.body_memory=4K")
        .option("http.limits.body_memory_total=0");
    setup.mounts(&format!("mount -t tmpfs -o size=1m none '{name}'"))
}

/// That disk as the server sees it.
fn disk(server: &Server) -> PathBuf {
    format!("/proc/{}/root{}/disk", server.pid(), server.dir().display()).into()
}

fn upload(server: &Server, size: usize) -> crate::harness::Reply {
    server.post("/upload.php", "application/octet-stream", vec![b'u'; size]).send()
}

#[test]
fn a_body_without_room_is_a_507_until_there_is_some() {
    let Some(setup) = on_small_disk() else { return };
    let server = setup.start();
    let fits = || {
        let reply = upload(&server, 500 * KIB);
        assert_eq!(reply.status, 200, "{}\n{}", reply.text(), server.log.text());
        assert!(reply.text().starts_with(&format!("{} ", 500 * KIB)), "{}", reply.text());
    };
    fits();
    for _ in 0..20 {
        assert_eq!(upload(&server, 3 * KIB * KIB).status, 507);
    }
    // What came of them is gone again.
    fits();
    assert_eq!(server.text("/fill.php"), "0");
    assert_eq!(upload(&server, 500 * KIB).status, 507);
    assert_eq!(upload(&server, KIB).status, 200, "a small one needs no file");
    assert!(server.logs("No space left on device"), "{}", server.log.text());
    let said = server.log.text().matches("No space left on device").count();
    assert!(said < 21, "said {said} times for as many uploads");
    server.text("/free.php");
    fits();
    assert_eq!(fs::read_dir(disk(&server)).unwrap().count(), 0);
}

#[test]
fn output_without_room_waits_for_its_client_and_is_whole() {
    let Some(setup) = on_small_disk() else { return };
    let big = "for ($i = 0; $i < 2600; $i++) { echo str_repeat(chr(65 + $i % 26), 10_000); } echo 'end';";
    let server = setup.php("big.php", big).option("http.output.memory=64K").start();
    assert_eq!(server.text("/fill.php"), "0");
    let mut slow = server.get("/big.php").fire();
    assert!(server.log.contains("no room for output", PATIENCE), "{}", server.log.text());
    let text = slow.read().unwrap().text();
    assert_eq!((text.len(), text.ends_with("Zend")), (26_000_003, true));
}

#[test]
fn logs_without_room_stop_nothing_and_go_on_later() {
    let Some(setup) = on_small_disk() else { return };
    let log = setup.scratch().join("disk/rr.log");
    let setup = setup.php("ok.php", "echo 'ok';").option("logs.mode=production");
    let server = setup.option(&format!("logs.output={}", log.display())).start();
    let seen = disk(&server).join("rr.log");
    server.text("/ok.php");
    assert!(wait_until(PATIENCE, || fs::read_to_string(&seen).is_ok_and(|text| text.contains("/ok.php"))));
    assert_eq!(server.text("/fill.php"), "0");
    for _ in 0..200 {
        assert_eq!(server.text(&format!("/ok.php?{}", "q".repeat(1000))), "ok");
    }
    server.text("/free.php");
    assert!(wait_until(PATIENCE, || {
        server.text("/ok.php?after");
        fs::read_to_string(&seen).unwrap().contains("/ok.php?after")
    }));
    let text = fs::read_to_string(&seen).unwrap();
    let torn = text.lines().filter(|line| serde_json::from_str::<serde_json::Value>(line).is_err()).count();
    // Of each of the two that write there, the line at which the room ended.
    assert!(torn <= 2, "{torn} lines of {}", text.lines().count());
    assert!(server.ended_within(Duration::ZERO).is_none());
}

#[test]
fn past_the_limit_of_a_file_s_size_nothing_ends() {
    if reference().is_some() {
        return;
    }
    // In units of 512 bytes.
    let setup = server().bare().php("ok.php", "echo 'ok';").php("upload.php", "echo 'uploaded';").before("ulimit -f 2048");
    let log = setup.scratch().join("rr.log");
    let setup = setup
        .option(&format!("logs.output={}", log.display()))
        .option("http.limits.body_memory=4K")
        .option("http.limits.body_memory_total=0");
    let server = setup.start();
    let pid = server.pid();
    while fs::metadata(&log).unwrap().len() < 1 << 20 {
        assert_eq!(server.text(&format!("/ok.php?{}", "q".repeat(7000))), "ok");
    }
    for _ in 0..10 {
        assert_eq!(server.text("/ok.php"), "ok");
    }
    assert_eq!(upload(&server, 2 * KIB * KIB).status, 507);
    assert_eq!(server.pid(), pid);
}

/// Of a process, in seconds.
fn cpu_time(pid: &str) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<_> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    let ticks: f64 = fields[11..13].iter().map(|ticks| ticks.parse::<f64>().unwrap()).sum();
    ticks / 100.0
}

#[test]
fn without_descriptors_nothing_spins_and_all_is_well_when_some_are_back() {
    if reference().is_some() {
        return;
    }
    let open = "$f = @fopen(__FILE__, 'r'); echo $f ? 'opened' : error_get_last()['message'];";
    let setup = server().bare().threads(2).php("pid.php", "echo getmypid();").php("open.php", open).php("take.php", TAKE);
    let setup = setup.php("upload.php", "echo 'uploaded';");
    let server =
        setup.option("http.limits.body_memory=4K").option("http.limits.body_memory_total=0").before("ulimit -n 100").start();
    let pid = server.text("/pid.php");
    let mut kept = server.connect();
    // Afterwards both are compiled, and need no descriptor.
    assert_eq!(kept.send(&server.get("/open.php")).unwrap().text(), "opened");
    assert_eq!(kept.send(&server.post("/upload.php", "text/plain", vec![b'u'; 10 * KIB])).unwrap().text(), "uploaded");
    let go = server.dir().join("go");
    let mut taking = server.get(&format!("/take.php?go={}", go.display())).fire();
    assert_eq!(taking.read_head().unwrap().status, 200);
    let idle: Vec<_> = (0..60).map(|_| server.connect()).collect();
    assert!(server.log.contains("cannot accept connections", PATIENCE), "{}", server.log.text());

    let (before, began) = (cpu_time(&pid), Instant::now());
    std::thread::sleep(Duration::from_secs(1));
    let share = (cpu_time(&pid) - before) / began.elapsed().as_secs_f64();
    assert!(share < 0.5, "{share} of a CPU while nothing can be done");
    let said = server.log.text().matches("cannot accept connections").count();
    assert!(said <= 4, "said {said} times");
    let message = kept.send(&server.get("/open.php")).unwrap().text();
    assert!(message.contains("Too many open files"), "{message}");
    let refused = kept.send(&server.post("/upload.php", "text/plain", vec![b'u'; 10 * KIB])).unwrap();
    assert_eq!((refused.status, refused.header("retry-after")), (503, Some("1")), "{}", refused.text());
    assert!(server.logs("Too many open files"), "{}", server.log.text());

    fs::write(go, "").unwrap();
    drop((idle, taking));
    assert!(wait_until(PATIENCE, || server.get("/open.php").send().text() == "opened"), "{}", server.log.text());
    assert_eq!(upload(&server, 10 * KIB).text(), "uploaded");
    assert_eq!(server.text("/pid.php"), pid, "the same process");
}

#[test]
fn health_and_calls_are_answered_without_descriptors() {
    if reference().is_some() {
        return;
    }
    let (status, rpc) = (free_port(), free_port());
    let setup = server().bare().threads(2).php("take.php", TAKE).option("engine.supervisor=false");
    let setup = setup.option(&format!("status.address={status}")).option(&format!("rpc.listen=tcp://{rpc}"));
    let server = setup.before("ulimit -n 128").start();
    assert!(server.logs("a process may have 128 files open"), "{}", server.log.text());
    let go = server.dir().join("go");
    let mut taking = server.get(&format!("/take.php?go={}", go.display())).fire();
    // Whose head is there has taken all; and who is idle has the rest.
    assert_eq!(taking.read_head().unwrap().status, 200);
    let idle: Vec<_> = (0..100).map(|_| server.connect()).collect();
    assert!(server.log.contains("cannot accept connections", PATIENCE), "{}", server.log.text());
    for _ in 0..20 {
        for path in ["/livez", "/readyz"] {
            assert_eq!(Request::new(status, "GET", path).send().status, 200, "{path}: {}", server.log.text());
        }
        assert!(Rpc::tcp(rpc).call("informer.Workers", &json!("http")).is_ok());
    }
    fs::write(go, "").unwrap();
    drop((idle, taking));
}

#[test]
fn a_log_without_room_says_so_elsewhere() {
    if reference().is_some() {
        return;
    }
    let setup = server().bare().php("noisy.php", "for ($i = 0; $i < 20; $i++) error_log('noise'); echo 'done';");
    let server = setup.option("logs.output=/dev/full").start();
    assert_eq!(server.text("/noisy.php"), "done");
    assert!(server.log.contains("the log loses lines", PATIENCE), "{}", server.log.text());
}

#[test]
fn a_log_that_nobody_reads_stops_nobody() {
    if reference().is_some() {
        return;
    }
    let (rpc, figures) = (free_port(), free_port());
    let setup = server()
        .bare()
        .threads(2)
        .php("noisy.php", "for ($i = 0; $i < 200; $i++) error_log(str_repeat('x', 1000)); echo 'done';");
    let setup = setup.php("pid.php", "echo getmypid();").option(&format!("metrics.address={figures}"));
    let pipe = setup.scratch().join("log");
    mkfifo(&pipe, Mode::S_IRWXU).unwrap();
    // Open for both, so that there is a reader.
    let setup = setup.before(&format!("exec 2<>'{}'", pipe.display()));
    let server = setup.option(&format!("rpc.listen=tcp://{rpc}")).start();
    for _ in 0..5 {
        assert_eq!(server.text("/noisy.php"), "done");
    }
    let text = Request::new(figures, "GET", "/metrics").send().text();
    let lost = text.lines().find_map(|line| line.strip_prefix("rr_log_dropped_total ")?.parse::<u64>().ok());
    assert!(lost > Some(500), "{lost:?}");
    // The supervisor has its say as well.
    let before = server.text("/pid.php");
    Rpc::tcp(rpc).call("server.Reload", &json!(true)).unwrap();
    assert!(wait_until(PATIENCE, || server.text("/pid.php") != before));
    assert_eq!(server.text("/noisy.php"), "done");
    server.log.follow(fs::File::open(&pipe).unwrap());
    assert!(server.log.contains("lines of this log are lost", PATIENCE), "{}", server.log.text());
    assert_eq!(server.text("/noisy.php"), "done");
}
