//! `stubs/rr.stub.php` is the contract with scripts: what it says is what reflection says.

use std::{fs, path::Path};

use crate::harness::server;

fn stub() -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("stubs/rr.stub.php")).unwrap()
}

/// What is declared, without its documentation.
fn declared(starts: &[&str]) -> Vec<String> {
    let stub = stub();
    let lines = stub.lines().map(str::trim).filter(|line| starts.iter().any(|start| line.starts_with(start)));
    lines.map(str::to_owned).collect()
}

#[test]
fn the_stub_says_what_reflection_says() {
    let declared = declared(&["function "]);
    assert!(declared.len() >= 12, "{declared:?}");
    let names: Vec<&str> = declared.iter().map(|line| line["function ".len()..].split('(').next().unwrap()).collect();
    let server = server().start();
    assert_eq!(server.text(&format!("/reflection.php?functions={}", names.join(","))), declared.join("\n") + "\n");
}

#[test]
fn the_classes_of_the_stub_are_those_of_reflection() {
    let declared = declared(&["final class ", "public ", "private "]);
    let classes = declared.iter().filter_map(|line| line.strip_prefix("final class "));
    let names: Vec<_> = classes.map(|name| format!("RR%5C{name}")).collect();
    assert_eq!(names.len(), 4, "{declared:?}");
    let server = server().start();
    assert_eq!(server.text(&format!("/reflection.php?classes={}", names.join(","))), declared.join("\n") + "\n");
}

#[test]
fn the_stub_leaves_no_class_and_no_function_out() {
    let code = "$e = new ReflectionExtension('rr'); echo implode(',', [...array_keys($e->getClasses()), ...array_keys($e->getFunctions())]);";
    let server = server().php("all.php", code).start();
    let all = server.text("/all.php");
    assert!(all.contains("RR\\Worker"), "{all}");
    let stub = stub();
    for name in all.split(',') {
        let name = name.rsplit('\\').next().unwrap();
        assert!(
            stub.contains(&format!("class {name}\n")) || stub.contains(&format!("function {name}(")),
            "{name} is not in the stub"
        );
    }
}

#[test]
fn the_version_is_a_constant() {
    let server = server().php("v.php", "echo RR\\VERSION, extension_loaded('rr') ? ' loaded' : '';").start();
    assert_eq!(server.text("/v.php"), concat!(env!("CARGO_PKG_VERSION"), " loaded"));
}
