//! Looking at scripts while they run: the slow log, and `rr threads`.

use std::{path::PathBuf, process::Output};

use super::setup;
use crate::harness::{PATIENCE, Server, Setup, command, finish, free_port, wait_until};

/// Calls into each other down to what waits until there is a file `go` beside the document root.
const DEEP: &str = r#"
namespace App;
class Page {
    static function show(callable $wait) {
        (new self)->render($wait);
    }
    function render($wait) {
        $wait();
    }
}
function go() {
    clearstatcache();
    return file_exists(dirname(__DIR__) . '/go');
}
function busy() {
    while (!go());
}
function blocked() {
    $process = proc_open('until [ -e ' . dirname(__DIR__) . '/go ]; do sleep 0.05; done', [1 => ['pipe', 'w']], $pipes);
    stream_get_contents($pipes[1]);
}
Page::show("App\\$_GET[how]");
echo 'shown';
"#;

fn deep(setup: Setup) -> Setup {
    setup.option("http.request_timeout=0s").php("deep.php", DEEP)
}

fn let_go(server: &Server) {
    std::fs::write(server.dir().join("go"), "").unwrap();
}

/// The lines of the log that speak of slow requests.
fn slow_lines(server: &Server, message: &str) -> Vec<String> {
    server.log.text().lines().filter(|line| line.contains("slowlog: ") && line.contains(message)).map(str::to_owned).collect()
}

fn milliseconds(line: &str, phase: &str) -> u64 {
    let (_, rest) = line.split_once(&format!(" {phase}=")).unwrap_or_else(|| panic!("no {phase} in {line}"));
    rest.split(' ').next().unwrap().parse().unwrap()
}

#[test]
fn a_slow_request_is_logged_with_its_calls_and_then_with_its_phases() {
    for (how, innermost) in [("busy", "App\\\\busy() "), ("blocked", "#0 stream_get_contents(); #1 App\\\\blocked() ")] {
        let Some(setup) = setup() else { return };
        let setup = deep(setup).threads(2).option("http.request_slowlog_timeout=300ms");
        let server = setup.option("http.middleware=request_id").option("http.request_id.trust=true").start();
        let mut client = server.get(&format!("/deep.php?how={how}")).header("X-Request-Id", "called-1").fire();
        assert!(wait_until(PATIENCE, || !slow_lines(&server, "takes long").is_empty()), "{}", server.log.text());
        assert_eq!(server.text("/clean.php"), "clean");
        let line = slow_lines(&server, "takes long").remove(0);
        let script = server.root().join("deep.php").display().to_string();
        for part in [
            innermost,
            &format!("App\\\\Page::render() {script}:"),
            &format!("App\\\\Page::show() {script}:"),
            &format!("{{main}} {script}:"),
            &format!("uri=\"/deep.php?how={how}\""),
            "method=\"GET\"",
            "id=\"called-1\"",
            "queue_ms=",
            "body_ms=",
        ] {
            assert!(line.contains(part), "no {part:?} in {line}");
        }
        assert!(milliseconds(&line, "php_ms") >= 300, "{line}");
        let_go(&server);
        assert_eq!(client.read().unwrap().text(), "shown");
        assert!(wait_until(PATIENCE, || !slow_lines(&server, "took long").is_empty()), "{}", server.log.text());
        let last = slow_lines(&server, "took long").remove(0);
        let id = |line: &str| milliseconds(line, "request");
        assert_eq!(id(&last), id(&line));
        assert!(milliseconds(&last, "php_ms") >= 300 && last.contains("status=200"), "{last}");
        assert!(last.contains("id=\"called-1\""), "{last}");
        assert_eq!(slow_lines(&server, "").len(), 2, "one was slow: {}", server.log.text());
    }
}

#[test]
fn a_slow_upload_a_full_pool_and_a_slow_client_are_told_apart() {
    let Some(setup) = setup() else { return };
    let server = setup
        .option("http.request_timeout=0s")
        .option("http.request_slowlog_timeout=400ms")
        .php("take.php", "echo strlen(file_get_contents('php://input'));")
        .php("nap.php", "usleep(3_000_000); echo 'napped';")
        .start();
    let mut slow = server.connect();
    slow.write("POST /take.php HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n");
    // Only now does the server wait for the body.
    assert_eq!(slow.read_head().unwrap().status, 100);
    std::thread::sleep(std::time::Duration::from_millis(600));
    slow.write("abcd");
    assert_eq!(slow.read().unwrap().text(), "4");
    assert!(wait_until(PATIENCE, || slow_lines(&server, "took long").len() == 1), "{}", server.log.text());
    let upload = slow_lines(&server, "took long").remove(0);
    assert!(milliseconds(&upload, "body_ms") >= 400, "{upload}");
    let mut clients = [server.get("/nap.php").fire(), server.get("/nap.php").fire()];
    assert!(clients.iter_mut().all(|client| client.read().unwrap().text() == "napped"));
    assert!(wait_until(PATIENCE, || slow_lines(&server, "took long").len() == 3), "{}", server.log.text());
    let naps = slow_lines(&server, "took long").split_off(1);
    assert!(naps.iter().any(|nap| milliseconds(nap, "queue_ms") >= 400), "one waited for the only thread: {naps:?}");
}

