//! Requests as workers get them, answers as workers give them.

mod answers;
mod exchange;
mod multipart;
mod tasks;

use std::{fs, path::PathBuf, time::SystemTime};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, Version};
use prost::Message;
use serde_json::{Value, json};

use super::{context::*, *};
use crate::worker::{Body, HttpHead, Request, Script, Source, goridge::Flags};

fn request(method: &str, target: &str, headers: &[(&'static str, &[u8])], body: impl Into<Bytes>) -> Request {
    let mut map = HeaderMap::new();
    for (name, value) in [("host", &b"app.test:8080"[..])].iter().chain(headers) {
        map.append(*name, HeaderValue::from_bytes(value).unwrap());
    }
    let head = HttpHead {
        method: Method::from_bytes(method.as_bytes()).unwrap(),
        target: target.into(),
        query: target.split_once('?').map_or(String::new(), |(_, query)| query.into()),
        version: Version::HTTP_11,
        headers: map,
        remote: Some("192.0.2.7:5000".parse().unwrap()),
        local: None,
        port: None,
        name: None,
        secure: None,
        server_name: "app.test".into(),
    };
    with(Source::Http(head), body)
}

fn with(source: Source, body: impl Into<Bytes>) -> Request {
    let body = body.into();
    Request {
        id: 1,
        received: SystemTime::now(),
        script: Script { filename: "".into(), name: "".into(), path_info: "".into(), document_root: "".into() },
        source,
        body: if body.is_empty() { Body::Empty } else { Body::Memory(body) },
        ini: Vec::new(),
        interim: None,
        phases: None,
    }
}

fn post(content_type: &'static str, body: impl Into<Bytes>) -> Request {
    request("POST", "/form", &[("content-type", content_type.as_bytes())], body)
}

fn encoded(mut request: Request) -> Encoded {
    encode(&mut request, &[], &Settings::default()).unwrap()
}

fn context(encoded: &Encoded) -> Value {
    serde_json::from_slice(&encoded.context).unwrap()
}

/// The tree that a urlencoded form becomes.
fn form(body: &'static str) -> Result<String, String> {
    let encoded = encode(&mut post("application/x-www-form-urlencoded", body), &[], &Settings::default());
    encoded.map(|encoded| String::from_utf8(encoded.body.to_vec()).unwrap()).map_err(|error| error.to_string())
}

/// A directory of one test's own.
struct Uploads(PathBuf);

impl Uploads {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("rr-uploads-{}-{name}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn settings(&self) -> Settings {
        Settings { uploads: self.0.clone(), ..Settings::default() }
    }

    fn count(&self) -> usize {
        fs::read_dir(&self.0).unwrap().count()
    }
}

impl Drop for Uploads {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

const MULTIPART: &str = "multipart/form-data; boundary=XX";

/// A multipart body of parts, each its headers' lines and its content.
fn multipart(parts: &[(&str, &str)]) -> String {
    let parts = parts.iter().map(|(head, content)| format!("--XX\r\n{head}\r\n\r\n{content}\r\n"));
    parts.collect::<String>() + "--XX--\r\n"
}

fn field(name: &str) -> String {
    format!("Content-Disposition: form-data; name=\"{name}\"")
}

fn file(name: &str, filename: &str) -> String {
    format!("Content-Disposition: form-data; name=\"{name}\"; filename=\"{filename}\"\r\nContent-Type: text/plain")
}

// === the head ===

#[test]
fn a_request_s_head_is_a_json_object() {
    let headers: &[(&str, &[u8])] = &[
        ("user-agent", b"curl/8"),
        ("x-list", b"a"),
        ("x-list", b"b"),
        ("cookie", b"a=1; b=%41+b"),
        ("cookie", b"c=\"q\"; bad=%zz; a=2; n\xc3\xa4me=1; quote=a\"b"),
        ("transfer-encoding", b"chunked"),
        ("proxy", b"evil"),
        ("x_spoof", b"evil"),
        ("x-latin", b"caf\xe9"),
    ];
    let mut request = request("GET", "/path/?a=1&b[]=2", headers, "");
    let encoded = encode(&mut request, &[("user".into(), "7".into())], &Settings::default()).unwrap();
    assert_eq!(encoded.codec, Flags::JSON);
    let expected = json!({
        "remoteAddr": "192.0.2.7",
        "protocol": "HTTP/1.1",
        "method": "GET",
        "uri": "http://app.test:8080/path/?a=1&b[]=2",
        "rawQuery": "a=1&b[]=2",
        "headers": {
            "Cookie": ["a=1; b=%41+b; c=\"q\"; bad=%zz; a=2; n\u{e4}me=1; quote=a\"b"],
            "User-Agent": ["curl/8"], "X-Latin": ["caf\u{fffd}"], "X-List": ["a", "b"],
        },
        "cookies": {"a": "2", "b": "A b", "c": "q"},
        "attributes": {"user": "7"},
        "uploads": null,
        "parsed": false,
    });
    assert_eq!(context(&encoded), expected);
    assert!(encoded.body.is_empty());
}

#[test]
fn empty_maps_are_maps() {
    let text = String::from_utf8(encoded(request("GET", "/", &[], "")).context).unwrap();
    assert!(text.contains(r#""headers":{},"cookies":{},"attributes":{},"uploads":null,"parsed":false"#), "{text}");
}

#[test]
fn the_same_head_as_protobuf() {
    let settings = Settings { encoding: Encoding::Proto, ..Settings::default() };
    let mut request = request("GET", "/?q=1", &[("x-latin", b"caf\xe9"), ("cookie", b"a=1")], "");
    let encoded = encode(&mut request, &[("user".into(), "7".into())], &settings).unwrap();
    assert_eq!(encoded.codec, Flags::PROTO);
    let message = RequestMessage::decode(encoded.context.as_slice()).unwrap();
    let one = |value: &[u8]| HeaderValues { value: vec![value.to_vec()] };
    let expected = RequestMessage {
        remote_addr: "192.0.2.7".into(),
        protocol: "HTTP/1.1".into(),
        method: "GET".into(),
        uri: "http://app.test:8080/?q=1".into(),
        header: [("Cookie".into(), one(b"a=1")), ("X-Latin".into(), one(b"caf\xe9"))].into(),
        cookies: [("a".into(), one(b"1"))].into(),
        raw_query: "q=1".into(),
        parsed: false,
        uploads: Vec::new(),
        attributes: [("user".into(), one(b"7"))].into(),
    };
    assert_eq!(message, expected);
    // The first bytes as any protobuf library writes them: field 1, nine bytes of text.
    assert!(encoded.context.starts_with(b"\x0a\x09192.0.2.7\x12\x08HTTP/1.1\x1a\x03GET"));
}

#[test]
fn tls_and_http_2_show_in_the_head() {
    let mut request = request("GET", "/", &[], "");
    let Source::Http(head) = &mut request.source else { unreachable!() };
    (head.secure, head.version, head.remote) = (Some(std::sync::Arc::default()), Version::HTTP_2, None);
    let context = context(&encoded(request));
    assert_eq!(
        (&context["uri"], &context["protocol"], &context["remoteAddr"]),
        (&json!("https://app.test:8080/"), &json!("HTTP/2.0"), &json!("unix:"))
    );
}

#[test]
fn a_fastcgi_client_s_parameters_are_a_head_too() {
    let params = [
        ("REQUEST_METHOD", "POST"),
        ("REQUEST_URI", "/a?b=1\r\n"),
        ("QUERY_STRING", "b=1"),
        ("SERVER_PROTOCOL", "HTTP/1.1"),
        ("REMOTE_ADDR", "192.0.2.9"),
        ("HTTPS", "on"),
        ("HTTP_HOST", "front.test"),
        ("HTTP_X_REAL_IP", "192.0.2.1"),
        ("HTTP_PROXY", "evil"),
        ("HTTP_COOKIE", "a=1"),
        ("CONTENT_TYPE", "application/x-www-form-urlencoded"),
        ("CONTENT_LENGTH", "3"),
    ];
    let params = params.iter().map(|(name, value)| (Bytes::from(*name), Bytes::from(*value))).collect();
    let encoded = encoded(with(Source::FastCgi(params), "x=y"));
    let expected = json!({
        "remoteAddr": "192.0.2.9", "protocol": "HTTP/1.1", "method": "POST", "uri": "https://front.test/a?b=1", "rawQuery": "b=1",
        "headers": {
            "X-Real-Ip": ["192.0.2.1"], "Cookie": ["a=1"], "Content-Type": ["application/x-www-form-urlencoded"], "Content-Length": ["3"],
        },
        "cookies": {"a": "1"}, "attributes": {}, "uploads": null, "parsed": true,
    });
    assert_eq!(context(&encoded), expected);
    assert_eq!(encoded.body, r#"{"x":"y"}"#);
}

// === bodies ===

#[test]
fn other_bodies_are_passed_as_they_are() {
    for content_type in ["application/json", "text/plain", "Application/X-WWW-Form-Urlencoded", ""] {
        let encoded = encoded(post(content_type, "a=\u{e9}&\0"));
        assert_eq!(
            (encoded.body.as_ref(), &context(&encoded)["parsed"]),
            ("a=\u{e9}&\0".as_bytes(), &json!(false)),
            "{content_type}"
        );
    }
    let mut raw = post("application/x-www-form-urlencoded", "a=1");
    let encoded = encode(&mut raw, &[], &Settings { raw_body: true, ..Settings::default() }).unwrap();
    assert_eq!((encoded.body.as_ref(), &context(&encoded)["parsed"]), (&b"a=1"[..], &json!(false)));
}

#[test]
fn a_large_body_comes_from_its_file() {
    let directory = Uploads::new("spool");
    let path = directory.0.join("spool");
    fs::write(&path, "x".repeat(300_000)).unwrap();
    let mut request = post("text/plain", "");
    request.body = Body::File { file: fs::File::open(&path).unwrap(), length: 300_000 };
    assert_eq!(encoded(request).body.len(), 300_000);
}

#[test]
fn head_and_options_have_no_body() {
    for method in ["HEAD", "OPTIONS"] {
        let encoded = encoded(request(method, "/", &[("content-type", b"application/x-www-form-urlencoded")], "a=1"));
        assert_eq!((encoded.body.len(), &context(&encoded)["parsed"]), (0, &json!(false)), "{method}");
    }
}

#[test]
fn only_post_put_and_patch_have_urlencoded_forms() {
    for (method, expected) in [("POST", r#"{"a":"1"}"#), ("PUT", r#"{"a":"1"}"#), ("PATCH", r#"{"a":"1"}"#), ("DELETE", "{}")] {
        let encoded =
            encoded(request(method, "/", &[("content-type", b"application/x-www-form-urlencoded; charset=utf-8")], "a=1"));
        assert_eq!((encoded.body.as_ref(), &context(&encoded)["parsed"]), (expected.as_bytes(), &json!(true)), "{method}");
    }
}

#[test]
fn an_empty_form_is_an_object_in_json_and_nothing_in_protobuf() {
    assert_eq!(form(""), Ok("{}".into()));
    let settings = Settings { encoding: Encoding::Proto, ..Settings::default() };
    let encoded = encode(&mut post("application/x-www-form-urlencoded", ""), &[], &settings).unwrap();
    assert!(encoded.body.is_empty() && RequestMessage::decode(encoded.context.as_slice()).unwrap().parsed);
}

// === forms ===

#[test]
fn a_form_becomes_a_tree() {
    for (body, expected) in [
        ("a=1&b=2", r#"{"a":"1","b":"2"}"#),
        ("b=2&a=1&x[10]=c&x[2]=b", r#"{"a":"1","b":"2","x":{"10":"c","2":"b"}}"#),
        ("a=1&a=2", r#"{"a":"2"}"#),
        ("a[]=1&a[]=2&b[c][]=3", r#"{"a":["1","2"],"b":{"c":["3"]}}"#),
        ("a[b][c]=1&a[b][d]=2&a[e]=3", r#"{"a":{"b":{"c":"1","d":"2"},"e":"3"}}"#),
        ("a[][b]=1&a[][b]=2", r#"{"a":{"":{"b":"2"}}}"#),
        ("a+b=c+d&%5Bx%5D=%26", r#"{"":{"x":"&"},"ab":"c d"}"#),
        ("a[%20b%20]=%zz&c;d=1;2", r#"{"a":{"b":"%zz"},"c;d":"1;2"}"#),
        ("a]b=1&c[=2&d[e=3", r#"{"a":{"b":"1"},"c":"2","d":{"e":"3"}}"#),
        ("a&=1&&b=", r#"{"":"1","a":"","b":""}"#),
        ("a=%ff%22%0a", r#"{"a":"�\"\n"}"#),
    ] {
        assert_eq!(form(body).as_deref(), Ok(expected), "{body}");
    }
}

#[test]
fn an_empty_field_gives_way() {
    for body in ["options=&options[0][id]=1", "options[0][id]=1&options="] {
        assert_eq!(form(body).as_deref(), Ok(r#"{"options":{"0":{"id":"1"}}}"#), "{body}");
    }
    assert_eq!(form("a=1&a[]=").as_deref(), Ok(r#"{"a":"1"}"#));
    assert_eq!(form("a=&a[]=1").as_deref(), Ok(r#"{"a":["1"]}"#));
    assert_eq!(form("a=&a[b]=").as_deref(), Ok(r#"{"a":{"b":""}}"#));
}

#[test]
fn fields_that_contradict_each_other_are_refused() {
    for body in ["a=1&a[b]=2", "a[b]=2&a=1", "a[b][c]=1&a[b][]=2", "a[]=1&a[b]=2"] {
        let error = encode(&mut post("application/x-www-form-urlencoded", body), &[], &Settings::default()).unwrap_err();
        assert_eq!(error.status(), StatusCode::INTERNAL_SERVER_ERROR, "{body}");
        assert!(error.to_string().starts_with("form: invalid multiple values to key"), "{error}");
    }
}

#[test]
fn a_name_too_deep_is_left_out_and_a_deep_one_is_not() {
    let deep = |levels: usize| format!("a{}=1&z=1", "[b]".repeat(levels - 1));
    let tree =
        |levels| String::from_utf8(encoded(post("application/x-www-form-urlencoded", deep(levels))).body.to_vec()).unwrap();
    assert_eq!(tree(127).matches("\"b\"").count(), 126);
    assert_eq!(tree(128), r#"{"z":"1"}"#);
}

#[test]
fn a_form_too_large_for_memory_is_refused() {
    let settings = Settings { form_memory: 100, ..Settings::default() };
    let urlencoded = encode(&mut post("application/x-www-form-urlencoded", "a".repeat(101)), &[], &settings).unwrap_err();
    let parts = multipart(&[(&field("a"), &"x".repeat(60)), (&field("b"), &"x".repeat(60))]);
    let multipart_values = encode(&mut post(MULTIPART, parts), &[], &settings).unwrap_err();
    for error in [urlencoded, multipart_values] {
        assert_eq!(error.status(), StatusCode::PAYLOAD_TOO_LARGE, "{error}");
    }
    let settings = Settings { max_parts: 2, ..Settings::default() };
    let parts = multipart(&[(&field("a"), ""), (&field("b"), ""), (&field("c"), "")]);
    let error = encode(&mut post(MULTIPART, parts), &[], &settings).unwrap_err();
    assert_eq!(error.to_string(), "form: more than 2 parts");
}
