//! `$_SERVER` and its kin, equal to what nginx and php-fpm give, key by key.
//!
//! `golden/server.json` is what they gave; `golden/generate.sh` asks them again.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    path::Path,
};

use serde_json::{Map, Value};

use crate::harness::{Front, Request, Setup, reference, server};

/// What may differ, with the reason.
const KNOWN_DIFFERENCES: &[(&str, &str)] = &[
    ("SERVER_SOFTWARE", "names the server"),
    ("SERVER_NAME", "is nginx's own configuration"),
    ("FCGI_ROLE", "there is no FastCGI here"),
    ("REMOTE_USER", "is in Debian's fastcgi_params, not in nginx's"),
    ("REQUEST_TIME", "is a time"),
    ("REQUEST_TIME_FLOAT", "is a time"),
    ("USER", "php-fpm adds it to a child's environment"),
    ("HOME", "php-fpm adds it to a child's environment"),
    ("PATH", "environment of the process"),
    ("PWD", "environment of the process"),
    ("SHLVL", "environment of the process"),
    ("_", "environment of the process"),
    ("LANG", "environment of the process"),
    ("TMPDIR", "environment of the process"),
    ("LD_LIBRARY_PATH", "environment of the process"),
    ("ASAN_OPTIONS", "environment of the process"),
    ("USE_ZEND_ALLOC", "environment of the process"),
    ("USE_TRACKED_ALLOC", "environment of the process"),
    ("PHPRC", "environment of the process"),
    ("PHP_INI_SCAN_DIR", "environment of the process"),
];

/// One request, but for its address.
struct Case {
    method: &'static str,
    target: String,
    headers: Vec<(&'static str, &'static str)>,
    body: Option<(&'static str, &'static str)>,
}

#[test]
fn server_variables_of_plain_files_equal_php_fpm_s() {
    compare("files");
}

#[test]
fn server_variables_behind_a_front_controller_equal_php_fpm_s() {
    compare("front-controller");
}

#[test]
fn server_variables_behind_nginx_equal_php_fpm_s() {
    if reference().is_some() {
        return;
    }
    let server = site("files").with_fcgi().start();
    if let Some(front) = Front::before(&server, "=404") {
        check("files", &replay(front.address, server.root()));
    }
}

fn compare(preset: &str) {
    let server = site(preset).start();
    check(preset, &replay(server.address, server.root()));
}

fn check(preset: &str, seen: &BTreeMap<String, Value>) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("php-tests/golden/server.{preset}.json"));
    if std::env::var_os("RR_GOLDEN_WRITE").is_some() {
        // One case a line, so that a difference is one too.
        let lines: Vec<_> = seen.iter().map(|(case, value)| format!("{}: {value}", Value::from(case.as_str()))).collect();
        std::fs::write(file, format!("{{\n{}\n}}\n", lines.join(",\n"))).unwrap();
        return;
    }
    let expected: BTreeMap<String, Value> = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    assert_eq!(
        expected.keys().collect::<Vec<_>>(),
        seen.keys().collect::<Vec<_>>(),
        "run golden/generate.sh after a change of the cases"
    );
    let mut differences = Vec::new();
    for (case, expected) in &expected {
        differ(case, expected, &seen[case], &mut differences);
    }
    assert!(differences.is_empty(), "{} differences:\n{}", differences.len(), differences.join("\n"));
}

fn differ(path: &str, expected: &Value, seen: &Value, differences: &mut Vec<String>) {
    match (expected, seen) {
        (Value::Object(expected), Value::Object(seen)) => {
            let keys: BTreeSet<_> = expected.keys().chain(seen.keys()).collect();
            for key in keys {
                let (expected, seen) = (expected.get(key).unwrap_or(&Value::Null), seen.get(key).unwrap_or(&Value::Null));
                differ(&format!("{path}: {key}"), expected, seen, differences);
            }
        }
        _ if expected == seen => {}
        _ => differences.push(format!("{path}: expected {expected}, got {seen}")),
    }
}

fn site(preset: &str) -> Setup {
    let dump = std::fs::read_to_string(crate::harness::fixtures().join("server.php")).unwrap();
    let scripts = ["index", "app", "sub/index", "sub/app", "sp ace/a+b", "caf\u{e9}/app", "a.phpx/app"];
    let site = server().bare().preset(preset).file("style.css", "body{}");
    scripts.iter().fold(site, |site, script| site.file(&format!("{script}.php"), &dump))
}

