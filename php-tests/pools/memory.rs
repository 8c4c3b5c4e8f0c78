//! Memory that becomes short: what the server does about it, and that no request suffers.

use std::{fs, net::SocketAddr, path::PathBuf, time::Duration};

use serde_json::{Value, json};

use super::{boots, let_go, pool, served, up, waits_for};
use crate::harness::{PATIENCE, Rpc, Server, Setup, command, finish, free_port, wait_until};

const MIB: u64 = 1 << 20;

/// With memory for scripts, and where calls are taken.
fn guarded(setup: Setup) -> (Setup, SocketAddr) {
    let address = free_port();
    (setup.ini("memory_limit", "-1").option(&format!("rpc.listen=tcp://{address}")), address)
}

fn memory(address: SocketAddr) -> Value {
    Rpc::tcp(address).call("memory.Show", &json!(true)).unwrap()
}

#[test]
fn the_largest_worker_starts_afresh_after_what_it_does() {
    let Some(setup) = pool(2) else { return };
    let (setup, address) = guarded(setup.option("engine.memory.limit=1G").option("engine.memory.recycle_at=35"));
    let server = up(setup.option("engine.memory.shed_at=90"));
    assert_eq!(memory(address)["measure"], "none");
    let mut large = server.get("/?hold=400&until=go").fire();
    waits_for(&server, "go");
    assert!(server.log.contains("memory is short: workers start afresh", PATIENCE), "{}", server.log.text());
    assert_eq!(boots(&server), 2, "it is at work");
    let shown = memory(address);
    assert!(shown["limit"] == 1024 * MIB && shown["used"].as_u64() > Some(400 * MIB), "{shown}");
    let drawn = finish(command(&["-o", &format!("rpc.listen=tcp://{address}"), "workers"]), &[]);
    let drawn = String::from_utf8(drawn.stdout).unwrap();
    assert!(drawn.contains("measure: workers start afresh, the largest first"), "{drawn}");
    let_go(&server, "go");
    served(&large.read().unwrap());
    assert!(wait_until(PATIENCE, || boots(&server) == 3), "{}", server.log.text());
    assert!(server.logs("the largest worker starts afresh"), "{}", server.log.text());
    assert!(server.log.contains("memory is no longer short", PATIENCE), "{}", server.log.text());
    assert_eq!(memory(address)["measure"], "none");
}

#[test]
fn load_is_shed_while_memory_is_very_short() {
    let Some(setup) = pool(4) else { return };
    let (setup, address) = guarded(setup.option("engine.memory.limit=1G").option("engine.memory.replace_after=1h"));
    let server = up(setup.option("engine.memory.recycle_at=35").option("engine.memory.shed_at=35"));
    let mut large = server.get("/?hold=400&until=go").fire();
    waits_for(&server, "go");
    assert!(server.log.contains("further requests are refused", PATIENCE), "{}", server.log.text());
    // Two of four may work.
    let mut second = server.get("/?until=second").fire();
    waits_for(&server, "second");
    let refused = server.get("/").send();
    assert_eq!((refused.status, refused.header("retry-after")), (503, Some("1")));
    assert_eq!(memory(address)["measure"], "half of the workers work, further requests are refused");
    let_go(&server, "second");
    served(&second.read().unwrap());
    served(&server.get("/").send());
    let_go(&server, "go");
    served(&large.read().unwrap());
    assert!(server.log.contains("memory is no longer short", PATIENCE), "{}", server.log.text());
}

/// The engine that answers now; its pool has a route for that.
fn engine(server: &Server) -> String {
    server.text("/pid")
}

/// A server that sheds load from 40 % of `limit` on, a second of which is enough for another engine.
fn sheds_soon(limit: &str, grace_period: &str) -> Option<Server> {
    let setup = pool(2)?;
    let pid = "http:\n  routes:\n    - { path: /pid, worker: root/pid.php, pool: { num_workers: 1 } }\n";
    let pid = pid.replace("root/", &format!("{}/", setup.document_root().display()));
    let setup = setup.config("rr.yaml", &format!("version: '3'\n{pid}"));
    let setup = setup.php("pid.php", "while (rr_handle_request(fn() => print getmypid()));").ini("memory_limit", "-1");
    let options = ["recycle_at=40", "shed_at=40", "replace_after=1s"].map(|option| format!("engine.memory.{option}"));
    let setup = options.iter().fold(setup, |setup, option| setup.option(option));
    let setup = setup.option(&format!("engine.grace_period={grace_period}"));
    Some(up(setup.option(&format!("engine.memory.limit={limit}"))))
}

