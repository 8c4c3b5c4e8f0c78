//! What scripts say to the log, and that it arrives.

use crate::harness::{reference, server};

#[test]
fn error_log_arrives_without_an_error_log_file() {
    let server = server().php("l.php", "error_log('to the log: ' . $_GET['tag']); error_log('typed 4', 4);").start();
    server.get("/l.php?tag=T1").send();
    assert!(server.logs("to the log: T1"));
    assert!(server.logs("typed 4"));
}

#[test]
fn error_log_to_a_file_goes_there() {
    let setup = server();
    let file = setup.scratch().join("php.log");
    let server = setup.ini("error_log", file.to_str().unwrap()).php("l.php", "error_log('into the file');").start();
    server.get("/l.php").send();
    assert!(std::fs::read_to_string(&file).unwrap().contains("into the file"));
    assert!(!server.log.text().contains("into the file"));
}

#[test]
fn php_stderr_arrives_and_can_be_closed_and_opened_again() {
    let server = server()
        .threads(1)
        .php(
            "e.php",
            "for ($i = 0; $i < 3; $i++) { $e = fopen('php://stderr', 'w'); fwrite($e, \"stderr {$_GET['tag']} $i\\n\"); fclose($e); } \
             file_put_contents('php://stderr', \"put {$_GET['tag']}\\n\"); $f = fopen(__FILE__, 'r'); echo strlen(fread($f, 5));",
        )
        .start();
    for tag in ["a", "b"] {
        assert_eq!(server.text(&format!("/e.php?tag={tag}")), "5");
        for round in 0..3 {
            assert!(server.logs(&format!("stderr {tag} {round}")));
        }
        assert!(server.logs(&format!("put {tag}")));
    }
    let before = server.log.text().len();
    assert_eq!(server.text("/clean.php"), "clean ");
    assert!(server.log.text().len() >= before);
}

#[test]
fn a_closed_php_stderr_is_not_given_to_the_next_file() {
    let server = server()
        .threads(1)
        .php(
            "c.php",
            "fclose(fopen('php://stderr', 'w')); fclose(fopen('php://stdout', 'w')); fclose(fopen('php://stdin', 'r')); \
             $f = fopen($_GET['to'], 'w+'); fwrite($f, 'mine'); error_log('not into the file'); fclose($f); echo file_get_contents($_GET['to']);",
        )
        .start();
    let to = server.dir().join("opened");
    for _ in 0..3 {
        assert_eq!(server.text(&format!("/c.php?to={}", to.display())), "mine");
    }
    assert!(server.logs("not into the file"));
}

#[test]
fn warnings_are_logged_with_their_place() {
    let server = server()
        .ini("display_errors", "0")
        .ini("log_errors", "1")
        .ini("error_reporting", "32767")
        .php("w.php", "echo $nothing;")
        .start();
    assert_eq!(server.text("/w.php"), "");
    assert!(server.logs("Undefined variable $nothing"));
    assert!(server.logs("w.php"));
}

#[test]
fn displayed_errors_are_html_unless_told_otherwise() {
    let server = server()
        .ini("display_errors", "1")
        .ini("error_reporting", "32767")
        .ini("html_errors", "1")
        .php("w.php", "echo $nothing;")
        .start();
    assert!(server.text("/w.php").contains("<b>Warning</b>:  Undefined variable $nothing in <b>"));
}

#[test]
fn messages_of_the_start_are_logged_as_plain_text() {
    if reference().is_some() {
        return;
    }
    for log_errors in ["0", "1"] {
        let server = server()
            .ini("log_errors", log_errors)
            .ini("display_startup_errors", "1")
            .ini("memory_limit", "abc")
            .ini("extension", "/nonexistent.so")
            .php("w.php", "ini_set('display_errors', 1); error_reporting(-1); echo $nothing;")
            .start();
        assert!(server.logs("PHP Warning:  Invalid \"memory_limit\" setting."), "{}", server.log.text());
        let library = "PHP Warning:  PHP Startup: Unable to load dynamic library '/nonexistent.so' (tried: /nonexistent.so";
        assert!(server.logs(library), "{}", server.log.text());
        let text = server.log.text();
        assert!(!text.contains("<br") && !text.contains("<b>") && !text.contains("&#039;"), "{text}");
        assert_eq!(text.matches("Unable to load dynamic library").count(), 1, "once: {text}");
        assert!(
            server.text("/w.php").contains("<b>Warning</b>:  Undefined variable $nothing in <b>"),
            "pages are HTML as before"
        );
        server.stop();
    }
}

#[test]
fn trigger_error_levels_reach_the_log() {
    let server = server()
        .ini("display_errors", "0")
        .ini("log_errors", "1")
        .php("t.php", "trigger_error('a notice', E_USER_NOTICE); trigger_error('a warning', E_USER_WARNING); trigger_error('deprecated', E_USER_DEPRECATED);")
        .start();
    server.text("/t.php");
    for line in ["PHP Notice:  a notice", "PHP Warning:  a warning", "PHP Deprecated:  deprecated"] {
        assert!(server.logs(line), "{line}");
    }
}

#[test]
fn a_log_line_cannot_forge_another() {
    let server = server().php("f.php", r#"error_log("first\nforged second"); error_log("end\0nul");"#).start();
    server.text("/f.php");
    assert!(server.logs("first"));
    assert_eq!(server.text("/clean.php"), "clean ");
}

#[test]
fn syslog_functions_do_no_harm() {
    let server =
        server().php("s.php", "openlog('rr-test', LOG_PID, LOG_USER); syslog(LOG_INFO, 'x'); closelog(); echo 'ok';").start();
    assert_eq!(server.text("/s.php"), "ok");
}
