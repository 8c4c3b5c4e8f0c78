//! Multipart forms: values, files, spellings, damage.

use std::{
    fs,
    io::{self, Read},
    path::PathBuf,
};

use http::StatusCode;
use serde_json::{Value, json};

use super::*;

#[test]
fn a_multipart_form_has_values_and_files() {
    let directory = Uploads::new("form");
    let body = multipart(&[
        (&field("a[]"), "1"),
        (&field("a[]"), "two\r\n--X is no boundary\r\n--XXX\r\n"),
        (&file("docs[x]", "/home/me/r\u{e9}sum\u{e9}.TXT"), "content\r\n"),
        (&file("list[]", "1.txt"), "one"),
        (&file("list[]", "2.txt"), "two"),
        (&file("twice", "first.txt"), "first"),
        (&file("twice", "second.txt"), "second"),
        (&file("empty", ""), ""),
        ("Content-Disposition: attachment; name=\"ignored\"", "x"),
        ("X-None: 1", "x"),
    ]);
    let encoded = encode(&mut post(MULTIPART, body), &[], &directory.settings()).unwrap();
    let values: Value = serde_json::from_slice(&encoded.body).unwrap();
    assert_eq!(values, json!({"a": ["1", "two\r\n--X is no boundary\r\n--XXX\r\n"], "empty": ""}));
    let mut uploads = context(&encoded)["uploads"].take();
    let read = |file: &mut Value| {
        let path = PathBuf::from(file["tmpName"].take().as_str().unwrap());
        assert!(path.starts_with(&directory.0) && path.file_name().unwrap().to_str().unwrap().starts_with("upload"));
        fs::read_to_string(path).unwrap()
    };
    assert_eq!(read(&mut uploads["docs"]["x"]), "content\r\n");
    assert_eq!(
        uploads["docs"]["x"],
        json!({"name": "r\u{e9}sum\u{e9}.TXT", "mime": "text/plain", "size": 9, "error": 0, "tmpName": null})
    );
    assert_eq!((read(&mut uploads["list"][0]), read(&mut uploads["list"][1])), ("one".into(), "two".into()));
    assert_eq!(read(&mut uploads["twice"]), "first", "of several files under one name the first is shown");
    assert_eq!(uploads["empty"], Value::Null);
    assert_eq!((encoded.files.paths().len(), directory.count()), (5, 5));
    fs::rename(&encoded.files.paths()[0], directory.0.join("kept")).unwrap();
    drop(encoded);
    assert_eq!(directory.count(), 1, "what the script moved stays, and nothing else");
}

#[test]
fn extensions_are_forbidden_and_allowed() {
    let directory = Uploads::new("extensions");
    let settings = Settings { forbid: vec![".php".into()], allow: vec![".php".into(), ".txt".into()], ..directory.settings() };
    let body =
        multipart(&[(&file("a", "x.PHP"), "1"), (&file("b", "x.txt"), "2"), (&file("c", "x.jpg"), "3"), (&file("d", "x"), "4")]);
    let encoded = encode(&mut post(MULTIPART, body), &[], &settings).unwrap();
    let uploads = &context(&encoded)["uploads"];
    assert_eq!(uploads["a"], json!({"name": "x.PHP", "mime": "text/plain", "size": 0, "error": 8, "tmpName": ""}));
    let errors: Vec<_> = ["a", "b", "c", "d"].map(|name| uploads[name]["error"].clone()).to_vec();
    assert_eq!((json!(errors), directory.count()), (json!([8, 0, 8, 8]), 1));
}

