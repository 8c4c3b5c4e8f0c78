//! What configuration can change, seen from outside.

use std::time::Duration;

use serde_json::Value;

use crate::harness::{reference, server, wait_until};

#[test]
fn cache_control_of_files_is_configurable() {
    if reference().is_some() {
        return;
    }
    let server = server()
        .bare()
        .preset("files")
        .file("a.css", "a{}")
        .php("a.php", "echo 1;")
        .option("http.files.cache_control=public, max-age=3600")
        .start();
    assert_eq!(server.get("/a.css").send().header("cache-control"), Some("public, max-age=3600"));
    assert_eq!(server.get("/a.php").send().header("cache-control"), None);
}

#[test]
fn clear_env_hides_the_server_s_environment() {
    if reference().is_some() {
        return;
    }
    let setup = server().env("RR_TEST_SECRET", "hidden").option("php.clear_env=true").ini("variables_order", "EGPCS");
    let server = setup.php("e.php", "echo json_encode([getenv('RR_TEST_SECRET'), $_ENV['RR_TEST_SECRET'] ?? false, trim((string) shell_exec('echo \"$RR_TEST_SECRET\"'))]);").start();
    assert_eq!(server.text("/e.php"), "[false,false,\"\"]");
}

#[test]
fn environment_variables_can_be_configured() {
    if reference().is_some() {
        return;
    }
    let server = server()
        .config(".rr.yaml", "version: \"3\"\nphp:\n  env:\n    RR_TEST_GIVEN: from the file\n")
        .php("e.php", "echo getenv('RR_TEST_GIVEN'), '|', trim(shell_exec('echo \"$RR_TEST_GIVEN\"'));")
        .start();
    assert_eq!(server.text("/e.php"), "from the file|from the file");
}

#[test]
fn access_log_lines_name_the_request() {
    if reference().is_some() {
        return;
    }
    let server = server()
        .option("http.access_logs=true")
        .option("logs.mode=production")
        .php("a.php", "http_response_code(418); echo 'abc';")
        .start();
    server.get("/a.php?secret=1").header("User-Agent", "tester").send();
    assert!(server.logs("\"status\":418"), "{}", server.log.text());
    let log = server.log.text();
    let line = log.lines().find(|line| line.contains("\"status\":418")).unwrap();
    let entry: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    let text = entry.to_string();
    for part in ["/a.php", "GET", "tester", "127.0.0.1"] {
        assert!(text.contains(part), "{part}: {line}");
    }
}

#[test]
fn every_line_of_a_json_log_is_json() {
    if reference().is_some() {
        return;
    }
    let server = server()
        .option("logs.mode=production")
        .option("http.access_logs=true")
        .ini("display_errors", "0")
        .ini("log_errors", "1")
        .php(
            "l.php",
            "error_log(\"two\\nlines \\\"quoted\\\" \\xff\"); file_put_contents('php://stderr', \"raw {\\n\"); echo $undefined;",
        )
        .start();
    server.text("/l.php");
    assert!(server.logs("Undefined variable"), "{}", server.log.text());
    let log = server.log.text();
    let lines: Vec<_> = log.lines().filter(|line| line.starts_with('{')).collect();
    assert!(lines.len() >= 3, "{log}");
    for line in lines {
        assert!(serde_json::from_str::<Value>(line).is_ok(), "{line}");
    }
}

#[test]
fn log_levels_filter() {
    if reference().is_some() {
        return;
    }
    let server = server()
        .option("logs.level=error")
        .ini("display_errors", "0")
        .ini("log_errors", "1")
        .php("l.php", "trigger_error('only a notice', E_USER_NOTICE); error_log('said'); throw new Exception('grave');")
        .start();
    server.get("/l.php").send();
    assert!(server.logs("grave"));
    assert!(!server.log.text().contains("only a notice"), "{}", server.log.text());
}

#[test]
fn threads_are_replaced_after_max_jobs() {
    if reference().is_some() {
        return;
    }
    let server = server().threads(1).option("http.pool.max_jobs=5").php("t.php", "echo 'ok';").start();
    for _ in 0..60 {
        assert_eq!(server.text("/t.php"), "ok");
    }
    server.stop();
}

#[test]
fn a_connection_is_closed_after_keepalive_requests() {
    if reference().is_some() {
        return;
    }
    let server = server().option("http.limits.keepalive_requests=3").php("t.php", "echo 'ok';").start();
    let mut connection = server.connect();
    for _ in 0..2 {
        assert_eq!(connection.send(&server.get("/t.php")).unwrap().text(), "ok");
    }
    let last = connection.send(&server.get("/t.php")).unwrap();
    assert_eq!((last.text().as_str(), last.header("connection")), ("ok", Some("close")));
    assert!(connection.closed_within(Duration::from_secs(5)));
}

#[test]
fn opcache_settings_reach_the_engine() {
    let server = server().ini("opcache.memory_consumption", "32").ini("opcache.max_accelerated_files", "3000").php("o.php", "$c = opcache_get_configuration()['directives']; echo $c['opcache.memory_consumption'] >> 20, ' ', $c['opcache.max_accelerated_files'];").start();
    assert_eq!(server.text("/o.php"), "32 3000");
}

