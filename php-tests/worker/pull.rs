//! `RR\Worker`, `RR\Request` and `RR\Response` themselves.

use std::time::Duration;

use serde_json::{Value, json};

use super::{crowd, elsewhere, script};
use crate::{
    edge::has_curl,
    harness::{Office, PATIENCE, Setup, h3, multipart, wait_until},
};

/// A worker on one thread that answers each `$request` by `code`, which has `$worker` too.
fn pulls(code: &str) -> Setup {
    script(&format!("$worker = new RR\\Worker; $n = 0; while ($request = $worker->waitRequest()) {{ $n++; {code} }}")).threads(1)
}

#[test]
fn a_request_says_what_it_is() {
    if elsewhere() {
        return;
    }
    let code = "$worker->respond(json_encode(['method' => $request->method(), 'uri' => $request->uri(), 'path' => $request->path(), 'protocol' => $request->protocol(), 'remote' => $request->remoteAddress(), 'headers' => $request->headers(), 'own' => $request->header('x-OWN'), 'cookie' => $request->header('Cookie'), 'none' => $request->header('x-none'), 'cookies' => $request->cookies(), 'query' => $request->query(), 'parsed' => $request->parsedBody(), 'uploads' => $request->uploads(), 'body' => $request->body(), 'server' => $request->server() === $_SERVER, 'globals' => [$_GET, $_POST, $_COOKIE], 'attributes' => $request->attributes]));";
    let server = pulls(code).start();
    let request = server.request("POST", "/a%20b/c?d[]=1&e=%20").form(&[("f", "g")]).header("X-Own", "1").header("X-Own", "2");
    let seen = request.header("Cookie", "a=1").header("Cookie", "b=2").header("X_Hidden", "1").send().json();
    let address = server.address;
    assert_eq!((&seen["method"], &seen["path"], &seen["protocol"]), (&json!("POST"), &json!("/a%20b/c"), &json!("HTTP/1.1")));
    assert_eq!((&seen["uri"], &seen["remote"]), (&json!(format!("http://{address}/a%20b/c?d[]=1&e=%20")), &json!("127.0.0.1")));
    let headers = json!({"Host": [address.to_string()], "Content-Type": ["application/x-www-form-urlencoded"], "X-Own": ["1", "2"], "Cookie": ["a=1", "b=2"], "Connection": ["close"], "Content-Length": ["3"]});
    let mut seen_headers = seen["headers"].clone();
    let shown = seen_headers.as_object_mut().unwrap();
    shown.remove("X_Hidden");
    assert_eq!(seen_headers, headers);
    assert_eq!((&seen["own"], &seen["cookie"], &seen["none"]), (&json!("1, 2"), &json!("a=1; b=2"), &Value::Null));
    assert_eq!((&seen["cookies"], &seen["query"]), (&json!({"a": "1", "b": "2"}), &json!({"d": ["1"], "e": " "})));
    assert_eq!((&seen["parsed"], &seen["body"], &seen["uploads"]), (&json!({"f": "g"}), &json!("f=g"), &json!([])));
    assert_eq!((&seen["server"], &seen["attributes"]), (&json!(true), &json!([])));
    assert_eq!(seen["globals"], json!([seen["query"], seen["parsed"], seen["cookies"]]));
}

#[test]
fn requests_of_http_1_0_and_without_a_host_have_a_uri_too() {
    if elsewhere() {
        return;
    }
    let server = pulls("$worker->respond($request->protocol() . ' ' . $request->uri());").start();
    let reply = server.raw("GET /x?y HTTP/1.0\r\n\r\n");
    assert!(reply.ends_with(&format!("HTTP/1.0 http://{}/x?y", server.address)), "{reply}");
    let reply = server.raw("OPTIONS * HTTP/1.1\r\nHost: h.example\r\nConnection: close\r\n\r\n");
    assert!(reply.contains("http://h.example") || reply.starts_with("HTTP/1.1 4"), "{reply}");
}

