//! The command line: `rr php` and the rest.

use std::{
    path::Path,
    process::{Command, Output},
};

use crate::harness::{TempDir, command, finish, reference, rr};

fn run(arguments: &[&str], stdin: &str) -> Output {
    let command = command(arguments);
    finish(command, stdin.as_bytes())
}

fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[track_caller]
fn says(arguments: &[&str], stdin: &str, expected: &str) {
    let output = run(arguments, stdin);
    assert_eq!((out(&output).as_str(), output.status.code()), (expected, Some(0)), "{arguments:?}: {}", err(&output));
}

#[test]
fn php_r_runs_code() {
    says(&["php", "-r", "echo 1 + 1;"], "", "2");
    says(&["php", "-r", "echo PHP_SAPI, php_sapi_name();"], "", "clicli");
    says(&["php", "-d", "precision=3", "-d", "memory_limit=99M", "-r", "echo 1/3, ini_get('memory_limit');"], "", "0.33399M");
    says(&["php", "-r", "echo implode(',', array_slice($argv, 1));", "--", "-a", "b c"], "", "-a,b c");
}

#[test]
fn php_runs_files_with_arguments() {
    let dir = TempDir::new();
    let script = dir.write("s.php", "#!/usr/bin/env php\n<?php echo $argc, ':', implode(',', $argv), ':', $_SERVER['argv'][1] ?? '', ':', basename(__FILE__), ':', getcwd() === ($_SERVER['PWD'] ?? getcwd()) ? 1 : 0;");
    let path = script.to_str().unwrap();
    says(&["php", path, "one", "--two", "-3"], "", &format!("4:{path},one,--two,-3:one:s.php:1"));
    says(&["php", "-f", path, "--", "x"], "", &format!("2:{path},x:x:s.php:1"));
}

#[test]
fn the_working_directory_is_the_caller_s() {
    let dir = TempDir::new();
    dir.write("sub/s.php", "<?php echo getcwd();");
    let mut command = command(&["php", "sub/s.php"]);
    command.current_dir(dir.path());
    assert_eq!(out(&finish(command, b"")), dir.path().to_str().unwrap());
}

#[test]
fn exit_codes_reach_the_shell() {
    assert_eq!(run(&["php", "-r", "exit(7);"], "").status.code(), Some(7));
    assert_eq!(run(&["php", "-r", "nowhere();"], "").status.code(), Some(255));
    assert_eq!(run(&["php", "-r", "throw new Exception('x');"], "").status.code(), Some(255));
    assert_eq!(run(&["php", "-r", "exit('text');"], "").status.code(), Some(0));
    assert_eq!(run(&["php", "-r", "register_shutdown_function(fn () => exit(9));"], "").status.code(), Some(9));
    let missing = run(&["php", "/nowhere/at/all.php"], "");
    assert_eq!((missing.status.code(), (out(&missing) + &err(&missing)).trim()), (Some(1), "Could not open input file: /nowhere/at/all.php"));
}

#[test]
fn standard_streams_are_the_shell_s() {
    says(&["php", "-r", "echo strtoupper(stream_get_contents(STDIN));"], "from stdin", "FROM STDIN");
    says(&["php", "-r", "echo fgets(STDIN), fgets(STDIN);"], "a\nb\nc", "a\nb\n");
    says(&["php", "-r", "echo file_get_contents('php://stdin');"], "a\nb\nc", "a\nb\nc");
    says(&["php"], "<?php echo 'a script from stdin';", "a script from stdin");
    let output = run(&["php", "-r", "fwrite(STDERR, 'to stderr'); fwrite(STDOUT, 'to stdout'); file_put_contents('php://stderr', '!');"], "");
    assert_eq!((out(&output).as_str(), err(&output).as_str()), ("to stdout", "to stderr!"));
}

#[test]
fn php_s_own_switches_work() {
    let dir = TempDir::new();
    let (good, bad) = (dir.write("good.php", "<?php echo 1;"), dir.write("bad.php", "<?php echo 1"));
    assert!(out(&run(&["php", "-v"], "")).starts_with("PHP 8."));
    assert!(out(&run(&["php", "-m"], "")).contains("\nmbstring\n"));
    assert!(out(&run(&["php", "-i"], "")).contains("phpinfo()\nPHP Version => "));
    let lint = run(&["php", "-l", good.to_str().unwrap()], "");
    assert!(out(&lint).starts_with("No syntax errors detected in") && lint.status.code() == Some(0), "{}", out(&lint));
    assert_eq!(run(&["php", "-l", bad.to_str().unwrap()], "").status.code(), Some(255));
    assert!(out(&run(&["php", "--ini"], "")).contains("Configuration File (php.ini) Path"));
}

#[test]
fn a_link_named_php_is_php() {
    if reference().is_some() {
        return;
    }
    let dir = TempDir::new();
    let link = dir.path().join("php");
    std::os::unix::fs::symlink(Path::new(rr().get_program()).canonicalize().unwrap(), &link).unwrap();
    let mut command = Command::new(&link);
    command.args(["-r", "echo 'as php';"]);
    assert_eq!(out(&finish(command, b"")), "as php");
}

#[test]
fn command_line_scripts_may_do_what_servers_may_not() {
    says(&["php", "-r", "$p = pcntl_fork(); if (!$p) exit(3); pcntl_waitpid($p, $s); echo pcntl_wexitstatus($s);"], "", "3");
    says(&["php", "-r", "pcntl_async_signals(true); pcntl_signal(SIGUSR1, function () { echo 'got'; }); posix_kill(getmypid(), SIGUSR1); echo '.';"], "", "got.");
    says(&["php", "-r", "putenv('A=b'); echo getenv('A'), shell_exec('echo $A');"], "", "bb\n");
    says(&["php", "-r", "echo ini_get('max_execution_time'), ini_get('display_errors') ? 1 : 0, ini_get('html_errors') ? 1 : 0, PHP_BINARY !== '' ? 1 : 0;"], "", "0101");
}

#[test]
fn version_help_and_completion_are_printed() {
    if reference().is_some() {
        return;
    }
    let version = out(&run(&["--version"], ""));
    assert!(version.starts_with("rr ") && version.contains(env!("CARGO_PKG_VERSION")), "{version}");
    let help = out(&run(&["--help"], ""));
    for command in ["serve", "check", "config", "php", "completion"] {
        assert!(help.contains(command), "{command}: {help}");
    }
    assert!(out(&run(&["completion", "bash"], "")).contains("complete"));
    let unknown = run(&["no-such-command"], "");
    assert!(unknown.status.code() == Some(2) && err(&unknown).contains("no-such-command"), "{}", err(&unknown));
}
