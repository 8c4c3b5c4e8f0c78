//! The figures for Prometheus.

use std::net::SocketAddr;

use crate::harness::{PATIENCE, Reply, Request, Rpc, Setup, free_port, is_sanitized, reference, server, wait_until};

fn site(options: &[&str]) -> (Setup, SocketAddr) {
    let address = free_port();
    let setup = server()
        .php("stream.php", "echo 'a'; flush(); echo 'b';")
        .php("slow.php", "while (!file_exists($_GET['go'])) usleep(1000);")
        .option(&format!("metrics.address={address}"));
    (options.iter().fold(setup, |setup, option| setup.option(option)), address)
}

pub(crate) fn page(address: SocketAddr) -> Reply {
    Request::new(address, "GET", "/metrics").send()
}

/// The value of a sample, by all that stands before it.
pub(crate) fn value(text: &str, sample: &str) -> Option<f64> {
    text.lines().find_map(|line| line.strip_prefix(sample)?.strip_prefix(' ')?.parse().ok())
}

#[test]
fn requests_workers_and_connections_are_counted() {
    if reference().is_some() {
        return;
    }
    let (setup, address) = site(&["http.middleware=http_metrics"]);
    let server = setup.start();
    for target in ["/server.php", "/server.php", "/stream.php", "/nowhere"] {
        server.get(target).send();
    }
    let go = server.dir().join("go");
    let waiting = server.get(&format!("/slow.php?go={}", go.display())).fire();
    assert!(wait_until(PATIENCE, || value(&page(address).text(), "rr_http_requests_queue") == Some(1.0)));
    let reply = page(address);
    assert_eq!((reply.status, reply.header("content-type")), (200, Some("text/plain; version=0.0.4")));
    let text = reply.text();
    for (sample, expected) in [
        ("rr_http_request_total{status=\"200\"}", 3.0),
        ("rr_http_request_total{status=\"404\"}", 1.0),
        ("rr_http_request_duration_seconds_count{status=\"200\"}", 3.0),
        ("rr_http_request_duration_seconds_bucket{status=\"200\",le=\"+Inf\"}", 3.0),
        ("rr_http_queue_wait_seconds_count", 3.0),
        ("rr_http_php_seconds_count", 3.0),
        ("rr_http_write_seconds_count", 1.0),
        ("rr_http_no_free_workers_total", 0.0),
        ("rr_http_total_workers", 2.0),
        ("rr_http_workers_working", 1.0),
        ("rr_queue_length{pool=\"http\"}", 0.0),
        ("rr_workers{pool=\"http\",state=\"busy\"}", 1.0),
        ("rr_http_body_memory_bytes", 0.0),
        ("rr_http_connection_timeouts_total{reason=\"head\"}", 0.0),
    ] {
        assert_eq!(value(&text, sample), Some(expected), "{sample} in {text}");
    }
    assert!(value(&text, "rr_http_connections_accepted_total") >= Some(5.0), "{text}");
    // Under the sanitizer PHP's memory is the system's, which it does not count.
    assert!(is_sanitized() || value(&text, "rr_http_workers_memory_bytes") > Some(0.0), "{text}");
    for figure in
        ["cpu_seconds_total", "resident_memory_bytes", "virtual_memory_bytes", "open_fds", "max_fds", "start_time_seconds"]
    {
        assert!(value(&text, &format!("process_{figure}")) > Some(0.0), "{figure} in {text}");
    }
    assert!(text.contains("rr_http_worker_state{pid=\"") && text.contains(",state=\"working\"} 1"), "{text}");
    std::fs::write(go, "").unwrap();
    drop(waiting);
    assert!(wait_until(PATIENCE, || value(&page(address).text(), "rr_http_requests_queue") == Some(0.0)));
}

