//! Another program in the place of the one that runs.

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
};

use nix::sys::signal::{Signal, kill};
use rr::supervisor::VERSION;

use super::{
    engine, is_gone,
    reload::{reload, while_clients_send},
    site,
};
use crate::harness::{
    Office, PATIENCE, Server, Setup, before, free_port,
    h3::{
        Http3,
        site::{begin, pid},
    },
    program, reference, rr, wait_until,
};

/// Starts a copy of the program, which is at this path.
pub(crate) fn start_copy(setup: Setup) -> (Server, PathBuf) {
    let path = setup.scratch().join("rr");
    fs::copy(program(), &path).unwrap();
    let server = setup.start_as(|command| {
        let mut copy = before(&path, &[], &command);
        copy.args(command.get_args());
        copy
    });
    (server, path)
}

/// Puts `program` in the place of what is at `path`, as package managers do.
fn put(program: &[u8], path: &Path) {
    let draft = path.with_extension("new");
    fs::write(&draft, program).unwrap();
    fs::set_permissions(&draft, fs::Permissions::from_mode(0o755)).unwrap();
    fs::rename(draft, path).unwrap();
}

pub(crate) fn put_copy(path: &Path) {
    put(&fs::read(program()).unwrap(), path);
}

/// The file that the supervisor runs.
fn runs(server: &Server) -> u64 {
    fs::metadata(format!("/proc/{}/exe", server.pid())).unwrap().ino()
}

pub(crate) fn is_at(server: &Server, path: &Path) -> bool {
    let file = fs::metadata(path).unwrap().ino();
    wait_until(PATIENCE, || runs(server) == file)
}

#[test]
fn a_new_program_takes_the_place_of_the_old_one_without_a_lost_request() {
    if reference().is_some() {
        return;
    }
    let (server, path) =
        start_copy(site().threads(4).argument("-p").option("engine.grace_period=20s").option("http.http2.h2c=true"));
    while_clients_send(&server, || {
        for signal in [Signal::SIGUSR2, Signal::SIGHUP] {
            put_copy(&path);
            reload(&server, signal);
            assert!(is_at(&server, &path), "{}", server.log.text());
        }
    });
    let pid_file = server.dir().join(".pid");
    assert_eq!(fs::read_to_string(&pid_file).unwrap(), server.pid().to_string());
    // The one that is there now keeps engines running as the one before did.
    let old = engine(&server);
    kill(old, Signal::SIGKILL).unwrap();
    assert!(is_gone(old) && wait_until(PATIENCE, || engine(&server) != old), "{}", server.log.text());
    assert!(server.logs("the engine died: killed by SIGKILL"), "{}", server.log.text());
    assert!(is_gone(reload(&server, Signal::SIGHUP)), "{}", server.log.text());
    server.stop();
    assert!(!pid_file.exists());
}

#[test]
fn sessions_that_began_with_the_old_program_are_resumed_by_the_new_one() {
    if reference().is_some() {
        return;
    }
    let office = Office::new();
    let setup = office.options().iter().fold(site(), |setup, option| setup.option(option));
    let (server, path) = start_copy(setup);
    let client = office.resumer(&rustls::version::TLS13, None);
    assert!(!client.resumes() && client.resumes());
    put_copy(&path);
    assert!(is_gone(reload(&server, Signal::SIGHUP)), "{}", server.log.text());
    assert!(is_at(&server, &path), "{}", server.log.text());
    assert!(client.resumes(), "by its first engine");
    assert!(is_gone(reload(&server, Signal::SIGHUP)), "{}", server.log.text());
    assert!(client.resumes(), "by the next, which has its keys from the new supervisor");
    server.stop();
}

#[test]
fn http3_goes_on_over_a_change_of_the_program() {
    if reference().is_some() {
        return;
    }
    let office = Office::new();
    let (server, path) = start_copy(office.over_http3(site()).threads(4));
    // Twice, for the supervisor that does it the second time has its sockets from the first.
    for _ in 0..2 {
        let mut client = Http3::connect(&office);
        let old = pid(&mut client);
        let pending = begin(&server, &mut client, 1500);
        put_copy(&path);
        assert_eq!(reload(&server, Signal::SIGHUP), old);
        let mut new = None;
        assert!(wait_until(PATIENCE, || {
            new = Http3::try_connect(&office, office.port).ok();
            new.is_some()
        }));
        assert_eq!(client.finish(pending).unwrap().text(), "finished", "what was begun before is finished by the old engine");
        assert!(is_gone(old) && is_at(&server, &path), "{}", server.log.text());
        assert_ne!(pid(&mut Http3::connect(&office)), old);
    }
    server.stop();
}