#[test]
fn bodies_are_read_as_text_or_as_a_stream() {
    if elsewhere() {
        return;
    }
    let code = "if ($request->path() === '/stream') { $a = $request->bodyStream(); $start = fread($a, 5); $b = $request->bodyStream(); $worker->respond($start . '|' . stream_get_contents($b) . '|' . stream_get_contents($a)); } else { $worker->respond($request->body() . '|' . $request->body() . '|' . file_get_contents('php://input')); }";
    let server = pulls(code).start();
    assert_eq!(server.post("/stream", "text/plain", "hello world").send().text(), "hello|hello world| world");
    assert_eq!(server.post("/text", "text/plain", "abc").send().text(), "abc|abc|abc");
    assert_eq!(server.text("/text"), "||");
    let big = vec![b'x'; 6 << 20];
    assert_eq!(server.post("/stream", "text/plain", big.clone()).send().body.len(), big.len() + 7 + big.len() - 5);
}

#[test]
fn uploads_have_the_shape_of_files() {
    if elsewhere() {
        return;
    }
    let server = pulls("$worker->respond(json_encode([$request->uploads() === $_FILES, $request->uploads()['a']['name'], file_get_contents($request->uploads()['a']['tmp_name']), $request->parsedBody(), $request->body()]));").start();
    let (kind, body) = multipart(&[("b", "", b"2"), ("a", "a.txt", b"content")]);
    assert_eq!(server.post("/", &kind, body).send().json(), json!([true, "a.txt", "content", {"b": "2"}, ""]));
}

#[test]
fn what_was_read_stays_and_what_was_not_is_gone() {
    if elsewhere() {
        return;
    }
    let code = "$first ??= $request; $n === 1 and [$request->method(), $request->body(), $request->attributes['mine'] = 'kept']; $said = []; foreach (['method', 'body', 'headers', 'server', 'bodyStream', 'uri'] as $part) { try { $said[] = $n === 1 ? '' : $first->$part(); } catch (Error $error) { $said[] = $error->getMessage(); } } $worker->respond(json_encode([$said, $first->attributes]));";
    let server = pulls(code).start();
    server.post("/one", "text/plain", "first").send();
    let said = server.post("/two", "text/plain", "second").send().json();
    assert_eq!((&said[0][0], &said[0][1], &said[1]), (&json!("POST"), &json!("first"), &json!({"mine": "kept"})));
    for part in 2..6 {
        assert!(said[0][part].as_str().unwrap().contains("over"), "{said}");
    }
}

#[test]
fn a_response_has_status_reason_and_fields() {
    if elsewhere() {
        return;
    }
    let code = "$response = new RR\\Response('body', 404, ['X-One' => 1, 'X-Many' => ['a', 2.5], 'x-lower' => 'l', 'Connection' => 'close', 'Transfer-Encoding' => 'chunked', 'Set-Cookie' => ['a=1', 'b=2'], 'Content-Type' => 'text/plain']); $response->reason = 'Gone Fishing'; header('X-One: by header()'); header('X-Other: kept'); setcookie('c', '3'); $worker->respond($response);";
    let server = pulls(code).start();
    let mut connection = server.connect();
    for _ in 0..2 {
        let reply = connection.send(&server.get("/")).unwrap();
        assert_eq!((reply.status, reply.reason.as_str(), reply.text().as_str()), (404, "Gone Fishing", "body"));
        assert_eq!((reply.all("x-one").collect::<Vec<_>>(), reply.header("x-other")), (vec!["1"], Some("kept")));
        assert_eq!(reply.all("x-many").collect::<Vec<_>>(), ["a", "2.5"]);
        assert_eq!(reply.all("set-cookie").collect::<Vec<_>>(), ["c=3", "a=1", "b=2"]);
        assert_eq!((reply.header("x-lower"), reply.header("content-type")), (Some("l"), Some("text/plain")));
        assert_eq!((reply.header("connection"), reply.header("content-length")), (None, Some("4")));
    }
}

