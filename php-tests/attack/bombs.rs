//! What is small on the way and large when it has arrived. Memory is looked at in `Target::is_well`.

use std::{io::Write as _, thread};

use super::{Target, target};
use crate::harness::{
    Reply, Request,
    frames::{CONTINUATION, END_HEADERS, END_STREAM, Frames, HEADERS, Outcome, fields, frame, get},
    h3::{Outcome as Outcome3, frame as frame3, raw, section, status},
    multipart, reference,
};

fn start() -> Vec<u8> {
    fields(&[(":method", "GET"), (":scheme", "http"), (":authority", "x"), (":path", "/well.php")])
}

#[test]
fn heads_that_grow_when_they_are_read_are_refused_within_their_limit() {
    if reference().is_some() {
        return;
    }
    let target = target(|setup| setup);
    // An entry of 4 KB for the table, and then thousands of times its index: 62 is the first one of the dynamic table.
    let entry = [&[0x40, 1, b'a', 0x7f, 0x81, 0x1e][..], &[b'b'; 4000]].concat();
    let bomb = [&start()[..], &entry, &[0xbe; 12_000]].concat();
    for _ in 0..50 {
        let mut client = Frames::open(target.server.address);
        client.send(frame(HEADERS, END_STREAM | END_HEADERS, 1, &bomb));
        for stream in [3, 5, 7] {
            client.send(frame(HEADERS, END_STREAM | END_HEADERS, stream, &[&start()[..], &[0xbe; 16_000]].concat()));
        }
        let outcome = client.outcome(1);
        assert!(matches!(outcome, Outcome::Answer(431, _) | Outcome::Closed(Some(1 | 9 | 11))), "{outcome:?}");
    }
    // In many frames, each of a size that is allowed, and all of one head.
    let mut client = Frames::open(target.server.address);
    client.send(frame(HEADERS, END_STREAM, 1, &start()));
    let large = fields(&[("a", "b".repeat(16_000))]);
    let is_cut = (0..500).any(|_| !client.send(frame(CONTINUATION, 0, 1, &large)));
    let outcome = client.outcome(1);
    assert!(is_cut || matches!(outcome, Outcome::Answer(431, _) | Outcome::Closed(_)), "{outcome:?}");
    // Of HTTP/3's static table, each byte a field: the longest such field, and one without a value.
    for index in [0xc1_u8, 0xff] {
        let fields = if index == 0xff { [0xff, 0x15].repeat(15_000) } else { vec![index; 30_000] };
        let outcome = raw(&target.office, &[], &frame3(1, &[&section(&[(":method", "GET")])[..], &fields].concat()));
        let Outcome3::Bytes(bytes) = &outcome else { panic!("{outcome:?}") };
        assert_eq!(status(bytes), Some(431));
    }
    // HTTP/1: one too long, too many, and one whose end never comes.
    for head in [format!("A: {}\r\n", "b".repeat(1 << 20)), "A: b\r\n".repeat(100_000), "a".repeat(4 << 20)] {
        let mut connection = target.server.connect();
        connection.write(format!("GET /well.php HTTP/1.1\r\nHost: x\r\n{head}"));
        assert_eq!(connection.read().unwrap().status, 431);
    }
    target.is_well();
}

#[test]
fn bodies_are_not_unpacked() {
    let target = target(|setup| setup);
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    packed.write_all(&vec![0; 50 << 20]).unwrap();
    let packed = packed.finish().unwrap();
    let expected = format!("POST {} ", packed.len());
    for encoding in ["gzip", "gzip, gzip", "deflate", "br", "zstd"] {
        let reply = target.server.post("/echo.php", "text/plain", packed.clone()).header("Content-Encoding", encoding).send();
        assert_eq!(reply.text(), expected, "{encoding}");
        let reply =
            target.server.post("/echo.php", "text/plain", packed.clone()).header("Content-Encoding", encoding).chunked().send();
        assert_eq!(reply.text(), expected, "{encoding}, chunked");
    }
    // As an encoding of the transfer it would have to be.
    let mut connection = target.server.connect();
    connection.write("POST /echo.php HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n");
    assert_eq!(connection.read().unwrap().status, 501);
    target.is_well();
}

const COUNT: &str = "function deep(array $a): int { $n = 0; while (is_array($a) && $a) { $n++; $a = reset($a); } return $n; } \
    echo json_encode([count($_POST), count($_GET), count($_COOKIE), deep($_POST), count($_FILES)]);";

fn counted(target: &Target, request: &Request) -> Vec<u64> {
    let reply: Reply = request.send();
    assert_eq!(reply.status, 200, "{}", target.server.log.text());
    reply.json().as_array().unwrap().iter().map(|count| count.as_u64().unwrap()).collect()
}

