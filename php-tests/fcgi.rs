//! FastCGI: what stood before php-fpm stands before `rr`.

use std::{
    ffi::OsString,
    os::unix::{
        ffi::OsStringExt,
        fs::{FileTypeExt, PermissionsExt},
    },
};

use crate::harness::{Fcgi, FcgiReply, Front, PATIENCE, Server, fastcgi, params, reference, server, wait_until};

fn fpm() -> Server {
    server()
        .with_fcgi()
        .php("ini.php", "echo ini_get('precision'), '|', ini_get('user_agent'), '|', var_export(@ini_set('precision', '9'), true), '|', ini_get('precision');")
        .php("ok.php", "echo 'ok';")
        .php("echo.php", "echo strlen($in = file_get_contents('php://input')), ' ', md5($in);")
        .file("text.txt", "<?php echo 'executed';")
        .option("http.fcgi.status_path=/status")
        .option("http.fcgi.ping_path=/ping")
        .start()
}

/// The parameters of a GET for `script`, and some more.
fn get(server: &Server, script: &str, more: &[(&str, &str)]) -> Vec<u8> {
    let file = format!("{}{script}", server.root().display());
    let mut pairs = vec![
        ("SCRIPT_FILENAME", file.as_str()),
        ("SCRIPT_NAME", script),
        ("REQUEST_METHOD", "GET"),
        ("REQUEST_URI", script),
        ("QUERY_STRING", ""),
        ("SERVER_PROTOCOL", "HTTP/1.1"),
        ("REMOTE_ADDR", "127.0.0.1"),
        ("DOCUMENT_ROOT", server.root().to_str().unwrap()),
    ];
    for (name, value) in more {
        pairs.retain(|(known, _)| known != name);
        pairs.push((name, value));
    }
    params(&pairs)
}

fn connect(server: &Server) -> Fcgi {
    Fcgi::connect(server.fcgi.unwrap()).unwrap()
}

fn run(server: &Server, script: &str, more: &[(&str, &str)]) -> FcgiReply {
    connect(server).request(false, &get(server, script, more), &[]).unwrap()
}

#[test]
fn the_named_script_runs() {
    let server = fpm();
    let reply = run(&server, "/ok.php", &[]);
    assert_eq!((reply.body().as_str(), reply.app_status, reply.protocol_status), ("ok", 0, 0));
    assert!(reply.head().to_lowercase().contains("content-type: text/html; charset=utf-8"), "{}", reply.head());
    assert!(!reply.head().contains("Status:"), "200 goes without saying: {}", reply.head());
}

#[test]
fn status_and_headers_come_as_cgi_spells_them() {
    let server = server()
        .with_fcgi()
        .php("s.php", "http_response_code(404); header('X-A: 1');")
        .php("r.php", "header('HTTP/1.1 418 Short and Stout');")
        .start();
    let reply = run(&server, "/s.php", &[]);
    assert!(reply.head().starts_with("Status: 404 Not Found\r\n") && reply.head().contains("\r\nX-A: 1"), "{}", reply.head());
    assert!(run(&server, "/r.php", &[]).head().starts_with("Status: 418 Short and Stout"), "{}", reply.head());
}

#[test]
fn a_missing_script_is_file_not_found() {
    let server = fpm();
    let reply = run(&server, "/nowhere.php", &[]);
    assert!(reply.head().starts_with("Status: 404 Not Found"), "{}", reply.head());
    assert_eq!(reply.body(), "File not found.\n");
}

#[test]
fn extensions_are_limited() {
    let server = fpm();
    let reply = run(&server, "/text.txt", &[]);
    assert!(reply.head().starts_with("Status: 403 Forbidden"), "{}", reply.text());
    assert_eq!(reply.body(), "Access denied.\n");
}

#[test]
fn path_info_is_split_from_the_file_name() {
    let server = fpm();
    let reply =
        run(&server, "/server.php/extra/path", &[("SCRIPT_NAME", "/server.php/extra/path"), ("PATH_INFO", "/extra/path")]);
    let seen: serde_json::Value = serde_json::from_str(&reply.body()).unwrap();
    let vars = &seen["server"];
    assert_eq!(vars["SCRIPT_FILENAME"], format!("{}/server.php", server.root().display()));
    assert_eq!(
        (vars["PATH_INFO"].as_str(), vars["SCRIPT_NAME"].as_str(), vars["PHP_SELF"].as_str()),
        (Some("/extra/path"), Some("/server.php/extra/path"), Some("/server.php/extra/path/extra/path"))
    );
    assert_eq!(vars["ORIG_SCRIPT_FILENAME"], format!("{}/server.php/extra/path", server.root().display()), "{vars}");
}

