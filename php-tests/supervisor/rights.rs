//! Whom scripts run as, and what they can have of the server.

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
    process::Command,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::{Pid, User, geteuid, getpid},
};

use super::{engine, is_gone, reload::reload, site};
use crate::harness::{PATIENCE, Setup, finish, free_port, not_run, reference, wait_until};

/// Of `nobody` the numbers of user and group; none if this is not root.
fn nobody() -> Option<(u32, u32)> {
    if !geteuid().is_root() {
        not_run("server.user", "only root can test it");
        return None;
    }
    let user = User::from_name("nobody").unwrap().expect("every system has a user nobody");
    Some((user.uid.as_raw(), user.gid.as_raw()))
}

fn setup() -> Setup {
    let code = "umask(umask()); $groups = posix_getgroups(); sort($groups); file_put_contents($_GET['to'], ''); \
                echo posix_getuid(), ' ', posix_geteuid(), ' ', posix_getgid(), ' ', implode(',', $groups), ' ', decoct(umask());";
    let setup = site().php("who.php", code);
    // What the server leaves there is for another user.
    let temporary = setup.scratch().join("tmp");
    fs::create_dir(&temporary).unwrap();
    for folder in [setup.scratch(), &temporary] {
        fs::set_permissions(folder, fs::Permissions::from_mode(0o777)).unwrap();
    }
    setup.option("server.user=nobody").option("server.umask=0027")
}

#[test]
fn scripts_run_as_another_user_and_the_server_does_not() {
    if reference().is_some() {
        return;
    }
    let Some((user, group)) = nobody() else { return };
    for supervisor in [true, false] {
        let setup = setup().option(&format!("engine.supervisor={supervisor}"));
        let folder = setup.scratch().to_owned();
        let (log, socket) = (folder.join("server.log"), folder.join("fcgi.sock"));
        let setup = setup.option(&format!("logs.output={}", log.display()));
        let server = setup.option(&format!("http.fcgi.address=unix://{}", socket.display())).start();
        let made = folder.join("made");
        let who = || server.text(&format!("/who.php?to={}", made.display()));
        let expected = format!("{user} {user} {group} {group} 27");
        assert_eq!(who(), expected);
        assert_eq!(fs::metadata(&made).unwrap().permissions().mode() & 0o777, 0o640);
        for mine in [&made, &log, &socket] {
            let file = fs::metadata(mine).unwrap();
            assert_eq!((file.uid(), file.gid()), (user, group), "{}", mine.display());
        }
        let owner = fs::metadata(format!("/proc/{}", server.pid())).unwrap().uid();
        if supervisor {
            assert_eq!(owner, 0, "the supervisor opens ports and starts engines");
            let old = engine(&server);
            kill(old, Signal::SIGKILL).unwrap();
            assert!(is_gone(old));
            assert_eq!(who(), expected, "after a crash");
            assert!(is_gone(reload(&server, Signal::SIGHUP)));
            assert_eq!(who(), expected, "after a reload");
        }
        let logged = || fs::read_to_string(&log).unwrap();
        assert!(wait_until(PATIENCE, || logged().contains("GET /who.php")), "{}", logged());
        server.stop();
    }
}

/// The capabilities that a process has in effect, a bit each.
fn powers(pid: Pid) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:")).unwrap();
    u64::from_str_radix(line.trim(), 16).unwrap()
}

#[test]
fn the_supervisor_of_root_keeps_what_it_needs_and_scripts_of_root_keep_all() {
    if reference().is_some() || nobody().is_none() {
        return;
    }
    // chown, dac_override, fowner, kill, setgid, setuid, net_bind_service, sys_nice
    let needed = 0b1000_0000_0000_0100_1110_1011;
    let own = powers(getpid());
    let server = site().start();
    assert_eq!(powers(server.pid()), own & needed);
    assert_eq!(powers(engine(&server)), own);
    assert!(is_gone(reload(&server, Signal::SIGHUP)));
    assert_eq!((powers(server.pid()), powers(engine(&server))), (own & needed, own), "after a reload");
}