#[test]
fn all_kinds_of_bodies_are_sent() {
    if elsewhere() {
        return;
    }
    let code = r#"
        $file = __DIR__ . '/data.txt';
        $generate = function () { yield 'a'; yield 2; yield new class { function __toString() { return 'c'; } }; };
        [$body, $type] = match ($request->path()) {
            '/text' => ['text', 0], '/null' => [null, 0], '/number' => [42, 0],
            '/stringable' => [new class { function __toString() { return 'stringable'; } }, 0],
            '/list' => [['a', 'b', 3], 0],
            '/file' => [fopen($file, 'r'), 0],
            '/rest' => [(function () use ($file) { $f = fopen($file, 'r'); fread($f, 3); return $f; })(), 0],
            '/temp' => [(function () { $f = fopen('php://temp', 'w+'); fwrite($f, 'temporary'); rewind($f); return $f; })(), 0],
            '/filtered' => [(function () use ($file) { $f = fopen($file, 'r'); stream_filter_append($f, 'convert.base64-encode'); return $f; })(), 0],
            '/pipe' => [popen('echo piped', 'r'), 0],
            '/input' => [fopen('php://input', 'r'), 0],
            '/generator' => [$generate(), 0], '/iterator' => [new ArrayIterator(['i', 'j']), 0],
            '/aggregate' => [new ArrayObject(['k', 'l']), 0],
            '/empty' => [(function () { if (false) yield; })(), 0],
        };
        $response = new RR\Response($body);
        $worker->respond($response);
        if ($body instanceof Traversable && $response->body !== null) { throw new Exception('kept'); }
    "#;
    let server = pulls(code).file("data.txt", "0123456789").start();
    for (path, text, length) in [
        ("/text", "text", Some("4")),
        ("/null", "", Some("0")),
        ("/number", "42", Some("2")),
        ("/stringable", "stringable", Some("10")),
        ("/list", "ab3", Some("3")),
        ("/file", "0123456789", Some("10")),
        ("/rest", "3456789", Some("7")),
        ("/temp", "temporary", Some("9")),
        ("/filtered", "MDEyMzQ1Njc4OQ==", None),
        ("/pipe", "piped\n", None),
        ("/generator", "a2c", None),
        ("/iterator", "ij", None),
        ("/aggregate", "kl", None),
        ("/empty", "", None),
    ] {
        let reply = server.get(path).send();
        assert_eq!((reply.status, reply.text().as_str()), (200, text), "{path}: {}", server.log.text());
        if length.is_some() {
            assert_eq!(reply.header("content-length"), length, "{path}");
        }
        let head = server.request("HEAD", path).send();
        assert_eq!((head.status, head.body.len()), (200, 0), "{path}");
    }
    let body = vec![b'z'; 3_000_000];
    assert_eq!(server.post("/input", "text/plain", body.clone()).send().body, body);
}