fn replay(address: SocketAddr, root: &Path) -> BTreeMap<String, Value> {
    cases().iter().map(|case| (case.name(), case.run(address, root))).collect()
}

// === impl Case ===

impl Case {
    fn get(target: impl Into<String>) -> Self {
        Self { method: "GET", target: target.into(), headers: vec![("Host", "example.test")], body: None }
    }

    fn with(mut self, name: &'static str, value: &'static str) -> Self {
        self.headers.retain(|(known, _)| *known != "Host" || name != "Host");
        self.headers.push((name, value));
        self
    }

    fn body(mut self, method: &'static str, content_type: &'static str, body: &'static str) -> Self {
        self.method = method;
        self.body = Some((content_type, body));
        self
    }

    fn method(mut self, method: &'static str) -> Self {
        self.method = method;
        self
    }

    fn name(&self) -> String {
        let headers: Vec<_> = self
            .headers
            .iter()
            .filter(|header| **header != ("Host", "example.test"))
            .map(|(name, value)| format!("{name}: {value}"))
            .collect();
        let body = self.body.map_or_else(String::new, |(kind, body)| format!(" [{kind}: {body}]"));
        format!("{} {} {}{body}", self.method, self.target, headers.join(" | ")).trim_end().to_owned()
    }

    fn run(&self, address: SocketAddr, root: &Path) -> Value {
        let mut request = Request::new(address, self.method, &self.target);
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        if let Some((kind, body)) = self.body {
            request = request.body(kind, body);
        }
        let reply = request.send();
        let Ok(Value::Object(mut seen)) = serde_json::from_slice(&reply.body) else {
            let mut other = Map::new();
            other.insert("status".to_owned(), reply.status.into());
            return Value::Object(other);
        };
        let vars = seen.get_mut("server").and_then(Value::as_object_mut).unwrap();
        for (key, _) in KNOWN_DIFFERENCES {
            vars.remove(*key);
        }
        // An empty one stands for none in CGI; `getallheaders()` need not repeat that.
        seen.get_mut("headers")
            .and_then(Value::as_object_mut)
            .unwrap()
            .retain(|name, value| !name.starts_with("Content-") || value != "");
        normalise(&mut Value::Object(seen), root.to_str().unwrap(), &address.port().to_string())
    }
}

/// Replaces what differs from run to run: the root, the ports.
fn normalise(value: &mut Value, root: &str, port: &str) -> Value {
    match value {
        Value::Object(map) => {
            let normal = map.iter_mut().map(|(key, value)| {
                let value = if key == "REMOTE_PORT" { "{remote port}".into() } else { normalise(value, root, port) };
                (key.clone(), value)
            });
            Value::Object(normal.collect())
        }
        Value::String(text) if text == port => "{port}".into(),
        Value::String(text) => text.replace(root, "{root}").into(),
        other => other.take(),
    }
}

/// URL × query × host × encoding × method × headers; the document root and the rewriting are the two tests above.
fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for path in PATHS {
        for query in ["", "?", "?a=1&b[]=2", "?q=%2F%20+%C3%A9&x"] {
            cases.push(Case::get(format!("{path}{query}")));
        }
    }
    for query in QUERIES {
        cases.push(Case::get(format!("/app.php?{query}")));
    }
    for host in ["example.test:8080", "EXAMPLE.test", "127.0.0.1", "[::1]:80", "xn--bcher-kva.example"] {
        cases.push(Case::get("/app.php").with("Host", host));
    }
    for method in ["HEAD", "OPTIONS", "DELETE", "PATCH", "PUT", "POST", "PROPFIND"] {
        cases.push(Case::get("/app.php/info?a=b").method(method));
    }
    for (name, value) in HEADERS {
        cases.push(Case::get("/app.php").with(name, value));
    }
    for (kind, body) in BODIES {
        for method in ["POST", "PUT"] {
            cases.push(Case::get("/app.php?a=query").body(method, kind, body));
        }
    }
    cases
}

