//! Several sites and routes in one server, each with a pool of its own.

use std::{fs, path::Path, process::Stdio, thread, time::Duration};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::{Value, json};

use super::{WORKER, boots, let_go, served, up, waits_for};
use crate::harness::{
    PATIENCE, Reply, Request, Rpc, Server, Setup, TempDir, finish, free_port, reference, rr, server, wait_until,
};

/// Tells where it runs and what it sees there.
const TELL: &str = r#"<?php
echo json_encode([
    'root' => basename($_SERVER['DOCUMENT_ROOT']), 'host' => $_SERVER['SERVER_NAME'], 'sapi' => PHP_SAPI, 'pid' => getmypid(),
    'memory' => ini_get('memory_limit'), 'precision' => ini_get('precision'),
]);
"#;

/// Waits in a worker thread until there is such a file.
const WAIT: &str = r#"<?php
touch("{$_GET['in']}/waits-for-{$_GET['until']}");
for ($i = 0; $i < 20_000 && !file_exists("{$_GET['in']}/{$_GET['until']}"); $i++) {
    usleep(1_000);
    clearstatcache();
}
echo 'waited';
"#;

/// A server whose main site tells and waits, with `config` for the rest, in which `DIR` stands for its directory.
fn sites(config: &str) -> Option<Setup> {
    if reference().is_some() {
        return None;
    }
    let setup = server().bare().file("tell.php", TELL).file("wait.php", WAIT);
    for site in ["shop", "blog"] {
        site_in(setup.scratch(), site);
    }
    let config = format!("version: '3'\n{}", config.replace("DIR", setup.scratch().to_str().unwrap()));
    Some(setup.config(".rr.yaml", &config))
}

fn site_in(dir: &Path, name: &str) {
    let root = dir.join(name);
    fs::create_dir(&root).unwrap();
    fs::write(root.join("tell.php"), TELL).unwrap();
    fs::write(root.join("wait.php"), WAIT).unwrap();
    fs::write(root.join("index.php"), format!("<?php echo '{name} ', $_SERVER['REQUEST_URI'];")).unwrap();
    fs::write(root.join("own.txt"), name).unwrap();
}

fn get(server: &Server, host: &str, target: &str) -> Request {
    server.get(target).header("Host", host)
}

fn text(server: &Server, host: &str, target: &str) -> String {
    let reply = get(server, host, target).send();
    assert_eq!(reply.status, 200, "{host} {target}: {}\n{}", reply.text(), server.log.text());
    reply.text()
}

fn tell(server: &Server, host: &str) -> Value {
    serde_json::from_str(&text(server, host, "/tell.php")).unwrap()
}

/// Asks a site's script to wait for `file`; the answer comes with `let_go`.
fn wait_for(server: &Server, host: &str, file: &str) -> crate::harness::Connection {
    let connection = get(server, host, &format!("/wait.php?in={}&until={file}", server.dir().display())).fire();
    waits_for(server, file);
    connection
}

// === hosts ===

#[test]
fn a_host_leads_to_its_site_and_an_unknown_one_to_the_main_site() {
    let config = "
sites:
  - { hosts: [shop.example, '*.shop.example'], root: DIR/shop, preset: front-controller, pool: { num_workers: 1 } }
  - { hosts: [blog.example, deep.shop.example, '[::1]'], root: DIR/blog, preset: files, pool: { num_workers: 1 } }
";
    let Some(setup) = sites(config) else { return };
    let server = up(setup);
    for (host, root, name) in [
        ("shop.example", "shop", "shop.example"),
        ("SHOP.example:8080", "shop", "shop.example"),
        ("shop.example.", "shop", "shop.example."),
        ("www.shop.example", "shop", "www.shop.example"),
        ("a.b.shop.example", "shop", "a.b.shop.example"),
        ("blog.example", "blog", "blog.example"),
        ("deep.shop.example", "blog", "deep.shop.example"),
        ("[::1]:8080", "blog", "[::1]"),
        ("other.example", "bare", "other.example"),
        ("xshop.example", "bare", "xshop.example"),
        ("127.0.0.1", "bare", "127.0.0.1"),
    ] {
        let told = tell(&server, host);
        assert_eq!((&told["root"], &told["host"]), (&json!(root), &json!(name)), "{host}");
    }
    // Files and rules are each site's own too.
    assert_eq!(text(&server, "blog.example", "/own.txt"), "blog");
    assert_eq!(get(&server, "other.example", "/own.txt").send().status, 404);
    assert_eq!(text(&server, "shop.example", "/no/such?a=1"), "shop /no/such?a=1");
    assert_eq!(get(&server, "blog.example", "/no/such").send().status, 404);
    let absolute = server.raw("GET http://shop.example/x HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\n\r\n");
    assert!(absolute.ends_with("shop /x"), "{absolute}");
    let banner = server.log.text();
    assert!(banner.contains("site     shop.example, *.shop.example: ") && banner.contains("4 PHP, "), "{banner}");
}

