//! Configuration: what is wrong is said in one readable line, before anything starts.

use crate::harness::{TempDir, finish, free_port, reference, rr, server};

/// Runs `rr serve` with this file and expects it to refuse; returns what it says.
fn refused(config: &str, options: &[&str]) -> String {
    let dir = TempDir::new();
    dir.write("root/index.php", "<?php echo 1;");
    let mut command = rr();
    command.arg("serve").arg(dir.path().join("root")).args(["-o", &format!("http.address={}", free_port())]);
    if !config.is_empty() {
        command.arg("-c").arg(dir.write(".rr.yaml", config));
    }
    for option in options {
        command.args(["-o", option]);
    }
    let output = finish(command, b"");
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    assert!(!output.status.success() && output.status.code().is_some(), "{}: {said}", output.status);
    assert!(!said.contains("panicked"), "{said}");
    said
}

#[test]
fn an_unknown_key_is_refused_with_a_suggestion() {
    if reference().is_some() {
        return;
    }
    let said = refused("version: \"3\"\nhtp:\n  address: 127.0.0.1:1\n", &[]);
    assert!(said.contains("htp") && said.contains("did you mean http"), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    let said = refused("", &["http.pool.num_wrokers=2"]);
    assert!(said.contains("http.pool.num_wrokers") && said.contains("num_workers"), "{said}");
}

#[test]
fn a_wrong_value_names_its_path_and_what_was_expected() {
    if reference().is_some() {
        return;
    }
    let said = refused("version: \"3\"\nhttp:\n  pool:\n    num_workers: many\n", &[]);
    assert!(said.contains("http.pool.num_workers") && said.contains("many"), "{said}");
    let said = refused("", &["http.request_timeout=soon"]);
    assert!(said.contains("http.request_timeout") && said.contains("soon"), "{said}");
    let said = refused("", &["http.address=nonsense"]);
    assert!(said.contains("http.address") || said.contains("nonsense"), "{said}");
}

#[test]
fn a_file_that_is_no_yaml_is_refused_with_its_place() {
    if reference().is_some() {
        return;
    }
    let said = refused("version: \"3\"\nhttp: [unclosed\n", &[]);
    assert!(said.contains(".rr.yaml"), "{said}");
    assert!(said.lines().count() <= 2, "{said}");
}

#[test]
fn a_missing_directory_or_file_is_named() {
    if reference().is_some() {
        return;
    }
    for arguments in [&["serve", "/nowhere/at/all"][..], &["serve", "-c", "/nowhere/.rr.yaml"]] {
        let mut command = rr();
        command.args(arguments).args(["-o", &format!("http.address={}", free_port())]);
        let output = finish(command, b"");
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        assert!(!output.status.success() && said.contains("/nowhere"), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
    }
}

#[test]
fn a_port_in_use_is_said_in_one_line() {
    if reference().is_some() {
        return;
    }
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let said = refused("", &[&format!("http.address={address}")]);
    assert!(said.contains(&address) && said.to_lowercase().contains("in use"), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
}

#[test]
fn a_yaml_file_and_options_over_it_are_obeyed() {
    if reference().is_some() {
        return;
    }
    let server = server()
        .config(".rr.yaml", "version: \"3\"\nhttp:\n  pool:\n    num_workers: 1\nphp:\n  ini:\n    precision: 5\n    user_agent: ${RR_TEST_AGENT:-none}\n")
        .env("RR_TEST_AGENT", "from env")
        .ini("precision", "6")
        .php("i.php", "echo ini_get('precision'), ini_get('user_agent');")
        .start();
    assert_eq!(server.text("/i.php"), "6from env");
}

#[test]
fn a_php_configuration_is_obeyed() {
    if reference().is_some() {
        return;
    }
    let server = server().config("config.php", "<?php return ['php' => ['ini' => ['precision' => 2 + 5]]];").php("i.php", "echo ini_get('precision');").start();
    assert_eq!(server.text("/i.php"), "7");
}

#[test]
fn check_and_config_tell_without_starting() {
    if reference().is_some() {
        return;
    }
    let dir = TempDir::new();
    let good = dir.write("good.yaml", "version: \"3\"\nhttp:\n  address: 127.0.0.1:1\n  pool:\n    num_workers: 3\n");
    let bad = dir.write("bad.yaml", "version: \"3\"\nhttp:\n  adress: x\n");
    let run = |arguments: &[&str], file: &std::path::Path| {
        let mut command = rr();
        command.args(arguments).arg("-c").arg(file);
        finish(command, b"")
    };
    assert_eq!(run(&["check"], &good).status.code(), Some(0));
    let refused = run(&["check"], &bad);
    assert!(!refused.status.success() && String::from_utf8_lossy(&refused.stderr).contains("adress"));
    let printed = String::from_utf8_lossy(&run(&["config"], &good).stdout).into_owned();
    assert!(printed.contains("num_workers") && printed.contains("127.0.0.1:1"), "{printed}");
}
