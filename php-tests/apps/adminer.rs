//! Adminer, with a MariaDB to administer.

use super::{Browser, app, database::MariaDb};
use crate::harness::server;

#[test]
fn adminer_works() {
    let Some(source) = app("adminer") else { return };
    let setup = server().bare().preset("files").tree(&source.join("root/usr/share/adminer")).ini("display_errors", "0");
    let database = MariaDb::start();
    let socket = database.as_ref().map(|database| database.socket().display().to_string()).unwrap_or_default();
    let create = format!("$db = new mysqli('localhost', 'root', '', '', 0, '{socket}'); $db->query(\"CREATE USER tester@localhost IDENTIFIED BY 'secret'\"); $db->query('CREATE DATABASE tested'); var_dump($db->query('GRANT ALL ON *.* TO tester@localhost'));");
    let server = setup.ini("mysqli.default_socket", &socket).php("create.php", &create).start();
    let mut browser = Browser::default();
    let page = browser.send(server.get("/adminer/"));
    assert!(page.status == 200 && page.text().contains("auth[username]"), "{:.2000}", page.text());
    if database.is_none() {
        return;
    }
    assert_eq!(server.text("/create.php"), "bool(true)\n");
    let login = [("auth[driver]", "server"), ("auth[server]", "localhost"), ("auth[username]", "tester"), ("auth[password]", "secret"), ("auth[db]", "tested")];
    let login = browser.send(server.request("POST", "/adminer/").form(&login));
    assert_eq!(login.status, 302, "{:.3000}", login.text());
    let target = login.header("location").unwrap().to_owned();
    let target = format!("/adminer/{}", &target[target.find('?').unwrap()..]);
    let logged_in = browser.send(server.get(&target));
    assert!(logged_in.status == 200 && logged_in.text().contains("logout"), "{:.3000}", logged_in.text());
    let form = browser.send(server.get(&format!("{target}&sql="))).text();
    let token = super::between(&form[form.rfind("name=\"query\"").or_else(|| form.rfind("name='query'")).unwrap_or(0)..], "name='token' value='", "'").to_owned();
    let query = [("query", "CREATE TABLE t (a INT); INSERT INTO t VALUES (6*7); SELECT a FROM t"), ("token", token.as_str()), ("limit", "")];
    let result = browser.send(server.request("POST", &format!("{target}&sql=")).form(&query));
    assert!(result.text().contains(">42"), "{:.5000}", result.text());
}
