//! Clients, one turn at a time. Each knows what it must be answered.

use std::{io, thread, time::Instant};

use super::{
    random::Numbers,
    trial::{Outcome, Trial},
};
use crate::harness::{Connection, Fcgi, H2, Reply, Request, multipart, params};

/// One turn of a client: a connection from its beginning to its end.
pub(super) type Client = fn(&Trial, &mut Numbers);

pub(super) const ALL: &[Client] =
    &[kept_alive, kept_alive, one_shot, worker, worker, uploader, streamer, downloader, http2, fastcgi];

/// What an answer is worth, if `expected` is the right one.
pub(super) fn outcome(reply: io::Result<Reply>, expected: &[u8]) -> Outcome {
    match reply {
        Ok(reply) if reply.status == 200 && reply.body == expected => Outcome::Right,
        Ok(reply) if reply.status == 503 && reply.header("retry-after").is_some() => Outcome::Busy,
        Ok(reply) => {
            let (body, expected) = (&reply.body[..reply.body.len().min(200)], &expected[..expected.len().min(200)]);
            Outcome::Wrong(format!(
                "{}: {:?}, not {:?}",
                reply.status,
                body.escape_ascii().to_string(),
                expected.escape_ascii().to_string()
            ))
        }
        Err(error) => Outcome::Lost(error.to_string()),
    }
}

/// What PHP's crc32 says of them.
fn sum(bytes: &[u8]) -> u32 {
    crc32fast::hash(bytes)
}

/// Requests on one connection, with pauses between them.
fn kept_alive(trial: &Trial, numbers: &mut Numbers) {
    let most = if numbers.below(10) == 0 { 2000 } else { 30 };
    converse(trial, numbers, most, "keep-alive", |numbers| {
        let (tag, length) = (numbers.next(), numbers.below(2) * numbers.below(40_000));
        let body = numbers.bytes(length);
        let expected = format!("{tag} {} {}", body.len(), sum(&body));
        let request = Request::new(trial.server.address, "POST", &format!("/echo.php?tag={tag}")).body("text/plain", body);
        (if numbers.below(2) == 0 { request.chunked() } else { request }, expected.into_bytes())
    });
}

fn worker(trial: &Trial, numbers: &mut Numbers) {
    converse(trial, numbers, 30, "worker", |numbers| {
        let (tag, exits) = (numbers.next(), numbers.below(10) == 0);
        let body = numbers.bytes(100);
        let (action, expected) = if exits { ("&do=exit", tag.to_string()) } else { ("", format!("{tag} {}", sum(&body))) };
        let request = Request::new(trial.server.address, "POST", &format!("/?tag={tag}{action}"));
        (request.header("Host", "worker.test").body("text/plain", body), expected.into_bytes())
    });
}

fn converse(
    trial: &Trial,
    numbers: &mut Numbers,
    longest_pause: usize,
    kind: &'static str,
    ask: impl Fn(&mut Numbers) -> (Request, Vec<u8>),
) {
    let mut good = Instant::now();
    let mut connection = Connection::open(trial.server.address).expect("the sockets are the supervisor's");
    for _ in 0..numbers.below(50) {
        let (request, expected) = ask(numbers);
        let begun = Instant::now();
        let reply = connection.send(&request);
        let goes_on = reply.as_ref().is_ok_and(|reply| {
            reply.status == 200 && !reply.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"))
        });
        trial.note(kind, good, outcome(reply, &expected));
        if !goes_on || !trial.goes_on() {
            return;
        }
        good = begun;
        trial.pause(numbers.between(0, longest_pause));
    }
}

fn one_shot(trial: &Trial, numbers: &mut Numbers) {
    let (tag, begun) = (numbers.next(), Instant::now());
    let expected = format!("{tag} 0 {}", sum(b""));
    trial.note("one-shot", begun, outcome(trial.server.get(&format!("/echo.php?tag={tag}")).try_send(), expected.as_bytes()));
    trial.pause(numbers.between(0, 20));
}

