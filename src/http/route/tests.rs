//! Paths, honest and hostile, through real directories.

use super::{testing::Tree, *};

/// A route in a line: `run NAME|INFO?query`, `send path below the root`, `301 location`, `404`.
fn told(router: &Router, target: &str) -> String {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    match router.route(path, query, "example.com") {
        Route::Script { script, query } => {
            let [filename, name, info, root] = [script.filename, script.name, script.path_info, script.document_root]
                .map(|bytes| String::from_utf8(bytes.to_vec()).expect("UTF-8 in these tests"));
            assert_eq!(filename, format!("{}{name}", router.root().display()));
            assert_eq!(root, router.root().to_str().unwrap());
            let info = if info.is_empty() { String::new() } else { format!("|{info}") };
            let query = if query.is_empty() { String::new() } else { format!("?{query}") };
            format!("run {name}{info}{query}")
        }
        Route::File(target) => match target.path().strip_prefix(router.root()) {
            Ok(below) => format!("send {}", below.display()),
            Err(_) => format!("send {}", target.path().display()),
        },
        Route::Redirect { status, location } => format!("{} {location}", status.as_u16()),
        Route::Refuse(status) => status.as_u16().to_string(),
    }
}

fn check(router: &Router, table: &[(&str, &str)]) {
    for (target, expected) in table {
        assert_eq!(told(router, target), *expected, "{target}");
        assert_eq!(told(router, target), *expected, "{target}, from the cache");
    }
}

fn tree(names: &[&str]) -> Tree {
    Tree::new(&names.iter().map(|name| (*name, "")).collect::<Vec<_>>())
}

/// A tree of traps, and what lies outside of it.
fn hostile() -> (Tree, Tree) {
    let names = [
        "index.php",
        "x.php",
        "X.PHP",
        "x.php.",
        "x.php ",
        "x.phtml",
        "x.phps",
        "x.phar",
        "x.php5",
        "x.inc",
        "x.php.bak",
        "x.php~",
        "x.php::$DATA",
        "a.css",
        "dir/a.txt",
        "dir/.hidden",
        ".env",
        ".git/HEAD",
        ".htaccess",
        ".well-known/acme-challenge/token",
        ".well-known/.env",
        "composer.json",
        "composer.lock",
        "dump.sql",
        "debug.log",
        "%2e%2e/a",
        "back\\slash.txt",
        "sub/x.php/a.txt",
        "-s",
        "a b.txt",
        "café.txt",
    ];
    let tree = tree(&names);
    let outside = Tree::new(&[("secret.txt", ""), ("x.php", ""), ("index.html", "")]);
    tree.link("out.txt", outside.path().join("secret.txt"));
    tree.link("out.php", outside.path().join("x.php"));
    tree.link("out", outside.path());
    tree.link("in.txt", "dir/a.txt");
    tree.link("env.txt", ".env");
    tree.link("source.txt", "x.php");
    tree.link("loop", "loop");
    tree.link("device.txt", "/dev/zero");
    (tree, outside)
}

/// The same with and without a front controller; `*` stands for what the preset makes of a path that is no file.
fn check_hostile(tree: &Tree, table: &[(&str, &str)]) {
    for (preset, missing) in [(Preset::Files, "404"), (Preset::FrontController, "run /index.php")] {
        let router = Config::new(tree.path(), preset).build().unwrap();
        let table: Vec<_> = table.iter().map(|&(target, told)| (target, if told == "*" { missing } else { told })).collect();
        check(&router, &table);
    }
}

