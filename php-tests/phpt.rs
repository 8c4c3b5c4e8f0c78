//! PHP's own web tests, spoken over FastCGI; `phpt/run.sh` tells how.

use std::{collections::BTreeSet, path::PathBuf};

use crate::harness::{TempDir, command, finish, not_run, reference, rr};

/// Tests that php-fpm does not pass either.
const NOT_FOR_US: &[(&str, &str)] =
    &[("php_sapi_name_variation001.phpt", "wants cgi-fcgi"), ("gh21797.phpt", "sets phar.readonly, which PHP_VALUE may not")];

#[test]
fn php_s_own_web_tests_pass() {
    if reference().is_some() {
        return;
    }
    let var = |name: &str| std::env::var_os(name).map(PathBuf::from);
    let cache = var("RR_CACHE")
        .or_else(|| Some(var("XDG_CACHE_HOME")?.join("rr")))
        .unwrap_or_else(|| var("HOME").unwrap_or_default().join(".cache/rr"));
    let source = std::fs::read_dir(cache.join("src")).ok().and_then(|entries| {
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        names.into_iter().find(|name| name.starts_with("php-") && name.ends_with(".tar.xz"))
    });
    if source.is_none() {
        return not_run("PHP's own tests", "no source of PHP in the cache");
    }
    let php = finish(command(&["php", "-r", "echo PHP_BINARY;"]), b"").stdout;
    let php = String::from_utf8(php).unwrap();
    let dir = TempDir::new();
    let mut run = std::process::Command::new(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("php-tests/phpt/run.sh"));
    run.arg("rr").arg(rr().get_program()).arg(&php).env("TMPDIR", dir.path()).env("RR_CACHE", &cache);
    let output = finish(run, b"");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    let known: BTreeSet<_> = NOT_FOR_US.iter().map(|(name, _)| *name).collect();
    let failed: Vec<_> = said
        .lines()
        .filter_map(|line| line.trim().split_once('\t'))
        .filter(|(_, path)| !known.contains(path.rsplit('/').next().unwrap()))
        .collect();
    assert!(failed.is_empty(), "{said}");
    let passed =
        said.lines().find_map(|line| line.trim().strip_suffix(" PASSED")).and_then(|count| count.trim().parse::<u32>().ok());
    assert!(passed > Some(100), "{said}");
}
