//! MediaWiki on SQLite, installed by its own command-line script.

use super::{Browser, app, between};
use crate::harness::{command, finish, reference, server};

#[test]
fn mediawiki_works() {
    let Some(source) = app("mediawiki") else { return };
    let setup = server().bare().tree(&source.join("site")).ini("sendmail_path", "/bin/true").ini("display_errors", "0").ini("memory_limit", "256M");
    let (root, data) = (setup.document_root().to_owned(), setup.scratch().join("data"));
    std::fs::create_dir(&data).unwrap();
    let script = root.join("maintenance/run.php");
    let (script, data) = (script.to_str().unwrap(), data.to_str().unwrap());
    let install = [
        "php", "-d", "memory_limit=512M", "-d", "display_errors=0", script, "install", "--dbtype", "sqlite", "--dbpath", data, "--dbname", "wiki", "--pass", PASSWORD,
        "--server", "http://wiki.test", "--scriptpath", "", "Tested", "Admin",
    ];
    let mut install = command(&install);
    install.current_dir(&root);
    let output = finish(install, b"");
    assert!(output.status.success(), "{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let settings = root.join("LocalSettings.php");
    let mut text = std::fs::read_to_string(&settings).unwrap();
    text.push_str("$wgServer = 'http://' . ($_SERVER['HTTP_HOST'] ?? 'wiki.test'); $wgUsePathInfo = true; $wgJobRunRate = 1; $wgShowExceptionDetails = true;\n");
    std::fs::write(&settings, text).unwrap();
    let server = setup.start();
    let mut admin = Browser::default();

    let home = server.get("/").send();
    assert!(home.status == 301 && home.header("location").unwrap().contains("/index.php/Main_Page"), "{home:?}");
    assert!(server.text("/index.php/Main_Page").contains("MediaWiki has been installed"));
    assert!(server.text("/index.php?title=Special:Version").contains("fpm-fcgi"));
    assert_eq!(server.get("/index.php/No_such_page").send().status, 404);
    assert_eq!(server.get("/rest.php/v1/page/Main_Page").send().json()["title"], "Main Page");
    let style = server.get("/load.php?lang=en&modules=site.styles&only=styles").send();
    assert!(style.status == 200 && style.header("content-type").unwrap().starts_with("text/css"), "{style:?}");

    let tokens = admin.send(server.get("/api.php?action=query&meta=tokens&type=login&format=json")).json();
    let token = tokens["query"]["tokens"]["logintoken"].as_str().unwrap().to_owned();
    let login = [("action", "clientlogin"), ("username", "Admin"), ("password", PASSWORD), ("logintoken", &token), ("loginreturnurl", "http://wiki.test/"), ("format", "json")];
    let login = admin.send(server.request("POST", "/api.php").form(&login)).json();
    assert_eq!(login["clientlogin"]["status"], "PASS", "{login}");
    let tokens = admin.send(server.get("/api.php?action=query&meta=tokens&format=json")).json();
    let token = tokens["query"]["tokens"]["csrftoken"].as_str().unwrap().to_owned();
    let edit = [("action", "edit"), ("title", "Tested page"), ("text", "'''bold''' words [[Main Page]]"), ("token", &token), ("format", "json")];
    let edit = admin.send(server.request("POST", "/api.php").form(&edit)).json();
    assert_eq!(edit["edit"]["result"], "Success", "{edit}");
    let page = server.text("/index.php/Tested_page");
    assert!(page.contains("<b>bold</b> words") && page.contains("title=\"Main Page\""), "{page:.2000}");

    let form = admin.send(server.get("/index.php?title=Tested_page&action=edit")).text();
    let (edit_token, time) = (between(&form, "value=\"", "\" name=\"wpEditToken\"").rsplit('"').next().unwrap().to_owned(), between(&form, "value=\"", "\" name=\"wpEdittime\"").rsplit('"').next().unwrap().to_owned());
    let save = [("wpTextbox1", "Changed by form: é"), ("wpSummary", ""), ("wpEditToken", &edit_token), ("wpEdittime", &time), ("wpStarttime", &time), ("wpUltimateParam", "1"), ("wpSave", "Save"), ("wpUnicodeCheck", "ℳ𝒲♥𝓊𝓃𝒾𝒸ℴ𝒹ℯ")];
    let saved = admin.send(server.request("POST", "/index.php?title=Tested_page&action=submit").form(&save));
    assert_eq!(saved.status, 302, "{:.3000}", saved.text());
    assert!(server.text("/index.php/Tested_page").contains("Changed by form: é"));
    if reference().is_none() {
        let log = server.log.text();
        assert!(!log.contains("PHP Fatal") && !log.contains("panicked"), "{log}");
    }
}

const PASSWORD: &str = "correct horse battery";