#[test]
fn what_is_no_answer_is_refused_and_another_may_follow() {
    if elsewhere() {
        return;
    }
    let code = r#"
        $bad = match ($request->path()) {
            '/status' => new RR\Response('', 99), '/early' => new RR\Response('', 103),
            '/break' => new RR\Response('', 200, ['X-A' => "1\r\nX-B: 2"]), '/name' => new RR\Response('', 200, ['X A' => '1']),
            '/list' => new RR\Response('', 200, ['X-A: 1']), '/value' => new RR\Response('', 200, ['X-A' => true]),
            '/bool' => new RR\Response(false), '/object' => new RR\Response(new stdClass),
            '/closed' => new RR\Response((function () { $f = fopen(__FILE__, 'r'); fclose($f); return $f; })()),
            '/generator' => new RR\Response((function () { throw new LogicException('before the first value'); yield 1; })()),
            '/convert' => new RR\Response('', 200, ['X-A' => new class { function __toString() { throw new LogicException('no text'); } }]),
        };
        try { $worker->respond($bad); $worker->respond('sent'); } catch (Throwable $error) { $worker->respond(new RR\Response($error::class . ': ' . $error->getMessage(), 422)); }
    "#;
    let server = pulls(code).start();
    for (path, said) in [
        ("/status", "ValueError: RR\\Response::$status must be from 200 to 999, 99 given"),
        ("/early", "ValueError: RR\\Response::$status must be from 200 to 999, 103 given"),
        ("/break", "ValueError: header field X-A must not contain a line break or NUL"),
        ("/name", "ValueError: header fields must have their names as keys, \"X A\" is none"),
        ("/list", "ValueError: header fields must have their names as keys, \"a number\" is none"),
        ("/value", "TypeError: header field X-A must be a string or a list of strings, true given"),
        ("/bool", "TypeError: RR\\Response::$body must be a string, a stream or iterable, false given"),
        ("/object", "TypeError: RR\\Response::$body must be a string, a stream or iterable, stdClass given"),
        ("/closed", "TypeError: RR\\Response::$body must be a string, a stream or iterable, resource given"),
        ("/generator", "LogicException: before the first value"),
        ("/convert", "LogicException: no text"),
    ] {
        let reply = server.get(path).send();
        assert_eq!((reply.status, reply.text().as_str()), (422, said), "{path}");
    }
}

#[test]
fn a_request_is_answered_once() {
    if elsewhere() {
        return;
    }
    let code = "$worker->respond('first'); try { $worker->respond('second'); } catch (Error $error) { echo $error->getMessage(), \"\\n\"; } try { $worker->error('third'); } catch (Error $error) { echo $error->getMessage(), \"\\n\"; } echo header('X-Late: 1') ?? '', headers_sent() ? 'sent' : 'not sent', \"\\n\";";
    let server = pulls(code).start();
    assert_eq!(server.text("/"), "first");
    for line in [
        "RR\\Worker::respond(): the request has been answered",
        "RR\\Worker::error(): the request has been answered",
        "php::stdout: sent",
        "headers already sent",
    ] {
        assert!(server.logs(line), "{line}: {}", server.log.text());
    }
    let none = script("$worker = new RR\\Worker; try { $worker->respond('nobody'); } catch (Error $error) { $said = $error->getMessage(); } while ($worker->waitRequest()) { $worker->respond($said); }").start();
    assert_eq!(none.text("/"), "RR\\Worker::respond() has no request to answer");
}

#[test]
fn a_request_without_an_answer_is_a_500_and_a_line_in_the_log() {
    if elsewhere() {
        return;
    }
    let server = pulls("if ($request->path() === '/answered') { $worker->respond('yes'); }").start();
    assert_eq!(server.get("/forgotten?a=b").send().status, 500);
    assert!(server.logs("GET /forgotten?a=b: the worker script left it without a complete answer"), "{}", server.log.text());
    assert_eq!(server.text("/answered"), "yes");
    let other = pulls("").option("http.internal_error_code=502").start();
    assert_eq!(other.get("/").send().status, 502);
}

#[test]
fn errors_are_logged_and_shown_only_in_development() {
    if elsewhere() {
        return;
    }
    for (shown, code) in [
        (false, "$worker->error(new RuntimeException('my secret'));"),
        (false, "$worker->error('my secret');"),
        (true, "$worker->error(new RuntimeException('my secret'));"),
    ] {
        let server = pulls(code).ini("display_errors", if shown { "1" } else { "0" }).start();
        for _ in 0..2 {
            let reply = server.get("/").send();
            assert_eq!((reply.status, reply.text().contains("my secret")), (500, shown), "{code}");
        }
        assert!(server.logs("my secret"), "{code}");
    }
}

