use http::Request;

use super::*;

/// A header's name and value, as bytes in Latin-1.
type Line<'a> = (&'a str, &'a str);

const ALL: &[ProxyFact] = &[ProxyFact::For, ProxyFact::Proto, ProxyFact::Host, ProxyFact::Port];

fn proxy_ip(headers: ProxyHeaders, trust: &[ProxyFact]) -> ProxyIp {
    let subnets = [("10.0.0.0", 8), ("fd00::", 8)].map(|(address, bits)| (address.parse().unwrap(), bits));
    ProxyIp { trusted: Subnets::new(subnets), headers, trust: trust.to_vec() }
}

/// The client's address, scheme, host and port, told by a proxy at `from`.
fn told(middleware: &ProxyIp, from: &str, lines: &[Line<'_>]) -> String {
    let mut request = Request::get("http://inner/a?b").header("host", "inner");
    for (name, value) in lines {
        let bytes: Vec<_> = value.chars().map(|letter| u8::try_from(u32::from(letter)).unwrap()).collect();
        request = request.header(*name, bytes);
    }
    let (mut parts, ()) = request.body(()).unwrap().into_parts();
    let mut peer = Peer { remote: from.parse().ok(), local: "10.0.0.9:8080".parse().ok(), ..Peer::default() };
    assert!(matches!(middleware.before(&mut parts, &mut peer), Verdict::Pass(Note::Nothing)));
    let scheme = if peer.secure.is_some() { "https" } else { "http" };
    let host = parts.uri.authority().map_or_else(|| parts.headers["host"].to_str().unwrap().into(), ToString::to_string);
    format!("{} {scheme} {host} {}", peer.remote.unwrap().ip(), peer.local.unwrap().port())
}

fn check(headers: ProxyHeaders, cases: &[(&[Line<'_>], &str)]) {
    for (lines, expected) in cases {
        assert_eq!(told(&proxy_ip(headers, ALL), "10.0.0.1:5", lines), *expected, "{lines:?}");
    }
}

#[test]
fn x_forwarded_is_believed() {
    check(
        ProxyHeaders::XForwarded,
        &[
            (&[], "10.0.0.1 http inner 8080"),
            (&[("x-forwarded-for", "192.0.2.1")], "192.0.2.1 http inner 8080"),
            (&[("x-forwarded-for", "1.1.1.1, 192.0.2.1, 10.0.0.7")], "192.0.2.1 http inner 8080"),
            (&[("x-forwarded-for", "1.1.1.1"), ("x-forwarded-for", "192.0.2.1")], "192.0.2.1 http inner 8080"),
            (&[("x-forwarded-for", "10.1.1.1, 10.0.0.7")], "10.1.1.1 http inner 8080"),
            (&[("x-forwarded-for", "nonsense, 10.0.0.7")], "10.0.0.7 http inner 8080"),
            (&[("true-client-ip", "192.0.2.2"), ("cf-connecting-ip", "192.0.2.3")], "192.0.2.2 http inner 8080"),
            (&[("cf-connecting-ip", "192.0.2.3:99")], "192.0.2.3 http inner 8080"),
            (
                &[("x-forwarded-proto", "https"), ("x-forwarded-host", "a.test:8443"), ("x-forwarded-port", "8443")],
                "10.0.0.1 https a.test:8443 8443",
            ),
            (&[("x-forwarded-proto", "http, https"), ("x-forwarded-host", "evil\"")], "10.0.0.1 https inner 8080"),
            (&[("x-forwarded-port", "1, 443"), ("x-forwarded-host", "a.test, b.test")], "10.0.0.1 http b.test 443"),
        ],
    );
}

#[test]
fn a_port_is_told_on_a_unix_socket_too() {
    let (mut parts, ()) = Request::get("/").header("x-forwarded-port", "8443").body(()).unwrap().into_parts();
    let mut peer = Peer::default();
    let mut middleware = proxy_ip(ProxyHeaders::XForwarded, ALL);
    let _ = middleware.before(&mut parts, &mut peer);
    assert_eq!((peer.local, peer.port), (None, Some(8443)));
    middleware.trust.clear();
    peer = Peer::default();
    let _ = middleware.before(&mut parts, &mut peer);
    assert_eq!(peer.port, None);
}

#[test]
fn forwarded_is_believed() {
    check(
        ProxyHeaders::Forwarded,
        &[
            (&[], "10.0.0.1 http inner 8080"),
            (
                &[("forwarded", "for=1.1.1.1;host=x, For=\"[2001:db8::9]:4711\";proto=https;host=\"b.test\", for=10.0.0.3")],
                "2001:db8::9 https b.test 8080",
            ),
            (&[("forwarded", "for=1.1.1.1"), ("forwarded", "for=192.0.2.1 ; proto=https")], "192.0.2.1 https inner 8080"),
            (&[("forwarded", "for=_hidden;proto=https")], "10.0.0.1 https inner 8080"),
            (&[("forwarded", "for=6.6.6.6, for=1.1.1.1;for=2.2.2.2;host=a;host=b")], "10.0.0.1 http inner 8080"),
            (&[("forwarded", "for=192.0.2.1;by=\"a\\\",b;c\\\\\";host=b.test")], "192.0.2.1 http b.test 8080"),
        ],
    );
}

#[test]
fn the_start_of_a_list_hides_nothing_of_its_end() {
    check(
        ProxyHeaders::Forwarded,
        &[
            (&[("forwarded", "for=6.6.6.6;host=\", for=9.9.9.9")], "9.9.9.9 http inner 8080"),
            (&[("forwarded", "for=6.6.6.6;host=\"a\\, for=9.9.9.9;host=\"b.test\"")], "9.9.9.9 http b.test 8080"),
            (&[("forwarded", "for=6.6.6.6;host=\""), ("forwarded", "for=9.9.9.9, for=10.0.0.2")], "9.9.9.9 http inner 8080"),
            (&[("forwarded", "for=\u{e9}, for=9.9.9.9")], "9.9.9.9 http inner 8080"),
            (&[("forwarded", "for=6.6.6.6;host=\", for=10.0.0.2")], "10.0.0.2 http inner 8080"),
        ],
    );
    check(
        ProxyHeaders::XForwarded,
        &[
            (&[("x-forwarded-for", "\u{e9}, 9.9.9.9")], "9.9.9.9 http inner 8080"),
            (&[("x-forwarded-for", "6.6.6.6"), ("x-forwarded-for", "\u{e9}, 9.9.9.9")], "9.9.9.9 http inner 8080"),
            (&[("x-forwarded-host", "a.test"), ("x-forwarded-host", "\u{e9}, b.test")], "10.0.0.1 http b.test 8080"),
        ],
    );
}

#[test]
fn what_is_of_no_use_lets_nothing_else_be_believed() {
    check(
        ProxyHeaders::XForwarded,
        &[
            (&[("x-forwarded-for", "nonsense"), ("x-real-ip", "6.6.6.6")], "10.0.0.1 http inner 8080"),
            (&[("x-forwarded-for", "\u{e9}"), ("x-real-ip", "6.6.6.6")], "10.0.0.1 http inner 8080"),
            (&[("x-forwarded-for", "6.6.6.6"), ("x-forwarded-for", "")], "10.0.0.1 http inner 8080"),
            (&[("x-real-ip", "\u{e9}"), ("true-client-ip", "6.6.6.6")], "10.0.0.1 http inner 8080"),
            (&[("x-forwarded-host", "a.test"), ("x-forwarded-host", "\u{e9}")], "10.0.0.1 http inner 8080"),
        ],
    );
}

#[test]
fn what_the_proxy_does_not_set_was_made_up_by_the_client() {
    let lies = [("forwarded", "for=6.6.6.6;proto=https;host=a.test"), ("x-forwarded-for", "192.0.2.1")];
    check(ProxyHeaders::XForwarded, &[(&lies, "192.0.2.1 http inner 8080"), (&lies[..1], "10.0.0.1 http inner 8080")]);
    let lies =
        [("x-forwarded-for", "6.6.6.6"), ("x-forwarded-port", "1"), ("x-real-ip", "6.6.6.6"), ("forwarded", "for=192.0.2.1")];
    check(ProxyHeaders::Forwarded, &[(&lies, "192.0.2.1 http inner 8080"), (&lies[..3], "10.0.0.1 http inner 8080")]);
}

#[test]
fn facts_are_believed_one_by_one() {
    let lines = [
        ("x-forwarded-for", "192.0.2.1"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "a.test"),
        ("x-forwarded-port", "1"),
    ];
    let cases = [
        (ProxyFact::For, "192.0.2.1 http inner 8080"),
        (ProxyFact::Proto, "10.0.0.1 https inner 8080"),
        (ProxyFact::Host, "10.0.0.1 http a.test 8080"),
        (ProxyFact::Port, "10.0.0.1 http inner 1"),
    ];
    for (fact, expected) in cases {
        assert_eq!(told(&proxy_ip(ProxyHeaders::XForwarded, &[fact]), "10.0.0.1:5", &lines), expected, "{fact:?}");
    }
    let forwarded = [("forwarded", "for=192.0.2.1;proto=https;host=a.test")];
    let told = told(&proxy_ip(ProxyHeaders::Forwarded, &[ProxyFact::For]), "10.0.0.1:5", &forwarded);
    assert_eq!(told, "192.0.2.1 http inner 8080");
}

#[test]
fn others_are_not() {
    let lies = [("x-forwarded-for", "192.0.2.1"), ("x-forwarded-proto", "https"), ("x-forwarded-host", "a.test")];
    assert_eq!(told(&proxy_ip(ProxyHeaders::XForwarded, ALL), "11.0.0.1:5", &lies), "11.0.0.1 http inner 8080");
    let lies = [("forwarded", "for=192.0.2.1;proto=https")];
    assert_eq!(told(&proxy_ip(ProxyHeaders::Forwarded, ALL), "11.0.0.1:5", &lies), "11.0.0.1 http inner 8080");
}
