//! What holds for a path holds for whatever else leads to the same script or file.

use crate::harness::{Server, Setup, reference, server};

/// What is asked of each server, and whether a guard of `/wp-login.php`, `/admin/*` and `/secret/*` holds for it.
const TARGETS: [(&str, bool); 26] = [
    ("/wp-login.php", true),
    ("/wp-login.php/", true),
    ("/wp-login.php/x", true),
    ("/wp-login.php%2fx?y", true),
    ("/wp-login%2ephp/x", true),
    ("//wp-login.php//", true),
    ("/x/../wp-login.php/y", true),
    ("/index.php/wp-login.php", true),
    ("/admin", true),
    ("/admin/x", true),
    ("/index.php/admin/x", true),
    ("/index.php//admin", true),
    ("/index.php/x/..//admin/y", true),
    ("/index%2Ephp/%61dmin/x", true),
    ("/secret/", true),
    ("/secret/a.php/x", true),
    ("/nice/a.php", true),
    ("/nice/b.txt", true),
    ("/%6eice/./b.txt", true),
    ("/nice/none", true),
    ("/", false),
    ("/index.php", false),
    ("/index.php/other/admin", false),
    ("/pretty/admin/x", false),
    ("/wp-login.phpx", false),
    ("/other.php?/wp-login.php", false),
];

const REWRITE: &str = "rewrite: [{ from: '/nice/*', to: '/secret/$1' }]";

fn site(more: &str) -> Setup {
    server()
        .bare()
        .preset("front-controller")
        .php("index.php", "echo 'index';")
        .php("wp-login.php", "echo 'login';")
        .php("other.php", "echo 'other';")
        .php("secret/index.php", "echo 'secret';")
        .php("secret/a.php", "echo 'secret';")
        .file("secret/b.txt", "secret")
        .config(".rr.yaml", &format!("version: '3'\nhttp: {{ {REWRITE}{more} }}\n"))
}

fn guarded(setup: Setup, guard: &str) -> Setup {
    setup.option(&format!("http.middleware={guard}")).option(&format!("http.{guard}.paths=/wp-login.php,/admin/*,/secret/*"))
}

fn holds(server: &Server, guard: &str, refused: u16) {
    for (target, is_guarded) in TARGETS {
        let status = server.get(target).send().status;
        assert_eq!(status == refused, is_guarded, "{guard} {target}: {status}");
    }
}

#[test]
fn a_guard_holds_by_every_way_to_what_it_guards() {
    if reference().is_some() {
        return;
    }
    holds(&guarded(site(""), "ip_filter").option("http.ip_filter.deny=127.0.0.0/8").start(), "ip_filter", 403);
    let limited = guarded(site(""), "rate_limit").option("http.rate_limit.requests=1").option("http.rate_limit.period=1h");
    let server = limited.option("http.rate_limit.burst=1").start();
    assert_eq!(server.text("/wp-login.php/first"), "login");
    holds(&server, "rate_limit", 429);
    let setup = guarded(site(""), "basic_auth");
    let file = setup.scratch().join("htpasswd");
    std::fs::write(&file, format!("ali:{}\n", bcrypt::hash("opensesame", 4).unwrap())).unwrap();
    holds(&setup.option(&format!("http.basic_auth.file={}", file.display())).start(), "basic_auth", 401);
}

#[test]
fn a_guard_holds_in_front_of_a_worker_script() {
    if reference().is_some() {
        return;
    }
    let setup = guarded(site(""), "ip_filter").php("worker.php", "while (rr_handle_request(function () { echo 'worker'; }));");
    let worker = setup.document_root().join("worker.php");
    let setup = setup.option(&format!("http.worker={}", worker.display()));
    let server = setup.option("http.ip_filter.deny=127.0.0.0/8").start();
    holds(&server, "worker", 403);
    assert_eq!(server.get("/worker.php/admin/x").send().status, 403);
}

#[test]
fn a_body_limit_holds_by_every_way_to_a_script() {
    if reference().is_some() {
        return;
    }
    let limits = ", body_limit: { /wp-login.php: 10, /admin/*: 10, /secret/*: 10, '/*': 1000 }";
    let server = site(limits).option("http.middleware=body_limit").start();
    for (target, is_guarded) in TARGETS {
        let status = server.post(target, "text/plain", vec![b'x'; 20]).send().status;
        assert_eq!(status == 413, is_guarded, "{target}: {status}");
    }
}

#[test]
fn a_route_takes_every_way_to_its_script() {
    if reference().is_some() {
        return;
    }
    let pool = "pool: { num_workers: 1 }";
    let routes =
        format!(", routes: [{{ path: /wp-login.php, {pool} }}, {{ path: /admin/*, {pool} }}, {{ path: /secret/*, {pool} }}]");
    let setup = site(&routes);
    let path = setup.scratch().join("access.log");
    let setup =
        setup.option(&format!("http.access_log.output={}", path.display())).option("http.access_log.format=%n %{REQUEST_URI}e");
    let server = setup.start();
    for (target, is_routed) in TARGETS {
        server.get(target).send();
        let line = || std::fs::read_to_string(&path).unwrap_or_default().lines().last().map(str::to_owned).unwrap_or_default();
        assert!(crate::harness::wait_until(crate::harness::PATIENCE, || line().ends_with(&format!(" {target}"))), "{}", line());
        let pool = line().split(' ').next().unwrap().to_owned();
        // A file has none.
        assert_eq!(!["http", "-"].contains(&pool.as_str()), is_routed && !target.ends_with(".txt"), "{target}: {pool}");
    }
}

#[test]
fn a_guard_holds_for_every_site_of_a_network() {
    if reference().is_some() {
        return;
    }
    let setup = server()
        .bare()
        .preset("wordpress-multisite-subdirectory")
        .php("index.php", "echo 'index';")
        .php("wp-login.php", "echo 'login';")
        .php("wp-admin/index.php", "echo 'admin';")
        .file("wp-content/secret/a.txt", "secret")
        .option("http.middleware=ip_filter")
        .option("http.ip_filter.deny=127.0.0.0/8")
        .option("http.ip_filter.paths=/wp-login.php,/wp-admin/*,/wp-content/secret/*");
    let server = setup.start();
    for target in ["/wp-login.php", "/any/wp-login.php", "/any/wp-login%2ephp", "/a/wp-admin/", "/b/wp-content/secret/a.txt"] {
        assert_eq!(server.get(target).send().status, 403, "{target}");
    }
    assert_eq!(server.text("/any/page"), "index");
}