#[test]
fn forms_stay_within_php_s_limits() {
    let target = target(|setup| setup.php("count.php", COUNT).option("http.max_request_size=64"));
    let form = "application/x-www-form-urlencoded";
    // Whole numbers that fall into one bucket of any table that PHP makes, and strings that hash the same.
    let numbers: Vec<_> = (0..100_000_u64).map(|number| format!("{}=", number << 20)).collect();
    let strings: Vec<_> = (0..1 << 16)
        .map(|number: u32| (0..16).map(|bit| if number >> bit & 1 == 0 { "Ez" } else { "FY" }).collect::<String>() + "=")
        .collect();
    for (what, names) in [("numbers", numbers), ("strings", strings)] {
        let body = names.join("&");
        let counts = counted(&target, &target.server.post("/count.php", form, body));
        assert!(counts[0] <= 1001, "{what}: {counts:?}");
        let query = names[..700].join("&");
        assert!(counted(&target, &target.server.get(&format!("/count.php?{}", &query[..query.len().min(15_000)])))[1] <= 1001);
        let cookies = names[..700].join("; ");
        assert!(
            counted(&target, &target.server.get("/count.php").header("Cookie", &cookies[..cookies.len().min(15_000)]))[2] <= 1001
        );
    }
    for depth in [10, 63, 64, 65, 100_000] {
        let counts = counted(&target, &target.server.post("/count.php", form, format!("a{}=1", "[a]".repeat(depth))));
        assert_eq!(counts[3], if depth <= 64 { depth as u64 + 1 } else { 0 }, "{depth}");
    }
    for body in [
        "&".repeat(1 << 20),
        "=".repeat(1 << 20),
        "a".repeat(1 << 20),
        "a[".repeat(1 << 19),
        "[]=&".repeat(1 << 18),
        "%00=%00&".repeat(1 << 17),
    ] {
        let counts = counted(&target, &target.server.post("/count.php", form, body));
        assert!(counts[0] <= 1001, "{counts:?}");
    }
    target.is_well();
}

#[test]
fn multipart_forms_stay_within_php_s_limits() {
    let target = target(|setup| setup.php("count.php", COUNT).option("http.max_request_size=64").ini("post_max_size", "64M"));
    let names: Vec<_> = (0..30_000).map(|number| format!("n{number}")).collect();
    let parts = |file: &'static str| names.iter().map(|name| (name.as_str(), file, b"1".as_slice())).collect::<Vec<_>>();
    let count =
        |(content_type, body): (String, Vec<u8>)| counted(&target, &target.server.post("/count.php", &content_type, body));
    let fields = count(multipart(&parts("")));
    assert!(fields[0] <= 1001, "{fields:?}");
    let files = count(multipart(&parts("x.txt")));
    assert!(files[4] <= 20, "{files:?}");
    let part = |head: &str, body: &str| format!("--b\r\n{head}\r\n\r\n{body}\r\n");
    let kind = "multipart/form-data; boundary=b".to_owned();
    for body in [
        // Heads of parts: long, many, and without end.
        part(&format!("Content-Disposition: form-data; name=\"{}\"", "n".repeat(1 << 20)), "1"),
        part(&format!("Content-Disposition: form-data; name=\"a\"\r\n{}", "A: b\r\n".repeat(100_000)), "1"),
        format!("--b\r\nContent-Disposition: form-data; name=\"{}", "n".repeat(4 << 20)),
        format!("--b\r\n{}", "A: b\r\n c\r\n".repeat(100_000)),
        part(&format!("Content-Disposition: form-data; name=\"a{}\"", "[a]".repeat(100_000)), "1"),
        part(&format!("Content-Disposition: form-data; name=\"a\"; filename=\"{}\"", "../".repeat(100_000)), "1"),
        part(&format!("Content-Disposition: {}", "form-data; ".repeat(100_000)), "1"),
        part("Content-Disposition: form-data; name=\"a\"; filename=\"x\0y\"", "1").repeat(5000),
        // Lines that look like the end.
        format!("--b\r\n\r\n{}", "\r\n--".repeat(1 << 20)),
        "--b\r\n".repeat(200_000),
        "--b--\r\n".repeat(200_000),
        String::new(),
    ] {
        let counts = count((kind.clone(), body.into_bytes()));
        assert!(counts[0] <= 1001 && counts[4] <= 20, "{counts:?}");
    }
    for boundary in ["b".repeat(8000), "\"".to_owned(), "b;b".into(), "\"b".into(), "\r".repeat(0), "b,b".into(), "\u{e9}".into()]
    {
        let counts = count((
            format!("multipart/form-data; boundary={boundary}"),
            part("Content-Disposition: form-data; name=\"a\"", "1").into_bytes(),
        ));
        assert!(counts[0] <= 1, "{boundary}: {counts:?}");
    }
    target.is_well();
}

/// Lists that a header holds as many of as fit, for whoever takes them apart.
#[test]
fn long_lists_in_headers_cost_little() {
    if reference().is_some() {
        return;
    }
    let target = target(|setup| {
        setup
            .option("http.middleware=compress,proxy_ip_parser")
            .option("http.trusted_subnets=127.0.0.0/8")
            .file("file.txt", "0123456789".repeat(1000))
    });
    thread::scope(|scope| {
        for (name, item) in [
            ("Range", "0-1,"),
            ("Range", "-1,"),
            ("If-None-Match", "W/\"a\","),
            ("If-Match", "\"a\","),
            ("Accept-Encoding", "gzip;q=0.1,"),
            ("X-Forwarded-For", "127.0.0.1,"),
            ("Forwarded", "for=127.0.0.1,"),
            ("Cookie", "a=b;"),
            ("Accept-Language", "a;q=0.1,"),
            ("If-Modified-Since", "Mon, "),
            ("Authorization", "Basic "),
        ] {
            let target = &target;
            scope.spawn(move || {
                let list = format!("{}{}", if name == "Range" { "bytes=" } else { "" }, item.repeat(30_000 / item.len()));
                for path in ["/well.php", "/file.txt"] {
                    let mut connection = target.server.connect();
                    for _ in 0..20 {
                        let reply = connection.send(&target.server.get(path).header(name, &list)).unwrap();
                        assert!(matches!(reply.status, 200 | 206 | 304 | 400 | 412 | 416), "{name} {path}: {}", reply.status);
                        assert!(reply.body.len() <= 100_000, "{name} {path}: {}", reply.body.len());
                    }
                }
            });
        }
    });
    let mut client = Frames::open(target.server.address);
    client.send(get(1, "/well.php"));
    assert_eq!(client.outcome(1), Outcome::Answer(200, b"well".to_vec()));
    drop(client);
    target.is_well();
}
