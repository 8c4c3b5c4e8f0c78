//! Which file a URL means, and which it never may.

use serde_json::{Value, json};

use crate::harness::{Server, Setup, reference, server};

const WHERE: &str = "echo json_encode([basename(__FILE__), $_SERVER['SCRIPT_NAME'], $_SERVER['PATH_INFO'] ?? null, $_SERVER['QUERY_STRING'], $_SERVER['REQUEST_URI']]);";

fn site(preset: &str) -> Setup {
    server()
        .bare()
        .preset(preset)
        .php("index.php", WHERE)
        .php("other.php", WHERE)
        .php("sub/index.php", WHERE)
        .php("sub/x.php", WHERE)
        .file("plain/index.html", "<p>plain")
        .file("none/file.txt", "text")
        .file("style.css", "body{}")
}

fn seen(server: &Server, target: &str) -> Value {
    let reply = server.get(target).send();
    assert_eq!(reply.status, 200, "{target}: {}", reply.text());
    reply.json()
}

#[test]
fn plain_files_and_index_scripts() {
    let server = site("files").start();
    assert_eq!(seen(&server, "/"), json!(["index.php", "/index.php", "", "", "/"]));
    assert_eq!(seen(&server, "/other.php?a=b")[3], "a=b");
    assert_eq!(seen(&server, "/sub/")[1], "/sub/index.php");
    assert_eq!(server.text("/plain/"), "<p>plain");
    assert_eq!(server.text("/style.css"), "body{}");
    assert_eq!(server.get("/nowhere").send().status, 404);
    assert_eq!(server.get("/nowhere.php").send().status, 404);
    assert!(matches!(server.get("/none/").send().status, 403 | 404));
}

#[test]
fn path_info_follows_the_script() {
    let server = site("files").start();
    assert_eq!(seen(&server, "/other.php/a/b?c=d"), json!(["other.php", "/other.php", "/a/b", "c=d", "/other.php/a/b?c=d"]));
    assert_eq!(seen(&server, "/sub/x.php/")[2], "/");
    assert_eq!(seen(&server, "/other.php/a%20b%2Fc")[2], "/a b/c");
    assert_eq!(seen(&server, "/other.php/x.php/y")[0], "other.php", "the first script wins");
}

#[test]
fn a_directory_without_its_slash_is_redirected() {
    let server = site("files").start();
    let reply = server.get("/sub?a=b").send();
    assert_eq!(reply.status, 301);
    assert!(reply.header("location").unwrap().ends_with("/sub/?a=b"), "{reply:?}");
    if reference().is_none() {
        let reply = server.get("//evil.example/..%2f..").send();
        assert!(!reply.header("location").unwrap_or("").starts_with("//"), "{reply:?}");
    }
}

#[test]
fn a_front_controller_gets_what_is_no_file() {
    let server = site("front-controller").start();
    assert_eq!(seen(&server, "/pretty/url?a=1"), json!(["index.php", "/index.php", "", "a=1", "/pretty/url?a=1"]));
    assert_eq!(seen(&server, "/")[4], "/");
    assert_eq!(seen(&server, "/other.php")[0], "other.php");
    assert_eq!(server.text("/style.css"), "body{}");
    assert_eq!(seen(&server, "/missing.css")[0], "index.php");
}

#[test]
fn the_index_list_is_configurable() {
    if reference().is_some() {
        return;
    }
    let server = site("files")
        .php("home.php", WHERE)
        .config(".rr.yaml", "version: \"3\"\nhttp:\n  index: [home.php, index.html]\n")
        .start();
    assert_eq!(seen(&server, "/")[0], "home.php");
    assert_eq!(server.text("/plain/"), "<p>plain");
}

#[test]
fn rewritten_wordpress_urls_reach_index_php() {
    let server = site("wordpress")
        .php("wp-login.php", WHERE)
        .php("wp-admin/index.php", WHERE)
        .php("wp-admin/admin-ajax.php", WHERE)
        .start();
    assert_eq!(seen(&server, "/2026/11/hello/?x=1"), json!(["index.php", "/index.php", "", "x=1", "/2026/11/hello/?x=1"]));
    assert_eq!(seen(&server, "/wp-json/wp/v2/posts")[0], "index.php");
    assert_eq!(seen(&server, "/wp-login.php")[0], "wp-login.php");
    assert_eq!(seen(&server, "/wp-admin/")[1], "/wp-admin/index.php");
    assert_eq!(server.get("/wp-admin").send().status, 301);
    assert_eq!(seen(&server, "/wp-admin/admin-ajax.php?action=x")[0], "admin-ajax.php");
}

