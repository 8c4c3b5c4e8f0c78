use std::{io::Read, sync::Arc, time::Duration};

use bytes::Bytes;
use http::Request;
use http_body_util::BodyExt;

use super::{body::Encoder, *};
use crate::worker::{OutputBudget, OutputLimits, OutputWriter};

/// A method, what the client accepts, what the script says, and how much of it.
type Case<'a> = (&'a str, &'a str, &'a [(&'a str, &'a str)], usize);

const LEVELS: Levels = Levels { gzip: 5, brotli: 4, zstd: 3 };

fn compress() -> Compress {
    Compress { codings: vec![Coding::Zstd, Coding::Brotli, Coding::Gzip], min_size: 1024, levels: LEVELS }
}

fn text() -> Bytes {
    "The quick brown fox jumps over the lazy dog. ".repeat(5000).into()
}

/// The answer to a client that accepts `accept`, to which a script has given `headers`.
fn passed(method: &str, accept: &str, headers: &[(&str, &str)], body: Bytes) -> Response<Body> {
    let request = Request::builder().method(method).header("accept-encoding", accept).body(()).unwrap();
    let Verdict::Pass(note) = compress().before(&request.into_parts().0) else { panic!("it answers by itself") };
    let mut response = Response::builder();
    for (name, value) in headers {
        response = response.header(*name, *value);
    }
    compress().after(&note, response.body(Body::from(body)).unwrap())
}

fn header<'a>(response: &'a Response<Body>, name: &str) -> Option<&'a str> {
    response.headers().get(name).map(|value| value.to_str().unwrap())
}

fn decoded(coding: Coding, bytes: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    match coding {
        Coding::Brotli => brotli::Decompressor::new(bytes, 4096).read_to_end(&mut plain).unwrap(),
        Coding::Gzip => flate2::read::GzDecoder::new(bytes).read_to_end(&mut plain).unwrap(),
        Coding::Zstd => zstd::stream::read::Decoder::new(bytes).unwrap().read_to_end(&mut plain).unwrap(),
        Coding::Identity => bytes.to_vec().as_slice().read_to_end(&mut plain).unwrap(),
    };
    plain
}

#[tokio::test]
async fn what_comes_out_is_what_went_in() {
    for coding in [Coding::Brotli, Coding::Gzip, Coding::Zstd] {
        let lines = [("content-type", "text/html"), ("content-length", "225000"), ("etag", "\"a\""), ("accept-ranges", "bytes")];
        let response = passed("GET", coding.name(), &lines, text());
        assert_eq!(header(&response, "content-encoding"), Some(coding.name()));
        assert_eq!((header(&response, "vary"), header(&response, "etag")), (Some("accept-encoding"), Some("W/\"a\"")));
        assert_eq!((header(&response, "content-length"), header(&response, "accept-ranges")), (None, None));
        assert_eq!(response.body().size_hint().exact(), None);
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        assert!(bytes.len() < 20_000, "{coding:?}: {} bytes", bytes.len());
        assert!(decoded(coding, &bytes) == text(), "{coding:?}");
    }
}

#[test]
fn digests_of_the_bytes_as_they_were_go() {
    let digests = ["content-md5", "content-digest", "digest", "repr-digest"];
    let lines: Vec<_> = digests.iter().map(|name| (*name, "sha-256=:AAAA:")).chain([("content-type", "text/html")]).collect();
    let left = |accept: &str| {
        let response = passed("GET", accept, &lines, text());
        digests.map(|name| header(&response, name).is_some())
    };
    assert_eq!(left("gzip"), [false; 4]);
    assert_eq!(left("identity"), [true; 4]);
}

#[test]
fn an_answer_in_place_of_another_says_what_that_depends_on() {
    let vary = |status: u16, headers: &[(&str, &str)]| {
        let request = Request::get("/").header("accept-encoding", "gzip").body(()).unwrap();
        let Verdict::Pass(note) = compress().before(&request.into_parts().0) else { panic!("it answers by itself") };
        let mut response = Response::builder().status(status);
        for (name, value) in headers {
            response = response.header(*name, *value);
        }
        header(&compress().after(&note, response.body(Body::Empty).unwrap()), "vary").map(str::to_owned)
    };
    let accept = Some("accept-encoding".to_owned());
    assert_eq!(vary(304, &[("etag", "\"a\"")]), accept);
    assert_eq!(vary(206, &[("content-type", "text/css"), ("content-range", "bytes 0-1/9")]), accept);
    assert_eq!(vary(206, &[("content-type", "image/png"), ("content-range", "bytes 0-1/9")]), None);
    assert_eq!(vary(304, &[("cache-control", "no-transform")]), None);
    assert_eq!(vary(404, &[]), None);
}