#[test]
fn a_script_that_goes_on_after_a_flush_is_slow_and_not_its_client() {
    let Some(setup) = setup() else { return };
    let setup = setup.option("http.request_slowlog_timeout=300ms");
    let server = setup.php("flush.php", "echo str_repeat('x', 300_000); flush(); sleep(100);").start();
    let mut client = server.get("/flush.php").fire();
    assert_eq!(client.read_head().unwrap().status, 200);
    client.read_to_end().ok();
    assert!(wait_until(PATIENCE, || !slow_lines(&server, "took long").is_empty()), "{}", server.log.text());
    let line = slow_lines(&server, "took long").remove(0);
    let (php, write) = (milliseconds(&line, "php_ms"), milliseconds(&line, "write_ms"));
    assert!(php >= 900 && write < php, "{line}");
}

#[test]
fn without_a_limit_nothing_is_slow() {
    let Some(setup) = setup() else { return };
    let server = setup.option("http.request_timeout=0s").php("nap.php", "usleep(300_000); echo 'napped';").start();
    assert_eq!(server.text("/nap.php"), "napped");
    assert_eq!(slow_lines(&server, ""), Vec::<String>::new());
}

fn threads(server: &Server, rpc: &str) -> Output {
    let config = server.dir().join(".rr.yaml");
    std::fs::write(&config, format!("version: '3'\nrpc: {{ listen: '{rpc}' }}\n")).unwrap();
    finish(command(&["threads", "-c", &config.display().to_string()]), b"")
}

fn shown(server: &Server, rpc: &str) -> String {
    let output = threads(server, rpc);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn every_thread_is_shown_with_its_calls() {
    let Some(setup) = setup() else { return };
    let rpc = format!("tcp://{}", free_port());
    let server = deep(setup).threads(3).option(&format!("rpc.listen={rpc}")).start();
    let mut clients = ["busy", "blocked"].map(|how| server.get(&format!("/deep.php?how={how}")).fire());
    let script: PathBuf = server.root().join("deep.php");
    let script = script.display();
    let expected = [
        "working: request ".to_owned(),
        format!("    #0 stream_get_contents()\n    #1 App\\blocked() {script}:"),
        format!(" App\\busy() {script}:"),
        format!(" App\\Page::render() {script}:"),
        format!(" {{main}} {script}:"),
        " idle\n".to_owned(),
    ];
    let complete = || {
        let text = shown(&server, &rpc);
        expected.iter().all(|part| text.contains(part)) && text.matches("{main}").count() == 2
    };
    assert!(wait_until(PATIENCE, complete), "{}", shown(&server, &rpc));
    // They are looked at, not disturbed.
    let_go(&server);
    assert!(clients.iter_mut().all(|client| client.read().unwrap().text() == "shown"));
    assert!(wait_until(PATIENCE, || shown(&server, &rpc).matches(" idle\n").count() == 3));
}

#[test]
fn threads_under_load_are_looked_at_without_harm() {
    let Some(setup) = setup() else { return };
    let rpc = format!("tcp://{}", free_port());
    let code = "function f($n) { return $n ? f($n - 1) . md5((string) $n) : ''; } for ($i = 0; $i < 200; $i++) { $x = f(30); $a = range(1, 50); usort($a, fn($p, $q) => $q <=> $p); } echo strlen($x);";
    let server =
        setup.option("http.request_timeout=0s").threads(4).option(&format!("rpc.listen={rpc}")).php("work.php", code).start();
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    while !done.load(std::sync::atomic::Ordering::Relaxed) {
                        assert_eq!(server.text("/work.php"), "960");
                    }
                })
            })
            .collect();
        let seen: usize = (0..20).map(|_| shown(&server, &rpc).matches("{main}").count()).sum();
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        clients.into_iter().for_each(|client| client.join().unwrap());
        assert!(seen > 0, "no thread was ever seen at work");
    });
}

#[test]
fn a_call_that_has_no_frame_is_named() {
    let Some(setup) = setup() else { return };
    let regex = "ini_set('pcre.jit', 0); ini_set('pcre.backtrack_limit', PHP_INT_MAX); preg_match('/^(a+)+$/', str_repeat('a', 64) . 'b');";
    let server = setup.option("http.request_slowlog_timeout=100ms").php("regex.php", regex).start();
    assert_eq!(server.get("/regex.php").send().status, 504);
    assert!(server.log.contains("#0 preg_match(); #1 {main}", PATIENCE), "{}", server.log.text());
}
