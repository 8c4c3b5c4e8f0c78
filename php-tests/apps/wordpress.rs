//! WordPress, from its own installer on.

use std::{path::Path, thread, time::Duration};

use super::{Browser, app, between, database::MariaDb};
use crate::harness::{Front, PATIENCE, Reply, Server, Setup, multipart, server, wait_until};

#[test]
fn wordpress_on_sqlite_works_with_one_thread() {
    let Some(source) = app("wordpress") else { return };
    journey(on_sqlite(&source, 1).start());
}

#[test]
fn wordpress_works_behind_nginx() {
    let Some(source) = app("wordpress") else { return };
    let mut server = on_sqlite(&source, 2).with_fcgi().start();
    let Some(front) = Front::before(&server, "/index.php?$args") else { return };
    server.address = front.address;
    journey(server);
}

#[test]
fn wordpress_on_mariadb_works() {
    let (Some(source), Some(database)) = (app("wordpress"), MariaDb::start()) else { return };
    let host = format!("localhost:{}", database.socket().display());
    let constants = format!(
        "define('DB_NAME', 'wordpress'); define('DB_USER', 'root'); define('DB_PASSWORD', ''); define('DB_HOST', '{host}');"
    );
    let create = format!(
        "$db = new mysqli('localhost', 'root', '', '', 0, '{}'); var_dump($db->query('CREATE DATABASE wordpress'));",
        database.socket().display()
    );
    let server = prepare(&source, 4, &constants).php("create.php", &create).start();
    assert_eq!(server.text("/create.php"), "bool(true)\n");
    journey(server);
}

/// A site that has been installed, for those who want something large.
pub(crate) fn installed(threads: usize) -> Option<Server> {
    let server = on_sqlite(&app("wordpress")?, threads).start();
    install(&server);
    Some(server)
}

/// The same with the SQLite drop-in for a database.
pub(super) fn on_sqlite(source: &Path, threads: usize) -> Setup {
    let constants = "define('DB_NAME', 'wordpress'); define('DB_USER', ''); define('DB_PASSWORD', ''); define('DB_HOST', '');";
    let setup = prepare(source, threads, constants);
    let plugin = setup.document_root().join("wp-content/plugins/sqlite-database-integration");
    crate::harness::copy_tree(&source.join("sqlite-database-integration"), &plugin);
    let drop_in = std::fs::read_to_string(plugin.join("db.copy")).unwrap();
    let drop_in = drop_in
        .replace("{SQLITE_IMPLEMENTATION_FOLDER_PATH}", plugin.to_str().unwrap())
        .replace("{SQLITE_PLUGIN}", "sqlite-database-integration/load.php");
    setup.file("wp-content/db.php", drop_in)
}

/// A site that only lacks its installation; `rr` finds out by itself that it is WordPress.
fn prepare(source: &Path, threads: usize, constants: &str) -> Setup {
    let config = format!(
        "<?php {constants} define('DB_CHARSET', 'utf8mb4'); define('DB_COLLATE', ''); $table_prefix = 'wp_';\n\
         if (!defined('MULTISITE')) {{ define('WP_HOME', 'http://' . ($_SERVER['HTTP_HOST'] ?? 'localhost')); define('WP_SITEURL', WP_HOME); }}\n\
         define('WP_HTTP_BLOCK_EXTERNAL', true); define('WP_ACCESSIBLE_HOSTS', '127.0.0.1'); define('WP_ENVIRONMENT_TYPE', 'local');\n\
         define('FS_METHOD', 'direct'); define('AUTOMATIC_UPDATER_DISABLED', true); define('WP_DEBUG', false);\n\
         foreach (['AUTH_KEY', 'SECURE_AUTH_KEY', 'LOGGED_IN_KEY', 'NONCE_KEY', 'AUTH_SALT', 'SECURE_AUTH_SALT', 'LOGGED_IN_SALT', 'NONCE_SALT'] as $key) define($key, \"of the tests $key\");\n\
         defined('ABSPATH') || define('ABSPATH', __DIR__ . '/'); require_once ABSPATH . 'wp-settings.php';\n"
    );
    let setup = server().bare().threads(threads).tree(&source.join("site")).file("wp-config.php", config);
    let setup = setup.ini("sendmail_path", "/bin/true").ini("memory_limit", "256M").ini("max_execution_time", "120");
    // nginx has to be told.
    if crate::harness::reference().is_some() { setup.preset("wordpress") } else { setup }
}