#[test]
fn the_head_alone_is_that_of_the_compressed_answer() {
    let head = |length: &[(&str, &str)]| {
        let lines = [&[("content-type", "text/css"), ("etag", "\"a\"")][..], length].concat();
        let response = passed("HEAD", "gzip", &lines, Bytes::new());
        ["content-encoding", "vary", "etag", "content-length"].map(|name| header(&response, name).map(str::to_owned))
    };
    let fields = |fields: [Option<&str>; 4]| fields.map(|field| field.map(str::to_owned));
    let vary = Some("accept-encoding");
    assert_eq!(head(&[("content-length", "5000")]), fields([Some("gzip"), vary, Some("W/\"a\""), None]));
    assert_eq!(head(&[("content-length", "50")]), fields([None, None, Some("\"a\""), Some("50")]));
    assert_eq!(head(&[]), fields([None, vary, Some("\"a\""), None]), "nobody knows how long it would be");
}

#[tokio::test]
async fn trailers_come_after_the_last_compressed_byte() {
    for coding in [Coding::Brotli, Coding::Gzip, Coding::Zstd] {
        let limits = OutputLimits {
            memory: 1 << 20,
            file: 0,
            write_timeout: Duration::ZERO,
            directory: std::env::temp_dir(),
            budget: OutputBudget::unlimited(),
        };
        let (writer, reader) = OutputWriter::new(Arc::new(limits));
        writer.write(text()).unwrap();
        writer.finish_with([(header::ETAG, HeaderValue::from_static("\"1\""))].into_iter().collect());
        let request = Request::get("/").header("accept-encoding", coding.name()).body(()).unwrap();
        let Verdict::Pass(note) = compress().before(&request.into_parts().0) else { panic!("it answers by itself") };
        let response = Response::builder().header("content-type", "text/html").body(Body::Output(reader)).unwrap();
        let mut body = compress().after(&note, response).into_body();
        let mut bytes = Vec::new();
        // A server sends nothing of a body that comes after its trailers.
        let trailers = loop {
            assert!(!body.is_end_stream(), "{coding:?}: the trailers are yet to come");
            match body.frame().await.unwrap().unwrap().into_data() {
                Ok(data) => bytes.extend_from_slice(&data),
                Err(frame) => break frame.into_trailers().unwrap(),
            }
        };
        assert_eq!(trailers["etag"], "\"1\"");
        assert!(body.is_end_stream() && body.frame().await.is_none(), "{coding:?}");
        assert!(decoded(coding, &bytes) == text(), "{coding:?}");
    }
}

#[tokio::test]
async fn what_a_script_has_flushed_can_be_read_at_once() {
    for coding in [Coding::Brotli, Coding::Gzip, Coding::Zstd] {
        let mut encoder = Encoder::new(coding, LEVELS).unwrap();
        encoder.write(b"first").unwrap();
        let before = encoder.take().len();
        encoder.flush().unwrap();
        let flushed = encoder.take();
        assert!(flushed.len() + before > 5, "{coding:?}: nothing comes out of a flush");
        encoder.write(b"second").unwrap();
        assert!(!encoder.finish().unwrap().is_empty());
    }
}

#[test]
fn what_is_not_worth_it_or_not_allowed_stays() {
    let html = ("content-type", "text/html; charset=utf-8");
    let cases: &[Case<'_>] = &[
        ("GET", "identity", &[html], 2000),
        ("GET", "", &[html], 2000),
        ("GET", "gzip;q=0, *;q=0", &[html], 2000),
        ("HEAD", "gzip", &[html], 2000),
        ("GET", "gzip", &[html], 1023),
        ("GET", "gzip", &[("content-type", "image/png")], 2000),
        ("GET", "gzip", &[], 2000),
        ("GET", "gzip", &[("content-type", "Text/Event-Stream; charset=utf-8")], 2000),
        ("GET", "gzip", &[html, ("content-encoding", "br")], 2000),
        ("GET", "gzip", &[html, ("content-range", "bytes 0-1/2")], 2000),
        ("GET", "gzip", &[html, ("cache-control", "private, No-Transform")], 2000),
    ];
    for (method, accept, headers, length) in cases {
        let response = passed(method, accept, headers, vec![b'x'; *length].into());
        assert!(matches!(response.body(), Body::Bytes(bytes) if bytes.len() == *length), "{method} {accept} {headers:?}");
    }
    for kind in ["application/json", "image/svg+xml", "application/ld+json", "TEXT/CSS"] {
        let response = passed("GET", "gzip", &[("content-type", kind), ("vary", "Cookie")], text());
        assert_eq!(header(&response, "content-encoding"), Some("gzip"), "{kind}");
        assert_eq!(response.headers().get_all("vary").iter().count(), 2);
    }
    let refused = passed("GET", "identity", &[html, ("vary", "Accept-Encoding, Cookie")], text());
    assert_eq!(refused.headers().get_all("vary").iter().count(), 1, "said already");
    assert_eq!(header(&passed("GET", "identity", &[html], text()), "vary"), Some("accept-encoding"), "for caches");
}
