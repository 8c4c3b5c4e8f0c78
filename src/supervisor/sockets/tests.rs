use std::{fs, os::unix::fs::PermissionsExt};

use super::*;
use crate::http::listen::Permissions;

fn wanted(address: Address, scope: Scope) -> Wanted {
    Wanted { kind: Kind::Http, key: "http.address".into(), address, backlog: 16, scope }
}

#[test]
fn who_may_connect_changes_with_the_release_and_back() {
    let path = std::env::temp_dir().join(format!("rr-kept-{}.sock", std::process::id()));
    let at = |mode: u32, owner: Option<&str>| {
        let permissions = Permissions { owner: owner.map(str::to_owned), group: None, mode };
        [wanted(Address::Unix { path: path.clone(), permissions }, Scope::Any)]
    };
    let mode = || fs::metadata(&path).unwrap().permissions().mode() & 0o777;
    let mut table = Table::open(&at(0o600, None), Duration::ZERO).unwrap();
    table.listen(&at(0o660, None)).unwrap();
    assert_eq!(mode(), 0o660);
    table.settle(false);
    assert_eq!(mode(), 0o600, "the release never served");
    let own = nix::unistd::geteuid().to_string();
    table.listen(&at(0o640, Some(&own))).unwrap();
    table.settle(true);
    let error = table.listen(&at(0o666, Some("nobody-of-that-name"))).unwrap_err().to_string();
    assert!(error.contains("http.address") && error.contains("nobody-of-that-name"), "{error}");
    assert_eq!(mode(), 0o640, "the release in force goes on");
    table.listen(&at(0o600, None)).unwrap();
    table.settle(true);
    assert_eq!(mode(), 0o600);
}

#[test]
fn what_a_socket_takes_does_not_change_while_it_is_open() {
    let at = |scope| [wanted("127.0.0.1:0".parse().unwrap(), scope)];
    let mut table = Table::open(&at(Scope::Ipv6), Duration::ZERO).unwrap();
    table.listen(&at(Scope::Ipv6)).unwrap();
    let error = table.listen(&at(Scope::Any)).unwrap_err().to_string();
    assert!(error.contains("needs a restart"), "{error}");
}

#[test]
fn a_port_of_a_dead_supervisors_engine_comes_late() {
    let theirs = Port::bind("127.0.0.1:0".parse().unwrap(), Scope::Any, 65536, Slot::First).unwrap();
    let quic = |port: u16| Wanted {
        kind: Kind::Quic,
        key: "http.http3.address".into(),
        address: format!("127.0.0.1:{port}").parse().unwrap(),
        backlog: 65536,
        scope: Scope::Any,
    };
    let wanted = quic(theirs.address().unwrap().port());
    let stranger = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let strangers = quic(stranger.local_addr().unwrap().port());
    assert!(matches!(strangers.listen(Slot::First), Err(Error::Listen(_))), "that is not waited for");
    let now = Instant::now();
    let late = |late_until| {
        let kept = Kept { wanted: wanted.clone(), held: Held::Late };
        Table { active: vec![kept], next: Vec::new(), terms: Terms::new(), late_until }
    };
    let mut table = late(now + Duration::from_secs(1));
    assert!(!table.listen_late(now) && !table.has_ports() && table.of_active(READER).sockets.is_empty());
    // A reload meanwhile changes nothing about it.
    table.listen(std::slice::from_ref(&wanted)).unwrap();
    table.settle(true);
    assert!(!table.listen_late(now) && table.active.len() == 1);
    let mut in_vain = late(now);
    assert!(!in_vain.listen_late(now) && in_vain.active.is_empty(), "it is waited for no longer than that");
    drop(theirs);
    assert!(table.listen_late(now) && table.has_ports());
    assert!(!table.listen_late(now), "but once");
}