#[test]
fn a_path_info_underflow_is_harmless() {
    let server = fpm();
    for path_info in ["", "\n", "/", "//"] {
        let long = format!("/ok.php/{}", "a".repeat(2000));
        run(&server, "/ok.php\n/x", &[("PATH_INFO", path_info), ("SCRIPT_NAME", &long)]);
        assert_eq!(run(&server, "/ok.php", &[]).body(), "ok");
    }
}

#[test]
fn all_parameters_become_server_variables() {
    let server = fpm();
    let long = "v".repeat(20_000);
    let reply =
        run(&server, "/server.php", &[("CUSTOM_PARAM", "custom"), ("LONG_PARAM", &long), ("HTTP_X_HEADER", "h"), ("EMPTY", "")]);
    let seen: serde_json::Value = serde_json::from_str(&reply.body()).unwrap();
    assert_eq!((&seen["server"]["CUSTOM_PARAM"], &seen["server"]["LONG_PARAM"]), (&"custom".into(), &long.into()));
    assert_eq!((&seen["server"]["EMPTY"], &seen["headers"]["X-Header"]), (&"".into(), &"h".into()));
}

#[test]
fn bodies_of_any_size_arrive() {
    let server = fpm();
    for length in [1, 65_535, 1_000_000] {
        let body = vec![b'x'; length];
        let pairs = get(
            &server,
            "/echo.php",
            &[("REQUEST_METHOD", "POST"), ("CONTENT_LENGTH", &length.to_string()), ("CONTENT_TYPE", "text/plain")],
        );
        let reply = connect(&server).request(false, &pairs, &body).unwrap();
        assert!(reply.body().starts_with(&format!("{length} ")), "{}", reply.text());
    }
}

#[test]
fn a_kept_connection_serves_again_and_another_is_closed() {
    let server = fpm();
    let mut kept = connect(&server);
    for _ in 0..5 {
        assert_eq!(kept.request(true, &get(&server, "/ok.php", &[]), &[]).unwrap().body(), "ok");
    }
    let mut once = connect(&server);
    once.request(false, &get(&server, "/ok.php", &[]), &[]).unwrap();
    assert!(once.closed());
}

#[test]
fn php_value_is_in_force_and_undone_after() {
    let server = server()
        .with_fcgi()
        .threads(1)
        .php(
            "ini.php",
            "echo ini_get('precision'), '|', ini_get('user_agent'), '|', var_export(ini_set('precision', '9'), true);",
        )
        .start();
    assert_eq!(
        run(&server, "/ini.php", &[("PHP_VALUE", "precision=5\nuser_agent = \"a b\"\nnonsense\nunknown.key=1\n")]).body(),
        "5|a b|'5'"
    );
    if reference().is_none() {
        assert_eq!(run(&server, "/ini.php", &[]).body(), "14||'14'", "php-fpm leaks it; we do not");
    }
}

#[test]
fn php_value_can_set_what_only_a_directory_may() {
    let server = server()
        .with_fcgi()
        .threads(1)
        .php("p.php", "echo ini_get('post_max_size'), ini_get('output_buffering'), ini_get('upload_max_filesize');")
        .start();
    assert_eq!(run(&server, "/p.php", &[("PHP_VALUE", "post_max_size=1M\noutput_buffering=4096")]).body(), "1M40962M");
    if reference().is_none() {
        assert_eq!(run(&server, "/p.php", &[]).body(), "8M02M");
    }
}

#[test]
fn auto_prepend_file_from_php_value_runs() {
    let server = server().with_fcgi().php("prepend.php", "echo 'prepended ';").php("ok.php", "echo 'ok';").start();
    let value = format!("auto_prepend_file={}/prepend.php", server.root().display());
    assert_eq!(run(&server, "/ok.php", &[("PHP_VALUE", &value)]).body(), "prepended ok");
    if reference().is_none() {
        assert_eq!(run(&server, "/ok.php", &[]).body(), "ok");
    }
}