#[test]
fn without_a_main_site_the_first_answers_other_hosts() {
    if reference().is_some() {
        return;
    }
    let dir = TempDir::new();
    site_in(dir.path(), "shop");
    site_in(dir.path(), "blog");
    let config = "version: '3'\nsites:\n  - { hosts: shop.example, root: shop }\n  - { hosts: blog.example, root: blog }\n";
    dir.write(".rr.yaml", config);
    let address = free_port();
    let mut command = rr();
    command.args(["serve", "-o", &format!("http.address={address}")]).current_dir(dir.path());
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let answers = |host: &str| {
        let mut reply = None;
        let request = Request::new(address, "GET", "/own.txt").header("Host", host);
        wait_until(PATIENCE, || {
            reply = request.try_send().ok();
            reply.is_some()
        });
        reply.map_or_else(|| "nothing".to_owned(), |reply| reply.text())
    };
    let answered = ["other.example", "shop.example", "blog.example"].map(answers);
    kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), Signal::SIGTERM).unwrap();
    let status = child.wait().unwrap();
    assert_eq!(answered, ["shop", "shop", "blog"]);
    assert!(status.success(), "{status}");
}

#[test]
fn ini_values_are_of_one_pool_alone() {
    let config = "
php: { ini: { memory_limit: 200M, precision: 12 } }
sites:
  - { hosts: shop.example, root: DIR/shop, pool: { num_workers: 1 }, php: { ini: { memory_limit: 300M } } }
  - { hosts: blog.example, worker: DIR/blog/worker.php, pool: { num_workers: 1 }, php: { ini: { precision: 5 }, reset: basic } }
";
    let Some(setup) = sites(config) else { return };
    let worker = "<?php while (rr_handle_request(function () { include __DIR__ . '/tell.php'; }));";
    fs::write(setup.scratch().join("blog/worker.php"), worker).unwrap();
    let server = up(setup.threads(1));
    for _ in 0..3 {
        for (host, memory, precision) in
            [("other.example", "200M", "12"), ("shop.example", "300M", "12"), ("blog.example", "200M", "5")]
        {
            let told = tell(&server, host);
            assert_eq!((&told["memory"], &told["precision"]), (&json!(memory), &json!(precision)), "{host}");
        }
    }
}

// === starvation ===

#[test]
fn a_site_whose_threads_are_all_asleep_starves_no_other() {
    let config = "
sites:
  - { hosts: shop.example, root: DIR/shop, pool: { num_workers: 2, max_queue_size: 2 } }
  - { hosts: blog.example, root: DIR/blog, pool: { num_workers: 1 } }
";
    let Some(setup) = sites(config) else { return };
    let server = up(setup.threads(1));
    let mut asleep: Vec<_> = ["one", "two"].map(|file| wait_for(&server, "shop.example", file)).into();
    // These wait for a thread, and more of them are refused.
    let queued: Vec<_> = (0..2).map(|_| get(&server, "shop.example", "/tell.php").fire()).collect();
    let refused = || get(&server, "shop.example", "/tell.php").header("Connection", "close").fire().read().unwrap().status;
    let mut more = Vec::new();
    assert!(
        wait_until(PATIENCE, || {
            // One that comes before those two takes a place in the queue.
            let mut connection = get(&server, "shop.example", "/tell.php").fire();
            connection.read_timeout(Duration::from_millis(200));
            let is_refused = connection.read().is_ok_and(|reply| reply.status == 503);
            more.push(connection);
            is_refused
        }),
        "{}",
        server.log.text()
    );
    assert_eq!(refused(), 503);
    let shared = &server;
    thread::scope(|scope| {
        for host in ["blog.example", "other.example"] {
            for _ in 0..3 {
                scope.spawn(move || (0..20).for_each(|_| assert_eq!(tell(shared, host)["host"], host)));
            }
        }
    });
    assert_eq!(text(&server, "shop.example", "/own.txt"), "shop", "a file needs no thread");
    for file in ["one", "two"] {
        let_go(&server, file);
    }
    assert!(asleep.iter_mut().all(|connection| connection.read().unwrap().text() == "waited"));
    drop(queued);
    assert_eq!(tell(&server, "shop.example")["root"], "shop");
}

