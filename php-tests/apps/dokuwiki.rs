//! DokuWiki: flat files, no database.

use super::{Browser, app, between};
use crate::harness::{multipart, server};

#[test]
fn dokuwiki_works() {
    let Some(source) = app("dokuwiki") else { return };
    let setup = server().bare().preset("files").tree(&source.join("site")).ini("display_errors", "0").ini("sendmail_path", "/bin/true");
    // As its installer writes them: a closed wiki with one administrator.
    let hash = "password_hash('correct horse battery', PASSWORD_BCRYPT)";
    let install = format!(
        "file_put_contents('conf/local.php', \"<?php\\n\\$conf['title'] = 'Tested'; \\$conf['useacl'] = 1; \\$conf['superuser'] = '@admin'; \\$conf['license'] = '0'; \\$conf['userewrite'] = 2; \\$conf['baseurl'] = ''; \"); \
         file_put_contents('conf/acl.auth.php', \"*\\t@ALL\\t1\\n*\\t@user\\t8\\n\"); \
         file_put_contents('conf/users.auth.php', \"# <?php exit()?>\\n\" . 'admin:' . {hash} . \":Admin:admin@example.test:admin,user\\n\"); echo 'installed';"
    );
    let server = setup.php("install-tests.php", &install).start();
    assert_eq!(server.text("/install-tests.php"), "installed");
    let mut admin = Browser::default();

    let home = admin.send(server.get("/doku.php"));
    assert!(home.status == 200 && home.text().contains("Tested"), "{:.2000}", home.text());
    let form = admin.send(server.get("/doku.php?id=start&do=login")).text();
    let token = between(&form, "name=\"sectok\" value=\"", "\"").to_owned();
    let login = [("sectok", token.as_str()), ("id", "start"), ("do", "login"), ("u", "admin"), ("p", "correct horse battery")];
    let login = admin.send(server.request("POST", "/doku.php?id=start&do=login").form(&login));
    assert!(matches!(login.status, 200 | 302), "{login:?}");
    let form = admin.send(server.get("/doku.php/tested:page?do=edit")).text();
    assert!(form.contains("Admin"), "not logged in: {form:.2000}");
    let token = between(&form, "name=\"sectok\" value=\"", "\"").to_owned();
    let save = [("sectok", token.as_str()), ("id", "tested:page"), ("rev", "0"), ("date", ""), ("prefix", "."), ("suffix", ""), ("wikitext", "====== Heading ======\n**bold** é"), ("do[save]", "Save"), ("summary", "")];
    let saved = admin.send(server.request("POST", "/doku.php?id=tested:page").form(&save));
    assert!(matches!(saved.status, 200 | 302), "{saved:?}");
    let page = server.text("/doku.php/tested:page");
    assert!(page.contains("Heading</h1>") && page.contains("<strong>bold</strong> é"), "{page:.3000}");

    let token = between(&admin.send(server.get("/lib/exe/mediamanager.php")).text(), "name=\"sectok\" value=\"", "\"").to_owned();
    let (kind, body) = multipart(&[("sectok", "", token.as_bytes()), ("ns", "", b""), ("upload", "dot.gif", GIF), ("mediaid", "", b"dot.gif")]);
    let upload = admin.send(server.post("/lib/exe/mediamanager.php?ns=", &kind, body));
    assert_eq!(upload.status, 200);
    let media = server.get("/lib/exe/fetch.php?media=dot.gif").send();
    assert!(media.status == 200 && media.body == GIF, "{:.3000}", upload.text());
    let css = server.get("/lib/exe/css.php?t=dokuwiki").send();
    assert!(css.status == 200 && css.header("content-type").unwrap().starts_with("text/css"), "{css:?}");
    let rpc = server.post("/lib/exe/xmlrpc.php", "text/xml", "<?xml version=\"1.0\"?><methodCall><methodName>wiki.getRPCVersionSupported</methodName></methodCall>").send();
    assert!(matches!(rpc.status, 200 | 401 | 403), "{rpc:?}");
    for hidden in ["/data/pages/tested/page.txt", "/conf/users.auth.php"] {
        let reply = server.get(hidden).send();
        assert!(!reply.text().contains("$2y$"), "{hidden}: {reply:?}");
    }
    assert!(!server.log.text().contains("PHP Fatal"), "{}", server.log.text());
}

const GIF: &[u8] = b"GIF89a\x01\x00\x01\x00\x80\x00\x00\x00\x00\x00\xff\xff\xff!\xf9\x04\x01\x00\x00\x00\x00,\x00\x00\x00\x00\x01\x00\x01\x00\x00\x02\x02D\x01\x00;";