fn journey(server: Server) {
    let mut admin = Browser::default();
    install(&server);
    log_in(&server, &mut admin);
    let nonce = admin.send(server.get("/wp-admin/admin-ajax.php?action=rest-nonce")).text();
    assert_eq!(nonce.len(), 10, "{nonce}");
    turn_on_permalinks(&server, &mut admin);
    let slug = post(&server, &mut admin, &nonce);
    comment(&server, &mut admin, &slug);
    upload_media(&server, &mut admin, &nonce);
    speak_xml_rpc(&server);
    use_an_application_password(&server, &mut admin, &nonce);
    install_a_plugin(&server, &mut admin);
    fire_cron(&server);
    serve_feeds_and_assets(&server);
    serve_visitors_in_parallel(&server);
    let log = server.log.text();
    for word in ["PHP Fatal", "PHP Warning", "PHP Notice", "panicked"] {
        assert!(!log.contains(word), "{log}");
    }
}

#[track_caller]
fn ok(reply: &Reply, status: u16) {
    assert_eq!(reply.status, status, "{:?}\n{:.800}", reply.headers, reply.text());
}

fn install(server: &Server) {
    let page = server.get("/").send();
    assert!(page.status == 302 && page.header("location").unwrap().contains("/wp-admin/install.php"), "{page:?}");
    let reply = server
        .request("POST", "/wp-admin/install.php?step=2")
        .form(&[
            ("weblog_title", "Tested"),
            ("user_name", "admin"),
            ("admin_password", PASSWORD),
            ("admin_password2", PASSWORD),
            ("pw_weak", "on"),
            ("admin_email", "admin@example.test"),
            ("language", ""),
        ])
        .send();
    ok(&reply, 200);
    assert!(reply.text().contains("Success!"), "{}", reply.text());
    let home = server.get("/").send();
    ok(&home, 200);
    assert!(home.text().contains("<title>Tested</title>") && home.text().contains("Hello world!"), "{}", home.text());
}

fn log_in(server: &Server, admin: &mut Browser) {
    ok(&admin.send(server.get("/wp-login.php")), 200);
    let wrong =
        admin.send(server.request("POST", "/wp-login.php").form(&[("log", "admin"), ("pwd", "wrong"), ("testcookie", "1")]));
    assert!(wrong.text().contains("is incorrect"), "{}", wrong.text());
    let right = admin.send(server.request("POST", "/wp-login.php").form(&[
        ("log", "admin"),
        ("pwd", PASSWORD),
        ("testcookie", "1"),
        ("redirect_to", "/wp-admin/"),
    ]));
    ok(&right, 302);
    let dashboard = admin.send(server.get("/wp-admin/"));
    ok(&dashboard, 200);
    assert!(dashboard.text().contains("<h1>Dashboard</h1>"), "{}", dashboard.text());
}

fn turn_on_permalinks(server: &Server, admin: &mut Browser) {
    let page = admin.send(server.get("/wp-admin/options-permalink.php")).text();
    assert!(!page.contains("/index.php/%year%"), "WordPress takes the server for one that cannot rewrite");
    let nonce = between(&page, "name=\"_wpnonce\" value=\"", "\"").to_owned();
    let fields = [
        ("_wpnonce", nonce.as_str()),
        ("_wp_http_referer", "/wp-admin/options-permalink.php"),
        ("selection", "custom"),
        ("permalink_structure", "/%year%/%postname%/"),
        ("submit", "Save"),
    ];
    let saved = admin.send(server.request("POST", "/wp-admin/options-permalink.php").form(&fields));
    assert!(matches!(saved.status, 200 | 302), "{saved:?}");
    let rest = server.get("/wp-json/wp/v2/posts").send();
    ok(&rest, 200);
    let link = rest.json()[0]["link"].as_str().unwrap().to_owned();
    assert!(link.ends_with("/hello-world/") && !link.contains("index.php"), "{link}");
    // A cron run that began before may still store the old rules; a visit to the page writes them anew, as browsers do here.
    let found = wait_until(PATIENCE, || {
        admin.send(server.get("/wp-admin/options-permalink.php"));
        server.get(&path_of(&link)).send().status == 200
    });
    assert!(found, "{link} is not found");
    ok(&server.get("/2026/no-such-post/").send(), 404);
    ok(&server.get("/?rest_route=/wp/v2/posts").send(), 200);
}

fn path_of(url: &str) -> String {
    format!("/{}", url.splitn(4, '/').nth(3).unwrap())
}

fn post(server: &Server, admin: &mut Browser, nonce: &str) -> String {
    let body = r#"{"title": "A tested post & more", "content": "<p>Grüße</p>", "status": "publish"}"#;
    let reply = admin.send(server.post("/wp-json/wp/v2/posts", "application/json", body).header("X-WP-Nonce", nonce));
    ok(&reply, 201);
    let link = path_of(reply.json()["link"].as_str().unwrap());
    let page = server.get(&link).send();
    ok(&page, 200);
    assert!(page.text().contains("<p>Grüße</p>"));
    ok(&server.post("/wp-json/wp/v2/posts", "application/json", body).send(), 401);
    link
}

