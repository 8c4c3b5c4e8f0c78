//! Answers that have no body whatever a script says, over each protocol.

use crate::harness::{
    H2, Office, Server, Setup,
    h3::{Http3, request},
    reference, server,
};

const CODE: &str = "
    http_response_code((int) $_GET['code']);
    if (isset($_GET['length'])) header('Content-Length: 4');
    if (isset($_GET['flush'])) { flush(); echo 'body'; flush(); }
    echo 'body';";

/// What one status looks like: its status, the length that it names, and its body.
type Seen = (u16, Option<String>, String);

fn site(setup: Setup) -> Setup {
    setup.php("code.php", CODE).option("http.http2.h2c=true")
}

/// Over HTTP/1, to the end of the connection: a body that is not wanted would be there.
fn plain(server: &Server, method: &str, target: &str) -> Seen {
    let text = server.raw(format!("{method} {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"));
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    (status, length.map(str::to_owned), body.to_owned())
}

fn h2(client: &mut H2, method: &str, target: &str) -> Seen {
    let answer = client.ask(method, target, Vec::new()).unwrap_or_else(|error| panic!("{method} {target}: {error}"));
    let length = answer.headers().get("content-length").map(|length| length.to_str().unwrap().to_owned());
    (answer.status().as_u16(), length, String::from_utf8(answer.into_body()).unwrap())
}

fn h3(client: &mut Http3, method: &str, target: &str) -> Seen {
    let answer = client.fetch(request(method, target), b"");
    (answer.status.as_u16(), answer.header("content-length").map(str::to_owned), answer.text().to_owned())
}

#[test]
fn some_statuses_have_no_body() {
    if reference().is_some() {
        return;
    }
    let office = Office::new();
    let server = office.over_http3(site(server())).start();
    let (mut two, mut three) = (H2::open(server.address).unwrap(), Http3::connect(&office));
    let none = |status| (status, None, String::new());
    for ways in ["", "&length", "&flush", "&flush&length"] {
        for status in [204, 205, 304] {
            let target = format!("/code.php?code={status}{ways}");
            // HTTP/1 tells by the length where an answer ends, unless its status does.
            let first = (status, (status == 205).then(|| "0".to_owned()), String::new());
            assert_eq!(plain(&server, "GET", &target), first, "{target}");
            assert_eq!(h2(&mut two, "GET", &target), none(status), "{target}");
            assert_eq!(h3(&mut three, "GET", &target), none(status), "{target}");
        }
        let head = format!("/code.php?code=204{ways}");
        assert_eq!(plain(&server, "HEAD", &head), none(204), "{head}");
        assert_eq!((h2(&mut two, "HEAD", &head), h3(&mut three, "HEAD", &head)), (none(204), none(204)), "{head}");
    }
    // The connections are still good.
    let whole = (200, Some("4".to_owned()), "body".to_owned());
    assert_eq!((h2(&mut two, "GET", "/code.php?code=200"), h3(&mut three, "GET", "/code.php?code=200")), (whole.clone(), whole));
    assert!(server.logs(" http 200 GET "));
    let log = server.log.text();
    let mut bare = log.lines().filter(|line| ["204", "205", "304"].iter().any(|code| line.contains(&format!(" http {code} "))));
    assert!(bare.clone().count() > 30 && bare.all(|line| line.contains(" out=0 ")), "{log}");
}

#[test]
fn what_is_no_last_word_is_an_error() {
    if reference().is_some() {
        return;
    }
    let office = Office::new();
    let server = office.over_http3(site(server())).option("http.internal_error_code=502").start();
    let (mut two, mut three) = (H2::open(server.address).unwrap(), Http3::connect(&office));
    for status in [100, 101, 103, 199] {
        let target = format!("/code.php?code={status}");
        let answers = [plain(&server, "GET", &target), h2(&mut two, "GET", &target), h3(&mut three, "GET", &target)];
        assert!(answers.iter().all(|answer| answer.0 == 502 && answer.2 == "502 Bad Gateway\n"), "{target}: {answers:?}");
    }
    assert!(server.logs("a script's last word needs a status of 200 or above"));
    assert_eq!(h3(&mut three, "GET", "/code.php?code=200").2, "body");
}
