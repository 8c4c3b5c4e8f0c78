//! Sockets that a service manager has opened, as systemd passes them.

use std::{
    net::TcpListener,
    os::{fd::OwnedFd, unix::net::UnixListener},
    process::{Command, Stdio},
};

use nix::sys::signal::Signal;

use super::{engine, is_gone, reload::reload, site};
use crate::harness::{PATIENCE, before, free_port, reference, wait_until};

/// `command` with `socket` passed to it under `name`.
fn pass(command: &Command, socket: impl Into<OwnedFd>, name: &str) -> Command {
    let script = format!(
        "exec 3<&0 </dev/null; export LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES={name}; exec \"$@\"; echo cannot be started >&2"
    );
    let mut shell = before("/bin/sh", &["-c", &script, "sh"], command);
    shell.arg(command.get_program()).args(command.get_args());
    shell.stdin(Stdio::from(socket.into()));
    shell
}

#[test]
fn a_socket_is_taken_by_its_address_or_by_its_name() {
    if reference().is_some() {
        return;
    }
    for supervisor in [true, false] {
        for (name, elsewhere) in [("anything.socket", false), ("http", true)] {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let address = listener.local_addr().unwrap();
            let setup = site().at(address).option(&format!("engine.supervisor={supervisor}"));
            let server = setup.start_as(|command| {
                let mut passed = pass(&command, listener.try_clone().unwrap(), name);
                if elsewhere {
                    passed.args(["-o", &format!("http.address={}", free_port())]);
                }
                passed
            });
            let old = engine(&server);
            if supervisor {
                assert!(is_gone(reload(&server, Signal::SIGHUP)), "{}", server.log.text());
                assert_ne!(engine(&server), old);
            }
            server.stop();
            // It is the service manager's, and stays with it.
            drop(server);
            assert!(std::net::TcpStream::connect(address).is_ok());
        }
    }
}

#[test]
fn a_socket_that_nothing_asks_for_is_an_error() {
    if reference().is_some() {
        return;
    }
    let refusal = |setup: crate::harness::Setup, socket: OwnedFd| {
        let mut command = pass(&setup.command(free_port(), None), socket, "");
        command.stderr(Stdio::piped());
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(71), "{output:?}");
        String::from_utf8(output.stderr).unwrap()
    };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let said = refusal(site(), listener.into());
    assert!(said.contains(&format!("passed a socket on {address} named \"\"")) && said.contains("(http.address)"), "{said}");
    let setup = site();
    let path = setup.scratch().join("given.sock");
    let said = refusal(setup, UnixListener::bind(&path).unwrap().into());
    assert!(said.contains(&format!("unix:{}", path.display())), "{said}");
    let said = refusal(site(), std::net::UdpSocket::bind("127.0.0.1:0").unwrap().into());
    assert!(said.contains("descriptor 3 () is no socket that listens for connections"), "{said}");
}

#[test]
fn a_unix_socket_that_was_passed_is_not_removed() {
    if reference().is_some() {
        return;
    }
    let setup = site();
    let path = setup.scratch().join("given.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let setup = setup.option(&format!("http.fcgi.address=unix://{}", path.display()));
    let server = setup.start_as(|command| pass(&command, listener.try_clone().unwrap(), ""));
    assert!(wait_until(PATIENCE, || std::os::unix::net::UnixStream::connect(&path).is_ok()));
    engine(&server);
    server.stop();
    assert!(path.exists());
}