#[test]
fn php_admin_value_locks_its_key_for_one_request() {
    let server = server()
        .with_fcgi()
        .threads(1)
        .php("ini.php", "echo ini_get('precision'), '|', var_export(@ini_set('precision', '9'), true), '|', ini_get('precision'), '|', ini_get('open_basedir');")
        .start();
    let root = server.root().display().to_string();
    let admin = format!("precision=6\nopen_basedir={root}");
    assert_eq!(run(&server, "/ini.php", &[("PHP_ADMIN_VALUE", &admin)]).body(), format!("6|false|6|{root}"));
    if reference().is_none() {
        assert_eq!(run(&server, "/ini.php", &[]).body(), "14|'14'|9|", "php-fpm leaks it; we do not");
    }
}

#[test]
fn values_that_cannot_be_undone_are_refused_and_logged() {
    if reference().is_some() {
        return;
    }
    let server = server()
        .with_fcgi()
        .threads(1)
        .php("f.php", "echo function_exists('phpversion') ? phpversion() === PHP_VERSION : 'gone', class_exists('ArrayObject');")
        .start();
    for value in ["disable_functions=phpversion", "disable_classes=ArrayObject", "extension=nothing.so"] {
        assert_eq!(run(&server, "/f.php", &[("PHP_ADMIN_VALUE", value)]).body(), "11", "{value}");
        assert!(server.logs(value.split('=').next().unwrap()), "{value}");
    }
}

#[test]
fn error_messages_go_to_the_web_server_s_log() {
    let server = server()
        .with_fcgi()
        .ini("display_errors", "0")
        .ini("log_errors", "1")
        .php("e.php", "error_log('for the front'); echo $undefined, 'ok';")
        .start();
    let reply = run(&server, "/e.php", &[]);
    let errors = String::from_utf8_lossy(&reply.stderr).into_owned();
    assert_eq!(reply.body(), "ok");
    assert!(errors.contains("for the front") && errors.contains("Undefined variable $undefined"), "{errors}");
}

#[test]
fn exit_codes_do_not_become_application_status() {
    let server = server().with_fcgi().php("e.php", "exit(3);").start();
    assert_eq!(run(&server, "/e.php", &[]).app_status, 0);
}

#[test]
fn an_aborted_request_ends_and_the_server_goes_on() {
    let server = fpm();
    let mut client = connect(&server);
    client.begin(1, true).record(fastcgi::PARAMS, 1, &get(&server, "/ok.php", &[])).record(fastcgi::ABORT, 1, &[]);
    _ = client.reply();
    assert_eq!(run(&server, "/ok.php", &[]).body(), "ok");
}

#[test]
fn a_client_that_closes_its_half_is_answered() {
    let server = server().with_fcgi().php("late.php", "echo 'one '; flush(); usleep(300000); echo 'two';").start();
    let mut client = connect(&server);
    client.begin(1, true).record(fastcgi::PARAMS, 1, &get(&server, "/late.php", &[])).record(fastcgi::PARAMS, 1, &[]);
    client.record(fastcgi::STDIN, 1, &[]).close_half();
    assert_eq!(client.reply().unwrap().body(), "one two");
    assert!(client.closed());
}

#[test]
fn names_need_not_be_utf_8() {
    let show = "echo implode('|', array_map('bin2hex', [basename(__FILE__), include __DIR__ . '/in.php', basename($_SERVER['SCRIPT_FILENAME']), $_SERVER['SCRIPT_NAME'], $_SERVER['PHP_SELF'], basename($_SERVER['DOCUMENT_ROOT'])]));";
    let server = server().with_fcgi().start();
    let latin1 = |name: &str| OsString::from_vec(name.bytes().map(|byte| if byte == b'~' { 0xe9 } else { byte }).collect());
    let directory = server.root().join(latin1("d~"));
    std::fs::create_dir(&directory).unwrap();
    std::fs::write(directory.join(latin1("caf~.php")), format!("<?php {show}")).unwrap();
    std::fs::write(directory.join("in.php"), "<?php return 'in';").unwrap();
    let root = format!("{}/d~", server.root().display());
    let mut params = get(&server, "/d~/caf~.php", &[("SCRIPT_NAME", "/caf~.php"), ("DOCUMENT_ROOT", &root)]);
    params.iter_mut().filter(|byte| **byte == b'~').for_each(|byte| *byte = 0xe9);
    let expected = "636166e92e706870|696e|636166e92e706870|2f636166e92e706870|2f636166e92e706870|64e9";
    assert_eq!(connect(&server).request(false, &params, &[]).unwrap().body(), expected);
}