#[test]
fn wordpress_uploads_and_configuration_are_not_executed_or_shown() {
    if reference().is_some() {
        return;
    }
    let server = site("wordpress")
        .php("wp-config.php", "echo 'configured';")
        .file("wp-content/uploads/2026/evil.php", "<?php echo 'executed';")
        .file("wp-content/uploads/2026/photo.jpg", "jpeg")
        .file("wp-content/debug.log", "secrets")
        .start();
    assert_eq!(server.text("/wp-content/uploads/2026/photo.jpg"), "jpeg");
    let reply = server.get("/wp-content/uploads/2026/evil.php").send();
    assert!(!reply.text().contains("executed") && !reply.text().contains("<?php"), "{reply:?}");
}

/// What must never be sent, whatever the spelling.
fn fortress(preset: &str) -> Server {
    server()
        .bare()
        .preset(preset)
        .php("index.php", "echo 'front';")
        .php("x.php", "/* SECRET */ echo 'ran', $_SERVER['PATH_INFO'] ?? '';")
        .file("x.phar", "<?php echo 'ran phar';")
        .file(".env", "SECRET")
        .file(".git/config", "SECRET")
        .file(".htaccess", "SECRET")
        .file(".user.ini", "precision=14 ; SECRET")
        .file("sub/.hidden/file.txt", "SECRET")
        .file(".well-known/acme-challenge/token", "welcome")
        .file("composer.json", "SECRET")
        .file("composer.lock", "SECRET")
        .file("dump.sql", "SECRET")
        .file("x.php.bak", "SECRET")
        .file("x.php~", "SECRET")
        .file("x.php.swp", "SECRET")
        .file(".x.php.swp", "SECRET")
        .file("x.php.orig", "SECRET")
        .file("x.php.save", "SECRET")
        .file("#x.php#", "SECRET")
        .file("y.PHP", "<?php /* SECRET */")
        .file("y.Php", "<?php /* SECRET */")
        .file("z.phtml", "<?php /* SECRET */")
        .file("z.php5", "<?php /* SECRET */")
        .file("z.inc", "<?php /* SECRET */")
        .file("a b.txt", "spaced")
        .file("caf\u{e9}.txt", "accented")
        .start()
}

#[test]
fn sources_secrets_and_leftovers_are_never_sent() {
    if reference().is_some() {
        return; // nginx sends what it is not told to hide
    }
    for preset in ["files", "front-controller"] {
        let server = fortress(preset);
        for target in [
            "/.env",
            "/.git/config",
            "/.htaccess",
            "/.user.ini",
            "/sub/.hidden/file.txt",
            "/%2eenv",
            "/%2Egit/config",
            "/sub/%2ehidden/file.txt",
            "/composer.json",
            "/composer.lock",
            "/dump.sql",
            "/x.php.bak",
            "/x.php~",
            "/x.php%7e",
            "/x.php.swp",
            "/.x.php.swp",
            "/x.php.orig",
            "/x.php.save",
            "/%23x.php%23",
            "/y.PHP",
            "/y.Php",
            "/y.php",
            "/z.phtml",
            "/z.php5",
            "/z.inc",
            "/x.php%20",
            "/x.php.",
            "/x.php%00",
            "/x.php%00.txt",
            "/x.php%0a",
            "/x.php::$DATA",
            "/x.php\\",
            "/x%2ephp%00",
            "/.%2fenv",
            "/./.env",
            "/sub/../.env",
            "/sub/%2e%2e/.env",
            "/..%2froot/.env",
            "/%252eenv",
            "/x.php;.txt",
            "//.env",
            "/sub//.hidden/file.txt",
            "/.well-known/../.env",
            "/.well-known/..%2f.env",
            "/.well-known/.env",
            "/composer%2ejson",
            "/COMPOSER.JSON",
            "/x.php%2f",
            "/x.PHP",
        ] {
            let reply = server.get(target).send();
            assert!(!reply.text().contains("SECRET"), "{preset} {target}: {} {}", reply.status, reply.text());
        }
        assert_eq!(server.text("/.well-known/acme-challenge/token"), "welcome");
        assert_eq!(server.text("/x.php"), "ran");
    }
}

