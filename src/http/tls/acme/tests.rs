//! What needs no authority: the cache, and when to do what.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    time::{Duration, SystemTime},
};

use super::{store::Failure, *};

/// A cache that goes away with the test.
struct Cache(PathBuf);

impl Cache {
    fn new(name: &str) -> Self {
        Self(std::env::temp_dir().join(format!("rr-acme-{}-{name}", std::process::id())))
    }

    fn acme(&self) -> Acme {
        let acme = Acme::new(Config {
            cache_dir: self.0.clone(),
            directory: "https://ca.test:14000/dir".into(),
            directory_ca: None,
            email: None,
            external: None,
            domains: vec!["a.test".into()],
            on_demand: vec!["b.test".into()],
            on_demand_per_hour: 1,
            challenge: Challenge::Http01,
            port: 80,
            is_served: true,
            key_type: KeyType::P256,
            order_timeout: Duration::from_secs(60),
            retry_after: Duration::from_secs(60),
            max_retry_after: Duration::from_secs(3600),
        });
        acme.0.store.prepare().unwrap();
        acme
    }
}

impl Drop for Cache {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

#[test]
fn one_process_owns_a_cache_and_what_is_in_it_is_for_one_user() {
    let cache = Cache::new("own");
    let (one, other) = (cache.acme(), cache.acme());
    let owned = one.0.store.own().unwrap().expect("nobody else is there");
    assert!(other.0.store.own().unwrap().is_none());
    drop(owned);
    assert!(other.0.store.own().unwrap().is_some());
    assert!(one.0.store.path().ends_with("ca.test-14000-dir"), "each authority has its own");
    let file = one.0.store.certificate("a.test");
    one.0.store.write(&file, b"first").unwrap();
    one.0.store.write(&file, b"second").unwrap();
    assert_eq!(fs::read(&file).unwrap(), b"second");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let directory = file.parent().unwrap();
    assert_eq!(fs::metadata(directory).unwrap().permissions().mode() & 0o777, 0o700);
    assert_eq!(fs::read_dir(directory).unwrap().count(), 1, "nothing is left beside it");
}

#[test]
fn every_process_answers_what_one_was_asked() {
    let cache = Cache::new("answers");
    let (one, other) = (cache.acme(), cache.acme());
    one.0.store.give(Challenge::Http01, "some-token_1", b"some-token_1.thumb").unwrap();
    let path = |token: &str| format!("/.well-known/acme-challenge/{token}");
    let response = other.respond(&http::Method::GET, &path("some-token_1")).unwrap();
    assert_eq!(response.status(), 200);
    for unknown in ["other", "", "../account.json", ".some-token_1", "a/b", &"x".repeat(300)] {
        assert!(other.respond(&http::Method::GET, &path(unknown)).is_none(), "{unknown}");
    }
    assert!(other.respond(&http::Method::POST, &path("some-token_1")).is_none());
    assert!(other.respond(&http::Method::GET, "/index.php").is_none());
    one.0.store.clear(Challenge::Http01);
    assert!(other.respond(&http::Method::GET, &path("some-token_1")).is_none());
    assert!(one.0.store.give(Challenge::Http01, "../x", b"y").is_err(), "whatever an authority says");
}

#[test]
fn an_authority_is_greeted_only_while_it_looks() {
    let cache = Cache::new("greeting");
    let acme = cache.acme();
    let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    assert!(acme.greeting("a.test", &provider).is_none());
    acme.0.store.give(Challenge::TlsAlpn01, "a.test", &[7; 32]).unwrap();
    let greeting = acme.greeting("a.test", &provider).unwrap();
    assert_eq!(greeting.alpn_protocols, [ACME_TLS]);
    assert!(acme.greeting("b.test", &provider).is_none());
}

#[test]
fn only_listed_hosts_are_asked_for_and_not_while_they_fail() {
    let cache = Cache::new("wanted");
    let acme = cache.acme();
    assert!(!acme.ask_for("c.test") && !acme.ask_for("a.test"), "not on demand");
    assert!(acme.ask_for("b.test") && acme.ask_for("b.test"));
    assert_eq!(acme.0.store.wanted(), ["b.test"]);
    let failure = due::after_failure(None, Duration::from_secs(60), Duration::from_secs(60));
    acme.0.store.fail("b.test", failure).unwrap();
    assert!(!acme.ask_for("b.test"));
    acme.0.store.fail("b.test", Failure { count: 1, until: 1 }).unwrap();
    assert!(acme.ask_for("b.test"), "it may be tried again");
    acme.0.store.forget("b.test");
    assert!(acme.0.store.wanted().is_empty() && acme.0.store.failure("b.test").is_none());
}

#[test]
fn waits_grow_up_to_a_bound() {
    let (first, longest) = (Duration::from_secs(100), Duration::from_secs(500));
    let mut last = None;
    for (count, most) in [(1, 100), (2, 200), (3, 400), (4, 500), (5, 500)] {
        let now = SystemTime::now();
        let failure = due::after_failure(last, first, longest);
        let wait = failure.until().duration_since(now).unwrap().as_secs();
        assert_eq!(failure.count, count);
        // The clock may go on while this is computed, and the end is rounded up.
        assert!((most * 3 / 4 - 1..=most + 2).contains(&wait), "{count}: {wait}");
        last = Some(failure);
    }
    let many = Failure { count: u32::MAX, until: 0 };
    assert_eq!(due::after_failure(Some(many), first, longest).count, u32::MAX);
}

#[test]
fn a_certificate_is_renewed_in_its_last_third() {
    let from = due::at(1_000_000);
    let until = due::at(1_000_000 + 90 * 86_400);
    for _ in 0..100 {
        let at = due::seconds(due::renewal(from, until)) - 1_000_000;
        assert!((60 * 86_400..=63 * 86_400).contains(&at), "{at}");
        let window = (due::at(2_000_000), due::at(2_000_100));
        assert!((2_000_000..=2_000_100).contains(&due::seconds(due::suggested(window, until))));
        assert_eq!(due::suggested((due::at(9_000_000), due::at(9_000_100)), until), until, "never after its end");
    }
}
