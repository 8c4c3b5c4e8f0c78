//! Workers that fail, leave, are told to leave, and are replaced.

use std::{thread, time::Duration};

use nix::sys::signal::Signal;

use super::{Carrier, both_carriers, setup, with, worker};
use crate::harness::{PATIENCE, Request, Rpc, finish, free_port, wait_until};

#[test]
fn a_reset_of_processes_costs_one_at_most_and_says_why() {
    let address = free_port();
    let server = setup(Carrier::Processes).threads(3).option(&format!("rpc.listen=tcp://{address}")).start();
    let mut rpc = Rpc::tcp(address);
    let mut all_ready = || {
        let list = rpc.call("informer.Workers", &serde_json::json!("http")).unwrap();
        let rows = list["workers"].as_array().unwrap();
        rows.len() == 3 && rows.iter().all(|row| row["statusStr"] == "ready")
    };
    assert!(wait_until(PATIENCE, &mut all_ready), "{}", server.log.text());
    let script = server.root().join("roadrunner/worker.php");
    let sound = std::fs::read(&script).unwrap();
    std::fs::write(&script, "<?php throw new LogicException('changed for the worse');").unwrap();
    let refused = rpc.call("resetter.Reset", &serde_json::json!("http")).unwrap_err();
    assert!(refused.contains("changed for the worse"), "{refused}");
    assert!(refused.contains("the other workers (2) go on as they are"), "{refused}");
    for _ in 0..10 {
        assert!(worker(&server)["served"].as_u64() > Some(0));
    }
    std::fs::write(&script, sound).unwrap();
    assert_eq!(rpc.call("resetter.Reset", &serde_json::json!("http")), Ok(serde_json::json!(true)));
    assert!(worker(&server)["served"].as_u64() > Some(0));
}