#[test]
fn a_path_never_leaves_the_root() {
    let (tree, _outside) = hostile();
    check_hostile(
        &tree,
        &[
            ("/../etc/passwd", "400"),
            ("/%2e%2e/etc/passwd", "400"),
            ("/%2e%2e%2fetc/passwd", "400"),
            ("/dir/..%2f..%2fetc/passwd", "400"),
            ("/%252e%252e/a", "send %2e%2e/a"),
            ("/%252e%252e/%252e%252e/a", "*"),
            ("/..%5cetc%5cpasswd", "404"),
            ("/dir%5c..%5ca.css", "*"),
            ("/back%5cslash.txt", "send back\\slash.txt"),
            ("/..%c0%af..%c0%afetc/passwd", "404"),
            ("/a.css%00.php", "400"),
            ("/%00", "400"),
            ("/a%0d%0aSet-Cookie:x", "400"),
            ("/%", "400"),
            ("/%zz", "400"),
            ("*", "400"),
            ("/dir/../a.css", "send a.css"),
            ("//dir//a.txt", "send dir/a.txt"),
            ("/dir/./a.txt", "send dir/a.txt"),
            ("//evil.com/..", "run /index.php"),
            ("//evil.com/", "*"),
        ],
    );
}

#[test]
fn source_is_run_or_refused() {
    let (tree, _outside) = hostile();
    check_hostile(
        &tree,
        &[
            ("/x.php", "run /x.php"),
            ("/x.php/info", "run /x.php|/info"),
            ("/x.php/", "run /x.php|/"),
            ("/x%2ephp", "run /x.php"),
            ("/x.php/.env", "run /x.php|/.env"),
            ("/x.php?-s", "run /x.php?-s"),
            ("/x.php/a.css", "run /x.php|/a.css"),
            ("/X.PHP", "404"),
            ("/x.PHP", "404"),
            ("/x.php.", "404"),
            ("/x.php%20", "404"),
            ("/x.php%20.", "404"),
            ("/x.phtml", "404"),
            ("/x.phps", "404"),
            ("/x.phar", "404"),
            ("/x.php5", "404"),
            ("/x.inc", "404"),
            ("/x.php.bak", "404"),
            ("/x.php~", "404"),
            ("/x.php::$DATA", "404"),
            ("/x.php%5c", "404"),
            ("/a.css/x.php", "*"),
            ("/a.css/.php", "404"),
            ("/no.php", "404"),
            ("/no.php/x", "404"),
            ("/nodir/no.php", "*"),
            ("/sub/x.php/a.txt", "send sub/x.php/a.txt"),
            ("/index.php/Main_Page", "run /index.php|/Main_Page"),
            ("/x.php%2finfo", "run /x.php|/info"),
        ],
    );
}

#[test]
fn private_names_are_not_found() {
    let (tree, _outside) = hostile();
    check_hostile(
        &tree,
        &[
            ("/.env", "404"),
            ("/.git/HEAD", "404"),
            ("/.git/", "404"),
            ("/.git", "404"),
            ("/.nothing", "404"),
            ("/%2eenv", "404"),
            ("/dir/.hidden", "404"),
            ("/.htaccess", "404"),
            ("/.well-known/acme-challenge/token", "send .well-known/acme-challenge/token"),
            ("/.well-known/.env", "404"),
            ("/composer.json", "404"),
            ("/composer.lock", "404"),
            ("/dump.sql", "404"),
            ("/nodump.sql", "404"),
            ("/debug.log", "404"),
            ("/tree/composer.json", "*"),
            ("/a.css", "send a.css"),
            ("/a.css/", "*"),
            ("/a%20b.txt", "send a b.txt"),
            ("/caf%C3%A9.txt", "send café.txt"),
            ("/-s", "send -s"),
        ],
    );
}

#[test]
fn links_are_followed_within_the_root() {
    let (tree, outside) = hostile();
    check_hostile(
        &tree,
        &[
            ("/in.txt", "send dir/a.txt"),
            ("/out.txt", "404"),
            ("/out.php", "404"),
            ("/out/secret.txt", "404"),
            ("/out/x.php", "404"),
            ("/out/", "404"),
            ("/env.txt", "404"),
            ("/source.txt", "404"),
            ("/loop", "*"),
            ("/device.txt", "404"),
        ],
    );
    let mut config = Config::new(tree.path(), Preset::Files);
    config.follow_symlinks = true;
    let router = config.build().unwrap();
    assert_eq!(told(&router, "/out/secret.txt"), format!("send {}/secret.txt", outside.path().display()));
    check(&router, &[("/out.php", "run /out.php"), ("/env.txt", "404"), ("/source.txt", "404")]);
}