fn comment(server: &Server, admin: &mut Browser, link: &str) {
    let page = server.get(link).send().text();
    let id = between(&page, "postid-", " ").to_owned();
    let fields =
        [("comment", "A thoughtful remark"), ("comment_post_ID", id.as_str()), ("comment_parent", "0"), ("submit", "Post")];
    let reply = admin.send(server.request("POST", "/wp-comments-post.php").form(&fields));
    ok(&reply, 302);
    assert!(reply.header("location").unwrap().contains("#comment-"), "{reply:?}");
    assert!(server.get(link).send().text().contains("A thoughtful remark"));
}

fn upload_media(server: &Server, admin: &mut Browser, nonce: &str) {
    std::fs::write(
        server.root().join("png.php"),
        "<?php $i = imagecreatetruecolor(1200, 900); imagefill($i, 0, 0, 0xff8800); imagepng($i);",
    )
    .unwrap();
    let png = server.get("/png.php").send().body;
    let upload = server.post("/wp-json/wp/v2/media", "image/png", png.clone());
    let reply =
        admin.send(upload.header("X-WP-Nonce", nonce).header("Content-Disposition", "attachment; filename=\"photo.png\""));
    ok(&reply, 201);
    let media = reply.json();
    let file = server.get(&path_of(media["source_url"].as_str().unwrap())).send();
    assert_eq!((file.status, file.header("content-type"), file.body == png), (200, Some("image/png"), true));
    let thumbnail = server.get(&path_of(media["media_details"]["sizes"]["thumbnail"]["source_url"].as_str().unwrap())).send();
    ok(&thumbnail, 200);
    let form = admin.send(server.get("/wp-admin/media-new.php")).text();
    let form_nonce = between(&form, "name=\"_wpnonce\" value=\"", "\"").to_owned();
    let (kind, body) = multipart(&[
        ("_wpnonce", "", form_nonce.as_bytes()),
        ("name", "", b"second.png"),
        ("action", "", b"upload-attachment"),
        ("async-upload", "second.png", &png),
    ]);
    let reply = admin.send(server.post("/wp-admin/async-upload.php", &kind, body));
    ok(&reply, 200);
}

fn speak_xml_rpc(server: &Server) {
    let call = format!(
        "<?xml version=\"1.0\"?><methodCall><methodName>wp.getUsersBlogs</methodName><params><param><value><string>admin</string></value></param>\
         <param><value><string>{PASSWORD}</string></value></param></params></methodCall>"
    );
    let reply = server.post("/xmlrpc.php", "text/xml", call).send();
    ok(&reply, 200);
    assert!(
        reply.text().contains("<name>blogid</name>") && reply.header("content-type").unwrap().starts_with("text/xml"),
        "{}",
        reply.text()
    );
    ok(&server.get("/xmlrpc.php").send(), 405);
}