#[test]
fn the_jit_can_be_turned_on() {
    let server = server()
        .ini("opcache.jit", "tracing")
        .ini("opcache.jit_buffer_size", "16M")
        .php("j.php", "function f($n) { $s = 0; for ($i = 0; $i < $n; $i++) $s += $i % 7; return $s; } echo f(300000), ' ', (int) opcache_get_status(false)['jit']['on'];")
        .start();
    for _ in 0..5 {
        assert_eq!(server.text("/j.php"), "899997 1");
    }
}

#[test]
fn preloaded_classes_are_there() {
    let setup = server();
    let file = setup.document_root().join("preload.php");
    let setup = setup
        .php("preload.php", "class Preloaded { const X = 42; }")
        .php("p.php", "echo Preloaded::X, class_exists('Preloaded', false) ? 'there' : '';");
    let server = setup.ini("opcache.preload", file.to_str().unwrap()).ini("opcache.preload_user", "root").start();
    for _ in 0..3 {
        assert_eq!(server.text("/p.php"), "42there");
    }
}

#[test]
fn a_welcome_page_is_served_without_a_directory() {
    if reference().is_some() {
        return;
    }
    let address = crate::harness::free_port();
    let dir = crate::harness::TempDir::new();
    let mut command = crate::harness::rr();
    command.args(["serve", "-o", &format!("http.address={address}"), "-o", "http.pool.num_workers=1"]).current_dir(dir.path());
    let mut child = command.stderr(std::process::Stdio::piped()).spawn().unwrap();
    wait_until(Duration::from_secs(10), || std::net::TcpStream::connect(address).is_ok());
    let reply = crate::harness::Request::new(address, "GET", "/").try_send();
    _ = child.kill();
    _ = child.wait();
    let reply = reply.unwrap();
    assert!(reply.status == 200 && reply.text().contains("8."), "{reply:?}");
}

#[test]
fn a_php_ini_in_the_working_directory_is_not_read() {
    let setup = server();
    std::fs::write(setup.scratch().join("php.ini"), "precision=3\n").unwrap();
    if reference().is_none() {
        assert_eq!(setup.php("i.php", "echo ini_get('precision');").start().text("/i.php"), "14");
    }
}

#[test]
fn php_ini_is_found_through_phprc_and_the_scan_directory() {
    if reference().is_some() {
        return;
    }
    let setup = server();
    let (one, two) = (setup.scratch().join("one"), setup.scratch().join("two"));
    std::fs::create_dir(&one).unwrap();
    std::fs::create_dir(&two).unwrap();
    std::fs::write(one.join("php.ini"), "precision=3\nuser_agent=from php.ini\n").unwrap();
    std::fs::write(two.join("10-x.ini"), "user_agent=from the scan directory\n").unwrap();
    let setup = setup.env("PHPRC", one.to_str().unwrap()).env("PHP_INI_SCAN_DIR", &format!(":{}", two.display()));
    let server = setup.php("i.php", "echo ini_get('precision'), ini_get('user_agent'), basename(php_ini_loaded_file());").start();
    assert_eq!(server.text("/i.php"), "3from the scan directoryphp.ini");
}

#[test]
fn working_directory_dotenv_and_pid_file_are_as_roadrunner_has_them() {
    if reference().is_some() {
        return;
    }
    let dir = crate::harness::TempDir::new();
    dir.write("site/index.php", "<?php echo getenv('RR_TEST_DOTENV'), '|', ini_get('user_agent');");
    dir.write("settings.env", "RR_TEST_DOTENV=from dotenv\n");
    dir.write(
        ".rr.yaml",
        "version: \"3\"\nhttp:\n  root: site\n  pool: { num_workers: 1 }\nphp:\n  ini: { user_agent: \"${RR_TEST_DOTENV}\" }\n",
    );
    let address = crate::harness::free_port();
    let mut command = crate::harness::rr();
    command.args(["serve", "-s", "-p", "-w"]).arg(dir.path()).arg("--dotenv").arg(dir.path().join("settings.env"));
    command.args(["-o", &format!("http.address={address}")]).stderr(std::process::Stdio::piped());
    let mut child = command.spawn().unwrap();
    wait_until(Duration::from_secs(10), || std::net::TcpStream::connect(address).is_ok());
    let reply = crate::harness::Request::new(address, "GET", "/").try_send();
    let pid = std::fs::read_to_string(dir.path().join(".pid"));
    _ = child.kill();
    let said = child.wait_with_output().unwrap();
    assert_eq!(reply.unwrap().text(), "from dotenv|from dotenv");
    assert!(pid.is_ok_and(|pid| pid.trim().parse::<u32>().is_ok()), "a pid file");
    assert!(!String::from_utf8_lossy(&said.stderr).contains("http://"), "-s leaves the banner out");
}