fn uploader(trial: &Trial, numbers: &mut Numbers) {
    let (tag, length) = (numbers.next().to_string(), numbers.below(300_000));
    let file = numbers.bytes(length);
    let (content_type, body) = multipart(&[("tag", "", tag.as_bytes()), ("file", "x.bin", &file)]);
    let begun = Instant::now();
    let reply = trial.server.post("/upload.php", &content_type, body).try_send();
    trial.note("upload", begun, outcome(reply, format!("{} {} {tag}", file.len(), sum(&file)).as_bytes()));
    trial.pause(numbers.between(0, 50));
}

fn streamer(trial: &Trial, numbers: &mut Numbers) {
    let begun = Instant::now();
    let expected: Vec<u8> = (0..50).flat_map(|part| [b'a' + part % 26; 4000]).collect();
    trial.note("stream", begun, outcome(trial.server.get("/stream.php").try_send(), &expected));
    trial.pause(numbers.between(0, 50));
}

fn downloader(trial: &Trial, numbers: &mut Numbers) {
    let begun = Instant::now();
    let expected = b"0123456789abcdef".repeat(20_000);
    trial.note("file", begun, outcome(trial.server.get("/file.txt").try_send(), &expected));
    trial.pause(numbers.between(0, 50));
}

fn http2(trial: &Trial, numbers: &mut Numbers) {
    let mut good = Instant::now();
    let mut connection = match H2::open(trial.server.address) {
        Ok(connection) => connection,
        Err(error) => return trial.note("h2", good, Outcome::Lost(format!("handshake: {error}"))),
    };
    for _ in 0..numbers.below(50) {
        if !trial.goes_on() || !connection.is_open() {
            return;
        }
        let tag = numbers.next();
        let body = numbers.bytes(100);
        let expected = format!("{tag} 100 {}", sum(&body));
        let begun = Instant::now();
        let outcome = match connection.send("POST", &format!("/echo.php?tag={tag}"), body) {
            Ok((200, body)) if body == expected.as_bytes() => Outcome::Right,
            Ok((503, _)) => Outcome::Busy,
            Ok((status, body)) => Outcome::Wrong(format!("{status}: {:?}, not {expected:?}", String::from_utf8_lossy(&body))),
            Err(error) => Outcome::Lost(format!("{error:?}")),
        };
        let is_right = matches!(outcome, Outcome::Right);
        trial.note("h2", good, outcome);
        if !is_right {
            return;
        }
        good = begun;
        connection.idle(numbers.between(0, 30));
    }
}

fn fastcgi(trial: &Trial, numbers: &mut Numbers) {
    let mut good = Instant::now();
    let Ok(mut connection) = Fcgi::connect(trial.server.fcgi.expect("it was asked for")) else {
        return trial.note("FastCGI", good, Outcome::Wrong("refused".into()));
    };
    let script = trial.server.root().join("echo.php");
    let mut is_reused = false;
    for _ in 0..numbers.below(30) {
        let (tag, body) = (numbers.next(), numbers.bytes(100));
        let query = format!("tag={tag}");
        let pairs = [
            ("REQUEST_METHOD", "POST"),
            ("SCRIPT_FILENAME", script.to_str().unwrap()),
            ("QUERY_STRING", query.as_str()),
            ("CONTENT_LENGTH", "100"),
        ];
        let begun = Instant::now();
        let outcome = match connection.request(true, &params(&pairs), &body) {
            Ok(reply) if reply.body() == format!("{tag} 100 {}", sum(&body)) => Outcome::Right,
            Ok(reply) if reply.head().starts_with("Status: 503") => Outcome::Busy,
            Ok(reply) => Outcome::Wrong(reply.text()),
            Err(error) => Outcome::Lost(error.to_string()),
        };
        let is_right = matches!(outcome, Outcome::Right);
        // FastCGI has no word for leaving: who keeps a connection looks whether it is still there, and may look too early.
        let outcome = match outcome {
            Outcome::Lost(_) if is_reused => Outcome::Left,
            outcome => outcome,
        };
        trial.note("FastCGI", good, outcome);
        is_reused = true;
        thread::sleep(numbers.between(5, 30));
        if !is_right || !trial.goes_on() || connection.is_closed() {
            return;
        }
        good = begun;
    }
}