// === routes ===

#[test]
fn a_path_leads_to_a_worker_of_its_own() {
    let config = "
http:
  routes:
    - { path: /api/*, worker: DIR/api.php, pool: { num_workers: 1 }, php: { ini: { memory_limit: 300M } } }
sites:
  - hosts: shop.example
    root: DIR/shop
    preset: front-controller
    pool: { num_workers: 1 }
    routes:
      - { path: /ping, worker: DIR/api.php, pool: { num_workers: 1 } }
";
    let Some(setup) = sites(config) else { return };
    let api = r#"<?php
while (rr_handle_request(function () {
    echo "api of {$_SERVER['SERVER_NAME']} {$_SERVER['REQUEST_URI']} ", ini_get('memory_limit');
    if (isset($_GET['until'])) {
        include dirname(__FILE__) . '/bare/wait.php';
    }
}));"#;
    fs::write(setup.scratch().join("api.php"), api).unwrap();
    let server = up(setup.ini("memory_limit", "200M"));
    for target in ["/api/users?a=1", "/api", "/%61pi/x", "//api/y", "/x/../api/z", "/api/tell.php"] {
        assert_eq!(text(&server, "a.example", target), format!("api of a.example {target} 300M"));
    }
    assert_eq!(tell(&server, "a.example")["memory"], "200M");
    assert_eq!(get(&server, "a.example", "/apis").send().status, 404);
    assert_eq!(text(&server, "shop.example", "/ping"), "api of shop.example /ping 200M");
    assert_eq!(text(&server, "shop.example", "/api/x"), "shop /api/x");
    // The route's only worker is busy, and the site has others.
    let mut busy = get(&server, "a.example", &format!("/api/?in={}&until=go", server.dir().display())).fire();
    waits_for(&server, "go");
    assert_eq!(tell(&server, "a.example")["root"], "bare");
    let_go(&server, "go");
    assert!(busy.read().unwrap().text().ends_with("waited"));
}

#[test]
fn a_slow_path_with_a_pool_of_its_own_leaves_all_other_workers_free() {
    let config = "
http:
  routes:
    - { path: /wait.php, pool: { num_workers: 1, max_queue_size: 1 } }
    - { path: /slow/*, pool: { num_workers: 1 }, request_timeout: 1s }
";
    let Some(setup) = sites(config) else { return };
    let server = up(setup.threads(1).php("slow/sleep.php", "sleep(600);").file("slow/file.txt", "text"));
    let waits = format!("/wait.php?in={}&until=go", server.dir().display());
    let mut running = get(&server, "a.example", &waits).fire();
    waits_for(&server, "go");
    let mut queued = get(&server, "a.example", &waits).fire();
    assert!(wait_until(PATIENCE, || get(&server, "a.example", &waits).send().status == 503));
    // Its only worker is busy and its queue full; the site's only worker is not.
    assert_eq!(tell(&server, "a.example")["root"], "bare");
    // Files and scripts are the site's, and so are its rules.
    assert_eq!(text(&server, "a.example", "/slow/file.txt"), "text");
    assert_eq!(get(&server, "a.example", "/slow/sleep.php").send().status, 504);
    assert_eq!(get(&server, "a.example", "/slow/none").send().status, 404);
    let_go(&server, "go");
    assert!(running.read().unwrap().text().ends_with("waited"));
    assert_eq!(queued.read().unwrap().status, 200);
}

#[test]
fn a_path_can_have_other_workers_of_the_site_s_own_script() {
    let Some(setup) = super::pool(1) else { return };
    let route = "version: '3'\nhttp:\n  routes:\n    - { path: /reports/*, pool: { num_workers: 1 } }\n";
    let server = up(setup.config("rr.yaml", route));
    assert!(wait_until(PATIENCE, || super::boots(&server) == 2), "{}", server.log.text());
    let mut busy = server.get("/reports/all?until=go").fire();
    waits_for(&server, "go");
    super::served(&server.get("/").send());
    let_go(&server, "go");
    super::served(&busy.read().unwrap());
}

// === operators ===

#[test]
fn pools_are_shown_and_reset_by_their_names() {
    let config = "
sites:
  - { hosts: shop.example, worker: DIR/shop/worker.php, pool: { num_workers: 2 } }
";
    let Some(setup) = sites(config) else { return };
    fs::write(setup.scratch().join("shop/worker.php"), format!("<?php\n{WORKER}")).unwrap();
    let address = free_port();
    let server = up(setup.threads(1).option(&format!("rpc.listen=tcp://{address}")));
    assert_eq!(boots(&server), 2);
    let mut rpc = Rpc::tcp(address);
    assert_eq!(rpc.call("informer.List", &json!(true)), Ok(json!(["http", "http:shop.example"])));
    let count =
        |rpc: &mut Rpc, pool: &str| rpc.call("informer.Workers", &json!(pool)).unwrap()["workers"].as_array().unwrap().len();
    assert_eq!((count(&mut rpc, "http"), count(&mut rpc, "http:shop.example")), (1, 2));
    let reply = get(&server, "shop.example", "/").send();
    let (before, _) = served(&reply);
    let run = |arguments: &[&str]| {
        let mut command = rr();
        command.args(arguments).args(["-o", &format!("rpc.listen=tcp://{address}")]).current_dir(server.dir());
        let output = finish(command, b"");
        (output.status.success(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
    };
    let (ok, shown) = run(&["workers"]);
    assert!(ok && shown.contains("Workers of [http]:") && shown.contains("Workers of [http:shop.example]:"), "{shown}");
    assert!(run(&["reset", "http"]).0);
    assert_eq!(boots(&server), 2, "the other pool goes on");
    let (ok, said) = run(&["reset", "http:shop.example"]);
    assert!(ok && said.contains("plugin reset: [http:shop.example]"), "{said}");
    assert_eq!(boots(&server), 4);
    assert_ne!(served(&get(&server, "shop.example", "/").send()).0, before);
    assert_eq!(rpc.call("informer.AddWorker", &json!("http:shop.example")), Ok(json!(true)));
    assert!(wait_until(PATIENCE, || boots(&server) == 5 && count(&mut rpc, "http:shop.example") == 3));
    assert_eq!(count(&mut rpc, "http"), 1);
    let (ok, said) = run(&["reset", "http:blog.example"]);
    assert!(!ok && said.contains("http:blog.example"), "{said}");
}

#[test]
fn a_reload_takes_changed_sites() {
    let of = |host: &str, root: &str| format!("sites:\n  - {{ hosts: {host}, root: DIR/{root}, pool: {{ num_workers: 1 }} }}\n");
    let Some(setup) = sites(&of("shop.example", "shop")) else { return };
    let server = up(setup);
    let file = server.dir().join(".rr.yaml");
    let write = |config: &str| {
        fs::write(&file, format!("version: '3'\n{}", config.replace("DIR", server.dir().to_str().unwrap()))).unwrap();
    };
    let old = tell(&server, "blog.example");
    assert_eq!(old["root"], "bare");
    write(&of("blog.example", "blog"));
    server.signal(Signal::SIGHUP);
    // The old engine may answer until it is gone.
    let pid = format!("/proc/{}", old["pid"]);
    assert!(
        wait_until(PATIENCE, || {
            drop(tell(&server, "x.example"));
            !Path::new(&pid).exists()
        }),
        "{}",
        server.log.text()
    );
    assert_eq!(
        (&tell(&server, "blog.example")["root"], &tell(&server, "shop.example")["root"]),
        (&json!("blog"), &json!("bare"))
    );
    // A site that is not there changes nothing.
    write(&of("shop.example", "gone"));
    server.signal(Signal::SIGHUP);
    assert!(server.log.contains("http:shop.example.root", PATIENCE), "{}", server.log.text());
    assert_eq!(tell(&server, "blog.example")["root"], "blog");
}

// === mixtures ===

#[test]
fn two_names_of_the_sapi_in_one_process_are_refused() {
    let config = "
sites:
  - { hosts: api.example, pool: { command: php DIR/roadrunner.php, num_workers: 1 } }
";
    let Some(setup) = sites(config) else { return };
    fs::write(setup.scratch().join("roadrunner.php"), "<?php").unwrap();
    let output = finish(setup.command(free_port(), None), b"");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "{said}");
    assert!(said.contains("http:api.example and http: ") && said.contains("a listener of its own"), "{said}");
    assert!(said.contains("carrier: process") && said.trim().lines().count() == 1, "{said}");
}

#[test]
fn what_two_pools_cannot_share_is_refused() {
    let sites_of = |command: &str, of_each: [&str; 2]| {
        let site = |(host, options): (&str, &str)| format!("  - {{ hosts: {host}, pool: {{ command: {command} {options} }} }}\n");
        format!("sites:\n{}{}", site(("a.example", of_each[0])), site(("b.example", of_each[1])))
    };
    let main = "server: { command: php DIR/roadrunner.php }\n";
    let relay = "server: { command: php DIR/roadrunner.php, relay: 'tcp://127.0.0.1:1' }\n";
    for (config, reason) in [
        (main.to_owned() + &sites_of("php", ["-c DIR/one.ini DIR/roadrunner.php", "-n DIR/roadrunner.php"]), "-c, -n"),
        (relay.to_owned() + &sites_of("php", ["DIR/roadrunner.php"; 2]), "server.relay: one socket cannot serve two pools"),
    ] {
        let Some(setup) = sites(&config) else { return };
        fs::write(setup.scratch().join("roadrunner.php"), "<?php").unwrap();
        let output = finish(setup.command(free_port(), None), b"");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && said.contains(reason) && said.trim().lines().count() == 1, "{said}");
    }
}

#[test]
fn classic_scripts_and_roadrunner_workers_in_processes_are_side_by_side() {
    let config = "
sites:
  - { hosts: api.example, pool: { command: php ROOT/roadrunner/worker.php, num_workers: 1, carrier: process } }
";
    if reference().is_some() {
        return;
    }
    let setup = crate::roadrunner::with_php(server().file("tell.php", TELL));
    let config = format!("version: '3'\n{}", config.replace("ROOT", setup.document_root().to_str().unwrap()));
    let server = up(setup.config(".rr.yaml", &config));
    assert_eq!(tell(&server, "other.example")["sapi"], "fpm-fcgi");
    assert_eq!(get(&server, "api.example", "/worker").send().json()["sapi"], "cli");
}

#[test]
fn each_roadrunner_pool_has_the_values_of_its_command() {
    if reference().is_some() {
        return;
    }
    let setup = server();
    let worker = setup.document_root().join("roadrunner/worker.php");
    let config = format!(
        "version: '3'
server: {{ command: php -d precision=5 {0} main }}
sites:
  - hosts: api.example
    pool: {{ command: php -d precision=6 -d zend.assertions=-1 {0} api, num_workers: 1 }}
    php: {{ ini: {{ precision: 9, memory_limit: 300M }} }}
",
        worker.display()
    );
    let server = up(setup.threads(1).ini("memory_limit", "200M").config(".rr.yaml", &config));
    let tells = |reply: &Reply| {
        let told = reply.json();
        (told["argv"][1].clone(), told["ini"].clone(), told["sapi"].clone())
    };
    let target = "/worker?ini=precision,memory_limit,html_errors";
    let ini = |precision: &str, memory: &str| json!({"precision": precision, "memory_limit": memory, "html_errors": "0"});
    let main = tells(&get(&server, "other.example", target).send());
    assert_eq!(main, (json!("main"), ini("5", "200M"), json!("cli")));
    let api = tells(&get(&server, "api.example", target).send());
    assert_eq!(api, (json!("api"), ini("6", "300M"), json!("cli")));
}
