//! What FrankenPHP's applications expect of it beyond `frankenphp_handle_request()`.

use serde_json::json;

use super::{PRINTING, elsewhere, script};
use crate::harness::{command, finish, free_port, server};

#[test]
fn the_functions_of_frankenphp_are_there() {
    if elsewhere() {
        return;
    }
    let code = "header('X-One: 1'); header('X-Two: 2'); echo json_encode([frankenphp_request_headers()['X-Own'] ?? null, frankenphp_response_headers()['X-Two'] ?? null, function_exists('frankenphp_finish_request'), function_exists('headers_send'), FRANKENPHP_LOG_LEVEL_ERROR]);";
    let worker = script(&format!("while (frankenphp_handle_request(function () {{ {code} }}));")).start();
    let classic = server().bare().php("a.php", code).start();
    for server in [worker, classic] {
        let seen = server.get("/a.php").header("X-Own", "yes").send().json();
        assert_eq!(seen, json!(["yes", "2", true, true, 8]));
    }
}

#[test]
fn the_names_are_aliases_of_one_thing() {
    if elsewhere() {
        return;
    }
    let code = "$n = 0; $handle = function () use (&$n) { $n++; frankenphp_finish_request(); echo 'late'; }; while ($n % 2 ? rr_handle_request($handle) : frankenphp_handle_request($handle));";
    let server = script(code).threads(1).start();
    for _ in 0..4 {
        assert_eq!(server.get("/").send().text(), "");
    }
}

#[test]
fn every_kind_of_callable_is_a_handler() {
    if elsewhere() {
        return;
    }
    for handler in [
        "'handle'",
        "'H::go'",
        "[new H, 'go']",
        "handle(...)",
        "new H",
        "fn () => handle()",
        "[H::class, 'parent::go'] === 1 ? 1 : new H",
    ] {
        let code = format!(
            "function handle() {{ echo 'called with ', func_num_args(); }} class H {{ static function go() {{ handle(); }} function __invoke() {{ handle(); }} }} $handler = {handler}; while (rr_handle_request($handler));"
        );
        assert_eq!(script(&code).threads(1).start().text("/"), "called with 0", "{handler}");
    }
}

#[test]
fn objects_and_connections_of_the_boot_serve_every_request() {
    if elsewhere() {
        return;
    }
    let code = "$db = new PDO('sqlite::memory:'); $db->exec('create table t (n int)'); while (frankenphp_handle_request(function () use ($db) { $db->exec('insert into t values (1)'); echo $db->query('select count(*) from t')->fetchColumn(); }));";
    let server = script(code).threads(1).start();
    for count in 1..6 {
        assert_eq!(server.text("/"), count.to_string());
    }
}

#[test]
fn included_files_may_speak_of_superglobals() {
    if elsewhere() {
        return;
    }
    // Compiled in a later request than the first, and cached: the engine makes $_REQUEST when a file names it.
    for kind in PRINTING {
        let setup = kind.app().threads(1);
        std::fs::write(
            setup.scratch().join("app/handlers/included.php"),
            "<?php return ['included' => function () { echo (include dirname(__DIR__) . '/inc.php'); }];",
        )
        .unwrap();
        std::fs::write(setup.scratch().join("app/inc.php"), "<?php return json_encode([$_REQUEST, $_SERVER['QUERY_STRING']]);")
            .unwrap();
        let server = setup.start();
        server.text("/hello");
        for round in 0..3 {
            assert_eq!(
                server.get(&format!("/included?r={round}")).send().json(),
                json!([{"r": round.to_string()}, format!("r={round}")]),
                "{kind:?}"
            );
        }
    }
}

#[test]
fn preloaded_classes_are_there() {
    if elsewhere() {
        return;
    }
    let setup = script(
        "while (frankenphp_handle_request(function () { echo class_exists('Preloaded', false) ? Preloaded::SAYS : 'no'; }));",
    );
    let path = setup.scratch().join("preload.php");
    std::fs::write(&path, "<?php class Preloaded { const SAYS = 'preloaded'; }").unwrap();
    let server = setup.ini("opcache.preload", path.to_str().unwrap()).ini("opcache.preload_user", "root").start();
    for _ in 0..3 {
        assert_eq!(server.text("/"), "preloaded");
    }
}

#[test]
fn a_preloaded_file_that_calls_exit_is_named() {
    if elsewhere() {
        return;
    }
    let setup = server().bare().file("preload.php", "<?php exit(0);");
    let path = setup.document_root().join("preload.php").display().to_string();
    for user in ["root", "nobody"] {
        let root = format!("http.root={}", setup.document_root().display());
        let address = format!("http.address={}", free_port());
        let (file, user) = (format!("php.ini.opcache.preload={path}"), format!("php.ini.opcache.preload_user={user}"));
        let output = finish(command(&["serve", "-o", &root, "-o", &address, "-o", &file, "-o", &user]), b"");
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success(), "{text}");
        assert!(text.contains(&format!("{path}, which opcache.preload names, called exit or failed")), "{text}");
    }
}

#[test]
fn phpinfo_speaks_of_the_request() {
    if elsewhere() {
        return;
    }
    let server =
        script("while (frankenphp_handle_request(function () { phpinfo(INFO_GENERAL | INFO_MODULES | INFO_VARIABLES); }));")
            .start();
    for tag in ["one", "two"] {
        let page = server.text(&format!("/?tag={tag}"));
        assert!(page.contains("FRANKENPHP_WORKER") && page.contains(&format!("tag={tag}")), "{page}");
    }
}

#[test]
fn a_script_in_a_child_process_is_not_the_worker() {
    if elsewhere() {
        return;
    }
    let server = script("while (frankenphp_handle_request(function () { echo trim(shell_exec(PHP_BINARY . ' -r \"echo 6 * 7;\"')); $p = proc_open(['sh', '-c', 'cat'], [['pipe', 'r'], ['pipe', 'w']], $pipes); fwrite($pipes[0], ' piped'); fclose($pipes[0]); echo stream_get_contents($pipes[1]); proc_close($p); }));").start();
    super::crowd(|_| server.get("/"), |_, reply| assert_eq!(reply.text(), "42 piped"));
}
