//! A WordPress network in sub-directories, made by WordPress's own screens.

use super::{
    Browser, app, between,
    wordpress::{PASSWORD, on_sqlite},
};
use crate::harness::{Request, Server, reference};

/// A network may have no port in its address.
const HOST: &str = "network.test";

#[test]
fn a_wordpress_network_works() {
    let Some(source) = app("wordpress") else { return };
    if reference().is_some() {
        return; // nginx has to be told the rewriting, which is what is tested here
    }
    let setup = on_sqlite(&source, 2).preset("wordpress-multisite-subdirectory");
    let config = std::fs::read_to_string(setup.document_root().join("wp-config.php")).unwrap();
    let server = setup.file("wp-config.php", config.replacen("<?php ", NETWORK, 1)).start();
    let mut admin = Browser::default();
    install(&server, &mut admin);
    make_network(&server, &mut admin);
    add_site(&server, &mut admin);
    use_site(&server, &mut admin);
    assert!(!server.log.text().contains("PHP Fatal"), "{}", server.log.text());
}

fn get(server: &Server, target: &str) -> Request {
    server.get(target).header("Host", HOST)
}

fn post(server: &Server, target: &str, fields: &[(&str, &str)]) -> Request {
    server.request("POST", target).header("Host", HOST).form(fields)
}

fn log_in(server: &Server, admin: &mut Browser) {
    admin.send(get(server, "/wp-login.php"));
    let login = admin.send(post(server, "/wp-login.php", &[("log", "admin"), ("pwd", PASSWORD), ("testcookie", "1")]));
    assert_eq!(login.status, 302, "{:.3000}", login.text());
}

fn install(server: &Server, admin: &mut Browser) {
    let fields = [
        ("weblog_title", "Network"),
        ("user_name", "admin"),
        ("admin_password", PASSWORD),
        ("admin_password2", PASSWORD),
        ("pw_weak", "on"),
        ("admin_email", "admin@example.test"),
    ];
    let reply = admin.send(post(server, "/wp-admin/install.php?step=2", &fields));
    assert!(reply.text().contains("Success!"), "{:.3000}", reply.text());
    log_in(server, admin);
}

fn make_network(server: &Server, admin: &mut Browser) {
    let page = admin.send(get(server, "/wp-admin/network.php")).text();
    let nonce = between(&page, "name=\"_wpnonce\" value=\"", "\"").to_owned();
    let fields = [
        ("_wpnonce", nonce.as_str()),
        ("sitename", "Tested network"),
        ("email", "admin@example.test"),
        ("subdomain_install", "0"),
        ("submit", "Install"),
    ];
    let made = admin.send(post(server, "/wp-admin/network.php", &fields));
    assert!(made.text().contains("Enabling the Network"), "{:.5000}", made.text());
    std::fs::write(server.root().join("network-on"), "").unwrap();
    log_in(server, admin);
}

fn add_site(server: &Server, admin: &mut Browser) {
    let page = admin.send(get(server, "/wp-admin/network/site-new.php"));
    assert_eq!(page.status, 200, "{:?} {:.2000}", page.headers, page.text());
    let page = page.text();
    let nonce = between(&page, "name=\"_wpnonce_add-blog\" value=\"", "\"").to_owned();
    let fields = [
        ("_wpnonce_add-blog", nonce.as_str()),
        ("blog[domain]", "second"),
        ("blog[title]", "The second site"),
        ("blog[email]", "admin@example.test"),
        ("add-site", "Add Site"),
    ];
    let added = admin.send(post(server, "/wp-admin/network/site-new.php?action=add-site", &fields));
    assert!(added.status == 302 && added.header("location").unwrap().contains("update=added"), "{added:?}");
}

fn use_site(server: &Server, admin: &mut Browser) {
    let home = get(server, "/second/").send();
    assert!(home.status == 200 && home.text().contains("The second site"), "{} {:.2000}", home.status, home.text());
    assert!(get(server, "/").send().text().contains("Network"));
    let rest = get(server, "/second/wp-json/").send();
    assert_eq!(rest.json()["name"], "The second site");
    let dashboard = admin.send(get(server, "/second/wp-admin/"));
    assert!(
        dashboard.status == 200 && dashboard.text().contains("<h1>Dashboard</h1>"),
        "{:?} {:.2000}",
        dashboard.headers,
        dashboard.text()
    );
    assert_eq!(get(server, "/second/wp-admin").send().status, 301);
    assert!(get(server, "/second/wp-login.php").send().text().contains("loginform"));
    let style = get(server, "/second/wp-includes/css/dashicons.min.css").send();
    assert!(style.status == 200 && style.header("content-type").unwrap().starts_with("text/css"), "{style:?}");
    assert_eq!(get(server, "/third/").send().status, 404);
}

const NETWORK: &str = "<?php define('DISABLE_WP_CRON', true); define('WP_ALLOW_MULTISITE', true);
if (file_exists(__DIR__ . '/network-on')) {
    define('MULTISITE', true); define('SUBDOMAIN_INSTALL', false); define('DOMAIN_CURRENT_SITE', 'network.test');
    define('PATH_CURRENT_SITE', '/'); define('SITE_ID_CURRENT_SITE', 1); define('BLOG_ID_CURRENT_SITE', 1);
}
";