#[test]
fn what_is_printed_goes_to_the_log_alone() {
    if elsewhere() {
        return;
    }
    let server = pulls(
        "echo \"printed before\\n\"; flush(); $worker->respond('answer'); echo \"printed after\\n\"; fastcgi_finish_request();",
    )
    .start();
    for _ in 0..3 {
        assert_eq!(server.text("/"), "answer");
    }
    for line in ["printed before", "printed after"] {
        assert!(server.logs(line), "{line}: {}", server.log.text());
    }
}

#[test]
fn a_client_does_not_wait_for_what_follows_its_answer() {
    if elsewhere() {
        return;
    }
    let server = pulls("$worker->respond('now'); usleep(700000); touch($request->query()['to']);").start();
    let to = server.dir().join("after");
    let begun = std::time::Instant::now();
    assert_eq!(server.text(&format!("/?to={}", to.display())), "now");
    assert!(begun.elapsed() < Duration::from_millis(600), "{:?}", begun.elapsed());
    assert!(wait_until(PATIENCE, || to.exists()));
}

#[test]
fn a_generator_streams_value_by_value() {
    if elsewhere() {
        return;
    }
    let code = "$go = $request->query()['go']; $worker->respond(new RR\\Response((function () use ($go) { yield 'one'; for ($i = 0; $i < 4000 && !file_exists($go); $i++) { clearstatcache(); usleep(5000); } yield 'two'; })(), headers: ['Content-Type' => 'text/plain']));";
    let server = pulls(code).start();
    let go = server.dir().join("go");
    let mut connection = server.get(&format!("/?go={}", go.display())).fire();
    connection.read_head().unwrap();
    assert_eq!(connection.read_chunk().unwrap().unwrap(), b"one");
    std::fs::write(&go, "").unwrap();
    assert_eq!(connection.read_chunk().unwrap().unwrap(), b"two");
    assert_eq!(connection.read_chunk().unwrap(), None);
}

