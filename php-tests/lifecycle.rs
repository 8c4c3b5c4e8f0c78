//! Starting, stopping, and starting again.

use std::{
    thread,
    time::{Duration, Instant},
};

use nix::sys::signal::Signal;

use crate::harness::{Setup, reference, server};

fn slow() -> Setup {
    server().php("slow.php", "file_put_contents($_GET['began'], '1'); usleep((int) $_GET['ms'] * 1000); echo 'finished';").php("ok.php", "echo 'ok';")
}

#[test]
fn the_banner_names_address_root_and_php() {
    if reference().is_some() {
        return;
    }
    let server = slow().start();
    assert!(server.logs(&format!("http://{}", server.address)), "{}", server.log.text());
    let version = server.log.text();
    assert!(version.contains(" 8.") && version.contains(server.root().to_str().unwrap()), "{version}");
}

#[test]
fn a_running_request_finishes_before_the_server_ends() {
    if reference().is_some() {
        return;
    }
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGQUIT] {
        let server = slow().threads(1).start();
        let began = server.dir().join("began");
        let mut connection = server.get(&format!("/slow.php?ms=1000&began={}", began.display())).fire();
        assert!(crate::harness::wait_until(Duration::from_secs(10), || began.exists()));
        server.signal(signal);
        assert_eq!(connection.read().unwrap().text(), "finished", "{signal}");
        let status = server.ended_within(Duration::from_secs(10)).unwrap_or_else(|| panic!("{signal}: {}", server.log.text()));
        assert_eq!(status.code(), Some(0), "{signal}: {}", server.log.text());
    }
}

#[test]
fn waiting_requests_are_served_before_the_server_ends() {
    if reference().is_some() {
        return;
    }
    let server = slow().threads(1).start();
    let began = server.dir().join("began");
    let mut running = server.get(&format!("/slow.php?ms=800&began={}", began.display())).fire();
    assert!(crate::harness::wait_until(Duration::from_secs(10), || began.exists()));
    let mut waiting = server.get("/ok.php").fire();
    thread::sleep(Duration::from_millis(100));
    server.signal(Signal::SIGTERM);
    assert_eq!(running.read().unwrap().text(), "finished");
    assert_eq!(waiting.read().unwrap().text(), "ok");
    assert_eq!(server.ended_within(Duration::from_secs(10)).and_then(|status| status.code()), Some(0));
}

#[test]
fn a_second_signal_ends_at_once() {
    if reference().is_some() {
        return;
    }
    let server = slow().threads(1).start();
    let began = server.dir().join("began");
    let _running = server.get(&format!("/slow.php?ms=20000&began={}", began.display())).fire();
    assert!(crate::harness::wait_until(Duration::from_secs(10), || began.exists()));
    let begun = Instant::now();
    server.signal(Signal::SIGTERM);
    assert!(server.ended_within(Duration::from_millis(500)).is_none(), "it waits for the request");
    server.signal(Signal::SIGTERM);
    assert!(server.ended_within(Duration::from_secs(3)).is_some(), "still there after {:?}", begun.elapsed());
}

#[test]
fn idle_connections_do_not_keep_a_server_alive() {
    if reference().is_some() {
        return;
    }
    let server = slow().start();
    let mut idle = server.connect();
    idle.send(&server.get("/ok.php")).unwrap();
    let _silent = server.connect();
    let begun = Instant::now();
    server.stop();
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
}

#[test]
fn an_idle_server_stops_soon() {
    if reference().is_some() {
        return;
    }
    let server = slow().threads(4).start();
    assert_eq!(server.text("/ok.php"), "ok");
    let begun = Instant::now();
    server.stop();
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
}

#[test]
fn a_client_that_never_reads_does_not_keep_a_server_alive_for_ever() {
    if reference().is_some() {
        return;
    }
    let server = slow().php("big.php", "for ($i = 0; $i < 3000; $i++) echo str_repeat('x', 10000);").option("engine.grace_period=2s").start();
    let _stuck = server.get("/big.php").fire();
    thread::sleep(Duration::from_millis(300));
    server.signal(Signal::SIGTERM);
    assert!(server.ended_within(Duration::from_secs(15)).is_some(), "{}", server.log.text());
}

#[test]
fn shutdown_functions_and_sessions_are_saved_on_a_stop() {
    if reference().is_some() {
        return;
    }
    let server = slow().threads(1).php("d.php", "register_shutdown_function(fn () => file_put_contents($_GET['to'], 'saved')); file_put_contents($_GET['began'], '1'); usleep(500000);").start();
    let (to, began) = (server.dir().join("to"), server.dir().join("began"));
    let _running = server.get(&format!("/d.php?to={}&began={}", to.display(), began.display())).fire();
    assert!(crate::harness::wait_until(Duration::from_secs(10), || began.exists()));
    server.stop();
    assert_eq!(std::fs::read_to_string(to).unwrap(), "saved");
}

#[test]
fn the_port_can_be_had_again_at_once() {
    if reference().is_some() {
        return;
    }
    let first = slow().start();
    let mut kept = first.connect();
    kept.send(&first.get("/ok.php")).unwrap();
    let address = first.address;
    first.stop();
    let second = slow().at(address).start();
    assert_eq!((second.address, second.text("/ok.php").as_str()), (address, "ok"));
}

#[test]
fn a_crash_of_nothing_but_a_script_ends_no_server() {
    if reference().is_some() {
        return;
    }
    let server = server().threads(2).ini("display_errors", "0").php("bad.php", "ini_set('memory_limit', '8M'); set_error_handler(fn () => nowhere()); register_shutdown_function(fn () => nowhere()); echo $x;").start();
    for _ in 0..30 {
        server.get("/bad.php").send();
    }
    assert_eq!(server.text("/clean.php"), "clean ");
    server.stop();
}
