//! Environment, ini values, locale, working directory and the rest of what is process-wide elsewhere.

use serde_json::{Value, json};

use crate::harness::{reference, server};

#[test]
fn putenv_is_the_request_s_own_and_its_children_s() {
    let server = server().threads(1).env("RR_TEST_GIVEN", "by the parent").start();
    let seen = server.get("/environment.php?tag=T").send().json();
    for key in ["getenv", "all", "local", "shell_exec", "proc_open", "popen", "exec"] {
        assert_eq!(seen[key], "T", "{key}: {seen}");
    }
    assert_eq!(seen["passthru, system"], "T\nT");
    assert_eq!((&seen["given"], &seen["given to children"]), (&json!("by the parent"), &json!("by the parent")));
    let next = server.get("/environment.php?tag=").send().json();
    assert_eq!(next["getenv"], "", "{next}");
}

#[test]
fn getenv_gives_the_request_s_variables_too() {
    let code = "echo json_encode([getenv('REQUEST_METHOD'), getenv('HTTP_X_TEST'), getenv('SCRIPT_NAME'), getenv('REMOTE_ADDR'), \
                getenv('QUERY_STRING'), getenv()['DOCUMENT_ROOT'] ?? null, getenv('REQUEST_METHOD', true), trim((string) shell_exec('echo $REQUEST_METHOD')), \
                getenv('HTTP_PROXY'), $_ENV['REQUEST_METHOD'] ?? null]);";
    let server = server()
        .threads(1)
        .ini("variables_order", "EGPCS")
        .php("g.php", code)
        .php("h.php", "var_dump(getenv('HTTP_X_TEST'));")
        .start();
    let seen = server.get("/g.php?a=b").header("X-Test", "yes").header("Proxy", "http://evil.test").send().json();
    let root = server.root().display().to_string();
    assert_eq!(seen, json!(["GET", "yes", "/g.php", "127.0.0.1", "a=b", root, false, "", false, "GET"]));
    assert_eq!(server.text("/h.php"), "bool(false)\n");
}

#[test]
fn putenv_is_undone_after_the_request() {
    let server = server()
        .threads(1)
        .env("RR_TEST_GIVEN", "given")
        .php("set.php", "putenv('RR_TEST_LEFT=1'); putenv('RR_TEST_GIVEN=changed'); putenv('PATH'); echo getenv('RR_TEST_GIVEN');")
        .php("get.php", "echo json_encode([getenv('RR_TEST_LEFT'), getenv('RR_TEST_GIVEN'), getenv('PATH') !== false, trim((string) shell_exec('echo \"$RR_TEST_LEFT:$RR_TEST_GIVEN\"'))]);")
        .start();
    assert_eq!(server.text("/set.php"), "changed");
    assert_eq!(server.get("/get.php").send().json(), json!([false, "given", true, ":given"]));
}

#[test]
fn timezone_from_putenv_is_the_request_s_own() {
    let server = server()
        .threads(1)
        .php("tz.php", "putenv('TZ=Asia/Tokyo'); echo date_default_timezone_get(), trim(shell_exec('date +%Z'));")
        .php("next.php", "var_dump(getenv('TZ')); echo trim(shell_exec('date +%Z'));")
        .start();
    assert_eq!(server.text("/tz.php"), "UTCJST");
    assert_eq!(server.text("/next.php"), "bool(false)\nUTC");
}

#[test]
fn proc_open_with_its_own_environment_gets_just_that() {
    let server = server()
        .php("p.php", "putenv('RR_TEST_MINE=no'); $p = proc_open(['/bin/sh', '-c', 'echo $A:$RR_TEST_MINE; pwd; cat'], [['pipe', 'r'], ['pipe', 'w']], $pipes, '/', ['A' => 'given']); fwrite($pipes[0], 'in'); fclose($pipes[0]); echo stream_get_contents($pipes[1]), proc_close($p);")
        .start();
    assert_eq!(server.text("/p.php"), "given:\n/\nin0");
}

#[test]
fn exit_codes_of_children_arrive() {
    let server = server()
        .php("e.php", "exec('exit 3', $o, $code); system('exit 4', $c2); $p = proc_open('exit 5', [], $x); $p2 = popen('exit 6', 'r'); echo $code, $c2, proc_close($p), pclose($p2);")
        .start();
    assert_eq!(server.text("/e.php"), "3456");
}

#[test]
fn children_hold_none_of_the_server_s_sockets() {
    let server = server()
        .php("fds.php", "echo shell_exec('for f in /proc/self/fd/*; do readlink $f; done'); $p = proc_open(['/bin/sh', '-c', 'for f in /proc/self/fd/*; do readlink $f; done'], [1 => ['pipe', 'w']], $pipes); echo stream_get_contents($pipes[1]);")
        .start();
    let seen = server.text("/fds.php");
    if reference().is_none() {
        assert!(!seen.contains("socket:"), "{seen}");
    }
}

