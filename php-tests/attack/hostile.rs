//! What attackers of PHP sites send, row by row. Others of these stand where their subject is: paths, hidden files and sources in
//! `routing`, uploads in `sapi::uploads`, headers of scripts in `sapi::response`, the status page and `PATH_INFO` in `fcgi`.

use serde_json::{Value, json};

use super::{Target, target};
use crate::harness::{
    Request,
    frames::{END_HEADERS, END_STREAM, Frames, HEADERS, Outcome, fields, frame},
    h3::{Http3, request},
    reference,
};

/// `$_SERVER` and more for one request with these headers, over HTTP/1, 2 and 3.
fn seen(target: &Target, headers: &[(&str, &str)]) -> [Value; 3] {
    let h1 = headers.iter().fold(target.server.get("/seen.php"), |request, (name, value)| request.header(name, value));
    let lower: Vec<_> = headers.iter().map(|(name, value)| (name.to_lowercase(), (*value).to_owned())).collect();
    let start = [(":method", "GET"), (":scheme", "http"), (":authority", "x"), (":path", "/seen.php")];
    let head = [fields(&start), fields(&lower)].concat();
    let mut client = Frames::open(target.server.address);
    client.send(frame(HEADERS, END_STREAM | END_HEADERS, 1, &head));
    let Outcome::Answer(200, h2) = client.outcome(1) else { panic!("{headers:?}") };
    let mut asked = request("GET", "/seen.php");
    for (name, value) in &lower {
        asked.headers_mut().append(http::HeaderName::from_bytes(name.as_bytes()).unwrap(), value.parse().unwrap());
    }
    let h3 = Http3::connect(&target.office).fetch(asked, b"");
    [h1.send().json(), serde_json::from_slice(&h2).unwrap(), serde_json::from_slice(&h3.body).unwrap()]
}

const SEEN: &str = "echo json_encode(['server' => $_SERVER, 'headers' => getallheaders(), 'proxy' => getenv('HTTP_PROXY'), \
    'cookie' => $_COOKIE], JSON_INVALID_UTF8_SUBSTITUTE | JSON_FORCE_OBJECT);";

#[test]
fn headers_cannot_pose_as_others_or_as_the_environment() {
    if reference().is_some() {
        return;
    }
    let target = target(|setup| setup.php("seen.php", SEEN));
    for told in seen(
        &target,
        &[
            ("Proxy", "http://evil.test"),
            ("X-Auth-User", "as the proxy says"),
            ("X_Forwarded_For", "1.2.3.4"),
            ("X.Forwarded.For", "1.2.3.4"),
            ("X.Auth.User", "admin"),
            ("X-Auth.User", "admin"),
            ("X~Auth-User", "admin"),
            ("Content_Length", "99"),
            ("Content.Length", "99"),
            ("X.Dot", "1"),
            ("Remote-Addr", "1.2.3.4"),
            ("Php-Auth-User", "admin"),
            ("Https", "on"),
            ("Script-Filename", "/etc/passwd"),
            ("Path-Info", "/x"),
        ],
    ) {
        let vars = &told["server"];
        for name in ["HTTP_PROXY", "HTTP_X_FORWARDED_FOR", "HTTP_CONTENT_LENGTH", "CONTENT_LENGTH", "PHP_AUTH_USER", "HTTP_X_DOT"]
        {
            assert!(vars[name].is_null() || vars[name] == "", "{name}: {vars}");
        }
        assert_eq!(vars["HTTP_X_AUTH_USER"], "as the proxy says", "{vars}");
        let names: Vec<_> = told["headers"].as_object().unwrap().keys().collect();
        assert!(!names.iter().any(|name| name.contains(['.', '_', '~'])), "{names:?}");
        assert_eq!((&told["proxy"], &told["headers"]["Proxy"]), (&json!(false), &Value::Null), "{told}");
        assert_eq!((&vars["REMOTE_ADDR"], &vars["HTTP_REMOTE_ADDR"]), (&json!("127.0.0.1"), &json!("1.2.3.4")));
        assert!(vars["SCRIPT_FILENAME"].as_str().unwrap().ends_with("/seen.php"));
        assert_eq!(vars["PATH_INFO"].as_str().unwrap_or_default(), "");
    }
    target.is_well();
}