both_carriers! {
    fn a_worker_that_dies_is_replaced_and_its_client_told(carrier: Carrier) {
        let server = setup(carrier).threads(1).start();
        for target in ["/exit", "/throw", "/fatal", "/memory", "/garbage"] {
            let before = worker(&server);
            assert_eq!(server.get(target).send().status, 500, "{target}");
            let after = worker(&server);
            assert_ne!(before["boot"], after["boot"], "{target}");
            assert_eq!(after["served"], 1, "{target}");
        }
    }

    fn a_worker_may_ask_to_be_replaced_and_its_request_is_done_by_another(carrier: Carrier) {
        let server = setup(carrier).threads(1).start();
        let before = worker(&server)["boot"].clone();
        let reply = server.post("/replace", "text/plain", "work").send();
        assert_eq!(reply.status, 200, "{}", reply.text());
        let text = reply.text();
        assert!(text.starts_with("work done by ") && !text.contains(before.as_str().unwrap()), "{text}");
        let (content_type, body) = crate::harness::multipart(&[("file", "a.txt", b"kept")]);
        server.get("/worker").send();
        let reply = server.post("/replace?upload=1", &content_type, body).send();
        assert!(reply.text().starts_with("kept done by"), "{}", reply.text());
    }

    fn a_worker_serves_as_many_as_max_jobs_says(carrier: Carrier) {
        let server = setup(carrier).threads(1).option("http.pool.max_jobs=3").start();
        let served: Vec<_> = (0..7).map(|_| worker(&server)["served"].as_u64().unwrap()).collect();
        assert_eq!(served, [1, 2, 3, 1, 2, 3, 1]);
        assert!(server.logs("left the loop after 3"));
    }

    fn a_request_that_takes_too_long_is_ended(carrier: Carrier) {
        let server = setup(carrier).threads(1).option("http.request_timeout=500ms").start();
        let before = worker(&server)["boot"].clone();
        for target in ["/busy", "/sleep"] {
            assert_eq!(server.get(target).send().status, 504, "{target}");
            assert!(wait_until(PATIENCE, || server.get("/worker").send().status == 200));
            assert_ne!(worker(&server)["boot"], before, "{target}");
        }
    }

    fn debug_mode_has_a_worker_for_each_request(carrier: Carrier) {
        let server = setup(carrier).threads(1).option("http.pool.debug=true").start();
        let (first, second) = (worker(&server), worker(&server));
        assert_ne!(first["boot"], second["boot"]);
        assert_eq!((&first["served"], &second["served"]), (&1.into(), &1.into()));
        let reply = server.get("/error").send();
        assert_eq!((reply.status, reply.text().as_str()), (500, "secret reason"));
        let script = server.root().join("roadrunner/worker.php");
        std::fs::write(&script, "<?php throw new LogicException('changed for the worse');").unwrap();
        let reply = server.get("/worker").send();
        assert!(reply.status == 500 && reply.text().contains("changed for the worse"), "{}", reply.text());
    }

    fn a_reload_takes_new_code_and_loses_nothing(carrier: Carrier) {
        let server = setup(carrier).threads(1).start();
        let before = worker(&server);
        let running = server.get("/sleep?us=500000").fire();
        assert!(server.logs("falls asleep"));
        server.signal(Signal::SIGUSR2);
        let mut running = running;
        assert_eq!(running.read().unwrap().text(), "slept");
        assert!(wait_until(PATIENCE, || worker(&server)["boot"] != before["boot"]));
        assert_eq!(server.post("/echo", "text/plain", "after").send().text(), "after");
        assert!(wait_until(PATIENCE, || !std::path::Path::new(&format!("/proc/{}", before["pid"])).exists()));
    }

    fn operators_see_and_reset_the_workers(carrier: Carrier) {
        let address = free_port();
        let server = setup(carrier).threads(2).option(&format!("rpc.listen=tcp://{address}")).start();
        let before = worker(&server);
        assert_eq!(before["server"]["RR_RPC"], format!("tcp://{address}"));
        let mut rpc = Rpc::tcp(address);
        let mut list = serde_json::Value::Null;
        // A worker is ready a moment after its answer is there.
        let all_ready = || {
            list = rpc.call("informer.Workers", &serde_json::json!("http")).unwrap();
            list["workers"].as_array().unwrap().iter().all(|row| row["statusStr"] == "ready")
        };
        assert!(wait_until(PATIENCE, all_ready), "{list}");
        let rows = list["workers"].as_array().unwrap();
        assert_eq!(rows.len(), 2, "{list}");
        assert_eq!(rows.iter().map(|row| row["numExecs"].as_u64().unwrap()).sum::<u64>(), 1, "{list}");
        assert_eq!(rpc.call("resetter.Reset", &serde_json::json!("http")), Ok(serde_json::json!(true)));
        assert!(!(0..4).any(|_| worker(&server)["boot"] == before["boot"]));
        if carrier == Carrier::Processes {
            assert!(rows.iter().any(|row| row["pid"] == before["pid"] && row["memoryUsage"].as_u64() > Some(1 << 20)), "{list}");
        }
    }

    fn a_stop_waits_for_what_runs(carrier: Carrier) {
        let server = setup(carrier).threads(1).start();
        let began = server.dir().join("began");
        let mut running = server.get(&format!("/sleep?us=700000&began={}", began.display())).fire();
        assert!(wait_until(PATIENCE, || began.exists()));
        let mut waiting = server.post("/echo", "text/plain", "waited").fire();
        thread::sleep(Duration::from_millis(50));
        server.signal(Signal::SIGTERM);
        assert_eq!(running.read().unwrap().text(), "slept");
        assert_eq!(waiting.read().unwrap().text(), "waited");
        let status = server.ended_within(PATIENCE).expect("it ends");
        assert_eq!(status.code(), Some(0), "{}", server.log.text());
        assert!(server.log.text().contains("left the loop after 2"), "{}", server.log.text());
    }

    fn who_waits_at_the_end_of_the_grace_period_is_told(carrier: Carrier) {
        let figures = free_port();
        let setup = setup(carrier).threads(1).option("engine.grace_period=300ms");
        let server = setup.option(&format!("metrics.address={figures}")).start();
        let began = server.dir().join("began");
        let mut running = server.get(&format!("/sleep?us=600000000&began={}", began.display())).fire();
        assert!(wait_until(PATIENCE, || began.exists()));
        let mut waiting = server.post("/echo", "text/plain", "waited").fire();
        let page = || Request::new(figures, "GET", "/metrics").send().text();
        assert!(wait_until(PATIENCE, || page().lines().any(|line| line == "rr_queue_length{pool=\"http\"} 1")), "{}", page());
        server.signal(Signal::SIGTERM);
        for client in [&mut running, &mut waiting] {
            assert_eq!(client.read().unwrap().status, 503, "{}", server.log.text());
        }
        assert!(server.ended_within(PATIENCE).is_some(), "{}", server.log.text());
        assert!(server.log.text().contains("its request is cut"), "{}", server.log.text());
    }

    fn a_worker_that_does_not_start_fails_the_start(carrier: Carrier) {
        for (script, reason) in [
            ("<?php throw new LogicException('no database');", "Uncaught LogicException: no database"),
            ("<?php syntax error", "syntax error, unexpected identifier"),
            ("<?php echo 'done';", if carrier == Carrier::Threads { "it ended without waiting for a request" } else { "done" }),
        ] {
            let setup = with(carrier, "root/broken.php").file("broken.php", script);
            let setup = if carrier == Carrier::Processes { setup.option("http.pool.carrier=process") } else { setup };
            let output = finish(setup.command(free_port(), None), b"");
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(!output.status.success(), "{script}: {said}");
            let last = said.lines().last().unwrap();
            assert!(last.starts_with("rr: pool http: ") && last.contains(reason), "{script}: {said}");
        }
    }
}