#[test]
fn mail_goes_through_sendmail_path_with_the_environment() {
    let setup = server();
    let out = setup.scratch().join("mail.txt");
    let sendmail = setup.scratch().join("sendmail");
    std::fs::write(&sendmail, format!("echo \"ENV:$RR_TEST_MINE\" > {0}; cat >> {0}", out.display())).unwrap();
    let server = setup.ini("sendmail_path", &format!("/bin/sh {}", sendmail.display())).start();
    assert_eq!(server.text("/mail.php"), "bool(true)\n");
    let mail = std::fs::read_to_string(out).unwrap();
    for line in ["ENV:by mail", "To: to@example.test", "Subject: Subject", "X-Extra: 1", "line two"] {
        assert!(mail.contains(line), "{line}: {mail}");
    }
}

#[test]
fn env_superglobal_follows_variables_order() {
    let server = server()
        .ini("variables_order", "EGPCS")
        .env("RR_TEST_GIVEN", "yes")
        .php("e.php", "echo $_ENV['RR_TEST_GIVEN'] ?? 'none', $_SERVER['RR_TEST_GIVEN'] ?? 'none';")
        .start();
    assert_eq!(server.text("/e.php"), "yesyes");
}

#[test]
fn ini_values_of_the_server_apply_and_ini_set_lasts_one_request() {
    let server = server()
        .threads(1)
        .ini("precision", "7")
        .ini("user_agent", "from the server")
        .php("set.php", "ini_set('precision', '3'); ini_set('user_agent', 'mine'); echo 1/3;")
        .php("get.php", "echo 1/3, ini_get('user_agent');")
        .start();
    assert_eq!(server.text("/get.php"), "0.3333333from the server");
    assert_eq!(server.text("/set.php"), "0.333");
    assert_eq!(server.text("/get.php"), "0.3333333from the server");
}

#[test]
fn user_ini_files_apply_to_their_directory() {
    let server = server()
        .threads(1)
        .ini("user_ini.cache_ttl", "0")
        .php("top.php", "echo ini_get('precision'), ini_get('memory_limit');")
        .file("sub/.user.ini", "precision = 5\nmemory_limit = 99M\n")
        .php("sub/in.php", "echo ini_get('precision'), ini_get('memory_limit');")
        .php("sub/deeper/in.php", "echo ini_get('precision'), ini_get('memory_limit');")
        .start();
    assert_eq!(server.text("/sub/in.php"), "599M");
    assert_eq!(server.text("/sub/deeper/in.php"), "599M");
    assert_eq!(server.text("/top.php"), "14128M");
    std::fs::write(server.root().join("sub/.user.ini"), "precision = 6\n").unwrap();
    assert!(crate::harness::wait_until(std::time::Duration::from_secs(5), || server.text("/sub/in.php") == "6128M"));
    assert_ne!(server.get("/sub/.user.ini").send().status, 200, "and is never sent");
}

#[test]
fn auto_prepend_and_append_files_run_around_the_script() {
    let setup = server();
    let root = setup.document_root().display().to_string();
    let server = setup
        .ini("auto_prepend_file", &format!("{root}/prepend.php"))
        .ini("auto_append_file", &format!("{root}/append.php"))
        .php("prepend.php", "$from = 'prepend'; echo '[';")
        .php("append.php", "echo ']';")
        .php("m.php", "echo $from, basename(__FILE__);")
        .start();
    assert_eq!(server.text("/m.php"), "[prependm.php]");
}

#[test]
fn php_binary_is_a_php_that_runs() {
    let server = server().php("b.php", "echo PHP_BINARY, \"\\n\", shell_exec(escapeshellarg(PHP_BINARY) . ' -n -r ' . escapeshellarg('echo PHP_VERSION;')) === PHP_VERSION ? 'same' : 'other';").start();
    if reference().is_none() {
        assert!(server.text("/b.php").ends_with("same"), "{}", server.text("/b.php"));
    }
}

#[test]
fn the_sapi_name_is_one_that_opcache_and_applications_know() {
    let server = server()
        .php("s.php", "echo PHP_SAPI, php_sapi_name(), (int) (opcache_get_status(false)['opcache_enabled'] ?? false);")
        .start();
    assert_eq!(server.text("/s.php"), "fpm-fcgifpm-fcgi1");
}

#[test]
fn opcache_keeps_scripts_between_requests_and_sees_changes() {
    let server = server()
        .ini("opcache.revalidate_freq", "0")
        .php("v.php", "echo 1; echo (int) opcache_is_script_cached(__FILE__);")
        .start();
    server.text("/v.php");
    assert_eq!(server.text("/v.php"), "11");
    // Another size and a time stamp well apart: OPcache compares modification times in seconds.
    let path = server.root().join("v.php");
    std::fs::write(&path, "<?php echo 'changed';").unwrap();
    let later = std::time::SystemTime::now() + std::time::Duration::from_secs(10);
    std::fs::File::options().write(true).open(&path).unwrap().set_modified(later).unwrap();
    assert_eq!(server.text("/v.php"), "changed");
}