#[test]
fn another_engine_takes_over_when_memory_stays_short() {
    let Some(server) = sheds_soon("1G", "1m") else { return };
    let first = engine(&server);
    let mut large = server.get("/?hold=500&until=go").fire();
    waits_for(&server, "go");
    assert!(server.log.contains("a new engine takes its place", PATIENCE), "{}", server.log.text());
    assert!(wait_until(PATIENCE, || server.get("/pid").send().text() != first), "{}", server.log.text());
    let_go(&server, "go");
    served(&large.read().unwrap());
}

#[test]
fn without_room_for_two_requests_that_hold_the_memory_are_waited_for() {
    let Some(server) = sheds_soon("300M", "10m") else { return };
    let first = engine(&server);
    let mut large = server.get("/?hold=290&until=go").fire();
    waits_for(&server, "go");
    assert!(server.log.contains("requests that run are waited for", PATIENCE), "{}", server.log.text());
    assert_eq!(server.get("/").send().status, 503);
    assert!(server.log.contains("the largest worker starts afresh", PATIENCE), "{}", server.log.text());
    let_go(&server, "go");
    served(&large.read().unwrap());
    assert!(server.log.contains("memory is no longer short", PATIENCE), "{}", server.log.text());
    assert_eq!(engine(&server), first);
    assert!(!server.logs("this one ends"), "{}", server.log.text());
}

#[test]
fn without_room_for_two_the_engine_ends_first() {
    let Some(server) = sheds_soon("300M", "6s") else { return };
    let first = engine(&server);
    let mut large = server.get("/?hold=290&until=go").fire();
    waits_for(&server, "go");
    assert!(server.log.contains("this one ends, and another follows", PATIENCE), "{}", server.log.text());
    let_go(&server, "go");
    served(&large.read().unwrap());
    assert!(wait_until(PATIENCE, || server.get("/pid").send().text() != first), "{}", server.log.text());
    served(&server.get("/").send());
}

/// A control group as the server sees it, and nobody else.
struct Group(PathBuf);

impl Group {
    /// Of version 2, with this limit.
    fn around(setup: Setup, limit: u64) -> Option<Setup> {
        let files = format!(
            "mount -t tmpfs none /sys/fs/cgroup; cd /sys/fs/cgroup; echo {limit} > memory.max; echo 0 > memory.current; \
             echo 'inactive_file 0' > memory.stat; echo 'oom_kill 0' > memory.events; cd -"
        );
        setup.mounts(&files)
    }

    fn of(server: &Server) -> Self {
        Self(format!("/proc/{}/root/sys/fs/cgroup", server.pid()).into())
    }

    fn write(&self, file: &str, text: &str) {
        fs::write(self.0.join(file), text).unwrap();
    }
}

#[test]
fn the_limit_and_the_usage_are_the_control_group_s() {
    let Some(setup) = pool(2).and_then(|setup| Group::around(setup, 1000 * MIB)) else { return };
    let (setup, address) = guarded(setup);
    let server = up(setup);
    let group = Group::of(&server);
    assert!(wait_until(PATIENCE, || memory(address)["limit"] == 1000 * MIB), "{}", memory(address));
    group.write("memory.current", &(870 * MIB).to_string());
    assert!(server.log.contains("memory is short: workers start afresh", PATIENCE), "{}", server.log.text());
    group.write("memory.current", &(950 * MIB).to_string());
    assert!(server.log.contains("further requests are refused", PATIENCE), "{}", server.log.text());
    // What the kernel would give back at once is not used up.
    group.write("memory.stat", &format!("inactive_file {}\nactive_file {}\n", 300 * MIB, 100 * MIB));
    assert!(server.log.contains("memory is no longer short", PATIENCE), "{}", server.log.text());
    group.write("memory.events", "oom 1\noom_kill 1\n");
    assert!(server.log.contains("the kernel has killed for want of memory", PATIENCE), "{}", server.log.text());
    served(&server.get("/").send());
}

#[test]
fn a_pool_does_not_grow_beyond_the_control_group() {
    let Some(setup) = pool(1).and_then(|setup| Group::around(setup, 192 * MIB)) else { return };
    let server = up(setup.option("http.pool.dynamic_allocator.max_workers=10"));
    assert!(server.log.contains("more than the CPUs and the memory are for", PATIENCE), "{}", server.log.text());
    let waiting: Vec<_> = (0..6).map(|_| server.get("/?until=go").fire()).collect();
    assert!(wait_until(PATIENCE, || boots(&server) == 3), "{} boots", boots(&server));
    // Three still wait, and nothing comes of it.
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(boots(&server), 3);
    let_go(&server, "go");
    for mut waiting in waiting {
        served(&waiting.read().unwrap());
    }
}
