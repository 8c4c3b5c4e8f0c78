//! HTTPS.

use std::{fs, time::Duration};

use nix::sys::signal::Signal;

use super::{has_curl, with};
use crate::harness::{Office, PATIENCE, command, finish, reference, server, wait_until};

#[test]
fn scripts_see_an_encrypted_request_over_both_protocols() {
    if reference().is_some() || !has_curl() {
        return;
    }
    let office = Office::new();
    let server = with(server(), &office.options()).start();
    for (argument, protocol) in [("--http1.1", "HTTP/1.1"), ("--http2", "HTTP/2.0")] {
        let answer = office.fetch("/server.php?a=1", &[argument]).unwrap();
        let of = |name| answer.server(name).unwrap_or_else(|| panic!("no {name}: {}", answer.body));
        assert_eq!((of("HTTPS"), of("REQUEST_SCHEME"), of("SERVER_PROTOCOL")), ("on".into(), "https".into(), protocol.into()));
        assert_eq!((of("SERVER_NAME"), of("SERVER_PORT")), ("server.test".into(), office.port.port().to_string()));
        assert_eq!((of("SSL_PROTOCOL"), of("SSL_TLS_SNI")), ("TLSv1.3".into(), "server.test".into()));
        assert_eq!(answer.server("SSL_CLIENT_VERIFY"), None);
        assert_eq!(answer.header("strict-transport-security"), None, "not without redirect");
    }
    let plain = server.get("/server.php").send();
    assert!(!plain.text().contains("HTTPS") && !plain.text().contains("SSL_"), "{}", plain.text());
    let older = office.fetch("/server.php", &["--tls-max", "1.2", "-d", "b=2"]).unwrap();
    assert_eq!(older.server("SSL_PROTOCOL").as_deref(), Some("TLSv1.2"));
    assert!(server.raw("\x16\x03\x01\x02\x00\x01\r\n\r\n").starts_with("HTTP/1.1 400"), "TLS to a port without");
}

#[test]
fn large_bodies_go_both_ways() {
    if reference().is_some() || !has_curl() {
        return;
    }
    let office = Office::new();
    let server = with(server(), &office.options())
        .php("echo.php", "$in = file_get_contents('php://input'); header('X-Length: ' . strlen($in)); echo $in;")
        .start();
    let sent = "0123456789abcdef".repeat(256 * 1024);
    let file = server.dir().join("sent");
    fs::write(&file, &sent).unwrap();
    for argument in ["--http1.1", "--http2"] {
        let data = format!("@{}", file.display());
        let answer = office.fetch("/echo.php", &[argument, "-H", "content-type: text/plain", "--data-binary", &data]).unwrap();
        assert_eq!(answer.header("x-length"), Some("4194304"));
        assert!(answer.body == sent, "{argument}: {} bytes came back", answer.body.len());
    }
}

#[test]
fn clients_show_certificates() {
    if reference().is_some() || !has_curl() {
        return;
    }
    let (office, stranger) = (Office::new(), Office::new());
    office.sign("alice", &["client"]);
    stranger.sign("mallory", &["client"]);
    let root = format!("http.ssl.root_ca={}", office.path("ca.pem").display());
    let _server = with(server(), &office.options())
        .option(&root)
        .option("http.ssl.client_auth_type=require_and_verify_client_cert")
        .start();
    let card = office.card("alice");
    let arguments: Vec<_> = card.iter().map(String::as_str).collect();
    let answer = office.fetch("/server.php", &arguments).unwrap();
    assert_eq!(answer.server("SSL_CLIENT_VERIFY").as_deref(), Some("SUCCESS"));
    assert_eq!(answer.server("SSL_CLIENT_S_DN").as_deref(), Some("CN=alice"));
    assert_eq!(answer.server("SSL_CLIENT_I_DN").as_deref(), Some("CN=Test CA"));
    assert!(answer.server("SSL_CLIENT_CERT").unwrap().starts_with("-----BEGIN CERTIFICATE-----\n"));
    // What a client sends cannot pass for it.
    let lying = [&arguments[..], &["-H", "SSL_CLIENT_VERIFY: x", "-H", "SSL-Client-S-DN: CN=root"]].concat();
    assert_eq!(office.fetch("/server.php", &lying).unwrap().server("SSL_CLIENT_S_DN").as_deref(), Some("CN=alice"));
    assert!(office.fetch("/server.php", &[]).is_err(), "nobody in particular");
    let card = stranger.card("mallory");
    let arguments: Vec<_> = card.iter().map(String::as_str).collect();
    assert!(office.fetch("/server.php", &arguments).is_err(), "somebody else's");
}

#[test]
fn plain_requests_are_sent_to_tls_and_told_to_stay() {
    if reference().is_some() || !has_curl() {
        return;
    }
    let office = Office::new();
    let server = with(server(), &office.options()).option("http.ssl.redirect=true").start();
    let reply = server.post("/server.php?a=%20b", "text/plain", "x").header("Host", "server.test:81").send();
    assert_eq!(reply.status, 308);
    let expected = format!("https://server.test:{}/server.php?a=%20b", office.port.port());
    assert_eq!(reply.header("location"), Some(expected.as_str()));
    assert_eq!(server.get("/").header("Host", "a\"b").send().status, 400);
    let answer = office.fetch("/server.php", &[]).unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.header("strict-transport-security"), Some("max-age=31536000; includeSubDomains; preload"));
}

