//! Certificates from an authority that speaks ACME.

use std::{fs, path::PathBuf};

use nix::sys::signal::{Signal, kill};

use super::{has_curl, with};
use crate::harness::{PATIENCE, Pebble, Rules, Setup, free_port, pebble::EXTERNAL, reference, server, wait_until};

const USUAL: Rules = Rules { validity: 86_400, wants_external: false, dawdle: 0 };

fn authority(rules: Rules) -> Option<Pebble> {
    if reference().is_some() || !has_curl() { None } else { Pebble::start(rules) }
}

/// A server whose own port is where the authority looks.
fn looked_at(pebble: &Pebble, options: &[String]) -> Setup {
    with(server().at(pebble.http), options)
}

/// The only file of this name below the cache.
fn cached(pebble: &Pebble, name: &str) -> Option<PathBuf> {
    let authority = fs::read_dir(pebble.cache()).ok()?.next()?.ok()?.path();
    Some(authority.join(name)).filter(|path| path.exists())
}

#[test]
fn certificates_are_issued_and_kept_over_a_restart() {
    let Some(mut pebble) = authority(USUAL) else { return };
    let ssl = free_port();
    let options = pebble.options("one.acme.test,Two.acme.test", ssl);
    let first = looked_at(&pebble, &options).option("http.ssl.redirect=true").start();
    assert!(first.logs("no certificate yet for one.acme.test, two.acme.test"), "{}", first.log.text());
    assert_eq!(first.get("/server.php").header("Host", "one.acme.test").send().status, 308, "HTTP is up");
    let shown = |host: &str| pebble.shown(host, ssl);
    assert!(wait_until(PATIENCE, || shown("one.acme.test").is_some() && shown("two.acme.test").is_some()));
    assert_ne!(shown("one.acme.test"), shown("two.acme.test"), "one for each host");
    let before = shown("one.acme.test");
    first.stop();
    drop(first);
    pebble.stop();
    let second = looked_at(&pebble, &options).start();
    assert_eq!(pebble.shown("one.acme.test", ssl), before);
    second.stop();
    let log = second.log.text();
    assert!(!log.contains("asking") && !log.contains("no certificate yet") && !log.contains("failed"), "{log}");
}

#[test]
fn control_is_shown_in_both_ways_and_on_ports_of_their_own() {
    let Some(pebble) = authority(Rules { wants_external: true, ..USUAL }) else { return };
    let bound = [
        format!("http.ssl.acme.eab_key_id={}", EXTERNAL.0),
        format!("http.ssl.acme.eab_hmac_key={}", EXTERNAL.1),
        "http.ssl.acme.email=webmaster@acme.test".to_owned(),
    ];
    let cases = [
        ("http", "http-01", free_port(), "p256"),
        ("handshake", "tlsalpn-01", free_port(), "p384"),
        ("own", "tlsalpn-01", pebble.tls, "rsa2048"),
    ];
    for (name, challenge, ssl, key) in cases {
        let host = format!("{name}.acme.test");
        let server = with(server(), &pebble.options(&host, ssl));
        let server = with(server, &bound)
            .option(&format!("http.ssl.acme.challenge_type={challenge}"))
            .option(&format!("http.ssl.acme.key_type={key}"))
            .start();
        assert!(wait_until(PATIENCE, || pebble.shown(&host, ssl).is_some()), "{name}: {}", server.log.text());
        server.stop();
    }
}

#[test]
fn certificates_are_renewed_also_by_an_authority_that_has_forgotten_the_account() {
    let Some(mut pebble) = authority(Rules { validity: 30, ..USUAL }) else { return };
    let ssl = free_port();
    let server = looked_at(&pebble, &pebble.options("short.acme.test", ssl)).start();
    let mut first = None;
    assert!(wait_until(PATIENCE, || {
        first = pebble.shown("short.acme.test", ssl);
        first.is_some()
    }));
    assert!(
        wait_until(PATIENCE, || pebble.shown("short.acme.test", ssl).is_some_and(|now| Some(&now) != first.as_ref())),
        "{}",
        server.log.text()
    );
    pebble.stop();
    pebble.go();
    // Its root is another one now.
    assert!(server.log.contains("the authority does not know this account any more", PATIENCE), "{}", server.log.text());
    assert!(wait_until(PATIENCE, || pebble.shown("short.acme.test", ssl).is_some()), "{}", server.log.text());
}

#[test]
fn an_authority_that_is_not_there_is_asked_again() {
    if reference().is_some() || !has_curl() {
        return;
    }
    let Some(mut pebble) = Pebble::prepare(USUAL) else { return };
    let ssl = free_port();
    let server = looked_at(&pebble, &pebble.options("late.acme.test", ssl)).start();
    assert!(server.log.contains("there is no certificate; failed 2 times, next try at", PATIENCE), "{}", server.log.text());
    assert_eq!(server.get("/server.php").send().status, 200);
    pebble.go();
    assert!(wait_until(PATIENCE, || pebble.shown("late.acme.test", ssl).is_some()), "{}", server.log.text());
}

#[test]
fn a_reload_goes_on_with_the_order() {
    let Some(pebble) = authority(Rules { dawdle: 8, ..USUAL }) else { return };
    let ssl = free_port();
    let setup = looked_at(&pebble, &pebble.options("reloaded.acme.test", ssl)).php("pid.php", "echo getmypid();");
    let server = setup.start();
    let old = nix::unistd::Pid::from_raw(server.text("/pid.php").parse().unwrap());
    assert!(wait_until(PATIENCE, || cached(&pebble, "orders/reloaded.acme.test.json").is_some()), "{}", server.log.text());
    server.signal(Signal::SIGHUP);
    assert!(wait_until(PATIENCE, || kill(old, None).is_err()), "the old engine stays");
    assert!(wait_until(PATIENCE, || pebble.shown("reloaded.acme.test", ssl).is_some()), "{}", server.log.text());
    let orders = pebble.log().matches("Added order").count();
    assert_eq!(orders, 1, "{}\n{}", server.log.text(), pebble.log());
    assert!(cached(&pebble, "orders/reloaded.acme.test.json").is_none(), "it is done");
}

#[test]
fn a_listed_host_gets_its_certificate_when_a_client_first_asks() {
    let Some(pebble) = authority(USUAL) else { return };
    let ssl = free_port();
    let server = looked_at(&pebble, &pebble.options("", ssl))
        .option("http.ssl.acme.on_demand=later.acme.test,full.acme.test")
        .option("http.ssl.acme.on_demand_per_hour=1")
        .option("http.ssl.handshake_timeout=3s")
        .start();
    assert!(pebble.shown("stranger.acme.test", ssl).is_none());
    // The first one waits for it; where everything is slow, a later one finds it.
    assert!(wait_until(PATIENCE, || pebble.shown("later.acme.test", ssl).is_some()), "{}", server.log.text());
    assert!(pebble.shown("full.acme.test", ssl).is_none());
    assert!(server.logs("full.acme.test waits: 1 hosts within an hour are all"), "{}", server.log.text());
    assert!(!server.log.text().contains("stranger"), "{}", server.log.text());
}