#[test]
fn directories_end_in_a_slash() {
    let tree =
        tree(&["docs/index.html", "empty/a.txt", "both/index.php", "both/index.html", "\\evil.com/index.html", "a b/index.php"]);
    let files = Config::new(tree.path(), Preset::Files).build().unwrap();
    check(
        &files,
        &[
            ("/docs", "301 /docs/"),
            ("/docs?a=1&b", "301 /docs/?a=1&b"),
            ("//docs", "301 /docs/"),
            ("/docs/", "send docs/index.html"),
            ("/both/", "run /both/index.php"),
            ("/empty", "301 /empty/"),
            ("/empty/", "403"),
            ("/", "403"),
            ("//evil.com/..", "403"),
            ("/%5cevil.com", "301 /%5Cevil.com/"),
            ("/\\evil.com", "301 /%5Cevil.com/"),
            ("/a%20b?x", "301 /a%20b/?x"),
            ("/x/../docs", "301 /docs/"),
        ],
    );
    tree.write("index.php", "");
    let front = Config::new(tree.path(), Preset::FrontController).build().unwrap();
    check(
        &front,
        &[("/docs", "301 /docs/"), ("/empty", "run /index.php"), ("/empty/?q", "run /index.php?q"), ("/", "run /index.php")],
    );
}

#[test]
fn wordpress() {
    let names = [
        "index.php",
        "wp-login.php",
        "wp-config.php",
        "wp-admin/index.php",
        "wp-admin/admin-ajax.php",
        "wp-content/index.php",
        "wp-content/a.css",
        "wp-content/uploads/2024/a.jpg",
        "wp-content/uploads/2024/evil.php",
        "wp-content/uploads/x.php",
        "wp-content/debug.log",
        "wp-includes/js/a.js",
        "wp-content/plugins/p/wp-admin/x.php",
    ];
    let tree = tree(&names);
    let all = [
        ("/", "run /index.php"),
        ("/?p=1", "run /index.php?p=1"),
        ("/2024/hello-world/", "run /index.php"),
        ("/feed/?x=1", "run /index.php?x=1"),
        ("/index.php", "run /index.php"),
        ("/index.php/2024/", "run /index.php|/2024/"),
        ("/wp-login.php?a", "run /wp-login.php?a"),
        ("/wp-admin", "301 /wp-admin/"),
        ("/wp-admin/", "run /wp-admin/index.php"),
        ("/wp-admin/admin-ajax.php", "run /wp-admin/admin-ajax.php"),
        ("/wp-content/a.css", "send wp-content/a.css"),
        ("/wp-content/uploads/2024/a.jpg", "send wp-content/uploads/2024/a.jpg"),
        ("/wp-content/uploads/2024/evil.php", "404"),
        ("/wp-content/uploads/x.php", "404"),
        ("/wp-content/uploads/x.php/a", "404"),
        ("/wp-content/uploads/no.php", "404"),
        ("/wp-content/debug.log", "404"),
        ("/wp-includes/", "run /index.php"),
        ("/robots.txt", "run /index.php"),
        ("/wp-content/plugins/p/wp-admin/x.php", "run /wp-content/plugins/p/wp-admin/x.php"),
        ("/no.php", "404"),
        ("/caf%C3%A9/", "run /index.php"),
        ("/caf%E9/", "run /index.php"),
    ];
    for preset in [Preset::Wordpress, Preset::WordpressSubdirectory, Preset::WordpressSubdomain] {
        check(&Config::new(tree.path(), preset).build().unwrap(), &all);
    }
    check(
        &Config::new(tree.path(), Preset::WordpressSubdirectory).build().unwrap(),
        &[
            ("/site/", "run /index.php"),
            ("/site/page/", "run /index.php"),
            ("/site/wp-admin", "301 /site/wp-admin/"),
            ("/site/wp-admin/", "run /wp-admin/index.php"),
            ("/site/wp-admin/admin-ajax.php?a", "run /wp-admin/admin-ajax.php?a"),
            ("/site/wp-login.php", "run /wp-login.php"),
            ("/site/wp-content/a.css", "send wp-content/a.css"),
            ("/site/wp-includes/js/a.js", "send wp-includes/js/a.js"),
            ("/site/wp-content/uploads/x.php", "404"),
            ("/site/no.php", "404"),
            ("/site/wp-content/no.css", "run /index.php"),
            ("/site/wp-content/debug.log", "404"),
            ("/site/.env", "404"),
        ],
    );
    check(
        &Config::new(tree.path(), Preset::Wordpress).build().unwrap(),
        &[("/site/wp-admin/", "run /index.php"), ("/site/wp-login.php", "run /index.php")],
    );
}