#[test]
fn cookies_cannot_pose_as_those_that_browsers_protect() {
    let target = target(|setup| setup.php("seen.php", SEEN));
    for cookies in ["__%48ost-a=1", "..Host-a=1", "_[Host-a=1", ". Host-a=1", "__Secure%2da=1", "__Ho%73t-a=1"] {
        for told in seen(&target, &[("Cookie", cookies)]) {
            let names: Vec<_> = told["cookie"].as_object().unwrap().keys().collect();
            assert!(!names.iter().any(|name| ["__Host-a", "__Secure-a"].contains(&name.as_str())), "{cookies}: {names:?}");
        }
    }
    for told in seen(&target, &[("Cookie", "__Host-a=1; b[c]=2; ;=; d; e=f=g")]) {
        assert_eq!(told["cookie"]["__Host-a"], "1", "{told}");
        assert_eq!((&told["cookie"]["b"]["c"], &told["cookie"]["e"]), (&json!("2"), &json!("f=g")), "{told}");
    }
    target.is_well();
}

/// What a script puts into a header cannot become another header, another answer, or too much of one.
#[test]
fn what_scripts_send_on_stays_one_answer_on_every_protocol() {
    if reference().is_some() {
        return;
    }
    let send = "$v = rawurldecode($_GET['v']); foreach ([
        fn () => header('X-A: ' . $v), fn () => header('Location: ' . $v), fn () => header($v . ': 1'),
        fn () => header('Content-Type: ' . $v), fn () => header('HTTP/1.1 200 ' . $v), fn () => setcookie('c', 'd', ['path' => $v]),
        fn () => setcookie('c', $v), fn () => setrawcookie('c', $v), fn () => ini_set('default_charset', $v),
        fn () => ini_set('default_mimetype', $v), fn () => session_name($v), fn () => http_response_code(200),
    ] as $try) { try { @$try(); } catch (Throwable) { } } echo 'sent';";
    let target = target(|setup| setup.php("send.php", send));
    for value in [
        "a%0d%0aX-Injected: 1",
        "a%0aX-Injected: 1",
        "a%0dX-Injected: 1",
        "a%00X-Injected: 1",
        "a%0d%0a%0d%0a<script>",
        "a%0d%0a X-Injected: 1",
        "%C4%8DX-Injected: 1",
        "%E5%98%8A%E5%98%8DX-Injected: 1",
    ] {
        let target_path =
            format!("/send.php?v={}", value.replace('%', "%25").replace(' ', "%20").replace('<', "%3C").replace('>', "%3E"));
        let mut connection = target.server.connect();
        let reply = connection.send(&target.server.get(&target_path)).unwrap();
        assert_eq!((reply.header("x-injected"), reply.text().as_str()), (None, "sent"), "{value}: {reply:?}");
        assert_eq!(connection.send(&target.server.get("/well.php")).unwrap().text(), "well", "{value}: in step");
        let answer = Http3::connect(&target.office).get(&target_path);
        assert_eq!((answer.header("x-injected"), answer.text()), (None, "sent"), "{value}: {answer:?}");
        let mut client = Frames::open(target.server.address);
        client.send(frame(
            HEADERS,
            END_STREAM | END_HEADERS,
            1,
            &fields(&[(":method", "GET"), (":scheme", "http"), (":authority", "x"), (":path", &target_path)]),
        ));
        let outcome = client.outcome(1);
        assert!(matches!(&outcome, Outcome::Answer(_, body) if body == b"sent"), "{value}: {outcome:?}");
    }
    target.is_well();
}

#[test]
fn a_status_line_of_any_length_is_one_line() {
    if reference().is_some() {
        return;
    }
    let target =
        target(|setup| setup.php("status.php", "header('HTTP/1.1 200 ' . str_repeat('x', (int) $_GET['n'])); echo 'sent';"));
    for length in [0, 1, 127, 1024, 8190, 65_536, 500_000] {
        let path = format!("/status.php?n={length}");
        let reply = target.server.get(&path).send();
        assert_eq!((reply.status, reply.text().as_str()), (200, "sent"), "{length}");
        let answer = Http3::connect(&target.office).get(&path);
        assert_eq!((answer.status.as_u16(), answer.text()), (200, "sent"), "{length}");
        let file = target.server.root().join("status.php");
        let query = format!("n={length}");
        let pairs = [("REQUEST_METHOD", "GET"), ("SCRIPT_FILENAME", file.to_str().unwrap()), ("QUERY_STRING", &query)];
        let mut client = crate::harness::Fcgi::connect(target.server.fcgi.unwrap()).unwrap();
        let reply = client.request(false, &crate::harness::params(&pairs), &[]).unwrap();
        assert!(reply.text().ends_with("\r\n\r\nsent"), "{length}");
    }
    target.is_well();
}