#[test]
fn what_is_turned_away_is_counted_and_requests_only_if_that_is_asked_for() {
    if reference().is_some() {
        return;
    }
    let (setup, address) = site(&["http.pool.num_workers=1", "http.pool.max_queue_size=1"]);
    let server = setup.start();
    let go = server.dir().join("go");
    let target = format!("/slow.php?go={}", go.display());
    let busy = |count: usize| (0..count).map(|_| server.get(&target).fire()).collect::<Vec<_>>();
    let running = busy(1);
    assert!(wait_until(PATIENCE, || value(&page(address).text(), "rr_http_workers_working") == Some(1.0)));
    let waiting = busy(1);
    assert!(wait_until(PATIENCE, || value(&page(address).text(), "rr_queue_length{pool=\"http\"}") == Some(1.0)));
    assert_eq!(server.get("/server.php").send().status, 503);
    let text = page(address).text();
    assert_eq!(value(&text, "rr_queue_turned_away_total{pool=\"http\",reason=\"queue_full\"}"), Some(1.0), "{text}");
    assert_eq!(value(&text, "rr_http_no_free_workers_total"), Some(1.0));
    assert!(!text.contains("rr_http_request_total"), "{text}");
    std::fs::write(go, "").unwrap();
    drop((running, waiting));
}

#[test]
fn figures_are_read_from_the_new_engine_after_a_reload() {
    if reference().is_some() {
        return;
    }
    let (setup, address) = site(&["http.middleware=http_metrics"]);
    let server = setup.start();
    server.get("/server.php").send();
    assert!(wait_until(PATIENCE, || value(&page(address).text(), "rr_http_request_total{status=\"200\"}") == Some(1.0)));
    server.signal(nix::sys::signal::Signal::SIGUSR2);
    assert!(server.log.contains("reloaded: a new engine serves", PATIENCE), "{}", server.log.text());
    assert!(
        wait_until(PATIENCE, || {
            let text = page(address).text();
            value(&text, "rr_http_total_workers") == Some(2.0) && !text.contains("rr_http_request_total{")
        }),
        "the new one has counted nothing yet"
    );
}

#[test]
fn scripts_keep_figures_of_their_own() {
    if reference().is_some() {
        return;
    }
    let rpc = free_port();
    let (setup, address) = site(&[&format!("rpc.listen=tcp://{rpc}"), "metrics.max_series=6"]);
    let collect = "version: '3'\nmetrics:\n  collect:\n    Sold: { type: counter, help: Things sold., labels: [what], namespace: shop }\n    \
                   took: { type: histogram, buckets: [0.1, 1] }\n    rr_http_uptime_seconds: { type: gauge }\n";
    let server = setup.config(".rr.yaml", collect).start();
    let mut calls = Rpc::tcp(rpc);
    let text = |mut result: Result<serde_json::Value, String>| match &mut result {
        Ok(value) => value.to_string(),
        Err(text) => std::mem::take(text),
    };
    let mut call = |method: &str, argument: serde_json::Value| text(calls.call(method, &argument));
    use serde_json::json;
    assert_eq!(call("metrics.Add", json!({"name": "sold", "value": 2, "labels": ["tea"]})), "true");
    assert_eq!(call("metrics.Observe", json!({"name": "took", "value": 0.5, "labels": []})), "true");
    let gauge = json!({"namespace": "", "subsystem": "", "type": "gauge", "help": "Open carts.", "labels": [], "buckets": []});
    for _ in 0..2 {
        assert_eq!(call("metrics.Declare", json!({"name": "carts", "collector": gauge})), "true");
    }
    assert_eq!(call("metrics.Set", json!({"name": "carts", "value": 4.5, "labels": []})), "true");
    assert_eq!(call("metrics.Sub", json!({"name": "carts", "value": 1, "labels": []})), "true");
    assert_eq!(call("metrics.Add", json!({"name": "nobody", "value": 1, "labels": []})), "undefined collector: nobody");
    assert_eq!(call("metrics.Add", json!({"name": "sold", "value": 1, "labels": ["oil"]})), "true");
    assert!(
        call("metrics.Add", json!({"name": "sold", "value": 1, "labels": ["salt"]}))
            .contains("metrics.max_series (6) is reached")
    );
    let wrong = json!({"name": "x", "collector": {"type": "meter"}});
    assert_eq!(call("metrics.Declare", wrong), "metrics_rpc_declare: unknown collector type: meter");
    let shown = page(address).text();
    for (sample, expected) in [
        ("shop_sold{what=\"tea\"}", 2.0),
        ("took_bucket{le=\"1\"}", 1.0),
        ("took_sum", 0.5),
        ("carts", 3.5),
        ("rr_metrics_series", 6.0),
    ] {
        assert_eq!(value(&shown, sample), Some(expected), "{sample} in {shown}");
    }
    assert_eq!(shown.matches("# TYPE rr_http_uptime_seconds ").count(), 1, "the server's own figure stays the only one");
    assert_eq!(call("metrics.Unregister", json!("carts")), "true");
    assert_eq!(value(&page(address).text(), "carts"), None);
    server.signal(nix::sys::signal::Signal::SIGUSR2);
    assert!(server.log.contains("reloaded: a new engine serves", PATIENCE), "{}", server.log.text());
    // Whichever engine is asked.
    let shown = page(address).text();
    assert_eq!((value(&shown, "took_count"), value(&shown, "shop_sold{what=\"tea\"}")), (Some(1.0), Some(2.0)), "{shown}");
    assert_eq!((value(&shown, "rr_metrics_series"), value(&shown, "carts")), (Some(5.0), None), "{shown}");
}