fn use_an_application_password(server: &Server, admin: &mut Browser, nonce: &str) {
    let create = server.post("/wp-json/wp/v2/users/me/application-passwords", "application/json", r#"{"name": "tests"}"#);
    let reply = admin.send(create.header("X-WP-Nonce", nonce));
    ok(&reply, 201);
    let password = reply.json()["password"].as_str().unwrap().to_owned();
    let credentials = base64(format!("admin:{password}").as_bytes());
    let me = server.get("/wp-json/wp/v2/users/me?context=edit").header("Authorization", &format!("Basic {credentials}")).send();
    ok(&me, 200);
    assert_eq!(me.json()["username"], "admin");
    let wrong = server.get("/wp-json/wp/v2/users/me").header("Authorization", "Basic YWRtaW46d3Jvbmc=").send();
    ok(&wrong, 401);
}

fn install_a_plugin(server: &Server, admin: &mut Browser) {
    std::fs::write(server.root().join("zip.php"), format!("<?php $z = new ZipArchive(); $z->open($f = tempnam(sys_get_temp_dir(), 'z'), ZipArchive::OVERWRITE); $z->addFromString('rr-tested/rr-tested.php', base64_decode('{}')); $z->close(); readfile($f); unlink($f);", base64(PLUGIN.as_bytes()))).unwrap();
    let zip = server.get("/zip.php").send().body;
    let page = admin.send(server.get("/wp-admin/plugin-install.php?tab=upload")).text();
    let nonce = between(&page, "name=\"_wpnonce\" value=\"", "\"").to_owned();
    let (kind, body) = multipart(&[
        ("_wpnonce", "", nonce.as_bytes()),
        ("_wp_http_referer", "", b"/wp-admin/plugin-install.php?tab=upload"),
        ("pluginzip", "rr-tested.zip", &zip),
        ("install-plugin-submit", "", b"Install Now"),
    ]);
    let reply = admin.send(server.post("/wp-admin/update.php?action=upload-plugin", &kind, body));
    ok(&reply, 200);
    assert!(reply.text().contains("Plugin installed successfully"), "{}", reply.text());
    let page = reply.text();
    let activate = between(&page, "href=\"plugins.php?action=activate", "\"").replace("&amp;", "&").replace("%2F", "/");
    let activated = admin.send(server.get(&format!("/wp-admin/plugins.php?action=activate{activate}")));
    ok(&activated, 302);
    assert!(server.text("/").contains("<!-- the plugin was here -->"));
}

fn fire_cron(server: &Server) {
    let ran = server.root().join("wp-content/cron-ran");
    assert_eq!(server.text("/?schedule=1").matches("scheduled for now").count(), 1);
    // The visit that spawns cron leaves before cron runs, on the same thread if there is one only. It waits 10 ms for the connection,
    // which a busy machine may take longer for; then WordPress tries again after a minute.
    for _ in 0..16 {
        ok(&server.get("/").send(), 200);
        if wait_until(Duration::from_secs(5), || ran.exists()) {
            return;
        }
    }
    panic!("cron did not run: {}", server.log.text());
}

fn serve_feeds_and_assets(server: &Server) {
    let feed = server.get("/feed/").send();
    ok(&feed, 200);
    assert!(feed.header("content-type").unwrap().starts_with("application/rss+xml") && feed.text().contains("<rss"), "{feed:?}");
    if let Some(etag) = feed.header("etag") {
        ok(
            &server
                .get("/feed/")
                .header("If-None-Match", etag)
                .header("If-Modified-Since", feed.header("last-modified").unwrap_or_default())
                .send(),
            304,
        );
    }
    let style = server.get("/wp-includes/css/dashicons.min.css").send();
    assert_eq!((style.status, style.header("content-type").map(|kind| kind.starts_with("text/css"))), (200, Some(true)));
    ok(&server.get("/robots.txt").send(), 200);
    ok(&server.get("/wp-sitemap.xml").send(), 200);
    ok(&server.get("/wp-admin").send(), 301);
    let combined = server.get("/wp-admin/load-styles.php?c=1&dir=ltr&load%5B%5D=dashicons,buttons").send();
    ok(&combined, 200);
    let beat = server.request("POST", "/wp-admin/admin-ajax.php").form(&[("action", "heartbeat"), ("screen_id", "front")]).send();
    assert!(beat.json()["server_time"].is_u64(), "{}", beat.text());
}

fn serve_visitors_in_parallel(server: &Server) {
    thread::scope(|scope| {
        for visitor in 0..6 {
            scope.spawn(move || {
                let until = std::time::Instant::now() + PATIENCE;
                for visit in 0..5 {
                    let (target, expected) = [
                        ("/", "Hello world!"),
                        ("/wp-json/wp/v2/posts", "A tested post"),
                        ("/?s=tested", "tested"),
                        ("/feed/", "<rss"),
                        ("/wp-login.php", "loginform"),
                    ][(visitor + visit) % 5];
                    let reply = server.get(target).send();
                    assert!(
                        reply.status == 200 && reply.text().contains(expected),
                        "{target}: {} {}",
                        reply.status,
                        reply.text()
                    );
                    assert!(std::time::Instant::now() < until);
                }
            });
        }
    });
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for part in bytes.chunks(3) {
        let number = part.iter().fold(0_u32, |sum, byte| sum << 8 | u32::from(*byte)) << (8 * (3 - part.len()));
        for place in 0..4 {
            text.push(if place > part.len() { '=' } else { DIGITS[(number >> (18 - 6 * place) & 63) as usize] as char });
        }
    }
    text
}

pub(super) const PASSWORD: &str = "correct horse battery";

const PLUGIN: &str = r"<?php
/* Plugin Name: RR tested */
add_action('wp_head', fn () => print('<!-- the plugin was here -->'));
add_action('rr_tested_cron', fn () => file_put_contents(WP_CONTENT_DIR . '/cron-ran', PHP_SAPI));
add_action('init', function () {
    if (isset($_GET['schedule'])) {
        wp_schedule_single_event(time() - 1, 'rr_tested_cron');
        delete_transient('doing_cron');
        exit('scheduled for now');
    }
});
";
