//! What a script learns about its request.

use serde_json::json;

use crate::harness::{reference, server};

#[test]
fn superglobals_hold_query_form_and_cookies() {
    let server = server().start();
    let seen = server
        .request("POST", "/server.php?a=1&b[]=2&b[x]=3&c+d=%20e")
        .header("Cookie", "one=1; two=a%20b; list[k]=v")
        .form(&[("a", "form"), ("deep[er][]", "é&=")])
        .send()
        .json();
    assert_eq!(seen["get"], json!({"a": "1", "b": {"0": "2", "x": "3"}, "c_d": " e"}));
    assert_eq!(seen["post"], json!({"a": "form", "deep": {"er": {"0": "é&="}}}));
    assert_eq!(seen["cookie"], json!({"one": "1", "two": "a b", "list": {"k": "v"}}));
    assert_eq!(seen["request"]["a"], "form");
    assert_eq!(seen["input"], "a=form&deep%5Ber%5D%5B%5D=%C3%A9%26%3D");
}

#[test]
fn variables_order_and_input_limits_are_kept() {
    let server = server().ini("max_input_vars", "3").ini("request_order", "GP").start();
    let seen = server.post("/server.php?x=1", "application/x-www-form-urlencoded", "a=1&b=2&c=3&d=4&e=5").send();
    let text = seen.text();
    let json: serde_json::Value = serde_json::from_str(&text[text.find('{').unwrap()..]).unwrap();
    assert_eq!(
        json["post"],
        json!({"a": "1", "b": "2", "c": "3", "d": "4"}),
        "PHP stops at the first one too many, which it keeps"
    );
    assert_eq!(json["request"]["x"], "1");
}

#[test]
fn php_input_is_seekable_and_repeatable() {
    let server = server().start();
    for length in [5, 16_384, 3_000_000] {
        let body = "0123456789abcdef".bytes().cycle().take(length).collect::<Vec<_>>();
        let reply = server.post("/input.php", "text/plain", body).send().text();
        let fields: Vec<_> = reply.split('|').collect();
        assert_eq!((fields[0], fields[3]), (length.to_string().as_str(), "234"), "{reply}");
        assert_eq!(fields[1], fields[2], "read twice");
    }
}

#[test]
fn php_input_has_a_position_for_each_handle_wherever_the_body_is() {
    const SCRIPT: &str = r#"
        [$one, $two] = [fopen('php://input', 'r'), fopen('php://input', 'r')];
        $tail = fopen('php://input', 'r');
        fseek($tail, -7, SEEK_END);
        $lines = [fgets($one), fgets($two), fgets($one), fgets($two), fgets($tail), ftell($one), fgets($tail), feof($tail)];
        $copied = stream_copy_to_stream(fopen('php://input', 'r'), fopen('php://temp', 'w+'));
        $decoded = md5(file_get_contents('php://filter/read=string.rot13/resource=php://input'));
        $written = @fwrite($one, 'x');
        echo json_encode([$lines, $copied, $decoded, (bool) $written, md5(stream_get_contents($one, null, 0))]);
    "#;
    let body: String = (100_000..400_000).map(|number| format!("{number}\n")).collect();
    let mut answers = Vec::new();
    for memory in ["64M", "0"] {
        let server = server().php("in.php", SCRIPT).option(&format!("http.limits.body_memory_total={memory}")).start();
        answers.push(server.post("/in.php", "application/octet-stream", body.clone().into_bytes()).send().json());
    }
    assert_eq!(answers[0], answers[1]);
    let [lines, copied, rotated, written, md5] = [0, 1, 2, 3, 4].map(|field| &answers[0][field]);
    assert_eq!(lines, &json!(["100000\n", "100000\n", "100001\n", "100001\n", "399999\n", 14, false, true]));
    assert_eq!((copied, written), (&json!(body.len()), &json!(false)));
    assert_eq!(rotated, md5, "digits stay what they are");
}