#[test]
fn an_access_log_of_its_own_is_given_to_that_user() {
    if reference().is_some() {
        return;
    }
    let Some((user, group)) = nobody() else { return };
    let setup = setup();
    let folder = setup.scratch().join("logs");
    fs::create_dir(&folder).unwrap();
    let log = folder.join("access.log");
    let server = setup.option(&format!("http.access_log.output={}", log.display())).start();
    server.get("/nowhere").send();
    assert!(wait_until(PATIENCE, || fs::read_to_string(&log).is_ok_and(|text| text.contains("GET /nowhere"))));
    let file = fs::metadata(&log).unwrap();
    assert_eq!((file.uid(), file.gid()), (user, group), "in a folder where only root makes files");
}

#[test]
fn a_user_that_cannot_be_is_an_error() {
    if reference().is_some() {
        return;
    }
    for (option, expected) in [
        ("server.user=no-such-user", "server.user: no user is named \"no-such-user\""),
        ("server.group=no-such-group", "server.group: no group is named \"no-such-group\""),
    ] {
        let output = site().option(option).command(free_port(), None).output().unwrap();
        assert_eq!(output.status.code(), Some(78), "{output:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains(expected), "{output:?}");
    }
}

#[test]
fn scripts_find_their_user_in_the_environment() {
    if reference().is_some() || nobody().is_none() {
        return;
    }
    let nobody = User::from_name("nobody").unwrap().unwrap();
    let expected = |user: &str, home: &str| format!("{user} {home} {user} {home} {user} {home}");
    for (options, user, home) in [
        (&["engine.supervisor=true"][..], "nobody", nobody.dir.to_str().unwrap()),
        (&["engine.supervisor=true", "php.clear_env=true"], "nobody", nobody.dir.to_str().unwrap()),
        (&["engine.supervisor=false"], "nobody", nobody.dir.to_str().unwrap()),
        (&["php.env.USER=somebody", "php.env.HOME=/elsewhere"], "somebody", "/elsewhere"),
    ] {
        let code = "echo getenv('USER'), ' ', getenv('HOME'), ' ', $_SERVER['USER'], ' ', $_SERVER['HOME'], ' ', \
                    shell_exec('printf \"$USER $HOME\"');";
        let setup = setup().php("environment.php", code).env("USER", "root").env("HOME", "/root");
        let server = options.iter().fold(setup, |setup, option| setup.option(option)).start();
        assert_eq!(server.text("/environment.php"), expected(user, home), "{options:?}");
        server.stop();
    }
}

#[test]
fn the_processes_of_workers_find_their_user_in_the_environment() {
    if reference().is_some() || nobody().is_none() {
        return;
    }
    let root = User::from_name("root").unwrap().unwrap();
    let setup = crate::roadrunner::with_php(crate::harness::server()).env("USER", "somebody").env("HOME", "/elsewhere");
    // Only root's own programs are sure to be there for it.
    let setup = setup.option("server.user=root").option("server.command=php root/roadrunner/worker.php");
    let server = setup.option("http.pool.carrier=process").start();
    let worker = server.get("/worker").send().json()["pid"].as_i64().unwrap();
    let environment = fs::read(format!("/proc/{worker}/environ")).unwrap();
    let environment = String::from_utf8_lossy(&environment);
    for variable in ["USER=root".to_owned(), format!("HOME={}", root.dir.display())] {
        assert!(environment.split('\0').any(|known| known == variable), "{environment}");
    }
}

#[test]
fn an_ini_file_that_this_user_cannot_read_is_refused_and_not_passed_over() {
    if reference().is_some() || nobody().is_none() {
        return;
    }
    for (variable, value) in [("PHPRC", "php.ini"), ("PHPRC", ""), ("PHP_INI_SCAN_DIR", ":")] {
        for supervisor in [true, false] {
            let setup = setup().option(&format!("engine.supervisor={supervisor}"));
            let ini = setup.scratch().join("php.ini");
            fs::write(&ini, "disable_functions=exec").unwrap();
            fs::set_permissions(&ini, fs::Permissions::from_mode(0o600)).unwrap();
            let named = match value {
                ":" => format!(":{}", setup.scratch().display()),
                name => setup.scratch().join(name).display().to_string(),
            };
            let output = finish(setup.env(variable, &named).command(free_port(), None), b"");
            let said = String::from_utf8_lossy(&output.stderr);
            let expected = format!("PHP's {} cannot be read by user nobody: ", ini.display());
            assert!(
                output.status.code() == Some(78) && said.contains(&expected),
                "{variable}={named}: {}: {said}",
                output.status
            );
        }
    }
}

#[test]
fn an_ini_file_that_cannot_be_read_any_more_keeps_a_reload_from_changing_anything() {
    if reference().is_some() || nobody().is_none() {
        return;
    }
    let setup = setup().php("exec.php", "echo var_export(function_exists('exec'), true);");
    let ini = setup.scratch().join("php.ini");
    fs::write(&ini, "disable_functions=exec").unwrap();
    let named = ini.display().to_string();
    let server = setup.env("PHPRC", &named).start();
    assert_eq!(server.text("/exec.php"), "false");
    let old = engine(&server);
    fs::set_permissions(&ini, fs::Permissions::from_mode(0o600)).unwrap();
    server.signal(Signal::SIGHUP);
    assert!(server.logs("the new engine ended before it served (exit code 78); the old one goes on"), "{}", server.log.text());
    assert!(server.logs(&format!("PHP's {named} cannot be read by user nobody: ")), "{}", server.log.text());
    assert_eq!((engine(&server), server.text("/exec.php")), (old, "false".into()));
}

/// What is open, as `ls -l` lists it, but for the first three and the list itself.
fn beyond_standard(listed: &str) -> Vec<String> {
    let lines = listed.lines().filter_map(|line| line.split_once(" -> "));
    let number = |line: &str| line.rsplit(' ').next().unwrap_or_default().parse::<u32>().unwrap();
    let beyond = lines.filter(|(line, target)| number(line) > 2 && !target.starts_with("/proc/"));
    beyond.map(|(_, target)| target.to_owned()).collect()
}

#[test]
fn a_child_of_a_script_gets_no_descriptor_of_the_server() {
    if reference().is_some() {
        return;
    }
    let (rpc, status) = (free_port(), free_port());
    let listed = Command::new("ls").args(["-l", "/proc/self/fd"]).output().unwrap();
    let inherited = beyond_standard(&String::from_utf8(listed.stdout).unwrap());
    for supervisor in [true, false] {
        let server = site()
            .php("open.php", "echo shell_exec('ls -l /proc/self/fd');")
            .with_fcgi()
            .option(&format!("rpc.listen=tcp://{rpc}"))
            .option(&format!("status.address={status}"))
            .option(&format!("engine.supervisor={supervisor}"))
            .start();
        let mut kept = server.connect();
        kept.send(&server.get("/pid.php")).unwrap();
        let open = server.text("/open.php");
        let root = server.root().display().to_string();
        let strange: Vec<_> = beyond_standard(&open)
            .into_iter()
            // What this process has inherited, its children inherit too; and PHP opens scripts for whoever comes after.
            .filter(|target| !inherited.contains(target) && !target.starts_with(&root))
            .collect();
        assert!(open.lines().count() >= 3 && strange.is_empty(), "{strange:?} of {open}");
        server.stop();
    }
}

#[test]
fn a_limit_of_open_files_is_raised_and_said_if_it_is_too_low() {
    if reference().is_some() {
        return;
    }
    let limits = "echo file_get_contents('/proc/self/limits');";
    let server = site().php("limits.php", limits).option("http.limits.max_connections=1000000").start_as(|command| {
        let script = "ulimit -Sn 700; ulimit -Hn 900; exec \"$@\"";
        let mut shell = crate::harness::before("/bin/sh", &["-c", script, "sh"], &command);
        shell.arg(command.get_program()).args(command.get_args());
        shell
    });
    assert!(server.logs("a process may have 900 files open, and 1001256 are wanted"), "{}", server.log.text());
    let limits = server.text("/limits.php");
    let files = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    assert_eq!(files.split_whitespace().skip(3).take(2).collect::<Vec<_>>(), ["868", "900"], "{files}");
}