const PATHS: &[&str] = &[
    "/",
    "/index.php",
    "/app.php",
    "/app.php/",
    "/app.php/info",
    "/app.php/a/b.c/d",
    "/app.php/a%20b",
    "/app.php/a%2Fb",
    "/app.php/a+b",
    "/app.php/%C3%A9",
    "/app.php//double//slash",
    "/app.php/x.php",
    "/app.php/x.php/y",
    "/app.php/.",
    "/app.php/a/../b",
    "/index.php/wp-json/wp/v2",
    "/sub/",
    "/sub/index.php",
    "/sub/app.php",
    "/sub/app.php/info",
    "/sub//app.php",
    "/sub/./app.php",
    "/sub/../app.php",
    "//app.php",
    "/%61pp.php",
    "/app%2ephp",
    "/app.php%2Finfo",
    "/sp%20ace/a+b.php",
    "/sp%20ace/a%2Bb.php/in%20fo",
    "/caf%C3%A9/app.php",
    "/a.phpx/app.php",
    "/app.phpx",
    "/missing",
    "/missing/deep/path",
    "/missing.php",
    "/missing.php/info",
    "/sub/missing.php",
    "/with%20space",
    "/with%2Fslash",
    "/with+plus",
    "/%C3%A9t%C3%A9",
    "/a;b=c",
    "/a:b@c",
    "/~user",
];

const QUERIES: &[&str] = &[
    "a",
    "a=",
    "=a",
    "a=b=c",
    "a&b",
    "&&",
    "a=1&a=2",
    "a[]=1&a[]=2",
    "a[x][y]=1",
    "a[=1",
    "a.b=1",
    "a%20b=1",
    "a=%00",
    "a=%zz",
    "a=%",
    "?",
    "a?b",
    "a/b",
    "//",
    "a=1;b=2",
    "a=%C3%A9",
    "one+two",
    "-s",
    "a=%26",
    "_SERVER=1",
    "GLOBALS=1",
];

const HEADERS: &[(&str, &str)] = &[
    ("Authorization", "Basic dXNlcjpwYTpzcw=="),
    ("Authorization", "basic dXNlcjpwYXNz"),
    ("Authorization", "Basic bm9jb2xvbg=="),
    ("Authorization", "Basic !!!"),
    ("Authorization", "Bearer token.with-chars"),
    ("Authorization", "Digest username=\"u\", realm=\"r\", nonce=\"n\", uri=\"/\", response=\"x\""),
    ("Cookie", "a=1; b=2"),
    ("Cookie", "a=1;b=2;;c"),
    ("Cookie", "a=first; a=second"),
    ("Cookie", "a[b]=c; d.e=f; g h=i"),
    ("Cookie", "enc=%20%2B+x; quoted=\"v w\""),
    ("Cookie", "__Host-x=1; __Secure-y=2; ..Host-z=3"),
    ("Content-Type", "application/json"),
    ("User-Agent", "Mozilla/5.0 (X11; \"quoted\")"),
    ("Referer", "http://other.test/?a=b"),
    ("Accept-Encoding", "gzip, deflate, br"),
    ("X-Forwarded-For", "1.2.3.4, 5.6.7.8"),
    ("X-Forwarded-Proto", "https"),
    ("X-Forwarded-Host", "forwarded.test"),
    ("X-Forwarded-Port", "443"),
    ("Forwarded", "for=1.2.3.4;proto=https"),
    ("X-Real-IP", "1.2.3.4"),
    ("X-Requested-With", "XMLHttpRequest"),
    ("X_Underscore", "1"),
    ("X-lower-CASE", "1"),
    ("X-Empty", ""),
    ("X-Spaces", "  a  b  "),
    ("X-Tab", "a\tb"),
    ("X-Utf8", "caf\u{e9}"),
    ("Range", "bytes=0-3"),
    ("If-Modified-Since", "Mon, 01 Jan 2001 00:00:00 GMT"),
    ("If-None-Match", "\"x\""),
    ("Script-Name", "/evil"),
    ("Remote-User", "admin"),
    ("Https", "on"),
    ("Content-Length", "0"),
    ("Keep-Alive", "300"),
    ("TE", "trailers"),
    ("Upgrade-Insecure-Requests", "1"),
];

const BODIES: &[(&str, &str)] = &[
    ("application/x-www-form-urlencoded", "a=form&b[]=1&c=%C3%A9+x"),
    ("application/x-www-form-urlencoded; charset=utf-8", "a=1"),
    ("APPLICATION/X-WWW-FORM-URLENCODED", "a=1"),
    ("application/json", "{\"a\":1}"),
    ("text/plain", "a=1&b=2"),
    ("", "untyped=1"),
    ("multipart/form-data; boundary=x", "--x\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n1\r\n--x--\r\n"),
    ("application/x-www-form-urlencoded", ""),
];