#[test]
fn names_choose_certificates_and_new_ones_are_taken_up() {
    if reference().is_some() || !has_curl() {
        return;
    }
    let office = Office::new();
    office.sign("other", &["other.test"]);
    let list = |what: &str| {
        format!("{},{}", office.path(&format!("server.{what}")).display(), office.path(&format!("other.{what}")).display())
    };
    let server = server()
        .option(&format!("http.ssl.address={}", office.port))
        .option(&format!("http.ssl.cert={}", list("pem")))
        .option(&format!("http.ssl.key={}", list("key")))
        .start();
    assert_eq!(office.fetch_from("server.test", "/server.php", &[]).unwrap().status(), 200);
    assert_eq!(office.fetch_from("other.test", "/server.php", &[]).unwrap().status(), 200);
    assert!(office.fetch_from("new.test", "/server.php", &[]).is_err());
    office.sign("other", &["new.test"]);
    assert!(server.log.contains("the certificates have changed and are in force", PATIENCE), "{}", server.log.text());
    assert!(wait_until(PATIENCE, || office.fetch_from("new.test", "/server.php", &[]).is_ok()), "{}", server.log.text());
    fs::write(office.path("other.pem"), "nonsense").unwrap();
    assert!(server.log.contains("but the old ones go on", PATIENCE), "{}", server.log.text());
    assert_eq!(office.fetch_from("new.test", "/server.php", &[]).unwrap().status(), 200);
}

#[test]
fn a_reload_refuses_no_encrypted_connection() {
    if reference().is_some() || !has_curl() {
        return;
    }
    let office = Office::new();
    let server = with(server().php("pid.php", "echo getmypid();"), &office.options()).start();
    let engine = || office.fetch("/pid.php", &[]).unwrap().body;
    let old = engine();
    server.signal(Signal::SIGHUP);
    // None of these may fail, whichever engine answers.
    assert!(wait_until(PATIENCE, || engine() != old), "{}", server.log.text());
    let pid = nix::unistd::Pid::from_raw(old.parse().unwrap());
    assert!(wait_until(PATIENCE, || nix::sys::signal::kill(pid, None).is_err()), "the old engine stays");
    assert_ne!(engine(), old);
}

#[test]
fn silent_connections_are_let_go() {
    if reference().is_some() {
        return;
    }
    let office = Office::new();
    let _server = with(server(), &office.options()).option("http.ssl.handshake_timeout=100ms").start();
    let mut silent = crate::harness::Connection::open(office.port).unwrap();
    assert!(silent.closed_within(PATIENCE));
}

#[test]
fn only_tls_may_be_listened_on() {
    if reference().is_some() {
        return;
    }
    let office = Office::new();
    let run = |options: &[String]| {
        let options: Vec<_> = options.iter().flat_map(|option| ["-o", option.as_str()]).collect();
        let output = finish(command(&[&["config"], &options[..]].concat()), b"");
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr))
    };
    let (code, text) = run(&office.options());
    assert!(code == Some(0) && text.contains("\"address\": []"), "{text}");
    let cases = [
        (vec!["http.ssl.address=:443".to_owned()], "http.ssl.cert: missing, while other keys of http.ssl are set"),
        (vec!["http.ssl.cert=a".to_owned()], "http.ssl.key: expected a key for each of 1 certificates, got 0"),
        (
            [&office.options()[..], &["http.ssl.client_auth_type=verify_client_cert_if_given".into()]].concat(),
            "http.ssl.root_ca: missing",
        ),
        ([&office.options()[..], &["http.ssl.acme.email=a@b".into()]].concat(), "http.ssl.acme.domains: missing"),
    ];
    for (options, expected) in cases {
        let (code, text) = run(&options);
        assert!(code == Some(78) && text.contains(expected), "{options:?}: {code:?} {text}");
    }
    let mut broken = office.options();
    broken[1] = "http.ssl.cert=/nowhere.pem".into();
    let options: Vec<_> = broken.iter().flat_map(|option| ["-o", option.as_str()]).collect();
    let output = finish(command(&[&["serve"], &options[..]].concat()), b"");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(78), "{text}");
    assert!(text.contains("http.ssl: /nowhere.pem: No such file or directory"), "{text}");
}

/// Over HTTP/2 as well, a reload lets what is begun end.
#[test]
fn an_http2_request_ends_over_a_reload() {
    if reference().is_some() || !has_curl() {
        return;
    }
    let office = Office::new();
    let setup = server().php("slow.php", "file_put_contents($_GET['began'], '1'); usleep(1500000); echo 'finished';");
    let server = with(setup, &office.options()).start();
    let began = server.dir().join("began");
    let answer = std::thread::scope(|scope| {
        let running = scope.spawn(|| office.fetch(&format!("/slow.php?began={}", began.display()), &["--http2"]));
        assert!(wait_until(PATIENCE, || began.exists()));
        server.signal(Signal::SIGHUP);
        assert!(server.log.contains("reloaded: a new engine serves", PATIENCE), "{}", server.log.text());
        running.join().unwrap().unwrap()
    });
    assert_eq!(answer.body, "finished");
    assert!(server.log.contains("the old one finishes", Duration::from_secs(5)));
}