#[test]
fn drupal() {
    let names = [
        "index.php",
        "update.php",
        "autoload.php",
        "core/install.php",
        "core/misc/a.js",
        "core/core.services.yml",
        "core/a.module",
        "sites/default/files/a.jpg",
        "sites/default/files/evil.php",
        "sites/default/settings.php",
        "vendor/a/b.js",
        "web.config",
        "robots.txt",
    ];
    let tree = tree(&names);
    check(
        &Config::new(tree.path(), Preset::Drupal).build().unwrap(),
        &[
            ("/", "run /index.php"),
            ("/node/1?a", "run /index.php?a"),
            ("/update.php/selection", "run /update.php|/selection"),
            ("/core/install.php", "run /core/install.php"),
            ("/core/misc/a.js", "send core/misc/a.js"),
            ("/core/core.services.yml", "404"),
            ("/core/a.module", "404"),
            ("/sites/default/files/a.jpg", "send sites/default/files/a.jpg"),
            ("/sites/default/files/evil.php", "404"),
            ("/sites/default/settings.php", "404"),
            ("/vendor/a/b.js", "404"),
            ("/autoload.php", "404"),
            ("/web.config", "404"),
            ("/robots.txt", "send robots.txt"),
            ("/sites/default/files/styles/x/a.jpg", "run /index.php"),
            ("/system/files/a.pdf", "run /index.php"),
        ],
    );
}

#[test]
fn laravel_and_symfony_show_what_they_link() {
    let tree = tree(&[
        "public/index.php",
        "public/build/a.js",
        "storage/app/public/a.jpg",
        "storage/app/public/evil.php",
        "storage/logs/a.txt",
        "vendor/b/public/a.css",
        "vendor/b/public/x.php",
        ".env",
    ]);
    tree.link("public/storage", "../storage/app/public");
    tree.link("public/media", "../storage/app/public");
    tree.link("public/logs", "../storage/logs");
    tree.link("public/bundles/b", "../../vendor/b/public");
    let all = [
        ("/", "run /index.php"),
        ("/users/1?a=b", "run /index.php?a=b"),
        ("/build/a.js", "send build/a.js"),
        ("/build", "run /index.php"),
        ("/logs/a.txt", "404"),
        ("/../.env", "400"),
    ];
    let laravel = Config::new(tree.path().join("public"), Preset::Laravel).build().unwrap();
    check(&laravel, &all);
    check(
        &laravel,
        &[
            ("/storage/evil.php", "404"),
            ("/media/evil.php", "404"),
            ("/bundles/b/a.css", "404"),
            ("/storage/no.jpg", "run /index.php"),
        ],
    );
    assert_eq!(told(&laravel, "/storage/a.jpg"), format!("send {}/storage/app/public/a.jpg", tree.path().display()));
    let symfony = Config::new(tree.path().join("public"), Preset::Symfony).build().unwrap();
    check(&symfony, &all);
    check(&symfony, &[("/bundles/b/x.php", "404"), ("/storage/a.jpg", "404")]);
    assert_eq!(told(&symfony, "/bundles/b/a.css"), format!("send {}/vendor/b/public/a.css", tree.path().display()));
}