#[test]
fn management_records_are_answered() {
    let server = fpm();
    let mut client = connect(&server);
    client.record(fastcgi::GET_VALUES, 0, &params(&[("FCGI_MPXS_CONNS", ""), ("FCGI_MAX_CONNS", ""), ("OTHER", "")]));
    let (kind, id, content) = client.read().unwrap();
    assert_eq!((kind, id), (fastcgi::GET_VALUES_RESULT, 0));
    let text = String::from_utf8_lossy(&content).into_owned();
    assert!(text.contains("FCGI_MPXS_CONNS0"), "{text:?}");
    if reference().is_none() {
        let mut client = connect(&server);
        client.record(77, 0, b"x");
        let (kind, _, content) = client.read().unwrap();
        assert_eq!((kind, content[0]), (fastcgi::UNKNOWN_TYPE, 77));
    }
}

#[test]
fn multiplexing_and_unknown_roles_are_refused_politely() {
    if reference().is_some() {
        return;
    }
    let server = fpm();
    let mut client = connect(&server);
    client.begin(1, true).record(fastcgi::PARAMS, 1, &get(&server, "/ok.php", &[]));
    client.begin(2, true);
    let (kind, id, content) = client.read().unwrap();
    assert_eq!((kind, id, content[4]), (fastcgi::END, 2, 1), "FCGI_CANT_MPX_CONN");
    client.record(fastcgi::PARAMS, 1, &[]).record(fastcgi::STDIN, 1, &[]);
    assert_eq!(client.reply().unwrap().body(), "ok");
    let mut client = connect(&server);
    client.record(fastcgi::BEGIN, 1, &[0, 9, 0, 0, 0, 0, 0, 0]);
    let (kind, _, content) = client.read().unwrap();
    assert_eq!((kind, content[4]), (fastcgi::END, 3), "FCGI_UNKNOWN_ROLE");
}

#[test]
fn junk_is_survived() {
    let server = fpm();
    for junk in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        &[0xff; 64],
        &[1, 1, 0, 1, 0xff, 0xff, 0xff, 0],
        &[1, 4, 0, 1, 0, 4, 0, 0, 0xff, 0xff, 0xff, 0xff],
    ] {
        use std::io::Write as _;
        let mut stream = std::net::TcpStream::connect(server.fcgi.unwrap()).unwrap();
        _ = stream.write_all(junk);
        drop(stream);
        let mut client = connect(&server);
        client
            .begin(1, false)
            .record(fastcgi::PARAMS, 1, &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff])
            .record(fastcgi::PARAMS, 1, &[])
            .record(5, 1, &[]);
        _ = client.reply();
    }
    assert_eq!(run(&server, "/ok.php", &[]).body(), "ok");
}

#[test]
fn the_status_page_reads_as_php_fpm_s() {
    let server = fpm();
    let page = |query: &str| run(&server, "/status", &[("SCRIPT_FILENAME", "/status"), ("QUERY_STRING", query)]);
    let text = page("").body();
    for key in [
        "pool:",
        "process manager:",
        "start time:",
        "accepted conn:",
        "listen queue:",
        "idle processes:",
        "active processes:",
        "total processes:",
        "max children reached:",
        "slow requests:",
    ] {
        assert!(text.contains(key), "{key}: {text}");
    }
    let json: serde_json::Value = serde_json::from_str(&page("json").body()).unwrap();
    assert!(json["accepted conn"].is_u64() && json["total processes"].as_u64() >= Some(1), "{json}");
    let full: serde_json::Value = serde_json::from_str(&page("full&json").body()).unwrap();
    let one = &full["processes"][0];
    for key in [
        "pid",
        "state",
        "start time",
        "requests",
        "request method",
        "request uri",
        "content length",
        "script",
        "last request cpu",
        "last request memory",
    ] {
        assert!(!one[key].is_null(), "{key}: {full}");
    }
    assert!(page("xml").body().starts_with("<?xml version=\"1.0\" ?>"), "{}", page("xml").body());
    assert!(page("html").body().contains("<table>"), "{}", page("html").body());
    let metrics = page("openmetrics").body();
    assert!(metrics.contains("# TYPE phpfpm_accepted_connections counter") && metrics.ends_with("# EOF\n"), "{metrics}");
    assert!(page("json").head().contains("application/json"));
}