#[test]
fn opcache_reset_and_invalidate_do_no_harm() {
    let server = server()
        .threads(4)
        .php("r.php", "opcache_reset(); echo 'reset';")
        .php("i.php", "opcache_invalidate(__DIR__ . '/inc.php', true); echo include 'inc.php';")
        .php(
            "inc.php",
            "class Included { const X = [1, 2, 3]; static $s = ['a' => 1]; } return array_sum(Included::X) + Included::$s['a'];",
        )
        .start();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let server = &server;
            scope.spawn(move || {
                for round in 0..25 {
                    if thread == 0 && round % 5 == 0 {
                        assert_eq!(server.text("/r.php"), "reset");
                    } else {
                        assert_eq!(server.text("/i.php"), "7");
                    }
                }
            });
        }
    });
}

#[test]
fn setlocale_lasts_one_request_and_stays_on_its_thread() {
    let server = server()
        .threads(1)
        .php("set.php", "echo setlocale(LC_ALL, 'C.UTF-8', 'C.utf8'), setlocale(LC_CTYPE, '0');")
        .php("get.php", "echo setlocale(LC_ALL, '0');")
        .start();
    let before = server.text("/get.php");
    assert!(server.text("/set.php").starts_with("C."));
    assert_eq!(server.text("/get.php"), before);
}

#[test]
fn umask_lasts_one_request() {
    let server = server()
        .threads(1)
        .php("set.php", "umask(0077); $f = sys_get_temp_dir() . '/rr-umask-' . getmypid() . mt_rand(); touch($f); printf('%o', fileperms($f) & 0777); unlink($f);")
        .php("get.php", "printf('%o', umask());")
        .start();
    assert_eq!(server.text("/get.php"), "22");
    assert_eq!(server.text("/set.php"), "600");
    assert_eq!(server.text("/get.php"), "22");
}

#[test]
fn the_working_directory_is_the_script_s_and_chdir_lasts_one_request() {
    let server = server()
        .threads(1)
        .php("sub/w.php", "echo getcwd() === __DIR__ ? 'same' : getcwd(); echo file_get_contents('near.txt'); chdir('/'); echo getcwd(), file_exists('etc') ? 1 : 0;")
        .file("sub/near.txt", "near")
        .php("next.php", "echo basename(getcwd()), trim(shell_exec('pwd')) === __DIR__ ? 1 : 0;")
        .start();
    assert_eq!(server.text("/sub/w.php"), "samenear/1");
    let root = server.root().file_name().unwrap().to_str().unwrap().to_owned();
    assert_eq!(server.text("/next.php"), format!("{root}1"));
}

#[test]
fn native_calls_with_relative_paths_see_the_script_s_directory() {
    let server = server()
        .threads(2)
        .php("sub/r.php", "touch('made'); rename('made', 'renamed'); $d = new SQLite3('rel.db'); $d->exec('create table t(a)'); mkdir('d'); echo implode(',', array_map('basename', glob('*'))), is_file(__DIR__ . '/rel.db') ? 'here' : 'elsewhere';")
        .start();
    assert_eq!(server.text("/sub/r.php"), "d,r.php,rel.db,renamedhere");
}

#[test]
fn realpath_remembers_what_it_has_found_until_told_to_forget() {
    // The file goes without PHP noticing, as when another process removes it.
    let script = "$file = tempnam(__DIR__, 'rr'); $real = realpath($file); shell_exec('rm '.escapeshellarg($file)); \
                  echo json_encode([$real === $file, realpath($file) === $file]); clearstatcache(true); \
                  echo json_encode([realpath($file), realpath(dirname($file)) === dirname($file), realpath('.') === __DIR__]);";
    let server = server().php("real.php", script).start();
    assert_eq!(server.text("/real.php"), "[true,true][false,true,true]");
}

#[test]
fn phpinfo_prints_a_page() {
    let server = server().php("i.php", "phpinfo();").start();
    let page = server.text("/i.php");
    assert!(page.contains("<title>PHP "), "{}", &page[..2000.min(page.len())]);
}

#[test]
fn extensions_applications_need_are_there() {
    let server = server().php("x.php", "echo json_encode(get_loaded_extensions());").start();
    let seen = server.get("/x.php").send().json();
    let loaded: Vec<_> = seen.as_array().unwrap().iter().filter_map(Value::as_str).collect();
    for name in [
        "mbstring",
        "intl",
        "gd",
        "zip",
        "curl",
        "openssl",
        "mysqli",
        "pdo_mysql",
        "pdo_sqlite",
        "sodium",
        "bcmath",
        "exif",
        "Zend OPcache",
    ] {
        assert!(loaded.contains(&name), "{name}");
    }
}
