//! How long a script may run, how much it may hold, and who hears of its end.

use std::time::{Duration, Instant};

use crate::harness::{PATIENCE, reference, server, wait_until};

#[test]
fn shutdown_functions_run_in_order_before_destructors() {
    let server = server().start();
    assert_eq!(server.text("/shutdown.php"), "main,first,second,nested,destroyed");
}

#[test]
fn sleep_does_not_count_against_max_execution_time() {
    let server = server().ini("max_execution_time", "1").php("s.php", "sleep(2); usleep(100000); echo 'awake';").start();
    assert_eq!(server.text("/s.php"), "awake");
}

#[test]
fn busy_time_counts_against_max_execution_time() {
    let server = server()
        .ini("max_execution_time", "1")
        .ini("display_errors", "1")
        .ini("html_errors", "0")
        .php("b.php", "while (true);")
        .start();
    let begun = Instant::now();
    let reply = server.get("/b.php").send();
    assert!(reply.text().contains("Maximum execution time of 1 second exceeded"), "{}", reply.text());
    assert!(begun.elapsed() >= Duration::from_millis(900) && begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
}

#[test]
fn set_time_limit_starts_the_count_again() {
    let server = server()
        .ini("max_execution_time", "1")
        .php(
            "a.php",
            "for ($i = 0; $i < 3; $i++) { set_time_limit(1); $t = hrtime(true); while (hrtime(true) - $t < 6e8); } echo 'done';",
        )
        .php("z.php", "set_time_limit(0); $t = hrtime(true); while (hrtime(true) - $t < 22e8); echo 'done';")
        .php("next.php", "echo ini_get('max_execution_time');")
        .threads(1)
        .start();
    assert_eq!(server.text("/a.php"), "done");
    assert_eq!(server.text("/z.php"), "done");
    assert_eq!(server.text("/next.php"), "1");
}

#[test]
fn request_timeout_counts_by_the_clock() {
    if reference().is_some() {
        return;
    }
    let server = server()
        .threads(1)
        .ini("display_errors", "0")
        .option("http.request_timeout=1s")
        .php("s.php", "sleep(20); echo 'awake';")
        .start();
    let begun = Instant::now();
    let reply = server.get("/s.php").send();
    assert!(matches!(reply.status, 500 | 504), "{}", reply.status);
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    assert_eq!(server.text("/clean.php"), "clean ");
}

#[test]
fn memory_limit_is_kept_and_can_be_changed_for_a_request() {
    let server = server()
        .threads(1)
        .ini("memory_limit", "32M")
        .ini("display_errors", "1")
        .ini("html_errors", "0")
        .php("m.php", "echo ini_get('memory_limit'); $x = str_repeat('x', 40 << 20);")
        .php("more.php", "ini_set('memory_limit', '64M'); $x = str_repeat('x', 40 << 20); echo strlen($x);")
        .start();
    let reply = server.get("/m.php").send();
    assert!(reply.text().contains("Allowed memory size of 33554432 bytes exhausted"), "{}", reply.text());
    assert_eq!(server.text("/more.php"), (40 << 20).to_string());
    assert!(server.get("/m.php").send().text().contains("exhausted"));
}

#[test]
fn a_gone_client_is_noticed_at_a_write_and_ends_the_script() {
    let server = server().threads(1).start();
    let to = server.dir().join("aborted");
    let mut connection = server.get(&format!("/abort.php?to={}", to.display())).fire();
    connection.read_head().unwrap();
    drop(connection);
    assert!(wait_until(PATIENCE, || std::fs::read_to_string(&to).is_ok_and(|text| !text.is_empty())), "{}", server.log.text());
    let seen = std::fs::read_to_string(&to).unwrap();
    assert!(seen.starts_with("[1,1,"), "{seen}");
    let reached: u32 = seen.trim_end_matches(']').rsplit(',').next().unwrap().parse().unwrap();
    assert!(reached < 200, "{seen}");
    assert_eq!(server.text("/clean.php"), "clean ");
}

#[test]
fn a_script_that_ignores_aborts_runs_on_and_can_see_them() {
    let server = server().threads(1).start();
    let to = server.dir().join("aborted");
    let mut connection = server.get(&format!("/abort.php?ignore=1&to={}", to.display())).fire();
    connection.read_head().unwrap();
    drop(connection);
    assert!(wait_until(PATIENCE, || std::fs::read_to_string(&to).is_ok_and(|text| !text.is_empty())), "{}", server.log.text());
    assert_eq!(std::fs::read_to_string(&to).unwrap(), "[1,1,999]");
}

#[test]
fn a_client_that_fires_and_leaves_still_has_its_script_run() {
    if reference().is_some() {
        return; // nginx drops it
    }
    let server = server()
        .threads(1)
        .php("cron.php", "ignore_user_abort(true); usleep(200000); file_put_contents($_GET['to'], 'ran');")
        .start();
    let to = server.dir().join("cron");
    drop(server.get(&format!("/cron.php?to={}", to.display())).fire());
    assert!(wait_until(PATIENCE, || to.exists()), "{}", server.log.text());
}

#[test]
fn work_that_waits_runs_though_its_client_has_gone() {
    if reference().is_some() {
        return; // nginx drops it
    }
    let server = server()
        .threads(1)
        .php("busy.php", "usleep(500000); echo 1;")
        .php("cron.php", "ignore_user_abort(true); file_put_contents($_GET['to'], 'ran');")
        .start();
    let to = server.dir().join("cron");
    let busy = server.get("/busy.php").fire();
    drop(server.get(&format!("/cron.php?to={}", to.display())).fire());
    assert!(wait_until(PATIENCE, || to.exists()), "{}", server.log.text());
    drop(busy);
}

#[test]
fn a_request_to_oneself_does_not_deadlock_one_thread() {
    let server = server()
        .threads(1)
        .php("self.php", "$c = stream_context_create(['http' => ['timeout' => 0.3]]); $r = @file_get_contents(\"http://{$_SERVER['HTTP_HOST']}/clean.php\", false, $c); var_dump($r);")
        .start();
    assert_eq!(server.text("/self.php"), "bool(false)\n");
    assert_eq!(server.text("/clean.php"), "clean ");
}

#[test]
fn connection_status_is_normal_while_the_client_is_there() {
    let server = server()
        .php(
            "c.php",
            "echo connection_status(), connection_aborted(), ignore_user_abort(), ignore_user_abort(true), ignore_user_abort();",
        )
        .start();
    assert_eq!(server.text("/c.php"), "00001");
}