#[test]
fn the_status_page_tells_local_time() {
    if reference().is_some() {
        return;
    }
    let server = server().bare().option("http.fcgi.status_path=/status").env("TZ", "<+0530>-5:30").with_fcgi().start();
    let page = |query: &str| run(&server, "/status", &[("SCRIPT_FILENAME", "/status"), ("QUERY_STRING", query)]).body();
    let json: serde_json::Value = serde_json::from_str(&page("json")).unwrap();
    let local = (json["start time"].as_u64().unwrap() + 19_800) % 86_400;
    let expected = format!(":{:02}:{:02}:{:02} +0530\n", local / 3600, local / 60 % 60, local % 60);
    assert!(page("").contains(&expected), "{expected}: {}", page(""));
}

#[test]
fn the_status_page_escapes_what_clients_sent() {
    let server = fpm();
    run(&server, "/ok.php", &[("REQUEST_URI", "/<script>alert(1)</script>"), ("QUERY_STRING", "<script>")]);
    let page = run(&server, "/status", &[("SCRIPT_FILENAME", "/status"), ("QUERY_STRING", "html&full")]).body();
    assert!(!page.contains("<script>"), "{page}");
}

#[test]
fn ping_says_pong() {
    let server = fpm();
    let reply = run(&server, "/ping", &[("SCRIPT_FILENAME", "/ping")]);
    assert_eq!(reply.body(), "pong");
    assert!(reply.head().contains("text/plain"), "{}", reply.head());
}

#[test]
fn fpm_get_status_tells_a_script_the_same() {
    let server = server().with_fcgi().php("s.php", "echo json_encode(fpm_get_status());").start();
    let seen: serde_json::Value = serde_json::from_str(&run(&server, "/s.php", &[]).body()).unwrap();
    for key in [
        "pool",
        "process-manager",
        "start-time",
        "accepted-conn",
        "listen-queue",
        "idle-processes",
        "active-processes",
        "total-processes",
        "procs",
    ] {
        assert!(!seen[key].is_null(), "{key}: {seen}");
    }
    assert!(seen["active-processes"].is_u64());
}

#[test]
fn an_nginx_in_front_serves_the_site() {
    let server = fpm();
    let Some(front) = Front::before(&server, "/index.php?$args") else { return };
    assert_eq!(front.get("/ok.php").send().text(), "ok");
    assert_eq!(front.get("/text.txt").send().text(), "<?php echo 'executed';", "nginx's own business");
    let body = vec![b'x'; 3_000_000];
    let reply = crate::harness::Request::new(front.address, "POST", "/echo.php").body("text/plain", body).send();
    assert!(reply.text().starts_with("3000000 "), "{}", reply.text());
    let seen = front.get("/server.php/info?a=b").send().json();
    assert_eq!((&seen["server"]["PATH_INFO"], &seen["get"]["a"]), (&"/info".into(), &"b".into()));
    for _ in 0..50 {
        assert_eq!(front.get("/ok.php").send().text(), "ok");
    }
}

#[test]
fn a_unix_socket_has_its_mode_and_goes_with_the_server() {
    if reference().is_some() {
        return;
    }
    let setup = server();
    let socket = setup.scratch().join("rr.sock");
    let server = setup.option(&format!("http.fcgi.address=unix://{}", socket.display())).option("http.fcgi.mode=0600").start();
    let file = std::fs::symlink_metadata(&socket).unwrap();
    assert!(file.file_type().is_socket() && file.permissions().mode() & 0o777 == 0o600, "{file:?}");
    server.stop();
    assert!(!socket.exists());
}

#[test]
fn the_listener_binds_to_loopback_unless_told_otherwise() {
    if reference().is_some() {
        return;
    }
    let port = crate::harness::free_port().port();
    let server = server().option(&format!("http.fcgi.address=:{port}")).start();
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], port));
    assert!(wait_until(PATIENCE, || std::net::TcpStream::connect(address).is_ok()));
    let mut client = Fcgi::connect(address).unwrap();
    assert!(client.request(false, &get(&server, "/clean.php", &[]), &[]).unwrap().body().starts_with("clean"));
    let listening = std::fs::read_to_string("/proc/net/tcp").unwrap();
    assert!(!listening.contains(&format!("00000000:{port:04X}")), "an open FastCGI port is remote code execution");
}
