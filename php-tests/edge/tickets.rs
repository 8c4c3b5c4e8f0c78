//! Sessions that are resumed, by whichever engine.

use std::{fs, process::Command};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use rustls::version::{TLS12, TLS13};

use super::with;
use crate::harness::{Office, PATIENCE, Server, Setup, finish, not_run, reference, server, wait_until};

fn site(office: &Office) -> Setup {
    with(server(), &office.options()).php("pid.php", "echo getmypid();")
}

fn has_openssl() -> bool {
    let found = Command::new("openssl").arg("version").output();
    found.inspect_err(|error| not_run("openssl", &error.to_string())).is_ok()
}

fn engine(server: &Server) -> Pid {
    Pid::from_raw(server.text("/pid.php").parse().unwrap())
}

/// Has another engine serve, and the one before end.
fn change(server: &Server, act: impl FnOnce(Pid)) {
    let old = engine(server);
    act(old);
    assert!(wait_until(PATIENCE, || kill(old, None::<Signal>).is_err()), "the old engine stays: {}", server.log.text());
    let asked = || server.get("/pid.php").send();
    assert!(wait_until(PATIENCE, || asked().status == 200 && asked().text() != old.to_string()), "{}", server.log.text());
}

fn reload(server: &Server) {
    change(server, |_| server.signal(Signal::SIGHUP));
}

#[test]
fn sessions_are_resumed_by_the_engine_after_a_reload_and_after_a_crash() {
    if reference().is_some() {
        return;
    }
    let office = Office::new();
    let server = site(&office).start();
    let clients = [&TLS12, &TLS13].map(|version| office.resumer(version, None));
    assert!(clients.iter().all(|client| !client.resumes()), "each is new");
    assert!(clients.iter().all(|client| client.resumes()));
    reload(&server);
    assert!(clients.iter().all(|client| client.resumes()), "after a reload");
    change(&server, |old| kill(old, Signal::SIGKILL).unwrap());
    assert!(clients.iter().all(|client| client.resumes()), "after a crash");
    assert!(!office.resumer(&TLS13, None).resumes(), "a stranger");
}

#[test]
fn all_engines_that_serve_side_by_side_resume_them() {
    if reference().is_some() {
        return;
    }
    let office = Office::new();
    let _server = site(&office).option("engine.processes=3").start();
    let client = office.resumer(&TLS13, None);
    client.resumes();
    let mut engines = std::collections::BTreeSet::new();
    let asked = || {
        assert!(client.resumes());
        engines.insert(client.fetch("/pid.php").unwrap().body);
        engines.len() == 3
    };
    assert!(wait_until(PATIENCE, asked));
}

#[test]
fn without_tickets_every_connection_begins_anew() {
    if reference().is_some() {
        return;
    }
    let office = Office::new();
    let _server = site(&office).option("http.ssl.tickets=false").start();
    for version in [&TLS12, &TLS13] {
        let client = office.resumer(version, None);
        assert!(!client.resumes() && !client.resumes());
    }
}

#[test]
fn keys_are_replaced_and_the_oldest_tickets_open_no_more() {
    if reference().is_some() || !has_openssl() {
        return;
    }
    let office = Office::new();
    let _server = site(&office).option("http.ssl.ticket_lifetime=1s").start();
    let ticket = office.path("ticket").display().to_string();
    let meet = |arguments: [&str; 2]| {
        let mut client = Command::new("openssl");
        client.args(["s_client", "-tls1_2", "-connect", &office.port.to_string(), "-servername", "server.test"]).args(arguments);
        String::from_utf8_lossy(&finish(client, b"Q\n").stdout).into_owned()
    };
    let first = meet(["-sess_out", &ticket]);
    assert!(first.contains("\nNew, TLSv1.2"), "{first}");
    // The same one again and again, without a look at how long it was to be kept.
    assert!(wait_until(PATIENCE, || meet(["-sess_in", &ticket]).contains("\nNew, TLSv1.2")), "it opens for ever");
    let later = meet(["-sess_out", &ticket]);
    assert!(later.contains("\nNew, TLSv1.2"), "{later}");
    assert!(meet(["-sess_in", &ticket]).contains("\nReused, TLSv1.2"), "the keys that there are now");
}

/// Sets what is asked of clients, and reloads.
fn ask(server: &Server, more: &str) {
    fs::write(server.dir().join(".rr.yaml"), format!("version: '3'\nhttp:\n  ssl:\n    {more}\n")).unwrap();
    reload(server);
}

#[test]
fn a_ticket_is_no_way_around_certificates_of_clients() {
    if reference().is_some() {
        return;
    }
    let (office, other) = (Office::new(), Office::new());
    office.sign("alice", &["client"]);
    let authority = |office: &Office| format!("root_ca: {}", office.path("ca.pem").display());
    let verified = |office: &Office| format!("client_auth_type: require_and_verify_client_cert\n    {}", authority(office));
    let server = site(&office).config(".rr.yaml", "version: '3'\nhttp:\n  ssl:\n    tickets: true\n").start();
    for version in [&TLS12, &TLS13] {
        let (nobody, alice) = (office.resumer(version, None), office.resumer(version, Some("alice")));
        assert!(!nobody.resumes() && nobody.resumes() && !alice.resumes());
        ask(&server, &verified(&office));
        assert!(nobody.fetch("/server.php").is_err(), "it was asked for nothing when its session began");
        let shown = || alice.fetch("/server.php").unwrap();
        let of = |name: &str| shown().server(name);
        assert_eq!(of("SSL_SESSION_RESUMED").as_deref(), Some("Initial"), "she has to show her certificate first");
        assert_eq!(of("SSL_SESSION_RESUMED").as_deref(), Some("Resumed"));
        reload(&server);
        let after = shown();
        assert_eq!(after.server("SSL_SESSION_RESUMED").as_deref(), Some("Resumed"));
        assert_eq!(after.server("SSL_CLIENT_S_DN").as_deref(), Some("CN=alice"), "who she is goes with the ticket");
        assert_eq!(after.server("SSL_CLIENT_VERIFY").as_deref(), Some("SUCCESS"));
        ask(&server, &verified(&other));
        assert!(alice.fetch("/server.php").is_err(), "another authority, which has not signed hers");
        ask(&server, "tickets: true");
    }
}