#[test]
fn a_generator_that_fails_breaks_its_answer_off() {
    if elsewhere() {
        return;
    }
    let code = "try { $worker->respond(new RR\\Response((function () { yield 'some'; throw new LogicException('in the middle'); })())); } catch (LogicException $error) { try { $worker->respond('another'); } catch (Error $second) { echo $second->getMessage(), \"\\n\"; } $worker->error($error); }";
    let server = pulls(code).start();
    for _ in 0..2 {
        let text = server.raw("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
        assert!(text.contains("some") && !text.contains("\r\n0\r\n"), "no end that says all is there: {text}");
    }
    assert!(server.logs("in the middle") && server.logs("a part of another answer is out"), "{}", server.log.text());
}

#[test]
fn a_client_that_leaves_lets_the_generator_go() {
    if elsewhere() {
        return;
    }
    let code = "if ($request->path() === '/') { $generator = (function () { try { for ($i = 0; $i < 4000; $i++) { yield str_repeat('x', 1000); usleep(2000); } } finally { $GLOBALS['said'] = 'finally'; } })(); $response = new RR\\Response($generator); unset($generator); $GLOBALS['whole'] = $worker->respond($response); $GLOBALS['aborted'] = connection_aborted(); } else { $worker->respond(json_encode([$said ?? null, $whole, $aborted, connection_aborted()])); }";
    let server = pulls(code).start();
    drop(server.get("/").fire().read_head().unwrap());
    assert_eq!(server.get("/said").send().json(), json!(["finally", false, 1, 0]));
}

#[test]
fn what_makes_an_answer_cannot_ask_for_the_next_request() {
    if elsewhere() {
        return;
    }
    let code = "$worker->respond(new RR\\Response((function () use ($worker) { yield 'a'; foreach ([fn () => $worker->waitRequest(), fn () => rr_handle_request(fn () => 1), fn () => $worker->respond('x'), fn () => $worker->error('x')] as $call) { try { $call(); yield 'called'; } catch (Error $error) { yield ' ' . $error->getMessage(); } } })()));";
    let server = pulls(code).start();
    for _ in 0..2 {
        let text = server.text("/");
        assert_eq!(text.matches("was called while a request is being handled").count(), 2, "{text}");
        assert_eq!(text.matches("the request is being answered").count(), 2, "{text}");
    }
}

#[test]
fn exit_and_fatal_errors_in_a_generator_break_the_answer_off() {
    if elsewhere() {
        return;
    }
    for end in [
        "exit",
        "eval('class Twice {} class Twice {}')",
        "(function () { ini_set('memory_limit', '8M'); return str_repeat('x', 1 << 25); })()",
    ] {
        let server = pulls(&format!(
            "$worker->respond($request->path() === '/' ? new RR\\Response((function () {{ yield 'some'; {end}; }})()) : 'fine');"
        ))
        .start();
        for _ in 0..2 {
            let text = server.raw("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
            assert!(text.contains("some") && !text.contains("\r\n0\r\n"), "{end}: {text}");
            assert_eq!(server.text("/next"), "fine", "{end}");
        }
    }
}

#[test]
fn trailers_follow_where_the_client_can_have_them() {
    if elsewhere() {
        return;
    }
    let code = "$response = new RR\\Response($request->path() === '/text' ? 'text' : (function () use (&$response) { yield 'body'; $response->trailers['X-Sum'] = md5('body'); })()); $response->trailers = ['X-Sum' => 'first']; $worker->respond($response);";
    let server = pulls(code).start();
    let text = server.raw("GET / HTTP/1.1\r\nHost: h\r\nTE: trailers\r\nConnection: close, TE\r\n\r\n");
    assert!(
        text.to_lowercase().contains("trailer: x-sum") && text.ends_with("0\r\nx-sum: 841a2d689ad86bd1611447453c22c6fc\r\n\r\n"),
        "{text}"
    );
    let text = server.raw("GET /text HTTP/1.1\r\nHost: h\r\nTE: trailers\r\nConnection: close, TE\r\n\r\n");
    assert!(text.ends_with("4\r\ntext\r\n0\r\nx-sum: first\r\n\r\n"), "{text}");
    let without = server.raw("GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    assert!(without.ends_with("4\r\nbody\r\n0\r\n\r\n"), "{without}");
    assert_eq!(server.text("/"), "body");
}

#[test]
fn trailers_follow_over_http2_and_3() {
    if elsewhere() || !has_curl() {
        return;
    }
    let office = Office::new();
    let code = "$response = new RR\\Response((function () { yield 'body'; })()); $response->trailers = ['X-Sum' => '7']; $worker->respond($response);";
    let _server = office.over_http3(pulls(code)).start();
    let answer = office.fetch("/", &["--http2", "-H", "TE: trailers"]).unwrap();
    assert!(answer.body.starts_with("body") && answer.body.contains("x-sum: 7"), "curl shows them after the body: {answer:?}");
    let mut request = h3::request("GET", "/");
    request.headers_mut().insert("te", "trailers".parse().unwrap());
    let answer = h3::Http3::connect(&office).fetch(request, b"");
    assert_eq!(answer.text(), "body");
    assert_eq!(answer.trailers.unwrap().get("x-sum").unwrap(), "7");
}

#[test]
fn early_hints_may_be_sent_several_times() {
    if elsewhere() {
        return;
    }
    let server = pulls("$sent = [$worker->earlyHints(['Link' => '</a.css>; rel=preload']), $worker->earlyHints(['Link' => ['</b.css>; rel=preload', '</c.css>; rel=preload']])]; $worker->respond(json_encode($sent)); try { $worker->earlyHints([]); } catch (Error $error) { echo $error->getMessage(), \"\\n\"; }").start();
    let reply = server.get("/").send();
    assert_eq!((reply.text().as_str(), reply.interim.len(), reply.header("link")), ("[true,true]", 2, None));
    assert_eq!(reply.interim[1].all("link").count(), 2);
    assert!(server.logs("RR\\Worker::earlyHints(): the request has been answered"));
    let old = server.raw("GET / HTTP/1.0\r\n\r\n");
    assert!(old.ends_with("[false,false]"), "{old}");
}

#[test]
fn classes_cannot_be_made_copied_or_stored_where_that_makes_no_sense() {
    if elsewhere() {
        return;
    }
    let code = "$said = []; foreach ([fn () => new RR\\Request, fn () => clone $request, fn () => serialize($request), fn () => serialize($worker), fn () => (new ReflectionClass('RR\\Request'))->newInstanceWithoutConstructor(), fn () => $request->other = 1, function () { $bad = new RR\\Response; $bad->status = 'x'; }] as $try) { try { $try(); $said[] = 'done'; } catch (Throwable $error) { $said[] = $error->getMessage(); } } $copy = clone new RR\\Response('copied', 201); $said[] = $copy->body . $copy->status; $worker->respond(json_encode($said));";
    let said = pulls(code).start().get("/").send().json();
    let said: Vec<_> = said.as_array().unwrap().iter().map(|line| line.as_str().unwrap().to_owned()).collect();
    assert!(said[..7].iter().all(|line| line != "done"), "{said:#?}");
    assert!(said[0].contains("private RR\\Request::__construct") && said[1].contains("uncloneable"), "{said:#?}");
    assert_eq!(said[7], "copied201");
}

#[test]
fn a_response_may_be_sent_again_and_to_another() {
    if elsewhere() {
        return;
    }
    let server =
        pulls("$kept ??= new RR\\Response('same', 200, ['X-N' => 'n']); $kept->headers['X-N'] = $n; $worker->respond($kept);")
            .start();
    for number in 1..5 {
        let reply = server.get("/").send();
        assert_eq!((reply.text(), reply.header("x-n")), ("same".into(), Some(number.to_string().as_str())));
    }
}

#[test]
fn pulled_and_called_back_requests_may_take_turns() {
    if elsewhere() {
        return;
    }
    let server = script("$worker = new RR\\Worker; while (true) { if (!($request = $worker->waitRequest())) break; $worker->respond('pulled ' . $_GET['n']); if (!rr_handle_request(function () { echo 'called ', $_GET['n']; })) break; }").threads(1).start();
    for round in 0..6 {
        let kind = if round % 2 == 0 { "pulled" } else { "called" };
        assert_eq!(server.text(&format!("/?n={round}")), format!("{kind} {round}"));
    }
}

#[test]
fn large_bodies_of_slow_clients_hold_no_worker() {
    if elsewhere() {
        return;
    }
    let server = pulls("$worker->respond($request->path() === '/large' ? str_repeat('x', 20 << 20) : 'small');")
        .ini("memory_limit", "256M")
        .start();
    let mut slow: Vec<_> = (0..4).map(|_| server.get("/large").fire()).collect();
    // One thread: this is answered after the others' answers have been taken off its hands.
    assert_eq!(server.text("/small"), "small");
    for connection in &mut slow {
        let head = connection.read_head().unwrap();
        assert_eq!(head.header("content-length"), Some("20971520"));
        assert_eq!(connection.read_to_end().unwrap().len(), 20 << 20);
    }
}

#[test]
fn many_streams_at_once_do_not_mix() {
    if elsewhere() {
        return;
    }
    let server = pulls("$tag = $request->query()['tag']; $worker->respond(new RR\\Response((function () use ($tag) { for ($i = 0; $i < 20; $i++) { yield \"$tag,\"; } })(), 200, ['X-Tag' => $tag]));").threads(3).start();
    crowd(
        |number| server.get(&format!("/?tag={number}")),
        |number, reply| {
            assert_eq!(
                (reply.text(), reply.header("x-tag")),
                (format!("{number},").repeat(20), Some(number.to_string().as_str()))
            );
        },
    );
}