#[test]
fn scripts_keep_their_path_info() {
    let tree = tree(&["index.php", "rest.php", "img/a.png"]);
    check(
        &Config::new(tree.path(), Preset::Files).build().unwrap(),
        &[
            ("/rest.php/v1/page/Main%20Page?a=1", "run /rest.php|/v1/page/Main Page?a=1"),
            ("/index.php/Main_Page", "run /index.php|/Main_Page"),
            ("/rest.php/v1/a.php", "run /rest.php|/v1/a.php"),
            ("/img/a.png/x.php", "404"),
            ("/wiki/Foo", "404"),
            ("/", "run /index.php"),
        ],
    );
}

#[test]
fn rules_come_before_files() {
    let tree = tree(&["index.php", "old.html", "new.html", "error.php"]);
    let rule = |from: &str, to: &str, status| Rewrite { from: From::Stars(from.into()), to: to.into(), status };
    let mut config = Config::new(tree.path(), Preset::Files);
    config.rewrite = vec![
        rule("/old.html", "/new.html", None),
        rule("/wiki/*", "/index.php?title=$1", None),
        rule("/go/*", "https://$host/$1", Some(302)),
        rule("/drop", "/new.html?", Some(301)),
        rule("/gone/*", "", Some(410)),
        rule("/up/*", "/.$1", None),
        rule("/page/*", "/index.php/$1?a=1?", None),
    ];
    config.error_pages = vec![(404, "/new.html".into()), (500, "/error.php".into()), (503, "/none.html".into())];
    let router = config.build().unwrap();
    check(
        &router,
        &[
            ("/old.html", "send new.html"),
            ("/wiki/A%26B?x=1", "run /index.php?title=A%26B&x=1"),
            ("/wiki/A", "run /index.php?title=A"),
            ("/go/a%20b?c", "302 https://example.com/a%20b?c"),
            ("/go//evil", "302 https://example.com/evil"),
            ("/drop?a", "301 /new.html"),
            ("/gone/x", "410"),
            ("/up/.%2fetc", "404"),
            ("/up/x", "404"),
            ("/page/x?b", "run /index.php|/x?a=1"),
        ],
    );
    assert!(matches!(router.error_page(404), Some(Route::File(_))));
    assert!(matches!(router.error_page(500), Some(Route::Script { .. })));
    assert!(router.error_page(503).is_none() && router.error_page(403).is_none());
}

#[test]
fn a_root_that_cannot_work_is_refused_at_start() {
    let tree = tree(&["index.php"]);
    assert!(Config::new(tree.path().join("none"), Preset::Files).build().is_err());
    assert!(Config::new(tree.path().join("index.php"), Preset::Files).build().is_err());
    let with = |change: fn(&mut Config)| {
        let mut config = Config::new(tree.path(), Preset::Files);
        change(&mut config);
        config.build()
    };
    assert!(with(|config| config.front_controller = Some("/app.txt".into())).is_err());
    assert!(with(|config| config.front_controller = Some("/../x.php".into())).is_err());
    assert!(with(|config| config.index = vec!["../x".into()]).is_err());
    assert!(with(|config| config.error_pages = vec![(404, "404.html".into())]).is_err());
}

#[test]
fn a_new_file_counts_at_once() {
    let tree = tree(&["index.php"]);
    let router = Config::new(tree.path(), Preset::FrontController).build().unwrap();
    check(&router, &[("/a.txt", "run /index.php")]);
    tree.write("a.txt", "");
    check(&router, &[("/a.txt", "send a.txt")]);
}

/// `cargo test --lib -- --ignored --nocapture what_a_route_costs`
#[test]
#[ignore = "a measurement"]
fn what_a_route_costs() {
    let tree = tree(&["index.php", "hello.php", "wp-content/a.css"]);
    let router = Config::new(tree.path(), Preset::Wordpress).build().unwrap();
    for path in ["/hello.php", "/wp-content/a.css", "/2024/hello-world/"] {
        let (started, count) = (Instant::now(), 200_000);
        for _ in 0..count {
            std::hint::black_box(router.route(path, "", ""));
        }
        println!("{path}: {:?}", started.elapsed() / count);
    }
}
