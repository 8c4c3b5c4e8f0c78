//! Files that scripts name in place of a body.

use crate::harness::{Server, Setup, reference, server};

const SCRIPT: &str = "header('X-Own: kept'); header('ETag: \"of the script\"'); header('Content-Length: 5');
    if (isset($_GET['type'])) header('Content-Type: ' . $_GET['type']);
    foreach (['X-Sendfile', 'X-Accel-Redirect'] as $name) if (isset($_GET[$name])) header(\"$name: \" . $_GET[$name]);
    if (isset($_GET['status'])) http_response_code((int) $_GET['status']);
    echo isset($_GET['X-Sendfile']) || isset($_GET['X-Accel-Redirect']) ? 'never' : 'plain';";

/// A server whose files lie beside its document root.
fn site(setup: Setup) -> Server {
    let files = setup.scratch().join("files");
    std::fs::create_dir_all(files.join("sub dir")).unwrap();
    std::fs::write(files.join("a.txt"), "0123456789").unwrap();
    std::fs::write(files.join("sub dir/ü.bin"), vec![b'x'; 700_000]).unwrap();
    std::fs::write(setup.scratch().join("secret"), "secret").unwrap();
    nix::unistd::mkfifo(&files.join("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    std::os::unix::fs::symlink(setup.scratch().join("secret"), files.join("link")).unwrap();
    let config = format!(
        "version: '3'\nhttp:\n  middleware: [sendfile]\n  sendfile: {{ roots: ['{0}'], locations: {{ /inner/: '{0}' }} }}\n",
        files.display()
    );
    setup.config(".rr.yaml", &config).start()
}

fn in_both_modes(test: impl Fn(&Server)) {
    if reference().is_some() {
        return;
    }
    test(&site(server().php("send.php", SCRIPT)));
    let worker = format!("while (frankenphp_handle_request(function () {{ {SCRIPT} }}));");
    let setup = server().bare().php("worker.php", &worker);
    let script = setup.document_root().join("worker.php");
    test(&site(setup.option(&format!("http.worker={}", script.display()))));
}

#[test]
fn a_file_is_sent_in_place_of_a_body() {
    in_both_modes(|server| {
        for query in ["X-Sendfile=a.txt", "X-Accel-Redirect=/inner/a.txt"] {
            let ask = || server.get(&format!("/send.php?{query}&type=application/x-own&status=201"));
            let reply = ask().send();
            assert_eq!((reply.status, reply.text().as_str()), (200, "0123456789"), "{query}: {reply:?}");
            assert_eq!((reply.header("x-own"), reply.header("content-type")), (Some("kept"), Some("application/x-own")));
            assert_eq!((reply.header("x-sendfile"), reply.header("x-accel-redirect")), (None, None), "told to nobody");
            let etag = reply.header("etag").unwrap().to_owned();
            assert_ne!(etag, "\"of the script\"");
            let part = ask().header("Range", "bytes=2-4").send();
            assert_eq!((part.status, part.text().as_str()), (206, "234"));
            assert_eq!((part.header("content-range"), part.header("x-own")), (Some("bytes 2-4/10"), Some("kept")));
            let known = ask().header("If-None-Match", &etag).send();
            assert_eq!((known.status, known.text().as_str(), known.header("content-type")), (304, "", None));
            assert_eq!(ask().header("Range", "bytes=20-").send().status, 416);
        }
        let head = server.request("HEAD", "/send.php?X-Sendfile=a.txt").send();
        assert_eq!((head.status, head.header("content-length"), head.text().as_str()), (200, Some("10"), ""));
        let post = server.post("/send.php?X-Sendfile=a.txt", "text/plain", "x").send();
        assert_eq!((post.status, post.text().as_str()), (200, "0123456789"));
        let large = server.get("/send.php?X-Accel-Redirect=/inner/sub%2520dir/%25C3%25BC.bin").send();
        assert_eq!((large.status, large.body.len()), (200, 700_000), "from the disk");
        let plain = server.get("/send.php").send();
        assert_eq!((plain.text().as_str(), plain.header("etag")), ("plain", Some("\"of the script\"")));
    });
}

#[test]
fn no_file_is_sent_from_elsewhere() {
    in_both_modes(|server| {
        let root = server.dir().join("files");
        for (query, status) in [
            ("X-Sendfile=../secret".to_owned(), 403),
            (format!("X-Sendfile={}/../secret", root.display()), 403),
            (format!("X-Sendfile={}", server.dir().join("secret").display()), 403),
            ("X-Sendfile=link".to_owned(), 403),
            ("X-Sendfile=missing".to_owned(), 404),
            ("X-Sendfile=sub dir".replace(' ', "%20"), 404),
            ("X-Accel-Redirect=/inner/../secret".to_owned(), 404),
            ("X-Accel-Redirect=/inner/link".to_owned(), 403),
            ("X-Accel-Redirect=/send.php".to_owned(), 404),
            ("X-Accel-Redirect=nonsense".to_owned(), 404),
        ] {
            let reply = server.get(&format!("/send.php?{query}")).send();
            assert_eq!(reply.status, status, "{query}: {}", reply.text());
            assert!(!reply.text().contains("secret") && !reply.text().contains("never"), "{query}");
            assert_eq!((reply.header("x-sendfile"), reply.header("x-accel-redirect")), (None, None), "{query}");
        }
        assert!(server.logs("X-Sendfile: no file of http.sendfile.roots"));
    });
}

#[test]
fn streams_stay_streams() {
    if reference().is_some() {
        return;
    }
    let code = "echo 'first'; flush(); while (!file_exists($_GET['go'])) usleep(1000); echo 'second';";
    let server = site(server().php("stream.php", code));
    let go = server.dir().join("go");
    let mut connection = server.get(&format!("/stream.php?go={}", go.display())).fire();
    connection.read_head().unwrap();
    assert_eq!(connection.read_chunk().unwrap().as_deref(), Some(&b"first"[..]), "before the script has ended");
    std::fs::write(&go, "").unwrap();
    assert_eq!(connection.read_chunk().unwrap().as_deref(), Some(&b"second"[..]));
}

#[test]
fn what_is_no_file_is_a_404_like_others() {
    in_both_modes(|server| {
        for name in ["X-Sendfile=sub%20dir", "X-Sendfile=", "X-Sendfile=.", "X-Sendfile=pipe", "X-Accel-Redirect=/inner/"] {
            let reply = server.get(&format!("/send.php?{name}&type=text/own")).send();
            assert_eq!((reply.status, reply.text()), (404, "404 Not Found\n".into()), "{name}");
            assert_eq!(reply.header("content-type"), Some("text/plain; charset=utf-8"), "{name}");
        }
    });
}