#[test]
fn php_input_is_there_for_every_method() {
    let server = server().php("in.php", "echo $_SERVER['REQUEST_METHOD'], ':', file_get_contents('php://input');").start();
    for method in ["POST", "PUT", "PATCH", "DELETE", "GET", "PROPFIND"] {
        let reply = server.request(method, "/in.php").body("application/json", r#"{"a":1}"#).send();
        assert_eq!(reply.text(), format!(r#"{method}:{{"a":1}}"#));
    }
}

#[test]
fn basic_credentials_are_split_and_the_header_kept() {
    let server = server().start();
    let seen = server.get("/server.php").header("Authorization", "Basic dXNlcjpwYTpzcw==").send().json();
    assert_eq!(seen["server"]["PHP_AUTH_USER"], "user");
    assert_eq!(seen["server"]["PHP_AUTH_PW"], "pa:ss");
    assert_eq!(seen["server"]["HTTP_AUTHORIZATION"], "Basic dXNlcjpwYTpzcw==");
    assert_eq!(seen["headers"]["Authorization"], "Basic dXNlcjpwYTpzcw==");
}

#[test]
fn digest_and_bearer_credentials_arrive() {
    let server = server().start();
    let seen = server.get("/server.php").header("Authorization", "Digest username=\"u\", realm=\"r\"").send().json();
    assert_eq!(seen["server"]["PHP_AUTH_DIGEST"], "username=\"u\", realm=\"r\"");
    let seen = server.get("/server.php").header("Authorization", "Bearer abc").send().json();
    assert_eq!(seen["server"]["HTTP_AUTHORIZATION"], "Bearer abc");
    assert!(seen["server"]["PHP_AUTH_USER"].is_null());
}

#[test]
fn credentials_do_not_outlive_their_request() {
    let server = server().threads(1).start();
    server.get("/server.php").header("Authorization", "Basic dXNlcjpwYTpzcw==").send();
    let seen = server.get("/server.php").send().json();
    assert!(seen["server"]["PHP_AUTH_USER"].is_null() && seen["server"]["PHP_AUTH_PW"].is_null());
}

#[test]
fn getallheaders_and_its_alias_name_headers_as_http_does() {
    let server =
        server().php("h.php", "echo json_encode([getallheaders() === apache_request_headers(), getallheaders()]);").start();
    let seen = server.get("/h.php").header("x-lower-case", "1").header("X-UPPER", "2").header("accept", "*/*").send().json();
    assert_eq!(seen[0], true);
    assert_eq!(seen[1]["X-Lower-Case"], "1");
    assert_eq!(seen[1]["X-Upper"], "2");
    assert_eq!(seen[1]["Accept"], "*/*");
    assert!(seen[1]["Host"].is_string());
}

#[test]
fn a_header_that_comes_twice_is_one_list() {
    if reference().is_some() {
        return; // so does nginx from 1.23.0 on
    }
    let server = server().start();
    let seen = server
        .get("/server.php")
        .header("X-Twice", "one")
        .header("X-Twice", "two")
        .header("Cookie", "a=1")
        .header("Cookie", "b=2")
        .send()
        .json();
    assert_eq!((&seen["server"]["HTTP_X_TWICE"], &seen["headers"]["X-Twice"]), (&json!("one, two"), &json!("one, two")));
    assert_eq!(seen["cookie"], json!({"a": "1", "b": "2"}));
}

#[test]
fn request_time_is_now() {
    let server = server()
        .php("t.php", "echo json_encode([time() - $_SERVER['REQUEST_TIME'], microtime(true) - $_SERVER['REQUEST_TIME_FLOAT']]);")
        .start();
    let seen = server.get("/t.php").send().json();
    assert!((0..=1).contains(&seen[0].as_i64().unwrap()) && (0.0..1.0).contains(&seen[1].as_f64().unwrap()), "{seen}");
}

#[test]
fn filter_input_sees_what_the_superglobals_see() {
    let server = server()
        .php("f.php", "echo json_encode([filter_input(INPUT_GET, 'n', FILTER_VALIDATE_INT), filter_input(INPUT_POST, 'p'), filter_input(INPUT_COOKIE, 'c'), filter_input(INPUT_SERVER, 'REQUEST_METHOD')]);")
        .start();
    let reply = server.request("POST", "/f.php?n=42").header("Cookie", "c=3").form(&[("p", "2")]).send();
    assert_eq!(reply.json(), json!([42, "2", "3", "POST"]));
}

#[test]
fn request_parse_body_works_for_put() {
    let server = server().start();
    let (content_type, body) = crate::harness::multipart(&[("field", "", b"value"), ("file", "a.txt", b"content")]);
    let seen = server.request("PUT", "/parse-body.php").body(&content_type, body).send().json();
    assert_eq!(seen, json!(["PUT", {"field": "value"}, {"file": ["a.txt", 7, "content"]}, []]));
    let seen = server.request("PATCH", "/parse-body.php").form(&[("a", "b")]).send().json();
    assert_eq!(seen, json!(["PATCH", {"a": "b"}, [], []]));
}

#[test]
fn argv_of_a_web_request_is_its_query_string() {
    let server =
        server().ini("register_argc_argv", "1").php("a.php", "echo json_encode([$_SERVER['argc'], $_SERVER['argv']]);").start();
    assert_eq!(server.get("/a.php?one+two").send().json(), json!([2, ["one", "two"]]));
    assert_eq!(server.get("/a.php?-s").send().json(), json!([1, ["-s"]]), "and never an option");
}

#[test]
fn a_query_string_is_never_taken_for_php_options() {
    let server = server()
        .php("q.php", "echo 'run ', $_SERVER['QUERY_STRING'], ini_get('display_errors');")
        .ini("display_errors", "0")
        .start();
    for query in ["-s", "-d+display_errors=1", "%ADd+allow_url_include%3d1", "-h"] {
        assert_eq!(server.text(&format!("/q.php?{query}")), format!("run {query}0"));
    }
}
