//! Where the server listens, and who may come.

use std::{
    net::{Ipv6Addr, TcpListener, TcpStream},
    os::unix::fs::{MetadataExt, PermissionsExt},
};

use crate::harness::{PATIENCE, Request, free_port, not_run, reference, server, wait_until};

#[test]
fn unix_sockets_are_for_everybody_or_for_whom_they_are_said_to_be() {
    if reference().is_some() {
        return;
    }
    let group = nix::unistd::getgid().as_raw();
    let own = format!("http.socket_group={group}");
    for (options, mode) in [(&[][..], 0o666), (&["http.socket_mode=0660", own.as_str()], 0o660)] {
        let (setup, address) = (server(), free_port());
        let socket = setup.scratch().join("rr.sock");
        let setup = setup.at(address).option(&format!("http.address=unix://{},{address}", socket.display()));
        let server = options.iter().fold(setup, |setup, option| setup.option(option)).start();
        let file = std::fs::symlink_metadata(&socket).unwrap();
        assert_eq!((file.permissions().mode() & 0o777, file.gid()), (mode, group), "{options:?}");
        let shown = format!("http     unix://{}", socket.display());
        assert!(server.logs(&shown), "{}", server.log.text());
        server.stop();
        assert!(!socket.exists());
    }
}

#[test]
fn both_wildcards_of_one_port_are_two_sockets() {
    if reference().is_some() {
        return;
    }
    if TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_err() {
        return not_run("IPv6", "no ::1 here");
    }
    for order in ["0.0.0.0:PORT,[::]:PORT", "[::]:PORT,0.0.0.0:PORT"] {
        let address = free_port();
        let port = address.port();
        let addresses = order.replace("PORT", &port.to_string());
        let server = server().at(address).option(&format!("http.address={addresses}")).start();
        assert!(server.text("/clean.php").starts_with("clean"));
        assert!(wait_until(PATIENCE, || TcpStream::connect((Ipv6Addr::LOCALHOST, port)).is_ok()), "{}", server.log.text());
        let reply = Request::new((Ipv6Addr::LOCALHOST, port).into(), "GET", "/clean.php").send();
        assert!(reply.text().starts_with("clean"), "{reply:?}");
    }
}