#[test]
fn spellings_of_a_script_run_it_or_are_refused() {
    let server = fortress("files");
    for (target, text) in [
        ("/x.php", "ran"),
        ("/x%2ephp", "ran"),
        ("/%78.php", "ran"),
        ("/x.php/a", "ran/a"),
        ("/x.php%2fa", "ran/a"),
        ("/./x.php", "ran"),
        ("//x.php", "ran"),
        ("/sub/../x.php", "ran"),
    ] {
        assert_eq!(server.text(target), text, "{target}");
    }
    assert_eq!(server.text("/a%20b.txt"), "spaced");
    assert_eq!(server.text("/caf%C3%A9.txt"), "accented");
    for target in ["/x.php%00", "/x%00.php", "/a%20b.txt%00"] {
        assert!(matches!(server.get(target).send().status, 400 | 404), "{target}");
    }
    for target in ["/x.PHP", "/X.php", "/x.php%20", "/x.php.", "/x.php%5c", "/%255f", "/x.php%C4%B0"] {
        assert!(matches!(server.get(target).send().status, 400 | 403 | 404), "{target}");
    }
}

#[test]
fn the_script_split_is_byte_exact() {
    let server = fortress("files");
    for target in ["/x.ph%C4%B1/a.php", "/x.\u{17f}php", "/x.p%C4%A7p/y", "/x%E2%80%A4php"] {
        let status = server.get(target).send().status;
        assert!(matches!(status, 400 | 404), "{target}: {status}");
    }
}

#[test]
fn nothing_outside_the_root_is_reached() {
    let setup = server().bare().php("index.php", "echo 'front';").preset("files");
    std::fs::write(setup.scratch().join("outside.txt"), "OUTSIDE").unwrap();
    std::fs::write(setup.scratch().join("outside.php"), "<?php echo 'OUTSIDE';").unwrap();
    std::fs::create_dir(setup.document_root().join("links")).unwrap();
    std::os::unix::fs::symlink(setup.scratch().join("outside.txt"), setup.document_root().join("links/out.txt")).unwrap();
    std::os::unix::fs::symlink(setup.scratch().join("outside.php"), setup.document_root().join("links/out.php")).unwrap();
    let server = setup.start();
    for target in [
        "/../outside.txt",
        "/..%2foutside.txt",
        "/%2e%2e/outside.txt",
        "/%2e%2e%2foutside.txt",
        "/links/../../outside.txt",
        "/..%5coutside.txt",
        "/%252e%252e/outside.txt",
        "/....//outside.txt",
        "/..;/outside.txt",
        "/links/%2e%2e/%2e%2e/outside.txt",
        "/../outside.php",
        "/%2e%2e/outside.php",
        "/index.php/../../outside.php",
        "/..%c0%afoutside.txt",
        "/etc/passwd",
        "//etc/passwd",
        "/.%00./outside.txt",
    ] {
        let reply = server.get(target).send();
        assert!(!reply.text().contains("OUTSIDE") && !reply.text().contains("root:"), "{target}: {reply:?}");
    }
    if reference().is_none() {
        for target in ["/links/out.txt", "/links/out.php"] {
            let reply = server.get(target).send();
            assert!(!reply.text().contains("OUTSIDE"), "{target}: a link out of the root: {reply:?}");
        }
    }
}

#[test]
fn links_within_the_root_and_a_linked_root_are_followed() {
    let setup = server()
        .bare()
        .php("releases/1/index.php", "echo 'release 1 ', basename(__DIR__);")
        .file("releases/1/real.txt", "real")
        .preset("files");
    std::os::unix::fs::symlink("real.txt", setup.document_root().join("releases/1/link.txt")).unwrap();
    std::os::unix::fs::symlink("releases/1", setup.document_root().join("current")).unwrap();
    let root = setup.document_root().join("current");
    let server = setup.root(&root).start();
    assert_eq!(server.text("/link.txt"), "real");
    assert_eq!(server.text("/"), "release 1 1");
}

#[test]
fn hostile_headers_do_not_become_server_variables() {
    let server = server().start();
    let seen = server
        .get("/server.php")
        .header("Proxy", "http://evil.example")
        .header("X_Under_Score", "1")
        .header("Content_Length", "99")
        .header("X.Dot", "1")
        .send()
        .json();
    let vars = seen["server"].as_object().unwrap();
    for name in ["HTTP_X_UNDER_SCORE", "HTTP_CONTENT_LENGTH", "HTTP_X_DOT", "HTTP_X.DOT"] {
        assert!(!vars.contains_key(name), "{name}: {vars:?}");
    }
    if reference().is_none() {
        assert!(!vars.contains_key("HTTP_PROXY"));
        assert!(seen["headers"].get("Proxy").is_none());
    }
}