#[test]
fn what_cannot_be_collected_is_refused() {
    if reference().is_some() {
        return;
    }
    for (yaml, expected) in [
        ("a: { type: meter }", "metrics.collect.a.type: expected one of counter, gauge, histogram, summary, got \"meter\""),
        ("a: { help: x }", "metrics.collect.a.type: missing"),
        ("a-b: { type: gauge }", "metrics.collect.a-b: \"a-b\" is no name that Prometheus takes"),
        ("a: { type: gauge, label: [x] }", "metrics.collect.a.label: unknown key, did you mean labels?"),
        ("a: { type: summary, objectives: { 2: 0.1 } }", "metrics.collect.a: 2 is no quantile"),
        ("a_b: { type: gauge }, b: { type: gauge, namespace: a }", "metrics.collect: duplicate metrics collector registration"),
    ] {
        let setup = server().config(".rr.yaml", &format!("version: '3'\nmetrics: {{ collect: {{ {yaml} }} }}\n"));
        let output = crate::harness::finish(setup.command(free_port(), None), b"");
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(78) && text.contains(expected), "{yaml}: {text}");
    }
}

#[test]
fn connections_are_counted_by_how_they_end() {
    if reference().is_some() {
        return;
    }
    let (setup, address) = site(&["http.limits.header_timeout=2s", "http.limits.keepalive_timeout=2s"]);
    let server = setup.start();
    let is = |sample: &str, expected: f64| wait_until(PATIENCE, || value(&page(address).text(), sample) >= Some(expected));
    assert!(server.raw("GET / HTTP/1.1\r\nHost : a\r\n\r\n").starts_with("HTTP/1.1 400"));
    assert!(is("rr_http_refused_total", 1.0));
    let mut half = server.connect();
    half.write("GET / HTTP/1.1\r\n");
    assert!(is("rr_http_connection_timeouts_total{reason=\"head\"}", 1.0));
    let mut kept = server.connect();
    kept.send(&server.get("/server.php")).unwrap();
    assert!(is("rr_http_connection_timeouts_total{reason=\"idle\"}", 1.0));
    assert!(is("rr_http_connections_accepted_total", 3.0));
}

#[test]
fn heads_that_never_end_keep_no_reader_out() {
    if reference().is_some() {
        return;
    }
    let (setup, address) = site(&["metrics.max_connections=8"]);
    let _server = setup.start();
    let hold = |_| {
        let mut stream = std::net::TcpStream::connect(address).unwrap();
        std::io::Write::write_all(&mut stream, b"GET / HTTP/1.1\r\nHo").unwrap();
        stream
    };
    let held: Vec<_> = (0..20).map(hold).collect();
    assert_eq!(page(address).status, 200);
    drop(held);
}