#[test]
fn a_rollback_brings_the_old_program_back() {
    if reference().is_some() {
        return;
    }
    let address = free_port();
    let (server, path) = start_copy(site().option(&format!("rpc.listen=tcp://{address}")));
    let command = |word: &str| {
        let output = rr().args([word, "-o", &format!("rpc.listen=tcp://{address}")]).output().unwrap();
        assert!(output.status.success(), "{word}: {output:?} {}", server.log.text());
    };
    let first = runs(&server);
    put_copy(&path);
    for (word, expected) in [("reload", fs::metadata(&path).unwrap().ino()), ("rollback", first)] {
        let old = engine(&server);
        command(word);
        assert!(wait_until(PATIENCE, || runs(&server) == expected), "{word}: {}", server.log.text());
        assert!(is_gone(old), "{}", server.log.text());
    }
    engine(&server);
    server.stop();
}

#[test]
fn a_program_that_is_of_no_use_changes_nothing() {
    if reference().is_some() {
        return;
    }
    let config = |more: &str| format!("version: '3'\n{more}");
    let (server, path) = start_copy(site().config(".rr.yaml", &config("")));
    let (first, old) = (runs(&server), engine(&server));
    let refusals = || {
        let log = server.log.text();
        log.matches("not reloaded, nothing has changed: ").count() + log.matches("the new engine ended before it served").count()
    };
    let refuses = |expected: &str| {
        let before = refusals();
        server.signal(Signal::SIGUSR2);
        assert!(wait_until(PATIENCE, || refusals() > before), "{expected}: {}", server.log.text());
        assert!(server.log.text().contains(expected), "{expected}: {}", server.log.text());
        assert_eq!((runs(&server), engine(&server)), (first, old));
    };
    // One that ends, one that says nothing, one that says something else, and none at all.
    for (other, expected) in [
        (fs::read("/bin/false").unwrap(), "the program PATH cannot be used: exit code 1"),
        (fs::read("/bin/true").unwrap(), "the program PATH told nothing that can be served: EOF"),
        (fs::read("/bin/echo").unwrap(), "the program PATH told nothing that can be served: invalid number"),
        (b"no program".to_vec(), "PATH: no program, for it does not begin as one (ELF) does"),
        (b"#!/bin/sh\ntouch \"$0.ran\"".to_vec(), "PATH: no program, for it does not begin as one (ELF) does"),
        (b"\x7fE".to_vec(), "PATH: no program, for it does not begin as one (ELF) does"),
    ] {
        put(&other, &path);
        refuses(&expected.replace("PATH", &path.display().to_string()));
    }
    // One that hands over in another way.
    let mut other = fs::read(program()).unwrap();
    let spoken: Vec<usize> = memchr::memmem::find_iter(&other, VERSION).collect();
    for at in spoken {
        other[at + VERSION.len() - 1] = b'9';
    }
    put(&other, &path);
    refuses(&format!("speaks {VERSION}, the one to take its place {}9: restart the server", &VERSION[..VERSION.len() - 1]));
    // A good one with a bad configuration, and with one that no engine can be made of.
    put_copy(&path);
    let file = server.dir().join(".rr.yaml");
    fs::write(&file, config("htpp: {}\n")).unwrap();
    refuses("htpp: unknown key");
    fs::write(server.dir().join("worker.php"), "<?php throw new Exception('no boot');").unwrap();
    fs::write(&file, config("http:\n  worker: worker.php\n")).unwrap();
    refuses("the new engine ended before it served");
    // And at last all is well.
    fs::write(&file, config("")).unwrap();
    assert_eq!(reload(&server, Signal::SIGUSR2), old);
    assert!(is_at(&server, &path), "{}", server.log.text());
    server.stop();
}
