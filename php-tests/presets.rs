//! What each kind of application is known by, and what becomes of its URLs.

use crate::harness::{Server, Setup, reference, server};

const WHERE: &str = "echo $_SERVER['SCRIPT_NAME'], '|', $_SERVER['PATH_INFO'] ?? '', '|', basename(dirname(__FILE__));";

fn bare() -> Setup {
    server().bare().php("index.php", WHERE)
}

fn script(server: &Server, target: &str) -> String {
    let reply = server.get(target).send();
    assert_eq!(reply.status, 200, "{target}: {}", reply.text());
    reply.text().split('|').next().unwrap().to_owned()
}

#[test]
fn applications_are_known_by_their_files() {
    if reference().is_some() {
        return;
    }
    let cases: [(&str, Setup); 5] = [
        (
            "wordpress",
            bare()
                .php("wp-load.php", "")
                .php("wp-blog-header.php", "")
                .php("wp-includes/version.php", "")
                .php("wp-login.php", "")
                .php("wp-settings.php", ""),
        ),
        (
            "drupal",
            bare().php("core/lib/Drupal.php", "").php("core/install.php", "").php("autoload.php", "").php("update.php", ""),
        ),
        (
            "laravel",
            bare()
                .file("artisan", "")
                .php("bootstrap/app.php", "")
                .php("public/index.php", WHERE)
                .file("composer.json", r#"{"require": {"laravel/framework": "*"}}"#),
        ),
        (
            "symfony",
            bare()
                .file("bin/console", "")
                .php("src/Kernel.php", "")
                .php("config/bundles.php", "")
                .php("public/index.php", WHERE)
                .file("symfony.lock", "{}"),
        ),
        ("files", server().bare().file("index.html", "<p>")),
    ];
    for (name, setup) in cases {
        let server = setup.start();
        assert!(server.logs(name), "{name}: {}", server.log.text());
        server.stop();
    }
}

#[test]
fn a_framework_s_project_is_served_from_its_public_directory() {
    if reference().is_some() {
        return;
    }
    for (name, sign) in [("laravel", "artisan"), ("symfony", "bin/console")] {
        let setup =
            server().bare().file(sign, "").php("bootstrap/app.php", "").php("src/Kernel.php", "").php("config/bundles.php", "");
        let setup =
            setup.file("symfony.lock", "{}").php("public/index.php", WHERE).file(".env", "SECRET").file("composer.json", "{}");
        let server = setup.file("public/app.css", "body{}").start();
        assert_eq!(server.text("/anything"), "/index.php||public", "{name}: {}", server.log.text());
        assert_eq!(server.text("/app.css"), "body{}");
        for hidden in ["/.env", "/../.env", "/bootstrap/app.php", "/src/Kernel.php"] {
            assert!(!server.get(hidden).send().text().contains("SECRET"), "{hidden}");
        }
    }
}

#[test]
fn symfony_runs_no_script_but_its_front_controller() {
    if reference().is_some() {
        return;
    }
    let server = bare().preset("symfony").php("tool.php", "echo 'ran a tool';").start();
    assert_eq!(script(&server, "/a/b"), "/index.php");
    let tool = server.get("/tool.php").send();
    assert!(!tool.text().contains("ran a tool"), "{tool:?}");
}

#[test]
fn drupal_s_private_files_stay_private() {
    if reference().is_some() {
        return;
    }
    let server = bare()
        .preset("drupal")
        .php("core/install.php", WHERE)
        .file("sites/default/settings.php", "<?php // SECRET")
        .file("core/modules/x/x.module", "<?php // SECRET")
        .file("core/modules/x/x.install", "<?php // SECRET")
        .file("core/modules/x/x.info.yml", "SECRET: 1")
        .file("core/x.twig", "SECRET")
        .php("sites/default/files/evil.php", "echo 'executed';")
        .file("sites/default/files/photo.txt", "photo")
        .start();
    assert_eq!(script(&server, "/node/1"), "/index.php");
    assert_eq!(script(&server, "/core/install.php"), "/core/install.php");
    assert_eq!(server.text("/sites/default/files/photo.txt"), "photo");
    for target in [
        "/core/modules/x/x.module",
        "/core/modules/x/x.install",
        "/core/x.twig",
        "/core/modules/x/x.info.yml",
        "/sites/default/settings.php",
        "/sites/default/files/evil.php",
    ] {
        let reply = server.get(target).send();
        assert!(!reply.text().contains("SECRET") && !reply.text().contains("executed"), "{target}: {reply:?}");
    }
}

#[test]
fn a_wordpress_network_in_sub_directories_finds_its_files() {
    if reference().is_some() {
        return;
    }
    let server = bare()
        .preset("wordpress-multisite-subdirectory")
        .php("wp-login.php", WHERE)
        .php("wp-admin/index.php", WHERE)
        .php("wp-admin/admin-ajax.php", WHERE)
        .file("wp-content/uploads/photo.txt", "photo")
        .file("wp-includes/js/jquery.js", "jquery")
        .start();
    assert_eq!(script(&server, "/site1/"), "/index.php");
    assert_eq!(script(&server, "/site1/2026/post/"), "/index.php");
    assert_eq!(script(&server, "/site1/wp-login.php"), "/wp-login.php");
    assert_eq!(script(&server, "/site1/wp-admin/"), "/wp-admin/index.php");
    assert_eq!(script(&server, "/site1/wp-admin/admin-ajax.php?action=x"), "/wp-admin/admin-ajax.php");
    assert_eq!(server.text("/site1/wp-content/uploads/photo.txt"), "photo");
    assert_eq!(server.text("/site1/wp-includes/js/jquery.js"), "jquery");
    assert_eq!(script(&server, "/wp-login.php"), "/wp-login.php");
    let slash = server.get("/site1/wp-admin").send();
    assert!(slash.status == 301 && slash.header("location").unwrap().ends_with("/site1/wp-admin/"), "{slash:?}");
}

#[test]
fn a_wordpress_network_on_sub_domains_is_one_site_to_us() {
    if reference().is_some() {
        return;
    }
    let server = bare().preset("wordpress-multisite-subdomain").php("host.php", "echo $_SERVER['HTTP_HOST'];").start();
    assert_eq!(server.get("/host.php").header("Host", "blog.example.test").send().text(), "blog.example.test");
    assert_eq!(script(&server, "/a-post/"), "/index.php");
}

#[test]
fn own_rules_come_before_the_preset_s() {
    if reference().is_some() {
        return;
    }
    let rules = "version: \"3\"\nhttp:\n  rewrite:\n    - { from: \"/old/*\", to: \"/new/$1\", status: 301 }\n    - { from: \"/shop/*\", to: \"/shop.php\" }\n";
    let server = bare()
        .preset("front-controller")
        .php("shop.php", "echo 'shop ', $_SERVER['REQUEST_URI'], ' ', $_SERVER['SCRIPT_NAME'];")
        .config(".rr.yaml", rules)
        .start();
    let moved = server.get("/old/page?a=b").send();
    assert_eq!(moved.status, 301);
    assert!(moved.header("location").unwrap().starts_with("/new/page"), "{moved:?}");
    assert_eq!(server.text("/shop/item?x=1"), "shop /shop/item?x=1 /shop.php");
    assert_eq!(script(&server, "/else"), "/index.php");
}

#[test]
fn error_pages_are_shown_with_their_status() {
    if reference().is_some() {
        return;
    }
    let server = server()
        .bare()
        .preset("files")
        .file("404.html", "<p>our own page")
        .config(".rr.yaml", "version: \"3\"\nhttp:\n  error_pages:\n    404: /404.html\n")
        .start();
    let reply = server.get("/nowhere").send();
    assert_eq!((reply.status, reply.text().as_str()), (404, "<p>our own page"));
}

#[test]
fn links_out_of_the_root_are_followed_when_told_to() {
    if reference().is_some() {
        return;
    }
    let setup = server().bare().preset("files").option("http.follow_symlinks=true");
    std::fs::write(setup.scratch().join("outside.txt"), "outside").unwrap();
    std::os::unix::fs::symlink(setup.scratch().join("outside.txt"), setup.document_root().join("link.txt")).unwrap();
    assert_eq!(setup.start().text("/link.txt"), "outside");
}
