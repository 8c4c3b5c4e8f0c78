//! `stubs/rr.stub.php` is the contract with scripts: what it says is what reflection says.

use std::{fs, path::Path};

use crate::harness::server;

#[test]
fn the_stub_says_what_reflection_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("stubs/rr.stub.php");
    let stub = fs::read_to_string(path).unwrap();
    let declared: Vec<&str> = stub.lines().map(str::trim).filter(|line| line.starts_with("function ")).collect();
    assert!(declared.len() >= 6, "{declared:?}");
    let names: Vec<&str> = declared.iter().map(|line| line["function ".len()..].split('(').next().unwrap()).collect();
    let server = server().start();
    assert_eq!(server.text(&format!("/reflection.php?names={}", names.join(","))), declared.join("\n") + "\n");
}

#[test]
fn the_version_is_a_constant() {
    let server = server().php("v.php", "echo RR\\VERSION, extension_loaded('rr') ? ' loaded' : '';").start();
    assert_eq!(server.text("/v.php"), concat!(env!("CARGO_PKG_VERSION"), " loaded"));
}
