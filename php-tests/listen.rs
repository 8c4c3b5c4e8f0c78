//! Where the server listens.

use std::net::{Ipv6Addr, TcpListener, TcpStream};

use crate::harness::{PATIENCE, Request, free_port, not_run, reference, server, wait_until};

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