#[test]
fn without_a_directory_the_script_is_told() {
    let settings = Settings { uploads: "/nowhere/at/all".into(), ..Settings::default() };
    let body = multipart(&[(&file("a", "x.txt"), "1"), (&field("b"), "2")]);
    let encoded = encode(&mut post(MULTIPART, body), &[], &settings).unwrap();
    let expected = json!({"a": {"name": "x.txt", "mime": "text/plain", "size": 0, "error": 6, "tmpName": ""}});
    assert_eq!((&context(&encoded)["uploads"], encoded.body.as_ref()), (&expected, &br#"{"b":"2"}"#[..]));
}

#[test]
fn multipart_has_many_spellings() {
    let quoted = "multipart/form-data; charset=utf-8; boundary=\"X X\"";
    let preamble = "preamble\r\n--X X \t\r\ncontent-disposition:form-data;name=a\r\n\r\n1\r\n--X X--\r\nepilogue";
    let unix = "--X X\nContent-Disposition: form-data; name=\"a\"\n\n1\n--X X--";
    let folded = "--X X\r\nContent-Disposition: form-data;\r\n name=\"a\"\r\n\r\n1\r\n--X X--";
    for body in [preamble, unix, folded] {
        assert_eq!(encoded(post(quoted, body)).body, r#"{"a":"1"}"#, "{body:?}");
    }
    let nothing = "--X X\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n--X X\r\nContent-Disposition: form-data; name=\"b\"\r\n\r\n\r\n--X X--";
    assert_eq!(encoded(post(quoted, nothing)).body, r#"{"a":"","b":""}"#);
    assert_eq!(encoded(post(quoted, "--X X--")).body, "{}");
}

#[test]
fn names_may_be_escaped_or_extended() {
    let directory = Uploads::new("names");
    let head = |filename: &str| format!("Content-Disposition: form-data; name=\"a\"; {filename}\r\nContent-Type: x/y");
    for (given, expected) in [
        (r#"filename="a \"b\" c.txt""#, "a \"b\" c.txt"),
        (r#"filename="C:\dir\name.txt""#, r"C:\dir\name.txt"),
        ("filename=plain.txt; x=y", "plain.txt"),
        ("filename=\"plain.txt\"; filename*=UTF-8''na%C3%AFve%20a.txt", "na\u{ef}ve a.txt"),
        ("filename*=ISO-8859-1''x; filename=\"fallback\"", "fallback"),
        (r#"filename="../../etc/passwd""#, "passwd"),
    ] {
        let encoded = encode(&mut post(MULTIPART, multipart(&[(&head(given), "x")])), &[], &directory.settings()).unwrap();
        assert_eq!(context(&encoded)["uploads"]["a"]["name"], expected, "{given}");
    }
}

#[test]
fn a_broken_multipart_form_is_refused_and_leaves_nothing_behind() {
    let directory = Uploads::new("broken");
    let whole = multipart(&[(&file("a", "a.txt"), "one"), (&field("b"), "two")]);
    let settings = directory.settings();
    let last = whole.find("--XX--").unwrap();
    for length in 0..last + 3 {
        let error = encode(&mut post(MULTIPART, whole[..length].to_owned()), &[], &settings);
        assert!(error.is_err(), "{length} bytes of {}", whole.len());
        assert_eq!(directory.count(), 0, "{length} bytes");
    }
    for (content_type, why) in [
        ("multipart/form-data", "multipart form: no boundary in its content type"),
        ("multipart/form-data; boundary=", "multipart form: no boundary in its content type"),
        ("multipart/form-data; boundary=YY", "multipart form: it ends before its last boundary"),
    ] {
        assert_eq!(encode(&mut post(content_type, whole.clone()), &[], &settings).unwrap_err().to_string(), why);
    }
    let junk = "--XX junk\r\n";
    assert!(encode(&mut post(MULTIPART, format!("{}{junk}", &whole[..last])), &[], &settings).is_err());
    let long = format!("--XX\r\nX: {}\r\n\r\n--XX--", "x".repeat(70_000));
    assert_eq!(encode(&mut post(MULTIPART, long), &[], &settings).unwrap_err().status(), StatusCode::PAYLOAD_TOO_LARGE);
}

/// Gives few bytes at a time.
struct Slow<'a>(&'a [u8], usize);

impl Read for Slow<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.1.min(buffer.len()).min(self.0.len());
        buffer[..count].copy_from_slice(&self.0[..count]);
        self.0 = &self.0[count..];
        Ok(count)
    }
}

#[test]
fn a_multipart_form_is_the_same_in_whatever_pieces_it_comes() {
    let tricky = "\r\n--X\r\n--XXX--\r\n-\r\r\n\r\n--".repeat(50);
    let body = multipart(&[(&field("a"), &tricky), (&field("b"), "")]);
    for piece in [1, 2, 3, 5, 7, 64, 1000] {
        let form =
            crate::worker::roadrunner::multipart::read(Slow(body.as_bytes(), piece), MULTIPART, &Settings::default()).unwrap();
        let mut json = Vec::new();
        form.values.into_tree().unwrap().write(&mut json);
        assert_eq!(serde_json::from_slice::<Value>(&json).unwrap(), json!({"a": tricky, "b": ""}), "{piece} bytes at a time");
    }
}