/// Spellings of files that are there and are not for everybody.
const HIDDEN: &[&str] = &[
    "/.env",
    "/%2eenv",
    "/%2Eenv",
    "/.%65nv",
    "//.env",
    "/a/../.env",
    "/.env/",
    "/.env%20",
    "/.env%00",
    "/.env.",
    "/./.env",
    "/.\\.env",
    "/%252eenv",
    "/a/.git/config",
    "/a/.git%2fconfig",
    "/a/%2egit/config",
    "/x.php.bak",
    "/x.php%2ebak",
    "/x.php.bak%20",
    "/wp-config.php.old",
    "/x.php%20",
    "/x.php.",
    "/x.php..",
    "/x.PHP",
    "/x.pHp",
    "/x.php::$DATA",
    "/x.php%3a%3a$DATA",
    "/x.php%00",
    "/x.php%00.jpg",
    "/x.php%0a",
    "/x.php%0d",
    "/x.php%09",
    "/x.php%5c",
    "/x.php%ff",
    "/x.php;.jpg",
    "/x.php%3b.jpg",
    "/x.ph%70%20",
    "/x%E2%80%8B.php",
    "/x.p\u{127}p",
    "/x.ph%EF%BD%90",
];

/// Sources and files outside of what is served, over the protocols whose paths come on other ways than HTTP/1's.
#[test]
fn sources_and_strangers_files_stay_where_they_are_on_every_protocol() {
    if reference().is_some() {
        return; // nginx sends what it is not told to hide
    }
    let target = target(|setup| {
        std::fs::write(setup.scratch().join("outside.txt"), "SECRET").unwrap();
        setup
            .preset("files")
            .file(".env", "SECRET")
            .file("a/.git/config", "SECRET")
            .file("x.php", "<?php /* SECRET */ echo 'ran';")
            .file("x.php.bak", "SECRET")
            .file("wp-config.php.old", "SECRET")
    });
    let dots = ["..", "%2e%2e", ".%2e", "%252e%252e", "..%00", "%c0%ae%c0%ae", "..;", "...", "..%5c..", "%2e%2e%5c"];
    let slashes = ["/", "%2f", "%5c", "//", "%252f", "%c0%af", "/./", "\\"];
    let climbing =
        dots.iter().flat_map(|dots| slashes.iter().map(move |slash| format!("/a{slash}{dots}{slash}{dots}{slash}outside.txt")));
    let mut h3 = Http3::connect(&target.office);
    for path in climbing.chain(HIDDEN.iter().map(|path| (*path).to_owned())) {
        let secret = |body: &[u8]| body.windows(6).any(|part| part == b"SECRET");
        let mut connection = target.server.connect();
        connection.write([b"GET ", path.as_bytes(), b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"].concat());
        let all = connection.read_to_end().unwrap();
        assert!(all.starts_with(b"HTTP/1.1 ") && !secret(&all), "{path}: {}", String::from_utf8_lossy(&all));
        let mut client = Frames::open(target.server.address);
        let head = fields(&[(":method", "GET"), (":scheme", "http"), (":authority", "x"), (":path", &path)]);
        client.send(frame(HEADERS, END_STREAM | END_HEADERS, 1, &head));
        match client.outcome(1) {
            Outcome::Answer(status, body) => assert!((200..500).contains(&status) && !secret(&body), "{path}: {status}"),
            Outcome::Reset(code) => assert_eq!(code, 1, "{path}"),
            Outcome::Closed(code) => panic!("{path}: {code:?}"),
        }
        if http::Uri::try_from(&path).is_ok() {
            let answer = h3.try_fetch(request("GET", &path), b"");
            assert!(answer.is_ok_and(|answer| answer.status.as_u16() < 500 && !secret(&answer.body)), "{path}");
        }
    }
    drop(h3);
    target.is_well();
}

#[test]
fn a_query_string_is_no_option_for_php() {
    let target = target(|setup| {
        setup
            .php("q.php", "echo 'run ', ini_get('auto_prepend_file'), ini_get('allow_url_include');")
            .ini("register_argc_argv", "1")
    });
    for query in [
        "-s",
        "-n",
        "--",
        "-d+auto_prepend_file%3dphp://input",
        "%ADd+allow_url_include%3d1+%ADd+auto_prepend_file%3dphp://input",
        "-r+echo",
        "-b+0.0.0.0:80",
    ] {
        for path in ["/q.php", "/q.php/x", "/"] {
            let reply = Request::new(target.server.address, "POST", &format!("{path}?{query}"))
                .body("text/plain", "<?php echo 'SECRET';")
                .send();
            assert!(reply.text() == "run 0" || reply.text() == "run " || path == "/", "{path}?{query}: {}", reply.text());
            assert!(!reply.text().contains("SECRET"), "{path}?{query}: {}", reply.text());
        }
    }
    target.is_well();
}
