//! Several engines side by side that answer as one server: calls, metrics.

use std::{
    collections::{BTreeMap, HashSet},
    fs,
    net::SocketAddr,
    thread,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::{Value, json};

use super::{engine, engines, gated, has_stopped, is_gone, operator::command, processes::reload_all, site};
use crate::harness::{PATIENCE, Request, Rpc, Server, Setup, free_port, reference, wait_until};

/// Notes each boot in the file `boots` beside the document root, after the process.
const WORKER: &str = r#"
    file_put_contents(dirname(__DIR__) . '/boots', getmypid() . "\n", FILE_APPEND | LOCK_EX);
    while (rr_handle_request(function () { echo getmypid(); }));
"#;

/// Two engines of two threads each that take calls there.
fn two(setup: Setup) -> (Setup, SocketAddr) {
    let rpc = free_port();
    let options = ["engine.processes=2", "engine.grace_period=20s", &format!("rpc.listen=tcp://{rpc}")];
    (options.iter().fold(setup.threads(2), |setup, option| setup.option(option)), rpc)
}

/// Calls on a connection of its own, so that any engine may take it.
fn call(rpc: SocketAddr, method: &str, argument: &Value) -> Result<Value, String> {
    let mut last = None;
    let answered = wait_until(PATIENCE, || {
        // An engine that is killed cuts its connections.
        last = Rpc::tcp(rpc).try_call(method, argument);
        last.is_some()
    });
    assert!(answered, "{method}: nobody answers");
    last.unwrap()
}

/// The engine that each worker is a thread of.
fn workers(rpc: SocketAddr) -> Result<Vec<Pid>, String> {
    let list = call(rpc, "informer.Workers", &json!("http"))?;
    let of = |worker: &Value| {
        let status = fs::read_to_string(format!("/proc/{}/status", worker["pid"])).unwrap_or_default();
        let engine = status.lines().find_map(|line| line.strip_prefix("Tgid:")?.trim().parse().ok());
        Pid::from_raw(engine.unwrap_or_default())
    };
    Ok(list["workers"].as_array().unwrap().iter().map(of).collect())
}

/// All workers of both engines are there, by whichever engine answers.
fn all_are_told(server: &Server, rpc: SocketAddr) {
    let complete = || {
        let engines = engines(server);
        let is_all = |seen: Vec<Pid>| seen.len() == 4 && seen.iter().copied().collect::<HashSet<_>>() == engines;
        engines.len() == 2 && (0..8).all(|_| workers(rpc).is_ok_and(is_all))
    };
    assert!(wait_until(PATIENCE, complete), "{:?} {:?} {}", engines(server), workers(rpc), server.log.text());
}

fn boots(server: &Server) -> BTreeMap<Pid, usize> {
    let text = fs::read_to_string(server.dir().join("boots")).unwrap_or_default();
    let mut boots = BTreeMap::new();
    for pid in text.lines().filter_map(|line| line.parse().ok()) {
        *boots.entry(Pid::from_raw(pid)).or_default() += 1;
    }
    boots
}

#[test]
fn calls_reach_every_engine_whichever_takes_them() {
    if reference().is_some() {
        return;
    }
    let setup = site().php("worker.php", WORKER);
    let script = setup.document_root().join("worker.php");
    let (setup, rpc) = two(setup.option(&format!("http.worker={}", script.display())));
    let server = setup.start();
    all_are_told(&server, rpc);
    let expected = |times: usize| engines(&server).into_iter().map(|pid| (pid, times)).collect::<BTreeMap<_, _>>();
    assert_eq!(boots(&server), expected(2));
    for round in 1..4 {
        assert_eq!(call(rpc, "resetter.Reset", &json!("http")), Ok(json!(true)), "{}", server.log.text());
        assert_eq!(boots(&server), expected(2 + 2 * round), "{}", server.log.text());
    }
    let at_once = || (0..16).for_each(|_| assert_eq!(workers(rpc).map(|workers| workers.len()), Ok(4)));
    thread::scope(|scope| (0..16).for_each(|_| drop(scope.spawn(at_once))));
    assert_eq!(call(rpc, "informer.AddWorker", &json!("http")), Ok(json!(true)));
    assert!(wait_until(PATIENCE, || workers(rpc).is_ok_and(|workers| workers.len() == 6)), "{:?}", workers(rpc));
    assert_eq!(call(rpc, "informer.RemoveWorker", &json!("http")), Ok(json!(true)));
    assert!(wait_until(PATIENCE, || workers(rpc).is_ok_and(|workers| workers.len() == 4)), "{:?}", workers(rpc));
    assert_eq!(call(rpc, "informer.Threads", &json!("http")).unwrap().as_array().unwrap().len(), 4);
    let opcaches = call(rpc, "opcache.Status", &json!(true)).unwrap();
    let of: HashSet<_> = opcaches.as_array().unwrap().iter().filter_map(|one| one["pid"].as_i64()).collect();
    assert_eq!(of, engines(&server).iter().map(|pid| pid.as_raw().into()).collect(), "{opcaches}");
    assert_eq!(call(rpc, "opcache.Reset", &json!(true)).unwrap().as_array().unwrap().len(), 2);
    let is_ready = || call(rpc, "status.Status", &json!("http")).is_ok_and(|status| status["code"] == 200);
    assert!(wait_until(PATIENCE, is_ready), "{}", server.log.text());
    assert_eq!(call(rpc, "resetter.Reset", &json!("jobs")), Err("resetter_rpc_reset: no such plugin: jobs".into()));
    assert_eq!(call(rpc, "informer.What", &json!("http")), Err("rpc: can't find method informer.What".into()));
    let lock = call(rpc, "lock.Lock", &json!({"resource": "a", "id": "b"}));
    assert_eq!(lock, Err("locks are kept by one engine, and engine.processes starts several: set it to 1".into()));
    server.stop();
}

#[test]
fn calls_find_the_engines_that_are_there_over_a_crash_reloads_and_a_rollback() {
    if reference().is_some() {
        return;
    }
    let (setup, rpc) = two(site());
    let server = setup.start();
    all_are_told(&server, rpc);
    let before = engines(&server);
    let dead = engine(&server);
    kill(dead, Signal::SIGKILL).unwrap();
    assert!(is_gone(dead));
    all_are_told(&server, rpc);
    assert_eq!(engines(&server).intersection(&before).count(), 1);
    assert_eq!(call(rpc, "resetter.Reset", &json!("http")), Ok(json!(true)));

    reload_all(&server, &engines(&server));
    all_are_told(&server, rpc);
    for word in ["reload", "rollback"] {
        let old = engines(&server);
        let said = command(rpc, &[word]).unwrap();
        assert!(said.contains(" serves, after "), "{said}");
        assert!(old.into_iter().all(is_gone), "{}", server.log.text());
        all_are_told(&server, rpc);
    }
    assert!(command(rpc, &["workers"]).unwrap().contains("Workers of [http]:"));
    assert_eq!(command(rpc, &["reset"]), Ok("resetting plugin: [http]\nplugin reset: [http]".into()));
    server.stop();
}

#[test]
fn an_engine_that_does_not_answer_is_named() {
    if reference().is_some() {
        return;
    }
    let (setup, rpc) = two(site());
    let server = setup.start();
    all_are_told(&server, rpc);
    let hung = engine(&server);
    kill(hung, Signal::SIGSTOP).unwrap();
    // Its threads go on for a moment, and would take the call.
    assert!(wait_until(PATIENCE, || has_stopped(hung)));
    let told = workers(rpc);
    kill(hung, Signal::SIGCONT).unwrap();
    let error = told.unwrap_err();
    let is_named = error.starts_with("engine ") && error.contains(&format!(" (process {hung}): it did not answer within 5 s"));
    assert!(is_named && error.ends_with("; all others have answered"), "{error}");
    all_are_told(&server, rpc);
    server.stop();
}

/// The samples of the page, by all that stands before the value.
fn samples(metrics: SocketAddr) -> BTreeMap<String, f64> {
    let page = Request::new(metrics, "GET", "/metrics").try_send().map(|reply| reply.text()).unwrap_or_default();
    let sample = |line: &str| {
        let (name, value) = line.rsplit_once(' ')?;
        (!line.starts_with('#')).then(|| Some((name.to_owned(), value.parse().ok()?)))?
    };
    page.lines().filter_map(sample).collect()
}

fn is_up(samples: &BTreeMap<String, f64>) -> bool {
    (0..2).all(|place| samples.get(&format!("rr_engine_up{{engine=\"{place}\"}}")) == Some(&1.0))
}

fn requests(samples: &BTreeMap<String, f64>) -> [f64; 2] {
    [0, 1].map(|place| {
        let sample = format!("rr_http_request_total{{status=\"200\",engine=\"{place}\"}}");
        samples.get(&sample).copied().unwrap_or_default()
    })
}

#[test]
fn counters_of_two_engines_never_go_backwards() {
    if reference().is_some() {
        return;
    }
    let metrics = free_port();
    let (setup, _) = two(site().option(&format!("metrics.address={metrics}")).option("http.middleware=http_metrics"));
    let server = setup.start();
    assert!(wait_until(PATIENCE, || is_up(&samples(metrics))), "{}", server.log.text());
    let (mut sent, mut before) = (0.0, [0.0; 2]);
    let both_serve = wait_until(PATIENCE, || {
        server.text("/pid.php");
        sent += 1.0;
        let now = requests(&samples(metrics));
        assert!(now.iter().zip(before).all(|(now, before)| *now >= before), "{before:?} {now:?}");
        before = now;
        now.iter().all(|count| *count >= 3.0)
    });
    assert!(both_serve, "{before:?}");
    assert!(wait_until(PATIENCE, || requests(&samples(metrics)).iter().sum::<f64>() == sent), "{sent}");
    let page = Request::new(metrics, "GET", "/metrics").send().text();
    assert_eq!(page.matches("# TYPE rr_http_request_total ").count(), 1, "{page}");
    for place in 0..2 {
        assert!(page.contains(&format!("process_resident_memory_bytes{{engine=\"{place}\"}} ")), "{page}");
    }

    before = requests(&samples(metrics));
    let dead = engine(&server);
    sent += 1.0;
    kill(dead, Signal::SIGKILL).unwrap();
    assert!(is_gone(dead));
    // The one that follows it begins at zero, in the same place, and the other goes on.
    let goes_on = || {
        let samples = samples(metrics);
        let now = requests(&samples);
        is_up(&samples) && now.contains(&0.0) && now.iter().zip(before).any(|(now, before)| *now >= before)
    };
    assert!(wait_until(PATIENCE, goes_on), "{sent} {before:?} {:?}", requests(&samples(metrics)));
    reload_all(&server, &engines(&server));
    assert!(wait_until(PATIENCE, || is_up(&samples(metrics))), "{}", server.log.text());
    server.stop();
}

#[test]
fn figures_of_applications_are_kept_by_one_engine() {
    if reference().is_some() {
        return;
    }
    let metrics = free_port();
    let (setup, rpc) = two(site().option(&format!("metrics.address={metrics}")).option("logs.level=debug"));
    let server = setup.start();
    assert!(wait_until(PATIENCE, || is_up(&samples(metrics))), "{}", server.log.text());
    let have_learned = |count: usize| {
        let learned = || server.log.text().matches("metrics that the other engines know of are known here").count();
        assert!(wait_until(PATIENCE, || learned() >= count), "{}", server.log.text());
    };
    have_learned(2);
    let declare = |name: &str, kind: &str| {
        let declared = json!({"name": name, "collector": {"type": kind, "help": "It is.", "labels": [], "buckets": []}});
        assert_eq!(call(rpc, "metrics.Declare", &declared), Ok(json!(true)));
    };
    declare("sold", "counter");
    declare("open", "gauge");
    let change = |method: &str, name: &str, value: u32| {
        call(rpc, &format!("metrics.{method}"), &json!({"name": name, "value": value, "labels": []}))
    };
    let fill = || {
        for number in 1..=20 {
            assert_eq!((change("Add", "sold", 1), change("Set", "open", number)), (Ok(json!(true)), Ok(json!(true))));
        }
    };
    let shown = |sold: f64, open: f64| {
        let samples = samples(metrics);
        is_up(&samples) && (samples.get("sold"), samples.get("open")) == (Some(&sold), Some(&open))
    };
    fill();
    assert!(wait_until(PATIENCE, || shown(20.0, 20.0)), "{:?}", samples(metrics));
    assert_eq!(samples(metrics).get("rr_metrics_series"), Some(&2.0));
    // One after the other: whichever kept them, another knows what was declared.
    for (round, dead) in (1..).zip(engines(&server)) {
        kill(dead, Signal::SIGKILL).unwrap();
        assert!(is_gone(dead));
        have_learned(2 + round);
    }
    assert!(wait_until(PATIENCE, || is_up(&samples(metrics))), "{}", server.log.text());
    assert!(wait_until(PATIENCE, || shown(0.0, 0.0)), "{:?}", samples(metrics));
    fill();
    assert!(wait_until(PATIENCE, || shown(20.0, 20.0)), "{:?}", samples(metrics));
    assert_eq!(call(rpc, "metrics.Unregister", &json!("sold")), Ok(json!(true)));
    assert_eq!(change("Add", "sold", 1), Err("undefined collector: sold".into()));
    server.stop();
}

#[test]
fn what_is_counted_at_engines_that_are_leaving_is_kept_by_those_that_serve() {
    if reference().is_some() {
        return;
    }
    let metrics = free_port();
    let (setup, rpc) = two(site().option(&format!("metrics.address={metrics}")));
    let server = setup.start();
    assert!(wait_until(PATIENCE, || is_up(&samples(metrics))), "{}", server.log.text());
    let (target, began, gate) = gated(&server);
    let old = engines(&server);
    let mut running = Vec::new();
    let are_held = wait_until(PATIENCE, || {
        running.push(server.get(&target).fire());
        let held = fs::read_to_string(&began).unwrap_or_default();
        old.iter().all(|engine| held.lines().any(|line| line == engine.to_string()))
    });
    assert!(are_held, "{}", server.log.text());
    // Some at either of the old engines, and one of them keeps what is counted before.
    let mut calls: Vec<_> = (0..8).map(|_| Rpc::tcp(rpc)).collect();
    let declared = |name: &str| json!({"name": name, "collector": {"type": "counter", "help": "It is.", "labels": []}});
    let one = |name: &str| json!({"name": name, "value": 1, "labels": []});
    assert_eq!(calls[0].call("metrics.Declare", &declared("before")), Ok(json!(true)));
    calls.iter_mut().for_each(|call| assert_eq!(call.call("metrics.Add", &one("before")), Ok(json!(true))));
    server.signal(Signal::SIGHUP);
    let leave = || server.log.text().matches("stopping: requests in progress are finished first").count() == 2;
    assert!(wait_until(PATIENCE, leave), "{}", server.log.text());
    assert_eq!(calls[0].call("metrics.Declare", &declared("after")), Ok(json!(true)));
    calls.iter_mut().for_each(|call| assert_eq!(call.call("metrics.Add", &one("after")), Ok(json!(true))));
    let shown = || samples(metrics).get("after") == Some(&8.0);
    assert!(wait_until(PATIENCE, shown), "{:?} {}", samples(metrics), server.log.text());
    fs::write(gate, "").unwrap();
    running.iter_mut().for_each(|running| assert_eq!(running.read().unwrap().text(), "finished"));
    assert!(old.into_iter().all(is_gone), "{}", server.log.text());
    assert!(wait_until(PATIENCE, || is_up(&samples(metrics)) && shown()), "{:?}", samples(metrics));
    server.stop();
}
